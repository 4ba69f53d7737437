// The request that is on the page, as a curl command and as a Python program.

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
// JSON's strings are Python's too, once surrogate pairs are left as the characters that they are
const python = (text) => JSON.stringify(text);

// curl reads ; and , in the name of a form's file as syntax, unless the name is in double quotes
const quoted = (name) => `"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

// `fields` are [name, value] pairs; `key` says whether the server asks for one.
export function curl(address, names, fields, key) {
  const parts = [`curl ${shell(address)}`];
  if (key) parts.push('-H "Authorization: Bearer $ZIPRERANK_API_KEY"');
  for (const name of names) parts.push(`-F ${shell(`files=@${quoted(name)}`)}`);
  for (const [name, value] of fields) parts.push(`--form-string ${shell(`${name}=${value}`)}`);
  return parts.join(" \\\n  ");
}

export function program(address, names, fields, key) {
  const lines = [...(key ? ["import os", ""] : []), "import httpx", ""];
  lines.push("files = [", ...names.map((name) => `    ("files", open(${python(name)}, "rb")),`), "]");
  lines.push("fields = {", ...fields.map(([name, value]) => `    ${python(name)}: ${python(value)},`), "}");
  const headers = key ? ', headers={"Authorization": f"Bearer {os.environ[\'ZIPRERANK_API_KEY\']}"}' : "";
  lines.push(`answer = httpx.post(${python(address)}, files=files, data=fields, timeout=600${headers})`);
  lines.push("answer.raise_for_status()");
  lines.push('for result in answer.json()["results"]:');
  lines.push('    print(result["index"], result.get("page"), result["relevance_score"])');
  return lines.join("\n");
}
