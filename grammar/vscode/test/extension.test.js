// What the extension tells the server, and what it calls the program with; the editor is a stand-in.

const assert = require("node:assert");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const test = require("node:test");
const { activated, text } = require("./editor.js");

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "svertka-test-"));
test.after(() => fs.rmSync(folder, { recursive: true }));

/** A program that writes down how it is called. */
function program() {
  const file = path.join(folder, "svertka");
  fs.writeFileSync(file, `#!/bin/sh\nprintf '%s\\n' "$@" > "${folder}/called"\n`, { mode: 0o755 });
  return file;
}

class LanguageClient {
  constructor(_id, _name, server, options) {
    Object.assign(this, { server, options });
  }
  async start() {}
  async stop() {}
}

const noted = activated({ program: program(), active: text("/models/active.cnn"), LanguageClient });

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
  const { commands, client } = await noted;
  const { options, server } = client;
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
