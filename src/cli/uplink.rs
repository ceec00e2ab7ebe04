//! `brooklet uplink …`: status, check, pause, resume.

use std::path::PathBuf;

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Positional, Spec},
    status_view,
    table::Table,
    term::{self, human_count},
    when,
};
use crate::executor::block_on;
use crate::{
    client::Connection,
    config::{Config, Layers},
    frame::UplinkAction,
    gateway,
    json::{self, JsonObject},
    uplink::{self, UplinkOptions, UplinkStatus},
};

const NAME: &[Positional] = &[Positional { name: "NAME", required: true, help: "Name of the uplink" }];
const ANY_NAME: &[Positional] = &[Positional { name: "NAME", required: false, help: "Only this uplink" }];

pub(super) static STATUS: Spec = Spec {
    name: "uplink status",
    summary: "Show what each uplink has forwarded and what waits",
    positionals: ANY_NAME,
    options: &[],
    shared: &[connect::OPTIONS, JSON],
    details: "",
};

pub(super) static CHECK: Spec = Spec {
    name: "uplink check",
    summary: "Try the way to the centre step by step, and say what to do",
    positionals: ANY_NAME,
    options: &[
        Opt::value("config", "FILE", "Check from here what this configuration says, without a gateway").short('c')
    ],
    shared: &[connect::OPTIONS, JSON],
    details: "Resolves, connects, compares versions, topics, size limits and clocks. The running gateway does it, which\n\
              knows its topics; where none answers, or with --config, this command does what it can from the\n\
              configuration. Exits 1 if an uplink would not work.",
};

pub(super) static PAUSE: Spec = Spec {
    name: "uplink pause",
    summary: "Stop forwarding until resumed; records are kept",
    positionals: NAME,
    options: &[],
    shared: &[connect::OPTIONS],
    details: "",
};

pub(super) static RESUME: Spec = Spec {
    name: "uplink resume",
    summary: "Forward again",
    positionals: NAME,
    options: &[],
    shared: &[connect::OPTIONS],
    details: "",
};

/// Arguments of `uplink status`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatusArgs {
    pub name: Option<String>,
    pub target: Target,
    pub json: bool,
}

/// Arguments of `uplink check`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckArgs {
    pub name: Option<String>,
    pub target: Target,
    pub config: Option<PathBuf>,
    pub json: bool,
}

/// Arguments of `uplink pause` and `uplink resume`.
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

/// Runs `uplink status`.
///
/// # Errors
/// No gateway, or no such uplink.
pub(super) fn status(args: &StatusArgs) -> Result<(), CliError> {
    let name = args.name.as_deref().unwrap_or_default();
    let (json, now_ms) = block_on(async {
        let mut connection = args.target.connect().await?;
        let json = connection.uplink(UplinkAction::Status, name).await?;
        Ok::<_, CliError>((json, connection.gateway().time_ms))
    })?;
    if args.json {
        return term::print(&format!("{json}\n"));
    }
    let uplinks: Vec<UplinkStatus> =
        serde_json::from_str(&json).map_err(|error| CliError::failed("the gateway's answer cannot be read", error))?;
    if uplinks.is_empty() {
        term::note("no uplink is configured; [uplink.NAME] with bootstrap = [\"HOST:PORT\"] is one");
        return Ok(());
    }
    let mut out = status_view::uplinks(&uplinks, now_ms);
    for uplink in &uplinks {
        out.push_str(&details(uplink, now_ms));
    }
    term::print(&out)
}

/// Where an uplink speaks to, what stands in its way, and how far each partition is.
fn details(uplink: &UplinkStatus, now_ms: i64) -> String {
    let versions = uplink.versions.as_ref().map_or(String::new(), |versions| format!(" ({versions})"));
    let mut out = format!("\n{} to {}{versions}\n", uplink.name, uplink.bootstrap.join(", "));
    out.push_str(&status_view::backlog(uplink, now_ms));
    if let Some(error) = &uplink.last_error {
        out.push_str(&format!("last error, {}: {}\n", when::format_time(error.at_ms), error.text));
    }
    for stall in status_view::stalls(uplink) {
        out.push_str(&format!("{stall}\n"));
    }
    let mut table = Table::new(&["TOPIC", ">PARTITION", ">FORWARDED UP TO", ">END", ">BEHIND"]);
    for partition in &uplink.partitions {
        table.row([
            partition.topic.clone(),
            partition.partition.to_string(),
            partition.position.to_string(),
            partition.end.to_string(),
            human_count(partition.lag_records),
        ]);
    }
    if table.is_empty() {
        out.push_str("it follows no topic yet\n");
    } else {
        out.push_str(&table.render());
    }
    out
}

/// Runs `uplink check`.
///
/// # Errors
/// An uplink would not work, or there is none.
pub(super) fn check(args: &CheckArgs) -> Result<(), CliError> {
    let text = block_on(async {
        if args.config.is_some() {
            return check_from_here(args).await;
        }
        match args.target.connect().await {
            Ok(connection) => check_by_gateway(connection, args.name.as_deref().unwrap_or_default()).await,
            Err(error) if args.target != Target::default() => Err(error),
            Err(_) => {
                term::note("no gateway answers; checked from here, without its topics");
                check_from_here(args).await
            }
        }
    })?;
    show_check(&text, args.json)
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

async fn check_by_gateway(mut connection: Connection, name: &str) -> Result<String, CliError> {
    Ok(connection.uplink(UplinkAction::Check, name).await?)
}

async fn check_from_here(args: &CheckArgs) -> Result<String, CliError> {
    let config = Config::load(&args.layers())?.config;
    if let Some(unknown) = args.name.as_ref().filter(|name| !config.uplinks.contains_key(*name)) {
        return Err(CliError::failed(unknown, "no uplink of this name is configured"));
    }
    let mut text = String::new();
    for (name, uplink) in config.uplinks.iter().filter(|(name, _)| args.name.as_ref().is_none_or(|only| only == *name))
    {
        let gateway = config.gateway.id.clone().unwrap_or_else(|| "brooklet".to_owned());
        let labels = config.gateway.labels.clone();
        let tls = gateway::link_tls(&format!("uplink.{name}"), &uplink.tls, config.clock.trust);
        let options = UplinkOptions { name: name.clone(), gateway, labels, config: uplink.clone(), tls };
        text.push_str(&format!("{name}:\n"));
        for finding in uplink::check(&options, &[], when::now_ms()).await {
            text.push_str(&format!("{finding}\n"));
        }
    }
    Ok(text)
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

/// Runs `uplink pause`.
///
/// # Errors
/// No gateway, or no such uplink.
pub(super) fn pause(args: &NameArgs) -> Result<(), CliError> {
    steer(args, UplinkAction::Pause)
}

/// Runs `uplink resume`.
///
/// # Errors
/// No gateway, or no such uplink.
pub(super) fn resume(args: &NameArgs) -> Result<(), CliError> {
    steer(args, UplinkAction::Resume)
}

fn steer(args: &NameArgs, action: UplinkAction) -> Result<(), CliError> {
    let said = block_on(async {
        let mut connection = args.target.connect().await?;
        Ok::<_, CliError>(connection.uplink(action, &args.name).await?)
    })?;
    term::note(said.trim_end());
    Ok(())
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
