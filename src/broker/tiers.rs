//! Gateways below this one: how far each of their partitions is forwarded to here, moved in the commit that appends the batches.
//!
//! | key in `Space::Cursor` | value (format byte, then postcard) |
//! |---|---|
//! | two zero bytes, length and name of the gateway, length and name of its uplink (lengths a byte), history (16 bytes), topic UUID, partition (u32, big-endian), five bytes 0xff | [`Row`] |
//!
//! No follower's key begins with a zero byte or ends so, and no downlink's begins with two.
//!
//! A *history* is what a sender calls the course of its store: copies that went different ways have two. Within one, a cursor moves
//! only from where its sender believes it to be, told by offset and boot epoch (a random number); what a sender repeats
//! because it has not heard the answer is recognised by both.
//!
//! A cursor belongs to the user who moved it first; to nobody, as long as only clients without a name have moved it.
//!
//! Invariants: all of a stretch is appended, or nothing; a cursor never leads or trails the records before it; what was
//! appended once is never appended again within a history; nobody reads or moves a cursor that belongs to another user.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::call::call;
use super::error::{IntakeError, ProduceError};
use super::take_in::{Brought, IntakeTicket, Moves, Standing, stamps};
use super::{Broker, Principal, Topic, janitor};
use crate::limits;
use crate::metrics::METRICS;
use crate::record::SharedBytes;
use crate::store::{CommitSeq, Draft, DraftError, Space};

/// The first byte of every value; with the one before, a row had no owner.
const FORMAT: u8 = 2;
const FORMAT_WITHOUT_OWNER: u8 = 1;
/// Begins every key.
pub(super) const PREFIX: &[u8] = &[0, 0];
/// Ends every key.
const SUFFIX: [u8; 5] = [0xff; 5];
/// Behind the names: topic and partition.
const PLACE_BYTES: usize = 16 + 4;
const HISTORY_BYTES: usize = 16;

/// Who brings stretches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierSource {
    /// The gateway's id; at most [`limits::CLIENT_ID_BYTES_MAX`] bytes.
    pub gateway: String,
    /// Its uplink's name; at most [`limits::UPLINK_NAME_BYTES_MAX`] bytes.
    pub uplink: String,
    /// See the module.
    pub history: [u8; HISTORY_BYTES],
    /// The user it has shown to be; `None`: nobody.
    pub user: Option<Principal>,
}

impl TierSource {
    /// Whether a row is another's.
    fn is_shut_out(&self, row: &Row) -> bool {
        !row.owner.is_empty() && self.user.as_ref().is_none_or(|user| user.name() != row.owner)
    }

    /// What it is told then.
    fn shut_out(&self) -> IntakeError {
        let (gateway, uplink) = (&self.gateway, &self.uplink);
        let user = self.user.as_ref().map_or_else(Principal::anonymous, Clone::clone);
        let reason = format!(
            "what is known here of gateway {gateway}'s uplink {uplink} belongs to another user than {user}: connect as the \
             user of before, or begin a new history below with `brooklet reset`"
        );
        IntakeError::NotOwner(reason)
    }
}

/// How far a partition below is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierCursor {
    /// The topic's UUID below.
    pub topic: [u8; 16],
    /// The partition's index in it.
    pub partition: u32,
    /// The first offset that is not here.
    pub next: i64,
    /// Boot epochs that wrote what lies before, the latest first: id, first offset.
    pub epochs: Vec<(u64, i64)>,
}

/// What is known of a [`TierSource`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TiersKnown {
    pub cursors: Vec<TierCursor>,
    /// Other histories of the same gateway and uplink.
    pub others: usize,
}

/// A cursor that is to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierMove {
    /// As in [`TierCursor`].
    pub topic: [u8; 16],
    pub partition: u32,
    /// Where the sender believes it to be: offset and latest boot epoch (0: none).
    pub from: Option<(i64, u64)>,
    /// Where it is to be; not before `from`.
    pub next: i64,
    /// Boot epochs since `from`, the latest first.
    pub epochs: Vec<(u64, i64)>,
}

