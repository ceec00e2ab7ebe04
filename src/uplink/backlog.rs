//! What waits to be forwarded, how fast it goes, and when it will be through, or fill the store. For the status only.
//!
//! Rates are means over the last minute, from samples that whoever looks or works leaves here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::status::PartitionStatus;
use crate::broker::{Broker, Topic};
use crate::record::BatchView;
use crate::store::PartitionId;

/// Rates are means over about that time.
const WINDOW: Duration = Duration::from_secs(60);
/// Samples are that far apart at least.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// Batches read for one status, to learn how old the first record is that waits.
const READS_MAX: usize = 32;

/// What waits in all followed partitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Backlog {
    pub(super) partitions: Vec<PartitionStatus>,
    pub(super) records: u64,
    /// As they lie in the store.
    pub(super) bytes: u64,
    /// Timestamp of the first record that waits, Unix ms.
    pub(super) oldest_ms: Option<i64>,
    /// Records ever committed in these partitions.
    pub(super) committed: u64,
    /// Bytes of a record in the store, mean.
    pub(super) record_bytes: f64,
}

/// Timestamps of the records that positions stand at: they are read once.
#[derive(Debug, Default)]
pub(super) struct Ages(BTreeMap<PartitionId, (i64, i64)>);

impl Backlog {
    /// Looks at the partitions of `topics` that the follower `name` follows. May read a few batches.
    pub(super) fn look(broker: &Broker, name: &str, topics: &[Arc<Topic>], ages: &mut Ages) -> Self {
        let mut backlog = Self::default();
        let (mut kept_bytes, mut kept_records, mut reads) = (0_u64, 0_u64, 0);
        let mut waiting = BTreeMap::new();
        for topic in topics {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let Ok(head) = broker.head(*partition) else { continue };
                let position = broker.position(name, *partition);
                let missing = position.missing_in(head.log_start..head.readable_end());
                let lag_records = missing.iter().map(|range| range.end.abs_diff(range.start)).sum();
                let kept = head.readable_end().abs_diff(head.log_start);
                let bytes = broker.store().partition_bytes(*partition).unwrap_or(0);
                backlog.records += lag_records;
                backlog.bytes += share(bytes, lag_records, kept);
                backlog.committed += head.readable_end().unsigned_abs();
                kept_bytes += bytes;
                kept_records += kept;
                if let Some(first) = missing.first() {
                    let known = ages.0.get(partition).copied().filter(|(at, _)| *at == first.start);
                    let known = known.or_else(|| {
                        reads += 1;
                        let age = (reads <= READS_MAX).then(|| first_timestamp(broker, *partition, first.start));
                        age.flatten().map(|ms| (first.start, ms))
                    });
                    if let Some(known) = known {
                        waiting.insert(*partition, known);
                    }
                }
                backlog.partitions.push(PartitionStatus {
                    topic: topic.name.clone(),
                    partition: index as u32,
                    position: position.first_gap(),
                    end: head.readable_end(),
                    lag_records,
                });
            }
        }
        backlog.oldest_ms = waiting.values().map(|(_, ms)| *ms).min();
        backlog.record_bytes = kept_bytes as f64 / kept_records.max(1) as f64;
        ages.0 = waiting;
        backlog
    }
}

/// `part` of `whole` records' bytes, in proportion.
fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    let bytes = u128::from(bytes) * u128::from(part.min(whole)) / u128::from(whole.max(1));
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The earliest timestamp of the batch that holds `offset`.
fn first_timestamp(broker: &Broker, partition: PartitionId, offset: i64) -> Option<i64> {
    let store = broker.store();
    let read = store.read_tail(partition, offset, 1).unwrap_or_else(|| store.read(partition, offset, 1)).ok()?;
    let (view, _) = BatchView::parse(&read.bytes).ok()?;
    Some(view.base_timestamp())
}

