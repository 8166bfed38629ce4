// The page as a whole: its tabs and their start.

import { ask } from "./api.js";
import { ImageTab } from "./image.js";
import { JobList } from "./jobs.js";
import { Live } from "./live.js";
import { optimizeTab } from "./optimize.js";
import { trainTab } from "./train.js";
import { byId, telling } from "./ui.js";
import { videoTab } from "./video.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

/** Show a tab and put it into the address. */
function open(tab, { focus = false } = {}) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", chosen);
    each.tabIndex = chosen ? 0 : -1;
    byId(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
}

/** Arrow keys, Home and End, as in the ARIA pattern for tabs. */
function onKey(event) {
  const at = tabs.indexOf(event.currentTarget);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  open(tabs.at(to % tabs.length), { focus: true });
}

for (const tab of tabs) {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", onKey);
}
open(tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash) ?? tabs[0]);

telling(async () => {
  const studio = await ask("/api/studio");
  byId("backend").textContent = `${studio.backend} · nst-rt ${studio.version}`;
  const live = new Live();
  const jobs = new JobList({
    undo: studio.undo,
    onStyles: telling(async () => offer((await ask("/api/studio")).styles)),
    useStyle: (name) => {
      live.picker.choose(name);
      open(byId("tab-live"), { focus: true });
    },
  });
  const image = new ImageTab(studio.limits);
  const video = videoTab(studio.limits, jobs);
  optimizeTab(studio.limits, jobs);
  trainTab(studio, jobs);
  const offer = (styles) => [live.picker, image, video].forEach((each) => each.offer(styles));
  offer(studio.styles);
  await jobs.refresh();
  document.documentElement.dataset.ready = "yes";
})();
