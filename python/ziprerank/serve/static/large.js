// One page of the ranking, large: what pruning kept is shown, and arrow keys go through the ranking.
import { element, mask, numbers } from "./view.js";

const part = (id) => document.getElementById(id);
const dialog = part("large");
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

let results = [];
let cards = null; // the list whose cards show the ranking
let place = 0;
let picture = async () => null; // asks the server for a larger picture of a result
let changed = () => {}; // called with the place that is shown, or null

export function connect(fetchPicture, onChange) {
  picture = fetchPicture;
  changed = onChange;
}

// Shows the page at `at` of a ranking, of which `list` has the cards.
export function open(ranked, at, list) {
  [results, cards] = [ranked, list];
  show(at);
  if (!dialog.open) dialog.showModal();
}

export function close() {
  if (dialog.open) dialog.close();
}

function show(at) {
  place = at;
  const result = results[place];
  part("large-title").textContent = `${place + 1} of ${results.length}: ${result.label}`;
  part("large-numbers").replaceChildren(...numbers(result));
  const image = element("img", null);
  image.src = result.large ?? result.thumbnail;
  image.alt = `Picture of ${result.label}`;
  const grey = mask(result.kept);
  grey.hidden = !part("large-shade").checked;
  part("large-sheet").replaceChildren(image, grey);
  part("before").disabled = place === 0;
  part("after").disabled = place === results.length - 1;
  changed(place);
  if (!result.large) enlarge(result, image);
}

async function enlarge(result, image) {
  const large = await picture(result);
  if (large === null) return; // the small picture stays
  result.large = large;
  image.src = large;
}

function step(by) {
  const at = Math.min(Math.max(place + by, 0), results.length - 1);
  if (at !== place) show(at);
}

dialog.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key in STEPS) step(STEPS[event.key]);
  else if (event.key === "Home") step(-results.length);
  else if (event.key === "End") step(results.length);
  else return;
  event.preventDefault();
});
dialog.addEventListener("close", () => {
  changed(null);
  cards.querySelectorAll(".sheet")[place]?.focus(); // where the visitor was in the ranking
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // outside of what it shows
});
part("before").addEventListener("click", () => step(-1));
part("after").addEventListener("click", () => step(1));
part("close").addEventListener("click", () => dialog.close());
part("large-shade").addEventListener("change", (event) => {
  part("large-sheet").querySelector("canvas").hidden = !event.target.checked;
});
