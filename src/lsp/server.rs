//! The loop: what the editor says, what the worker has found, and which request is answered by whom.

use super::analysis::{Model, Texts};
use super::documents::{Open, changed, path_of};
use super::position::Encoding;
use super::requests::{self, Answer, Around, Workspace};
use super::view::View;
use super::worker::{Found, Job, Layout, Order, Report, Workers};
use crate::front::text::stop::Stop;
use crossbeam_channel::select;
use gen_lsp_types as lsp;
use gen_lsp_types::{Notification as _, Request as _};
use lsp_server::{Connection, ErrorCode, Message, Notification, Request, RequestId, Response};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub use requests::capabilities;

/// An open text, and what is known of it.
struct Document {
    version: i32,
    text: Arc<str>,
    /// Of all texts, when it was last looked at.
    state: u64,
    stop: Stop,
    texts: Option<Arc<Texts>>,
    model: Option<Arc<Model>>,
    layout: Option<Layout>,
    /// Where it has been asked for: called when the text has changed.
    ordered: Option<Stop>,
    /// There will be nothing more.
    given_up: bool,
    /// What was last said of each file when this one was built.
    said: HashMap<lsp::Uri, Vec<lsp::Diagnostic>>,
}

impl Document {
    fn forget_layout(&mut self) {
        self.layout = None;
        self.ordered.take().iter().for_each(Stop::call);
    }
}

struct Server<'a> {
    connection: &'a Connection,
    workers: Workers,
    encoding: Encoding,
    workspace: Workspace,
    /// What may be asked for anew when another text has changed.
    refreshes: Vec<lsp::LspRequestMethod<'static>>,
    documents: BTreeMap<String, Document>,
    state: u64,
    /// Requests that wait for what they need.
    pending: Vec<Request>,
    published: HashMap<lsp::Uri, Vec<lsp::Diagnostic>>,
    asked: i32,
}

/// Serves one editor, until it says to exit or goes away.
///
/// # Errors
/// Where the editor does not keep to the protocol, and if the system gives no thread.
pub fn serve(connection: &Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (id, params) = connection.initialize_start()?;
    let encodings = params.pointer("/capabilities/general/positionEncodings");
    let encodings =
        encodings.and_then(|known| serde_json::from_value::<Vec<lsp::PositionEncodingKind>>(known.clone()).ok());
    let encoding = Encoding::negotiate(encodings.as_deref());
    let info = serde_json::json!({ "name": "svertka", "version": env!("CARGO_PKG_VERSION") });
    let answer = serde_json::json!({ "capabilities": capabilities(encoding), "serverInfo": info });
    connection.initialize_finish(id, answer)?;
    let mut server = Server {
        connection,
        workers: Workers::start()?,
        encoding,
        workspace: Workspace::of(&params),
        refreshes: refreshes(&params),
        documents: BTreeMap::new(),
        state: 0,
        pending: Vec::new(),
        published: HashMap::new(),
        asked: 0,
    };
    server.run()
}

/// What the editor lets a server ask for: that hints and lenses are asked for again.
fn refreshes(params: &Value) -> Vec<lsp::LspRequestMethod<'static>> {
    let known = [
        ("inlayHint", lsp::InlayHintRefreshRequest::METHOD),
        ("codeLens", lsp::CodeLensRefreshRequest::METHOD),
        ("semanticTokens", lsp::SemanticTokensRefreshRequest::METHOD),
    ];
    let can = |name: &str| {
        params.pointer(&format!("/capabilities/workspace/{name}/refreshSupport")) == Some(&Value::Bool(true))
    };
    known.into_iter().filter(|(name, _)| can(name)).map(|(_, method)| method).collect()
}

