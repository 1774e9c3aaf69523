// Measured steps: their colours, and how far each is from what the machine can do.

const COLOURS = ["#3b6fd4", "#e08a1e", "#3a9d6a", "#b04ac0", "#d6455b", "#1fa3b5", "#8a6d3b", "#777f8c"];
const escapeHtml = text => String(text).replace(/[&<>"]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

const family = step => step.kernel.split("_").slice(0, 2).join(" ");
const familiesOf = steps => [...new Set(steps.map(family))];
const stepColour = (steps, step) => COLOURS[familiesOf(steps).indexOf(family(step)) % COLOURS.length];
const stepMark = (index, selected) => `class="item ${index === selected ? "selected" : ""} " data-step="${index}"`;
const stepHint = step => `<title>${escapeHtml(`${step.layer}  ${milliseconds(step.time.median_s)}, ${digits(step.distance)} x ${step.bound} bound`)}</title>`;

function resultTitle({ setting: s }) {
  return `${s.model}, ${s.engine}, batch ${s.batch}, ${s.threads} ${s.threads === 1 ? "thread" : "threads"}`;
}

// Powers of ten within [low, high].
function decades(low, high) {
  const powers = [];
  for (let e = Math.ceil(Math.log10(low)); 10 ** e <= high * 1.0001; e++) powers.push(10 ** e);
  return powers;
}

// Of a profiled result, as HTML; `selected` is the number of a step.
function roofline(report, result, selected) {
  const [width, height, left, bottom] = [820, 480, 52, 36], { steps } = result.profile;
  const cores = Math.min(result.setting.threads, report.machine.cores);
  const roofs = report.peak.fma.map(f => ({ name: f.isa, gflops: f.gflops * cores }));
  const memory = report.peak.memory.map(m => ({ name: m.level, rate: m.gb_per_s * cores }));
  // Steps without multiply-accumulates: one operation for each element of the output.
  const points = steps.map((step, index) => {
    const operations = step.flops || step.elements;
    return { step, index, x: operations / step.bytes, y: operations / Math.max(step.time.median_s, 1e-9) / 1e9 };
  });
  const top = Math.max(...roofs.map(r => r.gflops), ...points.map(p => p.y));
  const lowX = Math.min(0.05, ...points.map(p => p.x)) / 1.3, highX = Math.max(100, ...points.map(p => p.x)) * 1.5;
  const lowY = Math.max(Math.min(1, ...points.map(p => p.y)) / 1.5, top / 1e6), highY = top * 1.8;
  const log = (v, low, high) => Math.log(v / low) / Math.log(high / low);
  const x = v => left + log(v, lowX, highX) * (width - left - 12);
  const y = v => height - bottom - log(Math.max(v, lowY), lowY, highY) * (height - bottom - 12);
  let svg = `<svg class="chart" viewBox="0 0 ${width} ${height}" role="img" aria-label="roofline">`;
  for (const v of decades(lowX, highX)) svg += `<line class="axis" x1="${x(v)}" x2="${x(v)}" y1="12" y2="${height - bottom}"/><text x="${x(v)}" y="${height - bottom + 14}" text-anchor="middle">${v}</text>`;
  for (const v of decades(lowY, highY)) svg += `<line class="axis" x1="${left}" x2="${width - 12}" y1="${y(v)}" y2="${y(v)}"/><text x="${left - 6}" y="${y(v) + 4}" text-anchor="end">${v}</text>`;
  svg += `<text x="${width - 12}" y="${height - 6}" text-anchor="end">FLOP / byte</text><text x="${left}" y="9" text-anchor="start">GFLOP/s</text>`;
  const peak = Math.max(...roofs.map(r => r.gflops));
  for (const m of memory) {
    const start = Math.max(lowX, lowY / m.rate), end = peak / m.rate;
    svg += `<path class="roof" d="M${x(start)} ${y(start * m.rate)} L${x(end)} ${y(peak)}"/>`;
  }
  // Slopes are named where they leave the frame at the left, one below the other.
  let above = -Infinity;
  for (const m of [...memory].sort((a, b) => b.rate - a.rate)) {
    above = Math.max(y(lowX * m.rate) - 5, above + 12);
    svg += `<text x="${x(lowX) + 4}" y="${above}">${m.name} ${digits(m.rate)} GB/s</text>`;
  }
  const lines = roofs.map(r => ({ ...r, at: y(r.gflops) })).sort((a, b) => a.at - b.at);
  lines.forEach((r, i) => {
    const start = Math.min(...memory.map(m => r.gflops / m.rate));
    const above = i > 0 && r.at - lines[i - 1].at < 14;
    svg += `<path class="roof" d="M${x(start)} ${r.at} H${width - 12}"/><text x="${width - 12}" y="${r.at + (above ? 14 : -5)}" text-anchor="end">${r.name} ${digits(r.gflops)} GFLOP/s</text>`;
  });
  // The selected point comes last, on top of the others.
  points.sort((a, b) => (a.index === selected) - (b.index === selected));
  for (const { step, index, x: px, y: py } of points) {
    const radius = 3.5 + 14 * Math.sqrt(step.share);
    const fill = step.flops ? `fill="${stepColour(steps, step)}" fill-opacity=".7"` : `fill="var(--panel)" stroke="${stepColour(steps, step)}" stroke-width="1.5"`;
    svg += `<circle ${stepMark(index, selected)} cx="${x(px)}" cy="${y(py)}" r="${radius}" ${fill}>${stepHint(step)}</circle>`;
  }
  return svg + `</svg><p class="faint">Area: share of the time. Hollow: no multiply-accumulates, one operation for each element of the output.</p>`;
}
