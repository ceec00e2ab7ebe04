//! Letters on their way in: their records are read beside the writer, then everything is one operation.
//!
//! Invariants: an operation that is made again (its outcome was not known) writes nothing twice, because the position that
//! passes the records came with the letters; a record that is gone already is the ledger's business, not a letter.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::admin::internal_topic;
use super::super::call::call_lazily;
use super::super::error::CommitError;
use super::super::topic::Topic;
use super::super::{Broker, Shared};
use super::{Letter, names};
use crate::executor;
use crate::limits::{BATCH_BYTES_MAX, BATCH_DECOMPRESSED_BYTES_MAX, DEAD_LETTER_COMMIT_BYTES, DEAD_LETTER_TOPIC};
use crate::record::{BatchBuilder, BatchView, Compression, VerifyLimits, decompress, records};
use crate::store::{
    Draft, DraftError, Intervals, LossReason, PartitionId, ReadError, Removed, Space, Store, cursor_key,
};

/// Larger records are put into a batch of their own, compressed beside the writer.
const GATHERED_BYTES_MAX: usize = 32 * 1024;

/// A header as it is kept.
pub(super) type Header = (Vec<u8>, Option<Vec<u8>>);

/// What of a record is there.
#[derive(Debug, Default)]
pub(super) struct Original {
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<Header>,
}

#[derive(Debug)]
enum Body {
    /// To be gathered with others.
    Record(Original),
    /// Ready as a batch; what to write should even that not fit.
    Batch(Vec<u8>, Original),
    /// Evicted, or its partition dropped.
    Gone,
    /// A record of the dead-letter topic itself.
    OfThisTopic,
}

#[derive(Debug)]
struct Prepared {
    letter: Letter,
    body: Body,
}

/// Letters with their contents, to be written by any operation.
pub(crate) struct PreparedLetters {
    shared: Arc<Shared>,
    follower: String,
    letters: Vec<Prepared>,
    /// Made in the open commit; published once that is durable.
    created: Mutex<Option<Arc<Topic>>>,
}

impl Broker {
    /// Bytes of records, by [`Letter::bytes`], that one save may turn into letters (one letter may be larger).
    pub fn letters_bytes_max(&self) -> u64 {
        (self.store().status().segment_bytes / 16).min(DEAD_LETTER_COMMIT_BYTES as u64)
    }

    /// As [`Broker::save_positions`], and writes the letters of records that these positions pass, in the same commit.
    ///
    /// # Errors
    /// Why nothing was saved; both are to be saved again then, together.
    pub async fn save_with_letters(
        &self,
        follower: &str,
        positions: Vec<(PartitionId, Intervals)>,
        letters: Vec<Letter>,
        within: Duration,
    ) -> Result<(), CommitError> {
        if letters.is_empty() {
            return self.save_positions(follower, positions, within).await;
        }
        let prepared = Arc::new(self.prepare_letters(follower, letters).await);
        let writing = Arc::clone(&prepared);
        let name = follower.to_owned();
        let apply = move |draft: &mut Draft<'_>| {
            writing.write(draft)?;
            for (partition, position) in &positions {
                if draft.head(*partition).is_some() {
                    let put = draft.put(Space::Cursor, &cursor_key(&name, *partition), &position.encode());
                    put.map_err(all_or_nothing)?;
                }
            }
            Ok(())
        };
        call_lazily(&self.shared.store, within, apply, move |()| prepared.written()).await
    }

    /// Reads the records of `letters`. They are not letters before [`PreparedLetters::write`] was committed.
    pub(crate) async fn prepare_letters(&self, follower: &str, letters: Vec<Letter>) -> PreparedLetters {
        let shared = Arc::clone(&self.shared);
        let name = follower.to_owned();
        let letters = executor::unblock(move || {
            let mut reader = Reader::new(&shared.store);
            letters.into_iter().map(|letter| prepare(&shared, &name, &mut reader, letter)).collect()
        })
        .await;
        PreparedLetters {
            shared: Arc::clone(&self.shared),
            follower: follower.to_owned(),
            letters,
            created: Mutex::default(),
        }
    }
}

