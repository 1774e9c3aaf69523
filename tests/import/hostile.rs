//! Files that others' importers stumble over, and files that lie.

use super::proto::*;
use svertka::front::onnx::Options;

fn conv(line: &str, attributes: &[svertka::front::onnx::encode::Message]) -> Vec<u8> {
    file(17, "N 2 8 8", &[op(line, attributes)], &[counting("w", &[4, 2, 3, 3]), counting("b", &[4])])
}

fn refused(file: &[u8], code: &str, words: &[&str]) {
    let error = net(file).unwrap_err();
    assert!(error.starts_with(code), "{error}");
    words.iter().for_each(|word| assert!(error.contains(word), "{word}: {error}"));
}

#[test]
fn padding_in_all_its_forms() {
    let with = |attributes: &[_]| net(&conv("y = Conv x w b", attributes));
    assert_eq!(with(&[]).unwrap(), "conv: conv 3x3, 4, bias");
    assert_eq!(with(&[ints("pads", &[1, 1, 1, 1])]).unwrap(), "conv: conv 3x3, 4, half, bias");
    assert_eq!(with(&[ints("pads", &[0, 1, 2, 3])]).unwrap(), "conv: conv 3x3, 4, pad (0, 2, 1, 3), bias");
    let stride = ints("strides", &[2, 2]);
    let same = |word: &str| with(&[text("auto_pad", word), stride.clone()]).unwrap();
    assert_eq!(same("SAME_UPPER"), "conv: conv 3x3, 4, stride 2, same, bias");
    assert_eq!(same("SAME_LOWER"), "conv: conv 3x3, 4, stride 2, pad (1, 0, 1, 0), bias");
    refused(&conv("y = Conv x w", &[ints("pads", &[0, 0, 0, -1])]), "E0806", &["Conv", "pads", "negative"]);
    refused(&conv("y = Conv x w", &[ints("pads", &[0, 1])]), "E0806", &["2 pads"]);
}

#[test]
fn an_attribute_that_no_rule_knows_refuses_its_node() {
    refused(
        &conv("y = Conv x w", &[int("speed", 1)]),
        "E0806",
        &["Conv", "operator set 17", "speed", "`y = Conv x w`"],
    );
    refused(&conv("y = Conv x w", &[text("group", "2")]), "E0806", &["group", "integer"]);
}

#[test]
fn operands_that_are_left_out() {
    assert!(net(&conv("y = Conv x w ", &[])).unwrap().ends_with("conv 3x3, 4"));
    let resize = |inputs: &str, version| {
        let mode = [
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ];
        let constants =
            [floats("r", &[0], &[]), floats("s", &[4], &[1.0, 1.0, 2.0, 2.0]), numbers("z", &[1, 2, 16, 16])];
        net(&file(version, "1 2 8 8", &[op(&format!("y = Resize {inputs}"), &mode)], &constants))
    };
    for inputs in ["x r s", "x  s", "x r r z", "x   z"] {
        assert_eq!(resize(inputs, 13).unwrap(), "upsample 2", "{inputs}");
    }
    assert!(resize("x r r", 13).unwrap_err().contains("neither factors nor sizes"));
}

#[test]
fn what_was_an_attribute_became_an_operand() {
    let clip = |version, line: &str, attributes: &[_]| {
        net(&file(version, "N 2 8 8", &[op(line, attributes)], &[floats("l", &[], &[0.0]), floats("h", &[], &[6.0])]))
    };
    assert_eq!(clip(6 + 1, "y = Clip x", &[float("min", 0.0), float("max", 6.0)]).unwrap(), "relu6");
    assert_eq!(clip(11, "y = Clip x l h", &[]).unwrap(), "relu6");
    assert_eq!(clip(11, "y = Clip x l", &[]).unwrap(), "relu");
    assert!(clip(11, "y = Clip x", &[float("min", 0.0)]).unwrap_err().contains("`min` is not known"));
    let squeeze = |version, line: &str, attributes: &[_]| {
        let nodes = [op("g = GlobalAveragePool x", &[]), op(line, attributes)];
        net(&file(version, "N 2 8 8", &nodes, &[numbers("a", &[2, -1])]))
    };
    assert_eq!(squeeze(11, "y = Squeeze g", &[ints("axes", &[2, 3])]).unwrap(), "global_avgpool | flatten");
    assert_eq!(squeeze(13, "y = Squeeze g a", &[]).unwrap(), "global_avgpool | flatten");
    assert!(squeeze(13, "y = Squeeze g", &[ints("axes", &[2, 3])]).unwrap_err().contains("does not know"));
    assert!(squeeze(11, "y = Squeeze g a", &[]).unwrap_err().contains("does not know"));
}

