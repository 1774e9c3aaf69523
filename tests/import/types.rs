//! Weights of all types, in all their forms, and in files larger than memory.

use super::proto::*;
use half::{bf16, f16};
use std::fs::File;
use std::os::unix::fs::FileExt;
use svertka::ModelOptions;
use svertka::front::onnx::Options;
use svertka::front::onnx::encode::Message;
use svertka::front::onnx::fields::tensor;
use svertka::ir::weights::WeightSource;

/// Numbers of `TensorProto.DataType`.
const F32: i64 = 1;
const U8: i64 = 2;
const I8: i64 = 3;
const I32: i64 = 6;
const F16: i64 = 10;
const F64: i64 = 11;
const BF16: i64 = 16;
const UINT32: i64 = 12;
const INT4: i64 = 22;

/// All types have these.
const VALUES: [f32; 4] = [0.0, 1.0, 3.0, 127.0];

fn bytes<const N: usize>(of: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    VALUES.iter().flat_map(|&value| of(value)).collect()
}

/// A convolution 1x1 of two channels whose weights are these: cast to f32 unless they are floating-point numbers.
fn with(constant: Message, cast: bool) -> Vec<u8> {
    let nodes = match cast {
        true => vec![op("f = Cast w", &[int("to", F32)]), op("y = Conv x f", &[])],
        false => vec![op("y = Conv x w", &[])],
    };
    file(17, "N 2 8 8", &nodes, &[constant])
}

/// The weights of the only layer.
fn weights(file: &[u8]) -> Result<Vec<f32>, String> {
    let imported = read(file, &Options::default())?;
    Ok(imported.weights.values(&imported.graph.params[0]).into_owned())
}

fn named(element: i64) -> Message {
    Message::default().ints(tensor::DIMS, &[2, 2, 1, 1]).int(tensor::ELEMENT_TYPE, element).text(tensor::NAME, "w")
}

#[test]
fn elements_of_every_type_in_bytes() {
    let all = [
        (F32, bytes(f32::to_le_bytes)),
        (F64, bytes(|value| f64::from(value).to_le_bytes())),
        (F16, bytes(|value| f16::from_f32(value).to_le_bytes())),
        (BF16, bytes(|value| bf16::from_f32(value).to_le_bytes())),
        (I8, bytes(|value| [value as u8])),
        (U8, bytes(|value| [value as u8])),
        (I32, bytes(|value| (value as i32).to_le_bytes())),
    ];
    for (element, bytes) in all {
        let constant = || raw("w", &[2, 2, 1, 1], element, &bytes);
        let is_float = !matches!(element, I8 | U8 | I32);
        assert_eq!(weights(&with(constant(), !is_float)).unwrap(), VALUES, "{element}");
        let plain = weights(&with(constant(), false));
        assert_eq!(plain.is_ok(), is_float, "{plain:?}");
        if let Err(error) = plain {
            assert!(error.starts_with("E0806") && error.contains("a Cast or DequantizeLinear"), "{error}");
        }
    }
}

#[test]
fn elements_of_every_type_in_lists() {
    let ints = |of: fn(f32) -> i64| named_list(5, &VALUES.map(of));
    let half = |of: fn(f32) -> u16| VALUES.map(|value| i64::from(of(value)));
    let doubles = VALUES.iter().fold(named(F64), |list, value| list.blob(10, &f64::from(*value).to_le_bytes()));
    let floats = VALUES.iter().fold(named(F32), |list, &value| list.float(4, value));
    assert_eq!(weights(&with(floats, false)).unwrap(), VALUES);
    assert_eq!(weights(&with(doubles, false)).unwrap(), VALUES);
    for (element, bits) in [(F16, half(|v| f16::from_f32(v).to_bits())), (BF16, half(|v| bf16::from_f32(v).to_bits()))]
    {
        assert_eq!(weights(&with(named(element).append(&named_list(5, &bits)), false)).unwrap(), VALUES, "{element}");
    }
    for element in [I8, U8, I32] {
        let list = ints(|value| value as i64);
        assert_eq!(weights(&with(named(element).append(&list), true)).unwrap(), VALUES, "{element}");
    }
}

fn named_list(field: u32, values: &[i64]) -> Message {
    Message::default().ints(field, values)
}

