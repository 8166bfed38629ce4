// The live channel: camera frames go to the studio and come back stylized, in order.

// Frames in flight: one is being stylized while the next one travels. Any more would only wait and
// be old when they are shown.
const MAX_IN_FLIGHT = 2;
const QUALITY = 0.8;
const RETRY_MS = 2000;
const PATIENCE_MS = 5000; // for an answer while there is no connection

/** What a page does with the channel; all but `choice` may be left out. */
const NOTHING = {
  choice: () => ({}), // the studio's JSON of what is chosen
  side: () => Infinity, // maximum long side of the frames that are sent
  isMirrored: () => false,
  needsOriginal: () => false, // whether frames are wanted beside their stylized ones
  onFrame: () => {}, // gets the stylized frame, the original one or null, and the milliseconds between
  onState: () => {}, // gets what changes: size, viewers, preparing
  onOpen: () => {},
  onLost: () => {}, // gets the reason; the channel is trying again
  onFull: () => {}, // gets the maximum number of viewers; the channel is closed
  onError: () => {},
};

/** Sends what a video element shows. Opens itself again when the connection is lost. */
export class Channel {
  #socket = null;
  #sent = []; // of each frame in flight the time, and the original one if it is needed
  #fresh = false; // whether the video shows a frame that was not sent
  #busy = false;
  #paused = false;
  #drawn = Promise.resolve();

  constructor(video, handlers) {
    this.video = video;
    this.handlers = { ...NOTHING, ...handlers };
    this.capture = document.createElement("canvas");
    this.#watch();
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** While paused it sends no frames, but stays connected. */
  set paused(paused) {
    this.#paused = paused;
    this.#pump();
  }

  open() {
    this.close();
    this.#connect();
  }

  close() {
    this.#socket?.close();
    this.#socket = null;
    this.#forget();
  }

  /** Send what is chosen now. */
  sendChoice() {
    if (this.isOpen) this.#socket.send(JSON.stringify(this.handlers.choice()));
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    socket.binaryType = "blob";
    this.#socket = socket;
    socket.addEventListener("open", () => {
      if (this.#socket !== socket) return;
      this.handlers.onOpen();
      this.sendChoice();
      this.#pump();
    });
    socket.addEventListener("message", ({ data }) => {
      if (this.#socket !== socket) return;
      if (typeof data === "string") this.#hear(JSON.parse(data));
      else this.#receive(data);
    });
    socket.addEventListener("close", () => this.#socket === socket && this.#retry(socket));
  }

  async #retry(socket) {
    this.#forget();
    let reason = "The connection was lost. Trying again …";
    this.handlers.onLost(reason);
    try {
      // The page sets the cookie that a studio started anew asks for.
      const page = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      if (page.status === 403) reason = "The studio was restarted with another token. Open the link that it printed.";
    } catch {
      reason = "The studio does not answer. Trying again …";
    }
    if (this.#socket !== socket) return;
    this.handlers.onLost(reason);
    setTimeout(() => this.#socket === socket && this.#connect(), RETRY_MS);
  }

  #forget() {
    for (const { original } of this.#sent) original?.close();
    this.#sent = [];
  }

  #hear({ full, error, lost, ...state }) {
    if (full !== undefined) {
      this.close();
      this.handlers.onFull(full);
    } else if (error !== undefined) {
      if (lost) this.#sent.shift()?.original?.close();
      this.handlers.onError(error);
      this.#pump();
    } else {
      this.handlers.onState(state);
    }
  }

  /** Notice each new frame of the camera. */
  #watch() {
    const next = this.video.requestVideoFrameCallback
      ? (then) => this.video.requestVideoFrameCallback(then)
      : (then) => requestAnimationFrame(then);
    const note = () => {
      this.#fresh = true;
      this.#pump();
      next(note);
    };
    next(note);
  }

  /** Send the newest frame if there is one and it may be in flight. */
  async #pump() {
    const socket = this.#socket;
    // Browsers do not announce the frames of a page that is not seen; while it records, any will do.
    const fresh = this.#fresh || document.hidden;
    const ready = this.isOpen && !this.#paused && this.#sent.length < MAX_IN_FLIGHT;
    if (!ready || this.#busy || !fresh || !this.video.videoWidth || !this.video.srcObject) return;
    this.#fresh = false;
    this.#busy = true;
    const when = performance.now();
    let jpeg = null;
    let original = null;
    try {
      this.#draw();
      [jpeg, original] = await Promise.all([
        new Promise((resolve) => this.capture.toBlob(resolve, "image/jpeg", QUALITY)),
        this.handlers.needsOriginal() ? createImageBitmap(this.capture) : null,
      ]);
    } catch (error) {
      console.warn(error); // short of memory, say: the next frame may do
    }
    this.#busy = false;
    if (!jpeg || this.#socket !== socket || !this.isOpen) {
      original?.close();
      return;
    }
    this.#sent.push({ when, original });
    socket.send(jpeg);
    this.#pump();
  }

  /** Draw the video as it is sent. */
  #draw() {
    const { videoWidth, videoHeight } = this.video;
    const scale = Math.min(1, this.handlers.side() / Math.max(videoWidth, videoHeight));
    const [width, height] = [Math.round(videoWidth * scale), Math.round(videoHeight * scale)];
    if (this.capture.width !== width || this.capture.height !== height) Object.assign(this.capture, { width, height });
    const context = this.capture.getContext("2d", { alpha: false });
    const side = this.handlers.isMirrored() ? -1 : 1;
    context.setTransform(side, 0, 0, 1, side < 0 ? width : 0, 0);
    context.drawImage(this.video, 0, 0, width, height);
  }

  #receive(jpeg) {
    const socket = this.#socket;
    const sent = this.#sent.shift();
    this.#pump();
    const draw = async () => {
      try {
        const stylized = await createImageBitmap(jpeg);
        if (this.#socket === socket) this.handlers.onFrame(stylized, sent?.original, performance.now() - sent?.when);
        stylized.close();
      } finally {
        sent?.original?.close();
      }
    };
    // In order; a frame that cannot be decoded does not hold up the next ones.
    this.#drawn = this.#drawn.then(draw).catch((error) => console.warn(error));
  }
}
