// Draws files, rankings and errors. Text from the server or from file names only ever becomes text nodes.

const part = (id) => document.getElementById(id);
const STAGES = { prepare: "open", queue: "queue", pages: "render", vision: "vision", rerank: "rerank" };
const NOTHING = "Drop a PDF or page images here, or choose files";
let shaded = false;
let names = []; // of the files

export function element(tag, text, ...children) {
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

export function showRatios(ratio, other, compared) {
  part("ratio-value").textContent = Number(ratio).toFixed(2);
  part("other-value").textContent = Number(other).toFixed(2);
  part("other-field").hidden = !compared;
  if (compared) return;
  part("others-column").hidden = true;
  part("columns").classList.remove("two");
}

// Names the files, and takes away what was said and shown of those before.
export function showFiles(files) {
  names = files.map((file) => file.name);
  part("chosen").textContent = names.join(", ") || NOTHING;
  part("samples").hidden = names.length > 0;
  part("error").hidden = part("outcome").hidden = true;
  const count = names.length === 1 ? "1 file" : `${names.length} files`;
  part("status").textContent = names.length ? `${count} to rank.` : "No pages yet.";
}

export function askForKey() {
  part("key-field").hidden = false;
  part("key").focus();
}

export function begin() {
  part("error").hidden = part("progress").hidden = true;
  say("Ranking ...");
  part("results").setAttribute("aria-busy", "true");
}

export function say(text) {
  if (part("status").textContent !== text) part("status").textContent = text; // else it would be read out again
}

// How far the ranking is. It changes too often to be read out; who looks for it finds it under its label.
export function progress({ pages_done, pages, passes_done, passes }) {
  part("progress-text").textContent =
    `${pages_done} of ${count(pages, "page")} read, ${passes_done} of ${count(passes, "pass", "passes")} done`;
  [part("progress-bar").max, part("progress-bar").value] = [pages + passes, pages_done + passes_done];
  part("progress").hidden = false;
}

const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

export function end() {
  part("results").removeAttribute("aria-busy");
  part("progress").hidden = true;
}

// Says what went wrong. Results of another request do not stay beside it.
export function fail(message) {
  part("error").textContent = message;
  part("error").hidden = false;
  part("outcome").hidden = true;
  part("status").textContent = "";
}

// `other` is the answer at another keep ratio, or null. `enlarge(results, place, list)` opens a page large.
export function draw(answer, other, enlarge) {
  const { results, usage, meta } = answer;
  const share = Math.round((100 * usage.kept_tokens) / usage.visual_tokens);
  const passes = meta.windows === 1 ? "one pass" : `${meta.windows} passes`;
  const picked = meta.first_stage === "none" ? "" : `${meta.first_stage.replace("+", " and ")} picked those that the model read; `;
  part("status").textContent =
    `Ranked ${meta.pages} pages in ${passes} and ${(meta.timings_ms.total / 1000).toFixed(2)} s; ` +
    `${picked}the decoder read ${share}% of the patches. Best: ${results[0].label}.`;
  drawTimings(meta.timings_ms);
  const skipped = (meta.skipped ?? []).map(({ index, page, reason }) =>
    `${names[index]}${page ? ` p. ${page}` : ""} was skipped: ${reason}`);
  const order = `Ranked in ${passes}: the numbers of pages that the last one did not hold say "at most".`;
  const early = [...results, ...(other?.results ?? [])].some((result) => isRead(result) && result.early);
  const notes = [...(early ? [order] : []), ...(meta.warnings ?? []), ...skipped];
  part("warnings").replaceChildren(...notes.map((text) => element("li", text)));
  const fill = (list, ranked, before) => list.replaceChildren(...ranked.map((result, place) =>
    card(result, place, before, () => enlarge(ranked, place, list))));
  fill(part("results"), results, null);
  fill(part("others"), other?.results ?? [], results);
  part("others-column").hidden = !other;
  part("results-title").textContent = title(answer);
  if (other) part("others-title").textContent = title(other);
  part("columns").classList.toggle("two", Boolean(other));
  part("outcome").hidden = false;
}

const title = ({ meta }) => `Keep ratio ${meta.keep_ratio.toFixed(2)}: rerank in ${meta.timings_ms.rerank.toFixed(1)} ms`;

function drawTimings(timings) {
  const longest = Math.max(...Object.keys(STAGES).map((stage) => timings[stage]), 1);
  const rows = Object.entries(STAGES).map(([stage, label]) =>
    element("div", null, element("dt", label), element("dd", null, bar(timings[stage] / longest)),
      element("dd", `${timings[stage].toFixed(1)} ms`)));
  part("timings").replaceChildren(...rows);
}

const isRead = (result) => result.passes.length > 0; // by the model; others a first stage left behind
const LEFT = { text: "by its text", relevance: "by relevance", "text+relevance": "by its text or by relevance" };

// The numbers of a result: probability, score, and how much of the page was kept.
export function numbers(result) {
  if (!isRead(result)) return [element("span", `left behind ${LEFT[result.stage]}: the model has not read it`)];
  const most = result.early ? "at most " : ""; // it would stand behind the pages above
  return [element("span", `${most}${(100 * result.relevance_score).toFixed(1)}%`),
    element("span", `score ${most}${result.logit.toFixed(2)}`),
    element("span", `${result.kept.tokens.length} of ${result.kept.rows * result.kept.columns} kept`)];
}

function card(result, place, before, enlarge) {
  const heading = element("h3", null, element("b", String(place + 1)), element("span", result.label));
  const image = element("img", null);
  image.src = result.thumbnail;
  image.alt = `Picture of ${result.label}`;
  const sheet = element("button", null, image, mask(result.kept));
  sheet.type = "button";
  sheet.className = "sheet";
  sheet.setAttribute("aria-label", `Show ${result.label} large`);
  sheet.addEventListener("click", enlarge);
  const made = element("li", null, heading);
  if (before) made.append(element("p", moved(result, place, before)));
  if (isRead(result)) made.append(bar(result.relevance_score)); // which falls, over any number of passes
  made.append(element("p", null, ...numbers(result)), sheet);
  return made;
}

// Where a page stands in the other ranking.
function moved(result, place, before) {
  const was = before.findIndex((one) => one.index === result.index && one.page === result.page);
  if (was < 0) return "not shown at the other ratio";
  const by = was - place;
  return by === 0 ? "same place" : `${Math.abs(by)} ${by > 0 ? "better" : "worse"} than at the other ratio`;
}

// Covers a page with a canvas of one pixel per patch, grey where pruning dropped the patch.
export function mask({ rows, columns, tokens }) {
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
  for (const canvas of document.querySelectorAll(".cards canvas")) canvas.hidden = !on;
}
