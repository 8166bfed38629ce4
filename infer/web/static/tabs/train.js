// The train tab: a style image and photos, from which a style is trained.

import { dropzone } from "../parts/drop.js";
import { byId, element, stem, telling } from "../parts/elements.js";
import { discard, upload, uploadAlbum, uploadPlace } from "../parts/files.js";

const MIN_PHOTOS = 500; // recommended by the docs

export function trainTab({ limits, photos: hasPhotos, steps: defaultSteps }, jobs) {
  const form = byId("train-form");
  const button = form.querySelector("button");
  const { name, source, steps, all } = form.elements;
  const [short, normal, long] = steps.options;
  short.value = Math.ceil(defaultSteps / 2);
  normal.textContent += `: ${defaultSteps} steps`;
  long.value = defaultSteps * 2;
  const photos = {}; // by source
  const ready = () => {
    button.disabled = !(styleImage.found && (source.value === "server" || photos[source.value]));
  };
  const styleImage = uploadPlace(byId("train-style"), {
    limits,
    label: "Style image",
    onFound: (file) => {
      if (!name.value) name.value = styleName(file.name);
      ready();
    },
  });
  const offerPhotos = () => {
    const kind = source.value;
    const place = byId("train-photos");
    if (kind === "server") {
      const text = "The photos of this studio will be used.";
      place.replaceChildren(element("div", { className: "drop" }, element("span", { textContent: text })));
    } else {
      const album = kind === "album";
      dropzone(place, {
        label: album ? "Photos" : "Zip archive of photos",
        hint: `At least ${MIN_PHOTOS} for a style that works on any image${album ? "; they are reduced before they are sent" : ""}`,
        accept: album ? "image/*" : ".zip,application/zip",
        multiple: album,
        folder: album && !matchMedia("(pointer: coarse)").matches, // phones cannot choose folders
        take: async (files, report, signal) => {
          const sent = { signal, place: "train-photos" };
          const found = album ? await uploadAlbum(files, report, sent) : await upload(files[0], "archive", limits, report, sent);
          discard(photos[kind]);
          photos[kind] = found;
          ready();
        },
      });
    }
    ready();
  };
  if (hasPhotos) {
    source.options[0].hidden = false;
    source.value = "server";
  } else {
    source.options[0].remove();
  }
  source.addEventListener("change", offerPhotos);
  offerPhotos();
  form.addEventListener("submit", (event) => event.preventDefault());
  const start = async () => {
    if (!form.reportValidity()) return;
    await jobs.start({
      kind: "train",
      style_image: styleImage.found.id,
      name: name.value,
      ...(steps.value ? { steps: Number(steps.value) } : {}), // else the recipe's default
      all_weights: all.checked,
      ...(source.value === "server" ? {} : { photos: photos[source.value].id }),
    });
    name.value = "";
  };
  button.addEventListener("click", telling(start));
}

/** Derive the name of a style from a file name. */
const styleName = (file) =>
  stem(file)
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^_+|_+$/g, "")
    .slice(0, 40);
