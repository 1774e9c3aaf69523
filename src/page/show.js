// The page of a network: what is selected stands in the address, and everything follows it.

const network = data("network");
const { nodes, blocks } = network;
const state = { node: undefined, block: undefined, channel: undefined, at: undefined };

const byName = new Map([...blocks.map((block, i) => [block.path, { block: i }]), ...nodes.map((node, i) => [node.name, { node: i }])]);
byName.delete("");

// #layer2.0.conv1/17/5,9: a layer or block, a channel, a position.
function parse(address) {
  let text = address.slice(1);
  try { text = decodeURIComponent(text); } catch { /* as it is */ }
  const parts = text.split("/");
  for (let cut = parts.length; cut > 0; cut--) {
    const found = byName.get(parts.slice(0, cut).join("/"));
    if (!found) continue;
    const [channel, at] = parts.slice(cut);
    const number = word => /^\d{1,9}$/.test(word ?? "") ? Number(word) : undefined;
    return { ...found, channel: number(channel), at: at?.split(",").map(number) };
  }
  return undefined;
}

function address({ node, block, channel, at }) {
  const name = node !== undefined ? nodes[node].name : blocks[block].path;
  return "#" + encodeURI([name, channel, at?.join(",")].filter(part => part !== undefined).join("/"));
}

const go = target => { location.hash = address(target); };
// Without a step back for each: what keys move through.
const pass = target => { history.replaceState(null, "", address(target)); follow(); };

function showHeader() {
  $("title").textContent = network.name;
  const inputs = network.inputs.map(i => nodes[i].shape).join(", ");
  $("totals").textContent = [`input ${inputs}`, plural(blocks[0].layers, "layer"), `${short(network.parameters)} parameters`, `${short(network.macs)}MAC`].join(" · ").replace(/(\d)MAC/, "$1 MAC");
}

// What a layer sees, in words.
function fieldText(field) {
  if (field === "whole") return "the whole input";
  if (field === "differs") return "paths of different strides meet: no single window";
  const axes = field.local.map(({ step, spans }) => ({ size: Math.max(...spans.map(([a, b]) => b - a + 1)), step: step / spans.length }));
  const same = axes.every(axis => axis.size === axes[0].size && axis.step === axes[0].step);
  const text = pick => (same ? axes.slice(0, 1) : axes).map(pick).join(" by ");
  return axes.length ? `${axes.map(axis => axis.size).join("×")} of the input, stride ${text(axis => digits(axis.step))}` : "its place";
}

const link = i => el("button", { class: "path", onclick: () => go({ node: i }) }, nodes[i].name);
const share = (part, whole) => whole ? `${part.toLocaleString("en-US")} (${percent(part / whole)})` : String(part);

function between(items, separator) {
  return items.flatMap((item, i) => i === 0 ? [item] : [separator, item]);
}

function layerFacts(node) {
  const readers = nodes.flatMap((other, i) => other.inputs.includes(state.node) ? [i] : []);
  return [
    ["reads", node.inputs.length ? between(node.inputs.map(i => el("span", {}, link(i), ` ${nodes[i].shape}`)), ", ") : "nothing"],
    ["makes", node.shape + (node.output ? `, the ${node.output === "output" ? "output" : `output ${node.output}`}` : "")],
    ["read by", readers.length ? between(readers.map(link), ", ") : "nobody"],
    ["parameters", share(node.parameters, network.parameters)],
    ["MACs", share(node.macs, network.macs)],
    ["sees", fieldText(node.field)],
  ];
}

function blockFacts(block) {
  return [["layers", String(block.layers)], ["parameters", share(block.parameters, network.parameters)], ["MACs", share(block.macs, network.macs)]];
}

