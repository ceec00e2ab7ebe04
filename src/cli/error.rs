//! How a command ends: three exit codes, and what is said on standard error.

use std::{fmt, io, process::ExitCode};

use crate::config::ConfigErrors;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum CliError {
    /// The arguments are wrong. Exit code 2.
    Usage { command: &'static str, problem: String },
    /// The configuration is wrong. Exit code 2.
    Config(ConfigErrors),
    /// It was tried and failed. Exit code 1.
    Failed(String),
    /// Said already, on standard output; only the exit code 1 is left to give.
    FailedAsShown,
    /// Whoever read standard output has gone: nothing is left to do, and nothing is wrong. Exit code 0.
    OutputClosed,
}

impl CliError {
    /// Wrong arguments of a command.
    pub fn usage(command: &'static str, problem: impl Into<String>) -> CliError {
        CliError::Usage { command, problem: problem.into() }
    }

    /// A failure, for people: what was tried, and why it did not work.
    pub fn failed(what: impl fmt::Display, why: impl fmt::Display) -> CliError {
        CliError::Failed(format!("{what}: {why}"))
    }

    /// Says it on standard error.
    pub(super) fn print(&self) {
        use io::Write;
        let text = self.to_string();
        if !text.is_empty() {
            // If standard error is gone too, there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Usage { command: "", problem } => write!(f, "brooklet: {problem}\nTry `brooklet --help`."),
            CliError::Usage { command, problem } => {
                write!(f, "brooklet {command}: {problem}\nTry `brooklet {command} --help`.")
            }
            CliError::Config(errors) => write!(f, "brooklet: the configuration is refused\n{errors}"),
            CliError::Failed(problem) => write!(f, "brooklet: {problem}"),
            CliError::FailedAsShown | CliError::OutputClosed => Ok(()),
        }
    }
}

impl From<ConfigErrors> for CliError {
    fn from(errors: ConfigErrors) -> CliError {
        CliError::Config(errors)
    }
}

/// 0 done, 1 failed, 2 usage or configuration.
pub(super) fn exit_code(outcome: &Result<(), CliError>) -> ExitCode {
    match outcome {
        Ok(()) | Err(CliError::OutputClosed) => ExitCode::SUCCESS,
        Err(CliError::Failed(_) | CliError::FailedAsShown) => ExitCode::from(1),
        Err(CliError::Usage { .. } | CliError::Config(_)) => ExitCode::from(2),
    }
}
