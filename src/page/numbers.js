// The numbers in the page: all of a small network, else few maps of each layer and the terms of some units.

const values = data("values");
const given = data("given");

const floats = text => new Float32Array(unpack(text).buffer);
const product = sizes => sizes.reduce((a, b) => a * b, 1);
const spatial = i => nodes[i].dims.slice(1);

const unpacked = new Map();
function exact(i, what) {
  const text = values.exact?.[i][what];
  if (!text) return null;
  const key = `${i} ${what}`;
  if (!unpacked.has(key)) unpacked.set(key, floats(text));
  return unpacked.get(key);
}

// Row-major.
const indexOf = (sizes, at) => sizes.reduce((index, size, d) => index * size + at[d], 0);
function unravel(index, sizes) {
  const at = [];
  for (let d = sizes.length - 1; d >= 0; d--) { at[d] = index % sizes[d]; index = Math.floor(index / sizes[d]); }
  return at;
}

function valueAt(i, channel, at) {
  const all = exact(i, "value"), sizes = spatial(i);
  return all ? all[channel * product(sizes) + indexOf(sizes, at)] : null;
}

// Where a tap of a window lies, for an output position; null in the padding.
function tapPlace(window, tap, at, sizes) {
  const place = unravel(tap, window.kernel).map((k, d) => at[d] * window.stride[d] + window.skip[d] - window.pads[d][0] + k * window.dilation[d]);
  return place.every((p, d) => p >= 0 && p < sizes[d]) ? place : null;
}

// What a window sees of a channel; NaN in the padding.
function seenBy(node, channel, at) {
  const input = node.inputs[0], sizes = spatial(input);
  if (!node.window) return [exact(input, "value")?.[channel] ?? NaN];
  return Array.from({ length: product(node.window.kernel) }, (_, tap) => {
    const place = tapPlace(node.window, tap, at, sizes);
    return place ? valueAt(input, channel, place) : NaN;
  });
}

const termSum = ({ seen, weights }) => seen.reduce((sum, x, k) => sum + (Number.isNaN(x) ? 0 : x * weights[k]), 0);

// The same from all numbers.
function exactUnit(i, channel, at) {
  const node = nodes[i], value = valueAt(i, channel, at);
  if (node.how === "each") return { value, terms: node.inputs.map(input => ({ channel, seen: [valueAt(input, channel, at)] })) };
  if (node.how !== "sum") return { value, terms: [{ channel, seen: seenBy(node, channel, at) }] };
  const weight = exact(i, "weight");
  if (!weight) return null;
  const taps = node.window ? product(node.window.kernel) : 1, groupIn = weight.length / node.dims[0] / taps;
  const first = Math.floor(channel / (node.dims[0] / node.groups)) * groupIn;
  const terms = Array.from({ length: groupIn }, (_, c) => ({
    channel: first + c, seen: value === null ? null : seenBy(node, first + c, at),
    weights: weight.subarray((channel * groupIn + c) * taps, (channel * groupIn + c + 1) * taps),
  }));
  const all = terms.map(term => ({ ...term, sum: term.seen ? termSum(term) : Math.sqrt(term.weights.reduce((sum, w) => sum + w * w, 0)) }));
  if (value !== null) all.sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
  const rest = all.splice(taps > 1 ? 4 : 12);
  return { value, bias: exact(i, "bias")?.[channel] ?? 0, terms: all, rest: rest.reduce((sum, term) => sum + term.sum, 0), others: rest.length };
}

// From the terms that were kept.
function keptUnit(i, { channel, at, of, data: packed }) {
  const node = nodes[i], [value, bias, rest, ...numbers] = floats(packed);
  const each = numbers.length / of.length, taps = node.window ? product(node.window.kernel) : 1;
  const split = n => numbers.slice(n * each, (n + 1) * each);
  if (node.how !== "sum") return { value, terms: of.map((c, n) => ({ channel: c, seen: split(n) })) };
  const terms = of.map((c, n) => ({ channel: c, seen: at ? split(n).slice(0, taps) : null, weights: split(n).slice(-taps) }));
  const inputs = nodes[node.inputs[0]].dims, channels = node.window ? inputs[0] / node.groups : product(inputs);
  return { value: at ? value : null, bias, rest, others: channels - of.length, terms: terms.map(term => ({ ...term, sum: term.seen && termSum(term) })) };
}

// What a value is made of, as far as the page knows.
function unit(i, channel, at) {
  if (!nodes[i].how) return null;
  const weighed = nodes[i].how === "sum";
  if (values.exact) return given.weights && (weighed || given.input) ? exactUnit(i, channel, at) : null;
  const kept = values.units[i].find(unit => unit.channel === channel && (!unit.at || String(unit.at) === String(at)));
  return kept ? keptUnit(i, kept) : null;
}

// The pixels of a layer's maps, from -1 to 1 of the largest magnitude.
const sheets = new Map();
async function pixels(i) {
  const maps = values.maps[i];
  if (!maps?.sheet) return null;
  if (!sheets.has(i)) sheets.set(i, decode(maps));
  return sheets.get(i);
}

async function decode({ sheet, width, height, channels, low, high }) {
  const image = new Image();
  image.src = "data:image/png;base64," + sheet;
  await image.decode();
  const canvas = el("canvas", { width, height: height * channels.length }), context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const rgba = context.getImageData(0, 0, width, height * channels.length).data, largest = Math.max(-low, high) || 1;
  return Float32Array.from({ length: rgba.length / 4 }, (_, p) => (low + rgba[4 * p] / 255 * (high - low)) / largest);
}
