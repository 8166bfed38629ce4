// An image as large as the window.

import { element } from "../page/elements.js";

/**
 * Show an image over the page until it is clicked or Escape is pressed. `better`, the same at a
 * larger size, replaces it once it is loaded.
 */
export function openLarge(src, alt, better) {
  const image = element("img", { src, alt });
  const close = element("button", { type: "button", textContent: "Close" });
  const dialog = element("dialog", { className: "large", ariaLabel: alt }, image, close);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  if (better) {
    const loading = element("img", { src: better });
    loading.addEventListener("load", () => (image.src = better));
  }
}
