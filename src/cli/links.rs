//! What `brooklet uplink …` and `brooklet downlink …` have alike: arguments, how a check is shown, how one is steered.

use std::path::PathBuf;

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Positional, Spec},
    term,
};
use crate::executor::block_on;
use crate::{
    config::Layers,
    frame::UplinkAction,
    gateway::status::GatewayStatus,
    json::{self, JsonObject},
};

const NAME: &[Positional] = &[Positional { name: "NAME", required: true, help: "Its name" }];
const ANY_NAME: &[Positional] = &[Positional { name: "NAME", required: false, help: "Only this one" }];
const CONFIG: &[Opt] =
    &[Opt::value("config", "FILE", "Check from here what this configuration says, without a gateway").short('c')];

/// Of `… status`.
pub(super) const fn status_spec(name: &'static str, summary: &'static str) -> Spec {
    Spec { name, summary, positionals: ANY_NAME, options: &[], shared: &[connect::OPTIONS, JSON], details: "" }
}

/// Of `… check`.
pub(super) const fn check_spec(name: &'static str, summary: &'static str, details: &'static str) -> Spec {
    Spec { name, summary, positionals: ANY_NAME, options: CONFIG, shared: &[connect::OPTIONS, JSON], details }
}

/// Of `… pause` and `… resume`.
pub(super) const fn steer_spec(name: &'static str, summary: &'static str) -> Spec {
    Spec { name, summary, positionals: NAME, options: &[], shared: &[connect::OPTIONS], details: "" }
}

/// Which of the two is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Uplink,
    Downlink,
}

/// Arguments of `uplink status` and `downlink status`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatusArgs {
    pub name: Option<String>,
    pub target: Target,
    pub json: bool,
}

/// Arguments of `uplink check` and `downlink check`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckArgs {
    pub name: Option<String>,
    pub target: Target,
    pub config: Option<PathBuf>,
    pub json: bool,
}

/// Arguments of `pause` and `resume` of either.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NameArgs {
    pub name: String,
    pub target: Target,
}

impl StatusArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<StatusArgs, CliError> {
        Ok(StatusArgs {
            name: args.optional_positional("NAME")?,
            target: Target::parse(args)?,
            json: args.switch("json"),
        })
    }
}

impl CheckArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<CheckArgs, CliError> {
        let parsed = CheckArgs {
            name: args.optional_positional("NAME")?,
            target: Target::parse(args)?,
            config: args.path("config"),
            json: args.switch("json"),
        };
        if parsed.config.is_some() && parsed.target != Target::default() {
            return Err(args.usage("--config needs no gateway; give it or --broker or --data"));
        }
        Ok(parsed)
    }

    /// The system's layers, with `--config` in its place.
    #[must_use]
    pub(super) fn layers(&self) -> Layers {
        Layers { file: self.config.clone(), ..Layers::system() }
    }
}

impl NameArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<NameArgs, CliError> {
        Ok(NameArgs { name: args.positional("NAME")?, target: Target::parse(args)? })
    }
}

/// Prints what a check has told.
///
/// # Errors
/// Something would not work, or there was nothing to check.
pub(super) fn show_check(text: &str, as_json: bool) -> Result<(), CliError> {
    let lines = read_check(text);
    if lines.is_empty() {
        return Err(CliError::Failed("none is configured; nothing to check".to_owned()));
    }
    if as_json {
        term::print(&format!("{}\n", json::array(lines.iter().map(Line::to_json))))?;
    } else {
        term::print(text)?;
    }
    if lines.iter().any(|line| line.severity == "FAIL") { Err(CliError::FailedAsShown) } else { Ok(()) }
}

/// Lets the gateway do something with one of this kind, and tells what it says.
///
/// # Errors
/// No gateway, or none of this name.
pub(super) fn steer(kind: Kind, args: &NameArgs, action: UplinkAction) -> Result<(), CliError> {
    steer_with(kind, args, action, "")
}

/// As [`steer`], with more words behind the name.
///
/// # Errors
/// As [`steer`], or what the gateway has against them.
pub(super) fn steer_with(kind: Kind, args: &NameArgs, action: UplinkAction, words: &str) -> Result<(), CliError> {
    let said = block_on(async {
        let mut connection = args.target.connect().await?;
        let status = GatewayStatus::parse(&connection.status().await?).map_err(CliError::Failed)?;
        // Both are steered by name: one of the other kind is not meant.
        let is_down = status.downlinks.iter().any(|downlink| downlink.name == args.name);
        match (kind, is_down) {
            (Kind::Uplink, true) => Err(CliError::failed(&args.name, "this is a downlink, no uplink")),
            (Kind::Downlink, false) => Err(CliError::failed(&args.name, "there is no downlink of this name")),
            _ => Ok::<_, CliError>(connection.uplink(action, &format!("{}{words}", args.name)).await?),
        }
    })?;
    term::note(said.trim_end());
    Ok(())
}

/// A line of a check: `SEVERITY WHAT TEXT`, below the uplink's name.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    uplink: &'a str,
    /// `ok`, `warn` or `FAIL`.
    severity: &'a str,
    what: &'a str,
    text: &'a str,
}

impl Line<'_> {
    fn to_json(&self) -> String {
        let mut object = JsonObject::new();
        object.text("uplink", self.uplink).text("severity", &self.severity.to_lowercase());
        object.text("what", self.what).text("text", self.text);
        object.finish()
    }
}

fn read_check(text: &str) -> Vec<Line<'_>> {
    let mut uplink = "";
    let mut lines = Vec::new();
    for line in text.lines() {
        let word = |text: &'_ str| text.trim_start().find(' ').unwrap_or(text.trim_start().len());
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.contains(' ')) {
            uplink = name;
            continue;
        }
        let line = line.trim_start();
        let (severity, rest) = line.split_at(word(line));
        let rest = rest.trim_start();
        let (what, rest) = rest.split_at(word(rest));
        lines.push(Line { uplink, severity, what, text: rest.trim_start() });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_read_as_it_is_printed() {
        let text = "centre:\nok    dns       kafka is 127.0.0.1\nFAIL  connect   refused: is it up?\n";
        let line = |severity, what, text| Line { uplink: "centre", severity, what, text };
        assert_eq!(
            read_check(text),
            [line("ok", "dns", "kafka is 127.0.0.1"), line("FAIL", "connect", "refused: is it up?")]
        );
        assert!(read_check("").is_empty());
        assert_eq!(read_check("x").len(), 1);
    }
}
