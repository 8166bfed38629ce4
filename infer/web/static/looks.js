// Choosing a look: a style, a second one to blend with, and how strong they are.

import { element, slider } from "./ui.js";

const percent = (value) => `${Math.round(value * 100)} %`;
const STROKES = 2; // percent of the long side, at the middle of the slider
const strokes = (octaves) => `${(STROKES * 2 ** octaves).toFixed(2)}%`;

/** The controls of one tab. `onChange` is called with the look as the studio takes it. */
export class LookPicker {
  #styles = [];
  #pictures = null;
  #swatches = new Map();

  constructor(form, { title = "Style", moving = true, onChange = () => {} } = {}) {
    this.form = form;
    this.onChange = onChange;
    const change = () => this.onChange(this.look);
    this.grid = element("div", { className: "grid" });
    this.second = element("select", {});
    this.mix = slider("Amount of it", { value: 0.5, show: percent, onInput: change });
    this.strength = slider("Strength", { value: 1, show: percent, onInput: change });
    // In octaves around the default.
    this.strokes = slider("Stroke size", { value: 0, min: -2, max: 2, show: strokes, onInput: change });
    this.stability = slider("Stability", { value: 0.95, show: percent, onInput: change });
    this.stability.root.hidden = !moving;
    form.addEventListener("submit", (event) => event.preventDefault());
    this.grid.addEventListener("change", () => {
      this.#offerPartners();
      change();
    });
    this.second.addEventListener("change", () => {
      this.mix.input.disabled = !this.second.value;
      change();
    });
    const legend = element("legend", { textContent: title });
    form.replaceChildren(
      element("fieldset", { className: "styles" }, legend, this.grid),
      this.strength.root,
      this.strokes.root,
      this.stability.root,
      element("label", { className: "field block" }, "Blend with", this.second),
      this.mix.root,
    );
  }

  /** The name of the first style. */
  get name() {
    return this.grid.querySelector("input:checked")?.value;
  }

  /** As the studio takes it. */
  get look() {
    const mix = this.second.value ? Number(this.mix.input.value) : 0;
    const styles = { [this.name]: 1 - mix };
    if (mix > 0) styles[this.second.value] = mix;
    return {
      styles,
      strength: Number(this.strength.input.value),
      strokes: strokes(Number(this.strokes.input.value)),
      stability: Number(this.stability.input.value),
    };
  }

  /** The look as the query of an address. */
  get query() {
    const { styles, strength, strokes } = this.look;
    const weights = Object.entries(styles).map(([name, weight]) => `${name}:${weight.toFixed(3)}`);
    return new URLSearchParams({ style: weights.join(","), strength, strokes }).toString();
  }

  /** Offer these styles; what was chosen stays chosen if it is still there. */
  offer(styles) {
    const chosen = styles.some((style) => style.name === this.name) ? this.name : styles[0].name;
    this.#styles = styles;
    this.#swatches = new Map(styles.map((style) => [style.name, this.#swatch(style, style.name === chosen)]));
    this.grid.replaceChildren(...this.#swatches.values());
    this.#offerPartners();
  }

  /** Choose a style by name. */
  choose(name) {
    const input = this.#swatches.get(name)?.querySelector("input");
    if (!input) return;
    input.checked = true;
    input.parentElement.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.#offerPartners();
    this.onChange(this.look);
  }

  /** Show something else on the swatches: style name -> address of a picture. */
  showOn(pictures) {
    this.#pictures = pictures;
    this.offer(this.#styles);
  }

  #swatch(style, checked) {
    const input = element("input", { type: "radio", name: `${this.form.id}-style`, value: style.name, checked });
    input.className = "hidden-input";
    const about = [style.title, style.artist, style.year].filter(Boolean).join(", ");
    const title = element("span", { textContent: style.title });
    return element("label", { className: "swatch", title: about }, input, this.#picture(style), title);
  }

  #picture(style) {
    const src = this.#pictures?.(style.name) ?? (style.preview && `data:image/webp;base64,${style.preview}`);
    if (!src) return element("span", { className: "picture", textContent: style.title[0].toUpperCase() });
    return element("img", { className: "picture", src, alt: "", loading: "lazy" });
  }

  #offerPartners() {
    const partners = this.#styles.map((style) => style.name).filter((name) => name !== this.name);
    const titles = new Map(this.#styles.map((style) => [style.name, style.title]));
    const before = this.second.value;
    this.second.replaceChildren(
      element("option", { value: "", textContent: "Nothing" }),
      ...partners.map((name) => element("option", { value: name, textContent: titles.get(name) })),
    );
    this.second.value = partners.includes(before) ? before : "";
    this.second.disabled = !partners.length;
    this.mix.input.disabled = !this.second.value;
  }
}