#[test]
fn batch_norms_of_old_and_of_training() {
    let bn = |version, attributes: &[_]| {
        let constants = ["s", "b", "m", "v"].map(|name| floats(name, &[2], &[1.0, 2.0]));
        net(&file(version, "N 2 8 8", &[op("y = BatchNormalization x s b m v", attributes)], &constants))
    };
    assert_eq!(bn(9, &[float("epsilon", 1e-5)]).unwrap(), "bn: bn");
    assert_eq!(bn(9, &[float("epsilon", 1e-3)]).unwrap(), "bn: bn eps 0.001");
    assert!(bn(7, &[int("spatial", 0)]).unwrap_err().contains("spatial"));
    assert!(bn(14, &[int("training_mode", 1)]).unwrap_err().contains("training_mode"));
}

/// Flatten as PyTorch exports it where the batch is open, and as it stands.
#[test]
fn chains_of_shapes_are_computed() {
    let chain = [
        op("s = Shape x", &[]),
        op("n = Gather s zero", &[int("axis", 0)]),
        op("u = Unsqueeze n axes", &[]),
        op("t = Concat u minus", &[int("axis", 0)]),
        op("y = Reshape x t", &[]),
    ];
    let zero = raw("zero", &[], 7, &0i64.to_le_bytes());
    let constants = [zero, numbers("axes", &[0]), numbers("minus", &[-1])];
    assert_eq!(net(&file(17, "N 2 8 8", &chain, &constants)).unwrap(), "flatten");
    let flatten = |attributes: &[_]| net(&file(17, "N 2 8 8", &[op("y = Flatten x", attributes)], &[]));
    assert_eq!((flatten(&[]).unwrap(), flatten(&[int("axis", -3)]).unwrap()), ("flatten".into(), "flatten".into()));
    assert!(flatten(&[int("axis", 2)]).unwrap_err().starts_with("E0807"));
    let start = [
        op("s = Shape x", &[int("start", 1), int("end", -1)]),
        op("f = Reshape x minus", &[]),
        op("y = Reshape f full", &[]),
    ];
    let constants = [numbers("minus", &[0, -1]), numbers("full", &[0, 2, 8, 8])];
    // The shape that was flattened comes back, and nothing is left.
    assert!(net(&file(17, "N 2 8 8", &start, &constants)).is_ok());
}

#[test]
fn channels_are_shuffled_also_for_one_sample() {
    let nodes = [
        op("a = Reshape x five", &[]),
        op("b = Transpose a", &[ints("perm", &[0, 2, 1, 3, 4])]),
        op("c = Reshape b four", &[]),
        op("y = Relu c", &[]),
    ];
    let constants = |batch| [numbers("five", &[batch, 2, 3, 4, 4]), numbers("four", &[batch, -1, 4, 4])];
    assert_eq!(net(&file(13, "1 6 4 4", &nodes, &constants(1))).unwrap(), "relu | channel_shuffle 2");
    assert_eq!(net(&file(13, "N 6 4 4", &nodes, &constants(0))).unwrap(), "relu | channel_shuffle 2");
    refused(&file(13, "N 6 4 4", &nodes, &constants(1)), "E0806", &["Reshape"]);
}

/// Unequal regions as exporters say them: a constant with the share that each position has in each mean.
#[test]
fn constants_of_means_are_adaptive_pools() {
    let nodes = [
        op("a = MatMul rows x", &[]),
        op("b = Reshape a wide", &[]),
        op("c = MatMul columns b", &[]),
        op("y = Reshape c back", &[]),
    ];
    let with = |rows: &[f32]| {
        let constants = [
            floats("rows", &[2, 3], rows),
            numbers("wide", &[0, 4, 4, 1]),
            floats("columns", &[3, 4], &[0.5, 0.5, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.5, 0.5]),
            numbers("back", &[0, 2, 2, 3]),
        ];
        file(17, "N 2 3 4", &nodes, &constants)
    };
    assert_eq!(net(&with(&[0.5, 0.5, 0.0, 0.0, 0.5, 0.5])).unwrap(), "adaptive_avgpool 2x3");
    refused(&with(&[0.5, 0.5, 0.0, 0.0, 0.4, 0.6]), "E0806", &["MatMul", "the first operand is a constant"]);
}

