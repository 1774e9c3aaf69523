//! What changed between two networks.

use super::{Format, Row, Summary, Window, bytes, dims};
use crate::front::text::build::grouped;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write;

/// Two networks side by side. Layers of the same name are the same layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The figures of the first network.
    pub before: Totals,
    /// The figures of the second network.
    pub after: Totals,
    /// Layers that are alike in everything.
    pub unchanged: usize,
    /// Layers of both, in the order of the second.
    pub changed: Vec<Change>,
    /// Layers that the first alone has.
    pub removed: Vec<Row>,
    /// Layers that the second alone has.
    pub added: Vec<Row>,
}

/// The figures of a whole network, as in [`Summary`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// The model's name.
    pub model: String,
    /// Dimensions of the inputs without the batch.
    pub inputs: Vec<Vec<usize>>,
    /// Layers.
    pub layers: usize,
    /// Trained weights.
    pub parameters: u64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// All outputs of layers together.
    pub activation_bytes: u64,
    /// Memory for activations that a run with one sample takes at most, where a plan is at hand.
    pub arena_bytes: Option<u64>,
    /// Of the last feature map before the classifier.
    pub receptive_field: Option<Window>,
}

/// A layer that is not what it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// In the first network.
    pub before: Row,
    /// In the second network.
    pub after: Row,
}

/// What changed from one network to another.
pub fn difference(before: &Summary, after: &Summary) -> Difference {
    let mut of_name: HashMap<&str, VecDeque<&Row>> = HashMap::new();
    before.layers.iter().for_each(|row| of_name.entry(&row.name).or_default().push_back(row));
    let (mut unchanged, mut changed, mut added) = (0, Vec::new(), Vec::new());
    for row in &after.layers {
        match of_name.get_mut(row.name.as_str()).and_then(VecDeque::pop_front) {
            None => added.push(row.clone()),
            Some(known) if known.is_like(row) => unchanged += 1,
            Some(known) => changed.push(Change { before: known.clone(), after: row.clone() }),
        }
    }
    let is_left = |row: &&Row| of_name[row.name.as_str()].iter().any(|left| std::ptr::eq(*left, *row));
    let removed = before.layers.iter().filter(is_left).cloned().collect();
    Difference { before: before.totals_only(), after: after.totals_only(), unchanged, changed, removed, added }
}

impl Row {
    /// Whether all that is said of the layer by itself is the same: everything but its place and share in the network.
    fn is_like(&self, other: &Row) -> bool {
        let figures = |row: &Row| (row.parameters, row.buffers, row.macs, row.activation_bytes);
        self.layer == other.layer
            && self.output == other.output
            && figures(self) == figures(other)
            && self.receptive_field == other.receptive_field
    }
}

impl Summary {
    fn totals_only(&self) -> Totals {
        Totals {
            model: self.model.clone(),
            inputs: self.inputs.clone(),
            layers: self.layers.len(),
            parameters: self.parameters,
            macs: self.macs,
            activation_bytes: self.activation_bytes,
            arena_bytes: self.arena_bytes,
            receptive_field: self.receptive_field.clone(),
        }
    }
}

impl Difference {
    /// Writes it; `None` for a form that a comparison does not have.
    pub fn render(&self, format: Format) -> Option<String> {
        const PLAIN: &str = "a comparison is made of plain numbers and texts";
        match format {
            #[cfg(feature = "tables")]
            Format::Table => Some(self.text()),
            Format::Json => Some(serde_json::to_string_pretty(self).expect(PLAIN) + "\n"),
            Format::Yaml => Some(serde_yaml::to_string(self).expect(PLAIN)),
            Format::Csv => None,
        }
    }

