//! The model files of `models/`: form, figures, weight names, their table and, on real
//! data, numbers.

mod bf16;
mod cards;
mod data;
mod figures;
mod libraries;
mod names;
mod numerics;
mod onnx;
mod quantised;
mod readme;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use svertka::analysis::lint;
use svertka::diagnostic::render;
use svertka::front::text::build::{self, Loader, Options, Program};
use svertka::front::text::syntax::format::format;
use svertka::ir::{Graph, Verified};
use svertka::source::{FileId, SourceMap};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// The names of all model files, without folder and extension.
fn files() -> Vec<String> {
    let paths = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let models = paths.filter(|path| path.extension().is_some_and(|extension| extension == "cnn"));
    let mut names: Vec<String> = models.map(|path| path.file_stem().unwrap().to_str().unwrap().into()).collect();
    names.sort();
    names
}

fn text(file: &str) -> String {
    fs::read_to_string(folder().join(file).with_extension("cnn")).unwrap()
}

/// Reads used files from the folder of the models.
struct Folder;

impl Loader for Folder {
    fn load(&mut self, path: &str) -> Result<String, String> {
        fs::read_to_string(folder().join(path)).map_err(|error| error.to_string())
    }
}

/// A model file, read.
struct Model {
    sources: SourceMap,
    root: FileId,
    program: Program,
}

impl Model {
    fn read(file: &str) -> Model {
        let mut sources = SourceMap::default();
        let root = sources.add(format!("{file}.cnn"), text(file));
        let program = build::load(&mut sources, root, &Options::default(), &mut Folder);
        let program = program.unwrap_or_else(|errors| panic!("{}", render(&errors, &sources, false)));
        Model { sources, root, program }
    }

    fn build(&mut self, options: &Options) -> Verified<Graph> {
        let graph = build::build(&mut self.sources, &self.program, options);
        graph.unwrap_or_else(|errors| panic!("{}", render(&errors, &self.sources, false)))
    }
}

/// A model file, without folder and extension, and its variant: `resnet:resnet50`, or `resnet` for the default.
struct Name {
    file: String,
    variant: Option<String>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        self.variant.iter().try_for_each(|variant| write!(f, ":{variant}"))
    }
}

fn name(text: &str) -> Name {
    let (file, variant) = text.split_once(':').map_or((text, None), |(file, variant)| (file, Some(variant.into())));
    Name { file: file.into(), variant }
}

fn graph(name: &Name) -> Verified<Graph> {
    Model::read(&name.file).build(&Options { variant: name.variant.clone(), ..Options::default() })
}

/// All models: the default and the variants of each file.
fn all() -> Vec<Name> {
    let of_file = |file: String| {
        let variants = Model::read(&file).program.variants().into_iter().map(Some);
        [None].into_iter().chain(variants).map(move |variant| Name { file: file.clone(), variant })
    };
    files().into_iter().flat_map(of_file).collect()
}

#[test]
fn files_are_formatted() {
    for file in files() {
        let mut sources = SourceMap::default();
        let id = sources.add(file.as_str(), text(&file));
        let formatted = format(&sources, id).unwrap_or_else(|errors| panic!("{}", render(&errors, &sources, false)));
        assert_eq!(text(&file), formatted, "{file} is not formatted");
    }
}

#[test]
fn all_variants_are_free_of_mistakes_and_warnings() {
    for file in files() {
        for aux in [false, true] {
            let Model { mut sources, root, .. } = Model::read(&file);
            let options = Options { aux, ..Options::default() };
            let errors = lint::check(&mut sources, root, &options, &mut Folder, &[]);
            assert!(errors.is_empty(), "{}", render(&errors, &sources, false));
        }
    }
}

/// What the language promises: a family fits on a screen.
#[test]
fn families_are_short() {
    for (file, limit) in [("resnet", 30), ("googlenet", 40), ("densenet", 35), ("efficientnet", 50)] {
        let text = text(file);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert!(lines < limit, "{file} has {lines} lines");
    }
}