impl Server<'_> {
    fn run(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (messages, reports) = (self.connection.receiver.clone(), self.workers.reports.clone());
        loop {
            select! {
                recv(messages) -> message => match message {
                    Ok(Message::Request(request)) if self.connection.handle_shutdown(&request)? => return Ok(()),
                    Ok(Message::Request(request)) => self.request(request),
                    Ok(Message::Notification(notification)) if notification.method == EXIT => return Ok(()),
                    Ok(Message::Notification(notification)) => self.notification(notification),
                    Ok(Message::Response(_)) => {}
                    Err(_) => return Ok(()),
                },
                recv(reports) -> report => match report {
                    Ok(report) => self.report(report),
                    Err(_) => return Err("the thread that builds models has ended".into()),
                },
            }
        }
    }

    fn send(&self, message: impl Into<Message>) {
        // Where nobody listens any more, the next message that is to be received says so.
        let _ = self.connection.sender.send(message.into());
    }

    fn request(&mut self, request: Request) {
        match self.answer(&request) {
            Some(response) => self.send(response),
            None => {
                self.order(&request);
                self.pending.push(request);
            }
        }
    }

    /// Has made what a request needs, and nobody does without one.
    fn order(&mut self, request: &Request) {
        let known = lsp::LspRequestMethod::from(request.method.as_str()) == lsp::DocumentFormattingRequest::METHOD;
        let Some(uri) = uri_in(request).filter(|_| known) else { return };
        let Some(document) = self.documents.get_mut(uri) else { return };
        if document.ordered.is_some() {
            return;
        }
        let stop = document.ordered.insert(Stop::default()).clone();
        let (uri, text) = (lsp::Uri(uri.into()), document.text.clone());
        self.workers.layouts.submit(Order { uri, text, encoding: self.encoding, stop });
    }

    fn notification(&mut self, notification: Notification) {
        let Notification { method, params } = notification;
        let method = lsp::LspNotificationMethod::from(method.as_str());
        let parsed = match method {
            lsp::DidOpenTextDocumentNotification::METHOD => {
                serde_json::from_value(params).map(|params| self.open(params))
            }
            lsp::DidChangeTextDocumentNotification::METHOD => {
                serde_json::from_value(params).map(|params| self.change(params))
            }
            lsp::DidCloseTextDocumentNotification::METHOD => {
                serde_json::from_value(params).map(|params| self.close(&params))
            }
            lsp::DidChangeWatchedFilesNotification::METHOD => {
                self.look(None);
                Ok(())
            }
            lsp::CancelNotification::METHOD => {
                serde_json::from_value(params).map(|params: Cancelled| self.cancel(&params.id))
            }
            _ => Ok(()),
        };
        if let Err(error) = parsed {
            self.log(&format!("{method:?}: {error}"));
        }
    }

    fn log(&self, message: &str) {
        let params = serde_json::json!({ "type": 2, "message": message });
        self.send(Notification::new(String::from(lsp::LogMessageNotification::METHOD), params));
    }

    fn cancel(&mut self, id: &RequestId) {
        let cancelled = self.pending.extract_if(.., |request| request.id == *id).collect::<Vec<_>>();
        for request in cancelled {
            self.send(Response::new_err(request.id, ErrorCode::RequestCanceled as i32, "cancelled".into()));
        }
    }
}

const EXIT: &str = "exit";
/// What is said of an answer that there is none of.
pub const DEFECT: &str = "a defect of svertka's own";

/// The protocol's own type borrows.
#[derive(serde::Deserialize)]
struct Cancelled {
    id: RequestId,
}

