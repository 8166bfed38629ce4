// What the visitor has chosen: styles and how strongly, the same in all tabs, kept in the address.

const DEFAULT = {
  first: "", // name of a style
  second: "", // name of the style that is blended with it, or none
  amount: 0.5, // of the second style
  strength: 1,
  strokes: 2, // stroke size, percent of the long side
  stability: 0.95,
  colors: false, // whether the source's colors are preserved
  preference: "", // what matters more on a slow machine: sharp images, smooth motion, or both alike
};

// Frame rates that are asked for live by preference; without one the studio's own is held.
const FRAME_RATES = { sharp: 10, smooth: 30 };

/** The choice. Each change is an event `change`; the address always says what is chosen. */
export class Choice extends EventTarget {
  #values = { ...DEFAULT };

  /** Whether any of these values differs from its default. */
  differs(...names) {
    return names.some((name) => this.#values[name] !== DEFAULT[name]);
  }

  /** Read the choice from the address, as far as it is there. */
  constructor() {
    super();
    const given = new URLSearchParams(location.search);
    const [first, second] = (given.get("style") ?? "").split(",").map((part) => part.split(":"));
    const number = (name, low, high, otherwise) => {
      const value = Number.parseFloat(given.get(name));
      return Number.isFinite(value) ? Math.min(Math.max(value, low), high) : otherwise;
    };
    this.#values = {
      first: first[0],
      second: second?.[0] ?? "",
      amount: second ? Math.min(Math.max(Number(second[1]) || 0, 0), 1) : DEFAULT.amount,
      strength: number("strength", 0, 100, 100) / 100,
      strokes: number("strokes", 0.5, 8, DEFAULT.strokes),
      stability: number("stability", 0, 100, 95) / 100,
      colors: given.get("colors") === "source",
      preference: Object.hasOwn(FRAME_RATES, given.get("prefer")) ? given.get("prefer") : DEFAULT.preference,
    };
  }

  get values() {
    return this.#values;
  }

  /** Change some of the values. */
  set(values) {
    const next = { ...this.#values, ...values };
    if (next.second === next.first) next.second = "";
    if (Object.keys(next).every((name) => next[name] === this.#values[name])) return;
    this.#values = next;
    this.writeAddress();
    this.dispatchEvent(new Event("change"));
  }

  /** Keep to the styles that exist. Returns the names of chosen ones that do not. */
  restrict(names) {
    const { first, second } = this.#values;
    const known = (name) => names.includes(name);
    this.set({ first: known(first) ? first : names[0], second: known(second) ? second : "" });
    return [first, second].filter((name) => name && !known(name));
  }

  /** The names of the chosen styles with their weights, which sum to 1. */
  get styles() {
    const { first, second, amount } = this.#values;
    const styles = second && amount > 0 ? { [first]: 1 - amount, [second]: amount } : { [first]: 1 };
    if (styles[first] === 0) delete styles[first];
    return styles;
  }

  /** The choice in the studio's JSON. */
  get json() {
    const { strength, strokes, stability, colors, preference } = this.#values;
    return { styles: this.styles, strength, stroke_size: `${strokes}%`, stability, preserve_colors: colors, fps: FRAME_RATES[preference] };
  }

  /** The choice as a query for a stylized image. */
  get query() {
    const { strength, strokes, colors } = this.#values;
    return new URLSearchParams({ style: weights(this.styles), strength, stroke_size: `${strokes}%`, preserve_colors: colors }).toString();
  }

  /** Write the choice into the address; a step back in the history has brought that of an earlier one. */
  writeAddress() {
    const { first, second, amount, strength, strokes, stability, colors, preference } = this.#values;
    const address = new URL(location.href);
    const write = (name, value, isDefault) =>
      isDefault ? address.searchParams.delete(name) : address.searchParams.set(name, value);
    write("style", second ? weights({ [first]: 1 - amount, [second]: amount }) : first, !first);
    write("strength", Math.round(strength * 100), strength === DEFAULT.strength);
    write("strokes", strokes, strokes === DEFAULT.strokes);
    write("stability", Math.round(stability * 100), stability === DEFAULT.stability);
    write("colors", "source", !colors);
    write("prefer", preference, !preference);
    history.replaceState(history.state, "", address.href.replaceAll("%3A", ":").replaceAll("%2C", ","));
  }
}

const weights = (styles) => {
  const pairs = Object.entries(styles);
  return pairs.length === 1 ? pairs[0][0] : pairs.map(([name, weight]) => `${name}:${Number(weight.toFixed(3))}`).join(",");
};
