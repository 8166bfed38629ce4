// The optimize tab: a content image, a style image, and the image that is optimized from them.

import { byId, telling } from "../parts/elements.js";
import { uploadPlace } from "../parts/files.js";

const DEFAULT_WEIGHT = 1; // as a power of ten; not sent, so that the studio's default holds

export function optimizeTab(limits, jobs) {
  const form = byId("optimize-form");
  const button = form.querySelector("button");
  const onFound = () => (button.disabled = !(content.found && style.found));
  const content = uploadPlace(byId("optimize-content"), { limits, label: "Content image", onFound });
  const style = uploadPlace(byId("optimize-style"), { limits, label: "Style image", onFound });
  const { weight, size, preserve } = form.elements;
  weight.addEventListener("input", () => {
    const text = Number((10 ** weight.value).toPrecision(2)).toString();
    weight.previousElementSibling.textContent = text;
    weight.setAttribute("aria-valuetext", text);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  const start = () =>
    jobs.start({
      kind: "optimize",
      content: content.found.id,
      style_image: style.found.id,
      size: Number(size.value),
      preserve_colors: preserve.checked,
      ...(Number(weight.value) === DEFAULT_WEIGHT ? {} : { style_weight: 10 ** weight.value }),
    });
  button.addEventListener("click", telling(start));
}
