// The optimize tab: a content image, a style image, and the image that is optimized from them.

import { discard, upload } from "./files.js";
import { byId, dropzone, element, telling } from "./ui.js";

const DEFAULT_WEIGHT = 1; // as a power of ten; not sent, so that the studio's default holds

export class OptimizeTab {
  #files = {};

  constructor(limits, jobs) {
    const form = byId("optimize-form");
    const button = form.querySelector("button");
    for (const [role, label] of [["content", "Content image"], ["style", "Style image"]]) {
      const drop = dropzone(byId(`optimize-${role}`), {
        label,
        hint: "Choose or drop an image",
        accept: "image/*",
        take: async ([file], report) => {
          const found = await upload(file, "image", limits, report);
          discard(this.#files[role]);
          this.#files[role] = found;
          drop.show(element("img", { src: URL.createObjectURL(file), alt: "" }));
          button.disabled = !(this.#files.content && this.#files.style);
        },
      });
    }
    const weight = form.elements.weight;
    weight.addEventListener("input", () => {
      const text = Number((10 ** weight.value).toPrecision(2)).toString();
      weight.previousElementSibling.textContent = text;
      weight.setAttribute("aria-valuetext", text);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    button.addEventListener(
      "click",
      telling(() =>
        jobs.start({
          kind: "optimize",
          content: this.#files.content.id,
          style_image: this.#files.style.id,
          size: Number(form.elements.size.value),
          preserve_colors: form.elements.preserve.checked,
          ...(Number(weight.value) === DEFAULT_WEIGHT ? {} : { style_weight: 10 ** weight.value }),
        }),
      ),
    );
  }
}
