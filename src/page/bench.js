// The page of measurements.

const report = data("report");
// For each result its fused graph as { network, nodes }: nodes[step] is the one whose value a step makes or prepares.
const graphs = data("graphs");
const state = { result: 0, step: 0, sort: null, up: false };

const result = () => report.results[state.result];
const steps = () => result().profile ? result().profile.steps : [];
const families = () => familiesOf(steps());
const colour = step => stepColour(steps(), step);
const mark = index => stepMark(index, state.step);

function showRoofline() {
  $("roofline").replaceChildren(...roofline(report, result(), state.step));
}

function showHeader() {
  const m = report.machine;
  const parts = [m.cpu, m.isas.join(" "), m.caches.map(c => `L${c.level} ${bytes(c.bytes)}`).join(", "), `${m.cores} cores` + (m.affinity ? ` (affinity ${m.affinity})` : ""),
    m.cgroup_cpus && `limited to ${digits(m.cgroup_cpus)} by control group`,
    m.governor && `governor ${m.governor}`, `svertka ${report.svertka}` + (report.commit ? ` (${report.commit})` : ""), report.date, `seed ${report.seed}`, `model hash ${result().model_hash}`];
  $("title").textContent = resultTitle(result());
  $("machine").textContent = parts.filter(Boolean).join(" · ");
}

function showFigures() {
  const { steady: t, phases: p, ...r } = result();
  const figures = [["median", milliseconds(r.median.value)], ["minimum", milliseconds(t.min_s)], ["P99", milliseconds(t.p99_s)],
    ["95 % confidence", r.median.low === null ? "of one process: unknown" : `${milliseconds(r.median.low)} to ${milliseconds(r.median.high)} over ${r.median.processes} processes`],
    ["variation", percent(t.cv)], ["samples/s", digits(r.samples_per_s)], ["GFLOP/s", digits(r.gflops)],
    ["parse, check", milliseconds(p.parse_and_check_s)], ["plan", milliseconds(p.plan_s)], ["code", milliseconds(p.code_generation_s)],
    ["load, pack", milliseconds(p.load_and_pack_s)], ["first run", milliseconds(p.first_run_s)], ["peak memory", bytes(r.peak_rss_bytes)], ["weights", r.weights]];
  if (r.profile) figures.splice(7, 0, ["time / sum of bounds", digits(r.profile.distance)], ["sum of bounds", milliseconds(r.profile.bound_s)]);
  $("figures").replaceChildren(...figures.map(([name, value]) => el("div", {}, el("span", { class: "faint" }, name), el("b", {}, value))));
}

function showTimeline() {
  const [width, height] = [1300, 44];
  const total = result().profile.time_s || 1;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height + 18}`, role: "img", "aria-label": "time line" });
  let at = 0;
  steps().forEach((step, index) => {
    const w = step.time.median_s / total * width;
    chart.append(svg("rect", { ...mark(index), x: at, y: 2, width: Math.max(w - 0.5, 0.3), height, fill: colour(step) }, stepHint(step)));
    at += w;
  });
  for (let i = 0; i <= 10; i++) chart.append(svg("text", { x: i * width / 10, y: height + 15, "text-anchor": i === 0 ? "start" : i === 10 ? "end" : "middle" }, milliseconds(total * i / 10)));
  $("timeline").replaceChildren(chart);
  $("legend").replaceChildren(...families().map((name, i) => {
    const share = steps().filter(s => family(s) === name).reduce((sum, s) => sum + s.share, 0);
    return el("span", {}, el("i", { style: `background: ${COLOURS[i % COLOURS.length]}` }), `${name} ${percent(share)}`);
  }));
}

function showArena() {
  const [width, height, left] = [1300, 190, 70];
  const { arena, arena_bytes: size } = result().profile;
  const x = step => left + step / steps().length * (width - left), y = address => height - address / (size || 1) * (height - 8);
  const live = steps().map((_, i) => arena.filter(b => b.first_step <= i && i <= b.last_step).reduce((sum, b) => sum + b.bytes, 0));
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height + 18}`, role: "img", "aria-label": "arena" });
  for (const part of [0, 0.5, 1]) chart.append(svg("line", { class: "axis", x1: left, x2: width, y1: y(size * part), y2: y(size * part) }), svg("text", { x: left - 6, y: y(size * part) + 4, "text-anchor": "end" }, bytes(Math.round(size * part))));
  for (const b of arena) {
    const step = steps()[b.first_step], w = x(b.last_step + 1) - x(b.first_step);
    chart.append(svg("rect", { ...mark(b.first_step), x: x(b.first_step), y: y(b.offset + b.bytes), width: Math.max(w - 0.5, 0.5), height: Math.max(y(b.offset) - y(b.offset + b.bytes) - 0.5, 0.5), fill: colour(step), "fill-opacity": 0.75 },
      svg("title", {}, `${step.layer}: ${bytes(b.bytes)}, steps ${b.first_step} to ${b.last_step}`)));
  }
  chart.append(svg("text", { x: left, y: height + 15 }, "step 0"), svg("text", { x: width, y: height + 15, "text-anchor": "end" }, `step ${steps().length - 1}`));
  const most = largest(live, 0);
  $("arena").replaceChildren(chart, el("p", { class: "faint" }, `Across: steps; upwards: addresses. ${bytes(size)} in all; at most ${bytes(most)} in use at once, at step ${live.indexOf(most)}.`));
}

