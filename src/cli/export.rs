//! `brooklet export DIR --topic T`: records out of a data directory, without a gateway.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    sync::Arc,
};

use super::{
    connect::no_such_topic,
    consume::{From, parse_from},
    error::CliError,
    format::{self, Format, Printed},
    fsck::{not_opened, store_dir},
    parse::Parsed,
    produce::check_topic_name,
    spec::{Opt, Positional, Spec},
    term, when,
};
use crate::{
    broker::{Defaults, Topic, stored_topics},
    limits::{BATCH_BYTES_MAX, BATCH_DECOMPRESSED_BYTES_MAX, PARTITIONS_MAX},
    record::{BatchError, BatchView, VerifyLimits, decompress, records},
    store::{PartitionId, ReadError, Reader, Space, disk::RealDisk},
};

/// Bytes of batches that are read at a time, and of output that is written at a time.
const READ_BYTES: usize = 1024 * 1024;
const OUTPUT_BYTES: usize = 64 * 1024;

pub(super) static SPEC: Spec = Spec {
    name: "export",
    summary: "Print a topic's records out of a data directory, without a gateway",
    positionals: &[Positional {
        name: "DIR",
        required: true,
        help: "Data directory of a gateway that does not run, or the store in it",
    }],
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
    details: "Changes nothing. Partitions come one after the other. Damaged batches are named on standard error and left\n\
              out; the exit code is then 1.",
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
///
/// # Errors
/// A gateway runs on the directory, there is no such topic, or something is damaged.
pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    let dir = store_dir(&args.dir)?;
    let reader = Reader::open(&dir, Arc::new(RealDisk::new())).map_err(|error| not_opened(&args.dir, error))?;
    let topics = stored_topics(&reader.entries(Space::Topic, &[]), &Defaults::default()).map_err(CliError::Failed)?;
    let Some(topic) = topics.iter().find(|topic| topic.name == args.topic) else {
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        return Err(CliError::Failed(no_such_topic(&args.topic, &names)));
    };
    let count = topic.partition_count();
    let partitions = match args.partition {
        None => 0..count,
        Some(partition) if partition < count => partition..partition + 1,
        Some(partition) => {
            let why = format!("topic {} has {count} partitions, from 0; there is no {partition}", topic.name);
            return Err(CliError::Failed(why));
        }
    };
    let out = BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock());
    let mut export = Export { args, reader: &reader, out, left: args.count.unwrap_or(u64::MAX), damaged: 0 };
    for index in partitions {
        export.partition(topic, index)?;
    }
    export.out.flush().map_err(term::output_error)?;
    match export.damaged {
        0 => Ok(()),
        damaged => Err(CliError::Failed(format!("{damaged} damaged places were left out"))),
    }
}

struct Export<'a, W> {
    args: &'a ExportArgs,
    reader: &'a Reader,
    out: W,
    /// Records that are wanted still.
    left: u64,
    damaged: u64,
}

impl<W: Write> Export<'_, W> {
    fn partition(&mut self, topic: &Topic, index: u32) -> Result<(), CliError> {
        let Some(id) = topic.partition(index as i32) else { return Ok(()) };
        let Some(head) = self.reader.head(id) else { return Ok(()) };
        let end = head.readable_end();
        let mut offset = match self.args.from {
            From::Beginning => head.log_start,
            From::End => end,
            From::Offset(offset) => offset.max(head.log_start),
            From::Time(time) => match self.reader.offset_for_time(id, time) {
                Ok(found) => found.map_or(end, |(offset, _)| offset),
                Err(error) => return Err(CliError::failed(format!("{} partition {index}", topic.name), error)),
            },
        };
        while self.left > 0 && offset < end {
            offset = match self.reader.read(id, offset, READ_BYTES) {
                Ok(read) => {
                    self.batches(topic, index, &read.bytes, offset)?;
                    read.next_offset.max(offset + 1)
                }
                Err(ReadError::Damaged(what)) => {
                    self.damage(topic, index, offset, &what);
                    match self.behind(id, offset) {
                        Some(behind) => behind,
                        None => break,
                    }
                }
                Err(error) => return Err(CliError::failed(format!("{} partition {index}", topic.name), error)),
            };
        }
        Ok(())
    }

    /// Prints the records of `batches` from `offset` on.
    fn batches(&mut self, topic: &Topic, index: u32, batches: &[u8], offset: i64) -> Result<(), CliError> {
        let mut rest = batches;
        while !rest.is_empty() {
            let Ok((batch, behind)) = BatchView::parse(rest) else {
                self.damage(topic, index, offset, "what was read is no batch");
                return Ok(());
            };
            if let Printing::Damaged(error) = self.batch(topic, index, &batch, offset)? {
                self.damage(topic, index, batch.base_offset(), &error.to_string());
            }
            rest = behind;
        }
        Ok(())
    }

    fn batch(&mut self, topic: &Topic, index: u32, batch: &BatchView<'_>, offset: i64) -> Result<Printing, CliError> {
        if batch.attributes().is_control() {
            return Ok(Printing::Done);
        }
        let payload = match decompress(batch, &LIMITS) {
            Ok(payload) => payload,
            Err(error) => return Ok(Printing::Damaged(error)),
        };
        for record in records(batch, &payload) {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Ok(Printing::Damaged(error)),
            };
            if record.offset < offset {
                continue;
            }
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            let headers: Vec<_> = record.headers.collect();
            let printed = Printed {
                topic: &topic.name,
                partition: index,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: &headers,
            };
            self.args.format.write(&printed, &mut self.out).map_err(term::output_error)?;
        }
        Ok(Printing::Done)
    }

    fn damage(&mut self, topic: &Topic, index: u32, offset: i64, what: &str) {
        self.damaged += 1;
        term::note(&format!("brooklet export: {} partition {index} at offset {offset}: {what}", topic.name));
    }

    /// Where to read on behind what is damaged.
    fn behind(&self, id: PartitionId, offset: i64) -> Option<i64> {
        self.reader.next_batch(id, offset).ok().flatten().filter(|behind| *behind > offset)
    }
}

/// What became of a batch.
enum Printing {
    Done,
    Damaged(BatchError),
}

/// What was stored has been verified; these bounds are for what a disk may have done to it.
const LIMITS: VerifyLimits = VerifyLimits {
    batch_bytes_max: BATCH_BYTES_MAX,
    decompressed_bytes_max: BATCH_DECOMPRESSED_BYTES_MAX,
    ratio_max: crate::limits::DECOMPRESSION_RATIO_MAX,
    control_allowed: true,
};