    #[cfg(feature = "tables")]
    fn text(&self) -> String {
        let Difference { before, after, .. } = self;
        let mut text = format!("{} -> {}\n\n", before.title(), after.title());
        let number = |n: u64| grouped(n.into());
        text += &figure("layers", [before, after].map(|totals| totals.layers as u64), number);
        text += &figure("parameters", [before.parameters, after.parameters], number);
        text += &figure("MACs", [before.macs, after.macs], number);
        text += &figure("activations", [before.activation_bytes, after.activation_bytes], bytes);
        if let (Some(before), Some(after)) = (before.arena_bytes, after.arena_bytes) {
            text += &figure("arena", [before, after], bytes);
        }
        let fields = [before, after].map(|totals| totals.receptive_field.as_ref().map_or("none".into(), Window::short));
        let _ = writeln!(text, "{:<16} {:>15} {:>15}", "receptive field", fields[0], fields[1]);
        self.write_layers(&mut text);
        text
    }

    #[cfg(feature = "tables")]
    fn write_layers(&self, text: &mut String) {
        let Difference { unchanged, changed, removed, added, .. } = self;
        let [changed, removed, added] = [changed.len(), removed.len(), added.len()];
        let _ =
            writeln!(text, "\n{unchanged} layers as before, {changed} changed, {removed} gone (-), {added} new (+)");
        for Change { before, after } in &self.changed {
            let _ = writeln!(text, "  {}: {}", before.name, before.shown());
            let _ =
                writeln!(text, "  {} > {}", " ".repeat(before.name.chars().count().saturating_sub(1)), after.shown());
        }
        for (sign, rows) in [("-", &self.removed), ("+", &self.added)] {
            for row in rows {
                let _ = writeln!(text, "{sign} {}: {}", row.name, row.shown());
            }
        }
    }
}

impl Row {
    /// `conv 3x3, 64 -> 64x56x56, 36,864 parameters, field 7`
    #[cfg(feature = "tables")]
    fn shown(&self) -> String {
        let parameters = match self.parameters {
            0 => String::new(),
            n => format!(", {} parameters", grouped(n.into())),
        };
        format!("{} -> {}{parameters}, field {}", self.layer, dims(&self.output), self.receptive_field.short())
    }
}

#[cfg(feature = "tables")]
impl Totals {
    fn title(&self) -> String {
        let inputs: Vec<String> = self.inputs.iter().map(|input| dims(input)).collect();
        format!("{} ({})", self.model, inputs.join(" and "))
    }
}

/// A line of two figures and the change from one to the other.
#[cfg(feature = "tables")]
fn figure(name: &str, [before, after]: [u64; 2], shown: impl Fn(u64) -> String) -> String {
    let change = match before {
        _ if before == after => "the same".to_string(),
        0 => "new".to_string(),
        _ => format!("{:+.1} %", 100.0 * (after as f64 / before as f64 - 1.0)),
    };
    format!("{name:<16} {:>15} {:>15} {change:>10}\n", shown(before), shown(after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Model;

    fn summary(net: &str) -> Summary {
        let text = format!("model m\ninput x: f32[N, 3, 8, 8]\nnet {{ {net} }}");
        Model::parse(&text).unwrap().summary()
    }

    #[test]
    fn layers_are_told_apart_by_their_names() {
        let before = summary("a: conv 3x3, 4 | b: conv 1x1, 8 | c: relu");
        let after = summary("a: conv 3x3, 4 | b: conv 3x3, 8 | d: conv 1x1, 2");
        let found = difference(&before, &after);
        let names = |rows: &[Row]| rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>();
        assert_eq!((found.unchanged, found.changed.len()), (1, 1));
        assert_eq!(found.changed[0].after.name, "b");
        assert_eq!((names(&found.removed), names(&found.added)), (vec!["c".to_string()], vec!["d".to_string()]));
        assert_eq!(found.after.parameters - found.before.parameters, 8 * 4 * 8 + 2 * 8);
    }

    #[test]
    fn a_network_does_not_differ_from_itself() {
        let net = summary("conv 3x3, 4 | relu | relu | conv 3x3, 4");
        let found = difference(&net, &net);
        assert_eq!(found.unchanged, 4);
        assert!(found.changed.is_empty() && found.removed.is_empty() && found.added.is_empty());
    }
}
