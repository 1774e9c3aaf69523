//! Lists of benchmarks in YAML.

use serde::Deserialize;

/// Models to be measured in every combination of batch and threads. What is left out, the command line says.
///
/// ```yaml
/// - models: [lenet5.cnn, "resnet.cnn:resnet50"]   # paths from the suite's folder
///   batches: [1, 8]
///   threads: [1, 2]
///   runs: 20
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Model files, each with a variant behind a colon if need be, or `zoo:NAME`.
    pub models: Vec<String>,
    #[serde(default)]
    pub batches: Vec<u16>,
    #[serde(default)]
    pub threads: Vec<u16>,
    /// The least number of runs.
    pub runs: Option<u32>,
}

/// The most threads that are asked for, as on the command line.
const MAX_THREADS: u16 = 1024;

/// The entries of a suite.
///
/// # Errors
/// What is wrong, in words.
pub fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let entries: Vec<Entry> = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    if entries.iter().all(|entry| entry.models.is_empty()) {
        return Err("no model to measure".into());
    }
    for entry in &entries {
        if entry.batches.contains(&0) || entry.runs == Some(0) {
            return Err("batches and runs begin at 1".into());
        }
        if let Some(threads) = entry.threads.iter().find(|threads| !(1..=MAX_THREADS).contains(threads)) {
            return Err(format!("{threads} threads: the range is 1 to {MAX_THREADS}"));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read() {
        let text = "- models: [a.cnn, 'b.cnn:c']\n  threads: [1, 2]\n  runs: 3\n- models: [d.cnn]\n  batches: [8]\n";
        let entries = parse(text).unwrap();
        assert_eq!((entries[0].threads.as_slice(), entries[0].runs), ([1, 2].as_slice(), Some(3)));
        assert_eq!((entries[1].models[0].as_str(), entries[1].batches.as_slice()), ("d.cnn", [8].as_slice()));
    }

    #[test]
    fn mistakes_are_told() {
        let cases = [
            ("", "no model"),
            ("[]", "no model"),
            ("models: [a.cnn]", "expected a sequence"),
            ("- models: [a.cnn]\n  thread: [1]", "unknown field `thread`"),
            ("- batches: [1]", "missing field `models`"),
            ("- models: [a.cnn]\n  batches: [0]", "begin at 1"),
            ("- models: [a.cnn]\n  batches: [-1]", "batches"),
            ("- models: [a.cnn]\n  threads: [5000]", "5000 threads"),
            ("- models: [a.cnn]\n  runs: 0", "begin at 1"),
        ];
        for (text, part) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
