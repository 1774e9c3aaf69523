// The lecture's demonstrations. Output sizes, paddings and errors are the program's, for each choice that there is.

const box = data("sandbox");
const LESSONS = {
  convolution: { layer: "conv", size: 6, kernel: 3, stride: 1, dilation: 1, padding: "valid", inputs: 1, outputs: 1, text: "A window slides over the input. Each output is the sum of what the window sees, times the kernel." },
  padding: { layer: "conv", size: 6, kernel: 3, stride: 1, dilation: 1, padding: "half", inputs: 1, outputs: 1, text: "Zeros around the input let the window reach its border. With half of the kernel on each side the size stays." },
  stride: { layer: "conv", size: 7, kernel: 3, stride: 2, dilation: 1, padding: "half", inputs: 1, outputs: 1, text: "The window moves by more than one place: fewer outputs, and each step down the network sees more." },
  dilation: { layer: "conv", size: 9, kernel: 3, stride: 1, dilation: 2, padding: "half", inputs: 1, outputs: 1, text: "Gaps between the taps make the window larger without more weights." },
  channels: { layer: "conv", size: 5, kernel: 3, stride: 1, dilation: 1, padding: "valid", inputs: 3, outputs: 2, text: "Each output channel has a kernel for every input channel, and adds up what they give." },
  pooling: { layer: "maxpool", size: 6, kernel: 2, stride: 2, dilation: 1, padding: "valid", inputs: 1, outputs: 1, text: "No weights: the largest, or the mean, of what the window sees. Each channel for itself." },
};
const CONTROLS = { layer: "layers", size: "sizes", kernel: "kernels", stride: "strides", dilation: "dilations", padding: "paddings", inputs: "channels", outputs: "channels" };
const NAMES = { layer: "layer", size: "input size", kernel: "kernel", stride: "stride", dilation: "dilation", padding: "padding", inputs: "input channels", outputs: "output channels" };
const toy = { ...LESSONS.convolution, at: [0, 0, 0] };
let playing = null;

// Numbers in the order in which the program counted: the last changes first.
const mixedRadix = digitsAndBases => digitsAndBases.reduce((number, [digit, base]) => number * base + digit, 0);
const choice = name => { const list = box[CONTROLS[name]]; return [Math.max(list.indexOf(toy[name]), 0), list.length]; };
const windowChoices = () => ["kernel", "stride", "dilation", "padding"].map(choice);

function outcome() {
  const result = box.results[mixedRadix([choice("layer"), choice("size"), ...windowChoices()])];
  return result < 0 ? { error: box.errors[-1 - result] } : { out: result & 15, front: result >> 4 & 15, back: result >> 8 };
}

function toyText() {
  const windows = box.kernels.length * box.strides.length * box.dilations.length * box.paddings.length;
  const part = toy.layer === "conv" ? choice("outputs")[0] : box.channels.length + box.layers.indexOf(toy.layer) - 1;
  return box.texts[part * windows + mixedRadix(windowChoices())];
}

const weighs = () => toy.layer === "conv";
const outputs = () => weighs() ? toy.outputs : toy.inputs;
const toyInput = (c, y, x) => [x >= toy.size / 2 ? 8 - y % 2 : 1 + y % 2, y === x ? 9 : 2, (x + 2 * y) % 6][c];

// Edges across, edges down, a mean.
function toyWeight(o, c, ky, kx) {
  const middle = (toy.kernel - 1) / 2, sign = v => Math.sign(v);
  return [sign(kx - middle) || (toy.kernel === 1 ? 1 : 0), sign(ky - middle) || (toy.kernel === 1 ? -1 : 0), 1][(o + c) % 3];
}

const place = (p, k, front) => p * toy.stride + k * toy.dilation - front;
const insideToy = p => p >= 0 && p < toy.size;

// What the window sees of an input channel, by rows of taps; undefined in the padding.
function toySeen(c, y, x, { front }) {
  return Array.from({ length: toy.kernel ** 2 }, (_, tap) => {
    const [py, px] = [place(y, Math.floor(tap / toy.kernel), front), place(x, tap % toy.kernel, front)];
    return insideToy(py) && insideToy(px) ? toyInput(c, py, px) : undefined;
  });
}

function toyValue(o, y, x, result) {
  if (!weighs()) {
    const seen = toySeen(o, y, x, result);
    return toy.layer === "maxpool" ? Math.max(...seen.filter(v => v !== undefined)) : seen.reduce((sum, v) => sum + (v ?? 0), 0) / toy.kernel ** 2;
  }
  let sum = 0;
  for (let c = 0; c < toy.inputs; c++) toySeen(c, y, x, result).forEach((v, tap) => { sum += (v ?? 0) * toyWeight(o, c, Math.floor(tap / toy.kernel), tap % toy.kernel); });
  return sum;
}

