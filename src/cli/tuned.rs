//! The file in which `svertka tune` keeps what it found, and from which the other verbs read it.
//!
//! Whatever the file holds, a model runs: what does not belong to this CPU and this version is passed over, with a
//! warning.

use super::{Failure, progress, tell};
use crate::bench::machine::{self, Machine};
use crate::io::text;
use crate::io::write::{create_folder, folder_of, write_atomically};
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, Verified};
use crate::kernels::Target;
use crate::kernels::tuning::Choices;
use crate::runtime::{Options, Session};
use crate::schedule::{self, Edges, Plan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The decisions for one CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedFile {
    /// Grows with every change that an older reader would misunderstand.
    schema_version: u32,
    /// Version of svertka, whose kernels were measured.
    svertka: String,
    /// See [`cpu`].
    cpu: String,
    /// By [`crate::kernels::tuning::key`].
    choices: BTreeMap<String, Entry>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The kernel that was estimated to be fastest, for people who read the file.
    pub kernel: String,
    pub decision: String,
}

const SCHEMA_VERSION: u32 = 1;

/// What times depend on: kind of CPU and sizes of its caches.
fn cpu() -> String {
    let caches = Machine::here().caches;
    let caches = caches.iter().map(|cache| format!(", L{} {} KiB", cache.level, cache.bytes >> 10));
    machine::cpu_id() + &caches.collect::<String>()
}

impl TunedFile {
    /// Without any decision, for this machine.
    pub fn new() -> TunedFile {
        let svertka = env!("CARGO_PKG_VERSION").into();
        TunedFile { schema_version: SCHEMA_VERSION, svertka, cpu: cpu(), choices: BTreeMap::new() }
    }

    /// # Errors
    /// Why the file's decisions are of no use here.
    fn read(path: &Path) -> Result<TunedFile, Unusable> {
        let text = text::read(path).map_err(|error| Unusable { foreign: true, why: error.to_string() })?;
        let unusable = |foreign, why: String| Unusable { foreign, why: format!("{}: {why}", path.display()) };
        let header: Header = serde_json::from_str(&text)
            .map_err(|error| unusable(true, format!("not a file of `svertka tune`: {error}")))?;
        let here = TunedFile::new();
        if header.schema_version != here.schema_version || header.svertka != here.svertka {
            return Err(unusable(false, format!("of another version of svertka, {}", header.svertka)));
        }
        if header.cpu != here.cpu {
            return Err(unusable(false, format!("of another CPU, {}", header.cpu)));
        }
        serde_json::from_str(&text).map_err(|error| unusable(true, format!("not a file of `svertka tune`: {error}")))
    }

    pub fn insert(&mut self, key: String, entry: Entry) {
        self.choices.insert(key, entry);
    }

    /// Writes it, and the folder if need be.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        create_folder(folder_of(path))?;
        let json = serde_json::to_string_pretty(self).expect("strings are JSON");
        Ok(write_atomically(path, |out| out.write_all(json.as_bytes()))?)
    }
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Header {
    schema_version: u32,
    svertka: String,
    cpu: String,
}

/// Why a file is of no use here.
struct Unusable {
    /// It may be something else altogether.
    foreign: bool,
    why: String,
}

/// Where the decisions of `svertka tune` are.
pub enum Source {
    /// Nowhere: they are neither read nor written.
    None,
    /// In the user's cache, where there may be none.
    Cache(PathBuf),
    /// In a file that was named.
    Named(PathBuf),
}

impl Source {
    /// What `--tuned` says.
    pub fn of(given: Option<&OsStr>) -> Source {
        match given {
            Some(none) if none == "none" => Source::None,
            Some(path) => Source::Named(path.into()),
            None => super::peak::cache_file("tuned").map_or(Source::None, Source::Cache),
        }
    }

    pub fn path(&self) -> Option<&Path> {
        match self {
            Source::None => None,
            Source::Cache(path) | Source::Named(path) => Some(path),
        }
    }

    /// The decisions to follow. Where they are of no use, a warning says why.
    pub fn load(self) -> Tuned {
        let absent = matches!(&self, Source::Cache(path) if !path.exists());
        let Some(path) = self.path().filter(|_| !absent) else {
            return Tuned { path: None, choices: Choices::default() };
        };
        match TunedFile::read(path) {
            Ok(file) => {
                let choices = file.choices.into_iter().map(|(key, entry)| (key, entry.decision)).collect();
                Tuned { path: Some(path.to_owned()), choices }
            }
            Err(Unusable { why, .. }) => {
                tell(&format!("warning: {why}; {WAY_OUT}"));
                Tuned { path: None, choices: Choices::default() }
            }
        }
    }

    /// The file to add to.
    ///
    /// # Errors
    /// Where a file was named that may be something else than one of these.
    pub fn load_to_extend(&self) -> Result<TunedFile, Failure> {
        let Some(path) = self.path().filter(|path| path.exists()) else { return Ok(TunedFile::new()) };
        match (TunedFile::read(path), self) {
            (Ok(file), _) => Ok(file),
            (Err(Unusable { foreign: true, why }), Source::Named(_)) => {
                Err(Failure::input(format!("{why}; it is not replaced: delete it, or name another file")))
            }
            (Err(Unusable { why, .. }), _) => {
                tell(&format!("note: {why}; it will be replaced"));
                Ok(TunedFile::new())
            }
        }
    }
}

const WAY_OUT: &str =
    "kernels are chosen by estimate (`svertka tune` measures anew, `--tuned none` asks for estimates)";

/// Decisions that were read.
pub struct Tuned {
    path: Option<PathBuf>,
    pub choices: Choices,
}

impl Tuned {
    /// A plan that follows them.
    pub fn plan(&self, graph: Verified<Graph>, target: Target, edges: Edges) -> Plan {
        let plan = schedule::plan_edges(graph, target, &self.choices, edges);
        self.check(&plan);
        plan
    }

    /// A session that follows them.
    pub fn session(
        &self,
        graph: Verified<Graph>,
        weights: &dyn WeightSource,
        options: &Options,
    ) -> Result<Session, Failure> {
        let make = || Session::tuned(graph, weights, options, &self.choices);
        let session = progress::during("compiling, and packing weights", make)?;
        self.check(session.plan());
        Ok(session)
    }

    /// Says of which layers the decisions could not be followed.
    fn check(&self, plan: &Plan) {
        let mut refused = plan.verdicts.iter().filter(|(_, verdict)| !verdict.offered);
        if let (Some(path), Some((node, verdict))) = (&self.path, refused.next()) {
            let others = match refused.count() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            let (path, layer) = (path.display(), plan.graph[*node].name());
            let decision = &verdict.decision;
            tell(&format!("warning: {path}: `{decision}` is no choice for layer `{layer}`{others}; {WAY_OUT}"));
        }
    }
}
