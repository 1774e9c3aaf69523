//! The summary of a network: a row for each layer and the figures of the whole, as table, JSON, CSV or YAML.

mod diff;
#[cfg(feature = "tables")]
mod table;

pub use diff::{Change, Difference, Totals, difference};

use super::figures::{self, Figures, NodeFigures, Parameters};
use super::receptive_field::{self, Axis, Field, ReceptiveFields};
use crate::ir::{Graph, NodeId, Verified};
use crate::layers::{Layer, Op};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a summary says of one layer; sizes are those of one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What its weights' names begin with.
    pub name: String,
    /// As in the model file.
    pub layer: String,
    /// Dimensions of the output without the batch.
    pub output: Vec<usize>,
    /// Trained weights.
    pub parameters: u64,
    /// Running statistics and weights given in the model file.
    pub buffers: u64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of the output.
    pub activation_bytes: u64,
    /// Share of all parameters up to and with this layer, 0 to 1.
    pub parameters_so_far: f64,
    /// Share of all multiply-accumulates up to and with this layer, 0 to 1.
    pub macs_so_far: f64,
    /// What of the input an output position sees.
    pub receptive_field: Window,
    #[serde(skip)]
    short: String,
}

/// A receptive field in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Window {
    /// In positions of the input, by spatial dimension.
    Local {
        /// Positions seen.
        size: Vec<u64>,
        /// Input positions from one output position to the next.
        stride: Vec<f64>,
        /// First position that output position 0 sees; negative in the padding.
        start: Vec<i64>,
        /// Middle of what output position 0 sees.
        centre: Vec<f64>,
    },
    /// The whole input.
    Whole,
    /// Paths of different strides meet.
    Differs,
}

/// A network in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The model's name.
    pub model: String,
    /// Dimensions of the inputs without the batch.
    pub inputs: Vec<Vec<usize>>,
    /// The sizes of the inputs that may be given anew.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub free_sizes: BTreeMap<String, usize>,
    /// Trained weights: `weights`, `biases` and `norms`.
    pub parameters: u64,
    /// Of convolutions and dense layers.
    pub weights: u64,
    /// Of convolutions and dense layers.
    pub biases: u64,
    /// Scales and shifts of batch norms.
    pub norms: u64,
    /// Running statistics and weights given in the model file.
    pub buffers: u64,
    /// Multiply-accumulates: `macs_conv` and `macs_dense`.
    pub macs: u64,
    /// Of convolutions.
    pub macs_conv: u64,
    /// Of dense layers.
    pub macs_dense: u64,
    /// All outputs of layers together.
    pub activation_bytes: u64,
    /// Memory for activations that a run with one sample takes at most, where a plan is at hand.
    pub arena_bytes: Option<u64>,
    /// Of the last feature map before the classifier.
    pub receptive_field: Option<Window>,
    /// Layer by layer.
    pub layers: Vec<Row>,
}

/// How a summary is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    #[cfg(feature = "tables")]
    Table,
    /// All figures.
    Json,
    /// A line a layer.
    Csv,
    /// As JSON.
    Yaml,
}

/// Summarises a graph. `arena_bytes` is the size of the arena of its plan for one sample.
pub fn summary(graph: &Verified<Graph>, arena_bytes: Option<u64>) -> Summary {
    let Figures { nodes, parameters, split, buffers, macs_conv, macs_dense, activation_bytes } =
        figures::figures(graph);
    let fields = receptive_field::receptive_field(graph);
    let Parameters { weights, biases, norms } = split;
    let layers = nodes.iter().filter_map(|figures| row(graph, figures, &fields)).collect();
    Summary {
        model: graph.name.clone(),
        inputs: graph.inputs.iter().map(|&id| graph[id].ty.dims.clone()).collect(),
        free_sizes: graph.sizes().into_iter().collect(),
        parameters,
        weights,
        biases,
        norms,
        buffers,
        macs: macs_conv.saturating_add(macs_dense),
        macs_conv,
        macs_dense,
        activation_bytes,
        arena_bytes,
        receptive_field: fields.features.map(|id| window(&fields, id)),
        layers,
    }
}

