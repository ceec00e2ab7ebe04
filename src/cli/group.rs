//! `brooklet group …`: list, describe, reset-offsets, delete.
//!
//! Invariant: offsets are moved only while the group has no members. The gateway holds to that too, so a member that
//! joins at the wrong moment is not moved behind its back.

use serde::Serialize;

use super::{
    connect::{self, Target},
    consume::{From, parse_from},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Positional, Spec},
    table::Table,
    term::{self, human_count},
    when,
};
use crate::executor::block_on;
use crate::{
    broker::groups::report::{GroupPartition, GroupReport, GroupSummary},
    client::{ClientError, Connection, PartitionOffsets},
    frame::{ErrorCode, GroupAction, GroupMember, Position},
    json,
    limits::{PARTITIONS_MAX, READER_NAME_BYTES_MAX},
};

const GROUP: &[Positional] = &[Positional { name: "GROUP", required: true, help: "Name of the group" }];

pub(super) static LIST: Spec = Spec {
    name: "group list",
    summary: "List the consumer groups",
    positionals: &[],
    options: &[],
    shared: &[connect::OPTIONS, JSON],
    details: "Kafka's groups and those of `brooklet consume --group` are the same.",
};

pub(super) static DESCRIBE: Spec = Spec {
    name: "group describe",
    summary: "Show a group's members, and how far it has come",
    positionals: GROUP,
    options: &[],
    shared: &[connect::OPTIONS, JSON],
    details: "LAG counts the records from the committed offset to the end, without those that are gone already.",
};

pub(super) static RESET: Spec = Spec {
    name: "group reset-offsets",
    summary: "Move a group to other offsets, while it has no members",
    positionals: GROUP,
    options: &[
        Opt::value("to", "WHERE", "beginning, end, an offset, or a time: 2026-11-21T20:00:00Z, @UNIX_MS, 15m (ago)"),
        Opt::value("shift", "N", "So many records on, or back if negative, from where it is"),
        Opt::value("topic", "TOPIC", "Only this topic (default: all that the group has offsets in)").short('t'),
        Opt::value("partition", "N", "Only this partition of the topic").short('p'),
        Opt::switch("dry-run", "Show what would be done"),
    ],
    shared: &[connect::OPTIONS, JSON],
    details: "An offset outside of what a partition keeps becomes its beginning or its end. A topic that the group has no\n\
              offset in yet must be named.\n\n\
              Example: brooklet group reset-offsets billing --to 2h --dry-run",
};

pub(super) static DELETE: Spec = Spec {
    name: "group delete",
    summary: "Forget a group and its offsets, while it has no members",
    positionals: GROUP,
    options: &[Opt::switch("if-exists", "Succeed if there is no such group")],
    shared: &[connect::OPTIONS],
    details: "",
};

/// Arguments of `group list`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListArgs {
    pub target: Target,
    pub json: bool,
}

/// Arguments of `group describe`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DescribeArgs {
    pub group: String,
    pub target: Target,
    pub json: bool,
}

/// Arguments of `group reset-offsets`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResetArgs {
    pub group: String,
    pub to: To,
    pub topic: Option<String>,
    pub partition: Option<u32>,
    pub dry_run: bool,
    pub target: Target,
    pub json: bool,
}

/// Where a group is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    At(From),
    /// Relative to where it is.
    Shift(i64),
}

/// Arguments of `group delete`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeleteArgs {
    pub group: String,
    pub if_exists: bool,
    pub target: Target,
}

fn group_name(args: &mut Parsed) -> Result<String, CliError> {
    let name = args.positional("GROUP")?;
    if (1..=READER_NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(name);
    }
    Err(args.usage(format!("GROUP: must be 1 to {READER_NAME_BYTES_MAX} bytes")))
}

impl ListArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ListArgs, CliError> {
        Ok(ListArgs { target: Target::parse(args)?, json: args.switch("json") })
    }
}

impl DescribeArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<DescribeArgs, CliError> {
        Ok(DescribeArgs { group: group_name(args)?, target: Target::parse(args)?, json: args.switch("json") })
    }
}

impl ResetArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ResetArgs, CliError> {
        let group = group_name(args)?;
        let at = args.read("to", |text| parse_from(text, when::now_ms()))?;
        let shift = args.read("shift", |text| text.parse::<i64>().map_err(|_| "must be a whole number".to_owned()))?;
        let to = match (at, shift) {
            (Some(at), None) => To::At(at),
            (None, Some(by)) => To::Shift(by),
            _ => return Err(args.usage("give one of --to and --shift")),
        };
        let topic = args.text("topic")?;
        let partition = args.number("partition", 0, PARTITIONS_MAX as u64 - 1)?.map(|partition| partition as u32);
        if partition.is_some() && topic.is_none() {
            return Err(args.usage("--partition needs --topic"));
        }
        let (dry_run, json) = (args.switch("dry-run"), args.switch("json"));
        Ok(ResetArgs { group, to, topic, partition, dry_run, target: Target::parse(args)?, json })
    }
}

