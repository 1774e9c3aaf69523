//! The networks that come along: `zoo:resnet50`, built in, so that they are there where svertka is.

use crate::diagnostic::nearest;
use crate::error::Error;
use crate::front::text::build::Loader;
use crate::io::card::{Card, Labels};
use crate::model::split_variant;
use crate::source::{FileId, SourceMap};
use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

include!(concat!(env!("OUT_DIR"), "/zoo.rs"));

/// What stands before the colon.
pub const ZOO: &str = "zoo";

/// A model file of the zoo.
pub struct Entry {
    /// For example `resnet.cnn`.
    pub file: &'static str,
    pub text: &'static str,
    /// That which was asked for, if it is not the file's own.
    pub variant: Option<String>,
}

/// Whether a path without its variant means the zoo. A file of that name is `./zoo`.
pub fn is_zoo(path: &Path) -> bool {
    path.as_os_str() == ZOO
}

/// Each name of a network, with its file and whether it is a variant there.
static NETWORKS: LazyLock<HashMap<&'static str, (&'static str, bool)>> = LazyLock::new(|| {
    let files = models().map(|(file, _)| (file.trim_end_matches(".cnn"), (*file, false)));
    let variants = models().flat_map(|(file, text)| variants(text).map(move |variant| (variant, (*file, true))));
    files.chain(variants).collect()
});

/// A network by the name of its file or that of a variant; of both the variant.
///
/// # Errors
/// [`Error::UnknownNetwork`].
pub fn find(name: &str) -> Result<Entry, Error> {
    let found = NETWORKS.get(name).and_then(|&(file, is_variant)| {
        Some(Entry { file, text: text_of(file)?, variant: is_variant.then(|| name.to_owned()) })
    });
    found.ok_or_else(|| {
        let near = nearest(name, names());
        Error::UnknownNetwork { name: name.to_owned(), near: near.map(str::to_owned) }
    })
}

/// The network that a word of a command line means, if it means one of the zoo.
pub fn named(word: &Path) -> Option<Result<Entry, Error>> {
    let (path, name) = split_variant(word.as_os_str());
    name.filter(|_| is_zoo(&path)).map(|name| find(&name))
}

/// Names and texts of the model files.
fn models() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    FILES.iter().filter(|(file, _)| file.ends_with(".cnn"))
}

/// All names of networks.
pub fn names() -> Vec<&'static str> {
    models().flat_map(|(file, text)| names_of(file, text)).collect()
}

/// For each file its title and the names of its networks.
pub fn families() -> Vec<(String, Vec<&'static str>)> {
    let family = |(file, text): &(&'static str, &'static str)| {
        let entry = Entry { file, text, variant: None };
        let title = entry.card().and_then(|card| card.title).unwrap_or_else(|| (*file).to_owned());
        (title, names_of(file, text))
    };
    models().map(family).collect()
}

/// That of the file, which is its model with its defaults if it has them for all parameters, then its variants.
fn names_of(file: &'static str, text: &'static str) -> Vec<&'static str> {
    let stem = file.trim_end_matches(".cnn");
    [stem].into_iter().chain(variants(text).filter(|variant| *variant != stem)).collect()
}

/// Names and texts of the files that a text uses, and of those that these use.
pub fn used(text: &str) -> Vec<(&'static str, &'static str)> {
    let mut files: Vec<(&'static str, &'static str)> = Vec::new();
    let mut open = vec![text];
    while let Some(text) = open.pop() {
        for name in text.lines().filter_map(|line| line.strip_prefix("use \"")?.split('"').next()) {
            let file = FILES.iter().find(|(file, _)| *file == name).expect("the files of the zoo use each other");
            if !files.contains(file) {
                files.push(*file);
                open.push(file.1);
            }
        }
    }
    files
}

/// The names of a text's variants.
fn variants(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter_map(|line| Some(line.strip_prefix("variant ")?.split('=').next()?.trim()))
}

impl Entry {
    /// Its text, to be looked at.
    pub fn source(&self) -> (SourceMap, FileId) {
        let mut sources = SourceMap::default();
        let root = sources.add(format!("{ZOO}:{}", self.file), self.text);
        (sources, root)
    }

    /// The file's card, without the weights, which are too large to come along.
    ///
    /// # Panics
    /// If the card is wrong: a test reads all of them.
    pub fn card(&self) -> Option<Card> {
        let name = format!("{}yaml", self.file.trim_end_matches("cnn"));
        let mut card = Card::parse(text_of(&name)?, Path::new(&format!("{ZOO}:{name}"))).expect("a card of the zoo");
        card.weights = None;
        card.labels = card.labels.and_then(labels);
        for variant in card.variants.values_mut() {
            variant.weights = None;
            variant.labels = variant.labels.take().and_then(labels);
        }
        Some(card)
    }
}

/// The text of a file.
pub fn text_of(name: &str) -> Option<&'static str> {
    let at = FILES.binary_search_by_key(&name, |(file, _)| file).ok()?;
    Some(FILES[at].1)
}

/// Those of a file, if it came along.
fn labels(labels: Labels) -> Option<Labels> {
    match labels {
        Labels::File(path) => {
            let text = text_of(&path.to_str()?.replace('\\', "/"))?;
            Some(Labels::List(text.lines().map(str::to_owned).collect()))
        }
        list => Some(list),
    }
}

/// Gives the files that those of the zoo use.
pub struct ZooLoader;