// Texts.
impl Server<'_> {
    fn open(&mut self, params: lsp::DidOpenTextDocumentParams) {
        let lsp::TextDocumentItem { uri, version, text, .. } = params.text_document;
        self.put(&uri, version, text);
    }

    fn change(&mut self, params: lsp::DidChangeTextDocumentParams) {
        let uri = params.text_document.text_document_identifier.uri;
        let Some(document) = self.documents.get(uri.as_ref()) else { return };
        let mut text = document.text.to_string();
        for change in params.content_changes {
            text = changed(&text, change, self.encoding);
        }
        self.put(&uri, params.text_document.version, text);
    }

    fn put(&mut self, uri: &lsp::Uri, version: i32, text: String) {
        let document = self.documents.entry(uri.to_string()).or_insert_with(|| Document {
            version,
            text: "".into(),
            state: 0,
            stop: Stop::default(),
            texts: None,
            model: None,
            layout: None,
            ordered: None,
            given_up: false,
            said: HashMap::new(),
        });
        (document.version, document.text) = (version, text.into());
        document.forget_layout();
        self.refuse_outdated(uri);
        self.look(Some(uri));
    }

    fn close(&mut self, params: &lsp::DidCloseTextDocumentParams) {
        let uri = &params.text_document.uri;
        if let Some(mut document) = self.documents.remove(uri.as_ref()) {
            document.stop.call();
            document.forget_layout();
        }
        self.refuse_outdated(uri);
        self.publish();
        self.look(None);
    }

    /// Refuses what was asked of a text that is no more: places in it are other places now.
    fn refuse_outdated(&mut self, uri: &lsp::Uri) {
        let outdated = self.pending.extract_if(.., |request| uri_in(request) == Some(uri.as_ref())).collect::<Vec<_>>();
        for request in outdated {
            self.send(Response::new_err(request.id, ErrorCode::ContentModified as i32, "the text has changed".into()));
        }
    }

    /// Has all texts looked at, the one that has changed first: each may use it.
    fn look(&mut self, first: Option<&lsp::Uri>) {
        self.state += 1;
        let open = self.open_texts();
        let first = first.map(AsRef::<str>::as_ref);
        let (mut jobs, mut gone) = (Vec::new(), Vec::new());
        for (uri, document) in &mut self.documents {
            document.stop.call();
            document.stop = Stop::default();
            gone.push((document.texts.take(), document.model.take()));
            document.given_up = false;
            document.state = self.state;
            let (text, stop) = (document.text.clone(), document.stop.clone());
            jobs.push(Job { uri: lsp::Uri(uri.clone()), state: self.state, text, open: open.clone(), stop });
        }
        jobs.sort_by_key(|job| Some(job.uri.as_ref()) != first);
        jobs.into_iter().for_each(|job| self.workers.models.submit(job));
        // Large trees go while the worker makes others.
        drop(gone);
    }

    fn report(&mut self, report: Report) {
        let Some(document) = self.documents.get_mut(report.uri.as_ref()) else { return };
        match report.found {
            Found::Layout(text, layout) if Arc::ptr_eq(&text, &document.text) => document.layout = Some(layout),
            Found::Texts(state, texts) if state == document.state => document.texts = Some(texts),
            Found::Model(state, model) if state == document.state => {
                if let Some(texts) = &document.texts {
                    document.said = requests::diagnostics::by_file(texts, &model, self.encoding);
                }
                document.model = Some(model);
                self.publish();
                self.refresh();
            }
            Found::Nothing(state) if state == document.state => document.given_up = true,
            _ => return,
        }
        let waiting = std::mem::take(&mut self.pending);
        waiting.into_iter().for_each(|request| self.request(request));
    }

    /// Tells the editor what is wrong where that has changed.
    fn publish(&mut self) {
        let mut now: HashMap<lsp::Uri, Vec<lsp::Diagnostic>> = HashMap::new();
        for (uri, found) in self.documents.values().flat_map(|document| &document.said) {
            let known = now.entry(uri.clone()).or_default();
            let new = found.iter().filter(|found| !known.contains(found)).cloned().collect::<Vec<_>>();
            known.extend(new);
        }
        let gone = self.published.keys().filter(|uri| !now.contains_key(uri)).map(|uri| (uri.clone(), Vec::new()));
        let gone = gone.collect::<Vec<_>>();
        for (uri, diagnostics) in now.iter().map(|(uri, found)| (uri.clone(), found.clone())).chain(gone) {
            if self.published.get(&uri) == Some(&diagnostics) {
                continue;
            }
            let version = self.documents.get(uri.as_ref()).map(|document| document.version);
            let params = lsp::PublishDiagnosticsParams { uri, version, diagnostics };
            self.send(Notification::new(String::from(lsp::PublishDiagnosticsNotification::METHOD), params));
        }
        now.retain(|_, found| !found.is_empty());
        self.published = now;
    }

    /// Has the editor ask again, once all texts are built: what it was told may rest on another text that has changed.
    fn refresh(&mut self) {
        if self.documents.len() < 2 || self.documents.values().any(|document| document.model.is_none()) {
            return;
        }
        for method in self.refreshes.clone() {
            self.asked += 1;
            self.send(Request::new(self.asked.into(), String::from(method), Value::Null));
        }
    }
}

fn uri_in(request: &Request) -> Option<&str> {
    request.params.pointer("/textDocument/uri")?.as_str()
}

