// What all pages share: elements, numbers, bytes.

const $ = id => document.getElementById(id);
const data = name => JSON.parse($("data-" + name)?.textContent ?? "null");

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter(child => child !== undefined && child !== null && child !== false));
  return element;
}

// Text among the children is text, whatever it holds.
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const digits = (x, n = 4) => x === 0 ? "0" : Number(x.toPrecision(n)).toLocaleString("en-US", { maximumSignificantDigits: n });
const percent = x => (100 * x).toFixed(1) + " %";
const milliseconds = s => digits(1e3 * s) + " ms";
const bytes = n => n < 1024 ? n + " B" : n < 1 << 20 ? digits(n / 1024) + " KiB" : digits(n / (1 << 20)) + " MiB";
const plural = (n, word) => `${n.toLocaleString("en-US")} ${word}${n === 1 ? "" : "s"}`;

// Of a list that may be long, and a first number.
const largest = (numbers, first) => numbers.reduce((a, b) => Math.max(a, b), first);
const least = (numbers, first) => numbers.reduce((a, b) => Math.min(a, b), first);

// 25.6 M
function short(n) {
  for (const [unit, name] of [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]]) if (n >= unit) return digits(n / unit, 3) + name;
  return String(n);
}

function unpack(text) {
  const binary = atob(text);
  return Uint8Array.from(binary, letter => letter.charCodeAt(0));
}
