// The image tab: one image in all styles, and in one of them at full size; or several at once.

import { request } from "../page/api.js";
import { dropzone } from "../files/drop.js";
import { byId, save, tell, telling } from "../page/elements.js";
import { describe, discard, restored, upload, uploadImages } from "../files/files.js";
import { StylePicker } from "../page/picker.js";
import { Still } from "../files/still.js";

const PLACE = "image";
const LEARNED_ON = 100; // images, at most

export class ImageTab {
  #images = []; // the first one is shown

  constructor(limits, choice, jobs, learning) {
    this.limits = limits;
    this.choice = choice;
    this.jobs = jobs;
    this.learning = learning;
    this.picker = new StylePicker(byId("image-style"), choice, { moving: false, learning, content: () => this.#ids });
    this.still = new Still("image", choice, this.picker);
    this.button = byId("image-download");
    this.drop = dropzone(byId("image-drop"), {
      label: "Choose, drop or paste an image",
      hint: "JPEG, PNG, WebP, TIFF; or several, to stylize all of them",
      accept: "image/*",
      multiple: true,
      take: (files, report, signal) => this.#take(files, report, signal),
    });
    this.button.addEventListener("click", telling(() => (this.#images.length > 1 ? this.#stylizeAll() : this.#download())));
  }

  /** Offer these styles; at first, show the image from before, if there is one. */
  async offer(styles) {
    this.picker.offer(styles);
    const found = await restored(PLACE);
    if (found && !this.#images.length) this.#show([found]);
  }

  async #take(files, report, signal) {
    const { usable, errors } =
      files.length === 1
        ? { usable: [await upload(files[0], "image", this.limits, report, { signal, place: PLACE })], errors: [] }
        : await uploadImages(files, this.limits, report, { signal, place: PLACE });
    try {
      await this.still.tryOut(usable[0]); // on an error the previous image stays
    } catch (error) {
      discard(...usable);
      throw error;
    }
    for (const { message } of errors) tell(message, { bad: true });
    discard(...this.#images);
    this.#show(usable);
  }

  get #ids() {
    return this.#images.map(({ id }) => id).slice(0, LEARNED_ON);
  }

  #show(images) {
    this.#images = images;
    telling(() => this.learning.show(this.#ids))();
    this.still.stage.root.hidden = false;
    byId("image-tools").hidden = false;
    const several = images.length > 1;
    this.drop.shrink(several ? `${images.length} images; the first one is shown` : describe(images[0]));
    this.#nameButton();
    this.still.show(images[0]);
  }

  #nameButton() {
    const count = this.#images.length;
    this.button.textContent = count > 1 ? `Stylize ${count} images` : "Download full size";
  }

  async #stylizeAll() {
    const images = this.#images.map(({ id }) => id);
    await this.jobs.start({ kind: "images", images, choice: this.choice.json, format: byId("image-format").value });
    byId("images-jobs").scrollIntoView({ block: "nearest" });
  }

  async #download() {
    this.button.disabled = true;
    this.button.textContent = "Stylizing …";
    try {
      const answer = await request(this.still.address(`${this.choice.query}&format=${byId("image-format").value}`));
      save(await answer.blob(), decodeURIComponent(answer.headers.get("X-Name")));
    } finally {
      this.button.disabled = false;
      this.#nameButton();
    }
  }
}
