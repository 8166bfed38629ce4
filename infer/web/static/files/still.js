// An upload as a still image: in the chosen style on the stage, and in all styles on the picker.

import { download } from "../page/api.js";
import { byId, element, telling } from "../page/elements.js";
import { originalAddress } from "./files.js";
import { openLarge } from "./large.js";
import { Stage } from "../page/stage.js";

const VIEW = 1024; // pixels, long side
const THUMB = 200;
const THUMB_STROKES = "5%"; // finer strokes would not be visible in so small an image
const WAIT_MS = 150; // after the last move of a slider
const CLICK_MS = 300; // a longer press shows the original

/** The still of a tab, whose elements have ids such as `image-stage`. */
export class Still {
  #upload = null;
  #at = 0;
  #timer = 0;
  #revisions = {}; // of styles that got better weights, whose images are others now
  #isStale = false; // whether that happened while the tab was not seen

  constructor(tab, choice, picker) {
    this.choice = choice;
    this.picker = picker;
    this.view = byId(`${tab}-view`);
    this.original = element("img", { alt: "The original" });
    this.stage = new Stage(byId(`${tab}-stage`), {
      shown: this.view,
      original: this.original,
      compare: byId(`${tab}-compare`),
      hold: byId(`${tab}-hold`),
    });
    this.view.addEventListener("load", () => {
      this.stage.root.classList.remove("busy");
      this.stage.shape(this.view.naturalWidth, this.view.naturalHeight); // the upright one
    });
    this.view.addEventListener("error", telling(() => this.#explain()));
    choice.addEventListener("change", () => this.#later());
    byId(`${tab}-large`).addEventListener("click", () => this.#openLarge());
    this.#openOnClick();
    this.panel = byId(tab);
    new MutationObserver(() => this.#catchUp()).observe(this.panel, { attributeFilter: ["hidden"] });
  }

  /** Show a style anew that has better weights now. */
  refresh({ style, revision }) {
    this.#revisions[style] = revision;
    this.#isStale = true;
    this.#catchUp();
  }

  /** Show an upload: an image, or the frame of a video at a time in seconds. */
  show(upload, at = 0) {
    this.#upload = upload;
    this.#at = at;
    this.stage.shape(upload.width, upload.height);
    this.showPreviews();
    this.#stylize();
  }

  /** Show another frame of the video soon; its previews follow with `showPreviews`. */
  moveTo(at) {
    this.#at = at;
    this.#later();
  }

  /** Show in all styles what the stage shows. */
  showPreviews() {
    this.picker.showPreviews((name) => this.address(new URLSearchParams({ style: name, stroke_size: THUMB_STROKES, size: THUMB })));
  }

  /** Address of the upload in the style of a query; the image at its own size without a `size`. */
  address(query, upload = this.#upload) {
    const frame = upload.kind === "video" ? `&at=${this.#at}` : "";
    const names = (new URLSearchParams(query).get("style") ?? "").split(",").map((part) => part.split(":")[0]);
    const [revision] = names.map((name) => this.#revisions[name]).filter(Boolean);
    return `/api/uploads/${upload.id}/stylized?${query}${frame}${revision ? `&revision=${revision}` : ""}`;
  }

  /** Stylize a small copy of an upload; an error if that does not work. */
  async tryOut(upload) {
    await download(this.address(`${this.choice.query}&size=${THUMB}`, upload));
  }

  #catchUp() {
    if (!this.#isStale || this.panel.hidden || !this.#upload) return;
    this.#isStale = false;
    for (const name of Object.keys(this.#revisions)) this.picker.refreshPreview(name);
    if (Object.keys(this.choice.styles).some((name) => name in this.#revisions)) this.#load();
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#stylize(), WAIT_MS);
  }

  #stylize() {
    if (!this.#upload) return;
    this.stage.root.classList.add("busy");
    this.#load();
    const original = originalAddress(this.#upload, VIEW, this.#at);
    if (!this.original.src.endsWith(original)) this.original.src = original;
  }

  /** Load the stylized image; until it is there, the one before stays. */
  #load() {
    this.view.alt = `The ${this.#upload.kind} as ${Object.keys(this.choice.styles).join(" and ")}`;
    this.view.src = this.address(`${this.choice.query}&size=${VIEW}`);
  }

  /** An <img> only reports that it failed; the studio says why when asked again. */
  async #explain() {
    this.stage.root.classList.remove("busy");
    await download(this.view.src);
  }

  #openLarge() {
    const atOwnSize = this.#upload.kind === "image" ? this.address(this.choice.query) : undefined;
    openLarge(this.view.src, this.view.alt, atOwnSize);
  }

  #openOnClick() {
    const { layers, divider } = this.stage;
    let pressed = 0;
    layers.addEventListener("pointerdown", (event) => (pressed = event.timeStamp));
    layers.addEventListener("click", (event) => {
      if (event.target !== divider && event.timeStamp - pressed < CLICK_MS) this.#openLarge();
    });
  }
}