/// A batch that a gateway below brings.
#[derive(Clone, Debug)]
pub struct TierBatch {
    pub topic: std::sync::Arc<Topic>,
    pub partition: i32,
    pub bytes: SharedBytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    next: i64,
    epochs: Vec<(u64, i64)>,
    /// The commit it was moved in last: the order in which cursors are forgotten when there are too many.
    moved_commit: CommitSeq,
    /// Wall time it was moved at, ms since 1970; `None` while the clock was not to be trusted.
    moved_wall_ms: Option<i64>,
    /// Whose it is: a user's name; empty is nobody's.
    owner: String,
}

impl Broker {
    /// What is known of `source` (of one topic below, if `topic` is given), behind all that was queued before. Durable.
    ///
    /// # Errors
    /// [`IntakeError::NotOwner`]: they are another user's; or why the store can't say.
    pub async fn tier_cursors(&self, source: &TierSource, topic: Option<[u8; 16]>) -> Result<TiersKnown, IntakeError> {
        let (names, own, asking) = (names(source), source.history, source.clone());
        let known = move |draft: &mut Draft<'_>| {
            let mut known = TiersKnown::default();
            let mut shut_out = false;
            let mut others = BTreeSet::new();
            for (key, value) in draft.entries(Space::Cursor, &names) {
                let Some((history, place)) = key.get(names.len()..).and_then(<[u8]>::split_first_chunk) else {
                    continue;
                };
                if *history != own {
                    others.insert(*history);
                } else if decode(&value).is_some_and(|row| asking.is_shut_out(&row)) {
                    shut_out = true;
                } else if let Some(cursor) = cursor(place, &value)
                    && topic.is_none_or(|topic| topic == cursor.topic)
                {
                    known.cursors.push(cursor);
                }
            }
            known.others = others.len();
            Ok((!shut_out).then_some(known))
        };
        call(&self.shared.store, known, |_| {}).await?.ok_or_else(|| source.shut_out())
    }

    /// Queues a stretch: its batches and the cursors behind them, all or nothing. Returns once it has its place in the order of
    /// appends, which is also the back-pressure. Timestamps aren't judged: a gateway has taken these records already.
    ///
    /// # Errors
    /// [`IntakeError::Refused`], or the store's; later ones come by the ticket, [`IntakeError::Moved`] among them.
    pub async fn take_stretch(
        &self,
        source: &TierSource,
        moves: Vec<TierMove>,
        batches: Vec<TierBatch>,
    ) -> Result<IntakeTicket, IntakeError> {
        self.shared.check_open().map_err(IntakeError::Refused)?;
        let mut brought = Vec::with_capacity(batches.len());
        let mut urgent = false;
        for TierBatch { topic, partition, bytes } in batches {
            let (checked, _) = self.check_batch(&topic, bytes, false).await.map_err(IntakeError::Refused)?;
            let bytes = self.recompress(&topic, checked).await.map_err(IntakeError::Refused)?;
            let partition = topic.partition(partition).ok_or(IntakeError::UnknownPartition)?;
            urgent |= topic.config.urgent;
            brought.push(Brought { partition, bytes, stamp: stamps(&topic) });
        }
        let start = [names(source).as_slice(), &source.history].concat();
        let moves: Vec<_> = moves.into_iter().map(|moved| (key(&start, &moved), moved)).collect();
        let distinct: BTreeSet<&Vec<u8>> = moves.iter().map(|(key, _)| key).collect();
        if distinct.len() < moves.len() {
            let twice = crate::record::BatchError::Malformed("a stretch moves one partition twice");
            return Err(IntakeError::Refused(ProduceError::Corrupt(twice)));
        }
        Ok(self.submit_intake(Cursors { moves, source: source.clone() }, brought, urgent, None).await?)
    }
}

struct Cursors {
    moves: Vec<(Vec<u8>, TierMove)>,
    source: TierSource,
}

impl Moves for Cursors {
    fn brought(&self, records: u64, bytes: u64) {
        METRICS.records_in.add(records);
        METRICS.records_in_tiers.add(records);
        METRICS.bytes_in_tiers.add(bytes);
    }

