//! Models in memory, whose tensors are somebody else's.

use super::proto::*;
use std::borrow::Cow;
use std::sync::Arc;
use svertka::{Model, ModelOptions, Options, SharedBytes, Tensor, Weights};

/// 16-bit and wider numbers may lie there.
struct Aligned(Vec<f32>);

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// x -> Conv with a bias of zeros -> Mul by a scale of ones -> y, whose constants lie beside it.
fn model(kernel: &Arc<Aligned>) -> Result<Model, svertka::Error> {
    let beside = |name, dims: &[i64]| external(name, dims, &[("location", name)]);
    let nodes = [op("c = Conv x a.w a.b", &[]), op("y = Mul c gain", &[])];
    let constants = [beside("a.w", &[4, 2, 3, 3]), beside("a.b", &[4]), beside("gain", &[4, 1, 1])];
    let file = file(17, "N 2 8 8", &nodes, &constants);
    let mut tensors = |name: &str| -> Option<SharedBytes> {
        match name {
            "a.w" => Some(kernel.clone()),
            "a.b" => Some(Arc::new(Aligned(vec![0.0; 4]))),
            "gain" => Some(Arc::new(Aligned(vec![1.0; 4]))),
            _ => None,
        }
    };
    ModelOptions::default().read_onnx("small", Arc::new(file), &mut tensors)
}

fn kernel() -> Arc<Aligned> {
    Arc::new(Aligned((0..72).map(|i| i as f32 / 100.0).collect()))
}

#[test]
fn what_the_network_is_does_not_depend_on_such_tensors() {
    let model = model(&kernel()).unwrap();
    let text = &model.sources().files()[0].text;
    assert!(text.contains("conv 3x3, 4, bias") && text.contains("scale"), "{text}");
}

#[test]
fn tensors_are_shared() {
    let kernel = kernel();
    let model = model(&kernel).unwrap();
    let (_, dims, values) = model.own_weights().find(|(_, dims, _)| dims.len() == 4).unwrap();
    assert_eq!(dims, [4, 2, 3, 3]);
    assert!(matches!(values, Cow::Borrowed(values) if std::ptr::eq(values, &kernel.0[..])));
}

#[test]
fn saved_models_are_the_same() {
    let (model, folder) = (model(&kernel()).unwrap(), tempfile::tempdir().unwrap());
    let path = model.save(folder.path().join("deep"), "saved").unwrap();
    let image = Tensor::zeros([1, 2, 8, 8]);
    let run = |model: &Model| {
        let mut session = model.compile(&Weights::of_card(), &Options::default()).unwrap();
        session.run(&[&image]).unwrap().remove(0)
    };
    assert_eq!(run(&Model::open(path).unwrap()).data(), run(&model).data());
    assert!(Model::parse("model a\ninput x: f32[N, 1, 2, 2]\nnet { relu }").unwrap().save("/", "a").is_err());
}

#[test]
fn missing_tensors_and_foreign_operators_are_refused_by_name() {
    let read = |nodes: &[_]| {
        let constant = external("w", &[4, 2, 3, 3], &[("location", "elsewhere")]);
        let file = file(17, "N 2 8 8", nodes, &[constant]);
        ModelOptions::default().read_onnx("small", Arc::new(file), &mut |_| None).err().unwrap().to_string()
    };
    let missing = read(&[op("y = Conv x w", &[])]);
    assert!(missing.contains("E0802") && missing.contains("elsewhere"), "{missing}");
    let foreign = read(&[op("a = Relu x", &[]), op("y = Sort a", &[])]);
    assert!(foreign.contains("Sort") && !foreign.contains("--cut"), "{foreign}");
}