#[test]
fn numbers_that_f32_does_not_have() {
    let of = |last: f64| {
        let values = [0.0, 1.0, 1.0 / 3.0, last];
        raw("w", &[2, 2, 1, 1], F64, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    };
    let imported = read(&with(of(-1.0), false), &Options::default()).unwrap();
    assert_eq!(imported.weights.values(&imported.graph.params[0])[2], 1.0 / 3.0f32);
    assert!(imported.notes.iter().any(|note| note.contains("f64")), "{:?}", imported.notes);
    let error = weights(&with(of(1e300), false)).unwrap_err();
    assert!(error.starts_with("E0806") && error.contains("element 3") && error.contains("1e300"), "{error}");
    assert_eq!(weights(&with(of(f64::INFINITY), false)).unwrap()[3], f32::INFINITY);
    let error = weights(&with(raw("w", &[2, 2, 1, 1], UINT32, &[0; 16]), true)).unwrap_err();
    assert!(error.starts_with("E0802") && error.contains("uint32"), "{error}");
    let error = weights(&with(raw("w", &[2, 2, 1, 1], INT4, &[0; 2]), false)).unwrap_err();
    assert!(error.starts_with("E0806") && error.contains("weights of int4"), "{error}");
}

/// Cast to f32: halves of a byte, the lower one first, and eight bits with a point.
#[test]
fn small_numbers() {
    let found = |bytes: &[u8], kind| weights(&with(raw("w", &[2, 2, 1, 1], kind, bytes), true)).unwrap();
    let is = |bytes: &[u8], kind, expected: [f32; 4]| assert_eq!(found(bytes, kind), expected);
    is(&[0x1f, 0x87], INT4, [-1.0, 1.0, 7.0, -8.0]);
    is(&[0x1f, 0x87], 21, [15.0, 1.0, 7.0, 8.0]);
    is(&[0xff, 0x7f, 0, 0x80, 1, 0, 0, 0], 5, [32767.0, -32768.0, 1.0, 0.0]);
    is(&[0xff, 0x7f, 0, 0x80, 1, 0, 0, 0], 4, [32767.0, 32768.0, 1.0, 0.0]);
    // https://onnx.ai/onnx/technical/float8.html
    is(&[0x7e, 0x38, 0x81, 0x08], 17, [448.0, 1.0, -0.001953125, 0.015625]);
    is(&[0x7f, 0x38, 0x81, 0x08], 18, [240.0, 0.5, -0.0009765625, 0.0078125]);
    let part = |halvings: i32| 0.5f32.powi(halvings);
    is(&[0x7b, 0x3c, 0x81, 0x04], 19, [57344.0, 1.0, -part(16), part(14)]);
    is(&[0x7f, 0x3c, 0x81, 0x04], 20, [57344.0, 0.5, -part(17), part(15)]);
}

#[test]
fn networks_of_whole_numbers_are_refused_with_a_way_out() {
    let constants = || [floats("s", &[], &[0.1]), raw("z", &[], U8, &[3]), counting("w", &[2, 2, 1, 1])];
    let net_of = |nodes: &[Message]| net(&file(13, "N 2 8 8", nodes, &constants()));
    let error = |nodes: &[Message]| net_of(nodes).unwrap_err();
    let pair = |then: &str| {
        let [q, d] = ["q = QuantizeLinear x s z", then].map(|text| op(text, &[]));
        [q, d, op("y = Conv d w", &[])]
    };
    assert_eq!(net_of(&pair("d = DequantizeLinear q s z")).unwrap(), "conv: conv 1x1, 2");
    let other = error(&pair("d = DequantizeLinear q s"));
    assert!(other.contains("not that with which the whole numbers were made"), "{other}");
    let computed = error(&pair("d = Relu q"));
    assert!(computed.contains("Relu") && computed.contains("QuantFormat.QDQ"), "{computed}");
    let integers = error(&[op("d s2 z2 = DynamicQuantizeLinear x", &[]), op("y = ConvInteger d w", &[])]);
    assert!(integers.contains("DynamicQuantizeLinear") && integers.contains("svertka quantize"), "{integers}");
    // Scales for three channels of two.
    let wrong = [op("f = DequantizeLinear z3 s3", &[int("axis", 0)]), op("y = Conv x f", &[])];
    let constants = [floats("s3", &[3], &[0.1; 3]), raw("z3", &[2, 2, 1, 1], I8, &[1; 4])];
    let error = net(&file(13, "N 2 8 8", &wrong, &constants)).unwrap_err();
    assert!(error.contains("scales of [3] for a constant of [2, 2, 1, 1]"), "{error}");
}

/// Only what is read of it is there.
#[test]
fn weights_behind_two_gigabytes() {
    const MIB: u64 = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let data = File::create(folder.path().join("weights.data")).unwrap();
    data.set_len(6144 * MIB).unwrap();
    // A dense layer of 2.5 GB, and a convolution behind it in the file.
    let (features, at) = (640 * MIB as i64 / 4096, 5120 * MIB);
    data.write_all_at(&bytes(f32::to_le_bytes), at).unwrap();
    let beside = |name, dims: &[i64], offset: u64| {
        external(name, dims, &[("location", "weights.data"), ("offset", &offset.to_string())])
    };
    let constants = [beside("w", &[2, 2, 1, 1], at), beside("d.weight", &[features, 4096], 1024 * MIB)];
    let nodes = [op("c = Conv x w", &[]), op("f = Flatten c", &[]), op("y = Gemm f d.weight", &[int("transB", 1)])];
    let path = folder.path().join("large.onnx");
    std::fs::write(&path, file(17, "N 2 32 64", &nodes, &constants)).unwrap();
    let model = ModelOptions::default().open(&path).unwrap();
    let found: Vec<_> = model.own_weights().collect();
    assert_eq!(found.len(), 2);
    for (name, dims, values) in found {
        match dims {
            [2, 2, 1, 1] => assert_eq!(values[..], VALUES),
            _ => assert_eq!((values.len() as i64, values[values.len() - 1]), (features * 4096, 0.0), "{name}"),
        }
    }
    #[cfg(target_os = "linux")]
    assert_little_memory_is_enough(&path);
}

/// Memory that is no file's: 400 MB of it are a sixth of the weights.
#[cfg(target_os = "linux")]
fn assert_little_memory_is_enough(model: &std::path::Path) {
    let limited = "ulimit -d 400000 && exec \"$0\" summary \"$1\"";
    let command = [limited.as_ref(), env!("CARGO_BIN_EXE_svertka").as_ref(), model.as_os_str()];
    let output = std::process::Command::new("sh").arg("-c").args(command).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("671,088,640"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
