//! The idempotent producer: the lanes to all partitions upstream, and the Produce requests made of them. Pure.
//!
//! A transactional one has the same lanes. Who it is, is told from outside then, and when anything may be sent.
//!
//! Invariant: a lane that was dropped starts anew only with an identity that it never used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::super::batches::recode::Recoded;
use super::super::options::REQUEST_BYTES;
pub(in crate::uplink) use super::lane::{Again, Identity, Moment, Outcome, PieceId, Rejected};
use super::lane::{Lane, RUNS_MAX};
use super::verdict::Verdict;
use crate::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

/// A partition upstream: topic and index.
pub(in crate::uplink) type LaneId = (Arc<str>, i32);

/// A batch within a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Sent {
    pub(in crate::uplink) lane: LaneId,
    pub(in crate::uplink) tag: u64,
}

/// A lane whose next batch was damaged in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Broken {
    pub(in crate::uplink) lane: LaneId,
    pub(in crate::uplink) why: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::uplink) struct Producers {
    lanes: BTreeMap<LaneId, Lane>,
    identity: Option<Identity>,
    /// Whose transactions the batches are parts of.
    transactional_id: Option<String>,
    next_tag: u64,
}

impl Producers {
    /// A producer of transactions.
    pub(in crate::uplink) fn transactional(id: String) -> Self {
        Self { transactional_id: Some(id), ..Self::default() }
    }

    /// Goes on as this one: with sequences from 0, if it is another than before.
    pub(in crate::uplink) fn go_on_as(&mut self, identity: Identity) {
        if self.identity != Some(identity) {
            self.identity = Some(identity);
            self.lanes.values_mut().for_each(Lane::renumber);
        }
    }

    /// Drops everything: answers still to come are strays.
    pub(in crate::uplink) fn abandon_all(&mut self) {
        self.lanes.clear();
        self.identity = None;
    }

    /// Puts a batch behind the others of its lane.
    pub(in crate::uplink) fn push(&mut self, lane: LaneId, batch: Recoded, pieces: Vec<PieceId>) {
        self.next_tag += 1;
        let transactional = self.transactional_id.is_some();
        self.lanes.entry(lane).or_insert_with(|| Lane::new(transactional)).push(self.next_tag, batch, pieces);
    }

    /// The answer that is to be taken next names these records of a batch as those at fault.
    pub(in crate::uplink) fn blame(&mut self, sent: &Sent, blamed: Vec<u32>) {
        if let Some(lane) = self.lanes.get_mut(&sent.lane) {
            lane.blame(sent.tag, blamed);
        }
    }

    /// Memory that unacknowledged batches hold.
    pub(in crate::uplink) fn bytes(&self) -> usize {
        self.lanes.values().map(Lane::bytes).sum()
    }

    /// Whether nothing is unacknowledged.
    pub(in crate::uplink) fn is_empty(&self) -> bool {
        self.lanes.values().all(Lane::is_empty)
    }

    /// Whether nothing of this topic is unacknowledged.
    pub(in crate::uplink) fn is_topic_empty(&self, topic: &str) -> bool {
        self.lanes.iter().filter(|((name, _), _)| **name == *topic).all(|(_, lane)| lane.is_empty())
    }

    /// Whether something of this topic was dropped and is still to be answered: what is pushed before that would never be sent.
    pub(in crate::uplink) fn is_topic_abandoned(&self, topic: &str) -> bool {
        self.lanes.iter().any(|((name, _), lane)| **name == *topic && lane.is_abandoned())
    }

    /// Whether a producer id must be asked for before something can be sent.
    pub(in crate::uplink) fn wants_identity(&self) -> bool {
        self.lanes.values().any(|lane| lane.wants_identity(self.identity))
    }

    /// A producer id never used before.
    pub(in crate::uplink) fn set_identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    /// When a lane that waits may be sent again.
    pub(in crate::uplink) fn next_retry(&self) -> Option<Instant> {
        self.lanes.values().filter_map(Lane::retry_at).min()
    }

