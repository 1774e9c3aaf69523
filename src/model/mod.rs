//! From a model file to a session: the library's front door.

mod check;
mod classes;
mod look;
mod onnx;
#[cfg(feature = "pictures")]
mod pictures;
mod weights;
#[cfg_attr(not(internals), doc(hidden))]
pub mod zoo;

pub use check::{Findings, check};
pub use classes::Class;
#[cfg(feature = "cli")]
pub(crate) use look::drawing;
pub use look::{Seen, Stage};
#[cfg(feature = "cli")]
pub(crate) use onnx::import;
pub use onnx::{SharedBytes, is_onnx};
pub use weights::{BoundWeights, Weights};

use crate::analysis::{self, summary::Summary};
use crate::diagnostic::{Diagnostic, nearest};
use crate::error::{Error, ModelError};
use crate::front::text::build::{self, Limits, Loader, NoFiles, Program};
use crate::interp;
use crate::io::card::Card;
use crate::io::text;
use crate::ir::{Graph, Verified};
use crate::layers::Accumulate;
use crate::runtime::{self, Options, Session};
use crate::source::{FileId, SourceMap, ZOO_PATH};
use crate::tensor::{AsTensor, Tensor, TensorType};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A network whose text was read and checked: every shape in it is known.
///
/// ```
/// use svertka::{Model, Options, Weights};
/// # fn main() -> Result<(), svertka::Error> {
/// let text = "model tiny
/// input image: f32[N, 1, 4, 4]
/// net { conv: conv 3x3, 8, bias | relu | global_avgpool | fc: dense 2 }";
/// let model = Model::parse(text)?;
/// let mut session = model.compile(&Weights::random(1), &Options::default())?;
/// let image = svertka::Tensor::zeros([1, 1, 4, 4]);
/// assert_eq!(session.run(&[image])?[0].shape(), [1, 2]);
/// # Ok(())
/// # }
/// ```
pub struct Model {
    name: String,
    path: Option<PathBuf>,
    graph: Verified<Graph>,
    sources: SourceMap,
    warnings: Vec<Diagnostic>,
    remarks: Vec<String>,
    card: Option<Card>,
    /// Of a file that holds its weights.
    own_weights: Option<weights::Own>,
    program: Program,
    options: build::Options,
    memory_limit: usize,
    time: Duration,
}

/// Which network of a family to open: [`Model::open`] and [`Model::parse`] take the first, with its defaults.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    build: build::Options,
    memory_limit: usize,
}

impl Default for ModelOptions {
    fn default() -> ModelOptions {
        ModelOptions { build: build::Options::default(), memory_limit: Options::default().memory_limit }
    }
}

impl ModelOptions {
    /// The variant of this name instead of the model with its default parameters.
    pub fn variant(mut self, name: impl Into<String>) -> ModelOptions {
        self.build.variant = Some(name.into());
        self
    }

    /// Gives a parameter of the model a value, written as in the language: `("classes", "10")`.
    pub fn define(mut self, name: impl Into<String>, value: impl Into<String>) -> ModelOptions {
        self.build.defines.push((name.into(), value.into()));
        self
    }

    /// With the auxiliary outputs that serve training.
    pub fn aux(mut self, aux: bool) -> ModelOptions {
        self.build.aux = aux;
        self
    }

    /// Bounds on the work that a text may cause.
    pub fn limits(mut self, limits: Limits) -> ModelOptions {
        self.build.limits = limits;
        self
    }

    /// Bytes that [`Model::interpret`] may take; 8 GiB where nothing is said. Sessions have a limit of their own,
    /// [`Options::memory_limit`].
    pub fn memory_limit(mut self, bytes: usize) -> ModelOptions {
        self.memory_limit = bytes;
        self
    }

