// What is on the page, in the part of its address after "#", which browsers never send: queries stay out of logs.

const NAMES = ["query", "pages", "show", "ratio", "other", "shade", "sample", "open"];

// Returns the state that the address holds: texts by name, as far as it has them.
export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(NAMES.filter((name) => given.has(name)).map((name) => [name, given.get(name)]));
}

// Writes the state into the address; what is empty is left out. Going back leaves the page, as before.
export function write(state) {
  const kept = new URLSearchParams();
  for (const name of NAMES) if (state[name]) kept.set(name, String(state[name]));
  history.replaceState(null, "", `#${kept}`);
}
