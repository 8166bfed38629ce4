// The stage: what is stylized, and the original under a divider to compare it with.

import { element } from "./elements.js";

const MIDDLE = 50; // percent of the width, where the divider begins

/**
 * The stage of a tab: `shown` (an image, a video or a canvas) in its own shape, and over it, when
 * comparing, `original`, of the same shape. `pressable`: whether the stage can be held down, which
 * the controls of a video rule out.
 *
 * `compare` is a toggle: a divider between both, to drag by pointer or by arrow keys. While the
 * stage or the button `hold` is held down without the divider, the original covers all.
 */
export class Stage {
  constructor(root, { shown, original, compare, hold, pressable = true }) {
    this.root = root;
    this.original = original;
    this.compare = compare;
    this.layers = element("div", { className: "layers" }, shown, original);
    this.divider = element("input", { type: "range", className: "divider", min: 0, max: 100, step: 0.5, value: MIDDLE });
    this.divider.setAttribute("aria-label", "Divider: original on the left, stylized on the right");
    this.layers.append(this.divider, element("span", { className: "line", ariaHidden: true }));
    root.prepend(this.layers);
    original.classList.add("original");
    this.divider.addEventListener("input", () => this.#divide());
    compare.addEventListener("click", () => this.#showDivider(!this.comparing));
    if (pressable) this.#whileHeld(this.layers);
    this.#whileHeld(hold);
    this.#showDivider(false);
  }

  /** Whether the divider is shown. */
  get comparing() {
    return !this.divider.hidden;
  }

  /** Whether the original is needed: behind the divider, or while held. */
  get needsOriginal() {
    return this.comparing || this.root.classList.contains("held");
  }

  /** Give the stage the shape of what is shown. */
  shape(width, height) {
    this.root.style.setProperty("--ratio", width / height);
  }

  /** Stop comparing, as with a new image. */
  reset() {
    this.#showDivider(false);
    this.divider.value = MIDDLE;
  }

  #showDivider(on) {
    this.divider.hidden = !on;
    this.root.classList.toggle("comparing", on);
    this.compare.setAttribute("aria-pressed", on);
    this.#divide();
    this.root.dispatchEvent(new Event("compare"));
  }

  #divide() {
    this.layers.style.setProperty("--divider", `${this.divider.value}%`);
    this.divider.setAttribute("aria-valuetext", `${Math.round(this.divider.value)}% original`);
  }

  #whileHeld(place) {
    const hold = (on) => {
      if (on === this.root.classList.contains("held")) return;
      this.root.classList.toggle("held", on);
      this.root.dispatchEvent(new Event("compare"));
    };
    place.addEventListener("pointerdown", (event) => {
      if (event.target === this.divider || event.button) return;
      hold(true);
    });
    for (const kind of ["pointerup", "pointercancel", "blur"]) addEventListener(kind, () => hold(false));
    place.addEventListener("contextmenu", (event) => event.pointerType === "touch" && event.preventDefault());
    place.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && event.target !== this.divider && hold(true));
    place.addEventListener("keyup", () => hold(false));
  }
}