#[test]
fn channels_may_come_last() {
    let nodes = [
        op("m = Mul x scale", &[]),
        op("t = Transpose m", &[ints("perm", &[0, 3, 1, 2])]),
        op("c = Conv t w", &[]),
        op("l = Transpose c", &[ints("perm", &[0, 2, 3, 1])]),
        op("f = Reshape l flat", &[]),
        op("y = MatMul f d", &[]),
    ];
    let constants = [
        floats("scale", &[], &[0.5]),
        counting("w", &[4, 2, 1, 1]),
        numbers("flat", &[-1, 48]),
        counting("d", &[48, 5]),
    ];
    let imported = read(&file(13, "N 3 4 2", &nodes, &constants), &Options::default()).unwrap();
    assert!(imported.text.contains("f32[N, 2, 3, 4]"), "{}", imported.text);
    assert!(imported.notes[0].contains("channels last"), "{:?}", imported.notes);
    assert!(imported.text.contains("conv 1x1, 4 | flatten\n  dense 5"), "{}", imported.text);
}

#[test]
fn contradictions() {
    let relu = |lines: &[&str]| file(17, "N 2 8 8", &lines.iter().map(|line| op(line, &[])).collect::<Vec<_>>(), &[]);
    assert_eq!(net(&relu(&["y = Tanh a", "a = Relu x"])).unwrap(), "relu | tanh");
    refused(&relu(&["y = Add a x", "a = Relu b", "b = Relu a"]), "E0803", &["from themselves"]);
    refused(&relu(&["y = Add a x"]), "E0803", &["`a` is read, and never made"]);
    refused(&relu(&["y = Relu x", "y = Tanh x"]), "E0803", &["made twice"]);
    refused(&relu(&[]), "E0803", &["`y`"]);
    refused(&file(17, "N 2 8 8", &[op("y = Relu x", &[])], &[floats("y", &[1], &[0.0])]), "E0803", &["made twice"]);
    for version in [0, 6, 29, -1] {
        refused(&file(version, "N 2 8 8", &[op("y = Relu x", &[])], &[]), "E0804", &["operator set"]);
    }
}

#[test]
fn everything_is_refused_at_once_and_a_cut_is_offered() {
    let nodes = [
        op("a = Relu x", &[]),
        op("b = TopK a", &[]),
        op("c = LSTM b", &[]),
        op("d = NonZero a", &[]),
        op("y = Add c d", &[]),
    ];
    let bytes = file(17, "N 2 8 8", &nodes, &[]);
    refused(&bytes, "E0806", &["TopK", "LSTM", "NonZero", "--cut a imports the 1 of 5 nodes"]);
    let cut = |name: &str| read(&bytes, &Options { cut: vec![name.into()], ..Options::default() });
    assert!(cut("a").unwrap().text.contains("relu"));
    assert!(cut("aa").err().unwrap().contains("E0808"));
}

#[test]
fn constants_that_are_not_what_they_claim() {
    let with = |constant| file(17, "N 2 8 8", &[op("y = Mul x c", &[])], &[constant]);
    refused(&with(raw("c", &[2, 1, 1], 1, &[0; 7])), "E0802", &["7 bytes", "8"]);
    refused(&with(raw("c", &[-1], 1, &[])), "E0802", &["[-1]"]);
    refused(&with(raw("c", &[1 << 40, 1 << 40], 1, &[])), "E0802", &["too large"]);
    refused(&with(raw("c", &[1], 8, &[0; 4])), "E0802", &["string"]);
    refused(&with(external("c", &[1], &[("location", "../x")])), "E0802", &["../x"]);
    refused(&with(external("c", &[1], &[("colour", "red")])), "E0802", &["colour"]);
    let half = raw("c", &[], 10, &[0, 0x38]);
    assert!(net(&with(half)).is_ok());
}

/// As files before IR version 4 have them; an initializer's value is the constant's all the same.
#[test]
fn constants_listed_among_the_inputs() {
    let listed = [("w", "4 2 3 3"), ("b", "4")];
    let constants = [counting("w", &[4, 2, 3, 3]), counting("b", &[4])];
    let file = file_with(9, "N 2 8 8", &[op("y = Conv x w b", &[])], &constants, &listed);
    assert_eq!(net(&file).unwrap(), "conv: conv 3x3, 4, bias");
    let without = file_with(9, "N 2 8 8", &[op("y = Conv x w b", &[])], &constants[..1], &listed);
    refused(&without, "E0805", &["the input `b`"]);
}

