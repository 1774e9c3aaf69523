//! Golden files: what the builder makes of every model of a folder. `tests/golden/ir/NAME.cnn` becomes the graph in
//! `NAME.ir`, the mistakes of `tests/golden/diagnostics/NAME.cnn` are explained in `NAME.err`, and `NAME.warn` holds what
//! is said of the odd things in `tests/golden/warnings/NAME.cnn`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use svertka::analysis::lint::{self, LINTS};
use svertka::diagnostic::codes::{self, Examples};
use svertka::diagnostic::fix::{self, Mended};
use svertka::diagnostic::{self, Applicability, Diagnostic, Severity};
use svertka::front::text::build::{self, Loader, Options, unused};
use svertka::front::text::stop::Stop;
use svertka::front::text::{forms, reference};
use svertka::ir::{self, Graph, Verified};
use svertka::source::{FileId, SourceMap};

/// Compares what `produce` makes of every `.cnn` file in `tests/golden/FOLDER` with the file of the same name and
/// the given extension. With the environment variable `SVERTKA_BLESS` set, writes those files instead.
fn check(folder: &str, extension: &str, produce: impl Fn(&Path) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut models: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    models.retain(|path| path.extension().is_some_and(|e| e == "cnn"));
    models.sort();
    assert!(!models.is_empty(), "no models in {}", folder.display());
    let mut failures = Vec::new();
    for model in &models {
        let golden = model.with_extension(extension);
        let found = produce(model);
        if std::env::var_os("SVERTKA_BLESS").is_some() {
            fs::write(&golden, &found).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != found {
            failures.push(format!("{} should be:\n{found}", golden.display()));
        }
    }
    assert!(failures.is_empty(), "{}\nif this is right, set SVERTKA_BLESS=1", failures.join("\n"));
}

/// Reads used files from the folder of the model.
struct Folder<'a>(&'a Path);

impl Loader for Folder<'_> {
    fn load(&mut self, path: &str) -> Result<String, String> {
        fs::read_to_string(self.0.join(path)).map_err(|_| "there is no such file".into())
    }
}

/// A model file and the options that it asks for in lines such as `#: -D classes=10`, `#: variant small`, `#: aux`.
struct Model {
    sources: SourceMap,
    root: FileId,
    options: Options,
    path: PathBuf,
}

impl Model {
    fn read(path: &Path) -> Model {
        Model::of_text(path, &fs::read_to_string(path).unwrap())
    }

    /// A text in place of that of the file.
    fn of_text(path: &Path, text: &str) -> Model {
        let mut options = Options::default();
        for line in text.lines().filter_map(|line| line.strip_prefix("#: ")) {
            match line.split_once(' ') {
                Some(("-D", define)) => {
                    let (name, value) = define.split_once('=').unwrap();
                    options.defines.push((name.into(), value.into()));
                }
                Some(("variant", name)) => options.variant = Some(name.into()),
                _ => options.aux = line == "aux",
            }
        }
        let mut sources = SourceMap::default();
        let root = sources.add(path.file_name().unwrap().to_str().unwrap(), text);
        Model { sources, root, options, path: path.into() }
    }

    /// The graph of the one variant that the options name.
    fn build(&mut self) -> Result<Verified<Graph>, Vec<Diagnostic>> {
        let mut folder = Folder(self.path.parent().unwrap());
        let program = build::load(&mut self.sources, self.root, &self.options, &mut folder)?;
        build::build(&mut self.sources, &program, &self.options)
    }

    /// The mistakes of all variants, or of the one that the options name.
    fn errors(&mut self) -> Vec<Diagnostic> {
        if self.options.variant.is_some() {
            return self.build().err().unwrap_or_default();
        }
        let mut folder = Folder(self.path.parent().unwrap());
        build::check(&mut self.sources, self.root, &self.options, &mut folder, &mut |_| Vec::new()).0
    }

    /// Errors, or else warnings.
    fn all(&mut self) -> Vec<Diagnostic> {
        let errors = self.errors();
        if errors.is_empty() { self.warnings() } else { errors }
    }