    /// Reads a model file (`-` for standard input), those that it uses, and its card; of an ONNX file, which is known by its
    /// extension, the network and its weights. `zoo` and a variant are a network that comes along, without weights.
    ///
    /// # Errors
    /// Where a file cannot be read, and all mistakes in the text, or all that is no layer in the ONNX file, together.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Model, Error> {
        let path = path.as_ref();
        if is_onnx(path) {
            return self.import(path);
        }
        if let Some(name) = self.build.variant.as_deref().filter(|_| zoo::is_zoo(path)) {
            return self.open_zoo(zoo::find(name)?, name);
        }
        let card = Card::for_model(path)?;
        let (start, text) = (Instant::now(), text::read(path)?);
        let model = self.build(shown(path), text, &mut FolderLoader::new(path))?;
        let remarks = card.iter().flat_map(|card| unknown_variants(card, &model.program)).collect();
        let card = card.map(|card| self.of_variant(card));
        Ok(Model { path: Some(path.to_owned()), card, remarks, time: start.elapsed(), ..model })
    }

    fn open_zoo(&self, entry: zoo::Entry, name: &str) -> Result<Model, Error> {
        let build = build::Options { variant: entry.variant.clone(), ..self.build.clone() };
        let options = ModelOptions { build, ..self.clone() };
        let model =
            options.build(format!("{}:{}", zoo::ZOO, entry.file), entry.text.to_owned(), &mut zoo::ZooLoader)?;
        let card = entry.card().map(|card| options.of_variant(card));
        Ok(Model { name: format!("{}:{name}", zoo::ZOO), card, ..model })
    }

    /// Reads a model from a text, which can use no other files and has no card.
    ///
    /// # Errors
    /// All mistakes in the text together.
    pub fn parse(&self, text: &str) -> Result<Model, Error> {
        self.build("model".into(), text.to_owned(), &mut NoFiles)
    }

    fn of_variant(&self, card: Card) -> Card {
        self.build.variant.as_deref().map_or_else(|| card.clone(), |variant| card.for_variant(variant))
    }

    fn build(&self, name: String, text: String, loader: &mut dyn Loader) -> Result<Model, Error> {
        let start = Instant::now();
        let (mut sources, options) = (SourceMap::default(), self.build.clone());
        let root = sources.add(name.clone(), text);
        let built = build::load(&mut sources, root, &options, loader)
            .and_then(|program| Ok((build::build_and_warn(&mut sources, &program, &options)?, program)));
        match built {
            Ok(((graph, warnings), program)) => {
                let time = start.elapsed();
                Ok(Model {
                    name,
                    path: None,
                    graph,
                    sources,
                    warnings,
                    remarks: Vec::new(),
                    card: None,
                    own_weights: None,
                    program,
                    options,
                    memory_limit: self.memory_limit,
                    time,
                })
            }
            Err(diagnostics) => Err(ModelError { diagnostics, sources }.into()),
        }
    }
}

impl Model {
    /// Reads the model file `FILE`, or the variant `VARIANT` in it where the path is `FILE:VARIANT`; `zoo:resnet50` is a
    /// network that comes along, without weights.
    ///
    /// # Errors
    /// As [`ModelOptions::open`].
    pub fn open(path: impl AsRef<OsStr>) -> Result<Model, Error> {
        let (path, variant) = split_variant(path.as_ref());
        let options = ModelOptions::default();
        variant.map_or(options.clone(), |variant| options.variant(variant)).open(path)
    }

    /// Reads a model from a text.
    ///
    /// # Errors
    /// As [`ModelOptions::parse`].
    pub fn parse(text: &str) -> Result<Model, Error> {
        ModelOptions::default().parse(text)
    }

    /// As messages name it: its path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that it was read from.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Name and type of each input, in the order in which runs take them.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = (&str, &TensorType)> {
        self.graph.input_types()
    }

    /// Name and type of each output, in the order in which runs give them.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, &TensorType)> {
        self.graph.output_types()
    }

    /// Name and sizes of each weight that a weight file must hold.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.graph.params.iter().filter(|param| param.is_read()).map(|param| (param.name.as_str(), &param.dims[..]))
    }

    /// Whether a value was given for this parameter of the model.
    pub fn defines(&self, parameter: &str) -> bool {
        self.options.defines.iter().any(|(given, _)| given == parameter)
    }

    /// The sizes of inputs that may be given anew, and what they are.
    pub fn sizes(&self) -> Vec<(String, usize)> {
        self.graph.sizes()
    }

    /// Builds it anew for other free sizes.
    ///
    /// # Errors
    /// Where a layer cannot take them. The model is then as it was.
    pub fn resize(&mut self, sizes: &[(String, usize)]) -> Result<(), Error> {
        let mut options = self.options.clone();
        options.defines.extend(sizes.iter().map(|(name, size)| (name.clone(), size.to_string())));
        let (start, mut sources) = (Instant::now(), self.sources.clone());
        match build::build(&mut sources, &self.program, &options) {
            Ok(graph) => (self.graph, self.sources) = (graph, sources),
            Err(diagnostics) => return Err(ModelError { diagnostics, sources }.into()),
        }
        self.time += start.elapsed();
        Ok(())
    }

    /// Shapes, parameters, multiply-accumulates and receptive fields.
    pub fn summary(&self) -> Summary {
        analysis::summary(&self.graph, None)
    }

    /// Whether there are weights of its own: in its file, or in that which its card names.
    pub fn has_weights(&self) -> bool {
        self.own_weights.is_some() || self.card().and_then(Card::weights_path).is_some()
    }

    /// What its card says of it.
    pub fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// What in its text is odd or without effect, as far as building it showed.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// What in its card is without effect; how the network differs from its ONNX file.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The texts that it was built of.
    pub fn sources(&self) -> &SourceMap {
        &self.sources
    }

    /// The graph itself.
    #[doc(hidden)]
    pub fn graph(&self) -> &Verified<Graph> {
        &self.graph
    }

    /// How long reading and checking took.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Compiles it for this machine and packs its weights.
    ///
    /// # Errors
    /// Where the weights do not fit or there are none, and where memory or a limit on it does not suffice.
    pub fn compile(&self, weights: &Weights, options: &Options) -> Result<Session, Error> {
        let weights = self.bind(weights)?;
        Ok(Session::new(weights.network(self).clone(), &weights, options)?)
    }

    /// What the reference interpreter gives for these inputs: sums in f64, slow, and right.
    ///
    /// # Errors
    /// Where the weights or inputs do not fit, and where all values and weights together are more than
    /// [`ModelOptions::memory_limit`].
    pub fn interpret<I: AsTensor>(&self, weights: &Weights, inputs: &[I]) -> Result<Vec<Tensor>, Error> {
        let batch = runtime::check_inputs(&self.graph, inputs)?;
        runtime::check_interpreter(&self.graph, batch, 1, self.memory_limit)?;
        let inputs: Vec<Tensor> = inputs.iter().map(|input| input.as_tensor().to_tensor()).collect();
        let weights = self.bind(weights)?;
        Ok(interp::run(weights.network(self), &weights, &inputs, Accumulate::F64))
    }
}

