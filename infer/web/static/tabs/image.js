// The image tab: one image in all styles, and in one of them at full size.

import { download } from "../parts/api.js";
import { dropzone } from "../parts/drop.js";
import { byId, element, save, stem, telling } from "../parts/elements.js";
import { describe, discard, upload } from "../parts/files.js";
import { StylePicker } from "../parts/picker.js";
import { Stage } from "../parts/stage.js";

const VIEW = 1024; // pixels, long side
const THUMB = 200;
const THUMB_STROKES = "5%"; // finer strokes would not be visible in so small an image
const KEY = "nst-rt image"; // in the session storage, for reloads
const WAIT_MS = 150; // after the last move of a slider

export class ImageTab {
  #image = null;
  #timer = 0;

  constructor(limits, choice) {
    this.choice = choice;
    choice.addEventListener("change", () => this.#later());
    this.view = byId("image-view");
    this.original = element("img", { alt: "The original" });
    this.stage = new Stage(byId("image-stage"), {
      shown: this.view,
      original: this.original,
      compare: byId("image-compare"),
      hold: byId("image-hold"),
    });
    this.picker = new StylePicker(byId("image-style"), choice, { moving: false });
    this.drop = dropzone(byId("image-drop"), {
      label: "Choose or drop an image",
      hint: "JPEG, PNG, WebP, TIFF",
      accept: "image/*",
      take: async ([file], report) => {
        const found = await upload(file, "image", limits, report);
        await this.#tryOut(found); // on an error the previous image stays
        discard(this.#image);
        this.#show(found);
      },
    });
    this.view.addEventListener("load", () => this.stage.root.classList.remove("busy"));
    this.view.addEventListener("error", telling(() => this.#explain()));
    byId("image-download").addEventListener("click", telling(() => this.#download()));
  }

  /** Offer these styles; after a reload, show the image from before. */
  offer(styles) {
    this.picker.offer(styles);
    const kept = sessionStorage.getItem(KEY);
    if (!kept || this.#image) return;
    const image = JSON.parse(kept);
    const probe = `${address(image)}?style=${this.choice.values.first}&strength=0&size=64`;
    download(probe).then(() => this.#show(image), () => sessionStorage.removeItem(KEY));
  }

  /** Stylize a new image once; if that fails, it is not kept. */
  async #tryOut(image) {
    try {
      await download(`${address(image)}?${this.choice.query}&size=${THUMB}`);
    } catch (error) {
      discard(image);
      throw error;
    }
  }

  #show(image) {
    this.#image = image;
    sessionStorage.setItem(KEY, JSON.stringify(image));
    this.stage.root.hidden = false;
    byId("image-tools").hidden = false;
    this.drop.shrink(describe(image));
    this.stage.shape(image.width, image.height);
    this.original.src = `${address(image)}?style=${this.choice.values.first}&strength=0&size=${VIEW}`;
    this.picker.showPreviews((name) => `${address(image)}?style=${encodeURIComponent(name)}&stroke_size=${THUMB_STROKES}&size=${THUMB}`);
    this.#stylize();
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#stylize(), WAIT_MS);
  }

  #stylize() {
    if (!this.#image) return;
    this.stage.root.classList.add("busy");
    this.view.alt = `The image as ${Object.keys(this.choice.styles).join(" and ")}`;
    this.view.src = `${address(this.#image)}?${this.choice.query}&size=${VIEW}`;
  }

  /** An <img> only reports that it failed; the studio says why when asked again. */
  async #explain() {
    this.stage.root.classList.remove("busy");
    await download(this.view.src);
  }

  async #download() {
    const button = byId("image-download");
    const format = byId("image-format").value;
    button.disabled = true;
    button.textContent = "Stylizing …";
    try {
      const blob = await download(`${address(this.#image)}?${this.choice.query}&format=${format}`);
      save(blob, `${stem(this.#image.name)}_${this.choice.values.first}.${format}`);
    } finally {
      button.disabled = false;
      button.textContent = "Download full size";
    }
  }
}

const address = (image) => `/api/uploads/${image.id}/stylized`;
