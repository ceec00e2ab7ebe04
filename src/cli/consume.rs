//! `brooklet consume`: records to standard output.

use super::{
    connect::{self, Target},
    error::CliError,
    format::Format,
    parse::Parsed,
    produce::topic_name,
    spec::{Opt, Positional, Spec},
    when,
};
use crate::limits::{PARTITIONS_MAX, READER_NAME_BYTES_MAX};

pub(super) static SPEC: Spec = Spec {
    name: "consume",
    summary: "Print a topic's records",
    positionals: &[Positional { name: "TOPIC", required: true, help: "Topic to read" }],
    options: &[
        Opt::value(
            "from",
            "WHERE",
            "beginning (default), end, an offset, or a time: 2026-11-21T20:00:00Z, @UNIX_MS, 15m (ago)",
        ),
        Opt::value("partition", "N", "Only this partition").short('p'),
        Opt::value("count", "N", "Stop after so many records").short('n'),
        Opt::switch("follow", "Wait for more at the end, in place of stopping").short('f'),
        Opt::value("group", "NAME", "Continue where this reader last stopped, and remember where it stops").short('g'),
        Opt::value("format", "TEXT", super::format::HELP),
    ],
    shared: &[connect::OPTIONS],
    details: "Reads from the beginning and stops at the end unless told otherwise. With --group, --from holds only for\n\
              partitions in which the reader has no position yet.\n\n\
              Example: brooklet consume temperature --follow --format '%T %k %v\\n'",
};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Beginning,
    End,
    /// At least 0.
    Offset(i64),
    /// The first record at or after this time, Unix ms.
    Time(i64),
}

/// Arguments of `consume`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConsumeArgs {
    pub topic: String,
    pub target: Target,
    pub from: From,
    pub partition: Option<u32>,
    pub count: Option<u64>,
    pub follow: bool,
    pub group: Option<String>,
    pub format: Format,
}

impl ConsumeArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ConsumeArgs, CliError> {
        Ok(ConsumeArgs {
            topic: topic_name(args, "TOPIC")?,
            target: Target::parse(args)?,
            from: args.read("from", |text| parse_from(text, when::now_ms()))?.unwrap_or(From::Beginning),
            partition: args.number("partition", 0, PARTITIONS_MAX as u64 - 1)?.map(|partition| partition as u32),
            count: args.number("count", 0, u64::MAX)?,
            follow: args.switch("follow"),
            group: args.read("group", |text| {
                let fits = !text.is_empty() && text.len() <= READER_NAME_BYTES_MAX;
                fits.then(|| text.to_owned()).ok_or_else(|| format!("must be 1 to {READER_NAME_BYTES_MAX} bytes"))
            })?,
            format: args.read("format", Format::parse)?.unwrap_or_default(),
        })
    }
}

/// `beginning`, `end`, an offset or a time.
pub(super) fn parse_from(text: &str, now_ms: i64) -> Result<From, String> {
    match text {
        "beginning" | "earliest" => Ok(From::Beginning),
        "end" | "latest" => Ok(From::End),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => {
            text.parse().map(From::Offset).map_err(|_| "larger than any offset".to_owned())
        }
        _ => when::parse_time(text, now_ms)
            .map(From::Time)
            .map_err(|_| format!("must be beginning, end, an offset or {}", when::ALLOWED)),
    }
}

/// Runs `consume`.
pub(super) fn run(_args: &ConsumeArgs) -> Result<(), CliError> {
    Err(CliError::Failed("consume is not built yet".to_owned()))
}
