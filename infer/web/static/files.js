// Files on their way to the studio, checked against its limits before they leave.

import { ask, send, StudioError } from "./api.js";
import { element } from "./ui.js";

const SHORT_SIDE = 288; // pixels that training needs of a photo
const AT_ONCE = 3; // photos on their way

/** Upload one file of a kind: photo, video, photos. Gives what the studio found in it. */
export async function upload(file, kind, limits, report) {
  if (file.size > limits.upload) {
    throw new StudioError(`${file.name}: larger than the ${Math.round(limits.upload / 1e6)} MB allowed here`);
  }
  const onProgress = (part) => report(part, part < 1 ? `${file.name}: ${Math.round(part * 100)} %` : `${file.name}: checking`);
  const found = await send(`/api/uploads?kind=${kind}`, file, { name: file.name, onProgress });
  report(1, describe(found));
  return found;
}

/** Upload a folder of photos, made as small as training needs them. */
export async function uploadAlbum(files, report) {
  const photos = files.filter((file) => file.type.startsWith("image/"));
  if (!photos.length) throw new StudioError("There are no photos in this folder.");
  const name = photos[0].webkitRelativePath.split("/")[0] || "photos";
  let album = await send("/api/uploads?kind=album", null, { name });
  let next = 0;
  let skipped = 0;
  const work = async () => {
    while (next < photos.length) {
      const photo = photos[next++];
      const small = await shrunk(photo).catch(() => null);
      if (small === null) skipped += 1;
      else {
        const found = await send(`/api/uploads/${album.id}/photos`, small);
        album = latest(album, found); // which may have changed while this waited
      }
      report(next / photos.length, `${next} of ${photos.length} photos`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  report(1, `${name}: ${album.count} photos${skipped ? `, ${skipped} could not be read` : ""}`);
  return album;
}

const latest = (one, other) => (one.count > other.count ? one : other);

async function shrunk(photo) {
  const picture = await createImageBitmap(photo);
  const scale = Math.min(1, SHORT_SIDE / Math.min(picture.width, picture.height));
  const canvas = element("canvas", {
    width: Math.round(picture.width * scale),
    height: Math.round(picture.height * scale),
  });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

/** What is known of a file, in words. */
export function describe(found) {
  const facts = [found.name];
  if (found.width) facts.push(`${found.width} × ${found.height}`);
  if (found.seconds) facts.push(`${found.seconds.toFixed(1)} s`);
  if (found.count !== undefined) facts.push(`${found.count} photos`);
  return facts.join(", ");
}

/** Forget a file that is no longer needed; a job may still hold it, which is as well. */
export const forget = (found) => found && ask(`/api/uploads/${found.id}`, { method: "DELETE" }).catch(() => {});
