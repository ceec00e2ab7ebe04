//! Reads a topic back by the Kafka protocol: what the centre really has, seen as any consumer of committed records sees it.
//!
//! Blocking, one request at a time, on connections that last for one call: a measuring instrument must not share state
//! with what it measures.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::config::HostPort;
use crate::kafka::error_code::{ErrorCode, Shown};
use crate::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use crate::kafka::frame;
use crate::kafka::header::{read_response, write_request};
use crate::kafka::list_offsets::{
    EARLIEST, LATEST, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use crate::kafka::message::Request;
use crate::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use crate::record::{self, Aborted, BatchView, VerifyLimits};

/// Versions that every broker since Kafka 1.0 speaks, and Kafka 4 still does.
const METADATA_VERSION: i16 = 5;
const LIST_OFFSETS_VERSION: i16 = 2;
const FETCH_VERSION: i16 = 5;
/// Largest answer taken, bytes.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes asked for in one fetch.
const FETCH_BYTES: i32 = 1024 * 1024;
/// Records of transactions that were committed, and those without a transaction.
const READ_COMMITTED: i8 = 1;
const TIMEOUT: Duration = Duration::from_secs(10);
const CLIENT_ID: &str = "brooklet-demo";

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) value: Vec<u8>,
}

/// A cluster that is read from.
#[derive(Clone, Debug)]
pub(super) struct Centre {
    bootstrap: HostPort,
}

impl Centre {
    pub(super) fn new(bootstrap: HostPort) -> Centre {
        Centre { bootstrap }
    }

    /// How many records a topic holds; 0 while it doesn't exist.
    ///
    /// # Errors
    /// When the cluster can't be asked.
    pub(super) fn count(&self, topic: &str) -> io::Result<u64> {
        let mut count = 0;
        for (partition, leader) in self.leaders(topic)? {
            let mut broker = Broker::connect(&leader)?;
            let (first, end) = (broker.offset(topic, partition, EARLIEST)?, broker.offset(topic, partition, LATEST)?);
            count += u64::try_from(end - first).unwrap_or(0);
        }
        Ok(count)
    }

    /// Every record of a topic, partition by partition in the order of offsets.
    ///
    /// # Errors
    /// When the cluster can't be asked, or what it holds is no valid batch.
    pub(super) fn read_all(&self, topic: &str) -> io::Result<Vec<Arrival>> {
        let mut arrivals = Vec::new();
        for (partition, leader) in self.leaders(topic)? {
            let mut broker = Broker::connect(&leader)?;
            let mut next = broker.offset(topic, partition, EARLIEST)?;
            let end = broker.offset(topic, partition, LATEST)?;
            while next < end {
                let read_to = broker.fetch(topic, partition, next, &mut arrivals)?;
                if read_to <= next {
                    return Err(invalid(format!("{topic}-{partition} gives nothing from offset {next} on")));
                }
                next = read_to;
            }
        }
        Ok(arrivals)
    }

    /// The broker that leads each partition; empty while the topic doesn't exist.
    fn leaders(&self, topic: &str) -> io::Result<BTreeMap<i32, HostPort>> {
        let wanted = MetadataRequestTopic { name: Some(topic), ..Default::default() };
        let request =
            MetadataRequest { topics: Some(vec![wanted]), allow_auto_topic_creation: false, ..Default::default() };
        let mut broker = Broker::connect(&self.bootstrap)?;
        let answer = broker.ask(METADATA_VERSION, &request)?;
        let (_, metadata) = read_response::<MetadataResponse<'_>>(METADATA_VERSION, &answer).map_err(invalid)?;
        let address = |node| {
            let broker = metadata.brokers.iter().find(|broker| broker.node_id == node)?;
            // The only broker there is, is the one that has answered, whatever it calls itself.
            let only = metadata.brokers.len() == 1;
            let named = HostPort { host: broker.host.to_owned(), port: u16::try_from(broker.port).ok()? };
            Some(if only { self.bootstrap.clone() } else { named })
        };
        let Some(found) = metadata.topics.iter().find(|found| found.name == Some(topic)) else {
            return Ok(BTreeMap::new());
        };
        if found.error_code == ErrorCode::UnknownTopicOrPartition.code() {
            return Ok(BTreeMap::new());
        }
        check("Metadata", found.error_code)?;
        let leader = |partition: &crate::kafka::metadata::MetadataResponsePartition| {
            let leader = address(partition.leader_id)
                .ok_or_else(|| invalid(format!("{topic}-{} has no leader", partition.partition_index)));
            Ok((partition.partition_index, leader?))
        };
        found.partitions.iter().map(leader).collect()
    }
}

