// A job as a card: its state, what it shows so far, and what can be done with it.

import { ask } from "../page/api.js";
import { lossCurve } from "./curve.js";
import { element, telling } from "../page/elements.js";
import { openLarge } from "../files/large.js";
import { Player } from "../files/player.js";
import { about, ordinal } from "../page/time.js";

const STATES = { done: "Done", partial: "Partly done", failed: "Failed", cancelled: "Cancelled" };

/** The state of a job in words. */
export function words({ state, note, place, seconds }) {
  const known = typeof seconds === "number";
  if (state === "running") return [note || "Running", known && `${about(seconds)} left`];
  if (state === "waiting") {
    return ["Waiting", place > 1 && `${ordinal(place)} in the queue`, known && place > 1 && `starts in ${about(seconds)}`];
  }
  return [STATES[state], note];
}

/** The card of a job; `list` is its JobList. */
export class Card {
  #version = {};
  #state = "";

  constructor(job, list) {
    this.list = list;
    this.media = element("div", { className: "show", hidden: true });
    this.state = element("span", { className: "state" });
    this.bar = element("progress", { max: 1 });
    this.bar.setAttribute("aria-label", `Progress of ${job.title}`);
    this.error = element("p", { className: "error", hidden: true });
    this.tools = element("div", { className: "tools" });
    const head = element("header", {}, element("h3", { textContent: job.title }), this.state);
    this.root = element("li", { className: "job" }, head, this.bar, this.error, this.media, this.tools);
  }

  update(job) {
    this.job = job;
    this.root.dataset.state = job.state;
    this.state.textContent = words(job).filter(Boolean).join(" · ");
    this.bar.value = job.progress;
    this.bar.hidden = job.state !== "running";
    this.error.hidden = !job.error;
    this.error.textContent = job.error;
    this.#showMedia(job);
    const state = `${job.state} ${job.stopping} ${Object.keys(job.files)}`;
    if (state !== this.#state) this.tools.replaceChildren(...this.#buttons(job));
    this.#state = state;
  }

  #showMedia(job) {
    const [video] = Object.keys(job.files).filter((name) => name.endsWith(".mp4"));
    const [image] = Object.keys(job.files).filter((name) => /^(preview|samples)\./.test(name));
    const name = video ?? image;
    if (name && this.#version[name] !== job.files[name]) {
      this.#version[name] = job.files[name];
      const poster = image ? fileAddress(job, image) : "";
      if (video) this.#put(new Player({ src: fileAddress(job, name), poster, original: job.facts.original }).root);
      else this.#putImage(job, name);
    }
    if (job.curve.length > 1) {
      const curve = lossCurve(job.curve, job.kind);
      this.curve ? this.curve.replaceWith(curve) : this.media.append(curve);
      this.curve = curve;
    }
    this.media.classList.toggle("wide", Boolean(this.curve && this.shown));
    this.media.hidden = !this.media.children.length;
  }

  #put(shown) {
    this.shown ? this.shown.replaceWith(shown) : this.media.prepend(shown);
    this.shown = shown;
  }

  #putImage(job, name) {
    const alt = name.startsWith("samples") ? "Photos and how the network stylizes them so far" : "The newest image";
    const next = element("img", { alt, src: `${fileAddress(job, name)}?v=${job.files[name]}` });
    // Replace the old one when the new one is loaded, so that nothing flickers.
    next.addEventListener("load", () => this.enlarge.replaceChildren(next));
    if (this.enlarge) return;
    this.enlarge = element("button", { type: "button", className: "enlarge", title: "Show it large" }, next);
    this.enlarge.addEventListener("click", () => {
      const shown = this.enlarge.firstElementChild;
      openLarge("image.png" in this.job.files ? fileAddress(this.job, "image.png") : shown.src, shown.alt);
    });
    this.#put(this.enlarge);
  }

  #buttons(job) {
    const button = (text, act, className = "") => {
      const made = element("button", { type: "button", textContent: text, className });
      made.addEventListener("click", telling(act));
      return made;
    };
    const address = `/api/jobs/${job.id}`;
    const stop = async () => {
      await ask(`${address}/stop`, { method: "POST" });
      await this.list.refresh();
    };
    const cancel = () => this.list.askWithUndo(job, `${job.title}: cancelled`, `${address}/cancel`, "POST");
    const remove = () => this.list.askWithUndo(job, `${job.title}: removed`, address, "DELETE");
    if (job.state === "waiting" || job.state === "running") {
      if (job.stopping) return [element("span", { className: "hint", textContent: "Ending …" })];
      const early = ["optimize", "images"].includes(job.kind) && job.state === "running" ? [button("Stop and keep", stop)] : [];
      return [...early, button("Cancel", cancel)];
    }
    const results = Object.keys(job.files).filter((name) => /^(video|images?)\.|\.safetensors$/.test(name));
    const style = job.facts.style;
    return [
      ...(style ? [button("Use it live", () => this.list.useStyle(style), "primary")] : []),
      ...results.map((name) =>
        element("a", {
          className: style ? "button" : "button primary",
          href: fileAddress(job, name),
          download: job.facts.name ?? name,
          textContent: style ? "Download the model" : "Download",
        }),
      ),
      button("Remove", remove, "quiet"),
    ];
  }
}

const fileAddress = (job, name) => `/api/jobs/${job.id}/files/${name}`;
