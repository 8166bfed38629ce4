// The live tab: the camera, stylized by the studio as it comes.

import { Awake, closeCamera, draw, openCamera } from "../camera/camera.js";
import { Channel } from "../camera/channel.js";
import { byId, element, save, tell, telling } from "../page/elements.js";
import { StylePicker } from "../page/picker.js";
import { Recorder } from "../camera/recorder.js";
import { Stage } from "../page/stage.js";

const METER_MS = 500;
const METER_FRAMES = 40; // over which rate and round trip are averaged
const METER_AGE_MS = 4000; // maximum age of these frames; allows for one frame in two seconds
const KEEP_CAMERA_MS = 60000; // while the tab is not seen; then its light goes off
const RUNNING = "live"; // name in the session's storage: the camera was running when the page was left

const BUTTONS = ["live-stop", "live-shot", "live-record", "live-compare", "live-hold"];

export class Live {
  #stream = null;
  #starts = 0; // a start that waits for the browser gives up after a later start or stop
  #isReleased = false; // the camera was closed while the tab was not seen, and opens again with it
  #release = 0; // timer
  #shown = []; // [time, round trip] of the frames that came back
  #size = []; // width and height that frames are stylized at
  #preparing = null; // name of a style
  #trouble = "";

  constructor(choice, learning) {
    this.choice = choice;
    this.section = byId("live");
    this.video = byId("live-camera");
    this.canvas = byId("live-canvas");
    this.original = byId("live-original");
    this.awake = new Awake();
    this.picker = new StylePicker(byId("live-style"), choice, { learning });
    this.stage = new Stage(byId("live-stage"), {
      shown: this.canvas,
      original: this.original,
      compare: byId("live-compare"),
      hold: byId("live-hold"),
    });
    this.channel = new Channel(this.video, {
      choice: () => choice.json,
      side: () => Number(byId("live-resolution").value),
      isMirrored: () => byId("live-mirror").checked,
      needsOriginal: () => this.stage.needsOriginal,
      onFrame: (...frame) => this.#show(...frame),
      onState: (state) => this.#hear(state),
      onOpen: () => this.#hear({ preparing: Object.keys(choice.styles)[0] }, { trouble: "" }),
      onLost: (trouble) => this.#hear({}, { trouble }),
      onFull: (full) => this.stop(`The studio is full: it serves at most ${full} live ${full === 1 ? "viewer" : "viewers"}. Try again when someone has left.`),
      onError: (error) => tell(error, { bad: true }),
    });
    this.recorder = new Recorder(this.canvas, () => this.#showRecording());
    choice.addEventListener("change", () => this.channel.sendChoice());
    this.#bind();
    setInterval(() => this.#measure(), METER_MS);
  }

  /** Offer these styles; the first time, go on if the camera was running when the page was reloaded. */
  offer(styles) {
    this.picker.offer(styles);
    if (sessionStorage.getItem(RUNNING) && performance.getEntriesByType("navigation")[0]?.type === "reload" && !this.#starts) {
      this.#isReleased = true;
      this.#attend();
    }
  }

  #bind() {
    byId("live-start").addEventListener("click", () => this.start());
    byId("live-stop").addEventListener("click", () => this.stop());
    byId("live-shot").addEventListener("click", () => this.#snapshot());
    byId("live-record").addEventListener("click", telling(() => this.#record()));
    const fullScreen = () => (document.fullscreenElement ? document.exitFullscreen() : byId("live-stage").requestFullscreen());
    byId("live-full").addEventListener("click", telling(fullScreen));
    byId("live-full").hidden = !document.fullscreenEnabled; // iPhones have full screen for videos only
    for (const id of ["live-device", "live-resolution"]) {
      byId(id).addEventListener("change", () => this.#stream && this.start());
    }
    byId("live-preference").value = this.choice.values.preference;
    byId("live-preference").addEventListener("change", ({ target }) => this.choice.set({ preference: target.value }));
    this.choice.addEventListener("change", () => (byId("live-preference").value = this.choice.values.preference));
    // The newest frame at once; those that follow are of the same moment as the stylized ones.
    byId("live-stage").addEventListener("compare", () => this.stage.needsOriginal && draw(this.original, this.channel.capture));
    document.addEventListener("visibilitychange", () => this.#attend());
    new MutationObserver(() => this.#attend()).observe(this.section, { attributeFilter: ["hidden"] });
  }

  /** Open the camera and the connection to the studio. */
  async start() {
    this.#close();
    const start = this.#starts;
    sessionStorage.setItem(RUNNING, "yes");
    this.#say("Opening the camera …", { busy: true });
    let stream;
    try {
      const [device, side] = [byId("live-device").value, Number(byId("live-resolution").value)];
      stream = await openCamera(this.video, { device, side });
    } catch (error) {
      if (start === this.#starts) this.stop(error.message);
      return;
    }
    if (start !== this.#starts) {
      closeCamera(stream);
      return;
    }
    this.#stream = stream;
    stream.getVideoTracks()[0].addEventListener("ended", () => {
      if (this.#stream === stream) this.stop("The camera was disconnected.");
    });
    this.stage.shape(this.video.videoWidth, this.video.videoHeight);
    this.#hear({ preparing: null }, { trouble: "Connecting …" });
    this.#say(null);
    this.channel.open();
    this.#attend();
    await this.#listCameras(stream);
  }

  /** Close both; `message` says why. */
  stop(message = "The camera is off.") {
    sessionStorage.removeItem(RUNNING);
    this.#close();
    this.#say(message);
  }

  #close() {
    this.#starts += 1;
    this.#isReleased = false;
    this.recorder.stop();
    closeCamera(this.#stream);
    this.#stream = null;
    this.video.srcObject = null;
    this.channel.close();
    this.#shown = [];
  }

  /** Pause while the tab is not seen, unless it records, and go on when it is. */
  #attend() {
    const isSeen = !this.section.hidden && !document.hidden;
    clearTimeout(this.#release);
    if (isSeen && this.#isReleased) this.start();
    const isPaused = !isSeen && !this.recorder.isOn;
    this.channel.paused = isPaused;
    if (isPaused && this.#stream) {
      this.#release = setTimeout(() => {
        this.#close();
        this.#isReleased = true;
        this.#mark();
      }, KEEP_CAMERA_MS);
    }
    this.awake.set(Boolean(this.#stream) && isSeen);
    this.#mark();
  }

  /** Say on the tab itself whether the camera is on. */
  #mark() {
    const paused = this.section.hidden || document.hidden;
    const state = this.recorder.isOn ? "recording" : paused ? "paused" : "running";
    const mark = byId("live-mark");
    mark.hidden = !this.#stream && !this.#isReleased;
    mark.dataset.state = state;
    mark.ariaLabel = state;
  }

  #hear({ size, viewers, preparing }, { trouble } = {}) {
    if (size) this.#size = size;
    if (viewers !== undefined) {
      byId("live-others").hidden = viewers < 2;
      byId("live-viewers").textContent = viewers;
    }
    if (preparing !== undefined) this.#preparing = preparing;
    if (trouble !== undefined) this.#trouble = trouble;
    if (this.#trouble) this.#shown = [];
    const status = byId("live-status");
    const text = this.#trouble || (this.#preparing && `Preparing ${this.picker.title(this.#preparing)} …`) || "";
    status.hidden = !text;
    if (status.textContent !== text) status.textContent = text; // or screen readers would repeat it
  }

  #show(stylized, original, trip) {
    if (draw(this.canvas, stylized)) this.stage.shape(stylized.width, stylized.height);
    if (original) draw(this.original, original);
    this.#shown.push([performance.now(), trip]);
    if (this.#shown.length > METER_FRAMES) this.#shown.shift();
  }

  #measure() {
    // While no frames come, a recording shows the last one, so that it is as long as its clock says.
    if (this.recorder.isOn && !this.#shown.some(([when]) => when > performance.now() - METER_MS)) draw(this.canvas, this.canvas);
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

  /** Show the camera, or a message in its place. */
  #say(message, { busy = false } = {}) {
    const on = message === null;
    byId("live-veil").hidden = on;
    byId("live-start").hidden = busy;
    byId("live-meter").classList.toggle("away", !on);
    if (!on) byId("live-status").hidden = true;
    for (const id of BUTTONS) byId(id).disabled = !on;
    byId("live-stop").disabled = !on && !busy;
    if (!on) byId("live-message").textContent = message;
    this.#attend();
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

  /** A name for a file: the styles and the local time. */
  get #name() {
    return `${Object.keys(this.choice.styles).join("_")}_${stamp(new Date())}`;
  }

  #snapshot() {
    const name = `${this.#name}.png`;
    this.canvas.toBlob((blob) => {
      save(blob, name);
      tell("Snapshot saved");
    });
  }

  async #record() {
    if (this.recorder.isOn) this.recorder.stop();
    else await this.recorder.start(this.#name, { sound: byId("live-sound").checked });
  }

  #showRecording() {
    const { isOn, time } = this.recorder;
    byId("live-record").setAttribute("aria-pressed", isOn);
    byId("live-record-label").textContent = isOn ? time : "Record";
    byId("live-sound").disabled = isOn;
    this.#attend();
  }
}

/** The local time as in 2026-11-28_14-05-33. */
function stamp(now) {
  const local = new Date(now - now.getTimezoneOffset() * 60000);
  return local.toISOString().slice(0, 19).replace("T", "_").replaceAll(":", "-");
}
