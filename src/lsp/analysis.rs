//! What is known of a text: first its tree and names ([`Texts`]), then what building it tells ([`Model`]).

use super::documents::{Open, OpenLoader, path_of, uri_of};
use super::position::Lines;
use super::zoo;
use crate::analysis::figures::{Figures, figures};
use crate::analysis::lint;
use crate::analysis::receptive_field::{ReceptiveFields, receptive_field};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::attempt::Attempt;
use crate::front::text::build::passages::{Passage, Passages};
use crate::front::text::build::{Built, Loader, NoFiles, Options, Program};
use crate::front::text::names::Names;
use crate::front::text::stop::Stop;
use crate::front::text::syntax::Kept;
use crate::front::text::syntax::ast::File;
use crate::io::text::MAX_TEXT_BYTES;
use crate::ir::{Graph, Verified};
use crate::model::FolderLoader;
use crate::source::{FileId, SourceMap, Span};
use gen_lsp_types::Uri;
use std::path::PathBuf;

/// A text with all that it uses: trees, names, and what is wrong with the syntax.
pub struct Texts {
    pub sources: SourceMap,
    pub program: Program,
    pub names: Names,
    pub errors: Vec<Diagnostic>,
    /// By the order of the files.
    files: Vec<(FileId, Uri, Lines)>,
}

impl Texts {
    /// Reads the text of `uri`, and from the disk or the editor what it uses, except for what is in `kept`.
    pub fn read(uri: &Uri, text: &str, open: Open, stop: &Stop, kept: &mut Kept) -> Texts {
        let path = path_of(uri);
        let name = path.as_ref().map_or_else(|| uri.to_string(), |path| path.to_string_lossy().replace('\\', "/"));
        let mut sources = SourceMap::default();
        let root = sources.add(name, text);
        let options = Options { stop: stop.clone(), ..Options::default() };
        let mut loader: Box<dyn Loader> = match &path {
            Some(path) => {
                let folder = path.parent().unwrap_or(path).to_owned();
                Box::new(OpenLoader { open: open.clone(), folder, disk: FolderLoader::new(path) })
            }
            None => Box::new(NoFiles),
        };
        let loaded = match text.len() as u64 > MAX_TEXT_BYTES {
            true => too_large(root),
            false => Program::load(&mut sources, root, &options, loader.as_mut(), kept),
        };
        let files = sources.ids().map(|id| {
            let file = sources.file(id);
            if let Some(name) = sources.of_zoo(id) {
                return (id, zoo::uri(name), Lines::of(&file.text));
            }
            let path = PathBuf::from(&file.name);
            let known = || open.get(&path).map(|(uri, _)| uri.clone());
            let uri = if id == root { uri.clone() } else { known().unwrap_or_else(|| uri_of(&path)) };
            (id, uri, Lines::of(&file.text))
        });
        let files = files.collect();
        Texts { names: Names::of(&loaded.made), program: loaded.made, errors: loaded.errors, sources, files }
    }

    /// That of the document itself.
    pub fn root(&self) -> FileId {
        self.files[0].0
    }

    pub fn files(&self) -> impl Iterator<Item = (FileId, &Uri)> {
        self.files.iter().map(|(id, uri, _)| (*id, uri))
    }

    pub fn find(&self, uri: &Uri) -> Option<FileId> {
        let path = path_of(uri);
        let same = |known: &Uri| known == uri || path.is_some() && path_of(known) == path;
        self.files().find(|(_, known)| same(known)).map(|(id, _)| id)
    }

    pub fn uri(&self, file: FileId) -> &Uri {
        &self.entry(file).1
    }

    pub fn lines(&self, file: FileId) -> &Lines {
        &self.entry(file).2
    }

    fn entry(&self, file: FileId) -> &(FileId, Uri, Lines) {
        self.files.iter().find(|(id, ..)| *id == file).expect("all files of the sources are entered")
    }

    /// The tree of a file; `None` where it is too large to be read.
    pub fn tree(&self, file: FileId) -> Option<&File> {
        self.program.files.iter().find(|tree| tree.span.file == file).map(|tree| &**tree)
    }

    /// Whether the document has blocks and constants for others, and no network of its own.
    pub fn is_library(&self) -> bool {
        let program = &self.program;
        let shared = !program.blocks.is_empty() || !program.consts.is_empty();
        shared && program.model.is_none() && program.inputs.is_empty() && program.net.is_none()
    }
}

fn too_large(root: FileId) -> Attempt<Program> {
    let message = format!("this text has more than {MAX_TEXT_BYTES} bytes");
    let error = Diagnostic::error("E0501", message).at(Span::new(root, 0..0), "it is not read");
    Attempt { made: Program::default(), errors: vec![error] }
}

/// A network of the text in two figures.
pub struct Totals {
    /// `None` for that of the model's defaults.
    pub variant: Option<String>,
    pub parameters: u64,
    pub macs: u64,
}

/// The network whose shapes are shown: that of the defaults, or of the first variant where there is none.
pub struct Shown {
    pub graph: Verified<Graph>,
    pub passages: Passages,
    pub figures: Figures,
    pub fields: ReceptiveFields,
}

/// What building a text tells.
#[derive(Default)]
pub struct Model {
    pub diagnostics: Vec<Diagnostic>,
    /// Of those without mistakes.
    pub totals: Vec<Totals>,
    pub shown: Option<Shown>,
}

impl Model {
    /// Builds all variants, as far as they can be built until `stop` is due.
    pub fn build(texts: &Texts, stop: Stop) -> Model {
        let mut model = Model::default();
        let mut sources = texts.sources.clone();
        let options = Options { stop: stop.clone(), ..Options::default() };
        let found = lint::check_variants(&mut sources, &texts.program, &options, &[], &mut |variant, built, fields| {
            model.see(variant, built, fields, &stop);
        });
        model.diagnostics = match texts.errors.is_empty() {
            true => found,
            // What follows from them is not the author's mistake; that it was not looked at to the end is to be known.
            false => {
                let given_up = found.into_iter().filter(|found| found.code == NOT_TO_ITS_END);
                texts.errors.iter().cloned().chain(given_up).collect()
            }
        };
        if texts.is_library() {
            model.diagnostics.retain(|diagnostic| diagnostic.code != MISSING_ITEM);
        }
        model
    }

    fn see(&mut self, variant: Option<&str>, built: Built, fields: Option<ReceptiveFields>, stop: &Stop) {
        let Built { graph: Some(graph), passages, whole } = built else { return };
        if stop.is_called() {
            return;
        }
        let figures = figures(&graph);
        if whole {
            let (variant, parameters, macs) = (variant.map(String::from), figures.parameters, figures.macs());
            self.totals.push(Totals { variant, parameters, macs });
        }
        if self.shown.is_none() {
            let fields = fields.unwrap_or_else(|| receptive_field(&graph));
            self.shown = Some(Shown { graph, passages, figures, fields });
        }
    }

    /// What the step at a place did, with the network in which it did.
    pub fn passage(&self, step: Span) -> Option<(&Shown, &Passage)> {
        let shown = self.shown.as_ref()?;
        Some((shown, shown.passages.of(step)?))
    }
}

/// Given up when the time was over.
const NOT_TO_ITS_END: &str = "E0510";
/// That of an item that every model needs.
const MISSING_ITEM: &str = "E0320";
