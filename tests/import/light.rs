//! The nine networks of the ONNX project's tests, with their outputs.

use std::path::PathBuf;
use std::sync::Arc;
use svertka::front::onnx::constant::{Bytes, NoFiles};
use svertka::front::onnx::wire::{Message, Value};
use svertka::front::onnx::{Import, Options, import};
use svertka::interp;
use svertka::io::testdata::committed;
use svertka::layers::Accumulate;
use svertka::runtime::{self, Session};
use svertka::tensor::Tensor;

fn path(name: &str) -> PathBuf {
    committed(&format!("onnx/light_{name}"))
}

fn network(name: &str) -> Import {
    let bytes: Bytes = Arc::new(std::fs::read(path(&format!("{name}.onnx"))).unwrap());
    import(&bytes, &mut NoFiles, &Options::default()).unwrap_or_else(|errors| panic!("{name}: {errors:?}"))
}

/// Rising evenly from 0 to nearly 1: what the stored outputs belong to.
fn input(imported: &Import) -> Tensor {
    let shape = imported.graph[imported.graph.inputs[0]].ty.shape(1);
    let count: usize = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i| (i as f64 / count as f64) as f32).collect())
}

/// The elements of a file of one tensor.
fn stored(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(path(&format!("{name}_output_0.pb"))).unwrap();
    let mut message = Message::file(&bytes);
    while let Some(field) = message.field().unwrap() {
        if let (9, Value::Bytes(raw)) = (field.number, field.value) {
            return raw.bytes().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        }
    }
    panic!("{name}: no elements")
}

fn check(name: &str, found: &Tensor) {
    let expected = stored(name);
    assert_eq!(found.data().len(), expected.len());
    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    let pairs = found.data().iter().zip(&expected);
    let worst = pairs.map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{name}: {worst:e}");
}

fn compiled(name: &str) {
    let imported = network(name);
    let mut session = Session::new(imported.graph.clone(), &imported.weights, &runtime::Options::default()).unwrap();
    check(name, &session.run(&[input(&imported)]).unwrap()[0]);
}

#[test]
fn squeezenet() {
    compiled("squeezenet");
    let imported = network("squeezenet");
    let outputs = interp::run(&imported.graph, &imported.weights, &[input(&imported)], Accumulate::F32);
    check("squeezenet", &outputs[0]);
}

#[test]
fn bvlc_alexnet() {
    compiled("bvlc_alexnet");
}

#[test]
fn densenet121() {
    compiled("densenet121");
}

#[test]
fn inception_v1() {
    compiled("inception_v1");
}

#[test]
fn inception_v2() {
    compiled("inception_v2");
}

#[test]
fn resnet50() {
    compiled("resnet50");
}

#[test]
fn shufflenet() {
    compiled("shufflenet");
}

#[test]
fn vgg19() {
    compiled("vgg19");
}

#[test]
fn zfnet512() {
    compiled("zfnet512");
}