/// The row of a layer; `None` for inputs.
fn row(graph: &Graph, figures: &NodeFigures, fields: &ReceptiveFields) -> Option<Row> {
    let node = &graph[figures.node];
    let layer = node.op.layer()?;
    Some(Row {
        name: node.origin.path.clone(),
        layer: layer.to_string(),
        output: node.ty.dims.clone(),
        parameters: figures.parameters.total(),
        buffers: figures.buffers,
        macs: figures.macs,
        activation_bytes: figures.activation_bytes,
        parameters_so_far: figures.parameters_so_far,
        macs_so_far: figures.macs_so_far,
        receptive_field: window(fields, figures.node),
        short: short(&node.op, layer, graph.operand_types(node)[0].channels()),
    })
}

fn window(fields: &ReceptiveFields, id: NodeId) -> Window {
    match fields.of(id) {
        Field::Whole => Window::Whole,
        Field::Differs => Window::Differs,
        Field::Local(axes) => Window::Local {
            size: axes.iter().map(Axis::size).collect(),
            stride: axes.iter().map(Axis::stride).map(|(step, phases)| step as f64 / phases as f64).collect(),
            start: axes.iter().map(Axis::start).collect(),
            centre: axes.iter().map(Axis::centre).collect(),
        },
    }
}

/// The layer without what the output's shape tells anyway: `conv 3x3 /2 dw`.
fn short(op: &Op, layer: &dyn Layer, channels: usize) -> String {
    let (window, groups) = match op {
        Op::Conv(conv) => (&conv.window, conv.groups),
        Op::ConvTranspose(conv) => (&conv.window, conv.groups),
        Op::MaxPool(pool) => (&pool.window, 1),
        Op::AvgPool(pool) => (&pool.window, 1),
        _ => return layer.spec().keyword.into(),
    };
    let mut text = format!("{} {}", layer.spec().keyword, dims(&window.kernel));
    let mut option = |sign: &str, values: &[usize]| {
        if values.iter().any(|&value| value != 1) {
            let same = values.iter().all(|value| *value == values[0]);
            let _ = write!(text, " {sign}{}", dims(if same { &values[..1] } else { values }));
        }
    };
    option("/", &window.stride);
    option("d", &window.dilation);
    match groups {
        1 => {}
        _ if groups == channels => text.push_str(" dw"),
        _ => option("g", &[groups]),
    }
    text
}

impl Summary {
    /// Writes the summary.
    pub fn render(&self, format: Format) -> String {
        const PLAIN: &str = "a summary is made of plain numbers and texts";
        match format {
            #[cfg(feature = "tables")]
            Format::Table => self.table(),
            Format::Json => serde_json::to_string_pretty(self).expect(PLAIN) + "\n",
            Format::Yaml => serde_yaml::to_string(self).expect(PLAIN),
            Format::Csv => self.csv(),
        }
    }

    /// One line a layer, RFC 4180 with line feeds.
    fn csv(&self) -> String {
        let mut text = String::from(
            "name,layer,output,parameters,buffers,macs,activation_bytes,parameters_so_far,macs_so_far,receptive_field\n",
        );
        for row in &self.layers {
            let numbers = [row.parameters, row.buffers, row.macs, row.activation_bytes].map(|n| n.to_string());
            let shares = [row.parameters_so_far, row.macs_so_far].map(|share| format!("{share:.6}"));
            let names = [csv_field(&row.name), csv_field(&row.layer), dims(&row.output)];
            let line = [&names[..], &numbers[..], &shares[..], &[row.receptive_field.short()]].concat();
            text.push_str(&line.join(","));
            text.push('\n');
        }
        text
    }
}

impl Window {
    /// `7`, `7x5`, `all`
    fn short(&self) -> String {
        match self {
            Window::Whole => "all".into(),
            Window::Differs => "differs".into(),
            Window::Local { size, .. } => per_dim(size),
        }
    }
}

/// `64x56x56`
fn dims(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// A single value where all dimensions agree.
fn per_dim<T: ToString + PartialEq>(values: &[T]) -> String {
    let shown = if values.windows(2).all(|pair| pair[0] == pair[1]) { &values[..values.len().min(1)] } else { values };
    shown.iter().map(T::to_string).collect::<Vec<_>>().join(" x ")
}

/// A field of a CSV file, in quotes where it needs them.
pub fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

/// A size in bytes with a binary unit.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (63 - n.max(1).leading_zeros()) as usize / 10;
    match unit {
        0 => format!("{n} B"),
        _ => format!("{:.1} {}", n as f64 / (1u64 << (10 * unit)) as f64, units[unit]),
    }
}
