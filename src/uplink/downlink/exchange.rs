//! One question to one broker, and what came of it laid into the store.
//!
//! Invariant: what is told as taken is committed, with the position behind it; on any doubt the positions are looked up
//! again before anything more is asked for.

use crate::executor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::link::cluster::Link;
use super::course::{Offsets, Outcome, Wanted};
use super::digest::{self, Digested, Fault, Piece, Rules, digest};
use super::leg::Source;
use super::status::Report;
use crate::broker::{Broker, Intake, UpstreamPosition};
use crate::kafka::api::ApiKey;
use crate::kafka::error_code::Shown;
use crate::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use crate::kafka::header::read_response;
use crate::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic};

/// Only what is committed.
const READ_COMMITTED: i8 = 1;
/// Bytes of batches in one commit; one larger batch goes alone.
const INTAKE_BYTES: usize = 256 * 1024;
/// The longest a broker's wish to be left alone is granted.
const THROTTLE_MAX: Duration = Duration::from_secs(60);

/// What exchanges need besides the connection.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) broker: Broker,
    /// The downlink's name.
    pub(super) name: Arc<str>,
    /// The gateway's id.
    pub(super) gateway: Arc<str>,
    pub(super) report: Arc<Report>,
    /// Bytes asked for at a time.
    pub(super) bytes_max: usize,
}

/// What came of an answer to a fetch.
pub(super) struct Fetched {
    /// How long the broker wants to be left alone.
    pub(super) throttle: Duration,
    /// What came of each partition.
    pub(super) outcomes: Vec<(Source, Outcome)>,
    /// Bytes of the answer.
    pub(super) bytes: usize,
}

/// What is kept of a partition's answer.
enum Answered {
    Refused(i16),
    Diverged(i64),
    Digested { digested: Digested, end: i64 },
}

