// The optimize tab: a photo and a painting, and the picture that forms between them.

import { forget, upload } from "./files.js";
import { byId, dropzone, element, telling } from "./ui.js";

const USUAL_WEIGHT = 1; // as a power of ten, which is left to the studio

export class OptimizeTab {
  #files = {};

  constructor(limits, jobs) {
    const form = byId("optimize-form");
    const button = form.querySelector("button");
    for (const [role, label] of [["content", "The photo"], ["style", "The painting"]]) {
      const drop = dropzone(byId(`optimize-${role}`), {
        label,
        hint: "Choose or drop a picture",
        accept: "image/*",
        take: async ([file], report) => {
          const found = await upload(file, "photo", limits, report);
          forget(this.#files[role]);
          this.#files[role] = found;
          drop.picture(element("img", { src: URL.createObjectURL(file), alt: "" }));
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
          style: this.#files.style.id,
          size: Number(form.elements.size.value),
          preserve_colors: form.elements.keep.checked,
          ...(Number(weight.value) === USUAL_WEIGHT ? {} : { style_weight: 10 ** weight.value }),
        }),
      ),
    );
  }
}
