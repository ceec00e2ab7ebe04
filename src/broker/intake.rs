//! What a downlink brings: batches of an upstream cluster and the upstream position behind them, in one atomic commit.
//!
//! | key in `Space::Cursor` | value (format byte, then postcard) |
//! |---|---|
//! | zero byte, downlink's name, zero byte, upstream topic, zero byte, partition (i32, big-endian), five bytes 0xff | [`UpstreamPosition`] |
//! | the same without the partition | [`UpstreamTopic`] |
//!
//! No follower's key begins with a zero byte or ends so: no partition of the store has the number 0xffffffff.
//!
//! Invariants: a position moves only in the commit that appends what lies before it, and only from the position that its
//! bringer knew; so whoever brings the same batches twice, for whatever reason, is refused the second time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Broker;
use super::call::call;
use super::error::{CommitError, IntakeError};
use super::take_in::{Brought, Moves, Standing, stamps};
use crate::store::{Draft, DraftError, PartitionId, Space};

/// The first byte of every value.
const FORMAT: u8 = 1;
/// Ends every key.
const SUFFIX: [u8; 5] = [0xff; 5];

/// How far a partition upstream has been brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamPosition {
    /// The topic upstream, for life; zeros where the cluster does not tell.
    pub topic_id: [u8; 16],
    /// The next offset to bring.
    pub next_offset: i64,
    /// Leader epoch of the last batch that was brought (KIP-101); −1 is unknown.
    pub leader_epoch: i32,
}

/// A topic upstream as it was when the downlink met it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamTopic {
    /// As in [`UpstreamPosition`].
    pub topic_id: [u8; 16],
    /// The partitions that it had: these begin where the configuration says, all others at their beginning.
    pub partitions: u32,
}

/// What is brought of one partition upstream.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Topic and partition upstream.
    pub upstream: (String, i32),
    /// The position that the bringer knows; `None` is none yet.
    pub from: Option<UpstreamPosition>,
    /// The position behind `batches`.
    pub to: UpstreamPosition,
    /// Where the batches go.
    pub partition: PartitionId,
    /// Whole batches, checked, without producer and without marks of a transaction. May be empty.
    pub batches: Vec<Vec<u8>>,
}