impl DeleteArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<DeleteArgs, CliError> {
        Ok(DeleteArgs { group: group_name(args)?, if_exists: args.switch("if-exists"), target: Target::parse(args)? })
    }
}

/// Runs `group list`.
///
/// # Errors
/// No gateway.
pub(super) fn list(args: &ListArgs) -> Result<(), CliError> {
    let json = block_on(async {
        let mut connection = args.target.connect().await?;
        Ok::<_, CliError>(connection.groups(GroupAction::List, "").await?)
    })?;
    if args.json {
        return term::print(&format!("{json}\n"));
    }
    let groups: Vec<GroupSummary> = read(&json)?;
    if groups.is_empty() {
        term::note("no groups; `brooklet consume TOPIC --group NAME` or any Kafka consumer makes one");
        return Ok(());
    }
    let mut table = Table::new(&["GROUP", "STATE", ">MEMBERS", "TYPE"]);
    for group in groups {
        let kind = if group.protocol_type.is_empty() { "-".to_owned() } else { group.protocol_type };
        table.row([group.name, group.state, group.members.to_string(), kind]);
    }
    term::print(&table.render())
}

/// Runs `group describe`.
///
/// # Errors
/// No gateway, or no such group.
pub(super) fn describe(args: &DescribeArgs) -> Result<(), CliError> {
    let json = block_on(async {
        let mut connection = args.target.connect().await?;
        connection.groups(GroupAction::Describe, &args.group).await.map_err(|error| named(&args.group, error))
    })?;
    if args.json {
        return term::print(&format!("{json}\n"));
    }
    let group: GroupReport = read(&json)?;
    let protocol = if group.protocol.is_empty() { "-" } else { &group.protocol };
    let mut out = format!(
        "group       {}\nstate       {}\ngeneration  {}\nassignor    {protocol}\n",
        group.name, group.state, group.generation
    );
    if !group.members.is_empty() {
        let mut table = Table::new(&["MEMBER", "CLIENT", "FROM", "STATIC", ">PARTITIONS"]);
        for member in &group.members {
            let name = member.instance.clone().unwrap_or_else(|| "-".to_owned());
            let (id, client, host) = (member.id.clone(), member.client.clone(), member.host.clone());
            table.row([id, client, host, name, member.partitions.to_string()]);
        }
        out.push_str(&format!("\n{}", table.render()));
    }
    if !group.partitions.is_empty() {
        let mut table = Table::new(&["TOPIC", ">PARTITION", ">COMMITTED", ">END", ">LAG", "MEMBER"]);
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        for partition in &group.partitions {
            table.row([
                partition.topic.clone(),
                partition.partition.to_string(),
                or_none(partition.committed.map(|offset| offset.to_string())),
                partition.end.to_string(),
                or_none(partition.lag.map(human_count)),
                or_none(partition.member.clone()),
            ]);
        }
        out.push_str(&format!("\n{}", table.render()));
    }
    term::print(&out)
}

/// Runs `group delete`.
///
/// # Errors
/// No gateway, no such group, or it has members.
pub(super) fn delete(args: &DeleteArgs) -> Result<(), CliError> {
    block_on(async {
        let mut connection = args.target.connect().await?;
        match connection.groups(GroupAction::Delete, &args.group).await {
            Ok(_) => {
                term::note(&format!("forgot group {}", args.group));
                Ok(())
            }
            Err(ClientError::Refused(ErrorCode::UnknownGroup, _)) if args.if_exists => {
                term::note(&format!("there is no group {}", args.group));
                Ok(())
            }
            Err(error) => Err(named(&args.group, error)),
        }
    })
}

/// A partition's old and new place.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Move {
    topic: String,
    partition: u32,
    from: Option<i64>,
    to: i64,
}

/// Runs `group reset-offsets`.
///
/// # Errors
/// No gateway, no such topic or group, the group has members, or it has no offset to shift.
pub(super) fn reset(args: &ResetArgs) -> Result<(), CliError> {
    let moves = block_on(async {
        let mut connection = args.target.connect().await?;
        let moves = plan(args, &mut connection).await?;
        if !args.dry_run {
            carry_out(args, &mut connection, &moves).await?;
        }
        Ok::<_, CliError>(moves)
    })?;
    if args.json {
        return term::print(&format!("{}\n", json::to_string(&moves)));
    }
    let mut table = Table::new(&["TOPIC", ">PARTITION", ">FROM", ">TO"]);
    for moved in &moves {
        let from = moved.from.map_or("-".to_owned(), |offset| offset.to_string());
        table.row([moved.topic.clone(), moved.partition.to_string(), from, moved.to.to_string()]);
    }
    term::print(&table.render())?;
    if args.dry_run {
        term::note("nothing was changed; leave out --dry-run to do it");
    }
    Ok(())
}