impl Exchange {
    /// Asks `link` for batches, and stores what comes.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn fetch(&self, link: &Link, wanted: Vec<Wanted>, wait: Duration) -> Result<Fetched, String> {
        let version = link.versions.pick(ApiKey::Fetch).map_err(|error| error.to_string())?;
        let request = self.request(&wanted, wait);
        let reply = link.connection.send(version, &request).map_err(|error| error.to_string())?;
        drop(request);
        let frame = reply.frame().await.map_err(|error| error.to_string())?;
        let bytes = frame.len();
        let rules: Vec<Rules> = wanted.iter().map(|wanted| self.rules(wanted)).collect();
        let peer = link.connection.peer().to_owned();
        // Unpacking takes its time: not where sockets wait.
        let (throttle, answers, wanted) = executor::unblock(move || {
            let (throttle, answers) = read_fetch(version, &frame, &wanted, &rules)
                .map_err(|why| format!("{peer}: the answer to Fetch is not one: {why}"))?;
            Ok::<_, String>((throttle, answers, wanted))
        })
        .await?;
        Ok(Fetched { throttle, outcomes: self.store(&wanted, answers).await, bytes })
    }

    fn request<'a>(&self, wanted: &'a [Wanted], wait: Duration) -> FetchRequest<'a> {
        let bytes_max = i32::try_from(self.bytes_max).unwrap_or(i32::MAX);
        let mut topics: Vec<FetchTopic<'a>> = Vec::new();
        for one in wanted {
            let partition = FetchPartition {
                partition: one.source.1,
                fetch_offset: one.at.next_offset,
                last_fetched_epoch: one.at.leader_epoch,
                partition_max_bytes: bytes_max,
                ..Default::default()
            };
            match topics.last_mut().filter(|topic| *topic.topic == *one.source.0) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(FetchTopic { topic: &one.source.0, partitions: vec![partition] }),
            }
        }
        FetchRequest {
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: bytes_max,
            isolation_level: READ_COMMITTED,
            topics,
            ..Default::default()
        }
    }

    fn rules(&self, wanted: &Wanted) -> Rules {
        let topic = self.broker.topic_of(wanted.local).map(|(topic, _)| topic);
        Rules {
            gateway: self.gateway.to_string(),
            batch_bytes_max: topic.as_ref().map_or(crate::limits::BATCH_BYTES_DEFAULT, |t| t.config.max_message_bytes),
            codec: topic.and_then(|topic| topic.config.compression),
        }
    }

    /// Stores what was brought, a few commits at most, and tells what came of each partition.
    async fn store(&self, wanted: &[Wanted], answers: Vec<Option<Answered>>) -> Vec<(Source, Outcome)> {
        let mut told: Vec<(Source, Outcome)> = Vec::new();
        let mut loads: Vec<Load> = Vec::new();
        let mut ends: BTreeMap<usize, (i64, UpstreamPosition, Option<Fault>)> = BTreeMap::new();
        for (at, (one, answer)) in wanted.iter().zip(answers).enumerate() {
            let tell = |outcome| (one.source.clone(), outcome);
            match answer {
                None => told.push(tell(Outcome::Fault("the answer leaves the partition out".to_owned()))),
                Some(Answered::Refused(code)) => told.push(tell(Outcome::Refused(code))),
                Some(Answered::Diverged(end)) => told.push(tell(Outcome::Diverged(end))),
                Some(Answered::Digested { digested, end }) => {
                    self.report.left_out(digested.aborted, digested.looped);
                    let last = one.moved(digested.next_offset, digested.leader_epoch);
                    ends.insert(at, (end, last, digested.fault));
                    loads.extend(Load::pack(at, one, digested.pieces));
                }
            }
        }
        let (stored, failed) = self.store_loads(wanted, loads).await;
        for (at, (end, last, fault)) in ends {
            let Some(one) = wanted.get(at) else { continue };
            let mut tell = |outcome| told.push((one.source.clone(), outcome));
            if let Some(why) = failed.get(&at) {
                // What was stored before that is found when the position is looked up.
                tell(Outcome::Stale(why.clone()));
                continue;
            }
            // Behind the last batch may come what holds nothing to store.
            if let Some(to) = stored.get(&at) {
                tell(Outcome::Took { to: *to, stored: true, end });
            }
            if stored.get(&at) != Some(&last) && (fault.is_none() || last != one.at) {
                tell(Outcome::Took { to: last, stored: false, end });
            }
            if let Some(Fault { why, behind }) = fault {
                let skip = behind.map_or(String::new(), |to| {
                    let ((topic, partition), name) = (&one.source, &self.name);
                    format!(
                        "; `brooklet downlink skip {name} {topic} --partition {partition} --to {to}` passes over it"
                    )
                });
                tell(Outcome::Fault(format!("{why}{skip}")));
            }
        }
        told
    }

    /// Commits loads, several partitions at once. By place in `wanted`: where it has come to, or why not.
    async fn store_loads(
        &self,
        wanted: &[Wanted],
        loads: Vec<Load>,
    ) -> (BTreeMap<usize, UpstreamPosition>, BTreeMap<usize, String>) {
        let (mut stored, mut failed): (BTreeMap<usize, UpstreamPosition>, BTreeMap<usize, String>) = Default::default();
        let mut rest = loads.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut bytes, mut intakes, mut places) = (0, Vec::new(), BTreeSet::new());
            let mut records = 0;
            while let Some(load) = rest
                .next_if(|load| places.is_empty() || bytes + load.bytes <= INTAKE_BYTES && !places.contains(&load.at))
            {
                let Some(one) = wanted.get(load.at).filter(|_| !failed.contains_key(&load.at)) else { continue };
                bytes += load.bytes;
                records += load.records;
                places.insert(load.at);
                intakes.push(Intake {
                    upstream: (one.source.0.to_string(), one.source.1),
                    from: stored.get(&load.at).copied().or(one.known),
                    to: load.to,
                    partition: one.local,
                    batches: load.batches,
                });
            }
            if intakes.is_empty() {
                continue;
            }
            let tos: Vec<UpstreamPosition> = intakes.iter().map(|intake| intake.to).collect();
            match self.broker.take_in(&self.name, intakes, None).await {
                Ok(()) => {
                    self.report.brought(records, bytes as u64);
                    stored.extend(places.into_iter().zip(tos));
                }
                Err(error) => failed.extend(places.into_iter().map(|at| (at, format!("not stored: {error}")))),
            }
        }
        (stored, failed)
    }

    /// Asks `link` for offsets by time; −1 is none.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn list(&self, link: &Link, wanted: &[(Source, i64)]) -> Result<Offsets, String> {
        let mut topics: Vec<ListOffsetsTopic<'_>> = Vec::new();
        for ((topic, index), timestamp) in wanted {
            let partition =
                ListOffsetsPartition { partition_index: *index, timestamp: *timestamp, ..Default::default() };
            match topics.last_mut().filter(|before| *before.name == **topic) {
                Some(before) => before.partitions.push(partition),
                None => topics.push(ListOffsetsTopic { name: topic, partitions: vec![partition] }),
            }
        }
        let request = ListOffsetsRequest { isolation_level: READ_COMMITTED, topics, ..Default::default() };
        let told = link.ask(&request, |version, frame| {
            let (_, response) = read_response::<ListOffsetsResponse<'_>>(version, frame)?;
            let find = |(source, _): &(Source, i64)| {
                let topic = response.topics.iter().find(|topic| *topic.name == *source.0)?;
                let found = topic.partitions.iter().find(|partition| partition.partition_index == source.1)?;
                let offset = if found.error_code == 0 { Ok(found.offset) } else { Err(found.error_code) };
                Some((source.clone(), offset))
            };
            Ok(wanted.iter().filter_map(find).collect())
        });
        told.await.map_err(|error| error.to_string())
    }
}