impl Broker {
    /// How far `downlink` has brought each topic and partition upstream, as of the last commit.
    pub fn upstream_positions(&self, downlink: &str) -> BTreeMap<(String, i32), UpstreamPosition> {
        let prefix = prefix(downlink);
        let rows = self.shared.store.entries(Space::Cursor, &prefix);
        let one = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let rest = key.get(prefix.len()..)?.strip_suffix(&SUFFIX)?;
            let (topic, index) = rest.split_last_chunk::<4>()?;
            let topic = std::str::from_utf8(topic.strip_suffix(&[0])?).ok()?;
            Some(((topic.to_owned(), i32::from_be_bytes(*index)), decode(value)?))
        };
        rows.iter().filter_map(one).collect()
    }

    /// What `downlink` knows of a topic upstream, as of the last commit.
    pub fn upstream_topic(&self, downlink: &str, topic: &str) -> Option<UpstreamTopic> {
        decode(self.shared.store.get(Space::Cursor, &key(downlink, topic, None))?)
    }

    /// Notes a topic upstream that `downlink` meets for the first time, or anew under another identity. Positions of an
    /// earlier identity are forgotten.
    ///
    /// # Errors
    /// Why it was not committed.
    pub async fn meet_upstream_topic(
        &self,
        downlink: &str,
        topic: &str,
        met: UpstreamTopic,
    ) -> Result<(), CommitError> {
        let (row, value) = (key(downlink, topic, None), encode(&met));
        let positions = position_prefix(downlink, topic);
        let apply = move |draft: &mut Draft<'_>| {
            for (key, value) in draft.entries(Space::Cursor, &positions) {
                let is_older = decode::<UpstreamPosition>(&value).is_some_and(|old| old.topic_id != met.topic_id);
                // What follows the topic's zero byte is a partition and the suffix.
                if is_older && key.len() == positions.len() + 4 + SUFFIX.len() {
                    draft.delete(Space::Cursor, &key)?;
                }
            }
            draft.put(Space::Cursor, &row, &value)
        };
        call(&self.shared.store, apply, |()| {}).await
    }

    /// Appends what `downlink` brings and moves its positions, all or nothing; durable when this returns. With `within`
    /// it rides with another commit, at the latest after that time: for positions without batches.
    ///
    /// # Errors
    /// [`IntakeError`]; then nothing has changed, save that after [`CommitError::Store`] it may be there all the same.
    pub async fn take_in(
        &self,
        downlink: &str,
        intakes: Vec<Intake>,
        within: Option<Duration>,
    ) -> Result<(), IntakeError> {
        self.shared.check_open().map_err(IntakeError::Refused)?;
        let mut batches = Vec::new();
        let mut urgent = false;
        let moves = intakes.iter().map(|intake| Moved {
            key: key(downlink, &intake.upstream.0, Some(intake.upstream.1)),
            from: intake.from,
            to: intake.to,
            partition: intake.partition,
        });
        let moves = Positions(moves.collect());
        for intake in intakes {
            let topic = self.topic_of(intake.partition).map(|(topic, _)| topic);
            let stamp = topic.as_ref().is_some_and(|topic| stamps(topic));
            urgent |= topic.is_some_and(|topic| topic.config.urgent);
            let partition = intake.partition;
            batches.extend(intake.batches.into_iter().map(|bytes| Brought { partition, bytes: bytes.into(), stamp }));
        }
        self.submit_intake(moves, batches, urgent, within).await?.wait().await
    }
}

/// A position that is to be moved.
struct Moved {
    key: Vec<u8>,
    from: Option<UpstreamPosition>,
    to: UpstreamPosition,
    /// Where what lies before it goes.
    partition: PartitionId,
}

struct Positions(Vec<Moved>);

impl Moves for Positions {
    fn check(&self, draft: &Draft<'_>) -> Result<Standing, IntakeError> {
        for moved in &self.0 {
            let known = draft.get(Space::Cursor, &moved.key).and_then(decode::<UpstreamPosition>);
            if known != moved.from {
                return Err(IntakeError::Moved);
            }
            if draft.head(moved.partition).is_none() {
                return Err(IntakeError::UnknownPartition);
            }
        }
        Ok(Standing::New)
    }

    fn put(&self, draft: &mut Draft<'_>) -> Result<(), DraftError> {
        self.0.iter().try_for_each(|moved| draft.put(Space::Cursor, &moved.key, &encode(&moved.to)))
    }
}

/// What all keys of a downlink begin with.
fn prefix(downlink: &str) -> Vec<u8> {
    [&[0], downlink.as_bytes(), &[0]].concat()
}

/// What all keys of positions in a topic begin with.
fn position_prefix(downlink: &str, topic: &str) -> Vec<u8> {
    [prefix(downlink).as_slice(), topic.as_bytes(), &[0]].concat()
}

fn key(downlink: &str, topic: &str, partition: Option<i32>) -> Vec<u8> {
    let mut key = position_prefix(downlink, topic);
    if let Some(partition) = partition {
        key.extend_from_slice(&partition.to_be_bytes());
    }
    key.extend_from_slice(&SUFFIX);
    key
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Serializing plain values into a growing vector has nothing that can fail.
    postcard::to_extend(value, vec![FORMAT]).unwrap_or_default()
}

fn decode<T: for<'a> Deserialize<'a>>(value: impl AsRef<[u8]>) -> Option<T> {
    match value.as_ref().split_first()? {
        (&FORMAT, body) => postcard::from_bytes(body).ok(),
        _ => None,
    }
}
