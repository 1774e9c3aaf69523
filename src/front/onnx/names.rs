//! What layers are called: by the modules that exporters tell of.

use super::proto::Node;
use crate::front::text::syntax::parser;

/// What exporters call every network.
const NO_NAMES: [&str; 5] = ["", "main_graph", "torch_jit", "torch-jit-export", "tf2onnx"];

/// What ONNX Runtime puts behind the names of weights.
const QUANTISED: [&str; 2] = ["_DequantizeLinear_Output", "_quantized"];

/// The network's name: its own, else the given one.
pub fn of_network(own: &str, given: &str) -> String {
    let name = word(if NO_NAMES.contains(&own) && !given.is_empty() { given } else { own });
    if parser::is_item_name(&name) { name } else { format!("{name}_") }
}

/// A name as a word of the language.
pub fn word(name: &str) -> String {
    let word = component(name);
    match word.chars().next() {
        Some(first) if !first.is_ascii_digit() => word,
        _ => format!("n{word}"),
    }
}

/// A name in letters that are those of words.
fn component(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// A name as a label: a dash may stand inside.
fn label(name: &str) -> String {
    let of = |(index, c): (usize, char)| if c.is_ascii_alphanumeric() || c == '-' && index > 0 { c } else { '_' };
    name.chars().enumerate().map(of).collect()
}

/// Dotted names as a path.
fn path(name: &str) -> String {
    let parts: Vec<String> = name.split('.').filter(|part| !part.is_empty()).map(label).collect();
    parts.join(".")
}

/// What a layer with weights may be called, the best first: a parameter of its own, the module that the node's name tells of,
/// what its first weight is named for, the module that the exporter lists. Equal weights share a name in some files, and fused layers a module.
pub fn labels(node: &Node) -> Vec<String> {
    let of_weight = || {
        // Of operators on whole numbers, it stands behind the numbers of what they read.
        let index = if node.operator.starts_with('Q') { 3 } else { 1 };
        let name = node.inputs.get(index)?;
        let (module, role) =
            QUANTISED.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).rsplit_once('.')?;
        matches!(role, "weight" | "bias").then(|| path(&joined(module.trim_start_matches('/'))))
    };
    let is_role = |(_, role): (&str, &str)| !role.contains('/') && !matches!(role, "weight" | "bias");
    let is_parameter = |name: &&&str| name.rsplit_once('.').is_some_and(is_role);
    let of_parameter = if node.operator == "Mul" { node.inputs.iter().find(is_parameter) } else { None };
    let of_node = node.name.strip_prefix('/').and_then(|name| name.rsplit_once('/'));
    let of_node = of_node.map(|(scope, _)| path(&joined(scope)));
    let of_scope = || node.scope.map(|(module, _)| path(module));
    let all = [of_parameter.map(|name| path(name)), of_node, of_weight(), of_scope()];
    all.into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// Where a node is among the modules: their path, and the node's own name or operator. Nothing if the file does not tell.
pub fn place(node: &Node) -> String {
    match (node.name.strip_prefix('/'), node.scope) {
        (Some(name), _) => path(&joined(name)),
        (_, Some((module, name))) => path(&format!("{module}.{name}")),
        _ => String::new(),
    }
}

/// `layer1/layer1.0/conv1` is `layer1.0.conv1`: a part that begins with the one before it replaces that.
pub fn joined(scopes: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in scopes.split('/') {
        if parts.last().is_some_and(|last| part.strip_prefix(last).is_some_and(|rest| rest.starts_with('.'))) {
            parts.pop();
        }
        parts.push(part);
    }
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_the_names_of_nodes() {
        for (name, module, at) in [
            ("/features/features.1/block/block.0/block.0.0/Conv", "features.1.block.0.0", "features.1.block.0.0.Conv"),
            ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1", "layer1.0.conv1.Conv"),
            ("/fc/Gemm", "fc", "fc.Gemm"),
            ("/stage/stage.block1-0/-f/Conv", "stage.block1-0._f", "stage.block1-0._f.Conv"),
        ] {
            let node = Node { name, ..Node::default() };
            assert_eq!((labels(&node), &*place(&node)), (vec![module.to_string()], at));
        }
        assert_eq!((word("0/a.b"), word("x")), ("n0_a_b".into(), "x".into()));
    }

    #[test]
    fn modules_are_found_in_weights_and_scopes() {
        let node = Node {
            name: "node_conv2d",
            inputs: vec!["x", "a.b.weight"],
            scope: Some(("a.relu", "relu_1")),
            ..Node::default()
        };
        assert_eq!((labels(&node), &*place(&node)), (vec!["a.b".into(), "a.relu".into()], "a.relu.relu_1"));
        for (operator, inputs) in [
            ("Conv", vec!["x", "a.b.weight_DequantizeLinear_Output"]),
            ("QLinearConv", vec!["x", "s", "z", "a.b.weight_quantized"]),
        ] {
            assert_eq!(labels(&Node { operator, inputs, ..Node::default() }), ["a.b"]);
        }
        let node = Node { name: "Conv_3", inputs: vec!["x", "w"], ..Node::default() };
        assert_eq!((labels(&node), &*place(&node)), (Vec::new(), ""));
    }
}
