// The video tab: a video, its frames in all styles, two seconds to try, and a job for all of it.

import { request } from "../page/api.js";
import { dropzone } from "../files/drop.js";
import { block, byId, element, slider, telling } from "../page/elements.js";
import { describe, discard, restored, upload } from "../files/files.js";
import { StylePicker } from "../page/picker.js";
import { Still } from "../files/still.js";
import { about, clock } from "../page/time.js";

const PLACE = "video";
const KEPT = "All frames, timestamps and sound are kept. You may leave this page while it runs, but the studio must stay open.";

export class VideoTab {
  #video = null;
  #preview = null; // the controller of a request

  constructor(limits, choice, jobs, learning) {
    this.limits = limits;
    this.choice = choice;
    this.jobs = jobs;
    this.learning = learning;
    this.picker = new StylePicker(byId("video-style"), choice, { learning, content: () => (this.#video ? [this.#video.id] : []) });
    this.still = new Still("video", choice, this.picker);
    this.start = byId("video-start");
    this.try = byId("video-preview");
    this.hint = byId("video-hint");
    this.clip = element("video", { className: "clip", muted: true, loop: true, playsInline: true, hidden: true });
    this.clip.setAttribute("aria-label", "Two seconds of the stylized video");
    this.still.original.before(this.clip);
    this.position = slider("Position", { max: 0, show: (at) => clock(at, 1), onInput: (at) => this.#moveTo(at) });
    this.position.input.addEventListener("change", () => this.still.showPreviews());
    byId("video-position").append(this.position.root);
    this.drop = dropzone(byId("video-drop"), {
      label: "Choose or drop a video",
      hint: `Up to ${Math.round(limits.upload / 1e6)} MB and ${Math.round(limits.seconds / 60)} minutes`,
      accept: "video/*,.mkv",
      take: async ([file], report, signal) => {
        const found = await upload(file, "video", limits, report, { signal, place: PLACE });
        this.#discard(this.#video);
        this.#show(found);
      },
    });
    choice.addEventListener("change", () => this.#forget());
    this.still.stage.root.addEventListener("compare", () => this.still.stage.comparing && this.#stopClip());
    this.start.addEventListener("click", telling(() => jobs.start({ kind: "video", video: this.#video.id, choice: choice.json })));
    this.try.addEventListener("click", telling(() => this.#tryOut()));
    this.#forget();
  }

  /** Offer these styles; at first, show the video from before, if there is one. */
  async offer(styles) {
    this.picker.offer(styles);
    const found = await restored(PLACE);
    if (found && !this.#video) this.#show(found);
  }

  #show(video) {
    this.#video = video;
    telling(() => this.learning.show([video.id]))();
    this.still.stage.root.hidden = false;
    byId("video-tools").hidden = false;
    this.drop.shrink(describe(video));
    this.position.root.hidden = !video.seconds; // a file may not say how long it is
    this.position.input.max = video.seconds ?? 0;
    this.position.set(0);
    this.#forget();
    this.still.show(video);
  }

  #moveTo(at) {
    this.#stopClip();
    this.still.moveTo(at);
  }

  /** Forget the preview and its forecast, which are no longer true. */
  #forget() {
    this.#stopClip();
    block(this.start, this.#video ? "" : "Choose a video first.");
    this.hint.textContent = this.#video ? KEPT : "Choose a video first.";
  }

  #stopClip() {
    this.#preview?.abort();
    this.clip.hidden = true;
    this.clip.pause();
  }

  /** Stylize two seconds and play them, and say how long the whole video will take. */
  async #tryOut() {
    this.#stopClip();
    const controller = (this.#preview = new AbortController());
    const { query, values } = this.choice;
    const path = `/api/uploads/${this.#video.id}/preview?${query}&stability=${values.stability}&at=${this.position.input.value}`;
    this.try.disabled = true;
    this.try.textContent = "Stylizing 2 s …";
    try {
      const answer = await request(path, { signal: controller.signal });
      const content = await answer.blob();
      const seconds = Number(answer.headers.get("X-Seconds"));
      this.hint.textContent = seconds ? `The whole video will take ${about(seconds)}. ${KEPT}` : KEPT;
      this.#play(content);
    } catch (error) {
      if (!controller.signal.aborted) throw error;
    } finally {
      this.try.disabled = false;
      this.try.textContent = "Preview 2 s";
    }
  }

  #play(content) {
    URL.revokeObjectURL(this.clip.src);
    this.still.stage.reset();
    this.clip.src = URL.createObjectURL(content);
    this.clip.hidden = false;
    this.clip.play().catch(() => {}); // hidden again meanwhile
  }

  /** Remove a video, unless the player of a result compares with it. */
  #discard(video) {
    if (video && !document.querySelector(`.player[data-original="${video.id}"]`)) discard(video);
  }
}