/// A window that sees nothing but padding has no largest element; engines differ on what is in it.
#[test]
fn pools_with_as_much_padding_as_window() {
    let pool = |operator: &str, size: i64, pad: i64| {
        let window = [ints("kernel_shape", &[size, size]), ints("pads", &[pad; 4]), ints("strides", &[2, 2])];
        net(&file(17, "N 2 8 8", &[op(&format!("y = {operator} x"), &window)], &[]))
    };
    for operator in ["MaxPool", "AveragePool"] {
        assert!(pool(operator, 3, 1).is_ok(), "{operator}");
        assert!(pool(operator, 2, 2).unwrap_err().contains("may pad by 1 at most"), "{operator}");
    }
}

/// Which end gets the odd element was told otherwise before version 11 of other engines; ONNX's text is followed.
#[test]
fn transposed_convolutions_in_all_their_forms() {
    let with = |attributes: &[_]| {
        let nodes = [op("y = ConvTranspose x w", attributes)];
        net(&file(17, "N 2 4 4", &nodes, &[counting("w", &[2, 3, 3, 3])]))
    };
    let stride = ints("strides", &[2, 2]);
    assert_eq!(with(std::slice::from_ref(&stride)).unwrap(), "conv_transpose: conv_transpose 3x3, 3, stride 2");
    let same = |word: &str| with(&[text("auto_pad", word), stride.clone()]).unwrap();
    let [upper, lower] = ["SAME_UPPER", "SAME_LOWER"].map(same);
    assert_ne!(upper, lower);
    assert!(with(&[stride.clone(), ints("output_shape", &[8, 8])]).is_ok());
    let less = with(&[stride, ints("pads", &[0, 0, 0, -1])]);
    assert!(
        less.as_ref().is_ok_and(|net| net.contains("output_pad"))
            || less.as_ref().is_err_and(|e| e.contains("negative")),
        "{less:?}"
    );
}

/// PyTorch's newer exporter writes sizes in these forms.
#[test]
fn constants_of_all_forms() {
    let nodes = [
        op("a = Constant", &[ints("value_ints", &[0, -1])]),
        op("b = Constant", &[float("value_float", 2.0)]),
        op("c = Constant", &[int("value_int", 3)]),
        op("d = CastLike c b", &[]),
        op("e = Mul b d", &[]),
        op("f = Clip x g e", &[]),
        op("y = Reshape f a", &[]),
    ];
    assert_eq!(net(&file(18, "N 2 8 8", &nodes, &[floats("g", &[], &[0.0])])).unwrap(), "relu6 | flatten");
}

/// Whatever is cut off or changed, it is read or refused, and nothing panics.
#[test]
fn damaged_files() {
    let nodes = [
        op("c = Conv x w b", &[ints("pads", &[1, 1, 1, 1])]),
        op("g = GlobalAveragePool c", &[]),
        op("y = Flatten g", &[]),
    ];
    let bytes = file(17, "N 2 3 3", &nodes, &[counting("w", &[1, 2, 1, 1]), counting("b", &[1])]);
    assert!(net(&bytes).is_ok());
    for length in 0..bytes.len() {
        let _ = net(&bytes[..length]);
    }
    for at in 0..bytes.len() {
        for change in [1, 4, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            let _ = net(&changed);
        }
    }
}

/// One shuffle for all parts.
#[test]
fn shuffled_channels_are_split() {
    let nodes = [
        op("a = Reshape x split", &[]),
        op("b = Transpose a", &[ints("perm", &[0, 2, 1, 3, 4])]),
        op("c = Reshape b joined", &[]),
        op("d e = Split c", &[int("axis", 1)]),
        op("f = Relu d", &[]),
        op("y = Concat e f", &[int("axis", 1)]),
    ];
    let sizes = [numbers("split", &[-1, 2, 3, 8, 8]), numbers("joined", &[-1, 6, 8, 8])];
    let net = net(&file(13, "N 6 8 8", &nodes, &sizes)).unwrap();
    assert_eq!(net.matches("channel_shuffle 2").count(), 1, "{net}");
}
