//! The internal topic that tells of every loss, as JSON records: an uplink forwards it where it is named.
//!
//! Each loss of a commit becomes one record in the same commit, so it is told exactly once; the first one creates the
//! topic. Losses of that topic itself are told by the ledger only, or it would feed itself. A commit tells at most
//! [`TOLD_BYTES_MAX`]; what is beyond is summed up in one record a reason.
//!
//! A record (key: the gateway's id): `v` (1), `gateway`, `time_ms` of the loss, `topic`, `topic_id`, `partition`,
//! `first_offset`, `last_offset`, `records`, `bytes`, `appended_from_ms` and `appended_to_ms` (bounds of when they were
//! appended, by the gateway's clock), `reason`, and `lost_to`: by uplink, how many of the records it had not forwarded. A
//! sum has `topic` null and `partitions`. With the reasons `dead-lettered` and `skipped` the records are still there: only
//! the uplinks in `lost_to` go on without them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::call::call;
use super::error::CommitError;
use super::topic::Topic;
use super::{Broker, Shared, admin};
use crate::json::JsonObject;
use crate::limits::LOSSES_TOPIC;
use crate::metrics::METRICS;
use crate::store::{CommitObserver, Committed, Draft, LossEntry, LossReason, LossSink, PartitionId};

/// Most bytes of records that one commit adds.
const TOLD_BYTES_MAX: usize = 48 * 1_024;

/// Tells of losses in the commit that makes them.
pub(super) struct Teller {
    shared: Weak<Shared>,
    /// Made in the open commit; published once that is durable.
    created: Mutex<Option<Arc<Topic>>>,
}

impl Teller {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared), created: Mutex::default() }
    }
}

impl LossSink for Teller {
    fn tell(&self, draft: &mut Draft<'_>, losses: &[LossEntry]) {
        let Some(shared) = self.shared.upgrade() else { return };
        count(losses);
        let own = shared.catalog.by_name(LOSSES_TOPIC);
        let is_own = |partition: PartitionId| own.as_ref().is_some_and(|own| own.partitions.contains(&partition));
        let told = told(&shared, losses.iter().filter(|loss| !is_own(loss.partition)), draft.now().wall_ms);
        if told.is_empty() {
            return;
        }
        let topic = match own.or_else(|| self.created.lock().unwrap_or_else(PoisonError::into_inner).clone()) {
            Some(topic) => topic,
            None => match admin::internal_topic(draft, &shared, LOSSES_TOPIC) {
                Ok(topic) => {
                    *self.created.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&topic));
                    topic
                }
                Err(error) => return log::warn!("creating {LOSSES_TOPIC}: {error}"),
            },
        };
        let Some(partition) = topic.partition(0) else { return };
        for record in told {
            let options = shared.options();
            let key = options.gateway_id.as_bytes();
            // What finds no room here is in the ledger all the same.
            let _in_the_ledger = draft.append_record(partition, None, Some(key), Some(record.as_bytes()), &[]);
        }
    }
}

impl CommitObserver for Teller {
    fn committed(&self, _committed: &Committed) {
        let created = self.created.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(topic), Some(shared)) = (created, self.shared.upgrade()) {
            shared.publish_topic(topic);
        }
    }
}

impl Broker {
    /// Tells, in the topic of losses, that what `uplink` has forwarded and the store differ. A record (key: the gateway's id): `v`
    /// (1), `gateway`, `time_ms`, `reason` (`diverged`), `uplink`, `text`, `stopped`, and `partitions` (JSON), each with the last
    /// common point and where upstream had come to.
    ///
    /// # Errors
    /// Why it was not told.
    pub async fn tell_divergence(
        &self,
        uplink: &str,
        text: &str,
        partitions: &str,
        stopped: bool,
    ) -> Result<(), CommitError> {
        let (shared, weak) = (Arc::clone(&self.shared), Arc::downgrade(&self.shared));
        let (uplink, text, partitions) = (uplink.to_owned(), text.to_owned(), partitions.to_owned());
        let apply = move |draft: &mut Draft<'_>| {
            let own = shared.catalog.by_name(LOSSES_TOPIC);
            let topic = match own {
                Some(topic) => topic,
                None => match admin::internal_topic(draft, &shared, LOSSES_TOPIC) {
                    Ok(topic) => topic,
                    Err(_) => return Ok(None),
                },
            };
            let mut object = head(&shared, draft.now().wall_ms);
            object.text("reason", "diverged").text("uplink", &uplink).text("text", &text);
            object.boolean("stopped", stopped).raw("partitions", &partitions);
            let options = shared.options();
            let (key, value) = (options.gateway_id.as_bytes(), object.finish());
            if let Some(partition) = topic.partition(0) {
                draft.append_record(partition, None, Some(key), Some(value.as_bytes()), &[])?;
            }
            Ok(Some(topic))
        };
        let publish = move |topic: &Option<Arc<Topic>>| {
            if let (Some(topic), Some(shared)) = (topic, weak.upgrade())
                && shared.catalog.by_name(LOSSES_TOPIC).is_none()
            {
                shared.publish_topic(Arc::clone(topic));
            }
        };
        call(&self.shared.store, apply, publish).await.map(drop)
    }
}

