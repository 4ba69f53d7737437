// Draws files, rankings and errors. Text from the server or from file names only ever becomes text nodes.

const part = (id) => document.getElementById(id);
const STAGES = { prepare: "open", queue: "queue", pages: "render", vision: "vision", rerank: "rerank" };
let shaded = false;

function element(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

function bar(share) {
  const fill = element("i", null);
  fill.style.width = `${(100 * share).toFixed(1)}%`;
  const track = element("div", null, fill);
  track.className = "bar";
  track.setAttribute("aria-hidden", "true"); // the number next to it says the same
  return track;
}

export function showModel(info) {
  part("model").textContent = `${info.model}, ${info.precision} on ${info.provider}; pages of ${info.image.longest_side} px`;
}

export function showRatio(value) {
  part("ratio-value").textContent = Number(value).toFixed(2);
}

export function showFiles(files) {
  const names = files.map((file) => file.name).join(", ");
  part("chosen").textContent = names || "Drop a PDF or page images here, or choose files";
}

export function askForKey() {
  part("key-field").hidden = false;
  part("key").focus();
}

export function begin() {
  part("error").hidden = true;
  part("status").textContent = "Ranking ...";
  part("results").setAttribute("aria-busy", "true");
}

export function end() {
  part("results").removeAttribute("aria-busy");
  if (!part("error").hidden) part("status").textContent = "";
}

export function fail(message) {
  part("error").textContent = message;
  part("error").hidden = false;
}

export function draw({ results, usage, meta }) {
  const share = Math.round((100 * usage.kept_tokens) / usage.visual_tokens);
  const passes = meta.windows === 1 ? "one pass" : `${meta.windows} windows`;
  part("status").textContent =
    `Ranked ${meta.pages} pages in ${passes} and ${(meta.timings_ms.total / 1000).toFixed(2)} s; ` +
    `the decoder read ${share}% of the patches. Best: ${results[0].label}.`;
  drawTimings(meta.timings_ms);
  const skipped = (meta.skipped ?? []).map(({ index, page, reason }) =>
    `files[${index}]${page ? ` p. ${page}` : ""} was skipped: ${reason}`);
  part("warnings").replaceChildren(...[...(meta.warnings ?? []), ...skipped].map((text) => element("li", text)));
  part("results").replaceChildren(...results.map(card));
  part("outcome").hidden = false;
}

function drawTimings(timings) {
  const longest = Math.max(...Object.keys(STAGES).map((stage) => timings[stage]), 1);
  const rows = Object.entries(STAGES).map(([stage, label]) =>
    element("div", null, element("dt", label), element("dd", null, bar(timings[stage] / longest)),
      element("dd", `${timings[stage].toFixed(1)} ms`)));
  part("timings").replaceChildren(...rows);
}

function card(result, place) {
  const heading = element("h2", null, element("b", String(place + 1)), element("span", result.label));
  const kept = `${result.kept.tokens.length} of ${result.kept.rows * result.kept.columns} kept`;
  const numbers = element("p", null, element("span", `${(100 * result.relevance_score).toFixed(1)}%`),
    element("span", `score ${result.logit.toFixed(2)}`), element("span", kept));
  const image = element("img", null);
  image.src = result.thumbnail;
  image.alt = `Picture of ${result.label}`;
  const sheet = element("figure", null, image, mask(result.kept));
  sheet.className = "sheet";
  return element("li", null, heading, bar(result.relevance_score), numbers, sheet);
}

// Covers a page with a canvas of one pixel per patch, grey where pruning dropped the patch.
function mask({ rows, columns, tokens }) {
  const canvas = element("canvas", null);
  [canvas.width, canvas.height, canvas.hidden] = [columns, rows, !shaded];
  canvas.setAttribute("aria-hidden", "true");
  const pen = canvas.getContext("2d");
  pen.fillStyle = "rgb(150 158 172 / 78%)";
  pen.fillRect(0, 0, columns, rows);
  for (const token of tokens) pen.clearRect(token % columns, Math.floor(token / columns), 1, 1);
  return canvas;
}

export function shade(on) {
  shaded = on;
  for (const canvas of document.querySelectorAll(".sheet canvas")) canvas.hidden = !on;
}
