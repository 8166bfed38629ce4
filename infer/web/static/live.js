// The live tab: the camera's frames to the studio and back, never more than a few on the way.

import { ask } from "./api.js";
import { byId, element, save, tell, telling, unsaved } from "./ui.js";
import { LookPicker } from "./looks.js";

// Frames on their way at once. One more than is being painted keeps the engine busy; any further
// one would only wait, and be old when it is shown.
const WINDOW = 2;
const QUALITY = 0.8;
const RETRY_MS = 2000;
const METER_MS = 500;
const KEPT = 40; // frames that rate and round trip are means of
const RECENT_MS = 4000; // that these frames may be old: at one in two seconds there is a rate still

const NO_CAMERA = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it in the address bar, and start again.",
  NotFoundError: "There is no camera on this device.",
  NotReadableError: "The camera is in use by another program.",
  OverconstrainedError: "The camera has no such size.",
};

export class Live {
  #socket = null;
  #stream = null;
  #sent = []; // when the frames on their way were taken
  #shown = []; // [when, round trip] of frames that came back
  #fresh = false;
  #busy = false;
  #recorder = null;
  #drawn = Promise.resolve();
  #size = []; // width and height that frames are stylized at
  #full = false;
  #starts = 0; // a start that waits for the browser ends where a later one, or a stop, has begun

