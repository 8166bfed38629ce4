// The train tab: a style image and photos, from which a style is trained.

import { dropzone } from "../files/drop.js";
import { byId, element, stem, telling } from "../page/elements.js";
import { describe, discard, restored, upload, uploadAlbum, uploadPlace } from "../files/files.js";
import { cameraFrames } from "../camera/frames.js";
import { remember } from "../page/remember.js";
import { startButton } from "../page/start.js";
import { about } from "../page/time.js";

const MIN_PHOTOS = 500; // recommended by the docs
const THUMBS = 12; // photos of an album that are shown

/** Set up the tab; `studio` are the facts of the studio. */
export function trainTab(studio, jobs) {
  const form = byId("train-form");
  const { name, source, steps, all } = form.elements;
  offerSources(source, studio);
  offerSteps(steps, studio);
  const keep = remember(form);
  const styleImage = uploadPlace(byId("train-style"), {
    limits: studio.limits,
    label: "Style image",
    onFound: (file) => {
      if (!name.value) name.value = styleName(file.name);
      keep();
      update();
    },
  });
  const photos = new PhotoPlace(byId("train-photos"), studio, { onFound: () => update() });
  const update = startButton(form, {
    missing: () =>
      (!styleImage.found && "Choose a style image first") ||
      (!photos.given && "Choose photos first") ||
      (!name.value && "Name the style first") ||
      "",
    start: async () => {
      if (!form.reportValidity()) return;
      await jobs.start({
        kind: "train",
        style_image: styleImage.found.id,
        name: name.value,
        ...(steps.value ? { steps: Number(steps.value) } : {}), // else the recipe's default
        all_weights: all.checked,
        ...photos.given,
      });
      name.value = "";
      keep();
    },
  });
  source.addEventListener("change", () => photos.show(source.value));
  photos.show(source.value);
}

/** Keep to the sources of photos that there are, the best one first. */
function offerSources(source, { photos, packaged_photos: packaged }) {
  const isThere = { server: photos, packaged: packaged > 0, camera: true, album: true, photos: true };
  for (const option of [...source.options]) if (!isThere[option.value]) option.remove();
  source.value = photos ? "server" : "album";
  const come = [...source.options].find((option) => option.value === "packaged");
  if (come) come.textContent += ` (${packaged})`;
}

/** Say how many steps the durations are, and how long they take here. */
function offerSteps(select, { steps, pace }) {
  const counts = [Math.ceil(steps / 2), steps, steps * 2];
  [...select.options].forEach((option, index) => {
    const count = counts[index];
    if (count !== steps) option.value = count;
    option.textContent += `: ${count} steps, ${about(pace.train.start + pace.train.unit * count)}`;
  });
}

/** The place for photos, which depends on their source. */
class PhotoPlace {
  #found = {}; // uploads by source
  #kind = "";

  constructor(root, studio, { onFound }) {
    this.studio = studio;
    this.onFound = onFound;
    this.choice = element("div", { className: "choice" });
    this.thumbs = element("div", { className: "thumbs" });
    this.warning = element("p", { className: "warning", role: "status" });
    root.replaceChildren(this.choice, this.thumbs, this.warning);
    for (const kind of ["album", "camera", "photos"]) this.#restore(kind);
  }

  /** Find again what was uploaded before the page was loaded. */
  async #restore(kind) {
    const found = await restored(`train-${kind}`);
    if (!found || this.#found[kind]) return;
    this.#found[kind] = found;
    if (this.#kind === kind) this.show(kind);
  }

  /** What a job has to be told of the photos; null if there are none yet. */
  get given() {
    if (this.#kind === "server") return {};
    if (this.#kind === "packaged") return { photos: "packaged" };
    const found = this.#found[this.#kind];
    return found ? { photos: found.id } : null;
  }

  /** Offer the photos of a source. */
  show(kind) {
    this.#kind = kind;
    this.thumbs.replaceChildren();
    const card = (...content) => this.choice.replaceChildren(element("div", { className: "drop still" }, ...content));
    if (kind === "server") card("The photos of this studio will be used.");
    else if (kind === "packaged") card(`The ${this.studio.packaged_photos} photos that come with nst-rt will be used, for a first try.`);
    else if (kind === "camera") this.#offerCamera(card);
    else this.#offerFiles(kind);
    this.#warn();
    this.onFound();
  }

  #offerCamera(card) {
    const button = element("button", { type: "button", textContent: "Take 40 frames in 20 seconds" });
    const view = element("div", { className: "view" });
    const hint = element("p", { className: "hint", textContent: this.#found.camera ? framesOf(this.#found.camera) : "Show what the camera will see later: rooms, people, things." });
    const bar = element("progress", { max: 1, value: 0, hidden: true, ariaLabel: "Frames" });
    const report = (fraction, text) => {
      bar.value = fraction;
      hint.textContent = text;
    };
    const take = async () => {
      button.disabled = true;
      bar.hidden = false;
      try {
        const found = await this.#send(await cameraFrames(view, report), report, { place: "train-camera" });
        this.#keep("camera", found);
        hint.textContent = framesOf(found);
      } finally {
        button.disabled = false;
        bar.hidden = true;
      }
    };
    button.addEventListener("click", telling(take));
    card(view, button, hint, bar);
  }

  #offerFiles(kind) {
    const isAlbum = kind === "album";
    dropzone(this.choice, {
      label: isAlbum ? "Photos" : "Zip archive of photos",
      hint: this.#found[kind] ? describe(this.#found[kind]) : `Best ${MIN_PHOTOS} or more${isAlbum ? "; they are reduced before they are sent" : ""}`,
      accept: isAlbum ? "image/*" : ".zip,application/zip",
      multiple: isAlbum,
      folder: isAlbum && !matchMedia("(pointer: coarse)").matches, // phones cannot choose folders
      take: async (files, report, signal) => {
        const sent = { signal, place: `train-${kind}` };
        this.#keep(kind, isAlbum ? await this.#send(files, report, sent) : await upload(files[0], "archive", this.studio.limits, report, sent));
      },
    });
  }

  /** Upload photos, and show the first ones. */
  #send(files, report, sent) {
    this.thumbs.replaceChildren();
    const onPhoto = (photo) => {
      if (this.thumbs.children.length >= THUMBS) return;
      const image = element("img", { src: URL.createObjectURL(photo), alt: "" });
      image.addEventListener("load", () => URL.revokeObjectURL(image.src));
      this.thumbs.append(image);
    };
    return uploadAlbum(files, report, { ...sent, onPhoto });
  }

  #keep(kind, found) {
    discard(this.#found[kind]);
    this.#found[kind] = found;
    this.#warn();
    this.onFound();
  }

  #warn() {
    const count = this.#kind === "packaged" ? this.studio.packaged_photos : this.#found[this.#kind]?.count;
    const few = count !== undefined && count < MIN_PHOTOS;
    this.warning.hidden = !few;
    this.warning.textContent = few
      ? `${count} photos are enough for a try. The style may show flaws on images unlike these; ${MIN_PHOTOS} photos or more make it work on any image.`
      : "";
  }
}

const framesOf = ({ count }) => `${count} frames of the camera`;

/** Derive the name of a style from a file name. */
const styleName = (file) =>
  stem(file)
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^_+|_+$/g, "")
    .slice(0, 40);
