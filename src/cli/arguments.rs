//! Reading the command line.

use super::Cli;
use super::terminal::{tell, written};
use crate::model::cut;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::ffi::{OsStr, OsString};
use std::io::Write;

/// The arguments of a process.
///
/// # Errors
/// With which code to end, where they are wrong, or were answered by a help text.
pub fn parse(words: &[OsString]) -> Result<Cli, u8> {
    let parsed = Cli::try_parse_from(words).or_else(|error| {
        let again = match error.kind() {
            ErrorKind::MissingRequiredArgument => model_last(words),
            _ => None,
        };
        again.and_then(|words| Cli::try_parse_from(words).ok()).ok_or(error)
    });
    parsed.map_err(|error| {
        if error.kind() == ErrorKind::InvalidUtf8 {
            let wrong = words.iter().filter(|word| word.to_str().is_none()).map(|word| word.to_string_lossy());
            tell(&format!("note: not UTF-8: {}; only files may have such names", wrong.collect::<Vec<_>>().join(" ")));
        }
        let shown = error.print().and_then(|()| std::io::stdout().flush());
        match error.use_stderr() {
            true => 2,
            false => super::end(written(shown)),
        }
    })
}

/// An option that takes several values takes a model behind them too: `run --input a.png b.png net.cnn`. Where no model
/// is found, the last of such values is moved to the end, as one.
fn model_last(words: &[OsString]) -> Option<Vec<OsString>> {
    let mut command = Cli::command();
    command.build();
    let verb = command.find_subcommand(words.get(1)?)?;
    let takes_several = |word: &OsStr| {
        let option = verb.get_arguments().find(|arg| arg.get_long().is_some_and(|long| word == &*format!("--{long}")));
        option.is_some_and(|arg| arg.get_num_args().is_some_and(|count| count.max_values() > 1))
    };
    let mut last = None;
    // Values so far of the option that takes several.
    let mut values: Option<usize> = None;
    for (at, word) in words.iter().enumerate().skip(2) {
        if word == "--" {
            return None;
        } else if is_option(word) {
            values = takes_several(word).then_some(0);
        } else if let Some(count) = &mut values {
            *count += 1;
            last = if *count > 1 { Some(at) } else { last };
        }
    }
    let mut words = words.to_vec();
    let model = words.remove(last?);
    words.extend(["--".into(), model]);
    Some(words)
}

/// `-` alone is a file: standard input.
fn is_option(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-") && word != "-"
}

/// Cuts a word at the first `=`: `NAME=FILE`. A file's name need not be UTF-8, the other part must be.
pub fn name_and_file(word: &OsStr) -> Option<(&str, &OsStr)> {
    let at = word.as_encoded_bytes().iter().position(|&byte| byte == b'=')?;
    let (name, file) = cut(word, at)?;
    Some((name.to_str()?, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(words: &str) -> Option<String> {
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        model_last(&words).map(|words| words.join(OsStr::new(" ")).into_string().unwrap())
    }

    #[test]
    fn the_last_of_several_values_may_be_the_model() {
        for (words, expected) in [
            ("s run --input a m", Some("s run --input a -- m")),
            ("s run --input a b m --top 1 -v", Some("s run --input a b --top 1 -v -- m")),
            ("s verify --input a --expected b m", Some("s verify --input a --expected b -- m")),
            ("s verify --input a m --expected b", Some("s verify --input a --expected b -- m")),
            ("s run --input - m", Some("s run --input - -- m")),
            ("s run --input a", None),
            ("s run --top 1 m", None),
            ("s run --input a b -- m", None),
        ] {
            assert_eq!(moved(words).as_deref(), expected, "{words}");
        }
    }

    #[test]
    fn words_are_cut_at_names() {
        assert_eq!(name_and_file("a=b=c".as_ref()), Some(("a", "b=c".as_ref())));
        assert_eq!(name_and_file("a".as_ref()), None);
    }

    #[cfg(unix)]
    #[test]
    fn files_need_not_be_utf8() {
        use std::os::unix::ffi::OsStrExt;
        let bytes = OsStr::from_bytes;
        assert_eq!(name_and_file(bytes(b"a=\xfe.png")), Some(("a", bytes(b"\xfe.png"))));
    }

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Cli::command().debug_assert();
    }
}
