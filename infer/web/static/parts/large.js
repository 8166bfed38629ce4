// An image as large as the window.

import { element } from "./elements.js";

/** Show an image over the page until it is clicked or Escape is pressed. */
export function openLarge(src, alt) {
  const close = element("button", { type: "button", textContent: "Close" });
  const dialog = element("dialog", { className: "large", ariaLabel: alt }, element("img", { src, alt }), close);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
