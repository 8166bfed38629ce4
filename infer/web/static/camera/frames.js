// Frames of the camera as photos to train on.

import { closeCamera, openCamera } from "./camera.js";
import { element, unsaved } from "../page/elements.js";

const COUNT = 40;
const PAUSE_MS = 500;

/**
 * Take frames of the camera for 20 seconds, while `place` shows it. `report(fraction, text)` shows
 * the progress. Returns them as JPEG files.
 */
export async function cameraFrames(place, report) {
  const video = element("video", { muted: true, playsInline: true, ariaLabel: "The camera" });
  const files = [];
  let stream = null;
  unsaved.add(video);
  try {
    place.replaceChildren(video);
    stream = await openCamera(video);
    while (files.length < COUNT) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      files.push(await frame(video, files.length));
      report(files.length / COUNT, `${files.length} of ${COUNT} frames: move the camera around`);
    }
  } finally {
    unsaved.delete(video);
    closeCamera(stream);
    video.remove();
  }
  return files;
}

async function frame(video, number) {
  const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return new File([blob], `${number}.jpg`, { type: "image/jpeg" });
}