function showDetails() {
  const of = state.node !== undefined ? nodes[state.node] : blocks[state.block];
  const facts = state.node !== undefined ? layerFacts(of) : blockFacts(of);
  const title = state.node !== undefined ? of.name : of.path;
  $("details").replaceChildren(el("h2", { id: "selected" }, title), el("code", {}, of.layer ?? "block"),
    el("dl", {}, facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
}

// The nodes of each line of each text.
const ofLine = network.texts.map(() => new Map());
nodes.forEach(({ place }, i) => {
  if (!place) return;
  for (let line = place.first; line <= place.last; line++) ofLine[place.text].set(line, [...ofLine[place.text].get(line) ?? [], i]);
});

function makeLine(text, line, content) {
  const linked = ofLine[text].has(line), at = content.search(/#/);
  const [code, comment] = at < 0 ? [content, ""] : [content.slice(0, at), content.slice(at)];
  const choose = () => {
    const of = ofLine[text].get(line);
    go({ node: of[(of.indexOf(state.node) + 1) % of.length] });
  };
  const label = linked ? `line ${line + 1}, ${plural(ofLine[text].get(line).length, "layer")}` : undefined;
  return el("div", linked ? { class: "linked", "data-line": `${text}.${line}`, role: "button", tabindex: -1, title: label, onclick: choose, onkeydown: event => linePressed(event, choose) } : {},
    el("i", { "aria-hidden": "true" }, String(line + 1)), el("span", {}, code, comment && el("em", {}, comment)));
}

// All lines are one stop of the tabulator: that which arrows lead to, or what is selected.
function stopAt(line) {
  document.querySelectorAll("[data-line]").forEach(other => { other.tabIndex = other === line ? 0 : -1; });
}

function linePressed(event, choose) {
  const lines = [...document.querySelectorAll("[data-line]")], at = lines.indexOf(event.currentTarget);
  const next = { ArrowDown: lines[at + 1], ArrowUp: lines[at - 1], Home: lines[0], End: lines[lines.length - 1] }[event.key];
  if (event.key === "Enter" || event.key === " ") choose();
  else if (next) { stopAt(next); next.focus(); }
  else return;
  event.preventDefault();
}

function makeTexts() {
  $("texts").hidden = network.texts.length === 0;
  const files = network.texts.flatMap(({ name, text }, i) => [el("h2", {}, name.split(/[\\/]/).pop()),
    el("pre", { class: "lines" }, text.replace(/\n$/, "").split("\n").map((content, line) => makeLine(i, line, content)))]);
  $("texts").replaceChildren(files[0] ?? "", el("div", { class: "scroll" }, files.slice(1)));
  stopAt(document.querySelector("[data-line]"));
}

// Marks the lines of what is selected: of a block those of its layers.
function markLines() {
  const chosen = state.node !== undefined ? [nodes[state.node]] : [];
  const marked = new Set(chosen.flatMap(({ place }) => place ? Array.from({ length: place.last - place.first + 1 }, (_, i) => `${place.text}.${place.first + i}`) : []));
  document.querySelectorAll("[data-line]").forEach(line => {
    line.classList.toggle("marked", marked.has(line.dataset.line));
    line.toggleAttribute("aria-current", marked.has(line.dataset.line));
  });
  const [box, line] = [document.querySelector("#texts .scroll"), document.querySelector(".marked")];
  if (!line) return;
  stopAt(line.parentElement.contains(document.activeElement) ? document.activeElement : line);
  const [inner, outer] = [line.getBoundingClientRect(), box.getBoundingClientRect()];
  if (inner.top < outer.top || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top - outer.height / 3;
}

// The other layers that the same line made.
function ofSameLine() {
  const place = nodes[state.node]?.place;
  return place ? ofLine[place.text].get(place.first).filter(i => i !== state.node && nodes[i].layer === nodes[state.node].layer) : [];
}

const view = new GraphView($("graph"), network, go);
const listeners = [showDetails, markLines, showClasses, showField, showMaps, showSum, showTimes];

// A channel and a position that exist: those asked for, else the strongest known.
function complete() {
  if (state.node === undefined) return;
  const sizes = spatial(state.node), maps = values.maps[state.node], channels = nodes[state.node].dims[0];
  if (!(state.channel < channels)) state.channel = maps?.channels[0] ?? 0;
  const n = maps ? maps.channels.indexOf(state.channel) : -1;
  const at = state.at ?? [], fits = at.length === sizes.length && at.every((p, d) => p < sizes[d]);
  state.at = fits ? at : n >= 0 ? maps.best[n] : sizes.map(size => Math.floor(size / 2));
}

function showClasses() {
  $("classes").hidden = given.classes.length === 0;
  $("classes").replaceChildren(el("h2", {}, given.random ? "Classes, by random weights" : "Classes"), el("ul", { class: "bars classes" }, given.classes.map(([name, probability]) =>
    el("li", {}, el("span", {}, name), el("i", { style: `width: ${100 * probability}%` }), el("b", {}, percent(probability))))));
}

function follow() {
  const found = parse(location.hash);
  if (!found && location.hash.startsWith("#sandbox/") && state.at) { followToy(location.hash); return; }
  const first = nodes.findIndex(node => node.macs > 0);
  Object.assign(state, { node: undefined, block: undefined, channel: undefined, at: undefined }, found ?? { node: Math.max(first, 0) });
  complete();
  view.show(state.node !== undefined ? { node: state.node } : { block: state.block }, ofSameLine());
  listeners.forEach(listener => listener());
  if (!found && location.hash.startsWith("#sandbox/")) followToy(location.hash);
}

const MOST_FOUND = 40;
let found = [];

/** Lists the layers that hold all words of the search; the first of them is the one that Enter chooses. */
function find() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = i => `${nodes[i].name} ${nodes[i].layer} ${nodes[i].shape}`.toLowerCase();
  found = words.length ? nodes.map((_, i) => i).filter(i => words.every(word => text(i).includes(word))) : [];
  const option = (i, n) => el("li", { role: "option", id: `found-${n}`, "aria-selected": "false", onmousedown: () => choose(i) }, nodes[i].name, " ", el("span", { class: "faint" }, nodes[i].layer.slice(0, 50)));
  $("found").replaceChildren(...found.slice(0, MOST_FOUND).map(option));
  $("more").textContent = !words.length ? "" : !found.length ? "no such layer" : found.length > MOST_FOUND ? `and ${found.length - MOST_FOUND} more` : "";
  openFound(words.length > 0);
  markFound(0);
}

/** The list has no focus of its own: readers are told by the field whether it is there, and what is chosen in it. */
function openFound(open) {
  $("popup").hidden = !open;
  $("found").hidden = !found.length;
  $("search").setAttribute("aria-expanded", String(open && found.length > 0));
  if (!open) $("search").removeAttribute("aria-activedescendant");
}

function markFound(n) {
  const options = [...$("found").children];
  options.forEach((option, i) => option.setAttribute("aria-selected", String(i === n)));
  if (!options[n]) return $("search").removeAttribute("aria-activedescendant");
  $("search").setAttribute("aria-activedescendant", options[n].id);
  options[n].scrollIntoView({ block: "nearest" });
}

function choose(i) {
  go({ node: i });
  $("search").value = "";
  find();
}

function searchPressed(event) {
  const options = [...$("found").children];
  const at = options.findIndex(option => option.getAttribute("aria-selected") === "true");
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && options.length) {
    event.preventDefault();
    markFound((at + step + options.length) % options.length);
  }
  if (event.key === "Enter" && at >= 0) choose(found[at]);
  if (event.key === "Escape") { $("search").value = ""; find(); }
}

