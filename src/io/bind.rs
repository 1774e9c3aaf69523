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

    fn release(&self, param: &Param) {
        self.file.release(&self.names[&param.name]);
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
    use crate::ir::Verified;
    use crate::ir::build::{self, NoFiles, Options};
    use crate::source::SourceMap;
    use ::safetensors::{Dtype, serialize_to_file, tensor::TensorView};

    const WITH_AUX: &str = "\
model m
input image: f32[N, 2]
net { fc: dense 3 | aux side: { fc: dense 4 } | last: dense 2 }
";

    fn graph(aux: bool) -> Verified<Graph> {
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

    /// A graph that wants these weights under these renames; `fixed` comes from the model file.
    fn wanting(weights: &[(&str, &[usize])], renames: &[(&str, &str)]) -> Graph {
        let init = crate::layers::Init::Small;
        let param = |name: &str, dims: &[usize], source| Param { name: name.into(), dims: dims.to_vec(), source, init };
        let mut params: Vec<Param> = weights.iter().map(|(name, dims)| param(name, dims, ParamSource::File)).collect();
        params.push(param("fixed", &[1], ParamSource::Fixed([1.0].into())));
        let renames = renames.iter().map(|(from, to)| Rename { from: from.to_string(), to: to.to_string() }).collect();
        Graph { params, renames, ..Graph::default() }
    }

    /// Binds a graph to a safetensors file of these tensors, all elements being the tensor's index.
    fn bound(graph: &Graph, tensors: &[(&str, &str, &[usize])]) -> Result<BoundWeights, Misfit> {
        let (mut header, mut values) = (serde_json::Map::new(), Vec::new());
        for (index, (name, dtype, shape)) in tensors.iter().enumerate() {
            let start = values.len();
            for _ in 0..shape.iter().product() {
                match *dtype {
                    "F32" => values.extend((index as f32).to_le_bytes()),
                    "I64" => values.extend((index as i64).to_le_bytes()),
                    other => panic!("{other}"),
                }
            }
            let info = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [start, values.len()]});
            header.insert(name.to_string(), info);
        }
        let header = serde_json::Value::from(header).to_string();
        let file = tempfile::NamedTempFile::new().unwrap();
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(file.path(), [&length[..], header.as_bytes(), &values].concat()).unwrap();
        BoundWeights::bind(graph, WeightFile::open(file.path()).unwrap())
    }

    /// What the message says behind the name of the file.
    fn misfit(graph: &Graph, tensors: &[(&str, &str, &[usize])]) -> String {
        let misfit = bound(graph, tensors).err().expect("a misfit").to_string();
        misfit.split_once(": the weights do not fit the model").expect(&misfit).1.to_string()
    }

    /// The values that a graph's weights are bound to.
    fn values(graph: &Graph, tensors: &[(&str, &str, &[usize])]) -> Vec<Vec<f32>> {
        let bound = bound(graph, tensors).unwrap_or_else(|misfit| panic!("{misfit}"));
        let wanted = graph.params.iter().filter(|param| param.source == ParamSource::File);
        wanted.map(|param| bound.values(param).into_owned()).collect()
    }

    #[test]
    fn weights_are_found_by_name_and_counters_ignored() {
        let graph = wanting(&[("a.weight", &[2, 1]), ("a.bias", &[])], &[]);
        let tensors: [(&str, &str, &[usize]); 4] = [
            ("a.bias", "F32", &[]),
            ("num_batches_tracked", "I64", &[]),
            ("a.weight", "F32", &[2, 1]),
            ("a.num_batches_tracked", "I64", &[]),
        ];
        assert_eq!(values(&graph, &tensors), [vec![2.0, 2.0], vec![0.0]]);
    }

    #[test]
    fn a_missing_weight_is_named_with_the_nearest_one_left_over() {
        let graph = wanting(&[("conv1.weight", &[1]), ("conv2.weight", &[1]), ("zz", &[4])], &[]);
        let tensors: [(&str, &str, &[usize]); 2] = [("conv1.weight", "F32", &[1]), ("conv2.weigth", "F32", &[1])];
        assert_eq!(
            misfit(&graph, &tensors),
            "\n  2 missing:\n    conv2.weight [1] (the file has `conv2.weigth`)\n    zz [4]\
             \n  1 surplus:\n    conv2.weigth"
        );
    }

    #[test]
    fn every_kind_of_misfit_is_told_at_once() {
        let graph = wanting(&[("a", &[2]), ("b", &[1]), ("c", &[1])], &[]);
        let tensors: [(&str, &str, &[usize]); 3] = [("a", "F32", &[1, 2]), ("b", "I64", &[1]), ("x", "F32", &[1])];
        let message = misfit(&graph, &tensors);
        let (before, unreadable) = message.split_once("\n  1 of a type that cannot be read:\n    ").unwrap();
        assert_eq!(
            before,
            "\n  1 missing:\n    c [1]\n  1 of another shape:\n    a: the model needs [2], the file has [1, 2]\
             \n  1 surplus:\n    x"
        );
        assert!(unreadable.ends_with(r#"tensor "b" is stored as I64; accepted: F32, F16, BF16, F64"#), "{unreadable}");
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..SHOWN + 3).map(|n| format!("t{n:02}")).collect();
        let tensors: Vec<(&str, &str, &[usize])> = names.iter().map(|name| (&name[..], "F32", &[1][..])).collect();
        let message = misfit(&wanting(&[], &[]), &tensors);
        assert!(message.starts_with("\n  11 surplus:\n    t00\n"), "{message}");
        assert!(message.ends_with("\n    t07\n    and 3 more"), "{message}");
    }

    #[test]
    fn renames_apply_alone_or_together_after_the_own_name() {
        let renames = [("norm1", "bn.1"), ("block", "layers")];
        let own: [(&str, &str, &[usize]); 1] = [("block.norm1.weight", "F32", &[1])];
        let first: [(&str, &str, &[usize]); 1] = [("block.bn.1.weight", "F32", &[1])];
        let second: [(&str, &str, &[usize]); 1] = [("layers.norm1.weight", "F32", &[1])];
        let both: [(&str, &str, &[usize]); 1] = [("layers.bn.1.weight", "F32", &[1])];
        let graph = wanting(&[("block.norm1.weight", &[1])], &renames);
        for tensors in [own, first, second, both] {
            assert_eq!(values(&graph, &tensors), [[0.0]], "{tensors:?}");
        }
        assert!(misfit(&graph, &[first[0], own[0]]).contains("1 surplus:\n    block.bn.1.weight"));
        let wrong: [(&str, &str, &[usize]); 1] = [("layers.bn.1.weight", "F32", &[3])];
        assert!(misfit(&graph, &wrong).contains("layers.bn.1.weight: the model needs [1], the file has [3]"));
    }
}
