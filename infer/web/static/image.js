// The image tab: one photo in all styles, and one of them at full size.

import { download } from "./api.js";
import { describe, forget, upload } from "./files.js";
import { LookPicker } from "./looks.js";
import { byId, dropzone, save, stem, telling } from "./ui.js";

const VIEW = 1024; // pixels, long side
const THUMB = 200;
const THUMB_STROKES = "5%"; // so small a picture would not show finer ones
const KEY = "nst-rt photo"; // of what a reload finds again
const WAIT_MS = 150; // while a slider moves

export class ImageTab {
  #photo = null;
  #timer = 0;

  constructor(limits) {
    this.view = byId("image-view");
    this.stage = byId("image-stage");
    this.original = byId("image-original");
    this.picker = new LookPicker(byId("image-look"), { moving: false, onChange: () => this.#later() });
    this.drop = dropzone(byId("image-drop"), {
      label: "Choose or drop a photo",
      hint: "JPEG, PNG, WebP, TIFF",
      accept: "image/*",
      take: async ([file], report) => {
        const found = await upload(file, "photo", limits, report);
        await this.#tryOut(found); // until then, the one before is the one
        forget(this.#photo);
        this.#show(found);
      },
    });
    this.view.addEventListener("load", () => this.stage.classList.remove("busy"));
    this.view.addEventListener("error", telling(() => this.#explain()));
    this.original.addEventListener("click", () => {
      const pressed = this.original.getAttribute("aria-pressed") !== "true";
      this.original.setAttribute("aria-pressed", pressed);
      this.#paint();
    });
    byId("image-download").addEventListener("click", telling(() => this.#download()));
  }

  /** Offer these styles; the photo of before a reload comes back with them. */
  offer(styles) {
    this.picker.offer(styles);
    const kept = sessionStorage.getItem(KEY);
    if (kept && !this.#photo) this.#restore(JSON.parse(kept));
  }

  #restore(photo) {
    const probe = new Image();
    probe.addEventListener("load", () => this.#show(photo));
    probe.addEventListener("error", () => sessionStorage.removeItem(KEY));
    probe.src = `${address(photo)}?style=${this.picker.name}&strength=0&size=64`;
  }

  /** Paint a new photo once; one that cannot be painted is not kept. */
  async #tryOut(photo) {
    try {
      await download(`${address(photo)}?${this.picker.query}&size=${THUMB}`);
    } catch (error) {
      forget(photo);
      throw error;
    }
  }

  #show(photo) {
    this.#photo = photo;
    sessionStorage.setItem(KEY, JSON.stringify(photo));
    this.stage.hidden = false;
    byId("image-tools").hidden = false;
    this.drop.compact(true);
    this.drop.say(describe(photo));
    this.picker.showOn((name) => `${address(photo)}?style=${encodeURIComponent(name)}&strokes=${THUMB_STROKES}&size=${THUMB}`);
    this.#paint();
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#paint(), WAIT_MS);
  }

  #paint() {
    if (!this.#photo) return;
    const original = this.original.getAttribute("aria-pressed") === "true";
    const query = original ? `style=${this.picker.name}&strength=0` : this.picker.query;
    this.stage.classList.add("busy");
    this.view.alt = original ? "The photo" : `The photo as ${Object.keys(this.picker.look.styles).join(" and ")}`;
    this.view.src = `${address(this.#photo)}?${query}&size=${VIEW}`;
  }

  /** An image says only that it failed; asked again, the studio says why. */
  async #explain() {
    this.stage.classList.remove("busy");
    await download(this.view.src);
  }

  async #download() {
    const button = byId("image-download");
    const format = byId("image-format").value;
    button.disabled = true;
    button.textContent = "Painting …";
    try {
      const picture = await download(`${address(this.#photo)}?${this.picker.query}&format=${format}`);
      save(picture, `${stem(this.#photo.name)}_${this.picker.name}.${format}`);
    } finally {
      button.disabled = false;
      button.textContent = "Download full size";
    }
  }
}

const address = (photo) => `/api/uploads/${photo.id}/painted`;
