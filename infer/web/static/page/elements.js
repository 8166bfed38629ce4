// What all tabs use: elements, messages, sliders.

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

/** Wrap a handler so that its errors are shown, unless the page shows them otherwise. */
export function telling(handler) {
  return async (...given) => {
    try {
      await handler(...given);
    } catch (error) {
      if (!error.isShown) tell(error.message, { bad: true });
    }
  };
}

/** Let a button say why it cannot work now; no reason lets it work again, with its own title. */
export function block(button, reason, title = "") {
  button.title = reason || title;
  button.dataset.blocked = reason;
  button.setAttribute("aria-disabled", Boolean(reason));
}

// Not `disabled`, so that the reason can be read with the keyboard and on phones, too.
addEventListener(
  "click",
  (event) => {
    const blocked = event.target.closest?.("button[data-blocked]:not([data-blocked=''])");
    if (!blocked) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    tell(blocked.dataset.blocked);
  },
  { capture: true },
);

/** Save a Blob as a file. */
export function save(blob, name) {
  const href = URL.createObjectURL(blob);
  element("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000);
}

let sliders = 0;

/** A slider with its value beside it; `onInput` is called with the values that the visitor sets. */
export function slider(label, { min = 0, max = 1, value = min, show, onInput }) {
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
    onInput(Number(input.value));
  });
  update();
  return {
    root: element("label", { className: "slider", htmlFor: id }, label, output, input),
    input,
    /** Show a value, without calling `onInput`. */
    set: (shown) => {
      input.value = shown;
      update();
    },
  };
}

/** A file's name without folder and suffix. */
export const stem = (name) => name.replace(/^.*\//, "").replace(/\.[^.]*$/, "");
