// The style picker of a tab: shows the choice and changes it.

import { places } from "../files/drop.js";
import { element, slider, tell, telling } from "./elements.js";
import { LearningPanel } from "./learning_panel.js";

const percent = (value) => `${Math.round(value * 100)}%`;
const DEFAULT_STROKES = 2; // percent, at the middle of the slider, which counts octaves
const strokes = (octaves) => Number((DEFAULT_STROKES * 2 ** octaves).toFixed(2));

const LONG = 18; // characters of a title that do not fit below a thumbnail
const MORE = ["strokes", "stability", "colors", "second", "amount"]; // less used values
const roomy = matchMedia("(min-width: 52.01rem) and (min-height: 58rem)");

/** A title in two short lines at most: *The Great Wave off Kanagawa* is *The Great Wave*. */
function shortTitle(title) {
  const bare = title.replace(/\s*\(.*\)$/, "");
  if (bare.length <= LONG) return bare;
  return bare.replace(/^Portrait of /, "").replace(/ (off|with|near|after|before|from) .*$/, "");
}

/** Copy the address, which says what is chosen. */
async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    // Browsers have a clipboard for HTTPS and localhost only; this way is old, but works elsewhere.
    const text = element("textarea", { value: location.href, className: "unseen" });
    document.body.append(text);
    text.select();
    const isCopied = document.execCommand("copy");
    text.remove();
    if (!isCopied) throw new Error("The link is in the address bar: copy it there.");
  }
  tell("Link copied");
}

/**
 * The controls of one tab. `moving`: whether it stylizes frames, which have a stability. `learning`
 * learns a style image that is chosen or dropped here, for the uploads whose ids `content` returns.
 */
export class StylePicker {
  #styles = [];
  #previews = null;
  #more = ""; // the less used values that were shown last

  constructor(form, choice, { moving = true, learning, content = () => [] }) {
    this.form = form;
    this.choice = choice;
    this.grid = element("div", { className: "grid" }, this.#adder(learning, content));
    this.second = element("select", {});
    this.colors = element("input", { type: "checkbox" });
    const bind = (label, name, settings = {}) =>
      slider(label, { show: percent, onInput: (value) => choice.set({ [name]: value }), ...settings });
    this.amount = bind("Amount", "amount");
    this.strength = bind("Strength", "strength");
    this.strokes = bind("Stroke size", "strokes", {
      min: -2,
      max: 2,
      show: (octaves) => `${strokes(octaves).toFixed(2)}%`,
      onInput: (octaves) => choice.set({ strokes: strokes(octaves) }),
    });
    this.stability = bind("Stability", "stability");
    this.stability.root.hidden = !moving;
    form.addEventListener("submit", (event) => event.preventDefault());
    this.grid.addEventListener("change", ({ target }) => target.type === "radio" && choice.set({ first: target.value }));
    this.second.addEventListener("change", () => choice.set({ second: this.second.value }));
    this.colors.addEventListener("change", () => choice.set({ colors: this.colors.checked }));
    choice.addEventListener("change", () => this.#show());
    const legend = element("legend", { textContent: "Style" });
    const link = element("button", { type: "button", className: "quiet link", textContent: "Copy link" });
    link.title = "Copies the address of this page with the style and its settings";
    link.addEventListener("click", telling(copyLink));
    this.more = element(
      "details",
      { className: "more", open: roomy.matches },
      element("summary", { textContent: "More" }),
      this.strokes.root,
      this.stability.root,
      element("label", { className: "check" }, this.colors, "Keep the colors of the original"),
      element("label", { className: "field row" }, "Blend with", this.second),
      this.amount.root,
    );
    const styles = element("fieldset", { className: "styles" }, legend, this.grid);
    form.replaceChildren(link, styles, new LearningPanel(learning, choice).root, this.strength.root, this.more);
  }

  /** Offer these styles, of which the choice has one. */
  offer(styles) {
    this.#styles = styles;
    // The tile before them keeps the focus.
    for (const swatch of this.grid.querySelectorAll(":scope > .swatch")) swatch.remove();
    this.grid.append(...styles.map((style) => this.#swatch(style)));
    this.second.replaceChildren(
      element("option", { value: "", textContent: "None" }),
      ...styles.map(({ name, title }) => element("option", { value: name, textContent: title })),
    );
    this.second.disabled = styles.length < 2;
    this.#show();
  }

  /** The title of a style. */
  title(name) {
    return this.#styles.find((style) => style.name === name)?.title ?? name;
  }

  /** Show other previews on the swatches; `previews` returns the address for a style name. */
  showPreviews(previews) {
    this.#previews = previews;
    this.offer(this.#styles);
  }

  /** Show the preview of one style anew. */
  refreshPreview(name) {
    const input = this.#input(name);
    if (input && this.#previews) input.nextElementSibling.src = this.#previews(name);
  }

  #input(name) {
    return [...this.grid.querySelectorAll("input[type=radio]")].find((each) => each.value === name);
  }

  #show() {
    const { first, second, amount, strength, strokes, stability, colors } = this.choice.values;
    const input = this.#input(first);
    if (input && !input.checked) {
      input.checked = true;
      input.parentElement.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    for (const option of this.second.options) option.hidden = option.value === first;
    this.second.value = second;
    this.amount.root.hidden = !second;
    this.amount.set(amount);
    this.strength.set(strength);
    this.strokes.set(Math.log2(strokes / DEFAULT_STROKES));
    this.stability.set(stability);
    this.colors.checked = colors;
    const more = MORE.map((name) => this.choice.values[name]).join();
    // What is not at its default must be seen; but visitors may close it then.
    if (more !== this.#more && this.choice.differs(...MORE)) this.more.open = true;
    this.#more = more;
  }

  /** The tile that takes a style image; it can be dropped anywhere on the picker. */
  #adder(learning, content) {
    const input = element("input", { type: "file", className: "hidden-input", accept: "image/*" });
    const choose = telling(async ([file, ...others]) => {
      if (!file) return;
      if (others.length) tell(`One style is learned at a time: ${file.name} is taken.`);
      await learning.begin(file, content());
    });
    input.addEventListener("change", async () => {
      await choose([...input.files]);
      input.value = "";
    });
    const text = "Drop to learn this painting as a style";
    places.set(this.form.id, { root: this.form, kind: "image", multiple: false, filled: true, label: text, text, choose });
    const preview = element("span", { className: "preview", textContent: "+", ariaHidden: true });
    const title = element("span", { className: "title", textContent: "Add a painting" });
    const tile = element("label", { className: "swatch", title: "A style is learned from it within minutes" }, input, preview, title);
    return element("div", { className: "adder" }, tile);
  }

  #swatch(style) {
    const input = element("input", { type: "radio", name: `${this.form.id}-style`, value: style.name, className: "hidden-input" });
    const about = [style.title, style.artist, style.year].filter(Boolean).join(", ");
    const title = element("span", { className: "title", textContent: shortTitle(style.title) });
    return element("label", { className: "swatch", title: about }, input, this.#preview(style), title);
  }

  #preview(style) {
    const src = this.#previews?.(style.name) ?? (style.preview && `data:image/webp;base64,${style.preview}`);
    if (!src) return element("span", { className: "preview", textContent: style.title[0].toUpperCase() });
    return element("img", { className: "preview", src, alt: "", loading: "lazy" });
  }
}
