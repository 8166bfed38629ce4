// The style that the studio learns for this visitor: begun with a style image, and watched.

import { ask } from "./api.js";
import { byId, tell, unsaved } from "./elements.js";
import { discard, upload } from "../files/files.js";

const POLL_MS = 1500; // while it changes by itself
const IDLE_MS = 5000; // while it is paused: another tab of this browser may continue it
const SAID_MS = 30000; // between two times that screen readers say how far it is
const POLLS = { starting: POLL_MS, learning: POLL_MS, paused: IDLE_MS };
const FIGURES_MS = 20000; // after the end, in which its figures may follow

/**
 * The learning. An event `change` follows each change of its state, and `better` one of its style:
 * the detail has the name of the style and a revision, which rises. `onStyle` is called with the
 * name of a new style once the studio has it.
 */
export class Learning extends EventTarget {
  #state = null; // as the studio tells it, or `{ state: "sending", title, text }`
  #isAwaited = false; // whether the style is to be chosen once it is there
  #timer = 0;
  #asked = 0; // number of the last request: answers to earlier ones are out of date
  #said = { state: "", when: 0 };
  #ended = 0; // time at which the style was learned

  /** `studio` are the facts of the studio. */
  constructor({ limits, packaged_photos: photos }, { onStyle }) {
    super();
    this.limits = limits;
    this.hasPhotos = photos > 0;
    this.onStyle = onStyle;
    document.addEventListener("visibilitychange", () => !document.hidden && !this.#isSending && this.#ask("/api/learning"));
  }

  /** The state, null if nothing is or was learned. */
  get state() {
    return this.#state;
  }

  /** Whether it has nothing to learn on yet: no camera, no upload, and no photos of its own. */
  get isWaiting() {
    return this.#state?.state === "learning" && !this.#state.crops && !this.hasPhotos;
  }

  /** Whether it takes time of the machine, or may be continued. */
  get isOpen() {
    return ["sending", ...Object.keys(POLLS)].includes(this.#state?.state);
  }

  get #isSending() {
    return this.#state?.state === "sending";
  }

  /** Go on with what was begun before the page was loaded. */
  async restore() {
    await this.#ask("/api/learning");
  }

  /** Learn a style image, for the uploads of these ids and for the frames of the camera. */
  async begin(file, content) {
    if (this.#isSending) throw new Error("Another style image is being sent: try again when it is done.");
    const before = this.#state;
    const report = (sent, text) => this.#show({ state: "sending", title: file.name, text });
    const sending = new AbortController();
    this.#asked += 1; // an answer that is under way would end the report
    clearTimeout(this.#timer);
    unsaved.add(sending);
    try {
      const image = await upload(file, "image", this.limits, report, { signal: sending.signal, place: "" });
      this.#isAwaited = true;
      await this.#change("/api/learning", { image: image.id, content });
      discard(image); // the studio has what it needs of it
    } catch (error) {
      this.#show(before);
      this.#ask("/api/learning");
      throw error;
    } finally {
      unsaved.delete(sending);
    }
  }

  /** Learn the same style image with other settings. */
  async restart({ size, weight }) {
    await this.#change("/api/learning", { style_size: size, style_weight: weight });
  }

  /** `pause`, `continue`, `keep`, `reset` or `end` it. */
  async act(action) {
    await this.#change(`/api/learning/${action}`);
  }

  /** Learn for these uploads, too, if anything is learned. */
  async show(content) {
    if (this.isOpen && !this.#isSending) await this.#change("/api/learning/content", { content });
  }

  #change(path, json) {
    return this.#ask(path, { method: "POST", json: json ?? {} }, { isLoud: true });
  }

  /** Ask the studio, now and again and again; every answer has the state. */
  async #ask(path, options, { isLoud = false } = {}) {
    clearTimeout(this.#timer);
    const number = (this.#asked += 1);
    try {
      const { learning } = await ask(path, options);
      if (number !== this.#asked) return;
      await this.#hear(learning);
    } catch (error) {
      if (isLoud) throw error;
      if (!error.isShown) console.warn(error); // the next answer may be better
    } finally {
      const pause = this.#pause;
      if (number === this.#asked && pause && !document.hidden) {
        this.#timer = setTimeout(() => this.#ask("/api/learning"), pause);
      }
    }
  }

  /** Milliseconds until the studio is asked again; 0 if nothing changes by itself. */
  get #pause() {
    const { state, figures } = this.#state ?? {};
    if (state === "learned") return !figures && performance.now() - this.#ended < FIGURES_MS ? POLL_MS : 0;
    return POLLS[state] ?? 0;
  }

  async #hear(learning) {
    const before = this.#state;
    this.#show(learning);
    if (!learning?.style) return;
    if (this.#isAwaited) {
      this.#isAwaited = false;
      await this.onStyle(learning.style);
    } else if (before?.style === learning.style && before.revision !== learning.revision) {
      const { style, revision } = learning;
      this.dispatchEvent(new CustomEvent("better", { detail: { style, revision } }));
    }
  }

  #show(state) {
    const before = this.#state;
    this.#state = state;
    this.#say();
    if (this.#wasOpen(before) && state?.state === "learned") {
      this.#ended = performance.now();
      tell(`${state.title} is learned and kept.`);
    }
    this.dispatchEvent(new Event("change"));
  }

  #wasOpen(before) {
    return Object.hasOwn(POLLS, before?.state ?? "");
  }

  /** Tell screen readers how far it is, but not each second. */
  #say() {
    const { state, title, text } = this.#state ?? {};
    if (!state || state === "sending") return;
    const now = performance.now();
    if (state === this.#said.state && now - this.#said.when < SAID_MS) return;
    this.#said = { state, when: now };
    byId("learning-said").textContent = `${title}: ${text}`;
  }
}
