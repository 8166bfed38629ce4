// Files that are dropped or pasted anywhere on the page: each goes where it is of use.

import { kindOf, places } from "./drop.js";
import { byId, element, tell } from "../page/elements.js";

const ACCEPTED = "an image (JPEG, PNG, WebP, TIFF, BMP), a video, or a zip archive of photos";

const overlay = element("div", { className: "overlay", hidden: true }, element("p"));

/** Take files from the whole window. `open` shows the tab of a name. */
export function takeFromAnywhere(open) {
  document.body.append(overlay);
  const show = (text) => {
    overlay.hidden = !text;
    overlay.firstChild.textContent = text;
    for (const { root } of places.values()) root.classList.remove("over");
  };
  addEventListener("dragover", (event) => {
    if (!hasFiles(event.dataTransfer)) return;
    event.preventDefault(); // else the browser would leave the page for the file
    const dragged = [...event.dataTransfer.items].filter(({ kind }) => kind === "file");
    const { text, id } = destination(dragged.map(kindOf), event.target);
    show(text);
    places.get(id)?.root.classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && show(""));
  addEventListener("drop", (event) => {
    if (!hasFiles(event.dataTransfer)) return;
    event.preventDefault();
    show("");
    const folders = [...event.dataTransfer.items].filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
    if (folders.length) tell("A folder cannot be dropped: drop the files in it, or a zip archive.", { bad: true });
    else take([...event.dataTransfer.files], event.target, open);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return; // text, for a field
    event.preventDefault();
    take(files, document.body, open);
  });
}

const hasFiles = (transfer) => [...(transfer?.types ?? [])].includes("Files");

function take(files, target, open) {
  const useless = files.filter((file) => !kindOf(file));
  for (const { name } of useless) {
    tell(`${name} cannot be used here. Drop ${ACCEPTED}.`, { bad: true });
  }
  const useful = files.filter(kindOf);
  if (!useful.length) return;
  const { tab, id, source } = destination(useful.map(kindOf), target);
  const kind = kindOf(useful[0]);
  const others = useful.filter((file) => kindOf(file) !== kind);
  if (others.length) tell(`Left out, since one kind of file is taken at a time: ${others.map(({ name }) => name).join(", ")}`);
  open(tab);
  if (source) choosePhotos(source);
  places.get(id)?.choose(useful.filter((file) => kindOf(file) === kind));
}

/** Where files of these kinds go: the tab, the id of the place, and what will happen in words. */
function destination(kinds, target) {
  const [kind] = kinds;
  const one = kinds.length === 1;
  const tab = document.querySelector("[role=tabpanel]:not([hidden])")?.id;
  const empty = (id) => places.has(id) && !places.get(id).filled;
  for (const [id, place] of places) {
    if (place.root.contains(target) && place.kind === kind) {
      return { tab, id, text: place.text ?? `Drop here: ${place.label.toLowerCase()}` };
    }
  }
  if (kind === "video") return { tab: "video", id: "video-drop", text: "Drop to open in Video" };
  if (kind === "archive") return { tab: "train", id: "train-photos", source: "photos", text: "Drop to train on these photos" };
  if (kind !== "image") return { tab, text: `Drop ${ACCEPTED}` };
  if (one && tab === "optimize" && empty("optimize-content")) return { tab, id: "optimize-content", text: "Drop to use as content image" };
  if (one && tab === "optimize" && empty("optimize-style")) return { tab, id: "optimize-style", text: "Drop to use as style image" };
  if (one && tab === "train" && empty("train-style")) return { tab, id: "train-style", text: "Drop to use as style image" };
  if (!one && tab === "train") return { tab, id: "train-photos", source: "album", text: `Drop to train on ${kinds.length} photos` };
  const text = one ? "Drop to open in Image" : `Drop to stylize ${kinds.length} images`;
  return { tab: "image", id: "image-drop", text };
}

/** Let the Train tab take its photos from there. */
function choosePhotos(source) {
  const select = byId("train-form").elements.source;
  if (select.value === source) return;
  select.value = source;
  select.dispatchEvent(new Event("change"));
}