const figure = (caption, ...of) => el("figure", { "aria-label": caption }, ...of, el("figcaption", { "aria-hidden": "true" }, caption));

const CELL = 26;
const toyNumber = v => String(Number(v.toFixed(1))).replace("-", "−");

// Rows of numbers; `looks` gives the class of a cell, `label` what the whole is.
function numbersPicture(rows, columns, value, looks, label, chosen) {
  const choose = event => { const cell = event.target.closest("[data-at]"); if (cell) chosen(...cell.dataset.at.split(",").map(Number)); };
  const picture = svg("svg", { viewBox: `-1 -1 ${columns * CELL + 2} ${rows * CELL + 2}`, width: columns * CELL + 2, height: rows * CELL + 2, class: "numbers", role: "img", "aria-label": label, ...(chosen && { onclick: choose }) });
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    const v = value(y, x);
    picture.append(svg("g", { class: looks(y, x), "data-at": `${y},${x}` },
      svg("rect", { x: x * CELL, y: y * CELL, width: CELL, height: CELL }), svg("text", { x: (x + 0.5) * CELL, y: (y + 0.5) * CELL + 4 }, v === undefined ? "" : toyNumber(v))));
  }
  return picture;
}

function inputPicture(c, { front, back }) {
  const [, y, x] = toy.at, size = toy.size + front + back;
  const taps = new Set(Array.from({ length: toy.kernel ** 2 }, (_, tap) => [place(y, Math.floor(tap / toy.kernel), 0), place(x, tap % toy.kernel, 0)].join()));
  const used = weighs() || c === toy.at[0];
  const looks = (py, px) => `${insideToy(py - front) && insideToy(px - front) ? "cell" : "cell pad"}${used && taps.has([py, px].join()) ? " tap" : ""}`;
  const value = (py, px) => insideToy(py - front) && insideToy(px - front) ? toyInput(c, py - front, px - front) : toy.layer === "maxpool" ? undefined : 0;
  const label = `input channel ${c}, ${toy.size} by ${toy.size}, the window at row ${place(y, 0, front)}, column ${place(x, 0, front)}`;
  return figure(toy.inputs > 1 ? `input channel ${c}` : `input ${toy.size}×${toy.size}`, numbersPicture(size, size, value, looks, label));
}

function kernelPicture(c) {
  const picture = numbersPicture(toy.kernel, toy.kernel, (ky, kx) => toyWeight(toy.at[0], c, ky, kx), () => "cell weight", `kernel of input channel ${c}`);
  return figure(`kernel${toy.inputs > 1 ? ` ${toy.at[0]}, ${c}` : ""}`, picture);
}

function outputPicture(o, result) {
  const { out } = result, choose = (y, x) => { stop(); moveTo([o, y, x]); };
  const picture = numbersPicture(out, out, (y, x) => toyValue(o, y, x, result), (y, x) => `cell result${String(toy.at) === String([o, y, x]) ? " chosen" : ""}`, `output channel ${o}, ${out} by ${out}`, choose);
  return figure(outputs() > 1 ? `output channel ${o}` : `output ${out}×${out}`, picture);
}

function formula({ out, front, back }) {
  const extent = toy.dilation * (toy.kernel - 1) + 1;
  const numbers = `⌊(${toy.size} + ${front} + ${back} − ${extent}) / ${toy.stride}⌋ + 1 = ${out}`;
  return el("p", {}, "output size = ⌊(input + padding in front + behind − extent) / stride⌋ + 1 = ", el("b", { id: "output-size", "data-out": out }, numbers), el("span", { class: "faint" }, `, with the extent dilation · (kernel − 1) + 1 = ${extent}`));
}

