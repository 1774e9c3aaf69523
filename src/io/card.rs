//! Model cards: `NAME.yaml` (or `.yml`) beside `NAME.cnn` holds what an architecture does not say.

use super::{IoError, STREAM, text};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// A model card. Unknown fields are errors.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The file the card was read from; file names in the card are relative to its folder.
    #[serde(skip)]
    path: PathBuf,
    /// The network's name for people.
    pub title: Option<String>,
    /// The paper.
    pub source: Option<String>,
    #[serde(default)]
    /// How pictures become inputs.
    pub preprocessing: Preprocessing,
    /// Names of the classes.
    pub labels: Option<Labels>,
    /// The default weight file.
    pub weights: Option<PathBuf>,
    /// What is published of its accuracy.
    pub accuracy: Option<Accuracy>,
    /// What differs in the variants of the model file, by their names.
    #[serde(default)]
    pub variants: BTreeMap<String, Variant>,
}

/// What a variant has of its own; each field replaces the card's as a whole.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The weight file, from the card's folder.
    pub weights: Option<PathBuf>,
    /// How pictures become inputs.
    pub preprocessing: Option<Preprocessing>,
    /// Names of the classes.
    pub labels: Option<Labels>,
    /// What is published of its accuracy.
    pub accuracy: Option<Accuracy>,
}

/// How a picture becomes the input of a network: resized and cropped in the order of the fields here (one that has the
/// network's size is left as it is), then each 8-bit value x turned into `(x * scale - mean) / std` of its channel.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocessing {
    /// Resize so that the shorter side has this length.
    pub resize: Option<NonZeroU32>,
    /// Take a square of this side from the centre.
    pub crop: Option<NonZeroU32>,
    /// Resize to exactly this height and width.
    pub size: Option<[NonZeroU32; 2]>,
    /// How it resizes.
    pub filter: Filter,
    /// 1/255 unless given.
    #[serde(deserialize_with = "factor")]
    pub scale: f64,
    /// One value for all channels or one for each, in the order in which the network takes them; 0 unless given.
    #[serde(deserialize_with = "finite")]
    pub mean: Vec<f32>,
    /// As `mean`; 1 unless given.
    #[serde(deserialize_with = "divisors")]
    pub std: Vec<f32>,
    /// Which channels the network takes.
    pub colour: Colour,
}

/// How a picture is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Averages over all pixels that fall into a new one (antialiased).
    #[default]
    Bilinear,
    /// Takes the nearest pixel.
    Nearest,
}

/// The order of the channels that the network takes. `Grey` removes the colour of a picture before it is repeated
/// for a network of three channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    #[default]
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel, or three equal ones.
    Grey,
}

/// The names of the classes in the order of the outputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// A text file with one name a line.
    File(PathBuf),
    /// In the card itself.
    List(Vec<String>),
}

/// Published figures, in per cent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// Percentage of samples whose likeliest class is right.
    pub top1: Option<f64>,
    /// Percentage of samples whose right class is among the five likeliest.
    pub top5: Option<f64>,
    /// Of which samples.
    pub dataset: Option<String>,
    /// Who measured it.
    pub source: Option<String>,
}

impl Default for Preprocessing {
    fn default() -> Self {
        Preprocessing {
            resize: None,
            crop: None,
            size: None,
            filter: Filter::default(),
            scale: 1.0 / 255.0,
            mean: Vec::new(),
            std: Vec::new(),
            colour: Colour::default(),
        }
    }
}

/// Checked here, where an error still has its place in the file.
fn factor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value.is_normal() { Ok(value) } else { Err(D::Error::custom("`scale` must be finite and not 0")) }
}

fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    let values = Vec::<f32>::deserialize(deserializer)?;
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(D::Error::custom("`mean` must be finite"))
    }
}

fn divisors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    let values = Vec::<f32>::deserialize(deserializer)?;
    if values.iter().all(|value| value.is_normal()) {
        Ok(values)
    } else {
        Err(D::Error::custom("`std` must be finite and not 0"))
    }
}

/// Written out, since the derived form for untagged enums loses the place of an error.
impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
        deserializer.deserialize_any(LabelsVisitor)
    }
}

struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file name or a list of names")
    }

    fn visit_str<E>(self, name: &str) -> Result<Labels, E> {
        Ok(Labels::File(name.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Labels, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(names)).map(Labels::List)
    }
}

impl Preprocessing {
    /// Whether pictures are brought to one size.
    pub fn resizes(&self) -> bool {
        self.resize.is_some() || self.crop.is_some() || self.size.is_some()
    }
}