    /// What all variants are warned of.
    fn warnings(&mut self) -> Vec<Diagnostic> {
        let mut folder = Folder(self.path.parent().unwrap());
        lint::check(&mut self.sources, self.root, &self.options, &mut folder, &[])
    }

    fn render(&self, errors: &[Diagnostic]) -> String {
        diagnostic::render(errors, &self.sources, false) + "\n"
    }
}

#[test]
fn models_become_graphs() {
    check("ir", "ir", |path| {
        let mut model = Model::read(path);
        match model.build() {
            Ok(graph) => ir::print(&graph),
            Err(errors) => panic!("{}", model.render(&errors)),
        }
    });
}

#[test]
fn mistakes_are_explained() {
    check("diagnostics", "err", |path| {
        let mut model = Model::read(path);
        let errors = model.errors();
        assert!(!errors.is_empty(), "{} has no mistake", path.display());
        model.render(&errors)
    });
}

/// The ways out that are edits are taken, and mend what they are for: which, what they change, and what is left then.
#[test]
fn mistakes_are_mended() {
    let folder = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/diagnostics")).unwrap();
    let mut models: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    models.retain(|path| path.extension().is_some_and(|extension| extension == "cnn"));
    models.sort();
    insta::assert_snapshot!("fixes", models.iter().filter_map(|path| mended(path)).collect::<Vec<_>>().join("\n"));
}

/// What became of a model, if anything in it could be mended.
fn mended(path: &Path) -> Option<String> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let errors = |text: &str| {
        let mut model = Model::of_text(path, text);
        (model.root, model.errors())
    };
    let text = fs::read_to_string(path).unwrap();
    let Mended { text: new, taken } = fix::mend(text.clone(), &mut |text| errors(text));
    let ways = taken.iter().map(|(line, way)| format!("line {line}: {way}\n"));
    let left = errors(&new).1.into_iter().map(|error| format!("left: [{}] {}\n", error.code, error.message));
    let left: String = left.collect();
    let lines = format!("{name}\n{}{}{left}", ways.collect::<String>(), changed_lines(&text, &new));
    (!taken.is_empty()).then_some(lines)
}

/// Helps that quote what may be written and hold no change: their code, words of theirs, and why.
const WITHOUT_CHANGES: &[(&str, &str, &str)] = &[
    ("E0101", "names have the letters a to z", "another name is to be thought of"),
    ("E0201", "write `residual if same_shape`", "what is asked elsewhere is to be asked otherwise"),
    (
        "E0203",
        "write `conv kernel, channels`",
        "the form of a call: what is meant by the wrong value, its author knows",
    ),
    ("E0203", "write `slice channels`", "the form of a call"),
    ("E0206", "write round_to(x, n)", "the form of a call"),
    ("E0209", "write it in a call such as", "an example"),
    ("E0203", "write `bn`", "the same"),
    ("E0214", "write `conv kernel, channels`", "the form of a call: which argument is too many, its author knows"),
    ("E0214", "write `relu`", "the same"),
    ("E0217", "`0..8` are eight channels", "an example"),
    ("E0218", "did you mean", "it was typed to a shell"),
    ("E0219", "did you mean", "it was typed to a shell"),
    ("E0222", "name a value where it is made", "which value, its author knows"),
    ("E0224", "name one where it is made", "values of combinators: their last lines end elsewhere"),
    ("E0301", "a convolution or pooling must stand before", "which layer is to move, its author knows"),
    ("E0307", "the number behind `..`", "a fact"),
    ("E0311", "pad with `half` or `same`", "which layers of a branch, its author knows"),
    ("E0312", "no stride brings the shortcut to this size", "the same"),
    ("E0508", "to stack copies", "where the copies are to be, its author knows"),
    ("W0811", "put `output` behind the layer", "which layer, its author knows"),
];

