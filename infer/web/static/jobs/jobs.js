// Jobs: polled while the page is seen, each shown as a card in the tab of its kind.

import { ask } from "../page/api.js";
import { Card } from "./card.js";
import { connection } from "../page/connection.js";
import { byId, tell } from "../page/elements.js";

const POLL_MS = 1000; // while some run
const IDLE_MS = 3000; // another tab of this browser may start one

/**
 * All jobs of this browser. `onStyles` is called when the studio's styles are not `styles`, these
 * names, anymore; `undo` is the number of seconds during which the studio can undo cancelling and
 * removing.
 */
export class JobList {
  #cards = new Map();
  #timer = 0;
  #asked = 0; // number of the last request: answers to earlier ones are out of date
  #said = ""; // the last error: it is not said every second

  constructor({ styles, onStyles, useStyle, undo }) {
    this.undo = undo;
    this.styles = styles;
    this.onStyles = onStyles;
    this.useStyle = useStyle;
    document.addEventListener("visibilitychange", () => this.refresh());
    connection.addEventListener("found", () => this.refresh());
  }

  /** Start a job and watch it. */
  async start(job) {
    await ask("/api/jobs", { method: "POST", json: job });
    await this.refresh();
  }

  /** Send a request that can be undone for some seconds. */
  async askWithUndo(job, message, path, method) {
    const change = async (...request) => {
      await ask(...request);
      await this.refresh();
    };
    const undo = () => change(`/api/jobs/${job.id}/undo`, { method: "POST" });
    await change(path, { method });
    tell(message, { seconds: this.undo, undo });
  }

  /** Fetch all jobs, now and again and again. */
  async refresh() {
    clearTimeout(this.#timer);
    if (document.hidden) return; // the event of the change calls this
    const number = (this.#asked += 1);
    let pause = IDLE_MS;
    try {
      const { instance, styles, jobs } = await ask("/api/jobs");
      if (number !== this.#asked) return;
      connection.heard(instance);
      this.#said = "";
      this.#show(jobs);
      if (jobs.some((job) => job.state === "running" || job.state === "waiting")) pause = POLL_MS;
      if (String(styles) !== String(this.styles)) {
        await this.onStyles();
        this.styles = styles;
      }
    } catch (error) {
      if (error.message !== this.#said && !error.isShown) tell(error.message, { bad: true });
      this.#said = error.message;
    }
    if (number === this.#asked) this.#timer = setTimeout(() => this.refresh(), pause);
  }

  #show(jobs) {
    for (const [id, card] of this.#cards) {
      if (jobs.some((job) => job.id === id)) continue;
      card.root.remove();
      this.#cards.delete(id);
    }
    for (const job of jobs) {
      if (!this.#cards.has(job.id)) {
        const card = new Card(job, this);
        this.#cards.set(job.id, card);
        byId(`${job.kind}-jobs`).prepend(card.root);
      }
      this.#cards.get(job.id).update(job);
    }
  }
}
