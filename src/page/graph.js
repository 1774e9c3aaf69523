// A network as boxes and arrows. The boxes of each block were laid out by the program, with all blocks in it closed; one
// that is opened pushes the rest aside.

const FRAME = 26;
// Room of values that come from outside a block or leave it: their arrows begin and end at the frame.
const PORT = 36;
// Between the heads of arrows that reach one box.
const HEADS = 16;
const SKIPS = ["#0e9384", "#c11574", "#6938ef", "#b54708", "#026aa2", "#4d7c0f"];

// Overlapping intervals [start, end, extra] become one, which grows by the largest extra; gives where a point comes to lie.
function stretching(intervals) {
  const bands = [];
  for (const [start, end, extra] of intervals.sort((a, b) => a[0] - b[0])) {
    const last = bands[bands.length - 1];
    if (last && start < last[1]) { last[1] = Math.max(last[1], end); last[2] = Math.max(last[2], extra); }
    else bands.push([start, end, extra]);
  }
  return point => bands.reduce((moved, [start, end, extra]) => moved + extra * Math.min(Math.max((point - start) / (end - start), 0), 1), point);
}

// Boxes, frames and arrows of a block, relative to its corner.
function placed(network, block, open) {
  const { items, level: { arrows: ways, boxes: spots, ...outer }, values } = network.blocks[block];
  const lift = items.some(item => item.in !== undefined) ? PORT : 0, drop = items.some(item => item.out !== undefined) ? PORT : 0;
  const lifted = ([x, top, bottom]) => [x, top - lift, bottom - lift];
  const level = { width: outer.width, height: outer.height - lift - drop, boxes: spots.map(([spot, width]) => [lifted(spot), width]),
    arrows: ways.map(({ way, ...arrow }) => ({ ...arrow, way: way.map(lifted) })) };
  const inner = items.map(item => item.block !== undefined && open.has(item.block) ? placed(network, item.block, open) : null);
  const grown = inner.map((part, i) => {
    if (!part) return null;
    const [[x, top, bottom], width] = level.boxes[i];
    return { x, top, bottom, width, right: Math.max(part.width - width, 0), down: part.height + FRAME - (bottom - top) };
  }).filter(Boolean);
  const across = stretching(grown.map(g => [g.x - g.width / 2, g.x + g.width / 2, g.right]));
  const down = stretching(grown.map(g => [g.top, g.bottom, g.down]));
  const size = { width: across(level.width), height: down(level.height) };
  const boxes = items.map((item, i) => {
    const [[x, top, bottom], width] = level.boxes[i];
    const [w, h] = inner[i] ? [Math.max(inner[i].width, width), inner[i].height + FRAME] : [width, bottom - top];
    const middle = [across(x), down((top + bottom) / 2)];
    const box = { item, x: middle[0], top: middle[1] - h / 2, bottom: middle[1] + h / 2, width: w, inner: inner[i] };
    if (item.in !== undefined) return { ...box, x: size.width / 2, top: 0, bottom: 0 };
    return item.out !== undefined ? { ...box, x: size.width / 2, top: size.height, bottom: size.height } : box;
  });
  const arrows = level.arrows.map(({ from, to, way }, i) => {
    const between = way.slice(1, -1).map(([x, top, bottom]) => ({ x: across(x), top: down(top), bottom: down(bottom) }));
    return { from: items[from], to: items[to], value: values[i], way: [boxes[from], ...between, boxes[to]] };
  });
  spreadEnds(arrows);
  return { block, ...size, boxes, arrows };
}

// Arrows that reach one box do so beside each other, in the order in which they come: each head is to be seen.
function spreadEnds(arrows) {
  const reach = new Map();
  for (const arrow of arrows) reach.set(arrow.to, [...reach.get(arrow.to) ?? [], arrow]);
  for (const beside of reach.values()) {
    const end = ({ way }) => way[way.length - 1], from = ({ way }) => way[way.length - 2].x, others = beside.length - 1;
    const gap = others && Math.min(HEADS, Math.max(end(beside[0]).width - 2 * HEADS, 0) / others);
    beside.sort((a, b) => from(a) - from(b)).forEach((arrow, i) => { arrow.way = [...arrow.way.slice(0, -1), { ...end(arrow), x: end(arrow).x + (i - others / 2) * gap }]; });
  }
}

// From box to box, straight past others, curved in between.
function path(way) {
  let [x, y] = [way[0].x, way[0].bottom], d = `M${x} ${y}`;
  way.slice(1).forEach((spot, i) => {
    const middle = (y + spot.top) / 2;
    d += `C${x} ${middle} ${spot.x} ${middle} ${spot.x} ${spot.top}`;
    if (i < way.length - 2) d += `V${spot.bottom}`;
    [x, y] = [spot.x, spot.bottom];
  });
  return d;
}

