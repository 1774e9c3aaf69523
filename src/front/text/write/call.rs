//! A layer as it is written: a keyword and arguments, of which each may become a parameter of a block.

use crate::layers::{self, Kind, LayerSpec, ParamDecl};
use std::collections::HashMap;

/// The call of a layer.
#[derive(Clone, Debug)]
pub struct Call {
    pub spec: &'static LayerSpec,
    /// The keyword, or the parameter of a block that holds it.
    pub word: String,
    /// An argument for each parameter of the layer; `None` for those that may be absent and are.
    pub args: Vec<Option<String>>,
    pub is_activation: bool,
    /// Whether it holds weights.
    pub has_weights: bool,
}

/// Arguments that a file gives to all layers of a keyword.
pub type Defaults = HashMap<(&'static str, &'static str), String>;

impl Call {
    /// Reads the text of a layer. `None` if it is none.
    pub fn parse(text: &str, is_activation: bool, has_weights: bool) -> Option<Call> {
        let (keyword, rest) = text.split_once(' ').unwrap_or((text, ""));
        let spec = layers::find(keyword)?.spec;
        let written = |param: &ParamDecl| param.default.filter(|text| !text.is_empty()).map(String::from);
        let mut args: Vec<Option<String>> = spec.params.iter().map(written).collect();
        let mut positional = spec.params.iter().enumerate().filter(|(_, param)| param.positional);
        for piece in pieces(rest) {
            let named = spec.params.iter().enumerate().find_map(|(at, param)| Some((at, said_for(param, piece)?)));
            let (at, value) = match named {
                Some((at, value)) => (at, value),
                None => (positional.next()?.0, piece.to_string()),
            };
            args[at] = Some(value);
        }
        Some(Call { spec, word: keyword.to_string(), args, is_activation, has_weights })
    }

    /// Whether another activation could stand in its place.
    pub fn is_plain_activation(&self) -> bool {
        self.is_activation && self.spec.params.is_empty()
    }

    /// The text, without what holds by default.
    pub fn print(&self, defaults: &Defaults) -> String {
        let default = |param: &ParamDecl| {
            let of_file = defaults.get(&(self.spec.keyword, param.name)).map(String::as_str);
            of_file.or(param.default.filter(|text| !text.is_empty()))
        };
        let pairs = || self.spec.params.iter().zip(&self.args);
        let is_said = |param: &ParamDecl, arg: &Option<String>| arg.is_some() && arg.as_deref() != default(param);
        let by_place = |param: &ParamDecl, arg: &Option<String>| param.positional && is_said(param, arg);
        let positional = pairs().rposition(|(param, arg)| by_place(param, arg)).map_or(0, |at| at + 1);
        let mut said = Vec::new();
        for (at, (param, arg)) in pairs().enumerate() {
            let Some(value) = arg else { continue };
            if at < positional && pairs().take(at).all(|(_, arg)| arg.is_some()) {
                said.push(value.clone());
            } else if is_said(param, arg) {
                said.push(with_name(param, value));
            }
        }
        if said.is_empty() { self.word.clone() } else { format!("{} {}", self.word, said.join(", ")) }
    }
}

/// Arguments between commas that stand in no brackets.
fn pieces(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let is_comma = |c: char| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    };
    text.split(is_comma).map(str::trim).filter(|piece| !piece.is_empty()).collect()
}

/// What an argument says for a parameter, if it names it or is one of its words.
fn said_for(param: &ParamDecl, piece: &str) -> Option<String> {
    let own_word = match param.kind {
        Kind::Pad => ["valid", "half", "same"].contains(&piece),
        Kind::Word(words) => words.contains(&piece),
        _ => false,
    };
    if own_word {
        return Some(piece.to_string());
    }
    let rest = piece.strip_prefix(param.name)?;
    match rest.trim_start() {
        "" => (param.kind == Kind::Bool).then(|| "true".to_string()),
        value if value.len() < rest.len() => Some(value.trim_start_matches('=').trim_start().to_string()),
        _ => None,
    }
}

/// An argument that is given by name, or by its word.
fn with_name(param: &ParamDecl, value: &str) -> String {
    let own_word = match param.kind {
        Kind::Pad => ["valid", "half", "same"].contains(&value),
        Kind::Word(words) => words.contains(&value),
        _ => false,
    };
    match (own_word, param.kind, value) {
        (true, ..) => value.to_string(),
        (_, Kind::Bool, "true") => param.name.to_string(),
        _ if value.starts_with('-') => format!("{} = {value}", param.name),
        _ => format!("{} {value}", param.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Activation, Conv, Op, Padding, Window};

    fn conv(padding: Padding, groups: usize, bias: bool) -> Op {
        let window = Window { kernel: vec![3, 3], stride: vec![2, 2], dilation: vec![1, 1], padding, ceil: false };
        Conv { channels: 8, window, groups, bias, weights: None }.into()
    }

    #[test]
    fn a_call_prints_as_the_layer_does() {
        let ops = [
            conv(Padding::Half, 1, true),
            conv(Padding::Sides(vec![(0, 1), (2, 3)]), 1, false),
            conv(Padding::Valid, 4, true),
            conv(Padding::Valid, 1, false),
            Activation::Relu.into(),
            Activation::LeakyRelu(0.2).into(),
            Activation::Clip { low: f32::NEG_INFINITY, high: -1.0 }.into(),
            Activation::Clip { low: -1.0, high: 1.0 }.into(),
            layers::Dense { features: 3, bias: false, flatten: false }.into(),
        ];
        for op in ops {
            let text = op.layer().unwrap().to_string();
            assert_eq!(Call::parse(&text, false, true).unwrap().print(&Defaults::new()), text);
        }
    }

    #[test]
    fn defaults_of_the_file_are_not_repeated_and_can_be_left() {
        let defaults = Defaults::from([(("conv", "pad"), "half".into()), (("conv", "bias"), "true".into())]);
        let print = |op: Op| Call::parse(&op.layer().unwrap().to_string(), false, true).unwrap().print(&defaults);
        assert_eq!(print(conv(Padding::Half, 1, true)), "conv 3x3, 8, stride 2");
        assert_eq!(print(conv(Padding::Valid, 1, false)), "conv 3x3, 8, stride 2, valid, bias false");
        assert_eq!(print(conv(Padding::All(0), 1, true)), "conv 3x3, 8, stride 2, pad 0");
    }
}
