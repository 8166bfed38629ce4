// A place to choose files, by click, key or drop.

import { element, telling, unsaved } from "./elements.js";

/**
 * A place to choose a file by click, key or drop. `take(files, report)` is called with the files;
 * `report(fraction, text)` shows the progress.
 */
export function dropzone(container, { label, hint, accept, multiple = false, folder = false, take }) {
  const input = element("input", { type: "file", className: "hidden-input", accept, multiple });
  if (folder) input.webkitdirectory = true;
  const title = element("b", { textContent: label });
  const name = element("span", { className: "hint name", textContent: hint });
  const bar = element("progress", { max: 1, value: 0, hidden: true });
  const preview = element("span");
  const root = element("label", { className: "drop" }, input, preview, title, name, bar);
  input.insertAdjacentHTML("afterend", '<svg aria-hidden="true"><use href="#i-upload"/></svg>');
  bar.setAttribute("aria-label", "Upload");

  const report = (fraction, text) => {
    bar.hidden = fraction === null;
    if (fraction !== null) bar.value = fraction;
    if (text) name.textContent = text;
  };
  const choose = telling(async (files) => {
    if (!files.length) return;
    const before = name.textContent;
    input.disabled = true;
    unsaved.add(root);
    try {
      report(0, files.length === 1 ? files[0].name : `${files.length} files`);
      await take([...files], report);
    } catch (error) {
      report(null, before);
      throw error;
    } finally {
      unsaved.delete(root);
      report(null);
      input.disabled = false;
      input.value = "";
    }
  });
  input.addEventListener("change", () => choose(input.files));
  for (const kind of ["dragenter", "dragover"]) {
    root.addEventListener(kind, (event) => {
      event.preventDefault();
      root.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) root.addEventListener(kind, () => root.classList.remove("over"));
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    choose(event.dataTransfer.files);
  });
  container.replaceChildren(root);
  return {
    /** Show the chosen image or video. */
    show: (media) => {
      preview.replaceChildren(media);
      root.querySelector(":scope > svg").setAttribute("hidden", "");
      title.textContent = "Choose another";
    },
    /** Take less room, with a text. */
    shrink: (text) => {
      root.classList.add("small");
      report(null, text);
    },
  };
}
