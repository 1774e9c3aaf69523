// What the extension tells the server, and what it calls the program with; the editor is a stand-in.

const assert = require("node:assert");
const fs = require("node:fs");
const Module = require("node:module");
const os = require("node:os");
const path = require("node:path");
const test = require("node:test");

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "svertka-test-"));
test.after(() => fs.rmSync(folder, { recursive: true }));

/** A program that writes down how it is called. */
function program() {
  const file = path.join(folder, "svertka");
  fs.writeFileSync(file, `#!/bin/sh\nprintf '%s\\n' "$@" > "${folder}/called"\n`, { mode: 0o755 });
  return file;
}

/** The extension in an editor that notes what it is asked for. */
async function activated() {
  const noted = { commands: new Map(), options: undefined, opened: [], errors: [] };
  const uri = (fsPath) => ({ scheme: "file", fsPath, path: fsPath, toString: () => `file://${fsPath}` });
  const document = (fsPath) => ({ languageId: "svertka", uri: uri(fsPath), save: async () => true });
  const nothing = () => ({ dispose() {} });
  const vscode = {
    Uri: { file: uri, parse: (text) => uri(text.replace("file://", "")) },
    ViewColumn: { Beside: -2 },
    commands: { registerCommand: (name, call) => noted.commands.set(name, call) },
    env: { openExternal: (page) => noted.opened.push(page.fsPath) },
    window: {
      activeTextEditor: { document: document("/models/active.cnn") },
      showErrorMessage: (text) => noted.errors.push(text),
    },
    workspace: {
      getConfiguration: () => ({ get: () => program() }),
      createFileSystemWatcher: nothing,
      onDidChangeConfiguration: nothing,
      onDidSaveTextDocument: nothing,
      onDidChangeTextDocument: nothing,
      openTextDocument: async ({ fsPath }) => document(fsPath),
    },
  };
  class LanguageClient {
    constructor(_id, _name, server, options) {
      Object.assign(noted, { server, options });
    }
    async start() {}
    async stop() {}
  }
  const modules = { vscode, "vscode-languageclient/node": { LanguageClient, TransportKind: { stdio: 0 } } };
  const load = Module._load;
  Module._load = (name, ...rest) => modules[name] ?? load(name, ...rest);
  try {
    await require("../src/extension.js").activate({ subscriptions: [] });
  } finally {
    Module._load = load;
  }
  return noted;
}

const noted = activated();

/** What the program is called with for a page, which is then opened. */
async function shown(...args) {
  const { commands, opened, errors } = await noted;
  const before = opened.length;
  await commands.get("svertka.show")(...args);
  while (opened.length === before) {
    assert.deepEqual(errors, []);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return { called: fs.readFileSync(path.join(folder, "called"), "utf8").trim().split("\n"), page: opened.at(-1) };
}

test("the server is told of commands that there are", async () => {
  const { commands, options, server } = await noted;
  assert.deepEqual(server.args, ["lsp"]);
  assert.deepEqual(options.initializationOptions, { commands: ["svertka.show"] });
  const declared = require("../package.json").contributes.commands.map(({ command }) => command);
  for (const command of options.initializationOptions.commands) {
    assert.ok(commands.has(command) && declared.includes(command), command);
  }
});

test("a lens shows the network that it stands above", { timeout: 10000 }, async () => {
  for (const [args, network, name] of [
    [["file:///models/resnet.cnn", "resnet18"], "/models/resnet.cnn:resnet18", "resnet18.html"],
    [["file:///models/resnet.cnn", null], "/models/resnet.cnn", "resnet.html"],
    [[], "/models/active.cnn", "active.html"],
  ]) {
    const { called, page } = await shown(...args);
    assert.deepEqual(called, ["show", network, "-o", page]);
    assert.equal(path.basename(page), name);
    fs.rmSync(path.dirname(page), { recursive: true });
  }
});
