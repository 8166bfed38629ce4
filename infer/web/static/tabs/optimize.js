// The optimize tab: a content image, a style image, and the image that is optimized from them.

import { byId } from "../page/elements.js";
import { uploadPlace } from "../files/files.js";
import { remember } from "../page/remember.js";
import { startButton } from "../page/start.js";
import { about } from "../page/time.js";

const DEFAULT_WEIGHT = 1; // as a power of ten; not sent, so that the studio's default holds
const SHAPE = 3 / 4; // of images, until there is one

/** Set up the tab; `pace` is that of optimizations, as the studio has measured it. */
export function optimizeTab({ limits, pace }, jobs) {
  const form = byId("optimize-form");
  const { weight, size, preserve } = form.elements;
  const onFound = () => {
    showTimes();
    update();
  };
  const content = uploadPlace(byId("optimize-content"), { limits, label: "Content image", onFound });
  const style = uploadPlace(byId("optimize-style"), { limits, label: "Style image", onFound });
  const showTimes = () => {
    const { width, height } = content.found ?? { width: 1, height: SHAPE };
    const shape = Math.min(width, height) / Math.max(width, height);
    for (const option of size.options) {
      option.textContent = `${option.value} px, ${about(pace.optimize.start + pace.optimize.unit * option.value ** 2 * shape)}`;
    }
  };
  const showWeight = () => {
    const text = Number((10 ** weight.value).toPrecision(2)).toString();
    weight.previousElementSibling.textContent = text;
    weight.setAttribute("aria-valuetext", text);
  };
  for (const option of size.options) option.value = option.text; // stays when the text changes
  showTimes();
  remember(form);
  showWeight();
  weight.addEventListener("input", showWeight);
  const update = startButton(form, {
    missing: () => (!content.found && "Choose a content image first") || (!style.found && "Choose a style image first") || "",
    start: () =>
      jobs.start({
        kind: "optimize",
        content: content.found.id,
        style_image: style.found.id,
        size: Number(size.value),
        preserve_colors: preserve.checked,
        ...(Number(weight.value) === DEFAULT_WEIGHT ? {} : { style_weight: 10 ** weight.value }),
      }),
  });
}
