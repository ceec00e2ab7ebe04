//! `brooklet export DIR --topic T`: records out of a data directory, without a gateway.

use std::path::PathBuf;

use super::{
    consume::{From, parse_from},
    error::CliError,
    format::{self, Format},
    parse::Parsed,
    produce::check_topic_name,
    spec::{Opt, Positional, Spec},
    when,
};
use crate::limits::PARTITIONS_MAX;

pub(super) static SPEC: Spec = Spec {
    name: "export",
    summary: "Print a topic's records out of a data directory, without a gateway",
    positionals: &[Positional { name: "DIR", required: true, help: "Data directory of a gateway that does not run" }],
    options: &[
        Opt::value("topic", "TOPIC", "Topic to print (required)").short('t'),
        Opt::value("partition", "N", "Only this partition").short('p'),
        Opt::value(
            "from",
            "WHERE",
            "beginning (default), an offset, or a time: 2026-11-21T20:00:00Z, @UNIX_MS, 15m (ago)",
        ),
        Opt::value("count", "N", "Stop after so many records").short('n'),
        Opt::value("format", "TEXT", format::HELP),
    ],
    shared: &[],
    details: "Reads only. Damaged batches are named on standard error and left out; the exit code is then 1.",
};

/// Arguments of `export`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExportArgs {
    pub dir: PathBuf,
    pub topic: String,
    pub partition: Option<u32>,
    pub from: From,
    pub count: Option<u64>,
    pub format: Format,
}

impl ExportArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ExportArgs, CliError> {
        let dir = args.positional_path("DIR").ok_or_else(|| args.usage("missing argument DIR"))?;
        let topic = args.read("topic", |text| check_topic_name(text).map(|()| text.to_owned()))?;
        Ok(ExportArgs {
            dir,
            topic: topic.ok_or_else(|| args.usage("--topic is missing"))?,
            partition: args.number("partition", 0, PARTITIONS_MAX as u64 - 1)?.map(|partition| partition as u32),
            from: args.read("from", |text| parse_from(text, when::now_ms()))?.unwrap_or(From::Beginning),
            count: args.number("count", 0, u64::MAX)?,
            format: args.read("format", Format::parse)?.unwrap_or_default(),
        })
    }
}

/// Runs `export`.
pub(super) fn run(_args: &ExportArgs) -> Result<(), CliError> {
    Err(CliError::Failed("export is not built yet".to_owned()))
}
