// Images that open large: those that are marked as a button, by click or key.

import { element } from "./elements.js";

/** Open an image large; Esc, a click or the button closes it. `better` replaces it once loaded. */
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

function onOpen(event) {
  const image = event.target.closest?.("img[role=button]");
  if (!image || (event.type === "keydown" && !["Enter", " "].includes(event.key))) return;
  event.preventDefault();
  openLarge(image.src, image.alt);
}

for (const kind of ["click", "keydown"]) document.addEventListener(kind, onOpen);