/// Who says in a way out what to write says it as a change too. Those of the codes' examples and of all models here are
/// made: each leaves a text that is understood, and where it holds nothing in place of what the author knows, its mistake
/// is gone.
#[test]
fn ways_out_are_changes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folders = ["diagnostics", "warnings"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let paths = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let models = paths.filter(|path| path.extension().is_some_and(|extension| extension == "cnn"));
    let models = models.map(|path| (Model::read(&path), fs::read_to_string(&path).unwrap()));
    let examples = codes::all().filter_map(|explained| match explained.examples {
        Examples::Texts([wrong, _]) if explained.code != "E0510" => Some(codes::model_of(wrong)),
        _ => None,
    });
    let examples = examples.map(|text| (Model::of_text("example.cnn".as_ref(), &text), text));
    let (mut failures, mut known, mut made) = (Vec::new(), vec![false; WITHOUT_CHANGES.len()], 0);
    for (mut model, text) in models.chain(examples) {
        let before = model.all();
        for (diagnostic, help) in before.iter().flat_map(|found| found.help.iter().map(move |help| (found, help))) {
            let is_exception =
                |(code, words, _): &(&str, &str, &str)| diagnostic.code == *code && help.text.contains(words);
            let exception = WITHOUT_CHANGES.iter().position(is_exception);
            match exception {
                Some(at) if help.fixes.is_empty() => known[at] = true,
                _ if help.fixes.is_empty() && help.text.contains('`') => {
                    failures.push(format!("{}: no change: {}", diagnostic.code, help.text))
                }
                _ => {}
            }
            for fix in help.fixes.iter().filter(|fix| fix.edits.iter().all(|edit| edit.span.file == model.root)) {
                let new = fix::apply(&text, &fix.edits);
                let after = Model::of_text(&model.path, &new).all();
                // What another call of a block does wrong in the same place has other sizes.
                let texts =
                    |found: &Diagnostic| found.labels.iter().map(|label| label.text.clone()).collect::<Vec<_>>();
                let same = |found: &&Diagnostic| {
                    (found.code, &found.message) == (diagnostic.code, &diagnostic.message)
                        && texts(found) == texts(diagnostic)
                };
                let syntax = |found: &&Diagnostic| found.code.starts_with("E01");
                let gone = after.iter().filter(same).count() < before.iter().filter(same).count();
                let understood = after.iter().filter(syntax).count() <= before.iter().filter(syntax).count();
                let open = fix.applicability == Applicability::HasPlaceholders;
                if !(understood && (gone || open)) {
                    failures.push(format!("{}: {}: {}\n{new}", diagnostic.code, help.text, fix.title));
                }
                made += 1;
            }
        }
    }
    let stale = WITHOUT_CHANGES.iter().zip(known).filter(|(_, known)| !known);
    let stale = stale.map(|((code, words, _), _)| format!("{code}: {words}: nothing says this"));
    failures.extend(stale);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(made > 150, "{made}");
}

/// The lines that differ, those of `old` first.
fn changed_lines(old: &str, new: &str) -> String {
    let differ = |a: &str, b: &str, sign: char| {
        let others: Vec<&str> = b.lines().collect();
        a.lines()
            .filter(|line| !others.contains(line))
            .map(|line| format!("{sign} {}\n", line.trim()))
            .collect::<String>()
    };
    differ(old, new, '-') + &differ(new, old, '+')
}

#[test]
fn odd_things_are_warned_of() {
    check("warnings", "warn", |path| {
        let mut model = Model::read(path);
        let warnings = model.warnings();
        assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning), "{}", model.render(&warnings));
        model.render(&warnings)
    });
}

#[test]
fn every_warning_has_an_example() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/warnings");
    let lints = LINTS.iter().map(|lint| (lint.code, lint.name));
    for (code, name) in lints.chain(unused::WARNINGS.iter().map(|&(_, code, name)| (code, name))) {
        let example = fs::read_to_string(folder.join(name).with_extension("warn")).unwrap_or_default();
        assert!(example.contains(&format!("warning[{code}]")), "no example of {name}");
    }
}