impl Card {
    /// The card of a model file: the file of the same name with the extension `yaml` or `yml` beside it, if there is
    /// one; for a symbolic link, else the one beside the file that it names.
    ///
    /// # Errors
    /// Where both are there, and where the card cannot be read.
    pub fn for_model(model: &Path) -> Result<Option<Card>, IoError> {
        let beside = |model: &Path| {
            let [yaml, yml] = ["yaml", "yml"].map(|extension| model.with_extension(extension));
            match (yaml.exists(), yml.exists()) {
                (true, true) => {
                    let reason = format!("{} is a card of the same model; remove one of them", yml.display());
                    Err(IoError::unsupported(&yaml, reason))
                }
                (true, false) => Ok(Some(yaml)),
                (false, true) => Ok(Some(yml)),
                (false, false) => Ok(None),
            }
        };
        if model == Path::new(STREAM) {
            return Ok(None);
        }
        let path = match (beside(model)?, model.canonicalize()) {
            (None, Ok(target)) => beside(&target)?,
            (found, _) => found,
        };
        path.map(|path| Card::read(&path)).transpose()
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a card; errors give its line and column.
    pub fn read(path: &Path) -> Result<Card, IoError> {
        Card::parse(&text::read(path)?, path)
    }

    /// A card of a text; errors name `path`, and files that it names are beside that.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Card, IoError> {
        let mut card: Card = serde_yaml::from_str(text).map_err(|error| located(path, &error))?;
        path.clone_into(&mut card.path);
        Ok(card)
    }

    /// The card of one variant, with what it overrides. A variant that the card does not mention has the card's
    /// values.
    pub fn for_variant(&self, name: &str) -> Card {
        let own = self.variants.get(name).cloned().unwrap_or_default();
        let card = self.clone();
        Card {
            weights: own.weights.or(card.weights),
            preprocessing: own.preprocessing.unwrap_or(card.preprocessing),
            labels: own.labels.or(card.labels),
            accuracy: own.accuracy.or(card.accuracy),
            variants: BTreeMap::new(),
            ..card
        }
    }

    /// Where the default weight file is.
    pub fn weights_path(&self) -> Option<PathBuf> {
        self.weights.as_deref().map(|name| self.path.with_file_name("").join(name))
    }

    /// The names of the classes, from the card or from the file that it names; empty where it has none.
    pub fn labels(&self) -> Result<Vec<String>, IoError> {
        match &self.labels {
            None => Ok(Vec::new()),
            Some(Labels::List(names)) => Ok(names.clone()),
            Some(Labels::File(name)) => read_labels(&self.path.with_file_name("").join(name)),
        }
    }
}

/// Reads a text file with the name of one class a line.
pub fn read_labels(path: &Path) -> Result<Vec<String>, IoError> {
    Ok(text::read(path)?.trim_end().lines().map(|line| line.trim().to_owned()).collect())
}

