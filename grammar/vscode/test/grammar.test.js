// The grammar colours models as they are meant, and all of each.

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const test = require("node:test");
const oniguruma = require("vscode-oniguruma");
const { Registry, parseRawGrammar, INITIAL } = require("vscode-textmate");

const SYNTAX = path.join(__dirname, "../syntaxes/svertka.tmLanguage.json");
const MODELS = path.join(__dirname, "../../../models");

async function grammar() {
  const wasm = fs.readFileSync(require.resolve("vscode-oniguruma/release/onig.wasm"));
  await oniguruma.loadWASM(wasm.buffer.slice(wasm.byteOffset, wasm.byteOffset + wasm.byteLength));
  const onigLib = Promise.resolve({
    createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
    createOnigString: (text) => new oniguruma.OnigString(text),
  });
  const loadGrammar = async () => parseRawGrammar(fs.readFileSync(SYNTAX, "utf8"), SYNTAX);
  return new Registry({ onigLib, loadGrammar }).loadGrammar("source.svertka");
}

const loaded = grammar();

/** Each coloured piece of a text with the innermost scope. */
async function pieces(text) {
  const grammar = await loaded;
  let state = INITIAL;
  const found = [];
  for (const line of text.split("\n")) {
    const { tokens, ruleStack } = grammar.tokenizeLine(line, state);
    state = ruleStack;
    for (const { startIndex, endIndex, scopes } of tokens) {
      found.push([line.slice(startIndex, endIndex), scopes.at(-1).replace(/\.svertka$/, "")]);
    }
  }
  return found;
}

test("pieces have the scopes of what they are", async () => {
  const text = `model m(n = [3, 4]) # sizes
input image: f32[N, 3, H = 224, W = 224]
block Unit(c, s = 1) {
  conv1: conv 3x3, ceil(0.5 * c), stride s, half | b-1{c}: bn
  residual { relu } project if not same_shape { none } as skip
}
use "blocks.cnn"`;
  const found = await pieces(text);
  const of = (word) => found.filter(([text]) => text === word).map(([, scope]) => scope);
  assert.deepEqual(of("model"), ["keyword.other"]);
  assert.deepEqual(of("# sizes"), ["comment.line.number-sign"]);
  assert.deepEqual(of("Unit"), ["entity.name.type"]);
  assert.deepEqual(of("conv1"), ["entity.name.label"]);
  assert.deepEqual(of("image"), ["variable.parameter"]);
  assert.deepEqual(of("f32"), ["storage.type"]);
  assert.deepEqual(of("conv"), ["support.function.layer"]);
  assert.deepEqual(of("3x3"), ["constant.numeric"]);
  assert.deepEqual(of("0.5"), ["constant.numeric"]);
  assert.deepEqual(of("ceil"), ["support.function.builtin"]);
  assert.deepEqual(of("stride"), ["variable.parameter"]);
  assert.deepEqual(of("half"), ["constant.language"]);
  assert.deepEqual(of("residual"), ["keyword.control"]);
  assert.deepEqual(of("not"), ["keyword.operator.word"]);
  assert.deepEqual(of('"blocks.cnn"'), ["string.quoted.double"]);
});

test("every layer and keyword of the models is coloured", async () => {
  const models = fs.readdirSync(MODELS).filter((name) => name.endsWith(".cnn"));
  assert.ok(models.length > 20);
  for (const name of models) {
    const found = await pieces(fs.readFileSync(path.join(MODELS, name), "utf8"));
    for (const word of ["conv", "bn", "relu", "net", "block", "residual", "dense", "maxpool"]) {
      const plain = found.find(([text, scope]) => scope === "source" && new RegExp(`\\b${word}\\b`).test(text));
      assert.equal(plain, undefined, `${name}: ${plain}`);
    }
  }
});
