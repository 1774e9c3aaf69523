//! The weights of a graph found in a weight file.

use super::naming::Names;
use super::weights::WeightFile;
use crate::diagnostic::{harmless, nearest};
use crate::hash::hash_of;
use crate::ir::weights::{WeightSource, narrow};
use crate::ir::{Graph, Param, ParamSource, Rename, Verified, verify};
use crate::tensor::Half;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

/// A weight file that is known to hold every weight of a graph in its shape and in a type that can be read.
pub struct BoundWeights {
    file: WeightFile,
    /// Name in the file of each weight of the graph.
    names: HashMap<String, String>,
    note: Option<String>,
}

/// Everything that does not fit between a graph and a weight file.
#[derive(Debug, Default, PartialEq)]
pub struct Misfit {
    /// The file, and what was taken off the names in it.
    heading: String,
    /// With the nearest name that is left over in the file.
    missing: Vec<(String, Vec<usize>, Option<String>)>,
    /// Name, shape in the graph, shape in the file.
    wrong_shape: Vec<(String, Vec<usize>, Vec<usize>)>,
    surplus: Vec<String>,
    unreadable: Vec<String>,
}

/// Names shown of each kind of misfit.
const SHOWN: usize = 8;

/// Characters shown of a line.
const LINE: usize = 500;

impl BoundWeights {
    /// Finds each weight of `graph` in `file` under its own name or, failing that, under a renamed one; where not all
    /// are there, then in names from which prefixes of training programs were taken.
    /// `num_batches_tracked` in the file is ignored, as are the weights of branches that were left out.
    ///
    /// # Errors
    /// All weights that are missing, surplus, of a wrong shape, or that cannot be read.
    pub fn bind(graph: &Graph, file: WeightFile) -> Result<BoundWeights, Misfit> {
        BoundWeights::bind_rest(graph, file, &HashSet::new())
    }

    /// As [`bind`](BoundWeights::bind), of a file of which these names have served already.
    ///
    /// # Errors
    /// As [`bind`](BoundWeights::bind).
    pub fn bind_rest(graph: &Graph, file: WeightFile, served: &HashSet<String>) -> Result<BoundWeights, Misfit> {
        let wanted: Vec<&Param> = graph.params.iter().filter(|p| p.source == ParamSource::File).collect();
        let acceptable: Vec<Vec<String>> = wanted.iter().map(|param| acceptable(&param.name, &graph.renames)).collect();
        let in_file = file.names();
        let found = Names::find(&in_file, &acceptable);
        let note = Some(found.to_string()).filter(|note| !note.is_empty());
        let taken_off = note.as_ref().map_or(String::new(), |note| format!(" (names {note})"));
        let heading = format!("{}: the weights do not fit the model{taken_off}", file.path().display());
        let mut misfit = Misfit { heading, ..Misfit::default() };
        let mut names = HashMap::new();
        let mut missing = Vec::new();
        for (param, acceptable) in wanted.iter().zip(&acceptable) {
            match found.get(acceptable) {
                Some(name) => {
                    check(&file, param, name, &mut misfit);
                    names.insert(param.name.clone(), name.to_owned());
                }
                None => missing.push((param, acceptable)),
            }
        }
        let mut left = left_over(graph, &found, &in_file, &names);
        left.retain(|(_, name)| !served.contains(*name));
        let objects: HashMap<Cow<'_, str>, &String> =
            file.objects().iter().map(|(name, what)| (found.naming.apply(name), what)).collect();
        for (param, acceptable) in missing {
            match acceptable.iter().find_map(|name| objects.get(name.as_str())) {
                Some(what) => misfit.unreadable.push(format!("{}: {what}", param.name)),
                None => misfit.miss(param, &left),
            }
        }
        misfit.surplus = left.into_iter().map(|(_, name)| name.to_owned()).collect();
        if misfit.is_empty() { Ok(BoundWeights { file, names, note }) } else { Err(misfit) }
    }

    /// What was taken off the names in the file to find those of the graph, to be told to the user.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// A hash that changes with the file, and with which of its tensors are taken; see [`WeightFile::stamp`].
    pub fn stamp(&self) -> Option<u64> {
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort();
        self.file.stamp().map(|stamp| hash_of(&(stamp, names)))
    }

    /// The network with weights in 16 bits where the file has them so; `None` where it has none of this network.
    pub fn in_halves(&self, graph: &Verified<Graph>) -> Option<Verified<Graph>> {
        let half = |param: &Param| self.names.get(&param.name).and_then(|name| self.file.half(name));
        if !graph.params.iter().any(|param| param.source == ParamSource::File && half(param).is_some()) {
            return None;
        }
        let mut graph = graph.clone().into_inner();
        for param in graph.params.iter_mut().filter(|param| param.source == ParamSource::File) {
            param.source = half(param).map_or(ParamSource::File, ParamSource::Half);
        }
        Some(verify(graph).expect("a network of which some weights are stored in another type"))
    }

