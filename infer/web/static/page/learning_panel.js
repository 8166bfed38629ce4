// The panel under a style picker: how far the learning is, and what can be done with it.

import { block, element, slider, telling } from "./elements.js";

const STROKES = ["Fine", "Medium", "Coarse"]; // as `style_sizes` of the state
const WEIGHT = { min: 4, max: 16, value: 8 };
const WAIT_MS = 700; // after the last move of a slider
const FIGURES = { strokes: "strokes", contrast: "contrast", chroma: "color" }; // of the studio, with their names here

/** A panel for a Learning. It is hidden while nothing is learned and the style is not chosen. */
export class LearningPanel {
  constructor(learning, choice) {
    this.learning = learning;
    this.choice = choice;
    this.title = element("b");
    this.text = element("span", { className: "hint" });
    this.bar = element("progress", { ariaLabel: "Start of the learning" });
    this.figures = element("p", { className: "hint" });
    const button = (textContent, title, act) => {
      const made = element("button", { type: "button", textContent, title });
      made.addEventListener("click", telling(act));
      return made;
    };
    this.pause = button("Pause", "", () => learning.act(this.#isPausable ? "pause" : "continue"));
    this.keep = button("Keep", "", () => learning.act("keep"));
    this.reset = button("Reset", "", () => learning.act("reset"));
    this.close = button("Close", "Hides this; the style stays", () => learning.act("end"));
    this.size = slider("Strokes", { min: 0, max: STROKES.length - 1, value: 1, show: (at) => STROKES[at], onInput: () => {} });
    this.weight = slider("Style weight", { ...WEIGHT, show: (weight) => String(weight), onInput: () => {} });
    this.size.root.title = "Size of the strokes that are learned; a change begins the learning again";
    this.weight.root.title = "Weight of the style beside the content; a change begins the learning again";
    const restart = telling((asked) => learning.restart(asked));
    let timer = 0;
    for (const { input } of [this.size, this.weight]) {
      input.step = 1;
      input.addEventListener("change", () => {
        clearTimeout(timer);
        const asked = { size: learning.state.style_sizes[this.size.input.value], weight: Number(this.weight.input.value) };
        timer = setTimeout(() => restart(asked), WAIT_MS);
      });
    }
    this.tools = element("div", { className: "tools" }, this.pause, this.keep, this.reset, this.close);
    this.root = element(
      "div",
      { className: "learning", role: "group", ariaLabel: "The style that is learned" },
      element("p", { className: "head" }, this.title, this.text),
      this.bar,
      this.figures,
      this.tools,
      this.size.root,
      this.weight.root,
    );
    learning.addEventListener("change", () => this.#show());
    choice.addEventListener("change", () => this.#show());
    this.#show();
  }

  get #isPausable() {
    return ["starting", "learning"].includes(this.learning.state?.state);
  }

  #show() {
    const { state } = this.learning;
    this.root.hidden = !state || !(this.learning.isOpen || state.state === "failed" || state.style === this.choice.values.first);
    if (this.root.hidden) return;
    const isSending = state.state === "sending";
    const hasEnded = ["learned", "failed"].includes(state.state);
    this.root.dataset.state = state.state;
    this.title.textContent = state.title;
    this.text.textContent = this.learning.isWaiting ? "waits for images: start the camera, or choose an image" : state.text;
    this.bar.hidden = !isSending && state.state !== "starting";
    this.#showFigures(state.figures);
    for (const each of [this.tools, this.size.root, this.weight.root]) each.hidden = isSending;
    if (isSending) return;
    this.pause.textContent = this.#isPausable ? "Pause" : "Continue";
    block(this.pause, state.state === "starting" ? "The learning starts." : "", hasEnded ? "Learns the style further" : "Leaves the machine to the frames");
    block(this.keep, hasEnded ? "The style is kept." : state.crops ? "" : "Nothing is learned yet.", "Ends the learning, and keeps the style as it is now");
    block(this.reset, state.state === "starting" ? "The learning starts." : "", "Begins again");
    this.close.hidden = !hasEnded;
    if (document.activeElement !== this.size.input) this.size.set(state.style_sizes.indexOf(state.style_size));
    if (document.activeElement !== this.weight.input) this.weight.set(state.style_weight);
  }

  #showFigures(figures) {
    const known = Object.entries(FIGURES).filter(([name]) => typeof figures?.[name] === "number");
    this.figures.hidden = !known.length;
    const percents = known.map(([name, shown]) => `${shown} ${Math.round(figures[name] * 100)}%`);
    this.figures.textContent = known.length ? `Measured against the style image: ${percents.join(", ")}` : "";
  }
}
