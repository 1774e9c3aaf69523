// Starts the server, and shows the drawing of a network beside its text.

const { execFile } = require("node:child_process");
const { mkdtemp } = require("node:fs/promises");
const { tmpdir } = require("node:os");
const path = require("node:path");
const vscode = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;
/** By document, the panel that shows its network. */
const previews = new Map();

function program() {
  return vscode.workspace.getConfiguration("svertka").get("path") || "svertka";
}

async function start() {
  const command = program();
  client = new LanguageClient(
    "svertka",
    "svertka",
    { command, args: ["lsp"], transport: TransportKind.stdio },
    {
      documentSelector: [
        { language: "svertka", scheme: "file" },
        { language: "svertka", scheme: "untitled" },
      ],
      // What the server's lenses may call.
      initializationOptions: { commands: ["svertka.show"] },
      synchronize: { fileEvents: vscode.workspace.createFileSystemWatcher("**/*.cnn") },
    },
  );
  try {
    await client.start();
  } catch (error) {
    const choice = await vscode.window.showErrorMessage(
      `svertka: ${command} lsp cannot be started (${error.message ?? error}). Where is it?`,
      "Set the path",
    );
    if (choice) {
      await vscode.commands.executeCommand("workbench.action.openSettings", "svertka.path");
    }
  }
}

async function stop() {
  await client?.stop().catch(() => {});
  client = undefined;
}

/** The text of a document as a drawing: an SVG, or why there is none. */
function draw(document) {
  const folder = document.uri.scheme === "file" ? path.dirname(document.uri.fsPath) : undefined;
  // Files that the text uses are found beside the saved one.
  const saved = folder && !document.isDirty;
  const args = ["graph", saved ? document.uri.fsPath : "-", "--stage", "source", "--format", "svg"];
  const options = { cwd: folder, timeout: 20000, maxBuffer: 64 << 20 };
  return new Promise((resolve) => {
    const child = execFile(program(), args, options, (error, svg, messages) => {
      resolve(error ? { messages: messages || String(error) } : { svg });
    });
    // What ends early does not read to the end.
    child.stdin.on("error", () => {});
    child.stdin.end(saved ? "" : document.getText());
  });
}

const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

/** A page that runs and loads nothing. */
function page({ svg, messages }) {
  const image = svg && `<img alt="The network" src="data:image/svg+xml;base64,${Buffer.from(svg).toString("base64")}">`;
  return `<!DOCTYPE html><html><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>body { background: white; color: black } img { max-width: 100% } pre { white-space: pre-wrap }</style>
</head><body>${image ?? `<pre>${escaped(messages)}</pre>`}</body></html>`;
}

async function refresh(document) {
  const panel = previews.get(document.uri.toString());
  if (!panel) {
    return;
  }
  const drawing = await draw(document);
  if (previews.get(document.uri.toString()) === panel) {
    panel.webview.html = page(drawing);
  }
}

async function preview() {
  const document = vscode.window.activeTextEditor?.document;
  if (document?.languageId !== "svertka") {
    return;
  }
  const key = document.uri.toString();
  if (!previews.has(key)) {
    const title = `${path.basename(document.uri.path)}: network`;
    const where = { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true };
    const panel = vscode.window.createWebviewPanel("svertka.preview", title, where, { enableScripts: false });
    panel.onDidDispose(() => previews.delete(key));
    previews.set(key, panel);
  }
  previews.get(key).reveal(vscode.ViewColumn.Beside, true);
  await refresh(document);
}

/** Writes the page of a saved text, by default the one that is edited, and opens it in the browser. */
async function show(uri, variant) {
  const document = uri
    ? await vscode.workspace.openTextDocument(vscode.Uri.parse(uri))
    : vscode.window.activeTextEditor?.document;
  if (document?.languageId !== "svertka" || document.uri.scheme !== "file" || !(await document.save())) {
    return;
  }
  const name = variant ?? path.basename(document.uri.fsPath, ".cnn");
  const page = path.join(await mkdtemp(path.join(tmpdir(), "svertka-")), `${name}.html`);
  const network = variant ? `${document.uri.fsPath}:${variant}` : document.uri.fsPath;
  execFile(program(), ["show", network, "-o", page], { timeout: 60000 }, (error, _, messages) => {
    if (error) {
      vscode.window.showErrorMessage(`svertka show: ${messages || error}`);
    } else {
      vscode.env.openExternal(vscode.Uri.file(page));
    }
  });
}

exports.activate = async (context) => {
  let typing;
  context.subscriptions.push(
    vscode.commands.registerCommand("svertka.preview", preview),
    vscode.commands.registerCommand("svertka.show", show),
    vscode.commands.registerCommand("svertka.restart", async () => {
      await stop();
      await start();
    }),
    vscode.workspace.onDidChangeConfiguration(async (event) => {
      if (event.affectsConfiguration("svertka.path")) {
        await stop();
        await start();
      }
    }),
    vscode.workspace.onDidSaveTextDocument(refresh),
    vscode.workspace.onDidChangeTextDocument(({ document }) => {
      clearTimeout(typing);
      typing = setTimeout(() => refresh(document), 400);
    }),
  );
  await start();
};

exports.deactivate = stop;