    /// The file.
    pub fn file(&self) -> &WeightFile {
        &self.file
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// The names in the file that stand for no weight of the graph, each without and with what was taken off.
fn left_over<'f>(
    graph: &Graph,
    found: &Names<'f>,
    in_file: &'f [String],
    used: &HashMap<String, String>,
) -> Vec<(Cow<'f, str>, &'f str)> {
    let used: HashSet<&str> = used.values().map(String::as_str).collect();
    let left_out: HashSet<&str> = graph.left_out.iter().map(String::as_str).collect();
    let names = in_file.iter().map(|name| (found.naming.apply(name), name.as_str()));
    names.filter(|(taken, name)| !used.contains(name) && !left_out.contains(&**taken) && !is_counter(name)).collect()
}

/// Counts the training steps of a batch norm (PyTorch); no network needs it.
fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// The names that a weight may have in a file, its own first.
fn acceptable(name: &str, renames: &[Rename]) -> Vec<String> {
    std::iter::once(name.to_string()).chain(renamed(name, renames)).collect()
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
    if !same_but_ones(shape, &param.dims) {
        misfit.wrong_shape.push((name.to_string(), param.dims.clone(), shape.to_vec()));
    } else if file.half(name).is_some() {
        // These can all be read; to do it would take memory for each of them as f32.
    } else if let Err(error) = file.read(name) {
        misfit.unreadable.push(error.to_string());
    }
}

/// Sizes of 1 say nothing of the order of the values: a dense layer's [O, I] is a 1x1 convolution's [O, I, 1, 1], and a
/// scale's `[C]` what broadcasts as `[C, 1, 1]`.
fn same_but_ones(a: &[usize], b: &[usize]) -> bool {
    let sizes = |dims: &[usize]| dims.iter().copied().filter(|&size| size != 1).collect::<Vec<_>>();
    sizes(a) == sizes(b)
}

impl WeightSource for BoundWeights {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        self.file.read(&self.names[&param.name]).expect("checked when the file was bound")
    }

    fn halves<'a>(&'a self, param: &Param, half: Half) -> Cow<'a, [u16]> {
        let stored = self.file.halves(&self.names[&param.name]);
        stored.unwrap_or_else(|| narrow(&self.values(param), half).into())
    }

    fn release(&self, param: &Param) {
        self.file.release(&self.names[&param.name]);
    }
}

impl Misfit {
    /// Adds a weight that is missing. Only those that are shown need the nearest name.
    fn miss(&mut self, param: &Param, left: &[(Cow<'_, str>, &str)]) {
        let longest = 2 * param.name.len();
        let known = || left.iter().filter(|(taken, _)| taken.len() <= longest && self.missing.len() < SHOWN);
        let near = nearest(&param.name, known().map(|(taken, _)| &**taken));
        let near = near.and_then(|near| known().find(|(taken, _)| taken == near)).map(|(_, name)| name.to_string());
        self.missing.push((param.name.clone(), param.dims.clone(), near));
    }

    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.wrong_shape.is_empty() && self.surplus.is_empty() && self.unreadable.is_empty()
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.heading)?;
        section(f, "missing", &self.missing, |(name, dims, near)| {
            let near = near.as_ref().map_or(String::new(), |n| format!(" (the file has `{n}`)"));
            format!("{name} {dims:?}{near}")
        })?;
        section(f, "of another shape", &self.wrong_shape, |(name, wanted, found)| {
            format!("{name}: the model needs {wanted:?}, the file has {found:?}")
        })?;
        section(f, "surplus", &self.surplus, String::clone)?;
        section(f, "that cannot be read", &self.unreadable, String::clone)
    }
}

impl std::error::Error for Misfit {}

fn section<T>(f: &mut fmt::Formatter<'_>, title: &str, items: &[T], line: impl Fn(&T) -> String) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {} {title}:", items.len())?;
    for item in items.iter().take(SHOWN) {
        write!(f, "\n    {}", short(&line(item)))?;
    }
    if items.len() > SHOWN {
        write!(f, "\n    and {} more", items.len() - SHOWN)?;
    }
    Ok(())
}

