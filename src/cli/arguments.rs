//! Reading the command line.

use super::Cli;
use super::terminal::{tell, written};
use crate::model::cut;
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, FromArgMatches};
use std::ffi::{OsStr, OsString};
use std::io::Write;

/// Which options the environment gives: the rule, and all of them.
pub const ENVIRONMENT: &str = "\
Environment:
  An option that says how a machine or a job works, whatever the model, has a variable: SVERTKA_ \
and its name in capitals. What is typed goes before it; where it concerns nothing that a command \
does, it is passed over; an empty variable is none. A wrong value is refused under the variable's name.

  SVERTKA_ISA, SVERTKA_ENGINE, SVERTKA_THREADS, SVERTKA_MEMORY_LIMIT, SVERTKA_TUNED: how a network is run
  SVERTKA_JOBS, SVERTKA_PACKED: pictures at the same time, and where packed weights are kept
  SVERTKA_CPU: what `compile` compiles for
  SVERTKA_CHECK_FORMAT, SVERTKA_CHECK_STRICT: what `check` says, and on what it fails
  SVERTKA_COLOR, SVERTKA_PROGRESS: colours, and the line of long work; NO_COLOR and CLICOLOR_FORCE count too

  What says which network, which weights or which numbers is to be seen in a command: --seed, -D, \
--weights, --exact and the like have none.";

/// Whether a value was typed, and is not that of its variable: what the environment says holds where it can.
pub fn is_typed(value: &OsStr, variable: &str) -> bool {
    std::env::var_os(variable).is_none_or(|set| set != value)
}

/// The arguments of a process.
///
/// # Errors
/// With which code to end, where they are wrong, or were answered by a help text.
pub fn parse(words: &[OsString]) -> Result<Cli, u8> {
    let try_parse = |words: &[OsString]| {
        let mut command = without_empty_variables(Cli::command());
        let matches = command.try_get_matches_from_mut(words);
        matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| error.format(&mut command))
    };
    let parsed = try_parse(words).or_else(|error| {
        let again = match error.kind() {
            ErrorKind::MissingRequiredArgument => model_last(words),
            _ => None,
        };
        again.and_then(|words| try_parse(&words).ok()).ok_or(error)
    });
    parsed.map_err(|mut error| {
        name_variable(&mut error, words);
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

/// An empty variable counts as not set.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let clear = |arg: Arg| if is_empty(&arg) { arg.env(Resettable::<clap::builder::OsStr>::Reset) } else { arg };
    command.mut_args(clear).mut_subcommands(without_empty_variables)
}

/// An error about a value that nobody typed says which variable it is from.
fn name_variable(error: &mut clap::Error, words: &[OsString]) {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return };
    let Some(long) = option.strip_prefix("--").and_then(|option| option.split([' ', '=']).next()) else { return };
    let typed = |word: &OsString| {
        let rest = word.to_str().and_then(|word| word.strip_prefix("--")?.strip_prefix(long));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if words.iter().any(typed) {
        return;
    }
    let command = Cli::command();
    let verb = words.iter().skip(1).filter_map(|word| command.find_subcommand(word)).next();
    let arguments = verb.into_iter().flat_map(Command::get_arguments).chain(command.get_arguments());
    let variable = arguments.filter(|arg| arg.get_long() == Some(long)).find_map(Arg::get_env);
    if let Some(variable) = variable.filter(|variable| std::env::var_os(variable).is_some()) {
        let named = format!("{}, which stands for --{long}", variable.to_string_lossy());
        error.insert(ContextKind::InvalidArg, ContextValue::String(named));
    }
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
