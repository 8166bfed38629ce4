// The camera, in its own shape, its frames on canvases, and a screen that stays on meanwhile.

const NO_CAMERA = {
  NotAllowedError: "Camera access was denied. Allow it in the address bar and start again.",
  NotFoundError: "This device has no camera.",
  NotReadableError: "Another program is using the camera.",
  OverconstrainedError: "This camera is no longer there. Choose another one.",
};

/**
 * Open a camera and show it in a video element. Resolves to the stream; errors say what to do.
 *
 * `side` is the number of pixels wished for on the long side. The height is left to the camera, which
 * knows its shape and, on phones, how it is held.
 */
export async function openCamera(video, { device = "", side = 640 } = {}) {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers allow the camera on HTTPS or localhost only. Ask whoever runs this studio to start it with a certificate.");
  }
  const chosen = device ? { deviceId: { exact: device } } : { facingMode: "user" };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: side }, frameRate: { ideal: 30 }, ...chosen },
    });
  } catch (error) {
    throw new Error(NO_CAMERA[error.name] ?? `The camera cannot be opened: ${error.message}`);
  }
  video.srcObject = stream;
  try {
    await video.play();
  } catch (error) {
    // A later stream has taken the element over, or this one has ended already.
    closeCamera(stream);
    throw new Error(`The camera cannot be shown: ${error.message}`);
  }
  return stream;
}

export function closeCamera(stream) {
  stream?.getTracks().forEach((track) => track.stop());
}

/** Draw a frame on a canvas of its size; returns whether the size has changed. */
export function draw(canvas, frame) {
  const { width, height } = frame;
  const isOther = canvas.width !== width || canvas.height !== height;
  if (isOther) Object.assign(canvas, { width, height });
  canvas.getContext("2d", { alpha: false }).drawImage(frame, 0, 0);
  return isOther;
}

/** Keeps the screen on, where the browser can. */
export class Awake {
  #wanted = false;
  #lock = null;

  constructor() {
    // Browsers drop the lock of a page that is not seen.
    document.addEventListener("visibilitychange", () => this.#update());
  }

  set(wanted) {
    this.#wanted = wanted;
    this.#update();
  }

  async #update() {
    if (!this.#wanted) {
      this.#lock?.release();
      this.#lock = null;
    } else if (document.visibilityState === "visible" && (!this.#lock || this.#lock.released)) {
      try {
        this.#lock = await navigator.wakeLock?.request("screen");
        if (!this.#wanted) this.#update();
      } catch {
        // Refused, as with a nearly empty battery: the screen turns off as it always does.
      }
    }
  }
}