    fn check(&self, draft: &Draft<'_>) -> Result<Standing, IntakeError> {
        let mut new = true;
        for (key, moved) in &self.moves {
            let row = draft.get(Space::Cursor, key).and_then(decode);
            if row.as_ref().is_some_and(|row| self.source.is_shut_out(row)) {
                return Err(self.source.shut_out());
            }
            new &= is_next(row.as_ref(), moved);
        }
        if new {
            return Ok(Standing::New);
        }
        let is_here = |(key, moved): &(Vec<u8>, TierMove)| {
            draft.get(Space::Cursor, key).and_then(decode).is_some_and(|row| is_here(&row, moved))
        };
        if self.moves.iter().all(is_here) { Ok(Standing::Here) } else { Err(IntakeError::Moved) }
    }

    fn put(&self, draft: &mut Draft<'_>) -> Result<(), DraftError> {
        let now = draft.now();
        let user = self.source.user.as_ref().map_or("", Principal::name);
        for (key, moved) in &self.moves {
            let before = draft.get(Space::Cursor, key).and_then(decode).unwrap_or_default();
            let row = Row {
                next: moved.next,
                epochs: moved.epochs.iter().chain(&before.epochs).copied().take(limits::TIER_EPOCHS_MAX).collect(),
                moved_commit: draft.seq(),
                moved_wall_ms: now.wall_trusted.then_some(now.wall_ms),
                owner: if before.owner.is_empty() { user.to_owned() } else { before.owner },
            };
            draft.put(Space::Cursor, key, &encode(&row))?;
        }
        Ok(())
    }
}

/// Whether a cursor is where it is to be moved from.
fn is_next(row: Option<&Row>, moved: &TierMove) -> bool {
    let known = row.map(|row| (row.next, row.epochs.first().map_or(0, |(id, _)| *id)));
    known == moved.from && moved.from.is_none_or(|(from, _)| from <= moved.next)
}

/// Whether all before the end of this move is here: its latest epoch is one of the cursor's, and had come as far.
fn is_here(row: &Row, moved: &TierMove) -> bool {
    let latest = moved.epochs.first().map(|(id, _)| *id).or(moved.from.map(|(_, id)| id));
    let mut end = row.next;
    for (id, first) in &row.epochs {
        if Some(*id) == latest {
            return moved.next <= end;
        }
        end = *first;
    }
    false
}

/// The keys of those cursors among `entries` that are to be forgotten.
pub(super) fn expired(entries: &[(Vec<u8>, Vec<u8>)], now_ms: Option<i64>) -> Vec<Vec<u8>> {
    let moved = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let row = decode(value).unwrap_or_default();
        (key.clone(), row.moved_commit, row.moved_wall_ms)
    };
    let states = entries.iter().map(moved).collect();
    janitor::expired(states, now_ms, limits::TIER_CURSORS_MAX, limits::TIER_CURSOR_EXPIRY_MS)
}

/// What all keys of a gateway's uplink begin with.
fn names(source: &TierSource) -> Vec<u8> {
    let mut key = PREFIX.to_vec();
    for name in [&source.gateway, &source.uplink] {
        // Lengths are bounded by what a client may be called; a longer name would only share its place with another.
        key.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        key.extend_from_slice(name.as_bytes());
    }
    key
}

fn key(start: &[u8], moved: &TierMove) -> Vec<u8> {
    [start, &moved.topic, &moved.partition.to_be_bytes(), &SUFFIX].concat()
}

/// Reads the end of a key, and its value.
fn cursor(place: &[u8], value: &[u8]) -> Option<TierCursor> {
    let place: &[u8; PLACE_BYTES] = place.strip_suffix(&SUFFIX)?.try_into().ok()?;
    let (topic, partition) = place.split_first_chunk::<16>()?;
    let partition = u32::from_be_bytes(partition.try_into().ok()?);
    let row = decode(value)?;
    Some(TierCursor { topic: *topic, partition, next: row.next, epochs: row.epochs })
}

fn encode(row: &Row) -> Vec<u8> {
    // Serializing plain values into a growing vector has nothing that can fail.
    postcard::to_extend(row, vec![FORMAT]).unwrap_or_default()
}

