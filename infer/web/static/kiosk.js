// The kiosk page: the camera in one style after another, without controls, for days.
//
// `/?kiosk&style=NAME,NAME&every=SECONDS`; a blend, as in `NAME:0.6,NAME:0.4`, stays. Strength, stroke
// size, stability, colors and preference are in the address as on the main page.

import { Awake, closeCamera, draw, openCamera } from "./camera/camera.js";
import { Channel } from "./camera/channel.js";
import { Choice } from "./page/choice.js";
import { byId } from "./page/elements.js";

const RETRY_MS = 5000;
const SIDE = 640; // pixels of the camera's long side
const EVERY = 30; // seconds
const FADE_MS = 2000;
const FADE_STEP_MS = 100;
const TITLE_MS = 4000;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Call a function until it succeeds; each error is shown until then. */
async function persist(act) {
  for (;;) {
    try {
      const result = await act();
      say("");
      return result;
    } catch (error) {
      say(error.message);
      await pause(RETRY_MS);
    }
  }
}

function say(message) {
  byId("message").textContent = message;
}

/** The styles to show in turn, as weights by name: those of the address that exist, else all. */
function rotation(styles) {
  const given = new URLSearchParams(location.search).get("style") ?? "";
  const known = (name) => styles.some((style) => style.name === name);
  if (given.includes(":")) {
    const blend = given.split(",").map((part) => part.split(":"));
    const weights = blend.map(([name, weight]) => [name, Number(weight) || 0]).filter(([name, weight]) => known(name) && weight > 0);
    const sum = weights.reduce((total, [, weight]) => total + weight, 0);
    if (sum) return [Object.fromEntries(weights.map(([name, weight]) => [name, weight / sum]))];
  }
  const named = given.split(",").filter(known);
  return (named.length ? named : styles.map(({ name }) => name)).map((name) => ({ [name]: 1 }));
}

class Kiosk {
  #settings = new Choice().json;
  #weights = {};
  #title = 0; // timer

  constructor(styles) {
    this.titles = Object.fromEntries(styles.map(({ name, title }) => [name, title]));
    this.styles = rotation(styles);
    this.video = byId("camera");
    const canvas = byId("canvas");
    this.channel = new Channel(this.video, {
      choice: () => ({ ...this.#settings, styles: this.#weights }),
      side: () => SIDE,
      isMirrored: () => true,
      onFrame: (frame) => {
        draw(canvas, frame);
        say("");
      },
      onLost: say,
      onFull: async () => {
        say("The studio serves as many viewers as it can. Trying again …");
        await pause(RETRY_MS);
        this.channel.open();
      },
      onError: (error) => console.warn(error),
    });
  }

  /** Show the camera in the first style, then in the others, forever. */
  async run(every) {
    this.#choose(this.styles[0]);
    this.#showTitle(this.styles[0]);
    this.#keepCamera();
    this.channel.open();
    for (let number = 1; this.styles.length > 1; number += 1) {
      await pause(every * 1000);
      const next = this.styles[number % this.styles.length];
      this.#showTitle(next);
      await this.#fade(next, Math.min(FADE_MS, (every * 1000) / 2));
    }
  }

  /** Keep a camera open; one that was unplugged is opened again once it is back. */
  async #keepCamera() {
    for (;;) {
      const stream = await persist(() => openCamera(this.video, { side: SIDE }));
      await new Promise((ended) => stream.getVideoTracks()[0].addEventListener("ended", ended));
      closeCamera(stream);
    }
  }

  #choose(weights) {
    this.#weights = weights;
    this.channel.sendChoice();
  }

  async #fade(next, milliseconds) {
    const before = this.#weights;
    const began = performance.now();
    for (let fraction = 0; fraction < 1; ) {
      await pause(FADE_STEP_MS);
      fraction = Math.min(1, (performance.now() - began) / milliseconds);
      this.#choose(fraction < 1 ? mixed(before, next, fraction) : next);
    }
  }

  #showTitle(weights) {
    byId("title").textContent = Object.keys(weights).map((name) => this.titles[name]).join(" + ");
    byId("title").classList.remove("away");
    clearTimeout(this.#title);
    this.#title = setTimeout(() => byId("title").classList.add("away"), TITLE_MS);
  }
}

function mixed(before, next, fraction) {
  const names = new Set([...Object.keys(before), ...Object.keys(next)]);
  return Object.fromEntries([...names].map((name) => [name, (1 - fraction) * (before[name] ?? 0) + fraction * (next[name] ?? 0)]));
}

new Awake().set(true);
addEventListener("click", () => document.documentElement.requestFullscreen?.().catch(() => {}));
const styles = await persist(async () => {
  const answer = await fetch("/api/studio").catch(() => null);
  if (!answer?.ok) throw new Error("The studio does not answer. Trying again …");
  return (await answer.json()).styles;
});
const every = Number.parseFloat(new URLSearchParams(location.search).get("every"));
new Kiosk(styles).run(every > 0 ? every : EVERY);
