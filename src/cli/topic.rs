//! `brooklet topic …`: create, list, describe, alter, delete.

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    produce::topic_name,
    spec::{JSON, Opt, Positional, Spec},
};
use crate::limits::PARTITIONS_MAX;

const TOPIC: &[Positional] = &[Positional { name: "TOPIC", required: true, help: "Name of the topic" }];
const PARTITIONS: Opt =
    Opt::value("partitions", "N", "How many partitions (default: as the gateway is configured)").short('p');
const SET: Opt =
    Opt::value("set", "KEY=VALUE", "Set a key, e.g. retention.ms=7d; may be repeated").short('s').repeated();

pub(super) static CREATE: Spec = Spec {
    name: "topic create",
    summary: "Create a topic",
    positionals: TOPIC,
    options: &[PARTITIONS, SET, Opt::switch("if-not-exists", "Succeed if the topic is there already")],
    shared: &[connect::OPTIONS],
    details: "Keys: retention.ms, retention.bytes, max.message.bytes, message.timestamp.type, key.\n\
              `brooklet check --reference` describes them (as topic.…).",
};

pub(super) static LIST: Spec = Spec {
    name: "topic list",
    summary: "List the topics",
    positionals: &[],
    options: &[Opt::switch("internal", "Also Brooklet's own topics")],
    shared: &[connect::OPTIONS, JSON],
    details: "",
};

pub(super) static DESCRIBE: Spec = Spec {
    name: "topic describe",
    summary: "Show a topic's partitions, offsets and keys",
    positionals: TOPIC,
    options: &[],
    shared: &[connect::OPTIONS, JSON],
    details: "",
};

pub(super) static ALTER: Spec = Spec {
    name: "topic alter",
    summary: "Change a topic's keys or add partitions",
    positionals: TOPIC,
    options: &[
        SET,
        Opt::value("unset", "KEY", "Return a key to its default; may be repeated").short('u').repeated(),
        Opt::value("partitions", "N", "Raise the number of partitions").short('p'),
    ],
    shared: &[connect::OPTIONS],
    details: "More partitions move keys: records of one key are in order only within a partition.",
};

pub(super) static DELETE: Spec = Spec {
    name: "topic delete",
    summary: "Delete a topic and its records",
    positionals: TOPIC,
    options: &[Opt::switch("if-exists", "Succeed if there is no such topic")],
    shared: &[connect::OPTIONS],
    details: "What no uplink has forwarded yet is lost with it.",
};

/// Arguments of `topic create`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CreateArgs {
    pub topic: String,
    pub target: Target,
    pub partitions: Option<u32>,
    pub set: Vec<(String, String)>,
    pub if_not_exists: bool,
}

/// Arguments of `topic list`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListArgs {
    pub target: Target,
    pub internal: bool,
    pub json: bool,
}

/// Arguments of `topic describe`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DescribeArgs {
    pub topic: String,
    pub target: Target,
    pub json: bool,
}

/// Arguments of `topic alter`. At least one change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AlterArgs {
    pub topic: String,
    pub target: Target,
    pub set: Vec<(String, String)>,
    pub unset: Vec<String>,
    pub partitions: Option<u32>,
}

/// Arguments of `topic delete`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeleteArgs {
    pub topic: String,
    pub target: Target,
    pub if_exists: bool,
}

impl CreateArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<CreateArgs, CliError> {
        Ok(CreateArgs {
            topic: topic_name(args, "TOPIC")?,
            target: Target::parse(args)?,
            partitions: partitions(args)?,
            set: assignments(args)?,
            if_not_exists: args.switch("if-not-exists"),
        })
    }
}

impl ListArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ListArgs, CliError> {
        Ok(ListArgs { target: Target::parse(args)?, internal: args.switch("internal"), json: args.switch("json") })
    }
}

impl DescribeArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<DescribeArgs, CliError> {
        Ok(DescribeArgs { topic: topic_name(args, "TOPIC")?, target: Target::parse(args)?, json: args.switch("json") })
    }
}

impl AlterArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<AlterArgs, CliError> {
        let parsed = AlterArgs {
            topic: topic_name(args, "TOPIC")?,
            target: Target::parse(args)?,
            set: assignments(args)?,
            unset: args.texts("unset")?,
            partitions: partitions(args)?,
        };
        if parsed.set.is_empty() && parsed.unset.is_empty() && parsed.partitions.is_none() {
            return Err(args.usage("nothing to change: give --set, --unset or --partitions"));
        }
        Ok(parsed)
    }
}

impl DeleteArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<DeleteArgs, CliError> {
        Ok(DeleteArgs {
            topic: topic_name(args, "TOPIC")?,
            target: Target::parse(args)?,
            if_exists: args.switch("if-exists"),
        })
    }
}

fn partitions(args: &mut Parsed) -> Result<Option<u32>, CliError> {
    Ok(args.number("partitions", 1, PARTITIONS_MAX as u64)?.map(|count| count as u32))
}

fn assignments(args: &mut Parsed) -> Result<Vec<(String, String)>, CliError> {
    let texts = args.texts("set")?;
    let split = |text: &String| {
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty())?;
        Some((key.to_owned(), value.to_owned()))
    };
    texts
        .iter()
        .map(|text| split(text).ok_or_else(|| args.usage(format!("--set {text:?}: must be KEY=VALUE"))))
        .collect()
}

/// Runs `topic create`.
pub(super) fn create(_args: &CreateArgs) -> Result<(), CliError> {
    Err(CliError::Failed("topic create is not built yet".to_owned()))
}

/// Runs `topic list`.
pub(super) fn list(_args: &ListArgs) -> Result<(), CliError> {
    Err(CliError::Failed("topic list is not built yet".to_owned()))
}

/// Runs `topic describe`.
pub(super) fn describe(_args: &DescribeArgs) -> Result<(), CliError> {
    Err(CliError::Failed("topic describe is not built yet".to_owned()))
}

/// Runs `topic alter`.
pub(super) fn alter(_args: &AlterArgs) -> Result<(), CliError> {
    Err(CliError::Failed("topic alter is not built yet".to_owned()))
}

/// Runs `topic delete`.
pub(super) fn delete(_args: &DeleteArgs) -> Result<(), CliError> {
    Err(CliError::Failed("topic delete is not built yet".to_owned()))
}
