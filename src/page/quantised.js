// The page of what quantising did: how far the value of each layer is off, and how much of the network it is.

const report = data("report");
const { layers } = report;
let selected = -1;

const share = (part, whole) => whole > 0 ? part / whole : 0;
const decibels = x => x === null ? "" : x.toFixed(1);
const valueText = ({ snr_db: { value, exact } }) => exact ? "exact" : decibels(value);
const formText = layer => layer.int8 ? "int8" : `f32: ${layer.reason}`;
const sumOf = (what, of = () => true) => layers.filter(of).reduce((sum, layer) => sum + layer[what], 0);
const partText = x => `${digits(100 * x, 2)} %`;
// The end of a name tells it from its neighbours.
const cut = text => text.length > LETTERS ? "…" + text.slice(1 - LETTERS) : text;

function showHeader() {
  $("title").textContent = `${report.model} in eight bits`;
  const values = `values of ${report.activation_bits} bits, weights of 8${report.paired ? '' : ' each by itself'}, ranges by ${report.method}`;
  const budget = report.budget === null ? "" : `, at most ${percent(report.budget)} of the classes changed`;
  $("made").textContent = `${values}${budget} · svertka ${report.svertka}`;
}

function showFigures() {
  const { before, after, examples, agreeing } = report, int8 = layer => layer.int8;
  const figures = [
    ["calibrated on", plural(examples, "example"), "on which all here was measured"],
    ["agreement", percent(share(agreeing, examples)), `the first output is largest at the same place as in f32 for ${agreeing} of ${examples}`],
    ["layers in int8", `${layers.filter(int8).length} of ${layers.length}`, "convolutions and dense layers"],
    ["work in int8", percent(share(sumOf("macs", int8), report.macs)), `of ${short(report.macs)} multiply-accumulates`],
    ["weights in int8", percent(share(sumOf("weights", int8), report.weights)), `of ${short(report.weights)}`],
    ["weights before", bytes(before.bytes), before.file ?? "in f32, of no weight file"],
    ["weights after", bytes(after.bytes), `${after.file ?? "standard output"}, ${digits(share(after.bytes, before.bytes), 2)} of it`],
  ];
  $("figures").replaceChildren(...figures.map(([name, value, note]) => el("div", {}, el("span", { class: "faint" }, name), el("b", {}, value), el("span", { class: "faint" }, note))));
}

function showLegend() {
  const parts = [["int8", "value of a layer in int8"], ["f32", "of one in f32"], ["weights", "its weights"], ["input", "what it reads"]];
  const shown = parts.filter(([name]) => name !== "f32" || layers.some(layer => !layer.int8));
  $("legend").replaceChildren(...shown.map(([name, text]) => el("span", {}, el("i", { class: name }), text)));
}

// Beyond it nothing more is to be seen.
const MOST_DB = 100;
const ROOM = { left: 64, right: 64, top: 12, plot: 280, part: 64, gap: 26 };
// Of a name below the chart.
const LETTERS = 24;

// The least and largest number of the axis.
function range() {
  const numbers = layers.flatMap(layer => [layer.snr_db.value, layer.weights_snr_db, layer.input_snr_db]).filter(x => x !== null && x < MOST_DB);
  return [Math.max(10 * Math.floor(least(numbers, 0) / 10), -MOST_DB), 10 * Math.ceil(largest(numbers, 30) / 10)];
}

function hint(layer) {
  const lines = [layer.name, layer.layer, formText(layer), `value ${valueText(layer)} dB`];
  if (layer.int8) lines.push(`weights ${decibels(layer.weights_snr_db)} dB, reads ${decibels(layer.input_snr_db)} dB`);
  lines.push(`${partText(share(layer.macs, report.macs))} of the work, ${partText(share(layer.weights, report.weights))} of the weights`);
  return svg("title", {}, lines.join("\n"));
}

