//! Looking at letters, and settling them: retried (back into the topic they came from) or dropped.
//!
//! Which letters are settled is a set of offsets in `Space::Cursor`, under the topic's name in the place of a follower's.
//! Once the oldest are settled, the topic's log start moves behind them.
//!
//! Invariants: a retried record, and the letter's being settled, are one commit, and only who settles a letter puts its record
//! back; so each is put back once, whoever asks how often.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::admin::current;
use super::super::call::call;
use super::super::error::CommitError;
use super::super::topic::{TimestampType, Topic};
use super::super::{Broker, Shared};
use super::names;
use super::writing::{Original, Reader, all_or_nothing, borrowed};
use crate::executor;
use crate::limits::{DEAD_LETTER_LISTED_MAX, DEAD_LETTER_TOPIC};
use crate::record::{BatchBuilder, Compression};
use crate::store::{Draft, DraftError, Intervals, PartitionId, ReadError, Space, cursor_key};

/// Most characters of a key that are shown.
const KEY_SHOWN_CHARS: usize = 40;

/// A letter, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LetterReport {
    /// What it is called by: its offset in the dead-letter topic.
    pub letter: i64,
    /// When it became one, Unix ms by the gateway's clock.
    pub time_ms: i64,
    pub cause: String,
    pub error: String,
    pub uplink: String,
    /// The topic upstream.
    pub upstream: String,
    /// Where the record lay.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// As text, cut.
    pub key: Option<String>,
    pub value_bytes: u64,
    /// Why it has no value although the record had one.
    pub value_missing: Option<String>,
}

/// Some letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LetterList {
    pub letters: Vec<LetterReport>,
    /// Where to go on; `None` if these are all.
    pub next: Option<i64>,
}

/// What came of settling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LettersSettled {
    pub settled: u64,
    /// Those that were left as they are, and why.
    pub refused: Vec<(i64, String)>,
}

/// What to do with letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Each record goes to the end of its partition again.
    Retry,
    Drop,
}

/// A letter with what it takes to retry it.
struct Open {
    report: LetterReport,
    original: Original,
}

impl Broker {
    /// The letters from `first` to `last` that are not settled: at most [`DEAD_LETTER_LISTED_MAX`].
    ///
    /// # Errors
    /// A text: the store can't be read.
    pub async fn letters(&self, first: i64, last: i64) -> Result<LetterList, String> {
        let mut list = LetterList::default();
        let (open, next) = self.open_letters(first, last, DEAD_LETTER_LISTED_MAX, u64::MAX).await?;
        list.letters.extend(open.into_iter().map(|open| open.report));
        list.next = next;
        Ok(list)
    }

    /// Retries or drops the letters from `first` to `last`, some in one commit.
    ///
    /// # Errors
    /// A text: the store can't be read, or did not commit; letters before that are settled.
    pub async fn settle_letters(&self, first: i64, last: i64, how: Settle) -> Result<LettersSettled, String> {
        let (mut done, mut from) = (LettersSettled::default(), Some(first));
        let (count, bytes) = (DEAD_LETTER_LISTED_MAX, self.letters_bytes_max());
        while let Some(at) = from {
            let (open, next) = self.open_letters(at, last, count, bytes).await?;
            from = next;
            let mut ready = Vec::new();
            for open in open {
                match how {
                    Settle::Drop => ready.push((open.report.letter, None)),
                    Settle::Retry => match self.again(&open) {
                        Ok(again) => ready.push((open.report.letter, Some(again))),
                        Err(why) => done.refused.push((open.report.letter, why)),
                    },
                }
            }
            if !ready.is_empty() {
                let (settled, refused) = self.commit_settled(ready).await?;
                done.settled += settled;
                done.refused.extend(refused);
            }
        }
        Ok(done)
    }

    /// What a letter's record is put back as.
    fn again(&self, open: &Open) -> Result<Again, String> {
        let LetterReport { topic, partition, value_missing, .. } = &open.report;
        if let Some(why) = value_missing {
            return Err(format!("its value is not here ({why})"));
        }
        let found = self.topic(topic).ok_or_else(|| format!("there is no topic {topic} any more"))?;
        let Some(place) = found.partition(*partition) else {
            return Err(format!("topic {topic} has no partition {partition}"));
        };
        let mut builder = BatchBuilder::new();
        let Original { timestamp, key, value, headers } = &open.original;
        let stamped = found.config.timestamp_type == TimestampType::LogAppendTime;
        let timestamp = if stamped { self.store().now().wall_ms } else { *timestamp };
        let pushed = builder.push(timestamp, key.as_deref(), value.as_deref(), borrowed(headers));
        pushed.map_err(|error| error.to_string())?;
        Ok(Again { topic: found, partition: place, batch: builder.finish(Compression::Gzip) })
    }

    async fn commit_settled(&self, ready: Vec<(i64, Option<Again>)>) -> Result<(u64, Vec<(i64, String)>), String> {
        let Some(topic) = self.topic(DEAD_LETTER_TOPIC) else { return Ok((0, Vec::new())) };
        let shared = Arc::clone(&self.shared);
        let apply = move |draft: &mut Draft<'_>| settle(draft, &shared, &topic, &ready);
        let committed: Result<_, CommitError> = call(&self.shared.store, apply, |_| {}).await;
        committed.map_err(|error| error.to_string())
    }

