// Talks to this server: sends each file once, names it by its id from then on, and follows a ranking by its events.

const AGAIN = "The server no longer had the files.";
const GONE = ["document_not_found", "documents_off"]; // of a server that has been started again since, perhaps
const NOT_KEPT = [404, 413, 422]; // it keeps no files, none as large, or cannot open this one: then the ranking gets it
const ids = new WeakMap(); // of files that the server keeps; null for those that it does not

let key = () => "";
let refused = () => {}; // called when the key is missing or wrong

export function connect(theKey, onRefused) {
  [key, refused] = [theKey, onRefused];
}

async function send(path, options) {
  const headers = { ...options.headers, ...(key() ? { Authorization: `Bearer ${key()}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  if (response.status === 401) refused();
  const wait = response.headers.get("Retry-After");
  const body = await response.json().catch(() => ({}));
  throw failure(body, response.status, wait ? ` (in ${wait} s)` : "");
}

function failure(body, status, more = "") {
  const error = new Error((body.message ?? `the server answered ${status}`) + more);
  return Object.assign(error, { status, type: body.error?.type });
}

export async function ask(path, options = {}) {
  return (await send(path, options)).json();
}

// Whether the server keeps all of these files, so that ids name them.
export function keeps(files) {
  return files.every((file) => ids.get(file));
}

// Has the server keep the files that it does not have yet; `say` is told what happens.
async function keep(files, signal, say) {
  for (const file of files) {
    if (ids.has(file)) continue;
    say(`Sending ${file.name} ...`);
    const body = new FormData();
    body.append("file", file);
    try {
      ids.set(file, (await ask("v1/documents", { method: "POST", body, signal })).document_id);
    } catch (error) {
      if (!NOT_KEPT.includes(error.status)) throw error;
      ids.set(file, null);
    }
  }
}

// Ranks files by the fields of a form. `told` has `say`, called with texts, and `progress`, called with the counts of
// an event. Results, warnings and errors name files by their place in `files` and by their names.
export async function rerank(files, fields, signal, told) {
  for (let first = true; ; first = false) {
    const say = (text) => told.say(first ? text : `${AGAIN} ${text}`);
    await keep(files, signal, say);
    const order = [...files.filter((file) => !ids.get(file)), ...files.filter((file) => ids.get(file))];
    const own = order.filter((file) => !ids.get(file)).length;
    const named = (text) => text.replace(/\b(files|document_id)\[(\d+)\]/g, (whole, list, index) =>
      order[Number(index) + (list === "files" ? 0 : own)]?.name ?? whole);
    const body = new FormData();
    for (const file of order) body.append(ids.get(file) ? "document_id" : "files", ids.get(file) ?? file);
    for (const [name, value] of fields) body.append(name, value);
    say("Ranking ...");
    try {
      const answer = await inEvents("v1/rerank/files", body, signal, told.progress);
      for (const entry of [...answer.results, ...(answer.meta.skipped ?? [])]) entry.index = files.indexOf(order[entry.index]);
      answer.meta.warnings = answer.meta.warnings?.map(named);
      return answer;
    } catch (error) {
      error.message = named(error.message);
      if (!GONE.includes(error.type) || !first) throw error;
      for (const file of files) ids.delete(file);
    }
  }
}

async function inEvents(path, body, signal, progress) {
  const headers = { Accept: "text/event-stream" };
  const response = await send(path, { method: "POST", body, signal, headers });
  for await (const { event, data } of events(response.body)) {
    if (event === "progress") progress(data);
    else if (event === "error") throw failure(data, data.error.code);
    else if (event === "result") return data;
  }
  throw new Error("the server ended the answer before the ranking was done");
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    if (!value.includes("\n")) continue; // in the middle of a long result
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const lines = Object.fromEntries(part.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (lines.data) yield { event: lines.event, data: JSON.parse(lines.data) }; // else a comment
    }
  }
}
