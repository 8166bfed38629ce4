// Places to choose files: by click, by key, by drop or by paste (see anywhere.js).

import { element, telling, unsaved } from "../page/elements.js";

/** All places on the page by the id of the element that they are in, with what they take. */
export const places = new Map();

const SUFFIXES = {
  image: /\.(jpe?g|png|webp|tiff?|bmp)$/i,
  video: /\.(mp4|m4v|mov|mkv|webm|avi|m?ts|mpe?g|ogv|flv|wmv)$/i,
  archive: /\.zip$/i,
};

/** Whether a file, or one that is being dragged, is an `image`, a `video` or an `archive`. */
export function kindOf({ type, name = "" }) {
  const known = /^(image|video)\//.exec(type)?.[1] ?? (/zip/.test(type) ? "archive" : undefined);
  return known ?? Object.keys(SUFFIXES).find((kind) => SUFFIXES[kind].test(name));
}

/**
 * A place to choose a file. `take(files, report, signal)` is called with the files;
 * `report(fraction, text)` shows the progress, and the signal tells that the visitor has cancelled.
 */
export function dropzone(container, { label, hint, accept, multiple = false, folder = false, take }) {
  const input = element("input", { type: "file", className: "hidden-input", accept, multiple });
  if (folder) input.webkitdirectory = true;
  const title = element("b", { textContent: label });
  const name = element("span", { className: "hint name", textContent: hint });
  const bar = element("progress", { max: 1, value: 0, hidden: true });
  const cancel = element("button", { type: "button", textContent: "Cancel", hidden: true });
  const preview = element("span", { className: "chosen" });
  const root = element("label", { className: "drop" }, input, preview, title, name, bar, cancel);
  input.insertAdjacentHTML("afterend", '<svg aria-hidden="true"><use href="#i-upload"/></svg>');
  bar.setAttribute("aria-label", "Upload");
  let filled = false;

  const report = (fraction, text) => {
    bar.hidden = cancel.hidden = fraction === null;
    if (fraction !== null) bar.value = fraction;
    if (text) name.textContent = text;
  };
  const choose = telling(async (files) => {
    if (!files.length) return;
    if (input.disabled) throw new Error("Another file is being uploaded there: cancel that, or try again when it is done.");
    const before = name.textContent;
    const controller = new AbortController();
    cancel.onclick = (event) => {
      event.preventDefault(); // else the label would open the file dialog
      controller.abort();
    };
    input.disabled = true;
    unsaved.add(root);
    try {
      report(0, files.length === 1 ? files[0].name : `${files.length} files`);
      await take([...files], report, controller.signal);
      filled = true;
    } catch (error) {
      report(null, before);
      if (!controller.signal.aborted) throw error;
    } finally {
      unsaved.delete(root);
      report(null);
      input.disabled = false;
      input.value = "";
    }
  });
  input.addEventListener("change", () => choose(input.files));
  container.replaceChildren(root);
  const place = {
    root,
    label,
    kind: kindOf({ type: accept, name: accept }),
    multiple,
    choose,
    /** Whether a file has been chosen. */
    get filled() {
      return filled;
    },
  };
  places.set(container.closest("[id]").id, place);
  return {
    /** Show the chosen image, with a text. */
    show: (media, text) => {
      filled = true;
      preview.replaceChildren(media);
      root.querySelector(":scope > svg").setAttribute("hidden", "");
      title.textContent = "Choose another";
      report(null, text);
    },
    /** Take less room, with a text. */
    shrink: (text) => {
      filled = true;
      root.classList.add("small");
      title.textContent = "Choose another";
      report(null, text);
    },
  };
}
