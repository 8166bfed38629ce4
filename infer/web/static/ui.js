// What all tabs use: elements, messages, sliders, drop zones.

export const byId = (id) => document.getElementById(id);

/** Create an element: `element("p", {className: "hint"}, "text", child)`. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/**
 * Show a message for some seconds; screen readers read it, too. `undo`, if given, is called by a
 * button in it.
 */
export function tell(text, { bad = false, seconds = bad ? 9 : 4, undo } = {}) {
  const message = element("p", { className: bad ? "bad" : "" }, element("span", { textContent: text }));
  if (undo) {
    const button = element("button", { type: "button", textContent: "Undo" });
    button.addEventListener("click", () => {
      message.remove();
      telling(undo)();
    });
    message.append(button);
  }
  byId("toasts").append(message);
  setTimeout(() => message.remove(), seconds * 1000);
}

/** What would be lost if the page were left now; the browser asks first. */
export const unsaved = new Set();

addEventListener("beforeunload", (event) => unsaved.size && event.preventDefault());

/** Wrap a handler so that its errors are shown. */
export function telling(handler) {
  return async (...given) => {
    try {
      await handler(...given);
    } catch (error) {
      tell(error.message, { bad: true });
    }
  };
}

/** Save a Blob as a file. */
export function save(blob, name) {
  const href = URL.createObjectURL(blob);
  element("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000);
}

let sliders = 0;

/** A slider with its value beside it. */
export function slider(label, { min = 0, max = 1, value, show, onInput }) {
  const output = element("output");
  // By id: otherwise the label would belong to the output, which comes first.
  const id = `slider-${(sliders += 1)}`;
  const input = element("input", { type: "range", id, min, max, step: 0.01, value });
  const update = () => {
    output.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    update();
    onInput();
  });
  update();
  return { root: element("label", { className: "slider", htmlFor: id }, label, output, input), input };
}

/** A file's name without folder and suffix. */
export const stem = (name) => name.replace(/^.*\//, "").replace(/\.[^.]*$/, "");

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
