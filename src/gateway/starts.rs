//! The last starts of this gateway, each with how the run before it ended.
//!
//! | a run ended | which is told by |
//! |---|---|
//! | `clean` | the mark that an orderly end leaves in its row |
//! | `power` | no such mark, and another boot id of the kernel: a power cut, a crash of the kernel, a reboot that did not wait |
//! | `watchdog` | SIGABRT from another process, by which the service manager ends one that hangs (`last_words`) |
//! | `panic` | a panic of the main thread, or an abort of its own |
//! | `killed` | nothing of it: SIGKILL, by a person or for want of memory |
//!
//! Invariants: a start costs one commit, in which a new store's identity is made durable too; an end costs one. At most [`STARTS_MAX`]
//! rows. Rows that can't be read count as none.
//!
//! Row: space *gateway*, key `start/` and the boot epoch's ordinal (u32 big-endian); a byte, the format (1), then [`Start`] in postcard.

use serde::{Deserialize, Serialize};

use super::last_words::{LastWords, Mark};
use super::own_rows::OwnRow;
use crate::store::{Space, Store};

/// Starts that are remembered.
const STARTS_MAX: usize = 20;
const PREFIX: &[u8] = b"start/";
const FORMAT: u8 = 1;

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// There was none before, that is known of.
    #[default]
    None,
    Clean,
    Power,
    Watchdog,
    Panic,
    Killed,
}

impl End {
    /// As in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Clean => "clean",
            Self::Power => "power",
            Self::Watchdog => "watchdog",
            Self::Panic => "panic",
            Self::Killed => "killed",
        }
    }
}

/// A start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Unix ms, by the store's clock then.
    pub time_ms: i64,
    /// Whether that was believed.
    pub time_trusted: bool,
    /// Of the software.
    pub version: String,
    /// The kernel's boot id; empty if it tells none.
    pub boot: String,
    /// How the run before ended.
    pub before: End,
    /// The last panic of the run before, if there was one.
    pub words: String,
    /// Whether this run ended in order.
    pub ended_clean: bool,
}

impl Start {
    fn decode(row: &[u8]) -> Option<Self> {
        match row.split_first()? {
            (&FORMAT, body) => postcard::from_bytes(body).ok(),
            _ => None,
        }
    }

    fn row(&self, key: Vec<u8>) -> OwnRow {
        (key, Some(postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()))
    }
}

/// This run, on its way into the store.
#[derive(Clone, Debug)]
pub(super) struct Run {
    key: Vec<u8>,
    start: Start,
}

impl Run {
    /// What is known of this start, and the rows that say so.
    pub(super) fn begin(store: &Store, boot: &str, last_words: LastWords) -> (Self, Vec<OwnRow>) {
        let kept = rows(store.entries(Space::Gateway, PREFIX));
        let (key, now) = ([PREFIX, &store.epoch().ordinal.to_be_bytes()].concat(), store.now());
        let start = Start {
            time_ms: now.wall_ms,
            time_trusted: now.wall_trusted,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: boot.to_owned(),
            before: end_of(kept.last().map(|(_, start)| start), boot, last_words.mark),
            words: last_words.panic,
            ended_clean: false,
        };
        let too_many = (kept.len() + 1).saturating_sub(STARTS_MAX);
        let mut rows = vec![start.row(key.clone())];
        rows.extend(kept.into_iter().take(too_many).map(|(key, _)| (key, None)));
        (Self { key, start }, rows)
    }

    /// The row of an orderly end.
    pub(super) fn end(self) -> OwnRow {
        Start { ended_clean: true, ..self.start }.row(self.key)
    }

    pub(super) fn start(&self) -> &Start {
        &self.start
    }
}

fn end_of(before: Option<&Start>, boot: &str, mark: Option<Mark>) -> End {
    let Some(before) = before else { return End::None };
    if before.ended_clean {
        return End::Clean;
    }
    let is_known = !boot.is_empty() && !before.boot.is_empty();
    match mark {
        _ if is_known && before.boot != boot => End::Power,
        Some(Mark::Watchdog) => End::Watchdog,
        Some(Mark::Abort | Mark::Panic) => End::Panic,
        None => End::Killed,
    }
}

/// By key, which is by time.
fn rows(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Start)> {
    entries.into_iter().map(|(key, row)| (key, Start::decode(&row).unwrap_or_default())).collect()
}

/// The starts among the rows of a store's space *gateway*, newest first.
#[must_use]
pub fn starts(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Start> {
    let mut starts: Vec<Start> =
        rows(entries).into_iter().filter(|(key, _)| key.starts_with(PREFIX)).map(|(_, start)| start).collect();
    starts.reverse();
    starts
}

/// Which boot of the kernel this is: /proc/sys/kernel/random/boot_id; empty if that can't be read.
pub(super) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().chars().take(36).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_told_by_what_it_leaves() {
        let before = Start { boot: "a".to_owned(), ..Start::default() };
        let clean = Start { ended_clean: true, ..before.clone() };
        let told = |before: &Start, boot: &str, mark| end_of(Some(before), boot, mark);
        assert_eq!(end_of(None, "a", None), End::None);
        assert_eq!(told(&clean, "b", Some(Mark::Watchdog)), End::Clean);
        assert_eq!(told(&before, "b", None), End::Power);
        assert_eq!(told(&before, "b", Some(Mark::Panic)), End::Power, "a mark of the boot before");
        assert_eq!(told(&before, "a", Some(Mark::Watchdog)), End::Watchdog);
        assert_eq!(told(&before, "a", Some(Mark::Panic)), End::Panic);
        assert_eq!(told(&before, "a", Some(Mark::Abort)), End::Panic);
        assert_eq!(told(&before, "a", None), End::Killed);
        assert_eq!(told(&before, "", None), End::Killed, "a kernel that tells no boot id");
    }

    #[test]
    fn rows_read_back_newest_first_and_what_is_unreadable_is_passed_over() {
        let start = |time_ms| Start { time_ms, words: "main: gone".to_owned(), before: End::Panic, ..Start::default() };
        let key = |ordinal: u32| [PREFIX, &ordinal.to_be_bytes()].concat();
        let row = |ordinal, time_ms| {
            let (key, value) = start(time_ms).row(key(ordinal));
            (key, value.unwrap())
        };
        let entries = vec![(b"identity".to_vec(), vec![1]), row(255, 1), row(256, 2), (key(257), vec![9, 9])];
        assert_eq!(starts(entries), [Start::default(), start(2), start(1)]);
    }
}
