// A stand-in for the editor: it has what the extension asks for, and notes it.

const Module = require("node:module");

const uri = (fsPath) => ({ scheme: "file", fsPath, path: fsPath, toString: () => `file://${fsPath}` });

/** A document, as it was saved or as it is given. */
const text = (fsPath, content = "", isDirty = false) => ({
  languageId: "svertka",
  uri: uri(fsPath),
  isDirty,
  getText: () => content,
  save: async () => true,
});

/** The extension, in an editor in which `active` is edited; `LanguageClient` stands for the package's. */
async function activated({ program, active, LanguageClient }) {
  const noted = { commands: new Map(), client: undefined, opened: [], errors: [], panels: [], window: undefined };
  const nothing = () => ({ dispose() {} });
  class Client extends LanguageClient {
    constructor(...given) {
      super(...given);
      noted.client = this;
    }
  }
  noted.window = {
    activeTextEditor: { document: active },
    showErrorMessage: async (message) => noted.errors.push(message) && undefined,
    createWebviewPanel: (_type, title) => {
      const panel = { title, webview: { html: "" }, reveal() {}, onDidDispose: nothing };
      noted.panels.push(panel);
      return panel;
    },
  };
  const vscode = {
    Uri: { file: uri, parse: (text) => uri(text.replace("file://", "")) },
    ViewColumn: { Beside: -2 },
    commands: { registerCommand: (name, call) => noted.commands.set(name, call) },
    env: { openExternal: (page) => noted.opened.push(page.fsPath) },
    window: noted.window,
    workspace: {
      getConfiguration: () => ({ get: () => program }),
      createFileSystemWatcher: nothing,
      onDidChangeConfiguration: nothing,
      onDidSaveTextDocument: nothing,
      onDidChangeTextDocument: nothing,
      openTextDocument: async ({ fsPath }) => text(fsPath),
    },
  };
  const modules = { vscode, "vscode-languageclient/node": { LanguageClient: Client, TransportKind: { stdio: 0 } } };
  const load = Module._load;
  Module._load = (name, ...rest) => modules[name] ?? load(name, ...rest);
  try {
    const extension = require("../src/extension.js");
    await extension.activate({ subscriptions: [] });
    noted.deactivate = extension.deactivate;
  } finally {
    Module._load = load;
  }
  return noted;
}

module.exports = { activated, text };
