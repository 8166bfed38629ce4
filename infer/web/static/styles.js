// The style picker: a style, a second one to blend it with, strength, stroke size and stability.

import { element, slider } from "./ui.js";

const percent = (value) => `${Math.round(value * 100)}%`;
const STROKE_SIZE = 2; // percent of the long side, at the middle of the slider
const strokeSize = (octaves) => `${(STROKE_SIZE * 2 ** octaves).toFixed(2)}%`;

/** The controls of one tab. `onChange` is called with each new choice. */
export class StylePicker {
  #styles = [];
  #previews = null;

  constructor(form, { moving = true, onChange = () => {} } = {}) {
    this.form = form;
    this.onChange = onChange;
    const change = () => this.onChange(this.choice);
    this.grid = element("div", { className: "grid" });
    this.second = element("select", {});
    this.weight = slider("Amount of the second style", { value: 0.5, show: percent, onInput: change });
    this.strength = slider("Strength", { value: 1, show: percent, onInput: change });
    // The slider counts octaves around the default.
    this.strokeSize = slider("Stroke size", { value: 0, min: -2, max: 2, show: strokeSize, onInput: change });
    this.stability = slider("Stability", { value: 0.95, show: percent, onInput: change });
    this.stability.root.hidden = !moving;
    form.addEventListener("submit", (event) => event.preventDefault());
    this.grid.addEventListener("change", () => {
      this.#offerPartners();
      change();
    });
    this.second.addEventListener("change", () => {
      this.weight.input.disabled = !this.second.value;
      change();
    });
    const legend = element("legend", { textContent: "Style" });
    form.replaceChildren(
      element("fieldset", { className: "styles" }, legend, this.grid),
      this.strength.root,
      this.strokeSize.root,
      this.stability.root,
      element("label", { className: "field block" }, "Blend with", this.second),
      this.weight.root,
    );
  }

  /** The name of the first style. */
  get name() {
    return this.grid.querySelector("input:checked")?.value;
  }

  /** What is chosen, in the studio's JSON. */
  get choice() {
    const weight = this.second.value ? Number(this.weight.input.value) : 0;
    const styles = { [this.name]: 1 - weight };
    if (weight > 0) styles[this.second.value] = weight;
    return {
      styles,
      strength: Number(this.strength.input.value),
      stroke_size: strokeSize(Number(this.strokeSize.input.value)),
      stability: Number(this.stability.input.value),
    };
  }

  /** The choice as a URL query. */
  get query() {
    const { styles, strength, stroke_size } = this.choice;
    const weights = Object.entries(styles).map(([name, each]) => `${name}:${each.toFixed(3)}`);
    return new URLSearchParams({ style: weights.join(","), strength, stroke_size }).toString();
  }

  /** Offer these styles; the chosen one stays chosen if it still exists. */
  offer(styles) {
    const chosen = styles.some((style) => style.name === this.name) ? this.name : styles[0].name;
    this.#styles = styles;
    this.grid.replaceChildren(...styles.map((style) => this.#swatch(style, style.name === chosen)));
    this.#offerPartners();
  }

  /** Choose a style by name. */
  choose(name) {
    const input = [...this.grid.querySelectorAll("input")].find((each) => each.value === name);
    if (!input) return;
    input.checked = true;
    input.parentElement.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.#offerPartners();
    this.onChange(this.choice);
  }

  /** Show other previews on the swatches; `previews` returns the address for a style name. */
  showPreviews(previews) {
    this.#previews = previews;
    this.offer(this.#styles);
  }

  #swatch(style, checked) {
    const input = element("input", { type: "radio", name: `${this.form.id}-style`, value: style.name, checked });
    input.className = "hidden-input";
    const about = [style.title, style.artist, style.year].filter(Boolean).join(", ");
    const title = element("span", { textContent: style.title });
    return element("label", { className: "swatch", title: about }, input, this.#preview(style), title);
  }

  #preview(style) {
    const src = this.#previews?.(style.name) ?? (style.preview && `data:image/webp;base64,${style.preview}`);
    if (!src) return element("span", { className: "preview", textContent: style.title[0].toUpperCase() });
    return element("img", { className: "preview", src, alt: "", loading: "lazy" });
  }

  #offerPartners() {
    const partners = this.#styles.filter((style) => style.name !== this.name);
    const before = this.second.value;
    this.second.replaceChildren(
      element("option", { value: "", textContent: "None" }),
      ...partners.map(({ name, title }) => element("option", { value: name, textContent: title })),
    );
    this.second.value = partners.some(({ name }) => name === before) ? before : "";
    this.second.disabled = !partners.length;
    this.weight.input.disabled = !this.second.value;
  }
}