/// The examples that `svertka help CODE` prints: the first has what it is for, the second no error, nor that warning.
#[test]
fn explanations_have_true_examples() {
    let found = |example: &str, options: &Options| {
        let mut sources = SourceMap::default();
        let root = sources.add("example.cnn", codes::model_of(example));
        let found = lint::check(&mut sources, root, options, &mut build::NoFiles, &[]);
        let text = diagnostic::render(&found, &sources, false);
        (found, text)
    };
    let mut failures = Vec::new();
    for explained in codes::all() {
        let (Examples::Texts([wrong, right]), code) = (explained.examples, explained.code) else { continue };
        // No text needs more than the time that there is on every machine.
        let stop = if code == "E0510" { Stop::default().within(Duration::ZERO) } else { Stop::default() };
        let (errors, text) = found(wrong, &Options { stop, ..Options::default() });
        if !errors.iter().any(|error| error.code == code) {
            failures.push(format!("{code}: {wrong}\n{text}"));
        }
        let (errors, text) = found(right, &Options::default());
        let bad = errors.iter().any(|error| error.severity == Severity::Error || error.code == code);
        if bad {
            failures.push(format!("{code}: {right}\n{text}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn forms_have_true_examples() {
    for form in forms::FORMS.iter().filter(|form| !form.example.is_empty()) {
        let mut sources = SourceMap::default();
        let root = sources.add("example.cnn", codes::model_of(form.example));
        let found = lint::check(&mut sources, root, &Options::default(), &mut build::NoFiles, &[]);
        let error = found.iter().any(|found| found.severity == Severity::Error);
        assert!(!error, "{}: {}", form.name, diagnostic::render(&found, &sources, false));
    }
}

/// The page is committed, so that it can be read where nothing is built.
#[test]
fn the_reference_is_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("grammar/reference.md");
    if std::env::var_os("SVERTKA_BLESS").is_some() {
        fs::write(&path, reference::page()).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap_or_default() == reference::page(), "set SVERTKA_BLESS=1");
}

/// Each code that is given anywhere is explained, and none else.
#[test]
fn every_code_is_explained() {
    let mut given: Vec<String> = Vec::new();
    collect_codes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut given);
    given.sort();
    given.dedup();
    let mut explained: Vec<&str> = codes::all().map(|explained| explained.code).collect();
    explained.sort_unstable();
    assert_eq!(explained, given);
    let known = LINTS.iter().map(|lint| lint.name).chain(unused::WARNINGS.iter().map(|(_, _, name)| *name));
    let missing: Vec<&str> = known.filter(|name| codes::find(name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Texts in quotes that are codes, in all files of a folder.
fn collect_codes(folder: &Path, codes: &mut Vec<String>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect_codes(&path, codes);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let is_code = |word: &&str| {
                word.len() == 5 && word.starts_with(['E', 'W']) && word[1..].bytes().all(|b| b.is_ascii_digit())
            };
            codes.extend(text.split('"').filter(is_code).map(str::to_owned));
        }
    }
}

/// Codes from E08 on are of ONNX files; E0510 is given when a time is up, which no text does for sure.
#[test]
fn every_code_has_an_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of_texts = |code: &&str| code[..2] == *"E0" && code[2..3] <= *"6" && *code != "E0510";
    let codes: Vec<&str> = codes::all().map(|explained| explained.code).filter(of_texts).collect();
    assert!(codes.len() > 40, "{codes:?}");
    let folder = fs::read_dir(root.join("tests/golden/diagnostics")).unwrap().map(|entry| entry.unwrap().path());
    let examples = folder.filter(|path| path.extension().is_some_and(|e| e == "err"));
    let examples: String = examples.map(|path| fs::read_to_string(path).unwrap()).collect();
    let missing: Vec<&&str> = codes.iter().filter(|code| !examples.contains(&format!("[{code}]"))).collect();
    assert!(missing.is_empty(), "no example of {missing:?}");
}
