//! Calls of functions that a file brings along.

use super::proto::*;
use svertka::front::onnx::encode::Message;
use svertka::front::onnx::fields::{self, attribute, node};

/// conv, batch norm and relu, whose stride is an attribute of the call.
fn unit() -> Message {
    let strides = reference("strides", "stride", attribute::INTS);
    let nodes = [
        named("conv", op("c = Conv x w b", &[strides, ints("pads", &[1, 1, 1, 1])])),
        named("norm", op("n = BatchNormalization c s o m v", &[reference("epsilon", "eps", attribute::FLOAT)])),
        op("y = Relu n", &[]),
    ];
    function(17, "y = Unit x w s o m v b", &["stride"], &[float("eps", 1e-3)], &nodes)
}

/// The node under another name.
fn named(name: &str, node: Message) -> Message {
    // Of several names the last counts.
    node.text(node::NAME, name)
}

fn constants() -> Vec<Message> {
    let mut all = vec![counting("w", &[2, 2, 3, 3]), counting("w2", &[2, 2, 3, 3]), counting("b", &[2])];
    all.extend(["s", "o", "m", "v"].map(|name| floats(name, &[2], &[1.0, 2.0])));
    all
}

fn with(nodes: &[Message], functions: &[Message]) -> Vec<u8> {
    with_functions(file(17, "N 2 8 8", nodes, &constants()), functions)
}

fn refused(nodes: &[Message], functions: &[Message], code: &str, words: &[&str]) {
    let error = net(&with(nodes, functions)).unwrap_err();
    assert!(error.starts_with(code), "{error}");
    words.iter().for_each(|word| assert!(error.contains(word), "{word}: {error}"));
}

#[test]
fn calls_become_the_nodes_of_their_functions() {
    let nodes = [
        named("stage1", call("a = Unit x w s o m v b", &[ints("stride", &[1, 1])])),
        named("stage2", call("y = Unit a w2 s o m v", &[ints("stride", &[2, 2]), float("eps", 1e-5)])),
    ];
    let bytes = with(&nodes, &[unit()]);
    let first = "stage1_conv: conv 3x3, 2, half, bias | stage1_norm: bn eps 0.001 | relu";
    let second = "stage2_conv: conv 3x3, 2, stride 2, half | stage2_norm: bn | relu";
    assert_eq!(net(&bytes).unwrap(), format!("{first} | {second}"));
    let text = read(&bytes, &svertka::front::onnx::Options::default()).unwrap().text;
    assert!(text.contains("stage2: "), "{text}");
}

#[test]
fn names_follow_the_calls() {
    let body = [named("first", op("c = Conv x w", &[])), op("d = Relu c", &[]), named("", op("y = Conv d v", &[]))];
    let pair = function(17, "y = Pair x w v", &[], &[], &body);
    let outer = function(17, "y = Outer x w v", &[], &[], &[named("inner", call("y = Pair x w v", &[]))]);
    let weights = |a: &str, b: &str| [counting(a, &[2, 2, 1, 1]), counting(b, &[2, 2, 1, 1])];
    let net = |line: &str, name: &str, [a, b]: [&str; 2]| {
        let nodes = [named(name, call(line, &[]))];
        net(&with_functions(file(17, "N 2 8 8", &nodes, &weights(a, b)), &[pair.clone(), outer.clone()])).unwrap()
    };
    let labelled = |a: &str, b: &str| format!("{a}: conv 1x1, 2 | relu | {b}: conv 1x1, 2");
    assert_eq!(net("y = Pair x a b", "head", ["a", "b"]), labelled("head_first", "head_conv"));
    let nested = labelled("top_head_inner_first", "top_head_inner_conv");
    assert_eq!(net("y = Outer x a b", "/top/head", ["a", "b"]), nested);
    assert_eq!(net("y = Pair x k.weight l.1.weight", "head", ["k.weight", "l.1.weight"]), labelled("k", "l_1"));
    assert_eq!(net("y = Pair x a b", "", ["a", "b"]), labelled("pair_first", "pair_conv"));
}

