// The extension with the program itself, where that was built: the server, its lenses, pages and drawings.

const assert = require("node:assert");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const test = require("node:test");
const { createMessageConnection, StreamMessageReader, StreamMessageWriter } = require("vscode-jsonrpc/node");
const { activated, text } = require("./editor.js");

const target = path.join(__dirname, "../../../target");
const built = ["debug", "release"].map((profile) => path.join(target, profile, "svertka"));
const program = [process.env.SVERTKA, ...built].find((file) => file && fs.existsSync(file));

const MODEL = "model small\ninput image: f32[N, 3, 8, 8]\nnet { conv1: conv 3x3, 4, half | relu }\n";

/** As much of the package's client as a test needs: it starts the server as it is told to, and begins the session. */
class LanguageClient {
  constructor(_id, _name, server, options) {
    Object.assign(this, { server, options, said: [] });
  }
  async start() {
    const { command, args } = this.server;
    this.process = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.ended = new Promise((resolve) => this.process.on("exit", resolve));
    this.connection = createMessageConnection(
      new StreamMessageReader(this.process.stdout),
      new StreamMessageWriter(this.process.stdin),
    );
    this.connection.onNotification("textDocument/publishDiagnostics", (said) => this.said.push(said));
    this.connection.listen();
    const { initializationOptions } = this.options;
    const params = { processId: process.pid, rootUri: null, capabilities: {}, initializationOptions };
    this.begun = await this.connection.sendRequest("initialize", params);
    await this.connection.sendNotification("initialized", {});
  }
  async stop() {
    await this.connection.sendRequest("shutdown");
    await this.connection.sendNotification("exit");
    this.code = await this.ended;
    this.connection.dispose();
  }
}

test("the extension works with the program", { skip: !program && "it is not built", timeout: 60000 }, async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "svertka-test-"));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const file = path.join(folder, "small.cnn");
  fs.writeFileSync(file, MODEL);
  const active = text(file);
  const editor = await activated({ program, active, LanguageClient });
  t.after(() => editor.deactivate());
  assert.deepEqual(editor.errors, []);
  const { client } = editor;
  assert.equal(client.begun.serverInfo.name, "svertka");

  // The server says what is wrong, and above the network how large it is.
  const uri = active.uri.toString();
  const opened = { uri, languageId: active.languageId, version: 1, text: MODEL.replace("relu", "rely") };
  await client.connection.sendNotification("textDocument/didOpen", { textDocument: opened });
  const asked = { textDocument: { uri } };
  await client.connection.sendRequest("textDocument/codeLens", asked);
  assert.deepEqual(client.said.at(-1).diagnostics.map(({ code }) => code), ["E0211"]);
  const changed = { textDocument: { uri, version: 2 }, contentChanges: [{ text: MODEL }] };
  await client.connection.sendNotification("textDocument/didChange", changed);
  const lenses = await client.connection.sendRequest("textDocument/codeLens", asked);
  assert.deepEqual(client.said.at(-1).diagnostics, []);
  const lens = lenses.find(({ command }) => command.command === "svertka.show");
  assert.ok(lens, JSON.stringify(lenses));

  // Its lens opens the page of the network.
  await editor.commands.get(lens.command.command)(...lens.command.arguments);
  while (editor.opened.length === 0) {
    assert.deepEqual(editor.errors, []);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.after(() => fs.rmSync(path.dirname(editor.opened[0]), { recursive: true }));
  assert.match(fs.readFileSync(editor.opened[0], "utf8"), /<html[^]*conv1/);

  // The network beside its text; of a text that is wrong, why there is none.
  const preview = editor.commands.get("svertka.preview");
  await preview();
  const [panel] = editor.panels;
  const image = /src="data:image\/svg\+xml;base64,([^"]+)"/.exec(panel.webview.html);
  assert.match(Buffer.from(image[1], "base64").toString(), /<svg[^]*conv1/);
  editor.window.activeTextEditor.document = text(file, opened.text, true);
  await preview();
  assert.equal(editor.panels.length, 1);
  assert.match(panel.webview.html, /<pre>[^]*unknown layer or block `rely`/);

  // Another server takes its place, and ends with the extension.
  await editor.commands.get("svertka.restart")();
  assert.notEqual(editor.client, client);
  assert.equal(client.code, 0);
  await editor.deactivate();
  assert.equal(editor.client.code, 0);
});
