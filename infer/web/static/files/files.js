// Uploads, checked against the limits of the studio before they are sent, and found again later.

import { ask, send, StudioError } from "../page/api.js";
import { dropzone } from "./drop.js";
import { element } from "../page/elements.js";

const SHORT_SIDE = 288; // pixels that training needs
const PARALLEL = 3; // files in flight
const PREVIEW = 640; // pixels, long side
const MB = 1e6;

/**
 * Upload one file of a kind: image, video or archive; `place` is where the page shows it again
 * after a reload. Returns what the studio found in it.
 */
export async function upload(file, kind, limits, report, { signal, place }) {
  if (file.size > limits.upload) {
    throw new StudioError(`${file.name}: larger than the ${Math.round(limits.upload / MB)} MB allowed here`);
  }
  const onProgress = (sent) => report(sent, `${file.name}: ${sent < 1 ? progress(sent, file.size) : "checking"}`);
  const path = `/api/uploads?${new URLSearchParams({ kind, place })}`;
  const found = await send(path, file, { name: file.name, onProgress, signal });
  report(1, describe(found));
  return found;
}

function progress(sent, bytes) {
  const percent = `${Math.round(sent * 100)}%`;
  if (bytes < MB) return percent;
  const digits = bytes < 10 * MB ? 1 : 0;
  return `${((sent * bytes) / MB).toFixed(digits)} of ${(bytes / MB).toFixed(digits)} MB, ${percent}`;
}

/** Upload several images. Returns those that the studio can use and the errors of the others. */
export async function uploadImages(files, limits, report, { signal, place }) {
  const found = [];
  const errors = [];
  let next = 0;
  let done = 0;
  const work = async () => {
    while (next < files.length && !signal.aborted) {
      const at = next++;
      try {
        // Only the first one is shown again after a reload.
        found[at] = await upload(files[at], "image", limits, () => {}, { signal, place: at ? "" : place });
      } catch (error) {
        errors.push(error);
      }
      report((done += 1) / files.length, `${done} of ${files.length} images`);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  const usable = found.filter(Boolean);
  if (signal.aborted || !usable.length) {
    discard(...usable);
    throw errors[0] ?? new StudioError("Cancelled");
  }
  return { usable, errors };
}

let known; // the uploads that were there when the page was loaded

/** The newest upload of a place when the page was loaded, or null. */
export async function restored(place) {
  known ??= ask("/api/uploads").catch(() => []);
  return (await known).findLast((each) => each.place === place) ?? null;
}

/** Address of an upload as it is: an image, or a frame of a video. */
export const originalAddress = (found, size, at = 0) => `/api/uploads/${found.id}/original?${new URLSearchParams({ size, at })}`;

/**
 * A place to choose an image, which is uploaded and shown there, also after a reload; what the
 * studio found in the last one is in `found` of the object returned. `onFound` is called with each
 * new file, of which only the name is certain.
 */
export function uploadPlace(container, { limits, label, hint = "Choose, drop or paste an image", accept = "image/*", onFound }) {
  const name = container.id;
  const place = { found: null };
  const show = (found) => {
    place.found = found;
    // From the studio, since browsers show fewer formats than it reads.
    drop.show(element("img", { src: originalAddress(found, PREVIEW), alt: "" }), describe(found));
    onFound({ name: found.name });
  };
  const drop = dropzone(container, {
    label,
    hint,
    accept,
    take: async ([file], report, signal) => {
      const found = await upload(file, "image", limits, report, { signal, place: name });
      discard(place.found);
      show(found);
    },
  });
  restored(name).then((found) => found && !place.found && show(found));
  return place;
}

/**
 * Upload a folder of photos, reduced to the size that training needs; `onPhoto` is called with each
 * reduced one.
 */
export async function uploadAlbum(files, report, { signal, place, onPhoto = () => {} }) {
  const photos = files.filter((file) => file.type.startsWith("image/"));
  if (!photos.length) throw new StudioError("There are no photos in this folder.");
  const name = photos[0].webkitRelativePath?.split("/")[0] || "photos";
  let album = await send(`/api/uploads?${new URLSearchParams({ kind: "album", place })}`, null, { name });
  let next = 0;
  let skipped = 0;
  const work = async () => {
    while (next < photos.length) {
      signal?.throwIfAborted();
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
  try {
    await Promise.all(Array.from({ length: PARALLEL }, work));
  } catch (error) {
    discard(album); // cancelled, or refused: half of a folder is not shown again later
    throw error;
  }
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

/** Remove uploads that are no longer needed; those that a job needs stay. */
export async function discard(...uploads) {
  const ids = uploads.filter(Boolean).map(({ id }) => id);
  if (!ids.length) return;
  try {
    const useless = (await ask("/api/uploads")).filter(({ id, needed }) => ids.includes(id) && !needed);
    for (const { id } of useless) await ask(`/api/uploads/${id}`, { method: "DELETE" });
  } catch {
    // They make room for others in time.
  }
}