fn count(losses: &[LossEntry]) {
    for loss in losses.iter().filter(|loss| is_own(loss)) {
        let counter = match loss.reason {
            LossReason::Evicted => &METRICS.lost_evicted,
            LossReason::Expired => &METRICS.lost_expired,
            LossReason::Deleted => &METRICS.lost_deleted,
            LossReason::Quarantined => &METRICS.lost_quarantined,
            LossReason::DeadLettered => &METRICS.lost_dead_lettered,
            LossReason::Skipped => &METRICS.lost_skipped,
            LossReason::Compacted => &METRICS.lost_compacted,
        };
        counter.add(loss.records);
    }
    let unforwarded = losses.iter().filter(|loss| !loss.reader.is_empty()).map(|loss| loss.records).sum();
    METRICS.lost_unforwarded.add(unforwarded);
}

/// Whether it is a loss by itself: everyone's, or that of a reader that passed over records which are still there. Others
/// tell what of a loss one reader had not read.
fn is_own(loss: &LossEntry) -> bool {
    loss.reader.is_empty() || matches!(loss.reason, LossReason::DeadLettered | LossReason::Skipped)
}

/// By reader: the records that it had not read.
type Readers<'a> = BTreeMap<&'a str, u64>;

/// The records that tell of these losses.
fn told<'a>(shared: &Shared, losses: impl Iterator<Item = &'a LossEntry>, now_ms: i64) -> Vec<String> {
    let mut by_loss: BTreeMap<(PartitionId, LossReason, i64), (Option<&LossEntry>, Readers<'_>)> = BTreeMap::new();
    let losses: Vec<&LossEntry> = losses.collect();
    for loss in losses.iter().copied().filter(|loss| is_own(loss)) {
        by_loss.entry((loss.partition, loss.reason, loss.first_offset)).or_default().0 = Some(loss);
    }
    for loss in losses.iter().copied().filter(|loss| !loss.reader.is_empty()) {
        // A reader's part of a loss begins within it.
        let from = (loss.partition, loss.reason, i64::MIN);
        let to = (loss.partition, loss.reason, loss.first_offset);
        if let Some((_, (_, readers))) = by_loss.range_mut(from..=to).next_back() {
            *readers.entry(&loss.reader).or_default() += loss.records;
        }
    }
    let (mut records, mut bytes) = (Vec::new(), 0);
    let mut rest: BTreeMap<LossReason, Sum<'_>> = BTreeMap::new();
    for (loss, readers) in by_loss.values().filter_map(|(loss, readers)| Some(((*loss)?, readers))) {
        if bytes < TOLD_BYTES_MAX {
            let record = record(shared, loss, readers, now_ms);
            bytes += record.len();
            records.push(record);
        } else {
            rest.entry(loss.reason).or_default().add(loss, readers);
        }
    }
    records.extend(rest.iter().map(|(reason, sum)| sum.record(shared, *reason, now_ms)));
    records
}

fn head(shared: &Shared, now_ms: i64) -> JsonObject {
    let mut object = JsonObject::new();
    object.number("v", 1).text("gateway", &shared.options().gateway_id).number("time_ms", now_ms);
    object
}

fn record(shared: &Shared, loss: &LossEntry, readers: &Readers<'_>, now_ms: i64) -> String {
    let mut object = head(shared, now_ms);
    match shared.catalog.by_partition(loss.partition) {
        Some((topic, index)) => {
            object.text("topic", &topic.name).text("topic_id", &topic.id.to_string()).number("partition", index)
        }
        None => object.null("topic").null("topic_id").null("partition"),
    };
    object.number("first_offset", loss.first_offset).number("last_offset", loss.last_offset);
    object.number("records", loss.records).number("bytes", loss.bytes);
    object.number("appended_from_ms", loss.appended_from_ms).number("appended_to_ms", loss.appended_to_ms);
    object.text("reason", loss.reason.name()).raw("lost_to", &lost_to(readers));
    object.finish()
}

fn lost_to(readers: &Readers<'_>) -> String {
    let mut object = JsonObject::new();
    readers.iter().for_each(|(reader, records)| {
        object.number(reader, *records);
    });
    object.finish()
}

/// Losses that aren't told one by one.
#[derive(Default)]
struct Sum<'a> {
    partitions: BTreeSet<PartitionId>,
    records: u64,
    bytes: u64,
    readers: Readers<'a>,
}

impl<'a> Sum<'a> {
    fn add(&mut self, loss: &LossEntry, readers: &Readers<'a>) {
        self.partitions.insert(loss.partition);
        self.records += loss.records;
        self.bytes += loss.bytes;
        for (reader, records) in readers {
            *self.readers.entry(reader).or_default() += records;
        }
    }

    fn record(&self, shared: &Shared, reason: LossReason, now_ms: i64) -> String {
        let mut object = head(shared, now_ms);
        object.null("topic").number("partitions", self.partitions.len() as u64);
        object.number("records", self.records).number("bytes", self.bytes);
        object.text("reason", reason.name()).raw("lost_to", &lost_to(&self.readers));
        object.finish()
    }
}
