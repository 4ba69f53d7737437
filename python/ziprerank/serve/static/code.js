// The request that is on the page, as curl commands and as a Python program.

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
// JSON's strings are Python's too, once surrogate pairs are left as the characters that they are
const python = (text) => JSON.stringify(text);
const NUMBERS = ["top_n", "keep_ratio"];

// curl reads ; and , in the name of a form's file as syntax, unless the name is in double quotes
const quoted = (name) => `"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
const file = (field, name) => `-F ${shell(`${field}=@${quoted(name)}`)}`;

// Both take a request: `address` of the server, with a slash at its end; `names` of the files; `fields`, [name, value]
// pairs; `key`, whether the server asks for one; `kept`, whether it keeps files. Then each file is sent once, and a
// further query names it by its id.

export function curl({ address, names, fields, key, kept }) {
  const begin = (path, ...options) =>
    [`curl -sS ${shell(address + path)}`, ...(key ? ['-H "Authorization: Bearer $ZIPRERANK_API_KEY"'] : []), ...options];
  const lines = (parts) => parts.join(" \\\n  ");
  const query = fields.map(([name, value]) => `--form-string ${shell(`${name}=${value}`)}`);
  if (!kept) return lines(begin("v1/rerank/files", ...names.map((name) => file("files", name)), ...query));
  const ids = names.map((_, place) => (names.length > 1 ? `id${place + 1}` : "id"));
  const sent = names.map((name, place) =>
    `${ids[place]}=$(${lines(begin("v1/documents", file("file", name)))} | grep -o 'doc_[0-9a-f]*')`);
  const named = ids.map((id) => `--form-string "document_id=$${id}"`);
  return [...sent, lines(begin("v1/rerank/files", ...named, ...query))].join("\n");
}

export function program({ address, names, fields, key, kept }) {
  const lines = [...(key ? ["import os", ""] : []), "import httpx", ""];
  lines.push(`server = httpx.Client(base_url=${python(address)}, timeout=None)  # the server has a deadline`);
  if (key) lines.push('server.headers["Authorization"] = f"Bearer {os.environ[\'ZIPRERANK_API_KEY\']}"');
  lines.push(...(kept ? sendingOnce(names, fields) : sendingAlong(names, fields)));
  lines.push("answer.raise_for_status()");
  lines.push('for result in answer.json()["results"]:');
  lines.push('    print(result["index"], result.get("page"), result["relevance_score"])');
  return lines.join("\n");
}

function sendingOnce(names, fields) {
  const pages = fields.filter(([name]) => name === "pages").map(([name, value]) => `, "${name}": ${python(value)}`);
  const others = fields.filter(([name]) => name !== "pages");
  return [
    "names = [", ...names.map((name) => `    ${python(name)},`), "]",
    "ids = []",
    "for name in names:  # each is sent once",
    '    with open(name, "rb") as file:',
    '        answer = server.post("v1/documents", files={"file": file})',
    '    ids.append(answer.raise_for_status().json()["document_id"])',
    "body = {",
    `    "documents": [{"document_id": one${pages.join("")}} for one in ids],`,
    ...others.map(([name, value]) => `    ${python(name)}: ${NUMBERS.includes(name) ? Number(value) : python(value)},`),
    "}",
    'answer = server.post("v1/rerank", json=body)',
  ];
}

function sendingAlong(names, fields) {
  return [
    "files = [", ...names.map((name) => `    ("files", open(${python(name)}, "rb")),`), "]",
    "fields = {", ...fields.map(([name, value]) => `    ${python(name)}: ${python(value)},`), "}",
    'answer = server.post("v1/rerank/files", files=files, data=fields)',
  ];
}
