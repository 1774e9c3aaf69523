//! What a run on many pictures writes: a table of their classes, and arrays of outputs.

use super::super::run::{Args, Target, check_targets, targets};
use super::super::{Failure, Outcome, tell};
use super::journal::{Journal, Places};
use super::row::{Format, Row};
use crate::io::npy;
use crate::io::write::{is_stdout, write_atomically};
use crate::model::Model;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bad pictures that are named where no table does.
const NAMED: usize = 10;

#[derive(Default)]
pub struct Targets {
    pub table: Option<(PathBuf, Format)>,
    pub arrays: Vec<Array>,
}

/// An output of the network for all pictures.
pub struct Array {
    pub path: PathBuf,
    /// Of the network.
    pub output: usize,
    pub name: String,
    /// Of one picture.
    dims: Vec<usize>,
    /// Of the values that a picture leaves in the journal.
    values: Range<usize>,
}

impl Targets {
    /// What `--output` says, asked before the work.
    pub fn of(args: &Args, model: &Model) -> Result<Targets, Failure> {
        let given = targets(&args.output, model.graph())?;
        if given.iter().any(|target| is_stdout(&target.path)) {
            return Err(Failure::usage("without --output a line for each picture is printed; others go to files"));
        }
        let mut wanted = Targets::default();
        for target in &given {
            wanted.add(target, model)?;
        }
        if args.top.is_some() && wanted.table.is_none() && !wanted.arrays.is_empty() {
            return Err(Failure::usage(
                "`--top` is for classes, an array has none: give a table (.csv, .jsonl, .parquet) too",
            ));
        }
        check_targets(args, &given)?;
        Ok(wanted)
    }

    fn add(&mut self, Target { output, path }: &Target, model: &Model) -> Outcome {
        let shown = path.display();
        if path.extension().is_some_and(|extension| extension == "npy") {
            let (name, ty) = model.outputs().nth(*output).expect("an output of the model");
            let start = self.values();
            let values = start..start + ty.elements();
            let array = Array { path: path.clone(), output: *output, name: name.into(), dims: ty.dims.clone(), values };
            self.arrays.push(array);
            return Ok(());
        }
        let format = Format::of(path).ok_or_else(|| {
            let forms = "a table of classes, .csv, .jsonl or .parquet, or an array of outputs, .npy";
            Failure::usage(format!("{shown}: a folder's pictures make {forms}"))
        })?;
        if *output > 0 {
            return Err(Failure::usage(format!("{shown}: classes are those of the main output; leave its name out")));
        }
        if self.table.replace((path.clone(), format)).is_some() {
            return Err(Failure::usage(format!("a folder's pictures make one table: leave out `--output {shown}`")));
        }
        Ok(())
    }

    /// Whether classes are asked for: also where nothing is written, and lines are printed.
    pub fn has_classes(&self) -> bool {
        self.table.is_some() || self.arrays.is_empty()
    }

    /// How many values a picture leaves.
    pub fn values(&self) -> usize {
        self.arrays.last().map_or(0, |array| array.values.end)
    }

    /// What the journal is named after, where anything is written.
    pub fn first(&self) -> Option<&Path> {
        let array = || self.arrays.first().map(|array| &array.path);
        self.table.as_ref().map(|(path, _)| path).or_else(array).map(PathBuf::as_path)
    }

    /// Writes all of it, in the order of the files.
    pub fn write(&self, journal: &Journal, places: &Places, names: &[String], top: usize) -> Outcome {
        for array in &self.arrays {
            let shape: Vec<usize> = [places.len()].iter().chain(&array.dims).copied().collect();
            let parts = places.iter().map(|&place| journal.values(place, array.values.clone()));
            npy::write_parts(&array.path, &shape, parts)?;
        }
        let rows: Vec<&Row> = places.iter().map(|&place| journal.row(place)).collect();
        if let Some((path, format)) = &self.table {
            write_atomically(path, |to| format.write(to, &rows, names, top))?;
        }
        self.report_bad(&rows);
        Ok(())
    }

    fn report_bad(&self, rows: &[&Row]) {
        let errors: Vec<&String> = rows.iter().filter_map(|row| row.result.as_ref().err()).collect();
        let (bad, all) = (errors.len(), rows.len());
        if bad == 0 {
            return;
        }
        match &self.table {
            Some((path, _)) => {
                let table = path.display();
                tell(&format!("warning: {bad} of {all} pictures have no class; {table} says why, under `error`"));
            }
            None => {
                tell(&format!("warning: {bad} of {all} pictures cannot be read; their values are NaN"));
                errors.iter().take(NAMED).for_each(|error| tell(&format!("  {error}")));
                if bad > NAMED {
                    tell(&format!("  ... and {} more; a table (--output T.csv) names all", bad - NAMED));
                }
            }
        }
    }
}
