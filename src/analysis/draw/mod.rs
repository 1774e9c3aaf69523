//! Drawings of graphs: boxes and arrows as data, written as DOT, Mermaid or SVG.

mod layout;
mod level;
mod svg;

pub use level::{Arrow, Level, Spot};

use crate::ir::{Epilogue, Graph, Node, NodeId, Output, Verified};
use crate::layers::Op;
use std::fmt::Write;

/// How a drawing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For Graphviz.
    Dot,
    /// For Markdown.
    Mermaid,
    /// For a browser.
    Svg,
}

/// What a box stands for; it decides the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Input,
    Convolution,
    Dense,
    Pool,
    Norm,
    Activation,
    Join,
    Other,
}

/// A box.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    pub kind: Kind,
    /// What it does, what it makes, where it comes from; empty lines are left out.
    pub lines: Vec<String>,
}

/// Nobody could look at it, and its layout would take minutes and gigabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "too large to be drawn: {boxes} boxes, and arrows that pass others {passes} times; \
     `svertka graph` writes DOT and Mermaid of any size"
)]
pub struct TooLarge {
    pub(crate) boxes: usize,
    pub(crate) passes: usize,
}

/// Boxes in topological order, and arrows between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawing {
    pub title: String,
    pub shapes: Vec<Shape>,
    /// From and to, as indices of shapes.
    pub arrows: Vec<(usize, usize)>,
}

impl Drawing {
    /// A graph, before or after passes.
    pub fn of_graph(graph: &Verified<Graph>) -> Drawing {
        let mut drawing = Drawing { title: graph.name.clone(), ..Drawing::default() };
        for id in graph.ids() {
            let node = &graph[id];
            let lines = [label(node), graph.shape_of(id), node.origin.path.clone()].into_iter();
            let lines = lines.filter(|line| !line.is_empty()).collect();
            drawing.shapes.push(Shape { kind: kind(&node.op), lines });
            drawing.arrows.extend(node.inputs.iter().map(|&NodeId(from)| (from as usize, id.0 as usize)));
        }
        for Output { name, node } in &graph.outputs {
            drawing.shapes[node.0 as usize].lines.push(match name.as_str() {
                "output" => "output".to_string(),
                name => format!("output {name}"),
            });
        }
        drawing
    }

    /// # Errors
    /// Where there is too much to be laid out as SVG; the other formats leave that to whoever shows them.
    pub fn render(&self, format: Format) -> Result<String, TooLarge> {
        match format {
            Format::Dot => Ok(self.dot()),
            Format::Mermaid => Ok(self.mermaid()),
            Format::Svg => svg::render(self),
        }
    }

    fn dot(&self) -> String {
        let mut text = format!("digraph {:?} {{\n", self.title);
        text.push_str("  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", color=\"#667085\"];\n");
        for (index, shape) in self.shapes.iter().enumerate() {
            let label = shape.lines.join("\\n").replace('"', "\\\"");
            let _ = writeln!(text, "  n{index} [label=\"{label}\", fillcolor=\"{}\"];", shape.kind.colour());
        }
        for (from, to) in &self.arrows {
            let _ = writeln!(text, "  n{from} -> n{to};");
        }
        text + "}\n"
    }

    fn mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        for (index, shape) in self.shapes.iter().enumerate() {
            // Mermaid has HTML entities for the characters that would end the label.
            let label = shape.lines.join("<br>").replace('"', "#quot;");
            let _ = writeln!(text, "  n{index}(\"{label}\"):::{}", shape.kind.name());
        }
        for (from, to) in &self.arrows {
            let _ = writeln!(text, "  n{from} --> n{to}");
        }
        for kind in Kind::ALL.iter().filter(|kind| self.shapes.iter().any(|s| s.kind == **kind)) {
            let _ = writeln!(text, "  classDef {} fill:{},stroke:#667085", kind.name(), kind.colour());
        }
        text
    }
}

/// The layer and what was fused behind it.
pub fn label(node: &Node) -> String {
    let mut text = node.op.layer().map_or("input".to_string(), |layer| layer.to_string());
    if node.gated {
        text.push_str(" * gate");
    }
    for item in &node.epilogue {
        match item {
            Epilogue::Activation(activation) => {
                let _ = write!(text, " + {activation}");
            }
            Epilogue::Add { .. } => text.push_str(" + add"),
        }
    }
    text
}

/// The kind of an operation.
pub fn kind(op: &Op) -> Kind {
    match op {
        Op::Input => Kind::Input,
        Op::Conv(_) | Op::ConvTranspose(_) => Kind::Convolution,
        Op::Dense(_) => Kind::Dense,
        Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::LpPool(_)
        | Op::AdaptiveAvgPool(_)
        | Op::AdaptiveMaxPool(_)
        | Op::GlobalAvgPool(_)
        | Op::GlobalMaxPool(_)
        | Op::Reduce(_) => Kind::Pool,
        Op::BatchNorm(_) | Op::Scale(_) | Op::LocalResponseNorm(_) => Kind::Norm,
        Op::Activation(_) | Op::PRelu(_) | Op::Softmax(_) => Kind::Activation,
        Op::Concat(_) | Op::Add(_) | Op::Mul(_) => Kind::Join,
        _ => Kind::Other,
    }
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Input,
        Kind::Convolution,
        Kind::Dense,
        Kind::Pool,
        Kind::Norm,
        Kind::Activation,
        Kind::Join,
        Kind::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Input => "input",
            Kind::Convolution => "convolution",
            Kind::Dense => "dense",
            Kind::Pool => "pool",
            Kind::Norm => "norm",
            Kind::Activation => "activation",
            Kind::Join => "join",
            Kind::Other => "other",
        }
    }

    pub fn colour(self) -> &'static str {
        match self {
            Kind::Input => "#f2f4f7",
            Kind::Convolution => "#cfe3fb",
            Kind::Dense => "#d9d2f7",
            Kind::Pool => "#cdeedd",
            Kind::Norm => "#fdecc8",
            Kind::Activation => "#fbd9d3",
            Kind::Join => "#e4e7ec",
            Kind::Other => "#ffffff",
        }
    }

    /// The same where letters are light.
    pub fn dark(self) -> &'static str {
        match self {
            Kind::Input => "#2b3038",
            Kind::Convolution => "#1d3a5f",
            Kind::Dense => "#372f63",
            Kind::Pool => "#1d4534",
            Kind::Norm => "#4a3a14",
            Kind::Activation => "#55302a",
            Kind::Join => "#363c46",
            Kind::Other => "#23272e",
        }
    }
}