async fn plan(args: &ResetArgs, connection: &mut Connection) -> Result<Vec<Move>, CliError> {
    let group: GroupReport = match connection.groups(GroupAction::Describe, &args.group).await {
        Ok(json) => read(&json)?,
        // It begins with these offsets.
        Err(ClientError::Refused(ErrorCode::UnknownGroup, _)) if args.topic.is_some() => GroupReport::default(),
        Err(error) => return Err(named(&args.group, error)),
    };
    if !group.members.is_empty() {
        let count = group.members.len();
        let text =
            format!("group {} has {count} members; stop them first (`brooklet group describe` shows them)", args.group);
        return Err(CliError::Failed(text));
    }
    let committed = |topic: &str, partition: u32| {
        let is_it = |of: &&GroupPartition| of.topic == topic && of.partition == partition;
        group.partitions.iter().find(is_it).and_then(|of| of.committed)
    };
    let places: Vec<(String, u32)> = match &args.topic {
        None => group.partitions.iter().map(|of| (of.topic.clone(), of.partition)).collect(),
        Some(name) => {
            let topic = match connection.topic(name).await {
                Ok(topic) => topic,
                Err(error) => return Err(connect::topic_error(connection, name, error).await),
            };
            match args.partition {
                Some(partition) => vec![(name.clone(), partition)],
                None => (0..topic.partitions).map(|partition| (name.clone(), partition)).collect(),
            }
        }
    };
    if places.is_empty() {
        return Err(CliError::Failed(format!("group {} has no offsets; name a topic with --topic", args.group)));
    }
    let mut moves = Vec::with_capacity(places.len());
    for (topic, partition) in places {
        let from = committed(&topic, partition);
        let to = target(args.to, from, &topic, partition, connection).await?;
        moves.push(Move { topic, partition, from, to });
    }
    Ok(moves)
}

/// Where a partition is moved: within what it keeps.
async fn target(
    to: To,
    from: Option<i64>,
    topic: &str,
    partition: u32,
    connection: &mut Connection,
) -> Result<i64, CliError> {
    let at = match to {
        To::At(From::Beginning) | To::Shift(_) | To::At(From::Offset(_)) => Position::Beginning,
        To::At(From::End) => Position::End,
        To::At(From::Time(ms)) => Position::Time(ms),
    };
    let offsets = connection.offsets(topic, partition, at).await?;
    let within = |offset: i64, of: &PartitionOffsets| offset.clamp(of.log_start, of.high_watermark.max(of.log_start));
    match (to, from) {
        (To::At(From::Offset(offset)), _) => Ok(within(offset, &offsets)),
        (To::Shift(by), Some(from)) => Ok(within(from.saturating_add(by), &offsets)),
        (To::Shift(_), None) => {
            let text = format!("the group has no offset in partition {partition} of {topic} to shift; use --to there");
            Err(CliError::Failed(text))
        }
        _ => Ok(offsets.offset),
    }
}

async fn carry_out(args: &ResetArgs, connection: &mut Connection, moves: &[Move]) -> Result<(), CliError> {
    let nobody = GroupMember { group: &args.group, member: "", instance: None, generation: -1 };
    for of_topic in moves.chunk_by(|one, other| one.topic == other.topic) {
        let Some(first) = of_topic.first() else { continue };
        let offsets: Vec<(u32, i64)> = of_topic.iter().map(|moved| (moved.partition, moved.to)).collect();
        let moved = connection.commit_offsets(nobody, &first.topic, &offsets).await;
        moved.map_err(|error| named(&args.group, error))?;
    }
    Ok(())
}

fn named(group: &str, error: ClientError) -> CliError {
    match error {
        ClientError::Refused(ErrorCode::UnknownGroup, _) => {
            CliError::Failed(format!("there is no group {group}; `brooklet group list` shows those there are"))
        }
        ClientError::Refused(ErrorCode::GroupInUse | ErrorCode::Rebalancing, _) => {
            CliError::Failed(format!("group {group} has members; stop them first"))
        }
        error => error.into(),
    }
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, CliError> {
    json::from_str(json).map_err(|error| CliError::failed("what the gateway tells about groups can't be read", error))
}
