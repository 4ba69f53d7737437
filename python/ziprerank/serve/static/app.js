// Turns what the visitor does into requests to this server, and has view.js draw the answers.
import * as view from "./view.js";

const form = document.getElementById("form");
const fileInput = document.getElementById("files");
const drop = document.getElementById("drop");
const ratio = document.getElementById("ratio");
const key = document.getElementById("key");

let files = [];
let underWay = null; // the AbortController of the request under way; aborting it makes the server stop too
const thumbnails = new Map(); // "file/page" -> data URL, so that ranking again sends no picture twice

async function ask(path, options = {}) {
  const headers = key.value ? { Authorization: `Bearer ${key.value}` } : {};
  const response = await fetch(path, { ...options, headers });
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  if (response.status === 401) view.askForKey();
  const wait = response.headers.get("Retry-After");
  throw new Error((body.message ?? `the server answered ${response.status}`) + (wait ? ` (in ${wait} s)` : ""));
}

function request(pictures) {
  const body = new FormData();
  for (const file of files) body.append("files", file);
  body.append("query", form.elements.query.value);
  if (form.elements.pages.value.trim()) body.append("pages", form.elements.pages.value.trim());
  body.append("top_n", form.elements.show.value);
  body.append("keep_ratio", ratio.value);
  for (const extra of ["logit", "kept", "timings", ...(pictures ? ["thumbnail"] : [])]) body.append("include", extra);
  body.append("thumbnail_side", "480");
  body.append("on_bad_page", "skip"); // the page names what was skipped
  return ask("v1/rerank/files", { method: "POST", body, signal: underWay.signal });
}

const name = (result) => `${result.index}/${result.page ?? ""}`;

async function rank() {
  if (files.length === 0) return view.fail("Choose a PDF or page images first.");
  underWay?.abort();
  const mine = (underWay = new AbortController());
  view.begin();
  try {
    let answer = await request(thumbnails.size === 0);
    if (answer.results.some((result) => !result.thumbnail && !thumbnails.has(name(result)))) answer = await request(true);
    for (const result of answer.results) {
      if (result.thumbnail) thumbnails.set(name(result), result.thumbnail);
      result.thumbnail = thumbnails.get(name(result));
      result.label = result.page ? `page ${result.page} of ${files[result.index].name}` : files[result.index].name;
    }
    view.draw(answer);
  } catch (error) {
    if (!mine.signal.aborted) view.fail(error.message);
  } finally {
    if (underWay === mine) view.end();
  }
}

function choose(list) {
  files = [...list];
  thumbnails.clear();
  view.showFiles(files);
}

let pause;
ratio.addEventListener("input", () => {
  view.showRatio(ratio.value);
  clearTimeout(pause);
  pause = setTimeout(rank, 150);
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
document.getElementById("shade").addEventListener("change", (event) => view.shade(event.target.checked));

async function begin() {
  try {
    const info = await ask("info");
    ratio.value = info.defaults.keep_ratio;
    view.showModel(info);
  } catch {
    ratio.value = 0.5; // a key is needed: the form asks for it
  }
  view.showRatio(ratio.value);
}
begin();
