// Plot of the loss on a logarithmic scale, as SVG.

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [360, 200, 44, 24, 22];

/**
 * Draw the loss of a job.
 * Points of an optimization are (step, loss, size), where losses are comparable within one size
 * only; those of a training are (step, content, style).
 */
export function lossCurve(points, kind) {
  const lines = kind === "train" ? [column(points, 1), column(points, 2)] : bySize(points);
  const names = kind === "train" ? ["content loss", "style loss"] : ["loss"];
  const log = (value) => Math.log10(Math.max(value, 1e-9));
  const values = lines.flat().map(([, value]) => log(value));
  // At least a third of a decade, so that noise does not look like a cliff.
  const margin = Math.max(0, 0.34 - (Math.max(...values) - Math.min(...values))) / 2;
  const [low, high] = [Math.min(...values) - margin, Math.max(...values) + margin];
  const last = points.at(-1)[0];
  const x = (step) => LEFT + (step / last) * (WIDTH - LEFT - 8);
  const y = (value) => TOP + ((high - log(value)) / (high - low)) * (HEIGHT - TOP - BOTTOM);

  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curve", role: "img" });
  const said = lines.map((line, i) => `${names[i] ?? names[0]} ${short(line.at(-1)[1])}`);
  svg.setAttribute("aria-label", `Step ${last}: ${kind === "train" ? said.join(", ") : said.at(-1)}`);
  for (const level of [low, (low + high) / 2, high]) {
    const value = 10 ** level;
    svg.append(make("path", { class: "axis", d: `M${LEFT} ${y(value)}H${WIDTH - 8}` }));
    svg.append(text(LEFT - 6, y(value) + 4, short(value), "end"));
  }
  svg.append(text(LEFT, HEIGHT - 6, "step 0", "start"), text(WIDTH - 8, HEIGHT - 6, String(last), "end"));
  lines.forEach((line, i) => {
    const d = line.map(([step, value], n) => `${n ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    svg.append(make("path", { class: kind === "train" ? `line${i}` : "line0", d }));
  });
  svg.append(text(LEFT, 12, kind === "train" ? "content loss, and style loss (dashed)" : "loss, one line per image size", "start"));
  return svg;
}

const column = (points, index) => points.map((point) => [point[0], point[index]]);

function bySize(points) {
  const sizes = [...new Set(points.map(([, , size]) => size))];
  return sizes.map((size) => column(points.filter((point) => point[2] === size), 1));
}

const short = (value) => Number(value.toPrecision(2)).toString();

function make(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function text(x, y, content, anchor) {
  const made = make("text", { x, y, "text-anchor": anchor });
  made.textContent = content;
  return made;
}
