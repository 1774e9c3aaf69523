//! Under which names the tensors of a weight file are looked for: what programs put before the names of a model, and
//! between their components, comes off where the model's names are found only so.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Modules that hold another one and nothing else, which is how their names get into those of the weights: of
/// DataParallel and DistributedDataParallel, `torch.compile`, FullyShardedDataParallel and activation checkpointing.
const WRAPPERS: [&str; 4] = ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Prefixes that are tried.
const MAX_PREFIXES: usize = 16;

const MAX_PREFIX_COMPONENTS: usize = 16;

/// What is taken off the names in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Naming {
    /// Whether wrappers come off, wherever they stand in a name.
    unwrapped: bool,
    /// What comes off the start of the names that have it, after the wrappers, with the dot that ends it.
    prefix: String,
}

/// The names in a file by what they are with something taken off.
pub(super) struct Names<'f> {
    pub(super) naming: Naming,
    in_file: HashMap<Cow<'f, str>, &'f str>,
}

impl Naming {
    /// A name of the file with that taken off.
    pub(super) fn apply<'f>(&self, name: &'f str) -> Cow<'f, str> {
        let name = if self.unwrapped { unwrapped(name) } else { name.into() };
        match name {
            Cow::Borrowed(name) => name.strip_prefix(&self.prefix).unwrap_or(name).into(),
            Cow::Owned(name) => name.strip_prefix(&self.prefix).map(str::to_owned).unwrap_or(name).into(),
        }
    }

    /// `None` where two names become the same.
    fn of<'f>(self, names: &'f [String]) -> Option<Names<'f>> {
        let in_file: HashMap<_, _> = names.iter().map(|name| (self.apply(name), name.as_str())).collect();
        (in_file.len() == names.len()).then_some(Names { naming: self, in_file })
    }
}

impl<'f> Names<'f> {
    /// Finds the names of a model in those of a file. `wanted` has for each weight the names that it may have. Where
    /// some of them are found under no naming, the one is given that leaves the fewest.
    pub(super) fn find(names: &'f [String], wanted: &[Vec<String>]) -> Names<'f> {
        let mut best: Option<(usize, Names<'f>)> = None;
        for naming in namings(names, wanted) {
            let Some(names) = naming.of(names) else { continue };
            let missing = wanted.iter().filter(|weight| names.get(weight).is_none()).count();
            if best.as_ref().is_none_or(|(fewest, _)| missing < *fewest) {
                best = Some((missing, names));
            }
            if missing == 0 {
                break;
            }
        }
        best.expect("the names as they are").1
    }

    /// The name in the file of the weight that may have these names.
    pub(super) fn get(&self, weight: &[String]) -> Option<&'f str> {
        weight.iter().find_map(|name| self.in_file.get(name.as_str()).copied())
    }
}

/// The namings that are tried, the simplest first: the names of a file differ from each other, so the first gives names.
fn namings<'n>(names: &'n [String], wanted: &'n [Vec<String>]) -> impl Iterator<Item = Naming> + 'n {
    let bases = [false, true].map(|unwrapped| Naming { unwrapped, prefix: String::new() });
    let prefixed = bases.clone().into_iter().flat_map(|base| {
        let prefixes = prefixes(&base, names, wanted);
        prefixes.into_iter().map(move |prefix| Naming { prefix, ..base.clone() })
    });
    bases.into_iter().chain(prefixed)
}

/// What stands before weights of the model in the names of the file, that before most of them first.
fn prefixes(base: &Naming, names: &[String], wanted: &[Vec<String>]) -> Vec<String> {
    let ends: HashSet<&str> = wanted.iter().flatten().map(String::as_str).collect();
    let longest = ends.iter().map(|end| end.len()).max().unwrap_or(0);
    let mut count_of: HashMap<String, usize> = HashMap::new();
    for name in names.iter().map(|name| base.apply(name)) {
        for (dot, _) in name.match_indices('.').take(MAX_PREFIX_COMPONENTS) {
            let (prefix, end) = name.split_at(dot + 1);
            if end.len() <= longest && ends.contains(end) {
                *count_of.entry(prefix.to_owned()).or_default() += 1;
            }
        }
    }
    let mut prefixes: Vec<(String, usize)> = count_of.into_iter().collect();
    prefixes.sort_by(|(a, of_a), (b, of_b)| (of_b, a.len(), a).cmp(&(of_a, b.len(), b)));
    prefixes.into_iter().map(|(prefix, _)| prefix).take(MAX_PREFIXES).collect()
}

fn unwrapped(name: &str) -> Cow<'_, str> {
    if !name.split('.').any(|component| WRAPPERS.contains(&component)) {
        return name.into();
    }
    let rest: Vec<&str> = name.split('.').filter(|component| !WRAPPERS.contains(component)).collect();
    rest.join(".").into()
}

/// What came off, for a note, such as "without the prefix" and that; empty where nothing did.
impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Naming { unwrapped, prefix } = &self.naming;
        let occurs = |wrapper: &&&str| self.in_file.values().any(|name| name.split('.').any(|part| part == **wrapper));
        let wrappers: Vec<String> = match unwrapped {
            true => WRAPPERS.iter().filter(occurs).map(|wrapper| format!("`{wrapper}`")).collect(),
            false => vec![],
        };
        let prefix = if prefix.is_empty() { vec![] } else { vec![format!("the prefix `{prefix}`")] };
        match [wrappers, prefix].concat() {
            taken if taken.is_empty() => Ok(()),
            taken => write!(f, "without {}", taken.join(" and ")),
        }
    }
}
