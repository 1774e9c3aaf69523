// How a value is made, with its numbers.

const fine = x => Number.isFinite(x) ? Number(x.toPrecision(8)).toString().replace("-", "−") : String(x);
const rough = x => Math.abs(x) >= 1000 || (x !== 0 && Math.abs(x) < 0.001) ? x.toExponential(0) : String(Number(x.toPrecision(Math.abs(x) >= 100 ? 3 : 2)));

const MOST_CELLS = 1024;

// Numbers in the shape of a kernel; of a large one its size.
function numbersGrid(numbers, kernel, label) {
  const [rows, columns] = kernel.length > 1 ? [product(kernel.slice(0, -1)), kernel[kernel.length - 1]] : [1, numbers.length];
  if (numbers.length > MOST_CELLS) return el("span", { class: "faint" }, `${label}, ${rows} × ${columns} numbers`);
  const most = numbers.reduce((most, x) => Math.max(most, Math.abs(x) || 0), 0) || 1, small = columns > 5;
  const cell = x => el("span", Number.isNaN(x) ? { class: "pad", title: "padding: 0" } : { style: cssColours(0.75 * x / most), title: fine(x) }, small ? "" : Number.isNaN(x) ? "0" : rough(x).replace("-", "−"));
  return el("div", { class: small ? "grid small" : "grid", role: "img", "aria-label": `${label}, ${rows} by ${columns}: ${Array.from(numbers, x => Number.isNaN(x) ? "padding" : rough(x)).join(" ")}`, style: `grid-template-columns: repeat(${columns}, auto)` }, Array.from(numbers, cell));
}

function termRow(term, kernel) {
  const single = term.weights.length === 1;
  const parts = single ? [el("b", {}, term.seen ? fine(term.seen[0]) : ""), term.seen ? " × " : "", el("b", {}, fine(term.weights[0]))]
    : [term.seen && numbersGrid(term.seen, kernel, "what it sees"), term.seen && el("span", {}, "∘"), numbersGrid(term.weights, kernel, "filter")];
  return el("li", {}, el("span", { class: "faint" }, `channel ${term.channel}`), ...parts, term.seen && el("span", {}, `= ${fine(term.sum)}`));
}

function sumOf({ bias, rest, terms }) {
  return terms.reduce((sum, term) => sum + term.sum, bias + rest);
}

function total(of) {
  const sum = sumOf(of), parts = [of.bias ? `bias ${fine(of.bias)}` : "", `shown ${fine(sum - of.bias - of.rest)}`, of.others > 0 ? `${plural(of.others, "other channel")} ${fine(of.rest)}` : ""];
  return el("p", {}, parts.filter(Boolean).join("  +  "), " = ", el("output", { id: "sum", "data-sum": sum, "data-value": of.value }, fine(sum)));
}

function weighted(of, node) {
  const kernel = node.window?.kernel ?? [1], rows = el("ol", { class: "terms" }, of.terms.map(term => termRow(term, kernel)));
  if (!of.terms[0]?.seen) return [el("p", { class: "faint" }, `The filter of channel ${state.channel}${of.others > 0 ? `, of ${of.terms.length} of its ${of.terms.length + of.others} channels` : ""}.`), rows];
  return [el("p", { class: "faint" }, of.others > 0 ? `The ${of.terms.length} of ${of.terms.length + of.others} channels that weigh most: what the window sees, times the filter.` : "What the window sees, times the filter."), rows, total(of)];
}

function chosenOf(of, node) {
  return [numbersGrid(of.terms[0].seen, node.window.kernel, "what it sees"), el("p", {}, node.how === "max" ? "The largest of them: " : "Their mean: ", el("output", { id: "sum", "data-value": of.value }, fine(of.value)))];
}

function eachOf(of, node) {
  const inputs = of.terms[0].seen.length > 1 ? of.terms[0].seen : of.terms.map(term => term.seen[0]);
  return [el("p", {}, inputs.map(fine).join(" and "), " → ", el("code", {}, node.layer), " → ", el("output", { id: "sum", "data-value": of.value }, fine(of.value)))];
}

// Units of which the page knows the numbers.
function keptUnits() {
  const kept = values.units[state.node].filter(unit => unit.at);
  if (!kept.length) return "";
  return el("p", {}, "The file holds those of the strongest unit of some maps: ", between(kept.map(unit => el("button", { class: "path", onclick: () => go({ node: state.node, channel: unit.channel, at: unit.at.length ? unit.at : undefined }) }, `channel ${unit.channel} at ${unit.at.join(", ")}`)), ", "));
}

function showSum() {
  const node = nodes[state.node];
  $("made").hidden = !node?.how;
  if (!node?.how) return;
  const of = unit(state.node, state.channel, state.at);
  const title = el("h2", {}, `How the value is made: channel ${state.channel}${state.at.length ? ` at ${state.at.join(", ")}` : ""}`);
  const make = { sum: weighted, max: chosenOf, mean: chosenOf, each: eachOf }[node.how];
  const without = missing().length ? el("p", { class: "faint" }, `The page was made without ${missing().join(" and ")}.`) : el("p", { class: "faint" }, "The numbers of this unit are not in the file.");
  $("made").replaceChildren(title, ...(of ? make(of, node) : [without, keptUnits()]));
}