class GraphView {
  // `select` is called with a node or a block: { node } or { block }.
  constructor(container, network, select) {
    Object.assign(this, { container, network, select, open: new Set(), selected: {} });
    this.openSmall();
    container.addEventListener("click", event => this.clicked(event));
    container.addEventListener("keydown", event => this.pressed(event));
  }

  // Opens blocks as long as few boxes are shown.
  openSmall() {
    const { blocks } = this.network;
    let queue = [0], shown = blocks[0].items.length;
    while (queue.length) {
      const block = queue.shift();
      for (const item of blocks[block].items) {
        if (item.block === undefined || shown + blocks[item.block].items.length > 14) continue;
        shown += blocks[item.block].items.length;
        this.open.add(item.block);
        queue.push(item.block);
      }
    }
  }

  around(block) {
    const blocks = [];
    for (let b = block; b !== 0; b = this.network.blocks[b].parent) blocks.push(b);
    return blocks;
  }

  // Shows what is selected, and opens what it lies in.
  show(selected, others = []) {
    const { nodes, blocks } = this.network;
    this.selected = selected;
    this.others = new Set(others);
    const inside = selected.node !== undefined ? nodes[selected.node].block : selected.block !== undefined ? blocks[selected.block].parent : 0;
    this.around(inside).forEach(block => this.open.add(block));
    this.draw();
    this.reveal();
  }

  toggle(block) {
    if (!this.open.delete(block)) this.open.add(block);
    this.draw();
    this.reveal(`[data-block="${block}"]`);
  }

