// What of the input a unit sees.

// First and last position along each dimension: those of the program.
function seen(field, at) {
  if (!field.local) return null;
  return field.local.map(({ step, spans }, d) => {
    const moved = Math.floor(at[d] / spans.length) * step, [first, last] = spans[at[d] % spans.length];
    return [first + moved, last + moved];
  });
}

// The last two dimensions; a line is a picture of one row.
const planeOf = (list, missing) => [missing, missing, ...list].slice(-2);

function makeHatch(size) {
  return svg("defs", {}, svg("pattern", { id: "hatch", width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { width: size, height: size, class: "padding" }), svg("line", { x1: 0, y1: 0, x2: 0, y2: size, class: "hatch", "stroke-width": size / 2.4 })));
}

// For each node the inputs that it was made of, and whether what was made of whole maps is among it: a gate, or the mean of
// a norm. Such are no part of its field.
const origins = [];
nodes.forEach(({ inputs, layer }, i) => {
  const gated = inputs.length > 1 && inputs.some(of => product(spatial(of)) < product(spatial(i)));
  origins.push({
    inputs: network.inputs.includes(i) ? [i] : [...new Set(inputs.flatMap(of => origins[of].inputs))],
    leavesOut: gated || /^(instance|group)_norm\b/.test(layer) || inputs.some(of => origins[of].leavesOut),
  });
});

const rectangle = ([y0, y1], [x0, x1]) => `M${x0} ${y0}H${x1 + 1}V${y1 + 1}H${x0}Z`;

function drawField() {
  const [input] = origins[state.node].inputs, [height, width] = planeOf(spatial(input), 1);
  const ranges = seenNow(), whole = [[0, height - 1], [0, width - 1]];
  const [rows, columns] = ranges ? planeOf(ranges, [0, 0]) : whole;
  const left = Math.min(0, columns[0]), top = Math.min(0, rows[0]);
  const right = Math.max(width, columns[1] + 1), bottom = Math.max(height, rows[1] + 1);
  const line = height === 1, edge = Math.max(right - left, bottom - top) / 60, lift = line ? 0 : edge;
  const box = [left - edge, top - lift, right - left + 2 * edge, bottom - top + 2 * lift];
  const moves = ranges?.length ? { role: "application", tabindex: 0, "aria-label": `${fieldLabel(ranges)} Arrow keys move the unit.`, onkeydown: moveOnMap } : { role: "img", "aria-label": fieldLabel(ranges) };
  const picture = svg("svg", { viewBox: box.join(" "), class: "picture", ...moves, preserveAspectRatio: line ? "none" : null, style: line ? "height: 48px" : null, onclick: pick },
    makeHatch(Math.max(box[2], box[3]) / 44), svg("rect", { class: "blank", width, height }));
  if (given.picture && input === network.inputs[0]) picture.append(svg("image", { href: "data:image/png;base64," + given.picture.png, width, height, preserveAspectRatio: "none" }));
  if (nodes[state.node].field !== "differs") {
    const inside = `M0 0H${width}V${height}H0Z`, outside = rectangle(rows, columns);
    if (ranges) picture.append(svg("path", { class: "veil", d: inside + rectangle(...clipped(rows, columns, height, width)), "fill-rule": "evenodd" }));
    picture.append(svg("path", { d: outside + rectangle(...clipped(rows, columns, height, width)), fill: "url(#hatch)", "fill-rule": "evenodd" }),
      svg("path", { id: "field", d: outside, "data-rows": rows.join(","), "data-columns": columns.join(",") }));
  }
  return picture;
}

function clipped(rows, columns, height, width) {
  const clip = ([a, b], size) => [Math.min(Math.max(a, 0), size), Math.max(Math.min(b, size - 1), -1)];
  return [clip(rows, height), clip(columns, width)];
}

const seenNow = () => seen(nodes[state.node].field, state.at);

function fieldLabel(ranges) {
  const { field } = nodes[state.node];
  if (field === "differs") return "Paths of different strides meet here: no single window describes what a unit sees.";
  if (!ranges) return "A unit sees the whole input.";
  if (!ranges.length) return "The input has no positions.";
  const names = ranges.length === 1 ? ["positions"] : ranges.length === 2 ? ["rows", "columns"] : ["frames", "rows", "columns"];
  const sizes = spatial(origins[state.node].inputs[0]);
  const padding = ranges.map(([a, b], d) => [Math.max(-a, 0), Math.max(b - sizes[d] + 1, 0)]);
  const text = ranges.map(([a, b], d) => `${names[d]} ${a} to ${b}`).join(", ");
  const hangs = padding.some(([a, b]) => a + b > 0) ? "; hatched: the padding" : "";
  return `Unit ${state.at.join(", ")} sees ${text}: ${ranges.map(([a, b]) => b - a + 1).join(" × ")}${hangs}.`;
}

// The unit whose field has its middle nearest to a point of the picture.
function pick(event) {
  const { field } = nodes[state.node], sizes = spatial(state.node), sheet = event.currentTarget;
  if (!field.local || !sizes.length) return;
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(sheet.getScreenCTM().inverse());
  const wanted = [point.y, point.x].slice(-sizes.length);
  const at = state.at.map((old, d) => {
    const want = wanted[d - (sizes.length - wanted.length)];
    if (want === undefined) return old;
    const distance = p => { const [first, last] = seen({ local: [field.local[d]] }, [p])[0]; return Math.abs((first + last + 1) / 2 - want); };
    return Array.from({ length: sizes[d] }, (_, p) => p).reduce((best, p) => distance(p) < distance(best) ? p : best, 0);
  });
  go({ ...state, at });
}

const missing = () => [!given.input && "--input PICTURE", !given.weights && "--weights FILE"].filter(Boolean);

function showField() {
  $("seen").hidden = state.node === undefined;
  if (state.node === undefined) return;
  const title = el("h2", {}, "What the unit sees"), { inputs, leavesOut } = origins[state.node], faint = text => el("p", { class: "faint" }, text);
  const others = leavesOut ? faint("Factors and means of whole maps, as in gates and norms, are left out.") : "";
  if (inputs.length !== 1) {
    $("seen").replaceChildren(title, faint(`It is made of ${inputs.length ? `several inputs: ${inputs.map(i => nodes[i].name).join(", ")}` : "no input"}.`), others);
    return;
  }
  const first = inputs[0] === network.inputs[0], name = first ? given.input ?? "the input" : nodes[inputs[0]].name;
  const empty = seenNow()?.length === 0, focused = document.activeElement?.matches(".picture");
  $("seen").replaceChildren(title, empty ? "" : drawField(), el("p", { id: "field-text", class: "faint" }, fieldLabel(seenNow())), others,
    faint(given.picture && first ? `${name}, as the network takes it. Click to choose the unit that looks there.` : `${name}: no picture.`));
  if (focused) $("seen").querySelector(".picture")?.focus({ preventScroll: true });
}
