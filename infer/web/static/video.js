// The video tab: a file up, a job, a file down.

import { forget, upload } from "./files.js";
import { LookPicker } from "./looks.js";
import { byId, dropzone, element, telling } from "./ui.js";

export class VideoTab {
  #video = null;

  constructor(limits, jobs) {
    this.picker = new LookPicker(byId("video-look"));
    const start = byId("video-start");
    const drop = dropzone(byId("video-drop"), {
      label: "Choose or drop a video",
      hint: `Up to ${Math.round(limits.upload / 1e6)} MB and ${Math.round(limits.seconds / 60)} minutes`,
      accept: "video/*,.mkv",
      take: async ([file], report) => {
        const found = await upload(file, "video", limits, report);
        forget(this.#video);
        this.#video = found;
        drop.picture(element("video", { src: URL.createObjectURL(file), muted: true, controls: true, playsInline: true }));
        start.disabled = false;
      },
    });
    start.addEventListener(
      "click",
      telling(() => jobs.start({ kind: "video", video: this.#video.id, look: this.picker.look })),
    );
  }

  offer(styles) {
    this.picker.offer(styles);
  }
}