/// What a card says of variants that the model does not have is without effect.
fn unknown_variants(card: &Card, program: &Program) -> Vec<String> {
    let known = program.variants();
    let unknown = card.variants.keys().filter(|name| !known.contains(name));
    let remark = |name: &String| {
        let near = nearest(name, known.iter().map(String::as_str)).map(|near| format!("; did you mean `{near}`?"));
        format!("{}: the model has no variant `{name}`{}", card.path().display(), near.unwrap_or_default())
    };
    unknown.map(remark).collect()
}

/// `FILE` or `FILE:VARIANT`; a colon that belongs to the name of an existing file is left alone. What begins with `zoo:`
/// is a network that comes along, whatever files there are: one of these is `./zoo:NAME`.
pub fn split_variant(model: &OsStr) -> (PathBuf, Option<String>) {
    if let Some(name) = model.to_str().and_then(|model| model.strip_prefix(ZOO_PATH)) {
        return (zoo::ZOO.into(), Some(name.to_owned()));
    }
    match file_and_variant(model) {
        Some((path, variant)) if !Path::new(model).exists() && !path.is_empty() && !variant.contains(['/', '\\']) => {
            (path.into(), Some(variant.to_string()))
        }
        _ => (model.into(), None),
    }
}

/// Cuts a word at the last `:`: `FILE:VARIANT`. A file's name need not be UTF-8, the other part must be.
fn file_and_variant(word: &OsStr) -> Option<(&OsStr, &str)> {
    let at = word.as_encoded_bytes().iter().rposition(|&byte| byte == b':')?;
    let (file, variant) = cut(word, at)?;
    Some((file, variant.to_str()?))
}

/// What stands before and behind an ASCII character of a word.
#[cfg(unix)]
pub(crate) fn cut(word: &OsStr, at: usize) -> Option<(&OsStr, &OsStr)> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = word.as_bytes();
    Some((OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..])))
}

/// What stands before and behind an ASCII character; `None` in a word that is not Unicode.
#[cfg(not(unix))]
pub(crate) fn cut(word: &OsStr, at: usize) -> Option<(&OsStr, &OsStr)> {
    let text = word.to_str()?;
    Some((text[..at].as_ref(), text[at + 1..].as_ref()))
}

/// Reads a model file, to be looked at as a text.
pub(crate) fn read_text(path: &Path) -> Result<(SourceMap, FileId), Error> {
    let mut sources = SourceMap::default();
    let root = sources.add(shown(path), text::read(path)?);
    Ok((sources, root))
}

/// How messages name a file: not as one that comes along.
pub(crate) fn shown(path: &Path) -> String {
    let name = path.display().to_string();
    if name.starts_with(ZOO_PATH) { format!("./{name}") } else { name }
}

/// Reads used files from the folder of the model; of a model that is a symbolic link, else from that of its target.
pub(crate) struct FolderLoader {
    folders: Vec<PathBuf>,
}

impl FolderLoader {
    pub(crate) fn new(model: &Path) -> FolderLoader {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_at_variants() {
        assert_eq!(file_and_variant("a:b:c".as_ref()), Some(("a:b".as_ref(), "c")));
        assert_eq!(file_and_variant("a".as_ref()), None);
    }

    #[cfg(unix)]
    #[test]
    fn files_need_not_be_utf8() {
        use std::os::unix::ffi::OsStrExt;
        let bytes = OsStr::from_bytes;
        assert_eq!(file_and_variant(bytes(b"\xfe.cnn:v")), Some((bytes(b"\xfe.cnn"), "v")));
    }
}
