// Recording what a canvas shows, with the sound of the microphone if asked.

import { save, tell, unsaved } from "../page/elements.js";
import { clock } from "../page/time.js";

const TYPES = ["video/mp4;codecs=avc1.42E01F,mp4a.40.2", "video/mp4;codecs=avc1.42E01F,opus", "video/mp4;codecs=avc1.42E01F", "video/webm"];
const SILENT_TYPES = ["video/mp4;codecs=avc1.42E01F", "video/webm"];
const PART_MS = 1000; // of the recording that at most is lost with the page
const BITS_PER_SECOND = 5e6;

const NO_SOUND = {
  NotAllowedError: "Microphone access was denied. Allow it in the address bar, or record without sound.",
  NotFoundError: "This device has no microphone. Record without sound.",
  NotReadableError: "Another program is using the microphone. Record without sound.",
};

/** One recording at a time; `onChange` is called when it begins, each second, and when it ends. */
export class Recorder {
  #recorder = null;
  #starts = 0; // a start that waits for the microphone gives up after a later start or stop
  #parts = [];
  #began = 0;
  #clock = 0;
  #name = "";

  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    // The end of a recording would come too late for a page that is left; what is there by now is
    // saved, whatever the visitor answers.
    addEventListener("beforeunload", () => this.#recorder && this.#save());
  }

  get isOn() {
    return this.#recorder !== null;
  }

  /** How long it has been recording, such as 0:12. */
  get time() {
    return clock(Math.floor((performance.now() - this.#began) / 1000));
  }

  /** Start a recording, to be saved under a name without suffix; errors say what to do. */
  async start(name, { sound = false } = {}) {
    const start = (this.#starts += 1);
    const microphone = sound ? await openMicrophone() : null;
    if (start !== this.#starts) {
      microphone?.getTracks().forEach((track) => track.stop());
      return;
    }
    const tracks = [...this.canvas.captureStream().getTracks(), ...(microphone?.getTracks() ?? [])];
    const mimeType = (sound ? TYPES : SILENT_TYPES).find((each) => MediaRecorder.isTypeSupported(each));
    const recorder = new MediaRecorder(new MediaStream(tracks), { mimeType, videoBitsPerSecond: BITS_PER_SECOND });
    recorder.addEventListener("dataavailable", ({ data }) => this.#parts.push(data));
    recorder.addEventListener("error", ({ error }) => tell(`The recording ended: ${error?.message ?? "the browser cannot go on"}`, { bad: true }));
    recorder.addEventListener("stop", () => {
      tracks.forEach((track) => track.stop());
      this.#save();
      this.#end();
      tell("Recording saved");
    });
    this.#parts = [];
    this.#name = name;
    this.#recorder = recorder;
    this.#began = performance.now();
    this.#clock = setInterval(this.onChange, 1000);
    recorder.start(PART_MS);
    unsaved.add(this);
    this.onChange();
  }

  /** End the recording, if there is one, and save it. */
  stop() {
    this.#starts += 1;
    if (this.#recorder?.state === "recording") this.#recorder.stop();
  }

  #save() {
    const type = this.#recorder.mimeType;
    save(new Blob(this.#parts, { type }), `${this.#name}.${type.includes("mp4") ? "mp4" : "webm"}`);
  }

  #end() {
    clearInterval(this.#clock);
    unsaved.delete(this);
    this.#recorder = null;
    this.#parts = [];
    this.onChange();
  }
}

async function openMicrophone() {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    throw new Error(NO_SOUND[error.name] ?? `The microphone cannot be opened: ${error.message}`);
  }
}
