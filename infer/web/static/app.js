// The page as a whole: its tabs and their start.

import { takeFromAnywhere } from "./files/anywhere.js";
import { JobList } from "./jobs/jobs.js";
import { ask } from "./page/api.js";
import { Choice } from "./page/choice.js";
import { connection } from "./page/connection.js";
import { byId, tell, telling } from "./page/elements.js";
import { Learning } from "./page/learning.js";
import { offerLink } from "./page/phone.js";
import { ImageTab } from "./tabs/image.js";
import { Live } from "./tabs/live.js";
import { optimizeTab } from "./tabs/optimize.js";
import { trainTab } from "./tabs/train.js";
import { VideoTab } from "./tabs/video.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

/** Show a tab. */
function show(tab, { focus = false } = {}) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", chosen);
    each.tabIndex = chosen ? 0 : -1;
    byId(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  for (const message of document.querySelectorAll("#toasts .bad")) message.remove(); // of the tab before
}

/** Show a tab and put it into the address, as one step of the browser's history. */
function open(tab, settings) {
  show(tab, settings);
  const hash = `#${tab.getAttribute("aria-controls")}`;
  if (hash !== location.hash) history.pushState(null, "", `${location.search}${hash}`);
}

offerLink();

const ofAddress = () => tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash) ?? tabs[0];

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
show(ofAddress());

addEventListener("popstate", () => show(ofAddress()));

byId("help-open").addEventListener("click", () => byId("help").showModal());

/** Show what the studio says about itself. */
function showFacts({ backend, version, results }) {
  byId("backend").textContent = backend;
  byId("help-backend").textContent = backend;
  byId("help-version").textContent = version;
  byId("help-results").textContent = results || "kept by the machine that runs this studio, until you remove them";
}

telling(async () => {
  const studio = await ask("/api/studio");
  connection.heard(studio.instance);
  showFacts(studio);
  const choice = new Choice();
  addEventListener("popstate", () => choice.writeAddress()); // steps back do not change the choice
  const learning = new Learning(studio, {
    onStyle: async (name) => {
      await offerAnew();
      choice.set({ first: name, second: "" });
    },
  });
  const live = new Live(choice, learning);
  const jobs = new JobList({
    undo: studio.undo,
    styles: studio.styles.map(({ name }) => name),
    onStyles: () => offerAnew(),
    useStyle: (name) => {
      choice.set({ first: name });
      open(byId("tab-live"), { focus: true });
    },
  });
  const image = new ImageTab(studio.limits, choice, jobs, learning);
  const video = new VideoTab(studio.limits, choice, jobs, learning);
  optimizeTab(studio, jobs);
  trainTab(studio, jobs);
  const offer = (styles) => {
    const missing = choice.restrict(styles.map(({ name }) => name));
    for (const name of missing) tell(`There is no style ${name} in this studio.`, { bad: true });
    for (const each of [live, image, video]) each.offer(styles);
  };
  const offerAnew = async () => {
    const { styles } = await ask("/api/studio");
    jobs.styles = styles.map(({ name }) => name);
    offer(styles);
  };
  learning.addEventListener("better", ({ detail }) => {
    for (const { still } of [image, video]) still.refresh(detail);
  });
  offer(studio.styles);
  takeFromAnywhere((tab) => open(byId(`tab-${tab}`)));
  await Promise.all([jobs.refresh(), learning.restore()]);
  document.documentElement.dataset.ready = "yes";
})();
