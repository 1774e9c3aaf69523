//! Golden tests of the formatter: `golden/format/NAME.cnn` formats to `NAME.out`. `SVERTKA_BLESS=1` writes the
//! expected files anew.

use std::fs;
use std::path::{Path, PathBuf};
use svertka::diagnostic::render;
use svertka::front::text::syntax::format::format;
use svertka::source::SourceMap;

fn golden_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format");
    let entries = fs::read_dir(folder).expect("the folder of golden files");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cnn"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn formatted(name: &str, text: &str) -> String {
    let mut sources = SourceMap::default();
    let file = sources.add(name, text);
    format(&sources, file).unwrap_or_else(|errors| panic!("{}", render(&errors, &sources, false)))
}

#[test]
fn formats_as_expected() {
    let bless = std::env::var_os("SVERTKA_BLESS").is_some();
    for path in golden_files() {
        let name = path.display().to_string();
        let actual = formatted(&name, &fs::read_to_string(&path).expect("a golden file"));
        let expected_path = path.with_extension("out");
        if bless {
            fs::write(&expected_path, &actual).expect("writing the expected file");
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        assert_eq!(actual, expected, "{name} formats differently; SVERTKA_BLESS=1 accepts the new form");
    }
}

#[test]
fn formatting_twice_changes_nothing() {
    for path in golden_files() {
        let name = path.display().to_string();
        let once = formatted(&name, &fs::read_to_string(&path).expect("a golden file"));
        assert_eq!(formatted(&name, &once), once, "{name}");
    }
}

#[test]
fn large_files_are_formatted() {
    let steps = "a | ".repeat(20_000);
    let list = "1,\n".repeat(20_000);
    let nested = format!("{}a{}", "seq { a | ".repeat(60), " }".repeat(60));
    for text in [
        format!("net {{ {steps}a }}"),
        format!("net {{\n{}\n}}", steps.replace("| ", "\n")),
        format!("const a = [\n{list}]"),
        format!("net {{ f {}1 }}", "1, # c\n".repeat(20_000)),
        "# comment\n".repeat(100_000),
        "\n".repeat(1_000_000),
        "net {}\n".repeat(50_000),
        format!("net {{\n{}}}", format!("{nested}\n").repeat(100)),
    ] {
        let once = formatted("large.cnn", &text);
        assert!(formatted("large.cnn", &once) == once);
    }
}