fn decode(value: impl AsRef<[u8]>) -> Option<Row> {
    match value.as_ref().split_first()? {
        (&FORMAT, body) => postcard::from_bytes(body).ok(),
        // The field that came last reads as empty.
        (&FORMAT_WITHOUT_OWNER, body) => postcard::from_bytes(&[body, &[0]].concat()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(next: i64, epochs: &[(u64, i64)]) -> Row {
        Row { next, epochs: epochs.to_vec(), ..Row::default() }
    }

    fn moved(from: Option<(i64, u64)>, next: i64, epochs: &[(u64, i64)]) -> TierMove {
        TierMove { topic: [1; 16], partition: 0, from, next, epochs: epochs.to_vec() }
    }

    #[test]
    fn a_cursor_moves_only_from_where_it_is() {
        assert!(is_next(None, &moved(None, 5, &[(7, 0)])));
        let known = row(5, &[(7, 0)]);
        assert!(is_next(Some(&known), &moved(Some((5, 7)), 9, &[])));
        assert!(is_next(Some(&known), &moved(Some((5, 7)), 9, &[(8, 6)])), "restarted since");
        for other in [None, Some((5, 8)), Some((4, 7)), Some((6, 7))] {
            assert!(!is_next(Some(&known), &moved(other, 9, &[])), "{other:?}");
        }
        assert!(!is_next(Some(&known), &moved(Some((5, 7)), 4, &[])), "never back");
        assert!(!is_next(None, &moved(Some((5, 7)), 9, &[])), "forgotten");
    }

    #[test]
    fn what_comes_again_is_known_by_who_wrote_it() {
        let known = row(20, &[(8, 12), (7, 0)]);
        for (repeat, here) in [
            (moved(None, 5, &[(7, 0)]), true),
            (moved(Some((5, 7)), 12, &[]), true),
            (moved(Some((5, 7)), 13, &[]), false),
            (moved(Some((12, 7)), 20, &[(8, 12)]), true),
            (moved(Some((18, 8)), 21, &[]), false),
            (moved(Some((12, 7)), 15, &[(9, 12)]), false),
            (moved(None, 0, &[]), false),
        ] {
            assert_eq!(is_here(&known, &repeat), here, "{repeat:?}");
        }
    }

    #[test]
    fn a_cursor_is_its_first_users_and_one_of_before_is_nobodys() {
        let known = row(5, &[(7, 0)]);
        // As it was written before rows had owners.
        let mut old = encode(&known);
        assert_eq!((old.pop(), old.first_mut().map(|format| *format = 1)), (Some(0), Some(())));
        assert_eq!(decode(&old), Some(known.clone()));
        let by = |user: Option<&str>| {
            let user = user.map(|name| Principal::new(name).unwrap());
            TierSource { gateway: "gw".into(), uplink: "up".into(), history: [9; 16], user }
        };
        let owned = Row { owner: "gw-1".into(), ..known.clone() };
        assert_eq!(decode(encode(&owned)), Some(owned.clone()));
        for (user, own, free) in [(None, true, false), (Some("gw-1"), false, false), (Some("gw-2"), true, false)] {
            assert_eq!((by(user).is_shut_out(&owned), by(user).is_shut_out(&known)), (own, free), "{user:?}");
        }
        let told = by(Some("gw-2")).shut_out().to_string();
        assert!(told.contains("User:gw-2") && told.contains("brooklet reset"), "{told}");
    }

    #[test]
    fn keys_read_back_and_are_nobody_elses() {
        let source = TierSource { gateway: "gw".into(), uplink: "up".into(), history: [9; 16], user: None };
        let start = [names(&source).as_slice(), &source.history].concat();
        let moved = TierMove { partition: 70_000, ..moved(None, 1, &[]) };
        let key = key(&start, &moved);
        assert_eq!(key.get(..8), Some(&b"\0\0\x02gw\x02up"[..]));
        let read = cursor(&key[start.len()..], &encode(&row(3, &[(7, 0)]))).unwrap();
        assert_eq!((read.topic, read.partition, read.next), ([1; 16], 70_000, 3));
        assert_eq!(cursor(&key[start.len()..key.len() - 1], &encode(&row(3, &[]))), None);
        assert_eq!((decode([3, 0]), decode([2, 0])), (None, None));
    }
}