impl Wanted {
    /// Its position at another offset.
    fn moved(&self, next_offset: i64, leader_epoch: i32) -> UpstreamPosition {
        UpstreamPosition { topic_id: self.at.topic_id, next_offset, leader_epoch }
    }
}

/// Batches of one partition for one commit.
struct Load {
    /// Place in what was wanted.
    at: usize,
    batches: Vec<Vec<u8>>,
    bytes: usize,
    records: u64,
    to: UpstreamPosition,
}

impl Load {
    /// Packs what was brought into loads that a commit takes.
    fn pack(at: usize, wanted: &Wanted, pieces: Vec<Piece>) -> Vec<Load> {
        let mut loads: Vec<Load> = Vec::new();
        for piece in pieces {
            let bytes: usize = piece.batches.iter().map(Vec::len).sum();
            let to = wanted.moved(piece.next_offset, piece.leader_epoch);
            match loads.last_mut().filter(|load| load.bytes + bytes <= INTAKE_BYTES) {
                Some(load) => {
                    load.batches.extend(piece.batches);
                    (load.bytes, load.records, load.to) = (load.bytes + bytes, load.records + piece.records, to);
                }
                None => loads.push(Load { at, batches: piece.batches, bytes, records: piece.records, to }),
            }
        }
        loads
    }
}

/// What a Fetch response says of each partition that was asked for; `None` for those it leaves out.
fn read_fetch(
    version: i16,
    frame: &[u8],
    wanted: &[Wanted],
    rules: &[Rules],
) -> Result<(Duration, Vec<Option<Answered>>), String> {
    let (_, response) = read_response::<FetchResponse<'_>>(version, frame).map_err(|error| error.to_string())?;
    if response.error_code != 0 {
        return Err(Shown(response.error_code).to_string());
    }
    let throttle = Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or(0)).min(THROTTLE_MAX);
    let answers = wanted.iter().zip(rules).map(|(one, rules)| {
        let topic = response.responses.iter().find(|topic| *topic.topic == *one.source.0)?;
        let data = topic.partitions.iter().find(|partition| partition.partition_index == one.source.1)?;
        Some(read_partition(data, one, rules))
    });
    Ok((throttle, answers.collect()))
}

fn read_partition(data: &PartitionData<'_>, wanted: &Wanted, rules: &Rules) -> Answered {
    if data.error_code != 0 {
        return Answered::Refused(data.error_code);
    }
    if data.diverging_epoch.end_offset >= 0 {
        return Answered::Diverged(data.diverging_epoch.end_offset);
    }
    let listed = data.aborted_transactions.iter().flatten();
    let aborted: Vec<(i64, i64)> = listed.map(|one| (one.producer_id, one.first_offset)).collect();
    let stable_end = (data.last_stable_offset >= 0).then_some(data.last_stable_offset);
    let fetched = digest::Fetched { batches: data.records.unwrap_or_default().bytes(), aborted: &aborted, stable_end };
    let digested = digest(fetched, wanted.at.next_offset, wanted.at.leader_epoch, rules);
    Answered::Digested { digested, end: data.high_watermark }
}
