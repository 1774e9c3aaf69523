//! The table in `models/README.md`.

use super::data::card;
use super::{Model, Name, files, folder, graph};
use std::fmt::Write;
use std::fs;
use svertka::analysis::receptive_field::{Axis, Field};
use svertka::analysis::{figures, receptive_field};
use svertka::io::card::Accuracy;
use svertka::ir::{self, Graph, Verified};

const BEGIN: &str = "<!-- Made by `SVERTKA_BLESS=1 cargo test --test all zoo::readme`. -->\n";
const END: &str = "<!-- End of what is made. -->\n";

/// Compares the table with what the models and their cards say. With the environment variable `SVERTKA_BLESS` set,
/// writes it instead.
#[test]
fn readme_is_up_to_date() {
    let path = folder().join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table has a beginning");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("SVERTKA_BLESS").is_some() {
        fs::write(&path, wanted).unwrap();
    } else {
        assert!(text == wanted, "models/README.md is out of date: set SVERTKA_BLESS=1");
    }
}

fn table() -> String {
    let mut text = String::from(
        "\n| model | input | parameters | MACs | field | stride | top 1 | top 5 | |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    let mut sources = Vec::new();
    for name in files().iter().flat_map(|file| rows(file)) {
        let (graph, accuracy) = (graph(&name), card(&name).accuracy);
        let counted = figures(&graph);
        let (field, stride) = field(&graph);
        let cells = [
            format!("`{}.cnn{}`", name.file, name.variant.iter().map(|v| format!(":{v}")).collect::<String>()),
            format!("`{}`", graph.shape_of(graph.inputs[0])),
            grouped(counted.parameters),
            grouped(counted.macs()),
            field,
            stride,
            percent(accuracy.as_ref().and_then(|a| a.top1)),
            percent(accuracy.as_ref().and_then(|a| a.top5)),
            accuracy.map_or(String::new(), |accuracy| note(&mut sources, &accuracy)),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push('\n');
    for (index, source) in sources.iter().enumerate() {
        let _ = writeln!(text, "{}. {source}", index + 1);
    }
    text.push('\n');
    text
}

/// The variants of a file; the default before them if none of them is the same.
fn rows(file: &str) -> Vec<Name> {
    let name = |variant| Name { file: file.into(), variant };
    let print = |name: &Name| ir::print(&Graph { name: String::new(), ..graph(name).into_inner() });
    let variants: Vec<Name> = Model::read(file).program.variants().into_iter().map(|v| name(Some(v))).collect();
    let default = print(&name(None));
    let has_own_row = variants.iter().all(|variant| print(variant) != default);
    has_own_row.then(|| name(None)).into_iter().chain(variants).collect()
}

/// Size and stride of the receptive field of the last feature map.
fn field(graph: &Verified<Graph>) -> (String, String) {
    let fields = receptive_field(graph);
    let Some(Field::Local(axes)) = fields.features.map(|id| fields.of(id)) else { return Default::default() };
    let stride = |axis: &Axis| match axis.stride() {
        (step, 1) => step.to_string(),
        (step, phases) => format!("{step}/{phases}"),
    };
    let size = |axis: &Axis| grouped(axis.size());
    (by_dimension(axes.iter().map(size)), by_dimension(axes.iter().map(stride)))
}

/// One number where all are the same.
fn by_dimension(numbers: impl Iterator<Item = String>) -> String {
    let mut numbers: Vec<String> = numbers.collect();
    if numbers.iter().all(|number| *number == numbers[0]) {
        numbers.truncate(1);
    }
    numbers.join(" x ")
}

/// The number of the note that says where the figures come from.
fn note(sources: &mut Vec<String>, accuracy: &Accuracy) -> String {
    let parts = [&accuracy.dataset, &accuracy.source];
    let source = parts.into_iter().flatten().cloned().collect::<Vec<_>>().join(": ");
    let known = sources.iter().position(|known| *known == source);
    let index = known.unwrap_or_else(|| {
        sources.push(source);
        sources.len() - 1
    });
    format!("({})", index + 1)
}

fn percent(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.2}"))
}

/// `1,234,567`
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap()).collect();
    groups.join(",")
}