impl PreparedLetters {
    /// On the writer: appends the letters and enters them into the ledger; those that the follower's durable position has
    /// passed already are left out. Before the operation puts the positions that pass them.
    ///
    /// # Errors
    /// [`DraftError::Full`], whatever it is: the operation is to end with it, which undoes what it did.
    pub(crate) fn write(&self, draft: &mut Draft<'_>) -> Result<(), DraftError> {
        let mut passed: Vec<(PartitionId, i64, u64)> = Vec::new();
        for Prepared { letter, body } in &self.letters {
            let position = draft.get(Space::Cursor, &cursor_key(&self.follower, letter.partition));
            let position = position.and_then(|row| Intervals::decode(row).ok()).unwrap_or_default();
            let gone = draft.head(letter.partition).is_none_or(|head| letter.offset < head.log_start);
            if gone || position.contains(letter.offset) {
                continue;
            }
            self.write_one(draft, body).map_err(all_or_nothing)?;
            passed.push((letter.partition, letter.offset, letter.bytes));
        }
        for (partition, range, what) in ranges(passed) {
            draft.pass_over(&self.follower, partition, range, what, LossReason::DeadLettered);
        }
        Ok(())
    }

    fn write_one(&self, draft: &mut Draft<'_>, body: &Body) -> Result<(), DraftError> {
        let (batch, original) = match body {
            Body::Record(original) => (None, original),
            Body::Batch(batch, original) => (Some(batch), original),
            Body::Gone | Body::OfThisTopic => return Ok(()),
        };
        let topic = internal_topic(draft, &self.shared, DEAD_LETTER_TOPIC)?;
        *self.created.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&topic));
        let partition = topic.partition(0).ok_or(DraftError::UnknownPartition)?;
        let appended = match batch {
            Some(batch) => draft.append_batch(partition, batch),
            None => append(draft, partition, original),
        };
        match appended {
            // No batch and no commit here takes it. What it was and where it lies is kept all the same.
            Err(DraftError::TooLarge) => {
                let why = format!("{} bytes", original.value.as_ref().map_or(0, Vec::len)).into_bytes();
                let mut headers = original.headers.clone();
                headers.insert(0, (names::VALUE_MISSING.to_vec(), Some(why)));
                headers.truncate(HEADERS_WITHOUT_VALUE);
                let without = Original { timestamp: original.timestamp, key: None, value: None, headers };
                append(draft, partition, &without).map(drop)
            }
            other => other.map(drop),
        }
    }

    /// After the commit: lets this process see the topic.
    pub(crate) fn written(&self) {
        let topic = self.created.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(topic) = topic.filter(|topic| self.shared.catalog.by_id(topic.id).is_none()) {
            self.shared.publish_topic(topic);
        }
    }
}

/// An operation that fails half way is to be undone, and tried again: only a full draft does that.
pub(super) fn all_or_nothing(error: DraftError) -> DraftError {
    log::debug!("letters: {error}");
    DraftError::Full
}

/// The letter's own headers, which come first, and one more.
const HEADERS_WITHOUT_VALUE: usize = 10;

fn append(draft: &mut Draft<'_>, partition: PartitionId, original: &Original) -> Result<i64, DraftError> {
    let headers: Vec<_> = borrowed(&original.headers).collect();
    let (key, value) = (original.key.as_deref(), original.value.as_deref());
    draft.append_record(partition, Some(original.timestamp), key, value, &headers)
}

pub(super) fn borrowed(headers: &[Header]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone {
    headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref()))
}

/// Offsets in a row as ranges, with what they hold.
fn ranges(mut passed: Vec<(PartitionId, i64, u64)>) -> Vec<(PartitionId, std::ops::Range<i64>, Removed)> {
    passed.sort_unstable();
    let mut ranges: Vec<(PartitionId, std::ops::Range<i64>, Removed)> = Vec::new();
    for (partition, offset, bytes) in passed {
        match ranges.last_mut() {
            Some((last, range, what)) if *last == partition && range.end == offset => {
                range.end += 1;
                what.records += 1;
                what.bytes += bytes;
            }
            _ => ranges.push((partition, offset..offset + 1, Removed { records: 1, bytes })),
        }
    }
    ranges
}