function showChart() {
  const slot = Math.min(Math.max(1180 / layers.length, 9), 90);
  const width = ROOM.left + Math.max(slot * layers.length, 480) + ROOM.right, end = width - ROOM.right;
  const [low, high] = range(), { top, plot, part, gap } = ROOM;
  const y = db => top + plot * (1 - (Math.min(Math.max(db, low), high) - low) / (high - low));
  const parts = [["macs", "of the work", top + plot + gap], ["weights", "of the weights", top + plot + part + 2 * gap]];
  const bottom = top + plot + 2 * (part + gap), height = bottom + 16 + 7.2 * largest(layers.map(layer => cut(layer.name).length), 0);
  const text = (x, y, anchor, words, more = {}) => svg("text", { x, y, "text-anchor": anchor, ...more }, words);
  const line = y => svg("line", { class: "axis", x1: ROOM.left, x2: end, y1: y, y2: y });
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "signal to noise of each layer, and its shares of the work and of the weights", style: `min-width: ${Math.min(width, 9 * layers.length + 600)}px; max-width: ${width}px` });
  for (let db = low; db <= high; db += 10) {
    chart.append(line(y(db)), text(ROOM.left - 8, y(db) + 4, "end", `${db} dB`));
    if (db % 20 === 0 && db > 0) chart.append(text(end + 8, y(db) + 4, "start", `${digits(100 * 10 ** (-db / 20))} %`));
  }
  chart.append(text(end + 8, y(low) + 4, "start", "error"));
  // A part has its own scale: its largest bar fills it.
  const tallest = Object.fromEntries(parts.map(([what]) => [what, largest(layers.map(layer => layer[what]), 1)]));
  for (const [what, words, from] of parts) {
    chart.append(line(from + part), text(ROOM.left, from - 8, "start", words, { class: "heading" }), text(ROOM.left - 8, from + 8, "end", partText(share(tallest[what], report[what]))));
  }
  const bar = (x, from, to, look) => svg("rect", { class: look, x: x + slot * 0.15, width: slot * 0.7, y: from, height: Math.max(to - from, 0.6) });
  layers.forEach((layer, index) => {
    const x = ROOM.left + index * slot, middle = x + slot / 2, value = layer.snr_db.exact ? high : layer.snr_db.value ?? low;
    const r = Math.min(slot / 4, 3.5), [weights, input] = [layer.weights_snr_db, layer.input_snr_db];
    chart.append(svg("g", { class: "item", "data-layer": index }, hint(layer),
      svg("rect", { class: "slot", x, y: top, width: slot, height: height - top }),
      bar(x, y(Math.max(value, 0)), y(Math.min(value, 0)), (layer.int8 ? "int8" : "f32") + (layer.snr_db.exact ? " exact" : "")),
      layer.snr_db.exact && text(0, 0, "start", "exact", { transform: `translate(${middle + 4} ${y(low) - 8}) rotate(-90)` }),
      weights !== null && svg("circle", { class: "dot", cx: middle, cy: y(weights), r }),
      input !== null && svg("rect", { class: "dot", x: middle - r, y: y(input) - r, width: 2 * r, height: 2 * r }),
      parts.map(([what, , from]) => bar(x, from + part * (1 - layer[what] / tallest[what]), from + part, "part")),
      text(0, 0, "end", cut(layer.name), { transform: `translate(${middle + 4} ${bottom + 8}) rotate(-90)` })));
  });
  $("chart").replaceChildren(chart);
}

const COLUMNS = [["#", (_, i) => i], ["layer", (layer, i) => el("button", { "data-layer": i }, layer.name)], ["is", layer => layer.layer], ["form", formText],
  ["value dB", valueText], ["weights dB", layer => decibels(layer.weights_snr_db)], ["input dB", layer => decibels(layer.input_snr_db)]];
const PARTS = [["of work", "macs"], ["of weights", "weights"]];

function showLayers() {
  const parts = of => PARTS.map(([, what]) => share(of(what), report[what]));
  const tallest = parts(what => largest(layers.map(layer => layer[what]), 0));
  const cell = (part, i) => el("td", { class: "bar", style: `--part: ${100 * Math.min(share(part, tallest[i]), 1)}%` }, partText(part));
  const head = [...COLUMNS, ...PARTS].map(([name]) => el("th", { scope: "col" }, name));
  const rows = layers.map((layer, i) => el("tr", { "data-layer": i }, COLUMNS.map(([, show]) => el("td", {}, show(layer, i))), parts(what => layer[what]).map(cell)));
  const rest = parts(what => report[what] - sumOf(what));
  if (rest.some(part => part > 0)) rows.push(el("tr", {}, el("td", {}), el("td", { colspan: COLUMNS.length - 1, class: "faint" }, "other layers, in f32"), rest.map(cell)));
  $("layers").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
}

// The address says which layer is selected: #LAYER
function follow() {
  const index = Number.parseInt(location.hash.slice(1), 10);
  selected = layers[index] ? index : -1;
  document.querySelectorAll("g[data-layer], tr[data-layer]").forEach(part => part.classList.toggle("selected", Number(part.dataset.layer) === selected));
  const [row, box] = [document.querySelector("tr.selected"), $("layers")];
  if (!row) return;
  const [inner, outer] = [row.getBoundingClientRect(), box.getBoundingClientRect()];
  if (inner.top < outer.top + 30 || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top - outer.height / 3;
}

document.addEventListener("click", event => {
  const layer = event.target.closest("[data-layer]");
  if (layer) location.hash = layer.dataset.layer;
});
addEventListener("hashchange", follow);
[showHeader, showFigures, showLegend, showChart, showLayers, follow].forEach(part => part());
