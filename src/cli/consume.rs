//! `brooklet consume`: records to standard output.

use std::io::{self, BufWriter, Write};

use super::{
    connect::{self, Target},
    error::CliError,
    format::{Format, Printed},
    parse::Parsed,
    produce::topic_name,
    signals,
    spec::{Opt, Positional, Spec},
    term, when,
};
use crate::executor::block_on;
use crate::{
    client::{Address, ClientError, ConsumeOptions, Consumer, OwnedRecord},
    frame::{ErrorCode, Position},
    limits::{PARTITIONS_MAX, READER_NAME_BYTES_MAX},
    shutdown::Shutdown,
};

/// Bytes of output that are gathered before they are written.
const OUTPUT_BYTES: usize = 64 * 1024;

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
        Opt::value("partition", "N", "Only this partition (default: all, their records as they arrive)").short('p'),
        Opt::value("count", "N", "Stop after so many records").short('n'),
        Opt::switch("follow", "Wait for more at the end, in place of stopping").short('f'),
        Opt::value("group", "NAME", "Share the partitions with this group's other members, and go on where it stopped")
            .short('g'),
        Opt::value("instance", "NAME", "In the group, keep this process's share while it restarts (within 10 s)"),
        Opt::value("format", "TEXT", super::format::HELP),
    ],
    shared: &[connect::OPTIONS],
    details: "Reads from the beginning and stops where the topic ended when it began, unless told otherwise. Records of\n\
              one partition come in their order; between partitions there is none. An offset holds for each partition.\n\n\
              With --group the partitions are shared out among all members, of Kafka clients too, and shared out anew when\n\
              one comes or goes. Reading goes on where the group last stopped, and --from holds only for partitions in\n\
              which it has no position yet. Positions are saved after the records were printed: after a crash some may\n\
              come again, none is passed over. A member that prints nothing for 10 s, because its output is blocked, loses\n\
              its share. With --partition as well the group is but a name for positions.\n\n\
              With --follow it connects again when the gateway was gone for a while.\n\n\
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
    pub instance: Option<String>,
    pub format: Format,
}

impl ConsumeArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ConsumeArgs, CliError> {
        let name = |text: &str| {
            let fits = !text.is_empty() && text.len() <= READER_NAME_BYTES_MAX;
            fits.then(|| text.to_owned()).ok_or_else(|| format!("must be 1 to {READER_NAME_BYTES_MAX} bytes"))
        };
        let parsed = ConsumeArgs {
            topic: topic_name(args, "TOPIC")?,
            target: Target::parse(args)?,
            from: args.read("from", |text| parse_from(text, when::now_ms()))?.unwrap_or(From::Beginning),
            partition: args.number("partition", 0, PARTITIONS_MAX as u64 - 1)?.map(|partition| partition as u32),
            count: args.number("count", 0, u64::MAX)?,
            follow: args.switch("follow"),
            group: args.read("group", name)?,
            instance: args.read("instance", name)?,
            format: args.read("format", Format::parse)?.unwrap_or_default(),
        };
        if parsed.instance.is_some() && (parsed.group.is_none() || parsed.partition.is_some()) {
            return Err(args.usage("--instance needs --group, and no --partition"));
        }
        Ok(parsed)
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
///
/// # Errors
/// No gateway, no such topic, records that cannot be read, or standard output that cannot be written.
pub(super) fn run(args: &ConsumeArgs) -> Result<(), CliError> {
    let address = args.target.address()?;
    block_on(consume(args, &address))
}

async fn consume(args: &ConsumeArgs, address: &Address) -> Result<(), CliError> {
    let options = ConsumeOptions {
        partition: args.partition,
        from: match args.from {
            From::Beginning => Position::Beginning,
            From::End => Position::End,
            From::Offset(offset) => Position::Offset(offset),
            From::Time(time) => Position::Time(time),
        },
        follow: args.follow,
        group: args.group.clone(),
        instance: args.instance.clone(),
        ..ConsumeOptions::default()
    };
    let mut consumer = match Consumer::open(address, &args.topic, options).await {
        Ok(consumer) => consumer,
        Err(error @ ClientError::Refused(ErrorCode::UnknownTopic, _)) => {
            let mut connection = connect::connect(address).await?;
            return Err(connect::topic_error(&mut connection, &args.topic, error).await);
        }
        Err(error) => return Err(error.into()),
    };
    let mut out = BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock());
    // A member that is ended by a signal leaves its group; without a group there is nothing to leave.
    let stop = match args.group {
        Some(_) => signals::watch(|| {})?,
        None => Shutdown::default(),
    };
    let outcome = print_records(args, &mut consumer, &mut out, &stop).await;
    // What was printed before the failure has been printed.
    let flushed = out.flush().map_err(term::output_error);
    // A static member's share waits for its next process.
    if args.instance.is_none()
        && let Err(error) = consumer.leave().await
    {
        log::debug!("the group will notice the end of the session: {error}");
    }
    outcome.and(flushed)
}

async fn print_records(
    args: &ConsumeArgs,
    consumer: &mut Consumer,
    out: &mut impl Write,
    stop: &Shutdown,
) -> Result<(), CliError> {
    let wanted = args.count.unwrap_or(u64::MAX);
    let mut left = wanted;
    while left > 0 {
        if !consumer.has_next() {
            // About to wait: what is printed must be seen meanwhile, and is done with.
            settle(consumer, out).await?;
        }
        let Some(next) = stop.unless(consumer.next()).await else { return settle(consumer, out).await };
        let Some(record) = next? else { break };
        print_record(&args.format, &args.topic, &record, out).map_err(term::output_error)?;
        left -= 1;
    }
    settle(consumer, out).await?;
    if left == wanted && wanted > 0 {
        term::note("brooklet consume: no records there");
    }
    Ok(())
}

/// Writes out what was printed, then saves how far the group is: never the other way round.
async fn settle(consumer: &mut Consumer, out: &mut impl Write) -> Result<(), CliError> {
    out.flush().map_err(term::output_error)?;
    match consumer.commit().await {
        // The connection is made again by the next read if following, and the positions are saved then.
        Err(error) if consumer.is_following() && error.is_passing() => Ok(()),
        saved => Ok(saved?),
    }
}

fn print_record(format: &Format, topic: &str, record: &OwnedRecord, out: &mut impl Write) -> io::Result<()> {
    let headers: Vec<_> = record.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
    let printed = Printed {
        topic,
        partition: record.partition,
        offset: record.offset,
        // The gateway sends every record with its time.
        timestamp: record.timestamp.unwrap_or(-1),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    };
    format.write(&printed, out)
}