  constructor() {
    this.video = byId("live-camera");
    this.canvas = byId("live-canvas");
    this.screen = this.canvas.getContext("2d", { alpha: false });
    this.taken = element("canvas");
    this.picker = new LookPicker(byId("live-look"), { onChange: () => this.#sendLook() });
    byId("live-start").addEventListener("click", () => this.start());
    byId("live-stop").addEventListener("click", () => this.stop());
    byId("live-shot").addEventListener("click", () => this.#snapshot());
    byId("live-record").addEventListener("click", () => this.#record());
    byId("live-full").addEventListener("click", telling(() => this.#fullScreen()));
    byId("live-full").hidden = !document.fullscreenEnabled; // phones of Apple show videos alone so
    for (const id of ["live-device", "live-resolution"]) {
      byId(id).addEventListener("change", () => this.#stream && this.start());
    }
    setInterval(() => this.#measure(), METER_MS);
  }

  /** Open the camera and the way to the studio. */
  async start() {
    this.stop();
    const start = this.#starts;
    if (!navigator.mediaDevices) {
      this.#say("Browsers give a camera only to pages over HTTPS or from localhost. Start the studio with --self-signed.");
      return;
    }
    const width = Number(byId("live-resolution").value);
    const device = byId("live-device").value;
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: {
          width: { ideal: width },
          height: { ideal: (width * 3) / 4 },
          frameRate: { ideal: 30 },
          ...(device ? { deviceId: { exact: device } } : { facingMode: "user" }),
        },
      });
    } catch (error) {
      if (start === this.#starts) this.#say(NO_CAMERA[error.name] ?? `The camera cannot be opened: ${error.message}`);
      return;
    }
    if (start !== this.#starts) {
      stream.getTracks().forEach((track) => track.stop());
      return;
    }
    this.#stream = stream;
    stream.getVideoTracks()[0].addEventListener("ended", () => {
      if (this.#stream === stream) this.stop("The camera went away.");
    });
    this.video.srcObject = stream;
    try {
      await this.video.play();
      await this.#listCameras(stream);
    } catch (error) {
      if (start === this.#starts) this.stop(`The camera cannot be shown: ${error.message}`);
    }
    if (start !== this.#starts) return;
    this.#say(null);
    this.#connect();
    this.#watch(stream);
  }

  /** Close both; `message` says why, if it was not asked for. */
  stop(message = "The camera is off.") {
    this.#starts += 1;
    this.#recorder?.stop();
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.video.srcObject = null;
    this.#socket?.close();
    this.#socket = null;
    this.#shown = [];
    this.#say(message);
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    socket.binaryType = "blob";
    this.#socket = socket;
    this.#sent = [];
    this.#full = false;
    socket.addEventListener("open", () => {
      this.#sendLook();
      this.#pump();
    });
    socket.addEventListener("message", ({ data }) => {
      if (typeof data === "string") this.#hear(JSON.parse(data));
      else this.#receive(data);
    });
    socket.addEventListener("close", () => {
      if (this.#socket !== socket) return;
      if (this.#full) return;
      this.#sent = [];
      this.#shown = [];
      this.#measure();
      this.#explain(socket);
      setTimeout(() => this.#socket === socket && this.#stream && this.#connect(), RETRY_MS);
    });
  }

  /** Say why there are no pictures: the studio is gone, or another one that does not know us. */
  async #explain(socket) {
    let reason = "The studio broke off; trying again";
    try {
      await ask("/api/studio");
    } catch (error) {
      reason = error.status ? error.message : "The studio does not answer; trying again";
    }
    if (this.#socket === socket) this.#trouble(reason);
  }

  #trouble(reason) {
    byId("live-trouble").hidden = !reason;
    if (byId("live-trouble").textContent !== reason) byId("live-trouble").textContent = reason;
  }

  #hear({ full, error, lost, size, viewers }) {
    if (full !== undefined) {
      this.#full = true;
      this.stop(`The studio is full: it paints for ${full} ${full === 1 ? "viewer" : "viewers"} at once. Try again when someone has left.`);
    } else if (error !== undefined) {
      if (lost) this.#sent.shift();
      tell(error, { bad: true });
    } else {
      this.#size = size;
      byId("live-others").hidden = viewers < 2;
      byId("live-viewers").textContent = viewers;
    }
  }

  #sendLook() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(this.picker.look));
  }

  /** Note each new frame of the camera as long as this stream is the one. */
  #watch(stream) {
    const next = this.video.requestVideoFrameCallback
      ? (then) => this.video.requestVideoFrameCallback(then)
      : (then) => requestAnimationFrame(then);
    const note = () => {
      if (this.#stream !== stream) return;
      this.#fresh = true;
      this.#pump();
      next(note);
    };
    next(note);
  }

  /** Send the newest frame if there is one, and room for it on the way. */
  async #pump() {
    const socket = this.#socket;
    const ready = socket?.readyState === WebSocket.OPEN && this.#sent.length < WINDOW;
    if (!ready || this.#busy || !this.#fresh || !this.video.videoWidth) return;
    this.#fresh = false;
    this.#busy = true;
    const when = performance.now();
    const { videoWidth: width, videoHeight: height } = this.video;
    if (this.taken.width !== width || this.taken.height !== height) Object.assign(this.taken, { width, height });
    const context = this.taken.getContext("2d", { alpha: false });
    const side = byId("live-mirror").checked ? -1 : 1;
    context.setTransform(side, 0, 0, 1, side < 0 ? width : 0, 0);
    context.drawImage(this.video, 0, 0);
    const picture = await new Promise((resolve) => this.taken.toBlob(resolve, "image/jpeg", QUALITY));
    this.#busy = false;
    if (this.#socket !== socket || socket.readyState !== WebSocket.OPEN) return;
    this.#sent.push(when);
    socket.send(picture);
    this.#pump();
  }

  #receive(blob) {
    const socket = this.#socket;
    const when = this.#sent.shift();
    this.#pump();
    const draw = async () => {
      const picture = await createImageBitmap(blob);
      if (this.#socket !== socket) return;
      const { width, height } = picture;
      if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
      this.screen.drawImage(picture, 0, 0);
      picture.close();
      this.#trouble("");
      const now = performance.now();
      this.#shown.push([now, now - when]);
      if (this.#shown.length > KEPT) this.#shown.shift();
    };
    // In order; one that cannot be decoded holds up none behind it.
    this.#drawn = this.#drawn.then(draw).catch((error) => console.warn(error));
  }

  #measure() {
    const oldest = performance.now() - RECENT_MS;
    const recent = this.#shown.filter(([when]) => when > oldest);
    if (recent.length < 2) {
      byId("live-fps").textContent = "0";
      byId("live-latency").textContent = "–";
      return;
    }
    const [first] = recent[0];
    const [last] = recent.at(-1);
    const trip = recent.reduce((sum, [, each]) => sum + each, 0) / recent.length;
    byId("live-fps").textContent = (((recent.length - 1) * 1000) / (last - first)).toFixed(1);
    byId("live-latency").textContent = trip.toFixed(0);
    byId("live-size").textContent = this.#size.join(" × ");
  }

  #say(message) {
    const on = message === null;
    byId("live-veil").hidden = on;
    byId("live-meter").hidden = !on;
    this.#trouble("");
    for (const id of ["live-stop", "live-shot", "live-record"]) byId(id).disabled = !on;
    if (!on) byId("live-message").textContent = message;
  }

  async #listCameras(stream) {
    const select = byId("live-device");
    const chosen = stream.getVideoTracks()[0].getSettings().deviceId;
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === "videoinput");
    select.replaceChildren(
      ...cameras.map((each, index) => {
        const label = each.label.replace(/\s*\(.*\)$/, "") || `Camera ${index + 1}`;
        return element("option", { value: each.deviceId, textContent: label });
      }),
    );
    select.value = chosen;
  }

  #snapshot() {
    this.canvas.toBlob((picture) => {
      save(picture, `nst-rt-${stamp()}.png`);
      tell("Snapshot saved");
    });
  }

  #record() {
    if (this.#recorder) {
      this.#recorder.stop();
      return;
    }
    const type = ["video/mp4;codecs=avc1.42E01F", "video/webm"].find((each) => MediaRecorder.isTypeSupported(each));
    const recorder = new MediaRecorder(this.canvas.captureStream(), { mimeType: type, videoBitsPerSecond: 5e6 });
    const parts = [];
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    recorder.addEventListener("stop", () => {
      this.#recorder = null;
      unsaved.delete(recorder);
      this.#showRecording(false);
      save(new Blob(parts, { type }), `nst-rt-${stamp()}.${type.includes("mp4") ? "mp4" : "webm"}`);
      tell("Recording saved");
    });
    recorder.start(1000);
    this.#recorder = recorder;
    unsaved.add(recorder);
    this.#showRecording(true);
  }

  #showRecording(on) {
    byId("live-recording").hidden = !on;
    byId("live-record").setAttribute("aria-pressed", on);
  }

  async #fullScreen() {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await byId("live-stage").requestFullscreen();
  }
}

const stamp = () => new Date().toISOString().slice(0, 19).replace(/[:T]/g, "-");
