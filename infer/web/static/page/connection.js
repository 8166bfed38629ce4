// The connection to the studio: one banner for the whole page while it does not answer, and a new
// start of the page once the studio itself was started anew.

import { byId, unsaved } from "./elements.js";

const RETRY_MS = 2000;
const PATIENCE_MS = 15000; // for an answer; a busy machine takes a while

/** Whether the studio answers. An event `found` follows when it does again. */
class Connection extends EventTarget {
  #instance = null; // of the studio that made this page; another one knows none of its uploads
  #timer = 0; // of the next try, while there is no answer
  #waiting = 0; // timer of a reload that would lose something now
  #checking = null;

  constructor() {
    super();
    byId("reload").addEventListener("click", () => location.reload());
    for (const kind of ["online", "offline"]) addEventListener(kind, () => this.check());
  }

  /** Whether the banner says that there is no connection. */
  get isLost() {
    return this.#timer !== 0;
  }

  /** Called by whoever got no answer: says so, and tries until there is one. */
  lost() {
    if (this.isLost) return;
    this.#say("No connection to the studio. Trying again …");
    this.#retry();
  }

  /** Ask the studio now. Resolves to whether it answers. */
  check() {
    this.#checking ??= this.#ask().finally(() => (this.#checking = null));
    return this.#checking;
  }

  /** Called with the instance that an answer names; the first one is that of this page. */
  heard(instance) {
    const wasLost = this.isLost;
    if (wasLost && this.#instance === null) {
      location.reload(); // the page could not start without it
      return;
    }
    this.#instance ??= instance;
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (instance !== this.#instance) {
      this.#reload();
      return;
    }
    this.#say("");
    if (wasLost) this.dispatchEvent(new Event("found"));
  }

  async #ask() {
    try {
      const answer = await fetch("/api/studio", { signal: AbortSignal.timeout(PATIENCE_MS) });
      // A refusal means that it does not know this browser: it was started with another token.
      this.heard(answer.ok ? (await answer.json()).instance : "another");
      return true;
    } catch {
      this.lost();
      return false;
    }
  }

  #retry() {
    this.#timer = setTimeout(async () => {
      if (!(await this.check())) this.#retry();
    }, RETRY_MS);
  }

  /** Load the page of the new studio, but not while something would be lost by it. */
  #reload() {
    if (!unsaved.size) {
      location.reload();
      return;
    }
    this.#say("The studio was restarted. The page has to be reloaded.", { reload: true });
    clearTimeout(this.#waiting);
    this.#waiting = setTimeout(() => this.#reload(), RETRY_MS);
  }

  #say(text, { reload = false } = {}) {
    const banner = byId("connection");
    banner.hidden = !text;
    banner.firstElementChild.textContent = text;
    byId("reload").hidden = !reload;
  }
}

export const connection = new Connection();