    /// The lanes with something to send (or in flight), whose leaders matter.
    pub(in crate::uplink) fn busy(&self) -> impl Iterator<Item = &LaneId> {
        self.lanes.iter().filter(|(_, lane)| !lane.is_empty() && !lane.is_abandoned()).map(|(id, _)| id)
    }

    /// Notes that a lane can't be sent (no leader, or the leader is out of reach). Whether that has lasted too long.
    pub(in crate::uplink) fn blocked(&mut self, lane: &LaneId, now: Instant) -> bool {
        self.lanes.get_mut(lane).is_some_and(|lane| lane.blocked(now))
    }

    /// Whether something can be sent to this broker now.
    pub(in crate::uplink) fn is_ready(&self, node: i32, leader: &dyn Fn(&LaneId) -> Option<i32>, now: Instant) -> bool {
        self.lanes.iter().any(|(id, lane)| lane.is_ready(node, now, self.identity) && leader(id) == Some(node))
    }

    /// Makes a request of the next batch of each lane that `node` leads, and hands it to `send`, with the bytes of its batches. What it held, and what `send`
    /// said; `None` if there is nothing to send.
    ///
    /// # Errors
    /// [`Broken`]: a lane can't go on.
    pub(in crate::uplink) fn request<T>(
        &mut self,
        node: i32,
        leader: &dyn Fn(&LaneId) -> Option<i32>,
        now: Instant,
        timeout_ms: i32,
        send: impl FnOnce(&ProduceRequest<'_>, usize) -> T,
    ) -> Result<Option<(Vec<Sent>, T)>, Broken> {
        let transactional_id = self.transactional_id.as_deref();
        let mut request = ProduceRequest { transactional_id, acks: -1, timeout_ms, ..Default::default() };
        let (mut sent, mut bytes) = (Vec::new(), 0);
        for (id, lane) in &mut self.lanes {
            if !lane.is_ready(node, now, self.identity) || leader(id) != Some(node) {
                continue;
            }
            if bytes >= REQUEST_BYTES {
                break;
            }
            let Some(batch) = lane.next(node, self.identity).map_err(|why| Broken { lane: id.clone(), why })? else {
                continue;
            };
            bytes += batch.bytes.len();
            sent.push(Sent { lane: id.clone(), tag: batch.tag });
            let data = PartitionProduceData { index: id.1, records: Some(batch.bytes) };
            match request.topic_data.last_mut().filter(|topic| *topic.name == *id.0) {
                Some(topic) => topic.partition_data.push(data),
                None => request.topic_data.push(TopicProduceData { name: &id.0, partition_data: vec![data] }),
            }
        }
        if sent.is_empty() {
            return Ok(None);
        }
        let said = send(&request, bytes);
        Ok(Some((sent, said)))
    }

    /// The answer to one batch.
    pub(in crate::uplink) fn answered(
        &mut self,
        sent: &Sent,
        verdict: Verdict,
        text: &str,
        mut moment: Moment,
    ) -> Outcome {
        moment.spare_tag = self.next_tag + 1;
        self.next_tag += RUNS_MAX as u64;
        let Some(lane) = self.lanes.get_mut(&sent.lane) else { return Outcome::Stray };
        let outcome = lane.answered(sent.tag, verdict, text, &moment);
        if lane.is_abandoned() && lane.is_empty() {
            self.lanes.remove(&sent.lane);
        }
        outcome
    }

    /// Drops what is unacknowledged of a topic: the pieces it carried parts of. To be gathered again only when
    /// [`Producers::is_topic_empty`].
    pub(in crate::uplink) fn abandon_topic(&mut self, topic: &str) -> Vec<PieceId> {
        let mut pieces = Vec::new();
        self.lanes.retain(|(name, _), lane| {
            if **name == *topic {
                pieces.extend(lane.abandon());
            }
            !(lane.is_abandoned() && lane.is_empty())
        });
        // What upstream has of the dropped batches isn't known: sequences must not go on where they might have ended.
        self.identity = None;
        pieces
    }
}
