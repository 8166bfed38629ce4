// The video tab: an upload, a job, a download.

import { discard, upload } from "./files.js";
import { StylePicker } from "./styles.js";
import { byId, dropzone, element, telling } from "./ui.js";

export class VideoTab {
  #video = null;

  constructor(limits, jobs) {
    this.picker = new StylePicker(byId("video-style"));
    const start = byId("video-start");
    const drop = dropzone(byId("video-drop"), {
      label: "Choose or drop a video",
      hint: `Up to ${Math.round(limits.upload / 1e6)} MB and ${Math.round(limits.seconds / 60)} minutes`,
      accept: "video/*,.mkv",
      take: async ([file], report) => {
        const found = await upload(file, "video", limits, report);
        discard(this.#video);
        this.#video = found;
        drop.show(element("video", { src: URL.createObjectURL(file), muted: true, controls: true, playsInline: true }));
        start.disabled = false;
      },
    });
    start.addEventListener(
      "click",
      telling(() => jobs.start({ kind: "video", video: this.#video.id, choice: this.picker.choice })),
    );
  }

  offer(styles) {
    this.picker.offer(styles);
  }
}
