//! ONNX files by hand.

use std::sync::Arc;
use svertka::front::onnx::constant::{Bytes, NoFiles};
use svertka::front::onnx::encode::Message;
use svertka::front::onnx::fields::{attribute, entry, function, graph, model, node, opset, tensor, value};
use svertka::front::onnx::{Import, Options, import};
use svertka::front::text::write::Form;

/// An attribute.
pub fn int(name: &str, number: i64) -> Message {
    named(name).int(attribute::I, number).int(attribute::TYPE, attribute::INT)
}

pub fn ints(name: &str, numbers: &[i64]) -> Message {
    named(name).ints(attribute::LIST_OF_INTS, numbers).int(attribute::TYPE, attribute::INTS)
}

pub fn float(name: &str, number: f32) -> Message {
    named(name).float(attribute::F, number).int(attribute::TYPE, attribute::FLOAT)
}

pub fn text(name: &str, word: &str) -> Message {
    named(name).text(attribute::S, word).int(attribute::TYPE, attribute::STRING)
}

/// An attribute that is the call's of this name.
pub fn reference(name: &str, of: &str, kind: i64) -> Message {
    named(name).text(attribute::REFERENCE, of).int(attribute::TYPE, kind)
}

fn named(name: &str) -> Message {
    Message::default().text(attribute::NAME, name)
}

/// A node: `"y = Conv x w "`, where a blank more stands for an operand that is left out.
pub fn op(line: &str, attributes: &[Message]) -> Message {
    let (outputs, call) = line.split_once(" = ").unwrap();
    let mut words = call.split(' ');
    let mut message = Message::default().text(node::OPERATOR, words.next().unwrap()).text(node::NAME, line);
    message = words.fold(message, |message, input| message.text(node::INPUT, input));
    message = outputs.split(' ').fold(message, |message, output| message.text(node::OUTPUT, output));
    attributes.iter().fold(message, |message, attribute| message.message(node::ATTRIBUTE, attribute))
}

/// An operator of another domain than ONNX's.
pub fn call(line: &str, attributes: &[Message]) -> Message {
    op(line, attributes).text(node::DOMAIN, "here")
}

/// A function of the domain `here`, as `"y z = Name a b"`.
pub fn function(version: i64, line: &str, attributes: &[&str], defaults: &[Message], nodes: &[Message]) -> Message {
    let (outputs, rest) = line.split_once(" = ").unwrap();
    let mut words = rest.split(' ');
    let mut message = Message::default().text(function::NAME, words.next().unwrap()).text(function::DOMAIN, "here");
    message = words.fold(message, |message, input| message.text(function::INPUT, input));
    message = outputs.split(' ').fold(message, |message, output| message.text(function::OUTPUT, output));
    message = attributes.iter().fold(message, |message, name| message.text(function::ATTRIBUTE, name));
    message = defaults.iter().fold(message, |message, default| message.message(function::DEFAULT, default));
    message = nodes.iter().fold(message, |message, node| message.message(function::NODE, node));
    message.message(function::OPSET_IMPORT, &Message::default().text(opset::DOMAIN, "").int(opset::VERSION, version))
}

/// The same file with functions.
pub fn with_functions(file: Vec<u8>, functions: &[Message]) -> Vec<u8> {
    let more = functions.iter().fold(Message::default(), |more, function| more.message(model::FUNCTION, function));
    [&file[..], more.bytes()].concat()
}

/// A constant of f32.
pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> Message {
    raw(name, dims, tensor::FLOAT, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

/// A constant of f32 that counts up in small steps.
pub fn counting(name: &str, dims: &[i64]) -> Message {
    let count = dims.iter().product::<i64>();
    floats(name, dims, &(0..count).map(|i| (i % 7) as f32 * 0.25 - 0.5).collect::<Vec<_>>())
}

pub fn numbers(name: &str, values: &[i64]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    raw(name, &[values.len() as i64], tensor::INT64, &bytes)
}

pub fn raw(name: &str, dims: &[i64], element: i64, bytes: &[u8]) -> Message {
    let head = Message::default().ints(tensor::DIMS, dims).int(tensor::ELEMENT_TYPE, element);
    head.text(tensor::NAME, name).blob(tensor::RAW_DATA, bytes)
}

/// A constant in another file.
pub fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Message {
    let head = Message::default().ints(tensor::DIMS, dims).int(tensor::ELEMENT_TYPE, tensor::FLOAT);
    let head = head.text(tensor::NAME, name).int(tensor::DATA_LOCATION, tensor::EXTERNAL);
    entries.iter().fold(head, |head, (key, text)| {
        let pair = Message::default().text(entry::KEY, key).text(entry::VALUE, text);
        head.message(tensor::EXTERNAL_DATA, &pair)
    })
}

/// `"N 3 8 8"`
fn value_info(name: &str, shape: &str) -> Message {
    let dim = |word: &str| match word.parse() {
        Ok(size) => Message::default().int(value::SIZE, size),
        Err(_) => Message::default().text(value::SYMBOL, word),
    };
    let shape = shape.split(' ').fold(Message::default(), |shape, word| shape.message(value::DIMENSION, &dim(word)));
    let ty = Message::default().int(value::ELEMENT_TYPE, tensor::FLOAT).message(value::SHAPE, &shape);
    let ty = Message::default().message(value::TENSOR_TYPE, &ty);
    Message::default().text(value::NAME, name).message(value::TYPE, &ty)
}

/// A file with the input `x` and the output `y`.
pub fn file(version: i64, shape: &str, nodes: &[Message], constants: &[Message]) -> Vec<u8> {
    file_with(version, shape, nodes, constants, &[])
}

/// One whose constants are listed among the inputs too, with these shapes.
pub fn file_with(
    version: i64,
    shape: &str,
    nodes: &[Message],
    constants: &[Message],
    listed: &[(&str, &str)],
) -> Vec<u8> {
    let mut body = nodes.iter().fold(Message::default(), |body, node| body.message(graph::NODE, node));
    body = constants.iter().fold(body, |body, constant| body.message(graph::INITIALIZER, constant));
    body = body.message(graph::INPUT, &value_info("x", shape)).text(graph::NAME, "net");
    body = listed.iter().fold(body, |body, (name, shape)| body.message(graph::INPUT, &value_info(name, shape)));
    let body = body.message(graph::OUTPUT, &Message::default().text(value::NAME, "y"));
    let version = Message::default().text(opset::DOMAIN, "").int(opset::VERSION, version);
    let head = Message::default().int(model::IR_VERSION, 8).message(model::OPSET_IMPORT, &version);
    head.message(model::GRAPH, &body).bytes().to_vec()
}

pub fn read(file: &[u8], options: &Options) -> Result<Import, String> {
    let bytes: Bytes = Arc::new(file.to_vec());
    import(&bytes, &mut NoFiles, options).map_err(|errors| {
        let line = |error: &svertka::diagnostic::Diagnostic| {
            let help = error.help.iter().map(|help| help.text.clone());
            let more = error.notes.iter().cloned().chain(help).collect::<Vec<_>>().join("; ");
            format!("{}: {} ({more})", error.code, error.message)
        };
        errors.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

/// The body of the imported text, in one line.
pub fn net(file: &[u8]) -> Result<String, String> {
    let text = read(file, &Options { form: Form::Flat, ..Options::default() })?.text;
    let body = text.split_once("net {").unwrap().1.trim().trim_end_matches('}').trim();
    Ok(body.split_whitespace().collect::<Vec<_>>().join(" "))
}
