//! The ONNX project's test cases of single operators: each is imported and right, or refused by name.

use safetensors::{Dtype, SafeTensors};
use std::sync::Arc;
use svertka::codegen::Isa;
use svertka::front::onnx::constant::{Bytes, NoFiles};
use svertka::front::onnx::{Import, Options, import};
use svertka::interp;
use svertka::io::testdata::committed;
use svertka::ir::NodeId;
use svertka::layers::Accumulate;
use svertka::runtime::{self, Engine, Session};
use svertka::tensor::{Batch, Tensor};

pub struct Cases {
    file: Vec<u8>,
}

pub struct Case {
    pub name: String,
    pub model: Vec<u8>,
    /// By the names that the file has for them.
    pub inputs: Vec<(String, Vec<usize>, Vec<f32>)>,
    pub outputs: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Cases {
    pub fn read(name: &str) -> Cases {
        Cases { file: std::fs::read(committed(name)).unwrap() }
    }

    pub fn all(&self) -> Vec<Case> {
        let tensors = SafeTensors::deserialize(&self.file).unwrap();
        let mut names: Vec<&str> = tensors.names().into_iter().filter_map(|name| name.strip_suffix("/model")).collect();
        names.sort_unstable();
        let case = |name: &str| {
            let of = |kind: &str| {
                let prefix = format!("{name}/{kind}/");
                let own = tensors.names().into_iter().filter_map(|tensor| tensor.strip_prefix(&prefix));
                let mut found: Vec<_> = own.map(|own| floats(&tensors, &prefix, own)).collect();
                found.sort_by(|a, b| a.0.cmp(&b.0));
                found
            };
            let model = tensors.tensor(&format!("{name}/model")).unwrap().data().to_vec();
            Case { name: name.to_string(), model, inputs: of("in"), outputs: of("out") }
        };
        names.into_iter().map(case).collect()
    }
}

fn floats(tensors: &SafeTensors, prefix: &str, name: &str) -> (String, Vec<usize>, Vec<f32>) {
    let tensor = tensors.tensor(&format!("{prefix}{name}")).unwrap();
    assert_eq!(tensor.dtype(), Dtype::F32);
    let values = tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    (name.to_string(), tensor.shape().to_vec(), values)
}

/// The inputs in the order in which the network takes them, in the shapes that it gives them.
fn inputs(case: &Case, imported: &Import) -> Vec<Tensor> {
    let graph = &imported.graph;
    let input = |&id: &NodeId| {
        let node = &graph[id];
        let word = |name: &str| name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let (_, _, values) = case
            .inputs
            .iter()
            .find(|(name, ..)| word(name) == node.origin.path)
            .unwrap_or_else(|| panic!("{}: no input `{}`", case.name, node.origin.path));
        let batch = match node.ty.batch {
            Batch::Fixed(batch) => batch,
            Batch::Symbolic(_) => values.len() / node.ty.elements(),
        };
        Tensor::new(node.ty.shape(batch), values.clone())
    };
    graph.inputs.iter().map(input).collect()
}

/// The largest difference, relative to the largest value; shapes may differ in sizes of 1.
pub fn difference(found: &Tensor, shape: &[usize], expected: &[f32]) -> f32 {
    let squeezed = |shape: &[usize]| shape.iter().copied().filter(|&size| size != 1).collect::<Vec<_>>();
    if squeezed(found.shape()) != squeezed(shape) {
        return f32::INFINITY;
    }
    let scale = expected.iter().filter(|x| x.is_finite()).fold(1e-30f32, |most, x| most.max(x.abs()));
    let pairs = found.data().iter().zip(expected);
    pairs.map(|(&a, &b)| interp::distance(a, b) / scale).fold(0.0, f32::max)
}

/// What became of a case, in a line.
fn judge(case: &Case) -> String {
    let model: Bytes = Arc::new(case.model.clone());
    let imported = match import(&model, &mut NoFiles, &Options::default()) {
        Ok(imported) => imported,
        Err(errors) => {
            assert!(errors.iter().all(|error| error.code.starts_with("E08")), "{}: {errors:?}", case.name);
            return format!("{} {}", errors[0].code, errors[0].message);
        }
    };
    let inputs = inputs(case, &imported);
    let mut runs = vec![interp::run(&imported.graph, &imported.weights, &inputs, Accumulate::F64)];
    for engine in [Engine::Jit(Isa::detect()), Engine::Portable] {
        let options = runtime::Options { engine, exact: true, ..runtime::Options::default() };
        let mut session = Session::new(imported.graph.clone(), &imported.weights, &options).unwrap();
        runs.push(session.run(&inputs).unwrap());
    }
    for outputs in runs {
        assert_eq!(outputs.len(), case.outputs.len(), "{}", case.name);
        for (found, (_, shape, expected)) in outputs.iter().zip(&case.outputs) {
            let error = difference(found, shape, expected);
            if error > tolerance(&case.name) {
                return format!("WRONG by {error:e}: {}", imported.text.replace('\n', " "));
            }
        }
    }
    "right".into()
}

/// Some references are in f16, or were typed with four digits.
fn tolerance(name: &str) -> f32 {
    let coarse = ["float16", "fp16", "last_window_starts_on_pad"];
    if coarse.iter().any(|part| name.contains(part)) { 2e-3 } else { 1e-5 }
}

#[test]
fn every_case_is_right_or_refused_by_name() {
    let cases = Cases::read("onnx/node_cases.safetensors").all();
    assert_eq!(cases.len(), 413);
    let lines: Vec<String> = cases.iter().map(|case| format!("{}: {}", case.name, judge(case))).collect();
    let wrong: Vec<&String> = lines.iter().filter(|line| line.contains(": WRONG")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let right = lines.iter().filter(|line| line.ends_with(": right")).count();
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("node_cases", format!("{right} of {} are right\n{}", lines.len(), lines.join("\n")));
    });
}

/// What ONNX's own cases leave out: older versions, axes of all kinds, blocks of networks.
#[test]
fn own_cases_are_right() {
    let cases = Cases::read("onnx/own_cases.safetensors").all();
    let judged = cases.iter().map(|case| (&case.name, judge(case)));
    let wrong: Vec<_> = judged.filter(|(_, line)| line != "right").collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), cases.len());
}

/// What PyTorch's exporters make of some modules (tests/onnx/pack_patterns.py): the layers that were found, and right.
#[test]
fn patterns_of_exporters_are_layers() {
    let layers = |case: &Case| {
        let model: Bytes = Arc::new(case.model.clone());
        let imported = import(&model, &mut NoFiles, &Options::default()).ok();
        let text = |imported: Import| {
            let ops = imported.graph.nodes.iter().filter_map(|node| node.op.layer().map(ToString::to_string));
            ops.collect::<Vec<_>>().join(" | ")
        };
        imported.map(text).unwrap_or_default()
    };
    let cases = Cases::read("onnx/patterns.safetensors").all();
    let lines: Vec<String> =
        cases.iter().map(|case| format!("{}: {}, {}", case.name, layers(case), judge(case))).collect();
    let wrong: Vec<&String> = lines.iter().filter(|line| line.contains(" WRONG")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("patterns", lines.join("\n"));
    });
}