    /// Letters from `first` to `last` that are not settled, at most so many and about so many bytes of them; where to go on.
    async fn open_letters(
        &self,
        first: i64,
        last: i64,
        count: usize,
        bytes: u64,
    ) -> Result<(Vec<Open>, Option<i64>), String> {
        let Some(partition) = self.topic(DEAD_LETTER_TOPIC).and_then(|topic| topic.partition(0)) else {
            return Ok((Vec::new(), None));
        };
        let shared = Arc::clone(&self.shared);
        let read = executor::unblock(move || read_open(&shared, partition, first, last, count, bytes));
        read.await.map_err(|error| format!("{DEAD_LETTER_TOPIC} can't be read: {error}"))
    }
}

/// A record to be put back.
struct Again {
    topic: Arc<Topic>,
    partition: PartitionId,
    batch: Vec<u8>,
}

/// On the writer: puts records back, and notes that their letters are settled. How many were; and which were not, and why.
fn settle(
    draft: &mut Draft<'_>,
    shared: &Shared,
    letters: &Topic,
    ready: &[(i64, Option<Again>)],
) -> Result<(u64, Vec<(i64, String)>), DraftError> {
    let Some(partition) = letters.partition(0) else { return Ok((0, Vec::new())) };
    let Some(head) = draft.head(partition) else { return Ok((0, Vec::new())) };
    let key = cursor_key(DEAD_LETTER_TOPIC, partition);
    let end = head.readable_end();
    let before = draft.get(Space::Cursor, &key).and_then(|row| Intervals::decode_within(row, end)).unwrap_or_default();
    let mut settled = before.clone();
    // What has gone is settled too.
    let _too_many = settled.insert(0..head.log_start);
    let (mut count, mut refused) = (0, Vec::new());
    for (letter, again) in ready {
        if settled.contains(*letter) {
            continue;
        }
        if again.as_ref().is_some_and(|again| current(draft, shared, &again.topic).is_none()) {
            refused.push((*letter, "its topic was deleted".to_owned()));
            continue;
        }
        if settled.insert(*letter..*letter + 1).is_err() {
            refused.push((*letter, "too many letters before it are not settled: settle those first".to_owned()));
            continue;
        }
        if let Some(again) = again {
            draft.append_batch(again.partition, &again.batch).map_err(all_or_nothing)?;
        }
        count += 1;
    }
    if settled != before {
        draft.put(Space::Cursor, &key, &settled.encode()).map_err(all_or_nothing)?;
        draft.set_log_start(partition, settled.first_gap()).map_err(all_or_nothing)?;
    }
    Ok((count, refused))
}

/// Blocks.
fn read_open(
    shared: &Shared,
    partition: PartitionId,
    first: i64,
    last: i64,
    count: usize,
    bytes_max: u64,
) -> Result<(Vec<Open>, Option<i64>), ReadError> {
    let store = &shared.store;
    let Some(head) = store.head(partition) else { return Ok((Vec::new(), None)) };
    let row = store.get(Space::Cursor, &cursor_key(DEAD_LETTER_TOPIC, partition));
    let settled = row.and_then(|row| Intervals::decode_within(&row, head.readable_end())).unwrap_or_default();
    let mut reader = Reader::new(store);
    let (mut open, mut bytes) = (Vec::new(), 0);
    let end = head.readable_end().min(last.saturating_add(1));
    for range in settled.missing_in(first.max(head.log_start)..end) {
        for letter in range {
            if open.len() >= count || bytes > bytes_max {
                return Ok((open, Some(letter)));
            }
            if let Some(record) = reader.record(partition, letter)? {
                let one = report(letter, record);
                bytes += one.report.value_bytes + one.report.error.len() as u64;
                open.push(one);
            }
        }
    }
    Ok((open, None))
}

fn report(letter: i64, record: Original) -> Open {
    let mut report = LetterReport { letter, ..LetterReport::default() };
    let own = record.headers.iter().take_while(|(name, _)| name.starts_with(names::PREFIX)).count();
    let mut headers = record.headers;
    let behind = headers.split_off(own);
    for (name, value) in headers {
        let text = String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
        match name.as_slice() {
            names::CAUSE => report.cause = text,
            names::ERROR => report.error = text,
            names::UPLINK => report.uplink = text,
            names::UPSTREAM => report.upstream = text,
            names::TOPIC => report.topic = text,
            names::PARTITION => report.partition = text.parse().unwrap_or(-1),
            names::OFFSET => report.offset = text.parse().unwrap_or(-1),
            names::TIME => report.time_ms = text.parse().unwrap_or(-1),
            names::VALUE_MISSING => report.value_missing = Some(text),
            _ => {}
        }
    }
    let shown = |key: &Vec<u8>| String::from_utf8_lossy(key).chars().take(KEY_SHOWN_CHARS).collect();
    report.key = record.key.as_ref().map(shown);
    report.value_bytes = record.value.as_ref().map_or(0, |value| value.len() as u64);
    Open { report, original: Original { headers: behind, ..record } }
}
