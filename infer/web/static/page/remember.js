// The values of a form, which come back when the page is reloaded.

/** Keep the values of a form in this browser tab; returns a function that keeps them now. */
export function remember(form) {
  const key = `nst-rt ${form.id}`;
  const inputs = [...form.elements].filter((each) => each.name);
  const value = (input) => (input.type === "checkbox" ? "checked" : "value");
  const kept = JSON.parse(sessionStorage.getItem(key) ?? "{}");
  for (const input of inputs) {
    if (!(input.name in kept)) continue;
    const before = input.value;
    input[value(input)] = kept[input.name];
    if (input.value === "" && input.tagName === "SELECT" && kept[input.name] !== "") input.value = before; // no longer offered
  }
  const keep = () =>
    sessionStorage.setItem(key, JSON.stringify(Object.fromEntries(inputs.map((input) => [input.name, input[value(input)]]))));
  form.addEventListener("input", keep);
  form.addEventListener("change", keep);
  return keep;
}