const COLUMNS = [["#", (s, i) => i, v => v], ["layer", s => s.layer, v => v], ["kernel", s => s.kernel, v => v],
  ["ms", s => s.time.median_s, v => digits(1e3 * v)], ["share", s => s.share, percent], ["GFLOP/s", s => s.gflops, v => v ? digits(v) : ""],
  ["of peak", s => s.peak_share, v => v ? percent(v) : ""], ["moved", s => s.bytes, bytes], ["FLOP/B", s => s.intensity, v => v ? digits(v) : ""],
  ["bound", s => s.bound, v => v], ["bound ms", s => s.bound_s, v => digits(1e3 * v)], ["time/bound", s => s.distance, v => v.toFixed(2)]];

function showSteps() {
  const order = steps().map((step, index) => ({ step, index }));
  if (state.sort !== null) {
    const key = ({ step, index }) => COLUMNS[state.sort][1](step, index);
    order.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (state.up ? 1 : -1));
  }
  const head = COLUMNS.map(([name], i) => el("th", { "data-column": i, class: i === state.sort ? "sorted" + (state.up ? " up" : "") : "" }, name));
  const rows = order.map(({ step, index }) => el("tr", mark(index), COLUMNS.map(([, get, show]) => el("td", {}, show(get(step, index))))));
  $("steps").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
}

let graph = { of: null, view: null };

function showGraph() {
  const shown = graphs[state.result];
  if (graph.of !== state.result) graph = { of: state.result, view: shown && new GraphView($("graph"), shown.network, chosenInGraph) };
  if (shown) graph.view.show({ node: shown.nodes[state.step] });
  else $("graph").replaceChildren();
}

function chosenInGraph(chosen) {
  // The last step of a node completes it.
  const step = chosen.node === undefined ? -1 : graphs[state.result].nodes.lastIndexOf(chosen.node);
  if (step < 0) graph.view.show(chosen);
  else select(step);
}

const select = step => { location.hash = `${state.result}.${step}`; };

// Scrolls a part of the page until what is selected in it can be seen; the page itself stays.
function reveal(part) {
  const selected = part.querySelector(".selected");
  if (!selected) return;
  const [inner, outer] = [selected.getBoundingClientRect(), part.getBoundingClientRect()];
  if (inner.top < outer.top || inner.bottom > outer.bottom) part.scrollTop += inner.top - outer.top - outer.height / 3;
}

function showDetails() {
  const s = steps()[state.step];
  const list = items => items.length ? items.map(item => el("div", {}, item)) : "none";
  const entries = [["does", s.what], ["kernel", el("code", {}, s.kernel)],
    ["time", `${milliseconds(s.time.median_s)} median, ${milliseconds(s.time.min_s)} least, ${milliseconds(s.time.p99_s)} P99, ${s.time.runs} runs`],
    ["share", percent(s.share)], ["arithmetic", s.flops ? `${digits(s.flops / 1e6)} MFLOP, ${digits(s.gflops)} GFLOP/s; the kernel's own ${digits(s.own_flops / 1e6)} MFLOP, ${percent(s.peak_share)} of peak` : "none"],
    ["memory", `${bytes(s.bytes)} moved, ${digits(s.intensity)} FLOP/byte`],
    ["bound", `${milliseconds(s.bound_s)} by ${s.bound}; takes ${digits(s.distance)} times as long`],
    ["reads", list(s.reads)], ["writes", s.writes], ["notes", list(s.notes)], ["conf", el("code", {}, s.conf)]];
  $("details").replaceChildren(el("h2", { id: "selected" }, `${state.step}: ${s.layer}`), el("dl", {}, entries.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
}

function show() {
  showHeader();
  showFigures();
  const profiled = steps().length > 0 && report.peak;
  document.querySelectorAll(".two, .two ~ section").forEach(part => { part.hidden = !profiled; part.style.display = profiled ? "" : "none"; });
  if (!profiled) return;
  [showRoofline, showTimeline, showArena, showSteps, showGraph, showDetails].forEach(part => part());
  reveal($("steps"));
}

// The address says what is selected: #RESULT.STEP
function followAddress() {
  const [r, s] = location.hash.slice(1).split(".").map(n => Number.parseInt(n, 10));
  state.result = report.results[r] ? r : 0;
  state.step = steps()[s] ? s : 0;
  $("choice").value = state.result;
  show();
}

document.addEventListener("click", event => {
  const step = event.target.closest("[data-step]"), column = event.target.closest("[data-column]");
  if (step) select(step.dataset.step);
  if (column) {
    const index = Number(column.dataset.column);
    state.up = state.sort === index && !state.up;
    state.sort = index;
    showSteps();
  }
});
$("choice").replaceChildren(...report.results.map((r, i) => el("option", { value: i }, resultTitle(r))));
$("choice").hidden = report.results.length < 2;
$("choice").addEventListener("change", event => { location.hash = `${event.target.value}.0`; });
addEventListener("hashchange", followAddress);
followAddress();