/// A line of a message, whatever the names in a file are: cut where it is very long, and one line.
fn short(line: &str) -> String {
    let end = line.char_indices().nth(LINE).map_or(line.len(), |(end, _)| end);
    harmless(&line[..end]).replace('\n', "\\n") + if end < line.len() { "..." } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::text::build::{self, NoFiles, Options};
    use crate::ir::Verified;
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
        let program = build::load(&mut sources, root, &options, &mut NoFiles).unwrap();
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
        let tensors: [(&str, &str, &[usize]); 3] = [("a", "F32", &[2, 2]), ("b", "I64", &[1]), ("x", "F32", &[1])];
        let message = misfit(&graph, &tensors);
        let (before, unreadable) = message.split_once("\n  1 that cannot be read:\n    ").unwrap();
        assert_eq!(
            before,
            "\n  1 missing:\n    c [1]\n  1 of another shape:\n    a: the model needs [2], the file has [2, 2]\
             \n  1 surplus:\n    x"
        );
        assert!(unreadable.ends_with(r#"tensor "b" is stored as I64; accepted: F32, F16, BF16, F64"#), "{unreadable}");
    }

    #[test]
    fn sizes_of_one_make_no_other_shape() {
        let graph = wanting(&[("a", &[4, 2, 1, 1]), ("b", &[3])], &[]);
        assert_eq!(bound(&graph, &[("a", "F32", &[4, 2]), ("b", "F32", &[3, 1, 1])]).err(), None);
        assert!(bound(&graph, &[("a", "F32", &[2, 4]), ("b", "F32", &[3])]).is_err());
    }

    #[test]
    fn names_do_no_harm_to_a_terminal() {
        let long = "ы".repeat(10_000);
        let message = misfit(&wanting(&[], &[]), &[("\u{1b}[2J", "F32", &[1]), (&long, "F32", &[1])]);
        assert!(message.contains("\n    \\u{1b}[2J\n"), "{message}");
        assert!(message.ends_with("ыы...") && message.len() < 1100, "{message}");
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

    /// Two weights and a counter with this before their names.
    fn prefixed(prefix: &str) -> Vec<(String, &'static str, Vec<usize>)> {
        [("l.weight", "F32", vec![2]), ("l.bias", "F32", vec![1]), ("l.num_batches_tracked", "I64", vec![])]
            .map(|(name, dtype, shape)| (format!("{prefix}{name}"), dtype, shape))
            .into()
    }

    fn borrowed<'a>(tensors: &'a [(String, &'static str, Vec<usize>)]) -> Vec<(&'a str, &'a str, &'a [usize])> {
        tensors.iter().map(|(name, dtype, shape)| (&name[..], *dtype, &shape[..])).collect()
    }

    #[test]
    fn prefixes_come_off_with_a_note() {
        let graph = wanting(&[("l.weight", &[2]), ("l.bias", &[1])], &[]);
        let cases = [
            ("", None),
            ("module.", Some("without `module`")),
            ("module._orig_mod.", Some("without `module` and `_orig_mod`")),
            ("model.", Some("without the prefix `model.`")),
            ("backbone.", Some("without the prefix `backbone.`")),
            ("features.module.", Some("without the prefix `features.module.`")),
            ("any.thing.at.all.", Some("without the prefix `any.thing.at.all.`")),
        ];
        for (prefix, note) in cases {
            let tensors = prefixed(prefix);
            assert_eq!(values(&graph, &borrowed(&tensors)), [vec![0.0, 0.0], vec![1.0]], "{prefix}");
            assert_eq!(bound(&graph, &borrowed(&tensors)).unwrap().note(), note, "{prefix}");
        }
    }

    #[test]
    fn wrappers_come_off_within_names() {
        let graph = wanting(&[("features.0.weight", &[1]), ("classifier.1.weight", &[2])], &[]);
        let tensors: [(&str, &str, &[usize]); 2] =
            [("features.module.0.weight", "F32", &[1]), ("classifier.1.weight", "F32", &[2])];
        assert_eq!(values(&graph, &tensors), [vec![0.0], vec![1.0, 1.0]]);
    }

    #[test]
    fn names_that_fit_are_left_alone() {
        let graph = wanting(&[("model.l.weight", &[2]), ("model.l.bias", &[1])], &[]);
        let bound = bound(&graph, &borrowed(&prefixed("model."))).unwrap();
        assert_eq!(bound.note(), None);
        // Two that would become the same.
        let graph = wanting(&[("a", &[1])], &[]);
        let both: [(&str, &str, &[usize]); 2] = [("model.a", "F32", &[1]), ("a", "F32", &[1])];
        assert_eq!(misfit(&graph, &both), "\n  1 surplus:\n    model.a");
    }

    #[test]
    fn a_misfit_behind_a_prefix_is_told_without_it() {
        let graph = wanting(&[("l.weight", &[2]), ("l.bias", &[1]), ("k.bias", &[1])], &[]);
        let mut tensors = prefixed("net.");
        tensors.push(("net.k.bais".to_owned(), "F32", vec![1]));
        tensors.push(("loss.weight".to_owned(), "F32", vec![1]));
        assert_eq!(
            misfit(&graph, &borrowed(&tensors)),
            " (names without the prefix `net.`)\n  1 missing:\n    k.bias [1] (the file has `net.k.bais`)\
             \n  2 surplus:\n    net.k.bais\n    loss.weight"
        );
    }

    #[test]
    fn renames_apply_behind_a_prefix() {
        let graph = wanting(&[("block.norm1.weight", &[1])], &[("norm1", "bn.1")]);
        assert_eq!(values(&graph, &[("net.block.bn.1.weight", "F32", &[1])]), [[0.0]]);
    }
}