function toySum(result) {
  const [o, y, x] = toy.at;
  if (!weighs()) {
    const seen = toySeen(o, y, x, result), value = toyNumber(toyValue(o, y, x, result));
    return toy.layer === "maxpool" ? `the largest of ${seen.filter(v => v !== undefined).join(", ")} = ${value}` : `(${seen.map(v => v ?? 0).join(" + ")}) / ${toy.kernel ** 2} = ${value}`;
  }
  const terms = Array.from({ length: toy.inputs }, (_, c) => toySeen(c, y, x, result).map((v, tap) => `${v ?? 0}·${toyNumber(toyWeight(o, c, Math.floor(tap / toy.kernel), tap % toy.kernel))}`).join(" + "));
  return `${terms.map(term => toy.inputs > 1 ? `(${term})` : term).join(" + ")} = ${toyNumber(toyValue(o, y, x, result))}`.replaceAll("·−", "·(−").replace(/\(−(\d+)/g, "(−$1)");
}

function toyWeights() {
  if (!weighs()) return "A pool has no weights.";
  return `${plural(toy.outputs * toy.inputs * toy.kernel ** 2, "weight")}: ${toy.outputs} output × ${toy.inputs} input channels × ${toy.kernel} × ${toy.kernel}.`;
}

function moveTo(at) {
  toy.at = at;
  history.replaceState(null, "", toyAddress());
  drawToy();
}

const toyAddress = () => "#sandbox/" + [...Object.keys(CONTROLS).map(name => toy[name]), toy.at.join(",")].map(encodeURIComponent).join("/");

// #sandbox/conv/6/3/1/1/half/1/1/0,2,3
function followToy(address) {
  const words = address.split("/").slice(1).map(word => { try { return decodeURIComponent(word); } catch { return ""; } });
  Object.entries(CONTROLS).forEach(([name, list], i) => { toy[name] = box[list].find(value => String(value) === words[i]) ?? toy[name]; });
  toy.lesson = undefined;
  toy.at = (words[8] ?? "").split(",").map(word => Math.max(Number.parseInt(word, 10) || 0, 0));
  drawToy();
  $("sandbox").scrollIntoView();
}

function drawToy() {
  const result = outcome(), { error, out } = result;
  $("toy-text").textContent = toyText();
  document.querySelectorAll("[data-toy]").forEach(select => { select.value = String(toy[select.dataset.toy]); });
  document.querySelectorAll("[data-lesson]").forEach(button => button.setAttribute("aria-pressed", String(button.dataset.lesson === toy.lesson)));
  $("toy-lesson").textContent = LESSONS[toy.lesson]?.text ?? "";
  document.querySelector("[data-toy=outputs]").disabled = !weighs();
  $("play").disabled = error !== undefined;
  if (error) {
    stop();
    $("toy").replaceChildren(el("div", { class: "error", role: "alert" }, el("b", {}, `error[${error.code}]: `), error.message, error.help ? el("p", {}, `help: ${error.help}`) : ""));
    return;
  }
  toy.at = [toy.at[0] % outputs() || 0, Math.min(toy.at[1] || 0, out - 1), Math.min(toy.at[2] || 0, out - 1)];
  const inputs = Array.from({ length: toy.inputs }, (_, c) => el("div", { class: "channel" }, inputPicture(c, result), weighs() ? el("span", {}, "∘") : "", weighs() ? kernelPicture(c) : ""));
  $("toy").replaceChildren(el("div", { class: "stage", tabindex: 0, role: "application", "aria-label": "the window; arrow keys move it", onkeydown: toyPressed },
    el("div", {}, inputs), el("span", { class: "leads" }, "→"), el("div", {}, Array.from({ length: outputs() }, (_, o) => outputPicture(o, result)))),
    el("p", { class: "made", "aria-live": "polite" }, toySum(result)), formula(result), el("p", { class: "faint" }, toyWeights()));
}

// By how much along the output; at the end of a row the next one begins.
function step(by) {
  const { out } = outcome(), all = outputs() * out * out;
  const [o, y, x] = toy.at, next = (((o * out + y) * out + x + by) % all + all) % all;
  moveTo([Math.floor(next / out / out), Math.floor(next / out) % out, next % out]);
}

function toyPressed(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: outcome().out, ArrowUp: -outcome().out }[event.key];
  if (!by) return;
  event.preventDefault();
  stop();
  step(by);
  document.querySelector(".stage").focus({ preventScroll: true });
}

function stop() {
  clearInterval(playing);
  playing = null;
  $("play").textContent = "▶ move";
}

function play() {
  if (playing !== null) return stop();
  playing = setInterval(() => step(1), 600);
  $("play").textContent = "❚❚ stop";
  return undefined;
}

function changeToy(changes) {
  Object.assign(toy, { lesson: undefined }, changes);
  moveTo(toy.at);
}

function makeSandbox() {
  const lessons = Object.keys(LESSONS).map(lesson => el("button", { "data-lesson": lesson, onclick: () => changeToy({ ...LESSONS[lesson], lesson, at: [0, 0, 0] }) }, lesson));
  const controls = Object.entries(CONTROLS).map(([name, list]) => el("label", {}, el("span", {}, NAMES[name]), el("select", { "data-toy": name, onchange: event => changeToy({ [name]: box[list][event.target.selectedIndex] }) }, box[list].map(value => el("option", { value }, String(value))))));
  $("sandbox").replaceChildren(el("h2", {}, "Sandbox"), el("div", { class: "lessons", role: "group", "aria-label": "demonstrations" }, lessons, el("button", { id: "play", onclick: play })),
    el("p", { id: "toy-lesson", class: "faint" }), el("div", { class: "controls" }, controls), el("code", { id: "toy-text" }), el("div", { id: "toy" }));
  toy.lesson = "convolution";
  stop();
  drawToy();
}
