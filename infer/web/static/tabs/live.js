// The live tab: camera frames go to the studio and back, with at most two in flight.

import { ask } from "../parts/api.js";
import { byId, element, save, tell, telling, unsaved } from "../parts/elements.js";
import { StylePicker } from "../parts/picker.js";
import { Stage } from "../parts/stage.js";

// Frames in flight: one is being stylized while the next one travels. Any more would only wait and
// be old when they are shown.
const MAX_IN_FLIGHT = 2;
const QUALITY = 0.8;
const RETRY_MS = 2000;
const METER_MS = 500;
const METER_FRAMES = 40; // over which rate and round trip are averaged
const METER_AGE_MS = 4000; // maximum age of these frames; allows for one frame in two seconds

const NO_CAMERA = {
  NotAllowedError: "Camera access was denied. Allow it in the address bar and start again.",
  NotFoundError: "This device has no camera.",
  NotReadableError: "Another program is using the camera.",
  OverconstrainedError: "The camera does not support this size.",
};

export class Live {
  #socket = null;
  #stream = null;
  #sent = []; // capture times of the frames in flight
  #shown = []; // [time, round trip] of the frames that came back
  #fresh = false;
  #busy = false;
  #recorder = null;
  #drawn = Promise.resolve();
  #size = []; // width and height that frames are stylized at
  #starts = 0; // a start that waits for the browser gives up after a later start or stop

  constructor(choice) {
    this.choice = choice;
    choice.addEventListener("change", () => this.#sendChoice());
    this.video = byId("live-camera");
    this.canvas = byId("live-canvas");
    this.screen = this.canvas.getContext("2d", { alpha: false });
    this.capture = element("canvas");
    this.picker = new StylePicker(byId("live-style"), choice);
    this.stage = new Stage(byId("live-stage"), {
      shown: this.canvas,
      original: this.video,
      compare: byId("live-compare"),
      hold: byId("live-hold"),
    });
    byId("live-start").addEventListener("click", () => this.start());
    byId("live-stop").addEventListener("click", () => this.stop());
    byId("live-shot").addEventListener("click", () => this.#snapshot());
    byId("live-record").addEventListener("click", () => this.#record());
    const fullScreen = () => (document.fullscreenElement ? document.exitFullscreen() : byId("live-stage").requestFullscreen());
    byId("live-full").addEventListener("click", telling(fullScreen));
    byId("live-full").hidden = !document.fullscreenEnabled; // iPhones have full screen for videos only
    for (const id of ["live-device", "live-resolution"]) {
      byId(id).addEventListener("change", () => this.#stream && this.start());
    }
    setInterval(() => this.#measure(), METER_MS);
  }

  /** Open the camera and the connection to the studio. */
  async start() {
    this.stop();
    const start = this.#starts;
    if (!navigator.mediaDevices) {
      this.#say("Browsers allow the camera on HTTPS or localhost only. Ask whoever runs this studio to start it with a certificate.");
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
      if (this.#stream === stream) this.stop("The camera was disconnected.");
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

  /** Close both; `message` says why. */
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
    socket.addEventListener("open", () => {
      this.#sendChoice();
      this.#pump();
    });
    socket.addEventListener("message", ({ data }) => {
      if (typeof data === "string") this.#hear(JSON.parse(data));
      else this.#receive(data);
    });
    socket.addEventListener("close", () => {
      if (this.#socket !== socket) return;
      this.#sent = [];
      this.#shown = [];
      this.#measure();
      this.#explain(socket);
      setTimeout(() => this.#socket === socket && this.#connect(), RETRY_MS);
    });
  }

  /** Say why no frames arrive: the studio has ended, or was restarted and does not know this browser. */
  async #explain(socket) {
    let reason = "The connection was lost; trying again";
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
      this.stop(`The studio is full: it serves at most ${full} live ${full === 1 ? "viewer" : "viewers"}. Try again when someone has left.`);
    } else if (error !== undefined) {
      if (lost) this.#sent.shift();
      tell(error, { bad: true });
    } else {
      this.#size = size;
      byId("live-others").hidden = viewers < 2;
      byId("live-viewers").textContent = viewers;
    }
  }

  #sendChoice() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(this.choice.json));
  }

  /** Notice each new frame of the camera while this stream is in use. */
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

  /** Send the newest frame if there is one and it may be in flight. */
  async #pump() {
    const socket = this.#socket;
    const ready = socket?.readyState === WebSocket.OPEN && this.#sent.length < MAX_IN_FLIGHT;
    if (!ready || this.#busy || !this.#fresh || !this.video.videoWidth) return;
    this.#fresh = false;
    this.#busy = true;
    const when = performance.now();
    const { videoWidth: width, videoHeight: height } = this.video;
    if (this.capture.width !== width || this.capture.height !== height) Object.assign(this.capture, { width, height });
    const context = this.capture.getContext("2d", { alpha: false });
    const side = byId("live-mirror").checked ? -1 : 1;
    this.video.classList.toggle("mirrored", side < 0);
    context.setTransform(side, 0, 0, 1, side < 0 ? width : 0, 0);
    context.drawImage(this.video, 0, 0);
    const jpeg = await new Promise((resolve) => this.capture.toBlob(resolve, "image/jpeg", QUALITY));
    this.#busy = false;
    if (this.#socket !== socket || socket.readyState !== WebSocket.OPEN) return;
    this.#sent.push(when);
    socket.send(jpeg);
    this.#pump();
  }

  #receive(blob) {
    const socket = this.#socket;
    const when = this.#sent.shift();
    this.#pump();
    const draw = async () => {
      const frame = await createImageBitmap(blob);
      if (this.#socket !== socket) return;
      const { width, height } = frame;
      if (this.canvas.width !== width || this.canvas.height !== height) {
        Object.assign(this.canvas, { width, height });
        this.stage.shape(width, height);
      }
      this.screen.drawImage(frame, 0, 0);
      frame.close();
      this.#trouble("");
      const now = performance.now();
      this.#shown.push([now, now - when]);
      if (this.#shown.length > METER_FRAMES) this.#shown.shift();
    };
    // In order; a frame that cannot be decoded does not hold up the next ones.
    this.#drawn = this.#drawn.then(draw).catch((error) => console.warn(error));
  }

  #measure() {
    const oldest = performance.now() - METER_AGE_MS;
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
    for (const id of ["live-stop", "live-shot", "live-record", "live-compare", "live-hold"]) byId(id).disabled = !on;
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
    this.canvas.toBlob((blob) => {
      save(blob, `nst-rt-${stamp()}.png`);
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
    const show = (on) => {
      this.#recorder = on ? recorder : null;
      byId("live-recording").hidden = !on;
      byId("live-record").setAttribute("aria-pressed", on);
    };
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    recorder.addEventListener("stop", () => {
      unsaved.delete(recorder);
      show(false);
      save(new Blob(parts, { type }), `nst-rt-${stamp()}.${type.includes("mp4") ? "mp4" : "webm"}`);
      tell("Recording saved");
    });
    recorder.start(1000);
    unsaved.add(recorder);
    show(true);
  }
}

const stamp = () => new Date().toISOString().slice(0, 19).replace(/[:T]/g, "-");
