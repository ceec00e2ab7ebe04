//! The gateways that a cluster upstream has heard of: the newest notice of each, out of the topic that they are sent to.
//!
//! Invariants: asks only, as nobody's member of any group; memory is bounded by [`GATEWAYS_MAX`] notices and one answer; what is no notice is
//! counted, whatever it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::beacon::{Notice, NoticeFault};
use super::exactly::{Committed, READ_BYTES, edge, read};
use super::link::cluster::{Cluster, Link, TopicState};
use super::link::dial::Dialer;
use super::options::UplinkOptions;
use super::upkeep::explain;
use crate::executor::Executor;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::list_offsets::{EARLIEST, LATEST};
use crate::limits::CLIENT_ID_BYTES_MAX;

/// Gateways that are told of; notices of further ones are counted.
const GATEWAYS_MAX: usize = 20_000;
/// The last offsets of each partition that are looked at: a topic that isn't compacted grows.
const TAIL_OFFSETS: i64 = 1_000_000;
/// After so many answers without a record, nothing more comes: a transaction that is open, or what compaction has left.
const EMPTY_MAX: u32 = 3;

/// A gateway by its newest notice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetGateway {
    pub gateway: String,
    pub notice: Notice,
}

/// What there is in the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// By id.
    pub gateways: Vec<FleetGateway>,
    /// Records looked at.
    pub records: u64,
    /// Records that are no notice, and notices of a version that is not known here.
    pub unreadable: u64,
    pub other_versions: u64,
    /// Notices of gateways beyond [`GATEWAYS_MAX`].
    pub beyond: u64,
    /// Older records that were not looked at, at most.
    pub passed_over: u64,
}

/// What is known while it is read: of each gateway the notice, and the partition that it is from.
#[derive(Default)]
struct Found {
    newest: BTreeMap<String, (i32, Notice)>,
    fleet: Fleet,
}

impl Found {
    fn take(&mut self, partition: i32, key: &[u8], value: Option<&[u8]>) {
        self.fleet.records += 1;
        let Some(gateway) = std::str::from_utf8(key).ok().filter(|key| key.len() <= CLIENT_ID_BYTES_MAX) else {
            self.fleet.unreadable += 1;
            return;
        };
        let before = self.newest.get(gateway);
        let Some(value) = value else {
            // Deleted by somebody who knows that it is gone for good.
            self.newest.remove(gateway);
            return;
        };
        match Notice::parse(value) {
            Ok(notice) => {
                // Within a partition the later is the newer, whatever a clock said.
                let is_newer = before.is_none_or(|(at, told)| *at == partition || told.time_ms <= notice.time_ms);
                if before.is_none() && self.newest.len() >= GATEWAYS_MAX {
                    self.fleet.beyond += 1;
                } else if is_newer {
                    self.newest.insert(gateway.to_owned(), (partition, notice));
                }
            }
            Err(NoticeFault::Version) => self.fleet.other_versions += 1,
            Err(NoticeFault::Unreadable) => self.fleet.unreadable += 1,
        }
    }

    fn done(self) -> Fleet {
        let gateway = |(gateway, (_, notice))| FleetGateway { gateway, notice };
        Fleet { gateways: self.newest.into_iter().map(gateway).collect(), ..self.fleet }
    }
}

/// Reads what gateways have told in `topic` of the cluster that `options` lead to.
///
/// # Errors
/// A text that says what stands in the way: no cluster, no such topic, no right to read it.
pub async fn read_fleet(options: &UplinkOptions, topic: &str) -> Result<Fleet, String> {
    let executor = Arc::new(Executor::new());
    executor.run(read_topic(Dialer::new(&executor, options, &Arc::default()), options, topic)).await
}

async fn read_topic(dialer: Dialer, options: &UplinkOptions, topic: &str) -> Result<Fleet, String> {
    let mut cluster = Cluster::new(dialer, options.config.bootstrap.clone());
    cluster.refresh(&[topic.into()]).await.map_err(|error| error.to_string())?;
    let leaders = match cluster.topic(topic) {
        Some(TopicState::Known(leaders)) => leaders.clone(),
        Some(TopicState::Failed(code)) => return Err(format!("topic {topic}: {}", refused(*code))),
        None => return Err(format!("the cluster says nothing about topic {topic}")),
    };
    let mut found = Found::default();
    for (partition, leader) in (0..).zip(leaders) {
        let leader = leader.ok_or_else(|| format!("partition {partition} of {topic} has no leader"))?;
        let link = cluster.link(leader).await.map_err(|error| error.to_string())?;
        read_partition(&link, (topic, partition), &mut found).await?;
    }
    Ok(found.done())
}

