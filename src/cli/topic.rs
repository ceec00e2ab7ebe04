//! `brooklet topic …`: create, list, describe, alter, delete.

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    produce::topic_name,
    spec::{JSON, Opt, Positional, Spec},
    table::Table,
    term::{self, human_bytes, human_count},
};
use crate::executor::block_on;
use crate::{
    client::{ClientError, TopicInfo},
    config::{parse_duration, parse_size},
    frame::ErrorCode,
    gateway::status::{Follower, TopicFigures},
    json::{self, JsonObject},
    limits::PARTITIONS_MAX,
};

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
    details: "Keys: retention.ms, retention.bytes, max.message.bytes, message.timestamp.type, compression.type,\n\
              message.timestamp.before.max.ms, message.timestamp.after.max.ms, brooklet.key,\n\
              brooklet.priority, brooklet.reserve, brooklet.on.full, brooklet.retention.unforwarded.\n\
              Times may be written as 7d, sizes as 64MiB; -1 is no bound. What is not set is as the\n\
              gateway is configured (`brooklet check --reference`, topic.…).",
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
///
/// # Errors
/// No gateway, or it refuses the topic.
pub(super) fn create(args: &CreateArgs) -> Result<(), CliError> {
    block_on(async {
        let mut connection = args.target.connect().await?;
        let set = settings(&args.set)?;
        let created = connection.create_topic(&args.topic, args.partitions.unwrap_or(0), &pairs(&set)).await;
        match created {
            Ok(()) => {
                let partitions = connection.topic(&args.topic).await?.partitions;
                term::note(&format!("created topic {} with {}", args.topic, counted(partitions)));
                Ok(())
            }
            Err(ClientError::Refused(ErrorCode::TopicExists, _)) if args.if_not_exists => {
                term::note(&format!("topic {} is there already", args.topic));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    })
}

/// Runs `topic list`.
///
/// # Errors
/// No gateway.
pub(super) fn list(args: &ListArgs) -> Result<(), CliError> {
    let status = block_on(async {
        let mut connection = args.target.connect().await?;
        connect::status(&mut connection).await
    })?;
    let topics: Vec<_> = status.topics.iter().filter(|topic| args.internal || !topic.internal).collect();
    if args.json {
        let topics = topics.iter().map(json::to_string);
        return term::print(&format!("{}\n", json::array(topics)));
    }
    if topics.is_empty() {
        term::note("no topics; `brooklet topic create NAME` or `brooklet produce NAME` makes one");
        return Ok(());
    }
    let mut table = Table::new(&["TOPIC", ">PARTITIONS", ">RECORDS", ">KEPT", "FOLLOWED BY"]);
    for topic in topics {
        let (records, kept) = (human_count(topic.records()), human_bytes(topic.bytes()));
        table.row([topic.name.clone(), topic.partitions.len().to_string(), records, kept, followers(topic)]);
    }
    term::print(&table.render())
}

/// Runs `topic describe`.
///
/// # Errors
/// No gateway, or no such topic.
pub(super) fn describe(args: &DescribeArgs) -> Result<(), CliError> {
    let (topic, figures) = block_on(async {
        let mut connection = args.target.connect().await?;
        let topic = match connection.topic(&args.topic).await {
            Ok(topic) => topic,
            Err(error) => return Err(connect::topic_error(&mut connection, &args.topic, error).await),
        };
        let figures = connect::status(&mut connection).await?.topic(&topic.name).cloned();
        Ok::<_, CliError>((topic, figures.unwrap_or_default()))
    })?;
    if args.json {
        return term::print(&format!("{}\n", described_json(&topic, &figures)));
    }
    let mut out = format!("topic        {}\nid           {}\n", topic.name, uuid(&topic.uuid));
    out.push_str(&format!("followed by  {}\n\n", followers(&figures)));
    for (key, value) in &topic.configs {
        out.push_str(&format!("{key} = {value}\n"));
    }
    out.push('\n');
    let mut table = Table::new(&[">PARTITION", ">OLDEST", ">END", ">RECORDS", ">KEPT", ">UPSTREAM"]);
    for (index, partition) in figures.partitions.iter().enumerate() {
        table.row([
            index.to_string(),
            partition.log_start.to_string(),
            partition.high_watermark.to_string(),
            human_count(partition.high_watermark.abs_diff(partition.log_start)),
            human_bytes(partition.bytes),
            partition.upstream.map_or("-".to_owned(), |offset| offset.to_string()),
        ]);
    }
    out.push_str(&table.render());
    term::print(&out)
}

/// Runs `topic alter`.
///
/// # Errors
/// No gateway, no such topic, or it refuses the change.
pub(super) fn alter(args: &AlterArgs) -> Result<(), CliError> {
    block_on(async {
        let mut connection = args.target.connect().await?;
        let set = settings(&args.set)?;
        // To the gateway an empty value is the default.
        let unset = args.unset.iter().map(|key| (key.as_str(), ""));
        let changes: Vec<_> = pairs(&set).into_iter().chain(unset).collect();
        match connection.alter_topic(&args.topic, args.partitions, &changes).await {
            Ok(()) => {
                term::note(&format!("changed topic {}", args.topic));
                Ok(())
            }
            Err(error) => Err(connect::topic_error(&mut connection, &args.topic, error).await),
        }
    })
}

/// Runs `topic delete`.
///
/// # Errors
/// No gateway, or no such topic.
pub(super) fn delete(args: &DeleteArgs) -> Result<(), CliError> {
    block_on(async {
        let mut connection = args.target.connect().await?;
        match connection.delete_topic(&args.topic).await {
            Ok(()) => {
                term::note(&format!("deleted topic {}", args.topic));
                Ok(())
            }
            Err(ClientError::Refused(ErrorCode::UnknownTopic, _)) if args.if_exists => {
                term::note(&format!("there is no topic {}", args.topic));
                Ok(())
            }
            Err(error) => Err(connect::topic_error(&mut connection, &args.topic, error).await),
        }
    })
}

/// The settings as the gateway takes them: times in ms and sizes in bytes, also where people wrote units.
fn settings(set: &[(String, String)]) -> Result<Vec<(String, String)>, CliError> {
    let plain = |key: &str, value: &str| -> Result<String, String> {
        let is_number = value.parse::<i64>().is_ok();
        match key {
            key if key.ends_with(".ms") && !is_number => parse_duration(value).map(|time| time.as_millis().to_string()),
            "retention.bytes" | "max.message.bytes" | "brooklet.reserve" if !is_number => {
                parse_size(value).map(|bytes| bytes.to_string())
            }
            _ => Ok(value.to_owned()),
        }
    };
    let one = |(key, value): &(String, String)| match plain(key, value) {
        Ok(value) => Ok((key.clone(), value)),
        Err(allowed) => Err(CliError::Failed(format!("--set {key}={value}: {allowed}"))),
    };
    set.iter().map(one).collect()
}

fn pairs(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn described_json(topic: &TopicInfo, figures: &TopicFigures) -> String {
    let mut configs = JsonObject::new();
    for (key, value) in &topic.configs {
        configs.text(key, value);
    }
    // The figures as everywhere, and the configuration with them.
    let figures = json::to_string(figures);
    let mut object = JsonObject::new();
    object.raw("topic", &figures).raw("configs", &configs.finish());
    object.finish()
}

/// Who follows a topic, for people.
pub(super) fn followers(topic: &TopicFigures) -> String {
    if topic.followed_by.is_empty() {
        return if topic.internal { "-" } else { "no uplink" }.to_owned();
    }
    let one = |follower: &Follower| match follower.lag_records {
        0 => follower.uplink.clone(),
        lag => format!("{} ({} behind)", follower.uplink, human_count(lag)),
    };
    topic.followed_by.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn counted(partitions: u32) -> String {
    if partitions == 1 { "1 partition".to_owned() } else { format!("{partitions} partitions") }
}

/// RFC 9562's form.
fn uuid(bytes: &[u8; 16]) -> String {
    crate::broker::TopicId(*bytes).to_string()
}
