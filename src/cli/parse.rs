//! Arguments by a command's declaration.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use super::{
    error::CliError,
    spec::{Opt, Spec},
};
use crate::config::nearest;

/// What the arguments ask for.
pub enum Outcome {
    /// `--help`.
    Help,
    Run(Parsed),
}

/// Arguments that fit the declaration; their values are read by the command.
#[derive(Debug)]
pub struct Parsed {
    command: &'static str,
    positionals: BTreeMap<&'static str, OsString>,
    options: BTreeMap<&'static str, Vec<OsString>>,
}

/// Sorts the arguments by the declaration.
///
/// # Errors
/// [`CliError::Usage`]: an unknown option (with a suggestion), a missing or superfluous argument.
pub fn parse(spec: &'static Spec, args: &[OsString]) -> Result<Outcome, CliError> {
    let usage = |problem: String| CliError::usage(spec.name, problem);
    let mut parsed = Parsed { command: spec.name, positionals: BTreeMap::new(), options: BTreeMap::new() };
    let mut expected = spec.positionals.iter();
    let mut parser = lexopt::Parser::from_args(args.iter().cloned());
    loop {
        let option = match parser.next().map_err(|error| usage(error.to_string()))? {
            None => break,
            Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h')) => return Ok(Outcome::Help),
            Some(lexopt::Arg::Long(name)) => find_long(spec, name).map_err(usage)?,
            Some(lexopt::Arg::Short(letter)) => spec
                .all_options()
                .find(|option| option.short == Some(letter))
                .ok_or_else(|| usage(format!("unknown option -{letter}")))?,
            Some(lexopt::Arg::Value(value)) => {
                let Some(positional) = expected.next() else {
                    return Err(usage(format!("unexpected argument {value:?}")));
                };
                parsed.positionals.insert(positional.name, value);
                continue;
            }
        };
        let value = match option.value {
            Some(_) => parser.value().map_err(|_| usage(format!("--{} needs a value", option.long)))?,
            None => OsString::new(),
        };
        let values = parsed.options.entry(option.long).or_default();
        if !values.is_empty() && !option.repeats {
            return Err(usage(format!("--{} is given twice", option.long)));
        }
        values.push(value);
    }
    if let Some(missing) = expected.find(|positional| positional.required) {
        return Err(usage(format!("missing argument {}", missing.name)));
    }
    Ok(Outcome::Run(parsed))
}

fn find_long(spec: &'static Spec, name: &str) -> Result<&'static Opt, String> {
    if let Some(option) = spec.all_options().find(|option| option.long == name) {
        return Ok(option);
    }
    let meant = nearest(name, spec.all_options().map(|option| option.long).chain(["help"]));
    Err(match meant {
        Some(meant) => format!("unknown option --{name}; did you mean --{meant}?"),
        None => format!("unknown option --{name}"),
    })
}

impl Parsed {
    /// A usage error of this command.
    #[must_use]
    pub fn usage(&self, problem: impl Into<String>) -> CliError {
        CliError::usage(self.command, problem)
    }

    /// Whether a switch is given.
    #[must_use]
    pub fn switch(&self, long: &'static str) -> bool {
        self.options.contains_key(long)
    }

    /// The value of an option, as a path.
    pub fn path(&mut self, long: &'static str) -> Option<PathBuf> {
        self.take(long).map(PathBuf::from)
    }

    /// The value of an option, as text.
    ///
    /// # Errors
    /// [`CliError::Usage`]: it is not UTF-8.
    pub fn text(&mut self, long: &'static str) -> Result<Option<String>, CliError> {
        self.take(long).map(|value| self.utf8(&format!("--{long}"), &value)).transpose()
    }

    /// All values of an option that may be given more than once.
    ///
    /// # Errors
    /// [`CliError::Usage`]: one is not UTF-8.
    pub fn texts(&mut self, long: &'static str) -> Result<Vec<String>, CliError> {
        let values = self.options.remove(long).unwrap_or_default();
        values.iter().map(|value| self.utf8(&format!("--{long}"), value)).collect()
    }

    /// The value of an option, read by `read`, which says what is allowed if it can't.
    ///
    /// # Errors
    /// [`CliError::Usage`] with what is allowed.
    pub fn read<V>(
        &mut self,
        long: &'static str,
        read: impl FnOnce(&str) -> Result<V, String>,
    ) -> Result<Option<V>, CliError> {
        let Some(text) = self.text(long)? else { return Ok(None) };
        read(&text).map(Some).map_err(|allowed| self.usage(format!("--{long} {text:?}: {allowed}")))
    }

    /// The value of an option, as a whole number from `min` to `max`.
    ///
    /// # Errors
    /// [`CliError::Usage`] with the range.
    pub fn number(&mut self, long: &'static str, min: u64, max: u64) -> Result<Option<u64>, CliError> {
        self.read(long, |text| {
            let fits = text.parse().ok().filter(|number| (min..=max).contains(number));
            fits.ok_or_else(|| format!("must be a number from {min} to {max}"))
        })
    }

    /// A required argument, as text.
    ///
    /// # Errors
    /// [`CliError::Usage`]: it is not UTF-8.
    pub fn positional(&mut self, name: &'static str) -> Result<String, CliError> {
        self.optional_positional(name)?.ok_or_else(|| self.usage(format!("missing argument {name}")))
    }

    /// An argument that may be left out, as text.
    ///
    /// # Errors
    /// [`CliError::Usage`]: it is not UTF-8.
    pub fn optional_positional(&mut self, name: &'static str) -> Result<Option<String>, CliError> {
        self.positionals.remove(name).map(|value| self.utf8(name, &value)).transpose()
    }

    /// An argument that may be left out, as a path.
    pub fn positional_path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.positionals.remove(name).map(PathBuf::from)
    }

    fn take(&mut self, long: &'static str) -> Option<OsString> {
        self.options.remove(long).and_then(|mut values| values.pop())
    }

    fn utf8(&self, what: &str, value: &OsStr) -> Result<String, CliError> {
        value.to_str().map(str::to_owned).ok_or_else(|| self.usage(format!("{what}: {value:?} is not UTF-8")))
    }
}