impl Loader for ZooLoader {
    fn load(&mut self, path: &str) -> Result<String, String> {
        text_of(path).map(str::to_owned).ok_or_else(|| "there is no such file in the zoo".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, ModelOptions, shown};

    #[test]
    fn networks_have_cards_and_names() {
        assert!(names().len() > 60, "{:?}", names());
        for name in names() {
            let entry = find(name).unwrap();
            assert!(entry.card().is_some(), "{name}");
        }
        assert_eq!(find("resnet50").unwrap().file, "resnet.cnn");
        assert_eq!(find("resnet").unwrap().variant, None);
    }

    #[test]
    fn they_are_opened_by_name() {
        let model = Model::open("zoo:resnet18").unwrap();
        assert_eq!((model.name(), model.path()), ("zoo:resnet18", None));
        assert!(!model.has_weights() && model.card().unwrap().title.is_some());
        let model = ModelOptions::default().variant("fcn_resnet50").open("zoo").unwrap();
        assert!(model.outputs().count() > 0);
        let error = Model::open("zoo:resnet_50").map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("did you mean `zoo:resnet50`?"), "{error}");
    }

    /// The channels behind a block of a network that a text uses.
    fn channels(uses: &str, step: &str) -> Result<usize, String> {
        let net =
            format!("{uses}\nmodel m\ninput image: f32[N, 3, 64, 64]\nnet {{ stem: conv 3x3, 64, half | {step} }}\n");
        let model = Model::parse(&net).map_err(|error| error.to_string())?;
        let (_, ty) = model.outputs().next().unwrap();
        assert!(model.sources().used().next().is_none(), "files that come along are not carried along");
        Ok(ty.dims[0])
    }

    #[test]
    fn texts_use_their_blocks_with_the_values_of_a_variant() {
        let unit = |network: &str| channels(&format!("use \"zoo:{network}\""), "stage: Unit(64, 1)");
        assert_eq!((unit("resnet18"), unit("resnet50"), unit("resnet")), (Ok(64), Ok(256), Ok(256)));
        // With files that it uses itself, once each.
        assert_eq!(channels("use \"zoo:fcn\"\nuse \"zoo:resnet\"", "a: Unit(64, 1) | b: FCNHead(7)"), Ok(7));
        assert!(unit("resnet_50").unwrap_err().contains("did you mean `zoo:resnet50`?"));
        assert!(unit("../resnet50").unwrap_err().contains("E0602"));
    }

    #[test]
    fn variants_of_one_file_are_different_modules() {
        let uses = |names: [&str; 2]| names.map(|name| format!("use \"zoo:{name}\"\n")).concat();
        // Both use the blocks of one network.
        assert_eq!(channels(&uses(["fcn_resnet50", "fcn"]), "a: Unit(64, 1)"), Ok(256));
        // That which the text itself uses is nearer than that which another network is made of.
        for order in [["fcn", "resnet18"], ["resnet18", "fcn"]] {
            assert_eq!(channels(&uses(order), "a: Unit(64, 1) | b: FCNHead(7)"), Ok(7));
            assert_eq!(channels(&uses(order), "a: Unit(64, 1)"), Ok(64));
        }
        let error = channels(&uses(["resnet18", "resnet50"]), "a: Unit(64, 1)").unwrap_err();
        assert!(error.contains("E0210") && error.contains("two blocks are called `Unit` here"), "{error}");
        // What is not named, is not asked for.
        assert_eq!(channels(&uses(["resnet18", "resnet50"]), "conv 1x1, 5"), Ok(5));
    }

    #[test]
    fn files_of_their_own_name_the_blocks_of_variants() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let part = |network: &str, block: &str| {
            format!("use \"zoo:{network}\"\nblock {block}(c, s = 1) {{ unit: Unit(c, s) }}\n")
        };
        write("small.cnn", &part("resnet18", "Small"));
        write("deep.cnn", &part("resnet50", "Deep"));
        let head = "use \"small.cnn\"\nuse \"deep.cnn\"\nmodel m\ninput image: f32[N, 3, 64, 64]\n";
        write("m.cnn", &format!("{head}net {{ a: Small(64) as small | b: Deep(64) | output deep\nfrom small }}\n"));
        let model = Model::open(folder.path().join("m.cnn")).unwrap();
        let mut widths: Vec<usize> = model.outputs().map(|(_, ty)| ty.dims[0]).collect();
        widths.sort_unstable();
        assert_eq!(widths, [64, 256]);
    }

    /// What begins with `zoo:` is a network that comes along, `./` before it makes it a path.
    #[test]
    fn files_may_have_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("zoo:resnet18");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("part.cnn"), "block Part(c) { conv 1x1, c }\n").unwrap();
        let text = "use \"part.cnn\"\nmodel m\ninput image: f32[N, 3, 8, 8]\nnet { a: Part(5) }\n";
        std::fs::write(inside.join("zoo:m.cnn"), text).unwrap();
        let model = Model::open(inside.join("zoo:m.cnn")).unwrap();
        assert_eq!(model.sources().used().count(), 1);
        assert!(model.sources().ids().all(|id| model.sources().of_zoo(id).is_none()));
        let split = |word: &str| split_variant(word.as_ref());
        assert_eq!(split("zoo:a/b:c"), ("zoo".into(), Some("a/b:c".into())));
        assert_eq!(split("./zoo:x"), ("./zoo".into(), Some("x".into())));
        assert!(is_zoo(Path::new("zoo")) && !is_zoo(Path::new("./zoo")));
        assert_eq!(shown(Path::new("zoo:x/m.cnn")), "./zoo:x/m.cnn");
    }
}
