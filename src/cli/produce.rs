//! `brooklet produce`: a record a line from standard input.

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Positional, Spec},
};
use crate::{
    config::is_name_char,
    frame::AckLevel,
    limits::{CLIENT_ID_BYTES_MAX, TOPIC_NAME_BYTES_MAX},
};

pub(super) static SPEC: Spec = Spec {
    name: "produce",
    summary: "Publish standard input to a topic, a record a line",
    positionals: &[Positional { name: "TOPIC", required: true, help: "Topic to publish to" }],
    options: &[
        Opt::value("acks", "LEVEL", "How far a record must come to count: memory, flash (default) or upstream"),
        Opt::value("key-separator", "S", "A line is KEY, this text, VALUE; without it a line is a value").short('K'),
        Opt::value("client-id", "ID", "Who publishes; also the key of records without one (default brooklet-cli-PID)"),
        Opt::switch("timestamps", "A line begins with its time in Unix ms and a space"),
    ],
    shared: &[connect::OPTIONS, JSON],
    details: "Ends when standard input has ended and every record is acknowledged; what a broken connection left\n\
              unacknowledged is sent again and not stored twice. --json prints {\"acknowledged\":N} as N grows.\n\n\
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
                Some(text.to_owned()).filter(|text| !text.is_empty()).ok_or_else(|| "must not be empty".to_owned())
            })?,
            client_id: args.read("client-id", |text| {
                let fits = !text.is_empty() && text.len() <= CLIENT_ID_BYTES_MAX && text.chars().all(is_name_char);
                fits.then(|| text.to_owned())
                    .ok_or_else(|| format!("must be 1 to {CLIENT_ID_BYTES_MAX} letters, digits, '.', '_' or '-'"))
            })?,
            timestamps: args.switch("timestamps"),
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
pub(super) fn run(_args: &ProduceArgs) -> Result<(), CliError> {
    Err(CliError::Failed("produce is not built yet".to_owned()))
}
