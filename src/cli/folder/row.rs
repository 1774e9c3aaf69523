//! What is said of a picture, and the tables that are made of it.

use super::super::run::{Args, label};
use super::parquet::{self, Kind, Value};
use super::targets::Targets;
use crate::analysis::summary::csv_field;
use crate::hash::{fnv1a, hash_of};
use crate::ir::weights::WeightSource;
use crate::ir::{self, Graph, ParamId};
use crate::model::Model;
use crate::runtime::Options;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::Path;

/// A picture and its likeliest classes, or what is wrong with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub path: String,
    pub result: Result<Vec<Ranked>, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranked {
    pub class: usize,
    pub probability: f32,
}

/// What rows of one table have in common: those of another model, or of other weights, are not mixed with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    svertka: String,
    model: u64,
    weights: u64,
    /// How pictures are prepared, and how the network is computed.
    settings: String,
    top: usize,
    /// Outputs of which values are kept.
    arrays: Vec<String>,
}

/// `graph` is the model's network as these weights are for it.
pub fn identity(
    args: &Args,
    model: &Model,
    graph: &Graph,
    weights: &dyn WeightSource,
    options: &Options,
    targets: &Targets,
) -> Identity {
    let of_param = |id| fnv1a(bytemuck::cast_slice(&ir::weights::values(graph, ParamId(id), weights)));
    let weights = hash_of(&(0..graph.params.len() as u32).map(of_param).collect::<Vec<u64>>());
    let preprocessing = model.card().map(|card| &card.preprocessing);
    Identity {
        svertka: env!("CARGO_PKG_VERSION").to_string(),
        model: fnv1a(ir::print(graph).as_bytes()),
        weights,
        settings: format!(
            "{preprocessing:?} {:?} {:?} {} {}",
            args.input.layout.map(|l| l.name()),
            options.engine,
            options.exact,
            options.products
        ),
        top: if targets.has_classes() { args.top() } else { 0 },
        arrays: targets.arrays.iter().map(|array| array.name.clone()).collect(),
    }
}

/// The form of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    /// A line for each picture with its path, for each class its number, name and probability, and what is wrong
    /// (RFC 4180).
    Csv,
    /// A JSON object on each line.
    JsonLines,
    /// The columns of CSV; a cell that says nothing is null.
    Parquet,
}

impl Format {
    /// By the end of the name.
    pub fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()? {
            "csv" => Some(Format::Csv),
            "jsonl" => Some(Format::JsonLines),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }

    /// Writes the rows, each with its `top` likeliest classes.
    pub fn write(self, to: &mut dyn Write, rows: &[&Row], names: &[String], top: usize) -> io::Result<()> {
        match self {
            Format::Csv => write_csv(to, rows, names, top),
            Format::JsonLines => rows.iter().try_for_each(|row| writeln!(to, "{}", json(row, names))),
            Format::Parquet => write_parquet(to, rows, names, top),
        }
    }
}

/// The columns of a table of classes.
fn columns(top: usize) -> Vec<(String, Kind)> {
    let ends = (1..=top).map(|rank| if rank == 1 { String::new() } else { format!("_{rank}") });
    let of_class = [("class", Kind::Integer), ("label", Kind::Text), ("probability", Kind::Float)];
    let of_classes = ends.flat_map(|end| of_class.map(|(name, kind)| (format!("{name}{end}"), kind)));
    let text = |name: &str| (name.to_string(), Kind::Text);
    [text("path")].into_iter().chain(of_classes).chain([text("error")]).collect()
}

fn write_parquet(to: &mut dyn Write, rows: &[&Row], names: &[String], top: usize) -> io::Result<()> {
    let columns = columns(top);
    let cell = |row: usize, column: usize| {
        let Row { path, result } = rows[row];
        if column == 0 {
            return Some(Value::Text(path.clone()));
        }
        if column == columns.len() - 1 {
            return result.as_ref().err().cloned().map(Value::Text);
        }
        let Ranked { class, probability } = *result.as_ref().ok()?.get((column - 1) / 3)?;
        Some(match (column - 1) % 3 {
            0 => Value::Integer(class as i64),
            1 => Value::Text(label(names, class)),
            _ => Value::Float(probability),
        })
    };
    parquet::write(to, &columns, rows.len(), cell)
}

fn write_csv(to: &mut dyn Write, rows: &[&Row], names: &[String], top: usize) -> io::Result<()> {
    let columns: Vec<String> = columns(top).into_iter().map(|(name, _)| name).collect();
    writeln!(to, "{}", columns.join(","))?;
    for row in rows {
        let (best, error) = match &row.result {
            Ok(best) => (&best[..], ""),
            Err(error) => (&[][..], error.as_str()),
        };
        let of_class = |rank| match best.get(rank) {
            Some(Ranked { class, probability }) => {
                format!(",{class},{},{probability}", csv_field(&label(names, *class)))
            }
            None => ",,,".to_string(),
        };
        let classes: String = (0..top).map(of_class).collect();
        writeln!(to, "{}{classes},{}", csv_field(&row.path), csv_field(error))?;
    }
    Ok(())
}

fn json(row: &Row, names: &[String]) -> serde_json::Value {
    match &row.result {
        Ok(best) => {
            let class = |r: &Ranked| serde_json::json!({"class": r.class, "label": label(names, r.class), "probability": r.probability});
            serde_json::json!({"path": row.path, "classes": best.iter().map(class).collect::<Vec<_>>()})
        }
        Err(error) => serde_json::json!({"path": row.path, "error": error}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let best = [(1, 0.75), (0, 0.25)].map(|(class, probability)| Ranked { class, probability });
        vec![
            Row { path: "a, \"b\".png".into(), result: Ok(best.into()) },
            Row { path: "c.png".into(), result: Err("no\nend".into()) },
        ]
    }

    fn written(format: Format, top: usize) -> String {
        let mut to = Vec::new();
        let rows = rows();
        format.write(&mut to, &rows.iter().collect::<Vec<_>>(), &["tea".into(), "cup".into()], top).unwrap();
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn tables_in_csv_have_a_column_for_each_class() {
        let header = "path,class,label,probability,class_2,label_2,probability_2,error\n";
        let rows = "\"a, \"\"b\"\".png\",1,cup,0.75,0,tea,0.25,\nc.png,,,,,,,\"no\nend\"\n";
        assert_eq!(written(Format::Csv, 2), format!("{header}{rows}"));
        assert!(written(Format::Csv, 3).contains("0.25,,,,\n"));
    }

    /// `tests/python/test_folder.py` reads the file with PyArrow.
    #[test]
    fn tables_in_parquet_are_those_that_others_read() {
        let mut to = Vec::new();
        let rows = rows();
        Format::Parquet.write(&mut to, &rows.iter().collect::<Vec<_>>(), &["tea".into(), "cup".into()], 3).unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/classes.parquet");
        if std::env::var_os("SVERTKA_BLESS").is_some() {
            std::fs::write(&file, &to).unwrap();
        }
        assert!(to == std::fs::read(&file).unwrap(), "other bytes than those of {}", file.display());
    }

    #[test]
    fn tables_in_json_have_an_object_on_each_line() {
        let text = written(Format::JsonLines, 2);
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["classes"][1]["label"], "tea");
        assert_eq!(lines[1]["error"], "no\nend");
    }
}
