// The button that starts a job: always there to be pressed, and saying what is missing.

import { block, byId, telling } from "./elements.js";

/**
 * Set up the start button of a form. `missing()` returns what has to be done first, in words, or
 * nothing; `start()` starts the job. Returns a function to call when that may have changed.
 */
export function startButton(form, { missing, start }) {
  const button = form.querySelector(".start button");
  const hint = byId(button.getAttribute("aria-describedby"));
  let isStarting = false;
  form.noValidate = true; // `start` reports invalid values, after what is missing
  const update = () => {
    hint.textContent = missing() ?? "";
    block(button, isStarting ? "It is being started." : hint.textContent);
  };
  const press = telling(async () => {
    update(); // what is missing may have changed without an event of the form
    if (isStarting || hint.textContent) return;
    isStarting = true;
    update();
    try {
      await start();
    } finally {
      isStarting = false;
      update();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    press();
  });
  form.addEventListener("input", update);
  form.addEventListener("change", update);
  update();
  return update;
}