/// One connection.
struct Broker {
    stream: TcpStream,
}

impl Broker {
    fn connect(address: &HostPort) -> io::Result<Broker> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for candidate in (address.host.as_str(), address.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&candidate, TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(TIMEOUT))?;
                    stream.set_write_timeout(Some(TIMEOUT))?;
                    return Ok(Broker { stream });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sends a request and returns the frame that answers it.
    fn ask<'a, M: Request<'a>>(&mut self, version: i16, request: &M) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        write_request(&mut out, version, 1, Some(CLIENT_ID), request).map_err(invalid)?;
        self.stream.write_all(&out)?;
        let mut prefix = [0; frame::SIZE_BYTES];
        self.stream.read_exact(&mut prefix)?;
        let size = frame::size(prefix, ANSWER_BYTES_MAX).map_err(invalid)?;
        let mut answer = Vec::new();
        (&self.stream).take(size as u64).read_to_end(&mut answer)?;
        if answer.len() == size { Ok(answer) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn offset(&mut self, topic: &str, partition_index: i32, timestamp: i64) -> io::Result<i64> {
        let partition = ListOffsetsPartition { partition_index, timestamp, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: topic, partitions: vec![partition] }];
        let answer = self.ask(LIST_OFFSETS_VERSION, &ListOffsetsRequest { topics, ..Default::default() })?;
        let (_, offsets) = read_response::<ListOffsetsResponse<'_>>(LIST_OFFSETS_VERSION, &answer).map_err(invalid)?;
        let found = offsets.topics.iter().flat_map(|topic| &topic.partitions).next();
        let found = found.ok_or_else(|| invalid("ListOffsets answers nothing"))?;
        check("ListOffsets", found.error_code)?;
        Ok(found.offset)
    }

    /// Reads from `next` on, and returns where to read on.
    fn fetch(&mut self, topic: &str, partition: i32, next: i64, arrivals: &mut Vec<Arrival>) -> io::Result<i64> {
        let wanted =
            FetchPartition { partition, fetch_offset: next, partition_max_bytes: FETCH_BYTES, ..Default::default() };
        let request = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            isolation_level: READ_COMMITTED,
            topics: vec![FetchTopic { topic, partitions: vec![wanted] }],
            ..Default::default()
        };
        let answer = self.ask(FETCH_VERSION, &request)?;
        let (_, fetched) = read_response::<FetchResponse<'_>>(FETCH_VERSION, &answer).map_err(invalid)?;
        let Some(data) = fetched.responses.iter().flat_map(|topic| &topic.partitions).next() else { return Ok(next) };
        check("Fetch", data.error_code)?;
        let mut aborted = Aborted::default();
        for transaction in data.aborted_transactions.iter().flatten() {
            aborted.note(transaction.producer_id, transaction.first_offset);
        }
        let mut rest = data.records.unwrap_or_default().bytes();
        let mut read_to = next;
        // The last batch may be cut off; it comes whole with the next fetch.
        while let Ok((view, after)) = BatchView::parse(rest) {
            if aborted.counts(&view) {
                take_batch(&view, partition, next, arrivals)?;
            }
            read_to = read_to.max(view.next_offset());
            rest = after;
        }
        Ok(read_to)
    }
}

fn take_batch(view: &BatchView<'_>, partition: i32, from: i64, arrivals: &mut Vec<Arrival>) -> io::Result<()> {
    if !view.crc_matches() {
        return Err(invalid(format!("the batch at offset {} has a wrong checksum", view.base_offset())));
    }
    let payload = record::decompress(view, &VerifyLimits::default()).map_err(invalid)?;
    for record in record::records(view, &payload) {
        let record = record.map_err(invalid)?;
        // A fetch from the middle of a batch gives the whole batch.
        if record.offset >= from {
            let value = record.value.unwrap_or_default().to_vec();
            arrivals.push(Arrival { partition, offset: record.offset, value });
        }
    }
    Ok(())
}

fn check(api: &str, code: i16) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::other(format!("{api}: {}", Shown(code)))) }
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
