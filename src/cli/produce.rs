//! `brooklet produce`: a record a line from standard input.

use std::time::Duration;

use super::{
    connect::{self, Target},
    error::CliError,
    format,
    parse::Parsed,
    publishing,
    spec::{JSON, Opt, Positional, Spec},
};
use crate::executor::block_on;
use crate::{
    config::{is_name_char, parse_duration},
    frame::AckLevel,
    limits::{CLIENT_ID_BYTES_MAX, TOPIC_NAME_BYTES_MAX},
};

/// How long nothing may be acknowledged, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) static SPEC: Spec = Spec {
    name: "produce",
    summary: "Publish standard input to a topic, a record a line",
    positionals: &[Positional { name: "TOPIC", required: true, help: "Topic to publish to" }],
    options: &[
        Opt::value("acks", "LEVEL", "How far a record must come to count: memory, flash (default) or upstream"),
        Opt::value("key-separator", "S", "A line is KEY, this text, VALUE; without it a line is a value. \\t is a tab")
            .short('K'),
        Opt::value(
            "client-id",
            "ID",
            "Who publishes; also the key of records without one (default USER@HOST, and\n\
             USER@HOST-2 and so on while others run: two of one id would fence each other)",
        ),
        Opt::switch("timestamps", "A line begins with its time and a space: Unix ms, or 2026-11-21T20:00:00Z"),
        Opt::value("timeout", "TIME", "Give up when nothing is acknowledged for so long (default 60s, 0s: never)"),
    ],
    shared: &[connect::OPTIONS, JSON],
    details: "Ends when standard input has ended and every record is acknowledged. While the gateway cannot be reached\n\
              it tries again; what a broken connection left unacknowledged is sent again with the same sequences, so\n\
              nothing is lost or stored twice. With --acks upstream it also waits until every uplink that follows the\n\
              topic has brought the records to the centre. Lines that are refused are counted, and the exit code is 1.\n\
              --json prints {\"acknowledged\":N} as N grows.\n\n\
              Example: echo '21.5' | brooklet produce temperature",
};

/// Arguments of `produce`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProduceArgs {
    pub topic: String,
    pub target: Target,
    pub acks: AckLevel,
    /// Between key and value of a line; never empty.
    pub key_separator: Option<String>,
    pub client_id: Option<String>,
    pub timestamps: bool,
    /// `None`: wait for ever.
    pub timeout: Option<Duration>,
    pub json: bool,
}

impl ProduceArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ProduceArgs, CliError> {
        Ok(ProduceArgs {
            topic: topic_name(args, "TOPIC")?,
            target: Target::parse(args)?,
            acks: args
                .read("acks", |text| text.parse().map_err(|_| "must be memory, flash or upstream".to_owned()))?
                .unwrap_or_default(),
            key_separator: args.read("key-separator", |text| {
                let text = format::unescape(text)?;
                if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) }
            })?,
            client_id: args.read("client-id", |text| {
                let fits = !text.is_empty() && text.len() <= CLIENT_ID_BYTES_MAX && text.chars().all(is_name_char);
                fits.then(|| text.to_owned())
                    .ok_or_else(|| format!("must be 1 to {CLIENT_ID_BYTES_MAX} letters, digits, '.', '_' or '-'"))
            })?,
            timestamps: args.switch("timestamps"),
            timeout: Some(args.read("timeout", parse_duration)?.unwrap_or(TIMEOUT)).filter(|time| !time.is_zero()),
            json: args.switch("json"),
        })
    }
}

/// A topic's name as an argument; as strict as the broker, so that a slip is a usage error at once.
pub(super) fn topic_name(args: &mut Parsed, positional: &'static str) -> Result<String, CliError> {
    let name = args.positional(positional)?;
    check_topic_name(&name).map_err(|problem| args.usage(format!("{positional} {name:?}: {problem}")))?;
    Ok(name)
}

/// Kafka's rule for topic names.
pub(super) fn check_topic_name(name: &str) -> Result<(), String> {
    let legal = !name.is_empty() && name.len() <= TOPIC_NAME_BYTES_MAX && name.chars().all(is_name_char);
    if legal && name != "." && name != ".." {
        return Ok(());
    }
    Err(format!("a topic's name has 1 to {TOPIC_NAME_BYTES_MAX} letters, digits, '.', '_' or '-'"))
}

/// Runs `produce`.
///
/// # Errors
/// No gateway, or a record that was refused or not acknowledged in time.
pub(super) fn run(args: &ProduceArgs) -> Result<(), CliError> {
    let address = args.target.address()?;
    block_on(publishing::publish(args, &address))
}
