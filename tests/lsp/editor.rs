//! An editor without a window: it talks to a server in the same process.

use gen_lsp_types as lsp;
use gen_lsp_types::{Notification as _, Request as _};
use lsp_server::{Connection, Message, Notification, Request, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(120);
const STACK: usize = 64 << 20;

pub struct Editor {
    connection: Option<Connection>,
    server: Option<JoinHandle<()>>,
    asked: i32,
    version: i32,
    /// By text, what was last said of it.
    pub diagnostics: BTreeMap<String, Vec<lsp::Diagnostic>>,
    pub capabilities: Value,
}

impl Editor {
    pub fn start() -> Editor {
        Editor::with(json!({ "capabilities": {} }))
    }

    /// One that says this of itself.
    pub fn with(said: Value) -> Editor {
        let (server, connection) = Connection::memory();
        let serve = move || svertka::lsp::serve(&server).expect("the editor keeps to the protocol");
        let server = std::thread::Builder::new().stack_size(STACK).spawn(serve).expect("a thread");
        let mut editor = Editor {
            connection: Some(connection),
            server: Some(server),
            asked: 0,
            version: 0,
            diagnostics: BTreeMap::new(),
            capabilities: Value::Null,
        };
        let answer = editor.ask("initialize", said).expect("an answer");
        editor.capabilities = answer["capabilities"].clone();
        editor.tell(lsp::InitializedNotification::METHOD, json!({}));
        editor
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("it is open until it is dropped")
    }

    pub fn tell(&self, method: lsp::LspNotificationMethod, params: impl serde::Serialize) {
        let message = Notification::new(String::from(method), params);
        self.connection().sender.send(message.into()).expect("the server listens");
    }

    pub fn open(&mut self, uri: &str, text: &str) {
        let document = json!({ "uri": uri, "languageId": "svertka", "version": self.version, "text": text });
        self.tell(lsp::DidOpenTextDocumentNotification::METHOD, json!({ "textDocument": document }));
    }

    /// Puts `new` in place of a range.
    pub fn change(&mut self, uri: &str, range: Value, new: &str) {
        self.version += 1;
        let document = json!({ "uri": uri, "version": self.version });
        let changes = json!([{ "range": range, "text": new }]);
        let params = json!({ "textDocument": document, "contentChanges": changes });
        self.tell(lsp::DidChangeTextDocumentNotification::METHOD, params);
    }

    pub fn replace(&mut self, uri: &str, text: &str) {
        self.version += 1;
        let document = json!({ "uri": uri, "version": self.version });
        let params = json!({ "textDocument": document, "contentChanges": [{ "text": text }] });
        self.tell(lsp::DidChangeTextDocumentNotification::METHOD, params);
    }

    pub fn close(&mut self, uri: &str) {
        self.tell(lsp::DidCloseTextDocumentNotification::METHOD, json!({ "textDocument": { "uri": uri } }));
    }

    /// Sends a request without waiting for its answer.
    pub fn send(&mut self, method: &str, params: Value) -> i32 {
        self.asked += 1;
        let request = Request::new(self.asked.into(), method.into(), params);
        self.connection().sender.send(request.into()).expect("the server listens");
        self.asked
    }

    /// The answer to a request, or why there is none.
    pub fn answer(&mut self, id: i32) -> Result<Value, String> {
        loop {
            let message = self.connection().receiver.recv_timeout(PATIENCE).expect("an answer");
            match message {
                Message::Response(Response { id: of, response_result }) if of == id.into() => {
                    return response_result.map_err(|error| error.message);
                }
                Message::Response(_) => {}
                Message::Notification(notification) => self.hear(notification),
                Message::Request(request) => {
                    let answer = Response::new_ok(request.id, ());
                    self.connection().sender.send(answer.into()).expect("the server listens");
                }
            }
        }
    }

    fn hear(&mut self, notification: Notification) {
        if notification.method == String::from(lsp::PublishDiagnosticsNotification::METHOD) {
            let said: lsp::PublishDiagnosticsParams = serde_json::from_value(notification.params).expect("diagnostics");
            self.diagnostics.insert(said.uri.to_string(), said.diagnostics);
        }
    }

    pub fn ask(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let id = self.send(method, params);
        self.answer(id)
    }

    pub fn request<R: lsp::Request>(&mut self, params: Value) -> R::Result {
        let answer =
            self.ask(&R::METHOD.to_string(), params).unwrap_or_else(|refusal| panic!("{}: {refusal}", R::METHOD));
        serde_json::from_value(answer).expect("what the protocol says")
    }

    /// What is said of a text, once it was built.
    pub fn found(&mut self, uri: &str) -> Vec<lsp::Diagnostic> {
        // Answered only then.
        let _ = self.request::<lsp::CodeLensRequest>(json!({ "textDocument": { "uri": uri } }));
        self.diagnostics.get(uri).cloned().unwrap_or_default()
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.ask(&lsp::ShutdownRequest::METHOD.to_string(), Value::Null).expect("an answer");
        self.tell(lsp::ExitNotification::METHOD, json!({}));
        self.connection = None;
        self.server.take().expect("it was started").join().expect("the server ends");
    }
}
