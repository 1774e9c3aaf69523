//! ONNX files: imported; what is small and can be exported comes back as the same network.

use crate::common::{difference, inputs, noise};
use std::path::Path;
use std::sync::Arc;
use svertka::diagnostic::render;
use svertka::front::onnx::constant::{Bytes, NoFiles};
use svertka::front::onnx::{Import, Options, import};
use svertka::io::weights::WeightFile;
use svertka::ir::weights::WeightSource;
use svertka::ir::{Graph, Verified};
use svertka::layers::Accumulate;
use svertka::source::SourceMap;
use svertka::tensor::Batch;
use svertka::{analysis, export, interp, ir, quant};

/// Larger networks are imported and not run.
const MOST_ELEMENTS: u64 = 20_000;
const MOST_MACS: u64 = 1_000_000;

#[rustfmt::skip]
pub const DICTIONARY: &[&str] = &[
    "\x0a\x04Conv", "Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu", "Clip",
    "Add", "Mul", "Sub", "Div", "Concat", "Reshape", "Flatten", "Transpose", "Shape", "Gather", "Slice", "Squeeze", "Unsqueeze",
    "Constant", "ConstantOfShape", "Resize", "Upsample", "Pad", "Softmax", "BatchNormalization", "LRN", "Identity", "Dropout",
    "Cast", "Expand", "Split", "Sum", "PRelu", "DepthToSpace", "InstanceNormalization", "LayerNormalization", "ReduceMean",
    "QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "com.microsoft", "QLinearAdd", "QGemm",
    "axis", "axes", "pads", "strides", "dilations", "kernel_shape", "group", "auto_pad", "SAME_UPPER", "ceil_mode", "perm",
    "to", "alpha", "beta", "epsilon", "mode", "linear", "value", "keepdims", "ai.onnx.ml", "modules", "Module0", "strides0", "N", "\x08\x01", "\x10\x07", "\x20\x05",
    "\x7a\x04\0\0\0\x7f", "\x08\0\x08\x02\x08\x03", "\x7f", "\0\0\0\0",
];

/// # Panics
/// If what was imported computes something else once it was exported and imported again.
pub fn run(bytes: &[u8]) {
    let Some(first) = read(bytes.to_vec()) else { return };
    ir::print(&first.graph);
    if !is_small(&first.graph) {
        return;
    }
    let Ok(model) = export::export(&first.graph, &[], &[]) else { return };
    let mut file = Vec::new();
    model.write(&first.weights, &mut file, None).expect("memory takes it");
    let second = read(file).expect("an exported model is imported");
    let batch = first.graph.inputs.iter().find_map(|&id| match first.graph[id].ty.batch {
        Batch::Fixed(batch) => Some(batch),
        Batch::Symbolic(_) => None,
    });
    let inputs = inputs(&first.graph, batch.unwrap_or(2), 1);
    let outputs = |import: &Import| interp::run(&import.graph, &import.weights, &inputs, Accumulate::F64);
    for (found, expected) in outputs(&second).iter().zip(&outputs(&first)) {
        let difference = difference(found, expected);
        let close = difference <= 1e-5 || difference <= noise(&first.graph, &first.weights, &inputs, 1e-5);
        assert!(close, "{difference}\n{}\n{}", first.text, second.text);
    }
}

/// Imports a file and reads its weights; `None` where it is refused.
fn read(file: Vec<u8>) -> Option<Import> {
    let file: Bytes = Arc::new(file);
    match import(&file, &mut NoFiles, &Options::default()) {
        Ok(import) => {
            for param in import.graph.params.iter().filter(|param| param.bytes() <= 4 * MOST_ELEMENTS) {
                assert_eq!(import.weights.values(param).len() as u64 * 4, param.bytes(), "{}", param.name);
            }
            if let Some(whole) = &import.whole {
                let file = WeightFile::of_whole(Path::new("whole"), whole.clone());
                quant::load(&import.graph, &file).expect("whole numbers that go together");
            }
            Some(import)
        }
        Err(errors) => {
            render(&errors, &SourceMap::default(), false);
            None
        }
    }
}

fn is_small(graph: &Verified<Graph>) -> bool {
    let fixed = graph.inputs.iter().any(|&id| matches!(graph[id].ty.batch, Batch::Fixed(5..)));
    !fixed && interp::bytes(graph, 2) <= 4 * MOST_ELEMENTS && analysis::figures(graph).macs() <= MOST_MACS
}