/// Reads records; the last batches read are kept, because letters often come from the same.
pub(super) struct Reader<'a> {
    store: &'a Store,
    read: Option<(PartitionId, Vec<u8>)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, read: None }
    }

    /// The record at an offset. Blocks.
    pub(super) fn record(&mut self, partition: PartitionId, offset: i64) -> Result<Option<Original>, ReadError> {
        let known = self.read.as_ref().filter(|(of, _)| *of == partition);
        if let Some(found) = known.and_then(|(_, bytes)| find(bytes, offset)) {
            return Ok(Some(found));
        }
        let read = self.store.read(partition, offset, 1)?;
        let found = find(&read.bytes, offset);
        self.read = Some((partition, read.bytes));
        Ok(found)
    }
}

fn find(mut bytes: &[u8], offset: i64) -> Option<Original> {
    while let Ok((view, rest)) = BatchView::parse(bytes) {
        bytes = rest;
        if !(view.base_offset()..view.next_offset()).contains(&offset) {
            continue;
        }
        let limits = VerifyLimits {
            batch_bytes_max: BATCH_BYTES_MAX,
            decompressed_bytes_max: BATCH_DECOMPRESSED_BYTES_MAX,
            ..VerifyLimits::default()
        };
        let payload = decompress(&view, &limits).ok()?;
        let record = records(&view, &payload).map_while(Result::ok).find(|record| record.offset == offset)?;
        let owned = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
        return Some(Original {
            timestamp: record.timestamp,
            key: owned(record.key),
            value: owned(record.value),
            headers: record.headers.map(|(name, value)| (name.to_vec(), owned(value))).collect(),
        });
    }
    None
}

fn prepare(shared: &Shared, follower: &str, reader: &mut Reader<'_>, letter: Letter) -> Prepared {
    let Some((topic, index)) = shared.catalog.by_partition(letter.partition) else {
        return Prepared { letter, body: Body::Gone };
    };
    if topic.name == DEAD_LETTER_TOPIC {
        return Prepared { letter, body: Body::OfThisTopic };
    }
    let original = match reader.record(letter.partition, letter.offset) {
        Ok(Some(original)) => original,
        Err(ReadError::OutOfRange(_) | ReadError::UnknownPartition) => {
            return Prepared { letter, body: Body::Gone };
        }
        // That it can't be read must not hold the uplink up: it would not have been delivered either.
        Ok(None) => unreadable("it is not in its batch"),
        Err(error) => unreadable(&error.to_string()),
    };
    let original = with_headers(shared, follower, &letter, (&topic.name, index), original);
    let size = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    let headers: usize = original.headers.iter().map(|(name, value)| name.len() + size(value)).sum();
    if size(&original.key) + size(&original.value) + headers <= GATHERED_BYTES_MAX {
        return Prepared { letter, body: Body::Record(original) };
    }
    let mut builder = BatchBuilder::new();
    let (key, value) = (original.key.as_deref(), original.value.as_deref());
    let body = match builder.push(original.timestamp, key, value, borrowed(&original.headers)) {
        Ok(()) => Body::Batch(builder.finish(Compression::Gzip), original),
        Err(_) => Body::Record(original),
    };
    Prepared { letter, body }
}

fn unreadable(why: &str) -> Original {
    let header = (names::VALUE_MISSING.to_vec(), Some(format!("it can't be read: {why}").into_bytes()));
    Original { timestamp: -1, headers: vec![header], ..Original::default() }
}

/// The record with the headers that tell what it is a letter of, in front of its own.
fn with_headers(
    shared: &Shared,
    follower: &str,
    letter: &Letter,
    (topic, index): (&str, i32),
    original: Original,
) -> Original {
    let now_ms = shared.store.now().wall_ms;
    let said: [(&[u8], String); 9] = [
        (names::CAUSE, letter.cause.name().to_owned()),
        (names::ERROR, letter.error.clone()),
        (names::UPLINK, follower.to_owned()),
        (names::UPSTREAM, letter.upstream.clone()),
        (names::TOPIC, topic.to_owned()),
        (names::PARTITION, index.to_string()),
        (names::OFFSET, letter.offset.to_string()),
        (names::TIME, now_ms.to_string()),
        (names::GATEWAY, shared.options().gateway_id.clone()),
    ];
    let said = said.into_iter().map(|(name, value)| (name.to_vec(), Some(value.into_bytes())));
    Original { headers: said.chain(original.headers).collect(), ..original }
}