fn located(path: &Path, error: &serde_yaml::Error) -> IoError {
    let (line, column) = error.location().map_or((1, 1), |place| (place.line(), place.column()));
    // The message repeats the place at its end.
    let text = error.to_string();
    let message = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text).to_owned();
    IoError::Card { path: path.to_owned(), line, column, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "\
title: LeNet-5
source: LeCun et al. 1998
preprocessing:
  mean: [0.1307]
  std: [0.3081]
  colour: grey
labels: [0, 1, 2]
weights: lenet5.safetensors
accuracy: {top1: 99.0, dataset: MNIST}
variants:
  tanh:
    weights: tanh.safetensors
    preprocessing: {resize: 256, crop: 224, filter: nearest, scale: 1}
  letters:
    labels: [a, b]
";

    /// The card in a folder beside its model file.
    fn folder(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("net.yaml"), text).unwrap();
        let model = folder.path().join("net.cnn");
        (folder, model)
    }

    fn error_of(text: &str) -> String {
        let (folder, model) = folder(text);
        let error = Card::for_model(&model).unwrap_err().to_string();
        error.strip_prefix(&folder.path().join("net.yaml").display().to_string()).unwrap().to_owned()
    }

    #[test]
    fn reads_a_card_beside_its_model() {
        let (folder, model) = folder(CARD);
        let card = Card::for_model(&model).unwrap().unwrap();
        assert_eq!(card.title.as_deref(), Some("LeNet-5"));
        assert_eq!(card.preprocessing.mean, [0.1307]);
        assert_eq!(card.preprocessing.scale, 1.0 / 255.0);
        assert_eq!(card.preprocessing.colour, Colour::Grey);
        assert_eq!(card.labels().unwrap(), ["0", "1", "2"]);
        assert_eq!(card.weights_path().unwrap(), folder.path().join("lenet5.safetensors"));
        assert_eq!(card.accuracy.unwrap().top1, Some(99.0));
        assert_eq!(Card::for_model(&folder.path().join("other.cnn")).unwrap(), None);
    }

    #[test]
    fn either_extension_but_not_both() {
        let (folder, model) = folder(CARD);
        std::fs::rename(folder.path().join("net.yaml"), folder.path().join("net.yml")).unwrap();
        assert_eq!(Card::for_model(&model).unwrap().unwrap().title.as_deref(), Some("LeNet-5"));
        std::fs::write(folder.path().join("net.yaml"), CARD).unwrap();
        let error = Card::for_model(&model).unwrap_err().to_string();
        assert!(error.contains("net.yaml: ") && error.contains("net.yml is a card of the same model"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn the_card_of_a_link_lies_beside_it_or_beside_its_target() {
        let (real, target) = folder(CARD);
        std::fs::write(&target, "").unwrap();
        let links = tempfile::tempdir().unwrap();
        let link = links.path().join("link.cnn");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let card = Card::for_model(&link).unwrap().unwrap();
        assert_eq!(card.weights_path(), Some(real.path().canonicalize().unwrap().join("lenet5.safetensors")));
        std::fs::write(links.path().join("link.yaml"), "title: own\n").unwrap();
        assert_eq!(Card::for_model(&link).unwrap().unwrap().title.as_deref(), Some("own"));
    }

    #[test]
    fn a_variant_replaces_what_it_gives() {
        let (folder, model) = folder(CARD);
        let card = Card::for_model(&model).unwrap().unwrap();
        let tanh = card.for_variant("tanh");
        assert_eq!(tanh.weights_path().unwrap(), folder.path().join("tanh.safetensors"));
        assert_eq!(tanh.preprocessing.filter, Filter::Nearest);
        assert_eq!(tanh.preprocessing.crop, NonZeroU32::new(224));
        assert!(tanh.preprocessing.mean.is_empty());
        assert_eq!((&tanh.accuracy, &tanh.labels), (&card.accuracy, &card.labels));
        assert_eq!(card.for_variant("letters").labels().unwrap(), ["a", "b"]);
        assert_eq!(card.for_variant("relu"), Card { variants: BTreeMap::new(), ..card.clone() });
    }

    #[test]
    fn labels_may_stand_in_a_file() {
        let (folder, model) = folder("labels: names.txt\n");
        std::fs::write(folder.path().join("names.txt"), "tench\r\ngreat white shark\n\n").unwrap();
        let card = Card::for_model(&model).unwrap().unwrap();
        assert_eq!(card.labels().unwrap(), ["tench", "great white shark"]);
        std::fs::remove_file(folder.path().join("names.txt")).unwrap();
        assert!(card.labels().unwrap_err().to_string().contains("names.txt: cannot open"));
    }

    #[test]
    fn errors_give_the_place_and_the_known_fields() {
        let cases = [
            (
                "title: x\npreprocessing:\n  maen: [1]\n",
                ":3:3: preprocessing: unknown field `maen`, expected one of `resize`, `crop`, `size`",
            ),
            ("titel: x\n", ":1:1: unknown field `titel`, expected one of `title`, `source`"),
            ("variants:\n  a: {title: b}\n", ":2:7: variants.a: unknown field `title`, expected one of `weights`"),
            ("preprocessing:\n  filter: cubic\n", ":2:11: preprocessing.filter: unknown variant `cubic`"),
            ("title: x\npreprocessing:\n  std: [0]\n", ":3:3: preprocessing: `std` must be finite and not 0"),
            ("preprocessing: {scale: .nan}\n", ":1:16: preprocessing: `scale` must be finite and not 0"),
            ("preprocessing: {mean: [0, .inf]}\n", ":1:16: preprocessing: `mean` must be finite"),
            ("preprocessing: {size: [1]}\n", ":1:23: preprocessing.size: invalid length 1"),
            ("preprocessing: {crop: 0}\n", ":1:23: preprocessing.crop: invalid value: integer `0`"),
            ("labels: [a, [b]]\n", ":1:13: labels[1]: invalid type: sequence, expected a string"),
            ("labels: 3\n", ":1:9: labels: invalid type: integer `3`, expected a file name or a list of names"),
            ("title: \"x\n", ":2:1: found unexpected end of stream"),
        ];
        for (text, expected) in cases {
            let error = error_of(text);
            assert!(error.starts_with(expected), "{text}{error}");
        }
    }

    #[test]
    fn nested_and_repeated_yaml_ends_in_an_error() {
        error_of(&"[".repeat(100_000));
        let aliases: String =
            (1..40).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(9))).collect();
        error_of(&format!("a0: &a0 [x]\n{aliases}title: *a39\n"));
        error_of("title: \u{0}");
    }
}
