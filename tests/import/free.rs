//! Files that leave sizes open: the text has them as free sizes, and is right at others than those of its proof.

use super::node_cases::{Cases, difference};
use super::proto::*;
use std::sync::Arc;
use svertka::codegen::Isa;
use svertka::front::onnx::constant::{Bytes, NoFiles};
use svertka::front::onnx::{Import, Options, import};
use svertka::front::text::build;
use svertka::interp;
use svertka::ir::{Graph, Verified};
use svertka::layers::Accumulate;
use svertka::runtime::{self, Engine, Session};
use svertka::tensor::Tensor;

/// The imported text at the sizes of an input.
fn sized(imported: &Import, shape: &[usize]) -> Option<Verified<Graph>> {
    let sizes = imported.graph.sizes_for(&[&shape[1..]]).ok()?;
    let defines = sizes.into_iter().map(|(name, size)| (name, size.to_string())).collect();
    let options = build::Options { defines, ..build::Options::default() };
    build::build(&mut imported.sources.clone(), &imported.program, &options).ok()
}

#[test]
fn networks_of_open_sizes_are_right_at_all_of_them() {
    let mut known = 0;
    for case in Cases::read("onnx/free.safetensors").all() {
        let model: Bytes = Arc::new(case.model);
        let imported = import(&model, &mut NoFiles, &Options::default());
        let imported = imported.unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
        assert!(imported.text.contains(" = 224"), "{}: {}", case.name, imported.text);
        for (size, shape, values) in case.inputs {
            let below = format!("{size}/");
            let expected: Vec<_> = case.outputs.iter().filter(|(name, ..)| name.starts_with(&below)).collect();
            let Some(graph) = sized(&imported, &shape) else {
                assert!(expected.is_empty(), "{} at {size} is refused", case.name);
                continue;
            };
            let input = [Tensor::new(shape, values)];
            let mut runs = vec![interp::run(&graph, &imported.weights, &input, Accumulate::F64)];
            let options =
                runtime::Options { engine: Engine::Jit(Isa::detect()), exact: true, ..runtime::Options::default() };
            runs.push(Session::new(graph, &imported.weights, &options).unwrap().run(&input).unwrap());
            for outputs in runs {
                assert_eq!(outputs.len(), expected.len(), "{} at {size}", case.name);
                for (found, (_, shape, values)) in outputs.iter().zip(&expected) {
                    let error = difference(found, shape, values);
                    assert!(error < 1e-5, "{} at {size}: {error:e}\n{}", case.name, imported.text);
                }
            }
            known += 1;
        }
    }
    assert!(known >= 24, "{known}");
}

fn input_of(bytes: &[u8], sizes: &[(&str, usize)]) -> Result<String, String> {
    let sizes = sizes.iter().map(|(name, size)| (name.to_string(), *size)).collect();
    let imported = read(bytes, &Options { sizes, ..Options::default() }).map_err(|error| error.to_string())?;
    Ok(imported.text.lines().find(|line| line.starts_with("input")).unwrap_or_default().to_string())
}

#[test]
fn given_sizes_are_those_by_default() {
    let bytes = file(17, "N 3 height width", &[op("y = Relu x", &[])], &[]);
    assert_eq!(input_of(&bytes, &[]).unwrap(), "input x: f32[N, 3, height = 224, width = 224]");
    let given = input_of(&bytes, &[("height", 5), ("x.3", 7)]).unwrap();
    assert_eq!(given, "input x: f32[N, 3, height = 5, width = 7]");
    assert!(input_of(&bytes, &[("height", 5), ("depth", 7)]).unwrap_err().contains("E0808"));
    let square = file(17, "N 3 S S", &[op("y = Relu x", &[])], &[]);
    assert_eq!(input_of(&square, &[("S", 8)]).unwrap(), "input x: f32[N, 3, S = 8, S]");
    let channels = file(17, "N C 8 8", &[op("y = Relu x", &[])], &[]);
    assert!(input_of(&channels, &[]).unwrap_err().contains("--input C=224"));
    assert_eq!(input_of(&channels, &[("C", 4)]).unwrap(), "input x: f32[N, 4, 8, 8]");
}

#[test]
fn sizes_that_weights_depend_on_are_not_free() {
    let nodes = [op("f = Flatten x", &[]), op("y = MatMul f w", &[])];
    let bytes = file(17, "N 2 H W", &nodes, &[counting("w", &[2 * 6 * 4, 3])]);
    assert!(input_of(&bytes, &[]).unwrap_err().contains("E0806"));
    assert_eq!(input_of(&bytes, &[("H", 6), ("W", 4)]).unwrap(), "input x: f32[N, 2, 6, 4]");
}

/// Kernels of one position pad by nothing, whichever word the text has for it; clips are smaller than pictures.
#[test]
fn clips_of_open_sizes_are_imported() {
    let pads = [ints("pads", &[1; 6])];
    let nodes = [op("c = Conv x w", &pads), op("d = Conv c v", &[]), op("y = Conv d u", &pads)];
    let weights = [("w", 3), ("v", 1), ("u", 3)].map(|(name, size)| counting(name, &[2, 2, size, size, size]));
    let bytes = file(17, "N 2 T H W", &nodes, &weights);
    assert_eq!(input_of(&bytes, &[]).unwrap(), "input x: f32[N, 2, T = 64, H = 64, W = 64]");
    let given = input_of(&bytes, &[("T", 16), ("H", 112)]).unwrap();
    assert_eq!(given, "input x: f32[N, 2, T = 16, H = 112, W = 64]");
    assert!(net(&bytes).unwrap().contains("conv 1x1x1, 2 |"));
}
