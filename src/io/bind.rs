//! The weights of a graph found in a weight file.

use super::weights::WeightFile;
use crate::diagnostic::nearest;
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, Param, ParamSource, Rename};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// A weight file that is known to hold every weight of a graph in its shape and in a type that can be read.
pub struct BoundWeights {
    file: WeightFile,
    /// Name in the file of each weight of the graph.
    names: HashMap<String, String>,
}

/// Everything that does not fit between a graph and a weight file.
#[derive(Debug, Default, PartialEq)]
pub struct Misfit {
    file: String,
    /// With the nearest name that is left over in the file.
    missing: Vec<(String, Vec<usize>, Option<String>)>,
    /// Name, shape in the graph, shape in the file.
    wrong_shape: Vec<(String, Vec<usize>, Vec<usize>)>,
    surplus: Vec<String>,
    unreadable: Vec<String>,
}

/// Names shown of each kind of misfit.
const SHOWN: usize = 8;

impl BoundWeights {
    /// Finds each weight of `graph` in `file` under its own name or, failing that, under a renamed one.
    /// `num_batches_tracked` in the file is ignored, as are the weights of branches that were left out.
    ///
    /// # Errors
    /// All weights that are missing, surplus, of a wrong shape or of a type that cannot be read.
    pub fn bind(graph: &Graph, file: WeightFile) -> Result<BoundWeights, Misfit> {
        let wanted: Vec<&Param> = graph.params.iter().filter(|p| p.source == ParamSource::File).collect();
        let mut misfit = Misfit { file: file.path().display().to_string(), ..Misfit::default() };
        let mut names = HashMap::new();
        let mut missing = Vec::new();
        for param in wanted {
            match find(&file, &param.name, &graph.renames) {
                Some(name) => {
                    check(&file, param, &name, &mut misfit);
                    names.insert(param.name.clone(), name);
                }
                None => missing.push(param),
            }
        }
        let used: HashSet<&String> = names.values().collect();
        let left_out: HashSet<&String> = graph.left_out.iter().collect();
        let known = |name: &String| used.contains(name) || left_out.contains(name) || is_counter(name);
        let left: Vec<String> = file.names().into_iter().filter(|name| !known(name)).collect();
        for param in missing {
            let near = nearest(&param.name, left.iter().map(String::as_str)).map(str::to_string);
            misfit.missing.push((param.name.clone(), param.dims.clone(), near));
        }
        misfit.surplus = left;
        if misfit.is_empty() { Ok(BoundWeights { file, names }) } else { Err(misfit) }
    }
}

/// Counts the training steps of a batch norm (PyTorch); no network needs it.
fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

fn find(file: &WeightFile, name: &str, renames: &[Rename]) -> Option<String> {
    let candidates = std::iter::once(name.to_string()).chain(renamed(name, renames));
    candidates.into_iter().find(|n| file.shape(n).is_some())
}

/// The name under the renames: each one alone, and all together.
fn renamed(name: &str, renames: &[Rename]) -> Vec<String> {
    let alone = renames.iter().map(|r| substitute(name, r));
    let together = renames.iter().fold(name.to_string(), |name, r| substitute(&name, r));
    alone.chain([together]).filter(|n| n != name).collect()
}

/// Replaces every run of components that equals `rename.from`.
fn substitute(name: &str, rename: &Rename) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let from: Vec<&str> = rename.from.split('.').collect();
    let (mut result, mut at) = (Vec::new(), 0);
    while at < parts.len() {
        if parts[at..].starts_with(&from) {
            result.push(rename.to.as_str());
            at += from.len();
        } else {
            result.push(parts[at]);
            at += 1;
        }
    }
    result.join(".")
}

fn check(file: &WeightFile, param: &Param, name: &str, misfit: &mut Misfit) {
    let shape = file.shape(name).expect("found by name");
    if shape != param.dims {
        misfit.wrong_shape.push((name.to_string(), param.dims.clone(), shape.to_vec()));
    } else if let Err(error) = file.read(name) {
        misfit.unreadable.push(error.to_string());
    }
}

impl WeightSource for BoundWeights {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        self.file.read(&self.names[&param.name]).expect("checked when the file was bound")
    }
}

impl Misfit {
    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.wrong_shape.is_empty() && self.surplus.is_empty() && self.unreadable.is_empty()
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the weights do not fit the model", self.file)?;
        section(f, "missing", &self.missing, |(name, dims, near)| {
            let near = near.as_ref().map_or(String::new(), |n| format!(" (the file has `{n}`)"));
            format!("{name} {dims:?}{near}")
        })?;
        section(f, "of another shape", &self.wrong_shape, |(name, wanted, found)| {
            format!("{name}: the model needs {wanted:?}, the file has {found:?}")
        })?;
        section(f, "surplus", &self.surplus, String::clone)?;
        section(f, "of a type that cannot be read", &self.unreadable, String::clone)
    }
}

impl std::error::Error for Misfit {}

fn section<T>(f: &mut fmt::Formatter<'_>, title: &str, items: &[T], line: impl Fn(&T) -> String) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {} {title}:", items.len())?;
    for item in items.iter().take(SHOWN) {
        write!(f, "\n    {}", line(item))?;
    }
    if items.len() > SHOWN {
        write!(f, "\n    and {} more", items.len() - SHOWN)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::build::{self, NoFiles, Options};
    use crate::source::SourceMap;
    use ::safetensors::{Dtype, serialize_to_file, tensor::TensorView};

    const WITH_AUX: &str = "\
model m
input x: f32[N, 2]
net { fc: dense 3 | aux side: { fc: dense 4 } | last: dense 2 }
";

    fn graph(aux: bool) -> Graph {
        let mut sources = SourceMap::default();
        let root = sources.add("m.cnn", WITH_AUX);
        let options = Options { aux, ..Options::default() };
        let program = build::load(&mut sources, root, &options.limits, &mut NoFiles).unwrap();
        build::build(&mut sources, &program, &options).unwrap()
    }

    /// A file with the weights of a graph.
    fn file(graph: &Graph) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let zeros = [0; 4 * 16];
        let view = |dims: &[usize]| {
            TensorView::new(Dtype::F32, dims.to_vec(), &zeros[..4 * dims.iter().product::<usize>()]).unwrap()
        };
        let tensors = graph.params.iter().map(|param| (param.name.as_str(), view(&param.dims)));
        serialize_to_file(tensors, None, file.path()).unwrap();
        file
    }

    #[test]
    fn a_file_may_hold_the_weights_of_side_outputs() {
        let whole = file(&graph(true));
        let bind = |aux| BoundWeights::bind(&graph(aux), WeightFile::open(whole.path()).unwrap());
        assert_eq!(bind(true).err(), None);
        assert_eq!(bind(false).err(), None);
        let main = file(&graph(false));
        let misfit = BoundWeights::bind(&graph(true), WeightFile::open(main.path()).unwrap()).err().unwrap();
        assert_eq!(
            misfit.missing.iter().map(|(name, ..)| &name[..]).collect::<Vec<_>>(),
            ["side.fc.weight", "side.fc.bias"]
        );
    }

    #[test]
    fn whole_components_are_renamed() {
        let rename = Rename { from: "norm1".into(), to: "norm.1".into() };
        assert_eq!(substitute("a.norm1.weight", &rename), "a.norm.1.weight");
        assert_eq!(substitute("a.norm10.weight", &rename), "a.norm10.weight");
        let rename = Rename { from: "a.b".into(), to: "c".into() };
        assert_eq!(substitute("a.b.a.b.weight", &rename), "c.c.weight");
    }
}
