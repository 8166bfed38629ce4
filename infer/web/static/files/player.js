// A finished video, and the original in step with it under a divider.

import { ask } from "../page/api.js";
import { block, element, slider } from "../page/elements.js";
import { Stage } from "../page/stage.js";
import { clock } from "../page/time.js";

const DRIFT = { playing: 0.1, paused: 0.01 }; // seconds by which the original may be off

/** The player of a stylized video; `original` is the id of its upload, if that is known. */
export class Player {
  constructor({ src, poster, original }) {
    this.shown = element("video", { src, poster, controls: true, loop: true, playsInline: true });
    this.original = element("video", { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
    this.original.setAttribute("aria-label", "The original");
    this.shown.setAttribute("aria-label", "The stylized video");
    const button = (textContent, title = "") => element("button", { type: "button", textContent, title });
    this.compare = button("Compare");
    this.hold = button("Original", "Shows the original while it is held down");
    this.reason = element("span", { className: "hint" });
    // The video's own controls would be under the original.
    this.play = button("Play");
    this.position = slider("Position", { max: 0, show: (at) => clock(at, 1), onInput: (at) => (this.shown.currentTime = at) });
    this.play.addEventListener("click", () => (this.shown.paused ? this.shown.play() : this.shown.pause()));
    const figure = element("figure", { className: "stage" });
    this.stage = new Stage(figure, { shown: this.shown, original: this.original, compare: this.compare, hold: this.hold, pressable: false });
    this.root = element("div", { className: "player" }, figure, element("div", { className: "tools" }, this.compare, this.hold, this.play, this.position.root, this.reason));
    this.shown.addEventListener("loadedmetadata", () => {
      this.stage.shape(this.shown.videoWidth, this.shown.videoHeight);
      this.position.input.max = this.shown.duration;
    });
    figure.addEventListener("compare", () => this.#control());
    this.#control();
    for (const kind of ["play", "pause", "seeking", "seeked", "timeupdate", "ratechange"]) {
      this.shown.addEventListener(kind, () => this.#follow());
    }
    this.original.addEventListener("seeked", () => this.#follow());
    this.original.addEventListener("loadedmetadata", () => this.original.videoWidth ? this.#allow("") : this.#cannotPlay());
    this.original.addEventListener("error", () => this.#cannotPlay());
    this.root.dataset.original = original ?? "";
    this.#load(original);
  }

  async #load(id) {
    this.#allow("The original is being loaded.");
    const uploads = await ask("/api/uploads").catch(() => []);
    if (uploads.some((each) => each.id === id)) this.original.src = `/api/uploads/${id}/file`;
    else this.#allow("The original is no longer in the studio, so that there is nothing to compare with.");
  }

  #cannotPlay() {
    this.#allow("This browser cannot play the original, so that there is nothing to compare with.");
  }

  /** Let the original be shown, or say why it cannot be. */
  #allow(reason) {
    block(this.compare, reason);
    block(this.hold, reason, "Shows the original while it is held down");
    this.reason.textContent = reason;
  }

  #control() {
    this.shown.controls = !this.stage.comparing;
    this.play.hidden = this.position.root.hidden = !this.stage.comparing;
    this.#follow();
  }

  /** Bring the original to where the stylized video is. */
  #follow() {
    const { shown, original } = this;
    this.play.textContent = shown.paused ? "Play" : "Pause";
    this.position.set(shown.currentTime);
    if (!this.stage.needsOriginal || !original.videoWidth) {
      original.pause();
      return;
    }
    original.playbackRate = shown.playbackRate;
    const drift = shown.paused ? DRIFT.paused : DRIFT.playing;
    if (!original.seeking && Math.abs(original.currentTime - shown.currentTime) > drift) original.currentTime = shown.currentTime;
    if (shown.paused) original.pause();
    else original.play().catch(() => {}); // interrupted by a pause
  }
}
