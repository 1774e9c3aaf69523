//! The inputs of a file: their types, and the sizes that it leaves open.

use super::call::Value;
use super::flow::Flow;
use super::names;
use super::proto::{Dim, Node, ValueInfo};
use super::walk::{Importer, Samples};
use crate::diagnostic::Diagnostic;
use crate::front::text::syntax::parser;
use crate::ir::FreeSize;
use crate::tensor::{Batch, DType, MAX_DIMS, TensorType};
use std::collections::HashSet;

/// An input as a network has it.
struct Input {
    ty: TensorType,
    free: Vec<FreeSize>,
    /// Whether its channels are last in the file.
    channels_last: bool,
}

/// A size of an input.
enum Size {
    Known(usize),
    /// By its name in the language; this is its value by default.
    Free(String, usize),
    Open,
}

impl<'a> Importer<'a> {
    /// The inputs of the network; what is given as a constant too is none.
    pub fn inputs(&mut self, inputs: &'a [ValueInfo<'a>], live: &HashSet<&str>) -> Result<(), Vec<Diagnostic>> {
        let mut errors = Vec::new();
        for input in inputs {
            if self.values.contains_key(input.name) {
                continue;
            }
            if !live.contains(input.name) {
                self.notes.push(format!("the input `{}` is not read, and left out", input.name));
                continue;
            }
            match self.input_type(input) {
                Ok(found) => self.input(input.name, found),
                Err(error) => errors.push(error),
            }
        }
        for (name, _) in &self.options.sizes {
            let is_free = self.free_names.values().any(|free| free == name);
            if !is_free && !inputs.iter().any(|input| has_size(input, name)) {
                errors.push(Diagnostic::error("E0808", format!("--input {name}: no input has a size of this name")));
            }
        }
        if self.graph.inputs.is_empty() && errors.is_empty() {
            errors.push(Diagnostic::error("E0805", "the network has no input: all that it computes is constant"));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn input_type(&mut self, input: &'a ValueInfo<'a>) -> Result<Input, Diagnostic> {
        let error = |what: String| Diagnostic::error("E0805", format!("the input `{}` {what}", input.name));
        let Some(ty) = &input.ty.tensor else { return Err(error("is no tensor".into())) };
        match ty.element {
            1 => {}
            10 | 11 | 16 => self.notes.push(format!("the input `{}` and all that follows is f32 here", input.name)),
            _ => return Err(error("does not hold floating-point numbers".into())),
        }
        let Some(shape) = &ty.shape else { return Err(error("has any number of dimensions".into())) };
        let rank = shape.dims.len();
        let own = usize::from(self.view.samples == Samples::First);
        if !(1 + own..=MAX_DIMS + own).contains(&rank) {
            let most = MAX_DIMS + 1;
            return Err(error(format!(
                "has {rank} dimensions; a network's have batch, channels and more, up to {most}"
            )));
        }
        let channels_last = rank > 2 && own == 1 && self.channels_are_last(input.name, rank);
        let channels = if channels_last { rank - 1 } else { own };
        let axes: Vec<(usize, &Dim)> = shape.dims.iter().enumerate().collect();
        // The channels behind the batch, then the positions, as a network has them.
        let positions = axes.iter().filter(|(axis, _)| *axis >= own && *axis != channels);
        let order: Vec<(usize, &Dim)> = [axes[channels]].iter().chain(positions).copied().collect();
        let (mut dims, mut free, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for (dim, &(axis, of_file)) in order.iter().enumerate() {
            let place = place(input.name, axis);
            match self.size(&place, of_file, (dim > 0).then_some((dim, order.len() - 1))) {
                Size::Known(size) => dims.push(size),
                Size::Free(name, size) => {
                    free.push(FreeSize { name, input: self.graph.inputs.len(), dim });
                    dims.push(size);
                }
                Size::Open => open.push(if of_file.name.is_empty() { place } else { of_file.name.to_string() }),
            }
        }
        if !open.is_empty() {
            let sizes: Vec<String> = open.iter().map(|name| format!("{name}=224")).collect();
            let help = format!("give them, for example --input {}", sizes.join(","));
            return Err(error(format!("leaves sizes open: {}", open.join(", "))).help(help));
        }
        let batch = match self.view.samples {
            Samples::First => self.batch(input.name, axes[0].1),
            Samples::None => {
                self.notes.push(format!(
                    "the input `{}` has no axis for samples in the file; here it has one, of size 1",
                    input.name
                ));
                Batch::Fixed(1)
            }
        };
        let ty = TensorType { dtype: DType::F32, batch, dims };
        let fixed_batch = if let Batch::Fixed(size) = ty.batch { size } else { 1 };
        if !(1..=crate::tensor::MAX_BATCH).contains(&fixed_batch) {
            return Err(error(format!("has a batch of {fixed_batch}")));
        }
        ty.check().map_err(|reason| error(format!("is {ty}: {reason}")))?;
        Ok(Input { ty, free, channels_last })
    }

    fn batch(&self, input: &str, dim: &Dim) -> Batch {
        let given = self.given(&[&place(input, 0), dim.name]);
        match given.or_else(|| dim.value.and_then(|value| usize::try_from(value).ok())) {
            Some(size) => Batch::Fixed(size),
            None => Batch::Symbolic("N".into()),
        }
    }

    /// The size that is given under one of these names.
    fn given(&self, names: &[&str]) -> Option<usize> {
        let sizes = &self.options.sizes;
        names.iter().find_map(|name| sizes.iter().find(|(of, _)| of == name)).map(|(_, size)| *size)
    }

    /// A size of a sample; of one of positions, which of how many.
    fn size(&mut self, place: &str, dim: &Dim, position: Option<(usize, usize)>) -> Size {
        let known = dim.value.and_then(|value| usize::try_from(value).ok());
        if let Some(size) = known {
            return Size::Known(self.given(&[place, dim.name]).unwrap_or(size));
        }
        let name = position.map(|(of, count)| (self.free_name(place, dim.name, letter(of, count)), count));
        let names = [place, dim.name, name.as_ref().map_or(place, |(name, _)| name)];
        match (&self.view.free, name.clone()) {
            (Some(free), Some((name, count))) => {
                let size = names.iter().rev().find_map(|name| free.of.get(*name)).copied();
                Size::Free(name, size.unwrap_or(free.others[count - 1]))
            }
            _ => self.given(&names).map_or(Size::Open, Size::Known),
        }
    }

    /// What an open size is called: the file's name for it, or a letter, as a word that nothing else has.
    fn free_name(&mut self, place: &str, name: &str, letter: &'static str) -> String {
        let key = if name.is_empty() { place } else { name };
        if let Some(known) = self.free_names.get(key) {
            return known.clone();
        }
        let word = if name.is_empty() { letter.to_string() } else { names::word(name) };
        let numbered = (2..).map(|number| format!("{word}{number}"));
        let is_free = |word: &String| {
            *word != "N" && parser::is_item_name(word) && !self.free_names.values().any(|taken| taken == word)
        };
        let word = [word.clone()].into_iter().chain(numbered).find(is_free).expect("there are more numbers than names");
        self.free_names.insert(key.to_string(), word.clone());
        word
    }

    fn input(&mut self, name: &'a str, input: Input) {
        let Input { ty, free, channels_last } = input;
        let rank = ty.dims.len() + 1;
        let word = self.unique(names::word(name));
        let node = self.graph.add_input(&word, ty.clone());
        self.graph.free.extend(free);
        let mut flow = Flow::of(node, &ty);
        if channels_last {
            self.channels_last = true;
            let perm: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
            flow = flow.transposed(&perm).expect("a permutation");
            self.notes.push(format!("the input `{name}` has its channels last in the file, and first here: {ty}"));
        }
        if self.view.samples == Samples::None {
            flow.axes.remove(0);
        }
        self.values.insert(name, Value::Flow(flow));
    }

    /// Whether the first that is done with a value, beside arithmetic, is to bring its last axis to the front.
    fn channels_are_last(&self, name: &'a str, rank: usize) -> bool {
        const POINTWISE: [&str; 6] = ["Identity", "Cast", "Add", "Sub", "Mul", "Div"];
        let first = [&[0, rank as i64 - 1][..], &(1..rank as i64 - 1).collect::<Vec<_>>()].concat();
        let mut name = name;
        for _ in 0..8 {
            let Some([reader]) = self.readers.get(name).map(Vec::as_slice) else { return false };
            if reader.operator == "Transpose" {
                let is_first = reader.attributes.iter().any(|a| a.name == "perm" && a.ints == first);
                let readers = reader.outputs.first().and_then(|output| self.readers.get(output));
                return is_first && readers.is_some_and(|readers| readers.iter().any(|node| is_spatial(node)));
            }
            match reader.outputs.first() {
                Some(output) if POINTWISE.contains(&reader.operator) => name = output,
                _ => return false,
            }
        }
        false
    }
}

/// Whether an operator's first operand has its channels in front.
fn is_spatial(node: &Node) -> bool {
    const SPATIAL: [&str; 8] = [
        "Conv",
        "ConvTranspose",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "BatchNormalization",
        "Pad",
    ];
    SPATIAL.contains(&node.operator)
}

fn has_size(input: &ValueInfo, name: &str) -> bool {
    let Some(shape) = input.ty.tensor.as_ref().and_then(|ty| ty.shape.as_ref()) else { return false };
    (shape.dims.iter().enumerate()).any(|(axis, dim)| dim.name == name || place(input.name, axis) == name)
}

/// How an axis of an input is called where it has no name.
fn place(input: &str, axis: usize) -> String {
    format!("{input}.{axis}")
}

/// What a dimension of a sample with so many of positions is called.
fn letter(dim: usize, positions: usize) -> &'static str {
    match positions {
        1 => "L",
        _ => ["W", "H", "D"].get(positions - dim).copied().unwrap_or("D"),
    }
}
