//! Loading a model: its text, the files that it uses, its card.

use super::args::ModelArgs;
use super::arguments::file_and_variant;
use super::terminal::{self, tell};
use super::{Failure, Outcome};
use crate::diagnostic::{Diagnostic, nearest, render};
use crate::front::onnx::{self, weights::Weights};
use crate::front::text::build::{self, Limits, Loader, Options, Program};
use crate::io::card::Card;
use crate::io::{self, text};
use crate::ir::{Graph, Sizes, Verified};
use crate::runtime;
use crate::source::{FileId, SourceMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A model that was built.
pub struct Model {
    pub path: PathBuf,
    pub graph: Verified<Graph>,
    pub sources: SourceMap,
    pub card: Option<Card>,
    /// Those that the model's own file holds.
    pub weights: Option<Weights>,
    program: Program,
    options: Options,
    /// From reading the text to the checked graph.
    pub time: Duration,
}

/// Builds the model that the arguments name.
pub fn load(args: &ModelArgs) -> Result<Model, Failure> {
    let (path, variant) = split_variant(&args.model);
    if is_onnx(&path) {
        return load_onnx(&path, variant.as_deref(), args);
    }
    let whole_card = Card::for_model(&path)?;
    let card = whole_card.as_ref().map(|card| variant.as_deref().map_or(card.clone(), |v| card.for_variant(v)));
    let start = Instant::now();
    let (mut sources, root) = read(&path)?;
    let options = Options { variant, defines: args.define.clone(), aux: args.aux, ..Options::default() };
    let built = parse(&mut sources, root, &path, &options.limits)
        .inspect(|program| whole_card.iter().for_each(|card| warn_of_variants(card, program)))
        .and_then(|program| Ok((build::build_and_warn(&mut sources, &program, &options)?, program)));
    let ((graph, warnings), program) = built.map_err(|errors| Failure::Diagnosed(diagnostics(&errors, &sources)))?;
    if !warnings.is_empty() {
        terminal::tell_raw(&format!("{}\n", diagnostics(&warnings, &sources)));
    }
    Ok(Model { path, graph, sources, card, weights: None, program, options, time: start.elapsed() })
}

/// Whether a file is taken for one of ONNX.
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx")
}

fn load_onnx(path: &Path, variant: Option<&str>, args: &ModelArgs) -> Result<Model, Failure> {
    if let Some(variant) = variant {
        return Err(Failure::input(format!("{}: an ONNX file has no variant `{variant}`", path.display())));
    }
    if !args.define.is_empty() {
        return Err(Failure::input(format!("{}: an ONNX file has no parameters for -D", path.display())));
    }
    let card = Card::for_model(path)?;
    let start = Instant::now();
    let import = import(path, &onnx::Options::default())?;
    let onnx::Import { graph, sources, program, weights, .. } = import;
    let (path, weights, options) = (path.to_owned(), Some(weights), Options::default());
    Ok(Model { path, graph, sources, card, weights, program, options, time: start.elapsed() })
}

/// Reads an ONNX file, and says what is not as the file has it.
pub fn import(path: &Path, options: &onnx::Options) -> Result<onnx::Import, Failure> {
    let name = path.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
    let options = onnx::Options { name, ..options.clone() };
    let file = io::onnx::read(path)?;
    let import = onnx::import(&file, &mut io::onnx::Beside::new(path), &options).map_err(|errors| {
        let text = diagnostics(&errors, &SourceMap::default());
        Failure::Diagnosed(format!("{}: this network is not imported\n{text}", path.display()))
    })?;
    import.notes.iter().for_each(|note| tell(&format!("note: {}: {note}", path.display())));
    Ok(import)
}

impl Model {
    /// Whether `-D` gives this parameter.
    pub fn defines(&self, name: &str) -> bool {
        self.options.defines.iter().any(|(given, _)| given == name)
    }

    /// Builds it anew for other free sizes.
    pub fn resize(&mut self, sizes: &Sizes) -> Result<(), Failure> {
        let mut options = self.options.clone();
        options.defines.extend(sizes.iter().map(|(name, size)| (name.clone(), size.to_string())));
        let start = Instant::now();
        self.graph = build::build(&mut self.sources, &self.program, &options)
            .map_err(|errors| Failure::Diagnosed(diagnostics(&errors, &self.sources)))?;
        self.time += start.elapsed();
        Ok(())
    }
}

/// Whether memory suffices for planning: that of a run with these options, or the usual limit.
///
/// # Errors
/// Where it does not.
pub fn check_planning(graph: &Graph, options: Option<&runtime::Options>) -> Outcome {
    let limit = options.map_or(runtime::Options::default().memory_limit, |options| options.memory_limit);
    runtime::check_planning(graph, limit).map_err(Failure::input)
}

/// What a card says of variants that the model does not have is without effect.
fn warn_of_variants(card: &Card, program: &Program) {
    let known = program.variants();
    for name in card.variants.keys().filter(|name| !known.contains(name)) {
        let near = nearest(name, known.iter().map(String::as_str)).map(|near| format!("; did you mean `{near}`?"));
        let near = near.unwrap_or_default();
        terminal::tell(&format!("warning: {}: the model has no variant `{name}`{near}", card.path().display()));
    }
}

/// The text of a model file.
pub fn read(path: &Path) -> Result<(SourceMap, FileId), Failure> {
    let text = text::read(path)?;
    let mut sources = SourceMap::default();
    let root = sources.add(path.display().to_string(), text);
    Ok((sources, root))
}

fn parse(sources: &mut SourceMap, root: FileId, path: &Path, limits: &Limits) -> Result<Program, Vec<Diagnostic>> {
    build::load(sources, root, limits, &mut FolderLoader::new(path))
}

/// Errors and warnings as text, in colour on a terminal.
pub fn diagnostics(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    render(diagnostics, sources, terminal::colour())
}

/// `FILE` or `FILE:VARIANT`; a colon that belongs to the name of an existing file is left alone.
pub fn split_variant(model: &OsStr) -> (PathBuf, Option<String>) {
    match file_and_variant(model) {
        Some((path, variant)) if !Path::new(model).exists() && !path.is_empty() && !variant.contains(['/', '\\']) => {
            (path.into(), Some(variant.to_string()))
        }
        _ => (model.into(), None),
    }
}

/// Reads used files from the folder of the model; of a model that is a symbolic link, else from that of its target.
pub struct FolderLoader {
    folders: Vec<PathBuf>,
}

impl FolderLoader {
    pub fn new(model: &Path) -> FolderLoader {
        let folder = model.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let of_target = model.canonicalize().ok().and_then(|target| Some(target.parent()?.to_owned()));
        FolderLoader { folders: [folder.to_owned()].into_iter().chain(of_target).collect() }
    }
}

impl Loader for FolderLoader {
    fn load(&mut self, path: &str) -> Result<String, String> {
        let canonical = |path: &Path| path.canonicalize().map_err(|e| format!("{}: {e}", path.display()));
        let holds = |folder: &&PathBuf| folder.join(path).exists();
        let folder = self.folders.iter().find(holds).unwrap_or(&self.folders[0]);
        let (folder, file) = (canonical(folder)?, canonical(&folder.join(path))?);
        if !file.starts_with(&folder) {
            return Err(format!("it is a link to {}, outside of the model's folder", file.display()));
        }
        text::read(&file).map_err(|e| e.to_string())
    }
}
