// The strongest feature maps of a layer, and one of them large.

const dark = matchMedia("(prefers-color-scheme: dark)");

function colours() {
  const style = getComputedStyle(document.documentElement);
  const rgb = name => [1, 3, 5].map(at => Number.parseInt(style.getPropertyValue(name).trim().slice(at, at + 2), 16));
  return { zero: rgb("--panel"), plus: rgb("--mark"), minus: rgb("--minus") };
}

const mixed = ({ zero, plus, minus }, v) => zero.map((z, c) => Math.round(z + Math.min(Math.abs(v), 1) * ((v < 0 ? minus : plus)[c] - z)));
// A background, and letters that stand out of it: black or white, by its luminance
// (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance).
function cssColours(v) {
  const rgb = mixed(colours(), v), linear = rgb.map(c => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return `background: rgb(${rgb.join(" ")}); color: ${light > 0.179 ? "#000" : "#fff"}`;
}

// A map as a canvas; positive values are orange, negative ones blue.
function drawMap(all, { width, height }, index) {
  const canvas = el("canvas", { width, height, "aria-hidden": "true" }), context = canvas.getContext("2d"), picture = context.createImageData(width, height), ends = colours();
  for (let p = 0; p < width * height; p++) picture.data.set([...mixed(ends, all[index * width * height + p]), 255], 4 * p);
  context.putImageData(picture, 0, 0);
  return canvas;
}

const number = x => x === null || x === undefined ? "no number" : digits(x, 4).replace("-", "−");

function thumb(maps, n, all) {
  const channel = maps.channels[n], chosen = channel === state.channel;
  return el("button", { class: chosen ? "map chosen" : "map", "aria-pressed": String(chosen), title: `channel ${channel}, mean magnitude ${number(maps.strengths[n])}`, onclick: () => go({ node: state.node, channel }) }, drawMap(all, maps, n), el("span", {}, String(channel)));
}

// One map, on which a position is chosen.
function largeMap(maps, all) {
  const n = maps.channels.indexOf(state.channel), sizes = planeOf(spatial(state.node), 1), [y, x] = planeOf(state.at, 0);
  const mark = svg("svg", { viewBox: `0 0 ${sizes[1]} ${sizes[0]}`, preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { x, y, width: 1, height: 1 }));
  const label = `channel ${state.channel}, at ${state.at.join(", ")}; arrow keys move`;
  return el("div", { class: "large", tabindex: 0, role: "application", "aria-label": label, style: `aspect-ratio: ${Math.min(sizes[1] / sizes[0], 12)}`, onclick: pickOnMap, onkeydown: moveOnMap }, n < 0 ? el("span", { class: "unknown" }, "this map is not in the file") : drawMap(all, maps, n), mark);
}

function moved(y, x) {
  const sizes = planeOf(spatial(state.node), 1), clip = (p, size) => Math.min(Math.max(p, 0), size - 1);
  const at = [...state.at.slice(0, -2), clip(y, sizes[0]), clip(x, sizes[1])].slice(-state.at.length);
  return { ...state, at };
}

function pickOnMap(event) {
  const box = event.currentTarget.getBoundingClientRect(), sizes = planeOf(spatial(state.node), 1);
  go(moved(Math.floor((event.clientY - box.top) / box.height * sizes[0]), Math.floor((event.clientX - box.left) / box.width * sizes[1])));
}

function moveOnMap(event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  const [y, x] = planeOf(state.at, 0);
  pass(moved(y + step[0], x + step[1]));
}

// Values without positions, as bars.
function bars(maps) {
  const largest = Math.max(maps.high, -maps.low) || 1;
  return el("ul", { class: "bars" }, maps.channels.map((channel, n) => el("li", {}, el("button", { class: channel === state.channel ? "chosen" : "", onclick: () => go({ node: state.node, channel }) },
    el("span", {}, String(channel)), el("i", { style: `width: ${100 * Math.abs(maps.peaks[n]) / largest}%; background: ${maps.peaks[n] < 0 ? "var(--minus)" : "var(--mark)"}` }), el("b", {}, number(maps.peaks[n]))))));
}

async function showMaps() {
  const node = state.node, maps = node === undefined ? null : values.maps[node];
  $("maps").hidden = node === undefined;
  if (node === undefined) return;
  const title = el("h2", {}, "Feature maps");
  if (!maps) {
    $("maps").replaceChildren(title, el("p", { class: "faint" }, missing().length ? `The page was made without ${missing().join(" and ")}: there are no values.` : product(nodes[node].dims) ? "There was no room left for its maps." : "This value has no elements."));
    return;
  }
  const all = await pixels(node);
  if (state.node !== node) return;
  const focused = document.activeElement?.matches("#maps .large");
  const before = spatial(node).slice(0, -2);
  const few = `the ${maps.channels.length} strongest of ${plural(nodes[node].dims[0], "channel")}`;
  const text = el("p", { class: "faint" }, `${few}, from ${number(maps.low)} (blue) to ${number(maps.high)} (orange)${maps.scale > 1 ? `; a pixel is the mean of ${maps.height === 1 ? maps.scale : `${maps.scale} × ${maps.scale}`}` : ""}${before.map(size => `; frame ${Math.floor(size / 2)} of ${size}`).join("")}${given.random ? "; the weights are random" : ""}`);
  $("maps").replaceChildren(title, all ? el("div", { class: "maps" }, largeMap(maps, all), el("div", { class: "thumbs" }, maps.channels.map((_, n) => thumb(maps, n, all)))) : bars(maps), text);
  if (focused) $("maps").querySelector(".large")?.focus({ preventScroll: true });
}

dark.addEventListener("change", () => follow());
