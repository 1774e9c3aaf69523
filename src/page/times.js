// What was measured: totals, the roofline, and the slowest steps.

const times = data("times");
const SLOWEST = 12;
let measured = 0;

const stepOfNode = () => state.node === undefined ? -1 : times.results[measured].profile?.steps.findIndex(step => step.node === state.node) ?? -1;

function totals({ steady, samples_per_s, gflops, profile }) {
  const facts = [["median", milliseconds(steady.median_s)], ["P99", milliseconds(steady.p99_s)], ["samples/s", digits(samples_per_s)], ["GFLOP/s", digits(gflops)]];
  if (profile) facts.push(["time / sum of bounds", digits(profile.distance)]);
  return el("dl", { class: "totals" }, facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

// And that of what is selected.
function slowest(steps) {
  const all = steps.map((step, i) => ({ step, i })).sort((a, b) => b.step.share - a.step.share);
  const order = all.filter(({ i }, place) => place < SLOWEST || i === stepOfNode());
  const largest = order[0]?.step.share || 1;
  return el("ul", { class: "bars steps" }, order.map(({ step, i }) => el("li", {}, el("button", { class: i === stepOfNode() ? "chosen" : "", "aria-pressed": String(i === stepOfNode()), "data-step": i, title: `${step.kernel}, bound by ${step.bound}` },
    el("span", {}, step.layer), el("i", { style: `width: ${100 * step.share / largest}%; background: ${stepColour(steps, step)}` }), el("b", {}, milliseconds(step.time.median_s))))));
}

function chooseResult() {
  if (times.results.length < 2) return "";
  return el("select", { "aria-label": "result", onchange: event => { measured = event.target.selectedIndex; showTimes(); } }, times.results.map((result, i) => el("option", { selected: i === measured }, resultTitle(result))));
}

function showTimes() {
  $("times").hidden = !times;
  if (!times) return;
  const result = times.results[measured], { profile } = result;
  const chart = el("div", { class: "roofline" });
  if (profile && times.peak) chart.append(...roofline(times, result, stepOfNode()));
  $("times").replaceChildren(el("h2", {}, "Times"), el("p", { class: "faint" }, `${resultTitle(result)} · ${times.machine.cpu} · ${times.date}`), chooseResult(), totals(result),
    profile ? el("div", { class: "measured" }, chart, slowest(profile.steps)) : el("p", { class: "faint" }, "Measured without --per-layer: times of steps are not known."));
}

$("times").addEventListener("click", event => {
  const step = event.target.closest("[data-step]");
  const node = step && times.results[measured].profile.steps[step.dataset.step].node;
  if (node !== null) go({ node });
});