/// Records committed and forwarded, and bytes forwarded, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) ms: u64,
    pub(super) committed: u64,
    pub(super) forwarded: u64,
    pub(super) forwarded_bytes: u64,
}

/// Samples of the last minute, and one before.
#[derive(Debug, Default)]
pub(super) struct Rates(VecDeque<Sample>);

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PerSecond {
    pub(super) committed: f64,
    pub(super) forwarded: f64,
    pub(super) forwarded_bytes: f64,
}

impl Rates {
    /// Takes a sample and gives the rates up to it.
    pub(super) fn up_to(&mut self, now: Sample) -> PerSecond {
        let window = ms(WINDOW);
        // The newest sample that is at least a window old stays, as the base.
        while self.0.get(1).is_some_and(|second| now.ms.saturating_sub(second.ms) >= window) {
            self.0.pop_front();
        }
        let base = self.0.front().copied().unwrap_or(now);
        if self.0.back().is_none_or(|last| now.ms.saturating_sub(last.ms) >= ms(SAMPLE_EVERY)) {
            self.0.push_back(now);
        }
        let seconds = now.ms.saturating_sub(base.ms) as f64 / 1_000.0;
        if seconds < 1.0 {
            return PerSecond::default();
        }
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        PerSecond {
            committed: per_second(now.committed, base.committed),
            forwarded: per_second(now.forwarded, base.forwarded),
            forwarded_bytes: per_second(now.forwarded_bytes, base.forwarded_bytes),
        }
    }
}

/// In how many seconds the backlog is forwarded; `None`: not at these rates.
pub(super) fn drain_s(records: u64, rate: PerSecond) -> Option<u64> {
    let gain = rate.forwarded - rate.committed;
    if records == 0 {
        return Some(0);
    }
    (gain > 0.0 && rate.forwarded > 0.0).then(|| (records as f64 / gain).ceil() as u64)
}

/// In how many seconds the backlog fills `room` bytes; `None`: not at these rates.
pub(super) fn full_s(room: u64, record_bytes: f64, rate: PerSecond) -> Option<u64> {
    let growth = (rate.committed - rate.forwarded) * record_bytes;
    (growth > 0.0).then(|| (room as f64 / growth) as u64)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_minute_and_decay_when_nothing_happens() {
        let mut rates = Rates::default();
        let at = |seconds: u64, n: u64| Sample {
            ms: seconds * 1_000,
            committed: 2 * n,
            forwarded: n,
            forwarded_bytes: 100 * n,
        };
        assert_eq!(rates.up_to(at(0, 0)), PerSecond::default());
        for second in 1..=200 {
            rates.up_to(at(second, second * 10));
        }
        let rate = rates.up_to(at(200, 2_000));
        assert_eq!(rate, PerSecond { committed: 20.0, forwarded: 10.0, forwarded_bytes: 1_000.0 });
        assert!(rates.0.len() < 40);
        let idle = rates.up_to(at(320, 2_000));
        assert!(idle.forwarded < 1.0, "{idle:?}");
    }

    #[test]
    fn times_are_told_only_where_there_is_an_end() {
        let rate = |committed: f64, forwarded: f64| PerSecond { committed, forwarded, forwarded_bytes: 0.0 };
        assert_eq!(drain_s(0, rate(5.0, 0.0)), Some(0));
        assert_eq!(drain_s(1_000, rate(10.0, 20.0)), Some(100));
        assert_eq!(drain_s(1_000, rate(10.0, 10.0)), None);
        assert_eq!(full_s(1_000_000, 100.0, rate(10.0, 0.0)), Some(1_000));
        assert_eq!(full_s(1_000_000, 100.0, rate(10.0, 11.0)), None);
    }

    #[test]
    fn bytes_are_shared_out_in_proportion() {
        assert_eq!((share(1_000, 1, 4), share(7, 9, 3), share(5, 0, 0)), (250, 7, 0));
    }
}
