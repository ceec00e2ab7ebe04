//! Help texts, made from the declarations; and which command the first words mean.

use super::{COMMANDS, Command, error::CliError, spec::Spec};
use crate::config::nearest;

/// The command that the first words call, and how many of them it took.
pub(super) fn find(words: &[&str]) -> Option<(&'static Command, usize)> {
    COMMANDS.iter().find_map(|command| {
        let name: Vec<&str> = command.spec.name.split(' ').collect();
        words.starts_with(&name).then_some((command, name.len()))
    })
}

/// What to say where no command fits.
pub(super) fn no_such_command(words: &[&str]) -> CliError {
    let Some(first) = words.first() else {
        return CliError::usage(
            "",
            "a command is missing: `brooklet demo` shows what it does, `brooklet serve` starts it",
        );
    };
    let second: Vec<String> = family(first).into_iter().map(|(word, _)| word).collect();
    if !second.is_empty() {
        let problem = match words.get(1).filter(|word| !word.starts_with('-')) {
            Some(word) => format!("unknown: {first} {word}; there are {}", second.join(", ")),
            None => format!("{first} needs one of {}", second.join(", ")),
        };
        return CliError::usage("", problem);
    }
    let known = COMMANDS.iter().map(|command| command.spec.name.split(' ').next().unwrap_or_default());
    CliError::usage(
        "",
        match nearest(first, known) {
            Some(meant) => format!("unknown command {first}; did you mean {meant}?"),
            None => format!("unknown command {first}"),
        },
    )
}

/// `brooklet --version`.
pub(super) fn version() -> String {
    format!("brooklet {}\n", env!("CARGO_PKG_VERSION"))
}

/// `brooklet --help`.
pub(super) fn overview() -> String {
    let mut out = "Brooklet: the event broker that lives at the edge.\n\n\
                   Usage: brooklet COMMAND [ARGUMENTS]\n\nCommands:\n"
        .to_owned();
    let rows: Vec<(String, &str)> =
        COMMANDS.iter().map(|command| (command.spec.name.to_owned(), command.spec.summary)).collect();
    push_rows(&mut out, &rows);
    out.push_str(
        "\n`brooklet COMMAND --help` says more. Exit codes: 0 done, 1 failed, 2 usage or configuration.\n\
         Without --broker, commands speak to the gateway of the data directory, else to 127.0.0.1:9790.\n",
    );
    out
}

/// `brooklet help WORDS`: one command, or a list of those that begin with the word.
pub(super) fn of(words: &[&str]) -> Result<String, CliError> {
    if let Some((command, _)) = find(words) {
        return Ok(of_command(command.spec));
    }
    match words {
        [first] if !family(first).is_empty() => Ok(of_family(first)),
        _ => Err(no_such_command(words)),
    }
}

/// The commands of two words that begin with this one: their second words and summaries.
fn family(first: &str) -> Vec<(String, &'static str)> {
    let second = |spec: &Spec| Some(spec.name.strip_prefix(first)?.strip_prefix(' ')?.to_owned());
    COMMANDS.iter().filter_map(|command| Some((second(command.spec)?, command.spec.summary))).collect()
}

fn of_family(first: &str) -> String {
    let mut out = format!("Usage: brooklet {first} COMMAND [ARGUMENTS]\n\nCommands:\n");
    push_rows(&mut out, &family(first));
    out.push_str(&format!("\n`brooklet {first} COMMAND --help` says more.\n"));
    out
}

/// `brooklet COMMAND --help`.
pub(super) fn of_command(spec: &Spec) -> String {
    let mut out = format!("{}\n\nUsage: brooklet {}", sentence(spec.summary), spec.name);
    for positional in spec.positionals {
        out.push_str(&if positional.required {
            format!(" {}", positional.name)
        } else {
            format!(" [{}]", positional.name)
        });
    }
    out.push_str(" [OPTIONS]\n");
    let arguments: Vec<(String, &str)> =
        spec.positionals.iter().map(|positional| (positional.name.to_owned(), positional.help)).collect();
    if !arguments.is_empty() {
        out.push_str("\nArguments:\n");
        push_rows(&mut out, &arguments);
    }
    let mut options: Vec<(String, &str)> = spec
        .all_options()
        .map(|option| {
            let short = option.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
            let value = option.value.map(|value| format!(" {value}")).unwrap_or_default();
            (format!("{short}--{}{value}", option.long), option.help)
        })
        .collect();
    options.push(("-h, --help".to_owned(), "Print this"));
    out.push_str("\nOptions:\n");
    push_rows(&mut out, &options);
    if !spec.details.is_empty() {
        out.push_str(&format!("\n{}\n", spec.details));
    }
    out
}

fn push_rows(out: &mut String, rows: &[(String, &str)]) {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, help) in rows {
        // Further lines of a help text stand below the first.
        let help = help.replace('\n', &format!("\n{:width$}    ", ""));
        out.push_str(&format!("  {name:<width$}  {help}\n"));
    }
}

fn sentence(text: &str) -> String {
    format!("{text}.")
}
