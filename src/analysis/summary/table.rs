//! A summary as a table of text.

use super::{Row, Summary, Window, bytes, dims, per_dim};
use crate::front::text::build::grouped;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use std::fmt::Write;

/// Columns of a table.
const TABLE_WIDTH: u16 = 100;
/// Characters of a name in a table; of longer ones the end is shown, which tells neighbouring layers apart.
const NAME_WIDTH: usize = 22;

impl Summary {
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        let rule = LineStyle::none().fill('─').junction('─');
        table.load_style(TableStyle::new().header_separator(rule));
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(TABLE_WIDTH);
        table.set_header(["name", "layer", "output", "parameters", "%", "MACs", "%", "field"]);
        for row in &self.layers {
            table.add_row(row.cells());
        }
        table.add_row([
            "total".into(),
            String::new(),
            String::new(),
            grouped(self.parameters.into()),
            String::new(),
            grouped(self.macs.into()),
        ]);
        for column in table.column_iter_mut() {
            let numeric = column.index >= 2;
            column.set_padding((0, 2));
            column.set_cell_alignment(if numeric { CellAlignment::Right } else { CellAlignment::Left });
        }
        let lines = table.lines().map(|line| line.trim_end().to_string() + "\n");
        format!("{}\n\n{}\n{}", self.title(), lines.collect::<String>(), self.totals())
    }

    fn title(&self) -> String {
        let inputs: Vec<String> = self.inputs.iter().map(|input| dims(input)).collect();
        let free: Vec<&str> = self.free_sizes.keys().map(String::as_str).collect();
        let free = if free.is_empty() { String::new() } else { format!(" (free: {})", free.join(", ")) };
        format!("{}, input {}{free}", self.model, inputs.join(" and "))
    }

    fn totals(&self) -> String {
        let number = |n: u64| grouped(n.into());
        let mut text = format!(
            "parameters       {}: weights {}, biases {}, norms {}; buffers {}\n",
            number(self.parameters),
            number(self.weights),
            number(self.biases),
            number(self.norms),
            number(self.buffers)
        );
        let (conv, dense) = (number(self.macs_conv), number(self.macs_dense));
        let _ = writeln!(text, "MACs             {}: convolutions {conv}, dense layers {dense}", number(self.macs));
        let _ = writeln!(text, "activations      {} for a sample", bytes(self.activation_bytes));
        if let Some(arena) = self.arena_bytes {
            let _ = writeln!(text, "arena            {} for a sample", bytes(arena));
        }
        if let Some(field) = &self.receptive_field {
            let _ = writeln!(text, "receptive field  {}", field.describe());
            let _ = writeln!(
                text,
                "field            how many positions of the input a value sees, padding included; `all` of them"
            );
        }
        text
    }
}

impl Row {
    fn cells(&self) -> [String; 8] {
        let number = |n: u64| if n == 0 { String::new() } else { grouped(n.into()) };
        let share = |n: u64, share: f64| if n == 0 { String::new() } else { format!("{:.1}", 100.0 * share) };
        [
            end_of(&self.name, NAME_WIDTH),
            self.short.clone(),
            dims(&self.output),
            number(self.parameters),
            share(self.parameters, self.parameters_so_far),
            number(self.macs),
            share(self.macs, self.macs_so_far),
            self.receptive_field.short(),
        ]
    }
}

impl Window {
    fn describe(&self) -> String {
        match self {
            Window::Whole => "the whole input".into(),
            Window::Differs => "differs: paths of different strides meet".into(),
            Window::Local { size, stride, start, centre } => format!(
                "{} with a stride of {} before the classifier; from {}, around {}",
                per_dim(size),
                per_dim(stride),
                per_dim(start),
                per_dim(centre)
            ),
        }
    }
}

/// The last `width` characters, the first of them `…` if some are left out.
fn end_of(text: &str, width: usize) -> String {
    match text.chars().count() {
        n if n <= width => text.into(),
        n => std::iter::once('…').chain(text.chars().skip(n - width + 1)).collect(),
    }
}
