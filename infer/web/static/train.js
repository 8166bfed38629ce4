// The train tab: a painting and photos, and a style that comes out of them.

import { forget, upload, uploadAlbum } from "./files.js";
import { byId, dropzone, element, stem, telling } from "./ui.js";

const FEW = 500; // photos, that docs advise

export class TrainTab {
  #painting = null;
  #photos = {};

  constructor({ limits, photos: hasPhotos, steps: usual }, jobs) {
    const form = byId("train-form");
    const { name, source, steps, whole } = form.elements;
    const [half, asUsual, twice] = steps.options;
    half.value = Math.ceil(usual / 2);
    asUsual.textContent += `: ${usual} steps`;
    twice.value = usual * 2;
    this.form = form;
    const drop = dropzone(byId("train-painting"), {
      label: "The painting",
      hint: "Choose or drop a picture",
      accept: "image/*",
      take: async ([file], report) => {
        const found = await upload(file, "photo", limits, report);
        forget(this.#painting);
        this.#painting = found;
        drop.picture(element("img", { src: URL.createObjectURL(file), alt: "" }));
        if (!name.value) name.value = styleName(file.name);
        this.#ready();
      },
    });
    if (hasPhotos) {
      source.options[0].hidden = false;
      source.value = "server";
    } else {
      source.options[0].remove();
    }
    source.addEventListener("change", () => this.#askPhotos(limits));
    this.#askPhotos(limits);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.querySelector("button").addEventListener(
      "click",
      telling(async () => {
        if (!form.reportValidity()) return;
        await jobs.start({
          kind: "train",
          painting: this.#painting.id,
          name: name.value,
          ...(steps.value ? { steps: Number(steps.value) } : {}), // else the studio knows best
          whole: whole.checked,
          ...(source.value === "server" ? {} : { photos: this.#photos[source.value].id }),
        });
        name.value = "";
      }),
    );
  }

  #askPhotos(limits) {
    const kind = this.form.elements.source.value;
    const place = byId("train-photos");
    if (kind === "server") {
      const text = "Photos of this studio are there to learn on.";
      place.replaceChildren(element("div", { className: "drop" }, element("span", { textContent: text })));
    } else {
      const album = kind === "album";
      dropzone(place, {
        label: album ? "The photos" : "A zip archive of photos",
        hint: `${FEW} are the least for a style that works everywhere${album ? "; they are made small before they leave" : ""}`,
        accept: album ? "image/*" : ".zip,application/zip",
        multiple: album,
        folder: album && !matchMedia("(pointer: coarse)").matches, // phones have no folders to choose
        take: async (files, report) => {
          const found = album ? await uploadAlbum(files, report) : await upload(files[0], "photos", limits, report);
          forget(this.#photos[kind]);
          this.#photos[kind] = found;
          this.#ready();
        },
      });
    }
    this.#ready();
  }

  #ready() {
    const kind = this.form.elements.source.value;
    const photos = kind === "server" || this.#photos[kind];
    this.form.querySelector("button").disabled = !(this.#painting && photos);
  }
}

/** A file's name as that of a style. */
const styleName = (file) =>
  stem(file)
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^_+|_+$/g, "")
    .slice(0, 40);