/// Why the cluster says nothing of the topic, and what to do: an uplink, which writes to it, is told otherwise.
fn refused(code: i16) -> String {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::UnknownTopicOrPartition) => {
            "it isn't there: no gateway has told anything, or it goes by another name (uplink.NAME.status, --topic)"
                .to_owned()
        }
        Some(ErrorCode::TopicAuthorizationFailed) => "the user needs READ and DESCRIBE on it".to_owned(),
        _ => explain(code, ""),
    }
}

async fn read_partition(link: &Link, source: (&str, i32), found: &mut Found) -> Result<(), String> {
    let told = |error| format!("partition {} of {}: {error}", source.1, source.0);
    let begin = edge(link, source, EARLIEST).await.map_err(told)?;
    let end = edge(link, source, LATEST).await.map_err(told)?;
    let from = begin.max(end.saturating_sub(TAIL_OFFSETS));
    found.fleet.passed_over += from.abs_diff(begin);
    let (mut log, mut empty) = (Committed::from(from), 0);
    while log.next < end && empty < EMPTY_MAX {
        let at = log.next;
        let chunk = read(link, source, at, log, READ_BYTES).await.map_err(told)?;
        for record in chunk.records.iter().filter(|record| !record.aborted) {
            found.take(source.1, &record.key, record.value.as_deref());
        }
        log = chunk.log.unwrap_or_else(|| Committed::from(at));
        empty = if log.next > at { 0 } else { empty + 1 };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_gateway_the_newest_counts_and_what_is_none_is_counted() {
        let told = |time_ms, lost| Notice { time_ms, lost, ..Notice::default() }.to_json().into_bytes();
        let mut found = Found::default();
        found.take(0, b"a", Some(&told(9, 1)));
        found.take(0, b"a", Some(&told(5, 2)));
        found.take(1, b"a", Some(&told(4, 3)));
        found.take(1, b"b", Some(&told(4, 4)));
        found.take(0, b"b", Some(&told(6, 5)));
        found.take(0, b"c", Some(&told(6, 6)));
        found.take(0, b"c", None);
        found.take(0, &[0xff], Some(&told(1, 1)));
        found.take(0, b"d", Some(b"{\"v\":1,\"lost\":[]}"));
        found.take(0, b"d", Some(b"{\"v\":7}"));
        found.take(0, &[b'x'; CLIENT_ID_BYTES_MAX + 1], Some(&told(1, 1)));
        let fleet = found.done();
        let lost: Vec<_> = fleet.gateways.iter().map(|one| (one.gateway.as_str(), one.notice.lost)).collect();
        assert_eq!(lost, [("a", 2), ("b", 5)], "a clock that was set back is believed within a partition");
        assert_eq!((fleet.records, fleet.unreadable, fleet.other_versions, fleet.beyond), (11, 3, 1, 0));
    }

    #[test]
    fn a_topic_that_nobody_wrote_to_is_not_to_be_created() {
        let said = [3, 29, 7].map(refused);
        assert!(said[0].contains("no gateway has told anything") && said[1].contains("READ and DESCRIBE"), "{said:?}");
        assert!(said[2].contains("REQUEST_TIMED_OUT"), "{said:?}");
    }

    #[test]
    fn no_more_gateways_than_its_bound_are_kept() {
        let (mut found, told) = (Found::default(), Notice::default().to_json().into_bytes());
        for at in 0..GATEWAYS_MAX + 3 {
            found.take(0, format!("g{at}").as_bytes(), Some(&told));
        }
        found.take(0, b"g0", Some(&told));
        let fleet = found.done();
        assert_eq!((fleet.gateways.len(), fleet.beyond), (GATEWAYS_MAX, 3));
    }
}
