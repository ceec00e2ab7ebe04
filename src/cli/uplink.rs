//! `brooklet uplink …`: status, check, pause, resume.

use std::sync::Arc;

pub(super) use super::links::{CheckArgs, NameArgs, StatusArgs};
use super::{
    connect::Target,
    error::CliError,
    links::{self, Kind, show_check, steer},
    spec::Spec,
    status_view,
    table::Table,
    term::{self, human_count},
    when,
};
use crate::executor::block_on;
use crate::{
    client::Connection,
    config::Config,
    frame::UplinkAction,
    gateway, json,
    store::clock::{Clock, RealClock},
    uplink::{self, Finding, UplinkOptions, UplinkStatus},
};

pub(super) static STATUS: Spec =
    links::status_spec("uplink status", "Show what each uplink has forwarded and what waits");

pub(super) static CHECK: Spec = links::check_spec(
    "uplink check",
    "Try the way to the centre step by step, and say what to do",
    "Resolves, connects, compares versions, topics, size limits and clocks. The running gateway does it, which\n\
     knows its topics; where none answers, or with --config, this command does what it can from the\n\
     configuration. Exits 1 if an uplink would not work.",
);

pub(super) static PAUSE: Spec = links::steer_spec("uplink pause", "Stop forwarding until resumed; records are kept");

pub(super) static RESUME: Spec = links::steer_spec("uplink resume", "Forward again");

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
        json::from_str(&json).map_err(|error| CliError::failed("the gateway's answer cannot be read", error))?;
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
    out.extend(uplink.notices.refused.iter().map(|why| format!("the centre is not told how this gateway is: {why}\n")));
    for stall in gateway::problems::stalls(uplink) {
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

async fn check_by_gateway(mut connection: Connection, name: &str) -> Result<String, CliError> {
    Ok(connection.uplink(UplinkAction::Check, name).await?)
}

async fn check_from_here(args: &CheckArgs) -> Result<String, CliError> {
    let config = Config::load(&args.layers())?.config;
    if let Some(unknown) = args.name.as_ref().filter(|name| !config.uplinks.contains_key(*name)) {
        return Err(CliError::failed(unknown, "no uplink of this name is configured"));
    }
    let mut text = String::new();
    for (name, findings) in check_all(&config, args.name.as_deref()).await {
        text.push_str(&format!("{name}:\n"));
        findings.iter().for_each(|finding| text.push_str(&format!("{finding}\n")));
    }
    Ok(text)
}

/// Tries every uplink of a configuration, or only one, from here: without a gateway and its topics.
pub(super) async fn check_all(config: &Config, only: Option<&str>) -> Vec<(String, Vec<Finding>)> {
    let time_known = RealClock::new(gateway::clock_trust(config.clock.trust)).wall_trusted();
    let mut all = Vec::new();
    for (name, uplink) in config.uplinks.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        let gateway = config.gateway.id.clone().unwrap_or_else(|| "brooklet".to_owned());
        let labels = config.gateway.labels.clone();
        let tls = gateway::link_tls(&format!("uplink.{name}"), (&uplink.tls, &uplink.sasl), config.clock.trust);
        let options =
            UplinkOptions { name: name.clone(), gateway, labels, config: uplink.clone(), tls, about: Arc::default() };
        all.push((name.clone(), uplink::check(&options, &[], time_known).await));
    }
    all
}

/// Runs `uplink pause`.
///
/// # Errors
/// No gateway, or no such uplink.
pub(super) fn pause(args: &NameArgs) -> Result<(), CliError> {
    steer(Kind::Uplink, args, UplinkAction::Pause)
}

/// Runs `uplink resume`.
///
/// # Errors
/// No gateway, or no such uplink.
pub(super) fn resume(args: &NameArgs) -> Result<(), CliError> {
    steer(Kind::Uplink, args, UplinkAction::Resume)
}