// Requests.
impl Server<'_> {
    /// `None` if what it needs is not known yet.
    #[rustfmt::skip]
    fn answer(&self, request: &Request) -> Option<Response> {
        use requests::*;
        match lsp::LspRequestMethod::from(request.method.as_str()) {
            lsp::DocumentFormattingRequest::METHOD => self.layout(request),
            lsp::DocumentSymbolRequest::METHOD => self.text::<lsp::DocumentSymbolRequest>(request, symbols::answer),
            lsp::FoldingRangeRequest::METHOD => self.text::<lsp::FoldingRangeRequest>(request, folding::answer),
            lsp::SemanticTokensRequest::METHOD => self.text::<lsp::SemanticTokensRequest>(request, semantic_tokens::answer),
            lsp::SignatureHelpRequest::METHOD => self.text::<lsp::SignatureHelpRequest>(request, signature_help::answer),
            lsp::CompletionRequest::METHOD => {
                self.text::<lsp::CompletionRequest>(request, |view, params| completion::answer(view, &self.workspace, params))
            }
            lsp::DocumentHighlightRequest::METHOD => {
                self.text::<lsp::DocumentHighlightRequest>(request, references::highlights)
            }
            lsp::ReferencesRequest::METHOD => {
                self.text::<lsp::ReferencesRequest>(request, |view, params| references::answer(view, &self.around(), params))
            }
            lsp::PrepareRenameRequest::METHOD => self.text::<lsp::PrepareRenameRequest>(request, rename::prepare),
            lsp::RenameRequest::METHOD => {
                self.text::<lsp::RenameRequest>(request, |view, params| rename::answer(view, &self.around(), params))
            }
            lsp::DefinitionRequest::METHOD => self.model::<lsp::DefinitionRequest>(request, definition::answer),
            lsp::HoverRequest::METHOD => self.model::<lsp::HoverRequest>(request, hover::answer),
            lsp::InlayHintRequest::METHOD => self.model::<lsp::InlayHintRequest>(request, inlay_hints::answer),
            lsp::CodeLensRequest::METHOD => {
                self.model::<lsp::CodeLensRequest>(request, |view, model, _| code_lens::answer(view, &self.workspace, model))
            }
            lsp::CodeActionRequest::METHOD => self.model::<lsp::CodeActionRequest>(request, code_actions::answer),
            _ => {
                let message = format!("`{}` is not answered here", request.method);
                Some(Response::new_err(request.id.clone(), ErrorCode::MethodNotFound as i32, message))
            }
        }
    }

    /// Answers what is asked of a text alone.
    fn text<R: lsp::Request>(
        &self,
        request: &Request,
        answer: impl FnOnce(&View, R::Params) -> Answer<R::Result>,
    ) -> Option<Response> {
        let document = match self.document(request) {
            Ok(document) => document,
            Err(response) => return Some(response),
        };
        let texts = document.texts.as_deref()?;
        let view = View { texts, file: texts.root(), encoding: self.encoding };
        Some(respond::<R>(request, |params| answer(&view, params)))
    }

    /// Answers with the standard layout.
    fn layout(&self, request: &Request) -> Option<Response> {
        match self.document(request) {
            Ok(document) => {
                let made = document.layout.clone()?;
                Some(respond::<lsp::DocumentFormattingRequest>(request, |_| made))
            }
            Err(response) => Some(response),
        }
    }

    /// Answers what is asked of the network that a text makes; for a file of blocks, that of a model which uses it.
    fn model<R: lsp::Request>(
        &self,
        request: &Request,
        answer: impl FnOnce(&View, &Model, R::Params) -> Answer<R::Result>,
    ) -> Option<Response> {
        let document = match self.document(request) {
            Ok(document) => document,
            Err(response) => return Some(response),
        };
        let (mut texts, mut model) = (document.texts.as_deref()?, document.model.as_deref()?);
        let mut file = texts.root();
        if texts.is_library() {
            let uri = texts.uri(file).clone();
            for other in self.documents.values().filter(|other| !other.given_up) {
                let (user, built) = (other.texts.as_deref()?, other.model.as_deref()?);
                if let (Some(found), true) = (user.find(&uri), built.shown.is_some()) {
                    (texts, model, file) = (user, built, found);
                    break;
                }
            }
        }
        let view = View { texts, file, encoding: self.encoding };
        Some(respond::<R>(request, |params| answer(&view, model, params)))
    }

    fn document(&self, request: &Request) -> Result<&Document, Response> {
        let fail = |code: ErrorCode, why: &str| Err(Response::new_err(request.id.clone(), code as i32, why.into()));
        match uri_in(request).and_then(|uri| self.documents.get(uri)) {
            Some(document) if document.given_up => fail(ErrorCode::InternalError, "this text is beyond the server"),
            Some(document) => Ok(document),
            None => fail(ErrorCode::InvalidParams, "this text is not open"),
        }
    }

    fn around(&self) -> Around<'_> {
        Around { workspace: &self.workspace, open: self.open_texts() }
    }

    fn open_texts(&self) -> Open {
        let texts = self.documents.iter().filter_map(|(uri, document)| {
            let uri = lsp::Uri(uri.clone());
            Some((path_of(&uri)?, (uri, document.text.clone())))
        });
        Arc::new(texts.collect())
    }
}

fn respond<R: lsp::Request>(request: &Request, answer: impl FnOnce(R::Params) -> Answer<R::Result>) -> Response {
    let fail = |code: ErrorCode, message: String| Response::new_err(request.id.clone(), code as i32, message);
    let params = match serde_json::from_value(request.params.clone()) {
        Ok(params) => params,
        Err(error) => return fail(ErrorCode::InvalidParams, error.to_string()),
    };
    match catch_unwind(AssertUnwindSafe(|| answer(params))) {
        Ok(Ok(result)) => Response::new_ok(request.id.clone(), result),
        Ok(Err(refusal)) => fail(ErrorCode::RequestFailed, refusal),
        Err(_) => fail(ErrorCode::InternalError, DEFECT.into()),
    }
}
