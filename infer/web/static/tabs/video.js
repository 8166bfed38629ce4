// The video tab: an upload, a job, a download.

import { byId, telling } from "../parts/elements.js";
import { uploadPlace } from "../parts/files.js";
import { StylePicker } from "../parts/picker.js";

/** Set up the tab; returns its style picker. */
export function videoTab(limits, choice, jobs) {
  const picker = new StylePicker(byId("video-style"), choice);
  const start = byId("video-start");
  const video = uploadPlace(byId("video-drop"), {
    kind: "video",
    limits,
    label: "Choose or drop a video",
    hint: `Up to ${Math.round(limits.upload / 1e6)} MB and ${Math.round(limits.seconds / 60)} minutes`,
    accept: "video/*,.mkv",
    onFound: () => (start.disabled = false),
  });
  const startJob = () => jobs.start({ kind: "video", video: video.found.id, choice: choice.json });
  start.addEventListener("click", telling(startJob));
  return picker;
}
