// Measured steps: their colours, and how far each is from what the machine can do.

const COLOURS = ["#3b6fd4", "#e08a1e", "#3a9d6a", "#b04ac0", "#d6455b", "#1fa3b5", "#8a6d3b", "#777f8c"];

const family = step => step.kernel.split("_").slice(0, 2).join(" ");
const familiesOf = steps => [...new Set(steps.map(family))];
const stepColour = (steps, step) => COLOURS[familiesOf(steps).indexOf(family(step)) % COLOURS.length];
const stepMark = (index, selected) => ({ class: index === selected ? "item selected" : "item", "data-step": index });
const stepHint = step => svg("title", {}, `${step.layer}  ${milliseconds(step.time.median_s)}, ${digits(step.distance)} x ${step.bound} bound`);

function resultTitle({ setting: s }) {
  return `${s.model}, ${s.engine}, batch ${s.batch}, ${s.threads} ${s.threads === 1 ? "thread" : "threads"}`;
}

// Powers of ten within [low, high].
function decades(low, high) {
  const first = Math.ceil(Math.log10(low)), last = Math.floor(Math.log10(high * 1.0001));
  return Array.from({ length: Math.min(last - first + 1, 40) }, (_, i) => 10 ** (first + i));
}

// What a logarithm can show.
const shows = x => x > 0 && x < Infinity;

// Of a profiled result; `selected` is the number of a step.
function roofline(report, result, selected) {
  const [width, height, left, bottom] = [820, 480, 52, 36], { steps, clock, arithmetic_raised, memory_raised } = result.profile;
  const cores = Math.min(result.setting.threads, report.machine.cores);
  const roofs = report.peak.fma.map(f => ({ name: f.isa, gflops: f.gflops * cores * clock * arithmetic_raised })).filter(r => shows(r.gflops));
  // The last cache and main memory, which are those of all cores, have clocks of their own.
  const own = report.peak.memory.length - 2, clockOf = level => level < own ? clock : 1;
  const memory = report.peak.memory.map((m, i) => ({ name: m.level, rate: m.gb_per_s * cores * clockOf(i) * memory_raised })).filter(m => shows(m.rate));
  // Steps without multiply-accumulates: one operation for each element of the output.
  const points = steps.map((step, index) => {
    const operations = step.own_flops || step.elements;
    return { step, index, x: operations / step.bytes, y: operations / Math.max(step.time.median_s, 1e-9) / 1e9 };
  }).filter(p => shows(p.x) && shows(p.y));
  const [xs, ys, peaks] = [points.map(p => p.x), points.map(p => p.y), roofs.map(r => r.gflops)];
  const top = largest([...peaks, ...ys], 1e-9);
  const lowX = least(xs, 0.05) / 1.3, highX = largest(xs, 100) * 1.5;
  const lowY = Math.max(least(ys, 1) / 1.5, top / 1e6), highY = top * 1.8;
  const log = (v, low, high) => Math.log(v / low) / Math.log(high / low);
  const x = v => left + log(v, lowX, highX) * (width - left - 12);
  const y = v => height - bottom - log(Math.max(v, lowY), lowY, highY) * (height - bottom - 12);
  const text = (x, y, anchor, ...words) => svg("text", { x, y, "text-anchor": anchor }, ...words);
  const line = (x1, x2, y1, y2) => svg("line", { class: "axis", x1, x2, y1, y2 });
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "roofline" },
    decades(lowX, highX).flatMap(v => [line(x(v), x(v), 12, height - bottom), text(x(v), height - bottom + 14, "middle", v)]),
    decades(lowY, highY).flatMap(v => [line(left, width - 12, y(v), y(v)), text(left - 6, y(v) + 4, "end", v)]),
    text(width - 12, height - 6, "end", "FLOP / byte"), text(left, 9, "start", "GFLOP/s"));
  const peak = largest(peaks, lowY);
  for (const m of memory) {
    const start = Math.max(lowX, lowY / m.rate), end = peak / m.rate;
    chart.append(svg("path", { class: "roof", d: `M${x(start)} ${y(start * m.rate)} L${x(end)} ${y(peak)}` }));
  }
  // Slopes are named where they leave the frame at the left, one below the other.
  let above = -Infinity;
  for (const m of [...memory].sort((a, b) => b.rate - a.rate)) {
    above = Math.max(y(lowX * m.rate) - 5, above + 12);
    chart.append(text(x(lowX) + 4, above, "start", `${m.name} ${digits(m.rate)} GB/s`));
  }
  const lines = roofs.map(r => ({ ...r, at: y(r.gflops) })).sort((a, b) => a.at - b.at);
  lines.forEach((r, i) => {
    const start = least(memory.map(m => r.gflops / m.rate), highX);
    const below = i > 0 && r.at - lines[i - 1].at < 14;
    chart.append(svg("path", { class: "roof", d: `M${x(start)} ${r.at} H${width - 12}` }),
      text(width - 12, r.at + (below ? 14 : -5), "end", `${r.name} ${digits(r.gflops)} GFLOP/s`));
  });
  // The selected point comes last, on top of the others.
  points.sort((a, b) => (a.index === selected) - (b.index === selected));
  for (const { step, index, x: px, y: py } of points) {
    const colour = stepColour(steps, step), r = 3.5 + 14 * Math.sqrt(Math.min(Math.max(step.share, 0), 1));
    const look = step.flops ? { fill: colour, "fill-opacity": 0.7 } : { fill: "var(--panel)", stroke: colour, "stroke-width": 1.5 };
    chart.append(svg("circle", { ...stepMark(index, selected), cx: x(px), cy: y(py), r, ...look }, stepHint(step)));
  }
  return [chart, el("p", { class: "faint" }, "Area: share of the time. Hollow: no multiply-accumulates, one operation for each element of the output.")];
}
