// Turns what the visitor does into requests to this server (server.js), and has view.js draw the answers.
import * as code from "./code.js";
import * as large from "./large.js";
import * as server from "./server.js";
import * as state from "./state.js";
import * as view from "./view.js";

const part = (id) => document.getElementById(id);
const [form, fileInput, drop, ratio, other, compare, shade, key] =
  ["form", "files", "drop", "ratio", "other", "compare", "shade", "key"].map(part);
const SIDE = 480; // px, of the pictures in the ranking
const LARGE_SIDE = 1024;

let files = [];
let sample = false; // whether they are the sample document
let openPlace = null; // of the page that is shown large
let underWay = null; // the AbortController of the request under way; aborting it makes the server stop too
let pictures = new Map(); // "file/page" -> data URL, so that ranking again sends no picture twice
let largePictures = new Map();

server.connect(() => key.value, view.askForKey);

// What the form asks for, as the fields of a request.
function fieldsOf(keepRatio) {
  const fields = [["query", form.elements.query.value], ["top_n", form.elements.show.value], ["keep_ratio", keepRatio]];
  if (form.elements.pages.value.trim()) fields.push(["pages", form.elements.pages.value.trim()]);
  return [...fields, ["scale", "probability"], ["on_bad_page", "skip"]]; // the page names what was skipped
}

function request(fields, sent, extras, side, signal, told) {
  const all = [...fields, ...extras.map((extra) => ["include", extra]), ["thumbnail_side", side]];
  return server.rerank(sent, all, signal, told);
}

const name = (result) => `${result.index}/${result.page ?? ""}`;

async function ranked(keepRatio, signal) {
  const fields = fieldsOf(keepRatio);
  const extras = ["logit", "kept", "passes", "timings"];
  const told = { // of a request that was overtaken nothing is said
    say: (text) => signal.aborted || view.say(text),
    progress: (counts) => signal.aborted || view.progress(counts),
  };
  let answer = await request(fields, files, pictures.size ? extras : [...extras, "thumbnail"], SIDE, signal, told);
  if (answer.results.some((result) => !result.thumbnail && !pictures.has(name(result)))) {
    answer = await request(fields, files, [...extras, "thumbnail"], SIDE, signal, told);
  }
  const { first_stage, windows, pages } = answer.meta;
  const several = windows > 1 && windows < pages; // else each page has a pass, and a score, of its own
  for (const result of answer.results) {
    result.stage = first_stage;
    result.early = several && !result.passes.includes(windows); // the last pass did not hold it
    if (result.thumbnail) pictures.set(name(result), result.thumbnail);
    result.thumbnail = pictures.get(name(result));
    result.large = largePictures.get(name(result));
    result.label = result.page ? `page ${result.page} of ${files[result.index].name}` : files[result.index].name;
  }
  return answer;
}

// A larger picture of one page, or null; the server has the page's features already.
async function enlarged(result) {
  const shown = largePictures;
  const fields = fieldsOf(ratio.value).filter(([field]) => field !== "pages");
  if (result.page) fields.push(["pages", String(result.page)]);
  try {
    const quiet = { say() {}, progress() {} };
    const answer = await request(fields, [files[result.index]], ["thumbnail"], LARGE_SIDE, undefined, quiet);
    const picture = answer.results[0].thumbnail;
    if (picture) shown.set(name(result), picture);
    return picture ?? null;
  } catch {
    return null;
  }
}

async function rank(open = null) {
  if (files.length === 0) return view.fail("Choose a PDF or page images first.");
  underWay?.abort();
  const mine = (underWay = new AbortController());
  large.close();
  view.begin();
  try {
    const answer = await ranked(ratio.value, mine.signal);
    const beside = compare.checked ? await ranked(other.value, mine.signal) : null;
    view.draw(answer, beside, large.open);
    showCode();
    remember();
    if (open !== null && open < answer.results.length) large.open(answer.results, open, part("results"));
  } catch (error) {
    if (!mine.signal.aborted) view.fail(error.message);
  } finally {
    if (underWay === mine) view.end();
  }
}

function showCode() {
  const request = {
    address: new URL("./", document.baseURI).href,
    names: files.map((file) => file.name),
    fields: fieldsOf(ratio.value),
    key: Boolean(key.value),
    kept: server.keeps(files),
  };
  part("curl").textContent = code.curl(request);
  part("python").textContent = code.program(request);
}

function remember() {
  state.write({
    query: form.elements.query.value, pages: form.elements.pages.value.trim(), show: form.elements.show.value,
    ratio: ratio.value, other: compare.checked ? other.value : "", shade: shade.checked ? "1" : "",
    sample: sample ? "1" : "", open: openPlace === null ? "" : openPlace + 1,
  });
}

function choose(list, isSample = false) {
  underWay?.abort();
  underWay = null;
  large.close();
  [files, sample, pictures, largePictures] = [[...list], isSample, new Map(), new Map()];
  view.end();
  view.showFiles(files);
}

async function chooseSample() {
  const response = await fetch("static/sample.pdf");
  if (!response.ok) return view.fail(`The sample cannot be fetched: the server answered ${response.status}.`);
  choose([new File([await response.blob()], "sample.pdf", { type: "application/pdf" })], true);
}

let pause;
function ratioMoved() {
  view.showRatios(ratio.value, other.value, compare.checked);
  clearTimeout(pause);
  pause = setTimeout(rank, 150);
}
for (const control of [ratio, other]) control.addEventListener("input", ratioMoved);
compare.addEventListener("change", ratioMoved);
shade.addEventListener("change", () => {
  view.shade(shade.checked);
  remember();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  rank();
});
fileInput.addEventListener("change", () => choose(fileInput.files));
for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(type, (event) => {  // also outside the box, where the browser would otherwise open the file
    event.preventDefault();
    drop.classList.toggle("over", type === "dragenter" || type === "dragover");
    if (type === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files);
  });
}
for (const button of document.querySelectorAll("#samples button")) {
  button.addEventListener("click", async () => {
    form.elements.query.value = button.textContent;
    await chooseSample();
    if (files.length) await rank();
  });
}
large.connect(enlarged, (place) => {
  openPlace = place;
  remember();
});

// What the address says, over the server's defaults; with the sample document it is ranked at once.
async function restore(defaults) {
  const given = state.read();
  for (const field of ["query", "pages"]) if (given[field]) form.elements[field].value = given[field];
  if ([...part("show").options].some((option) => option.value === given.show)) part("show").value = given.show;
  ratio.value = given.ratio ?? defaults.keep_ratio;
  compare.checked = "other" in given;
  if (given.other) other.value = given.other;
  shade.checked = given.shade === "1";
  view.shade(shade.checked);
  view.showRatios(ratio.value, other.value, compare.checked);
  if (given.sample !== "1" || !given.query) return;
  await chooseSample();
  if (files.length) await rank(given.open ? Number(given.open) - 1 : null);
}

async function begin() {
  let defaults = { keep_ratio: 0.5 }; // a key is needed: the form asks for it
  try {
    const info = await server.ask("info");
    defaults = info.defaults;
    view.showModel(info);
  } catch {
    // the ranking says what is wrong
  }
  await restore(defaults);
}
begin();
