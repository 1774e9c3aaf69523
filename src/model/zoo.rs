//! The networks that come along: `zoo:resnet50`, built in, so that they are there where svertka is.

use crate::diagnostic::nearest;
use crate::error::Error;
use crate::front::text::build::Loader;
use crate::io::card::{Card, Labels};
use std::path::Path;

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

/// Whether a path means the zoo, and no file of that name.
pub fn is_zoo(path: &Path) -> bool {
    path == Path::new(ZOO) && !path.exists()
}

/// A network by the name of its file or that of a variant; of both the variant.
///
/// # Errors
/// [`Error::UnknownNetwork`].
pub fn find(name: &str) -> Result<Entry, Error> {
    let by_variant = || models().find(|(_, text)| variants(text).any(|variant| variant == name));
    let by_file = || models().find(|(file, _)| file.strip_suffix(".cnn") == Some(name));
    let entry = |(file, text): &(&'static str, &'static str), variant| Entry { file, text, variant };
    let found = by_variant().map(|found| entry(found, Some(name.to_owned()))).or_else(|| Some(entry(by_file()?, None)));
    found.ok_or_else(|| {
        let near = nearest(name, names());
        Error::UnknownNetwork { name: name.to_owned(), near: near.map(str::to_owned) }
    })
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
    FILES.iter().find(|(file, _)| *file == name).map(|(_, text)| *text)
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
    use crate::model::{Model, ModelOptions};

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
        let both = "use \"zoo:fcn_resnet50\"\nuse \"zoo:fcn\"";
        assert!(channels(both, "a: Unit(64, 1)").unwrap_err().contains("as another of its networks"));
        assert_eq!(channels("use \"zoo:fcn\"\nuse \"zoo:resnet\"", "a: Unit(64, 1) | b: FCNHead(7)"), Ok(7));
        assert!(unit("resnet_50").unwrap_err().contains("did you mean `zoo:resnet50`?"));
        assert!(unit("../resnet50").unwrap_err().contains("E0602"));
    }
}