/// A function that was made of a module keeps the paths of the first one that calls it.
#[test]
fn paths_of_the_first_call_are_those_of_every_call() {
    let at = |path: &str, line: &str| named(path, op(line, &[]));
    let body = [
        at("/layer/layer.0/conv1/Conv", "c = Conv x w"),
        at("/layer/layer.0/relu/Relu", "d = Relu c"),
        at("/layer/layer.0/layer.0.2/Conv", "y = Conv d w"),
    ];
    let block = function(17, "y = Block x w", &[], &[], &body);
    let nodes =
        [named("/layer/layer.0", call("a = Block x w", &[])), named("/layer/layer.1", call("y = Block a w", &[]))];
    let weights = [counting("w", &[2, 2, 1, 1])];
    let net = net(&with_functions(file(17, "N 2 8 8", &nodes, &weights), &[block])).unwrap();
    let of = |layer: &str| format!("{layer}_conv1: conv 1x1, 2 | relu | {layer}_2: conv 1x1, 2");
    assert_eq!(net, format!("{} | {}", of("layer_0"), of("layer_1")));
}

/// All of such a function may be in one module of the module that it stands for.
#[test]
fn modules_in_modules_keep_their_names() {
    let body = [named("/layer/layer.0/block/conv/Conv", op("y = Conv x w", &[]))];
    let block = function(17, "y = Block x w", &[], &[], &body);
    let nodes =
        [named("/layer/layer.0", call("a = Block x w", &[])), named("/layer/layer.1", call("y = Block a w", &[]))];
    let net = net(&with_functions(file(17, "N 2 8 8", &nodes, &[counting("w", &[2, 2, 1, 1])]), &[block])).unwrap();
    assert_eq!(net, "layer_0_block_conv: conv 1x1, 2 | layer_1_block_conv: conv 1x1, 2");
}

#[test]
fn operands_and_results_may_be_left_out_or_passed_through() {
    let body = [op("y = Conv x w b", &[]), op("z = Relu y", &[])];
    let unit = function(17, "y z x = F x w b", &[], &[], &body);
    let net = |nodes: &[_]| net(&with(nodes, std::slice::from_ref(&unit))).unwrap();
    assert_eq!(net(&[call("y = F x w", &[])]).split_once(": ").unwrap().1, "conv 3x3, 2");
    assert_eq!(net(&[call(" y = F x w b", &[])]).split_once(": ").unwrap().1, "conv 3x3, 2, bias | relu");
    // What was passed through is the input itself.
    assert_eq!(net(&[call("  a = F x w b", &[]), op("y = Tanh a", &[])]), "tanh");
    assert_eq!(net(&[call("a  c = F x w", &[]), op("y = Tanh c", &[])]), "tanh");
}

/// Clip has its bounds in attributes before version 11, and in operands since.
#[test]
fn functions_mean_operators_of_their_own_version() {
    let old = function(7, "y = Old x", &[], &[], &[op("y = Clip x", &[float("min", 0.0), float("max", 6.0)])]);
    let bounds = [op("l = Constant", &[float("value_float", 0.0)]), op("y = Clip x l", &[])];
    let new = function(13, "y = New x", &[], &[], &bounds);
    let nodes = [call("a = Old x", &[]), op("c = Tanh a", &[]), call("y = New c", &[])];
    assert_eq!(net(&with(&nodes, &[old.clone(), new])).unwrap(), "relu6 | tanh | relu");
    let late = function(40, "y = Old x", &[], &[], &[op("y = Clip x", &[])]);
    refused(&[call("y = Old x", &[])], &[late], "E0804", &["operator set 40", "`here.Old`"]);
}

#[test]
fn functions_come_before_operators() {
    let relu = function(17, "y = Relu x", &[], &[], &[op("y = Tanh x", &[])]);
    let [here, of_onnx] = ["here", "ai.onnx"].map(|domain| relu.clone().text(fields::function::DOMAIN, domain));
    assert_eq!(net(&with(&[call("a = Relu x", &[]), op("y = Relu a", &[])], &[here])).unwrap(), "tanh | relu");
    assert_eq!(net(&with(&[op("y = Relu x", &[])], &[of_onnx])).unwrap(), "tanh");
}

#[test]
fn functions_that_call_themselves() {
    let to = |name: &str, other: &str| {
        function(17, &format!("y = {name} x"), &[], &[], &[call(&format!("y = {other} x"), &[])])
    };
    refused(&[call("y = A x", &[])], &[to("A", "A")], "E0810", &["`here.A` calls itself"]);
    let circle = [to("A", "B"), to("B", "C"), to("C", "B")];
    refused(
        &[call("y = A x", &[])],
        &circle,
        "E0810",
        &["`here.B` calls itself", "`here.B` calls `here.C` calls `here.B`"],
    );
    // Nobody calls it.
    assert_eq!(net(&with(&[op("y = Relu x", &[])], &[to("A", "A")])).unwrap(), "relu");
}