  draw() {
    const all = placed(this.network, 0, this.open);
    const [width, height] = [all.width, all.height];
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "graph", role: "tree", "aria-label": "graph of the network" },
      svg("defs", {}, ...this.heads()));
    picture.style.width = `min(${width}px, max(100%, ${0.62 * width}px))`;
    picture.style.height = "auto";
    this.skips = new Map();
    // A reader of the screen is told of the boxes alone: what is between a tree and its items would hide them.
    this.layers = [0, 1, 2].map(() => svg("g", { role: "none" }));
    this.drawBlock(all, 0, 0);
    picture.append(...this.layers);
    const { scrollTop, scrollLeft } = this.container, focused = this.container.contains(document.activeElement);
    this.container.replaceChildren(picture);
    Object.assign(this.container, { scrollTop, scrollLeft });
    if (focused) this.container.querySelector(".box.selected")?.focus({ preventScroll: true });
  }

  heads() {
    return ["var(--edge)", ...SKIPS].map((fill, i) => svg("marker", { id: `head${i}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, orient: "auto", markerUnits: "userSpaceOnUse" },
      svg("path", { d: "M0 0 8 4 0 8z", style: `fill: ${fill}` })));
  }

  drawBlock(part, left, top) {
    const at = spot => ({ ...spot, x: spot.x + left, top: spot.top + top, bottom: spot.bottom + top });
    const labelled = new Set();
    for (const arrow of part.arrows) this.drawArrow({ ...arrow, way: arrow.way.map(at) }, labelled);
    for (const box of part.boxes.map(at)) {
      if (box.inner) this.drawFrame(box);
      else if (box.item.lines.length) this.drawBox(box);
    }
  }

  // A long skip has a colour of its own, so that one sees where it goes; the shape stands once at each value.
  drawArrow({ value, way, from, to }, labelled) {
    const long = way.length > 4, [first, second] = way;
    if (long && !this.skips.has(value)) this.skips.set(value, this.skips.size % SKIPS.length);
    const colour = this.skips.get(value);
    const line = svg("path", { class: long ? "arrow long" : "arrow", d: path(way), "marker-end": to.out === undefined ? `url(#head${long ? colour + 1 : 0})` : null, style: long ? `--skip: ${SKIPS[colour]}` : null });
    line.append(svg("title", {}, `${this.network.nodes[value].name}: ${this.network.nodes[value].shape}`));
    this.layers[1].append(line);
    if (labelled.has(value) || from.in !== undefined || to.out !== undefined || second.top - first.bottom < 16) return;
    labelled.add(value);
    const aside = second.x < first.x - 4 ? -6 : 6;
    this.layers[1].append(svg("text", { class: "label", x: (first.x + second.x) / 2 + aside, y: (first.bottom + second.top) / 2 + 3, "text-anchor": aside < 0 ? "end" : "start" }, this.network.nodes[value].dims.join("×")));
  }

  attributes(item, expanded) {
    const { nodes, blocks, macs, parameters } = this.network;
    const of = item.block !== undefined ? blocks[item.block] : nodes[item.node];
    const selected = item.block !== undefined ? item.block === this.selected.block : item.node === this.selected.node;
    const name = item.block !== undefined ? `block ${of.path}, ${plural(of.layers, "layer")}` : `${of.name}, ${of.layer}, ${of.dims.join(" by ")}`;
    const shares = [macs && `${percent(of.macs / macs)} of multiply-accumulates`, parameters && `${percent(of.parameters / parameters)} of parameters`];
    return {
      of, hint: [name, ...shares].filter(Boolean).join(", "), role: "treeitem", tabindex: selected ? 0 : -1, "aria-selected": selected,
      "aria-level": 1 + this.around(item.block !== undefined ? of.parent : of.block).length,
      "aria-expanded": item.block !== undefined ? String(expanded) : null, "data-node": item.node, "data-block": item.block,
      class: `box ${of.kind ?? "other"}${selected ? " selected" : ""}${this.others?.has(item.node) ? " beside" : ""}${expanded ? " frame" : ""}`,
    };
  }

  drawFrame({ item, x, top, bottom, width, inner }) {
    const { of, hint, ...attributes } = this.attributes(item, true);
    const left = x - width / 2;
    this.layers[0].append(svg("g", { ...attributes, "aria-label": hint },
      svg("rect", { class: "body", x: left, y: top, width, height: bottom - top, rx: 10 }),
      svg("text", { class: "first", x: left + 10, y: top + 17 }, `▾ ${item.lines[0]}`), svg("title", {}, hint)));
    this.drawBlock(inner, x - inner.width / 2, top + FRAME);
  }

  drawBox({ item, x, top, bottom, width }) {
    const { of, hint, ...attributes } = this.attributes(item, false);
    const left = x - width / 2, height = bottom - top;
    const group = svg("g", { ...attributes, "aria-label": hint });
    if (item.block !== undefined) group.append(svg("rect", { class: "body", x: left + 3, y: top + 3, width, height, rx: 8 }));
    group.append(svg("rect", { class: "body", x: left, y: top, width, height, rx: 8 }), svg("title", {}, hint));
    const lift = item.lines.length > 1 ? 3 : 0;
    item.lines.forEach((line, i) => group.append(svg("text", { class: i === 0 ? "first" : "", x, y: top + 16 * (i + 1) + 2 - lift }, i === 0 && item.block !== undefined ? `▸ ${line}` : line)));
    const { macs, parameters } = this.network;
    const bar = (name, share, y) => share > 0.002 && group.append(svg("rect", { class: name, x: left + 8, y, width: Math.max(share * (width - 16), 1), height: 2.5, rx: 1.2 }));
    bar("macs", of.macs / (macs || 1), bottom - 8.5);
    bar("parameters", of.parameters / (parameters || 1), bottom - 5);
    this.layers[2].append(group);
  }

  reveal(what = ".selected") {
    const selected = this.container.querySelector(what);
    if (!selected) return;
    const [inner, outer] = [selected.getBoundingClientRect(), this.container.getBoundingClientRect()];
    if (inner.top < outer.top || inner.bottom > outer.bottom) this.container.scrollTop += inner.top - outer.top - outer.height / 3;
    if (inner.left < outer.left || inner.right > outer.right) this.container.scrollLeft += (inner.left + inner.right - outer.left - outer.right) / 2;
  }

  chosen(element) {
    const box = element.closest("[data-node], [data-block]");
    if (!box) return null;
    return box.dataset.block !== undefined ? { block: Number(box.dataset.block) } : { node: Number(box.dataset.node) };
  }

  clicked(event) {
    const chosen = this.chosen(event.target);
    if (!chosen) return;
    if (chosen.block !== undefined) this.toggle(chosen.block);
    this.select(chosen);
  }

  // Boxes in the order in which they stand.
  pressed(event) {
    const boxes = [...this.container.querySelectorAll(".box")].sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top);
    const at = boxes.indexOf(event.target.closest(".box")), chosen = at < 0 ? null : this.chosen(boxes[at]);
    if (!chosen) return;
    const { nodes, blocks } = this.network;
    const go = to => { if (to) this.select(this.chosen(to)); };
    const keys = {
      ArrowDown: () => go(boxes[at + 1]), ArrowUp: () => go(boxes[at - 1]), Home: () => go(boxes[0]), End: () => go(boxes[boxes.length - 1]),
      ArrowRight: () => { if (chosen.block !== undefined && !this.open.has(chosen.block)) this.toggle(chosen.block); },
      ArrowLeft: () => {
        if (chosen.block !== undefined && this.open.has(chosen.block)) { this.toggle(chosen.block); return; }
        const parent = chosen.block !== undefined ? blocks[chosen.block].parent : nodes[chosen.node].block;
        if (parent) this.select({ block: parent });
      },
      Enter: () => { if (chosen.block !== undefined) this.toggle(chosen.block); }, " ": () => keys.Enter(),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }
}
