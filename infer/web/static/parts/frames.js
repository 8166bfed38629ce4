// Frames of the camera as photos to train on.

import { element, unsaved } from "./elements.js";

const COUNT = 40;
const PAUSE_MS = 500;

/**
 * Take frames of the camera for 20 seconds, while `place` shows it. `report(fraction, text)` shows
 * the progress. Returns them as JPEG files.
 */
export async function cameraFrames(place, report) {
  if (!navigator.mediaDevices) throw new Error("Browsers allow the camera on HTTPS or localhost only.");
  const video = element("video", { muted: true, playsInline: true, ariaLabel: "The camera" });
  const files = [];
  let stream = null;
  unsaved.add(video);
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } });
    place.replaceChildren(video);
    video.srcObject = stream;
    await video.play();
    while (files.length < COUNT) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      files.push(await frame(video, files.length));
      report(files.length / COUNT, `${files.length} of ${COUNT} frames: move the camera around`);
    }
  } catch (error) {
    throw new Error(`The camera cannot be used: ${error.message}`);
  } finally {
    unsaved.delete(video);
    stream?.getTracks().forEach((track) => track.stop());
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
