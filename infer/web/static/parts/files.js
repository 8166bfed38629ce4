// Uploads, checked against the limits of the studio before they are sent.

import { ask, send, StudioError } from "./api.js";
import { dropzone } from "./drop.js";
import { element } from "./elements.js";

const SHORT_SIDE = 288; // pixels that training needs
const PARALLEL = 3; // photos in flight

/** Upload one file of a kind: image, video or archive. Returns what the studio found in it. */
export async function upload(file, kind, limits, report) {
  if (file.size > limits.upload) {
    throw new StudioError(`${file.name}: larger than the ${Math.round(limits.upload / 1e6)} MB allowed here`);
  }
  const onProgress = (sent) => report(sent, sent < 1 ? `${file.name}: ${Math.round(sent * 100)}%` : `${file.name}: checking`);
  const found = await send(`/api/uploads?kind=${kind}`, file, { name: file.name, onProgress });
  report(1, describe(found));
  return found;
}

/**
 * A place to choose an image or a video, which is uploaded and shown there; what the studio found
 * in the last one is in `found` of the object returned. `onFound` is called with each new file.
 */
export function uploadPlace(container, { kind = "image", limits, label, hint = "Choose or drop an image", accept = "image/*", onFound }) {
  const place = { found: null };
  const drop = dropzone(container, {
    label,
    hint,
    accept,
    take: async ([file], report) => {
      const found = await upload(file, kind, limits, report);
      discard(place.found);
      place.found = found;
      const src = URL.createObjectURL(file);
      drop.show(kind === "video" ? element("video", { src, muted: true, controls: true, playsInline: true }) : element("img", { src, alt: "" }));
      onFound(file);
    },
  });
  return place;
}

/**
 * Upload a folder of photos, reduced to the size that training needs; `onPhoto` is called with each
 * reduced one.
 */
export async function uploadAlbum(files, report, { onPhoto = () => {} } = {}) {
  const photos = files.filter((file) => file.type.startsWith("image/"));
  if (!photos.length) throw new StudioError("There are no photos in this folder.");
  const name = photos[0].webkitRelativePath.split("/")[0] || "photos";
  let album = await send("/api/uploads?kind=album", null, { name });
  let next = 0;
  let skipped = 0;
  const work = async () => {
    while (next < photos.length) {
      const photo = photos[next++];
      const small = await reduced(photo).catch(() => null);
      if (small === null) skipped += 1;
      else {
        const found = await send(`/api/uploads/${album.id}/photos`, small);
        album = latest(album, found); // answers may arrive in any order
        onPhoto(small);
      }
      report(next / photos.length, `${next} of ${photos.length} photos`);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  report(1, `${name}: ${album.count} photos${skipped ? `, ${skipped} could not be read` : ""}`);
  return album;
}

const latest = (one, other) => (one.count > other.count ? one : other);

async function reduced(photo) {
  const bitmap = await createImageBitmap(photo);
  const scale = Math.min(1, SHORT_SIDE / Math.min(bitmap.width, bitmap.height));
  const canvas = element("canvas", {
    width: Math.round(bitmap.width * scale),
    height: Math.round(bitmap.height * scale),
  });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

/** Describe an upload in words. */
export function describe(found) {
  const facts = [found.name];
  if (found.width) facts.push(`${found.width} × ${found.height}`);
  if (found.seconds) facts.push(`${found.seconds.toFixed(1)} s`);
  if (found.count !== undefined) facts.push(`${found.count} photos`);
  return facts.join(", ");
}

/** Remove an upload that is no longer needed; the studio keeps it if a job still needs it. */
export const discard = (found) => found && ask(`/api/uploads/${found.id}`, { method: "DELETE" }).catch(() => {});