#[test]
fn functions_that_grow_without_bounds() {
    let twice = |level: usize, body: &str| {
        let nodes = [call(&format!("a = {body} x"), &[]), call(&format!("y = {body} a"), &[])];
        function(17, &format!("y = F{level} x"), &[], &[], &nodes)
    };
    let mut functions = vec![function(17, "y = F0 x", &[], &[], &[op("y = Relu x", &[])])];
    functions.extend((1..40).map(|level| twice(level, &format!("F{}", level - 1))));
    refused(&[call("y = F39 x", &[])], &functions, "E0810", &["and others make more"]);
    // Without any node of ONNX's.
    functions[0] = function(17, "x = F0 x", &[], &[], &[]);
    refused(&[call("y = F39 x", &[])], &functions, "E0810", &["and others make more"]);
    // One list, again and again.
    functions[0] = function(17, "y = F0 x", &[], &[], &[op("y = Relu x", &[ints("a", &[1; 1 << 14])])]);
    refused(&[call("y = F39 x", &[])], &functions, "E0810", &["64 MiB"]);
    let deep = |level: usize| {
        function(17, &format!("y = D{level} x"), &[], &[], &[call(&format!("y = D{} x", level + 1), &[])])
    };
    let deep: Vec<Message> = (0..70).map(deep).collect();
    refused(&[call("y = D0 x", &[])], &deep, "E0810", &["`here.D64` is called within 64 others"]);
}

#[test]
fn functions_that_are_not_there_or_not_as_they_are_called() {
    let one = |line: &str, nodes: &[Message]| function(17, line, &["a"], &[], nodes);
    let relu = || one("y = F x", &[op("y = Relu x", &[])]);
    refused(&[call("y = G x", &[])], &[relu()], "E0806", &["here.G", "no function of the file"]);
    refused(&[call("y = F x w", &[])], &[relu()], "E0810", &["`here.F` is called with 2 operands, and has 1"]);
    refused(&[call("y z = F x", &[])], &[relu()], "E0810", &["2 results"]);
    refused(&[call("y = F x", &[int("b", 1)])], &[relu()], "E0810", &["`b`"]);
    refused(&[call("y = F x", &[])], &[relu(), relu()], "E0810", &["`here.F` is there twice"]);
    let inner = |line: &str, nodes: &[Message], words: &str| {
        refused(&[call("y = F x", &[])], &[one(line, nodes)], "E0810", &[words]);
    };
    inner("y = F x", &[op("y = Add x w", &[])], "reads the value `w`");
    inner("y = F x", &[op("z = Relu x", &[])], "reads the value `y`");
    inner("y = F x", &[op("y = Relu x", &[]), op("y = Tanh x", &[])], "makes the value `y` twice");
    inner("x = F x", &[op("x = Relu x", &[])], "makes the value `x` twice");
    inner("y = F x x", &[op("y = Relu x", &[])], "makes the value `x` twice");
    let stranger = call("y = F x", &[reference("axis", "b", attribute::INT)]);
    refused(&[stranger], &[one("y = F x", &[op("y = Softmax x", &[])])], "E0810", &["`axis`"]);
    let softmax = op("y = Relu x", &[reference("alpha", "a", attribute::INT)]);
    // What the call leaves out is left out.
    assert_eq!(net(&with(&[call("y = F x", &[])], &[one("y = F x", std::slice::from_ref(&softmax))])).unwrap(), "relu");
    refused(&[call("y = F x", &[int("a", 1)])], &[one("y = F x", &[softmax])], "E0806", &["`alpha` is not known"]);
    // Outside of a function there is nobody to give it.
    refused(&[op("y = Relu x", &[reference("alpha", "a", attribute::INT)])], &[], "E0806", &["Relu"]);
}

#[test]
fn damaged_functions() {
    let nodes = [named("stage", call("y = Unit x w s o m v b", &[ints("stride", &[1, 1])]))];
    let bytes = with(&nodes, &[unit()]);
    assert!(net(&bytes).is_ok());
    for at in bytes.len() - unit().bytes().len()..bytes.len() {
        let _ = net(&bytes[..at]);
        for change in [1, 4, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            let _ = net(&changed);
        }
    }
}
