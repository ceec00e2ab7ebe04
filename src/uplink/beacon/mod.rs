//! What the centre is told of this gateway: a *notice*, a small JSON record with the gateway's id as key, in the topic upstream that
//! `uplink.X.status` names.
//!
//! | file | what it is |
//! |---|---|
//! | `notice` | what it says, written and read (pure) |
//! | `rhythm` | when one is due (pure) |
//! | `sending` | where it goes, and what the answer means |
//!
//! **With the next data, never alone.** A notice goes out right behind a request with records, in a request of its own on a
//! connection that is open for them anyway: no timer wakes a link, no transaction is begun, made larger or held open for it. A
//! gateway that has nothing to forward tells nothing.
//!
//! **Neither stored nor part of a transaction.** It is made of what is known when it goes, so it costs no flash and is never old. It
//! has no sequence and is sent once, whatever the answer: only the newest counts, and the next one is due in minutes. So after a
//! crash there is nothing to resume, cursors and witness never hear of it, and a topic that is missing or refused ends no
//! transaction and stalls nothing: the notice is dropped and counted, and the status says why.
//!
//! Invariants: at most one under way; none within [`rhythm::CHANGE_MIN`] of the one before; at most [`notice::NOTICE_BYTES_MAX`]
//! bytes; nothing that becomes of one changes what becomes of records.

mod notice;
mod rhythm;
mod sending;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use notice::{Notice, NoticeFault};
use rhythm::Rhythm;
pub(super) use sending::{Told, missing};

/// After a refusal, which only somebody's doing ends, this time passes before another one is tried.
const REFUSED_FOR: Duration = Duration::from_secs(3_600);

/// What is told of a gateway besides what its uplinks know; one for all of them.
#[derive(Debug)]
pub struct About {
    started: Instant,
    /// How the run before this one ended.
    before: &'static str,
    config: AtomicU32,
}

impl Default for About {
    fn default() -> Self {
        Self::new("none")
    }
}

impl About {
    /// A gateway that starts now. `before`: how the run before ended, a word of at most 16 letters.
    #[must_use]
    pub fn new(before: &'static str) -> Self {
        Self { started: Instant::now(), before, config: AtomicU32::new(0) }
    }

    /// From now on it has the configuration of this fingerprint; 0 before the first is known.
    pub fn reconfigured(&self, config: u32) {
        self.config.store(config, Ordering::Relaxed);
    }

    fn config(&self) -> u32 {
        self.config.load(Ordering::Relaxed)
    }
}

/// What became of notices, for the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NoticesStatus {
    /// The topic upstream; empty if none are sent.
    pub topic: String,
    /// Taken upstream, since the process started.
    pub sent: u64,
    /// Not taken, or nobody knows.
    pub dropped: u64,
    /// Why none are taken, and what to do.
    pub refused: Option<String>,
}

/// An uplink's notices. See the module.
#[derive(Debug)]
pub(super) struct Beacon {
    topic: Option<Arc<str>>,
    rhythm: Rhythm,
    /// Records have gone out since the last look.
    records_went: bool,
    under_way: bool,
    /// After a refusal.
    not_before: Option<Instant>,
    /// Creating the topic was tried.
    pub(super) creation_tried: bool,
    /// Partitions of the topic of a gateway upstream.
    partitions_above: Option<u32>,
    status: NoticesStatus,
}

impl Beacon {
    pub(super) fn new(topic: Option<&str>) -> Self {
        Self {
            topic: topic.map(Arc::from),
            rhythm: Rhythm::default(),
            records_went: false,
            under_way: false,
            not_before: None,
            creation_tried: false,
            partitions_above: None,
            status: NoticesStatus { topic: topic.unwrap_or_default().to_owned(), ..NoticesStatus::default() },
        }
    }

    /// The topic upstream, if notices are sent.
    pub(super) fn topic(&self) -> Option<Arc<str>> {
        self.topic.clone()
    }

    /// Records are on their way upstream: a notice may go with them.
    pub(super) fn records_went(&mut self) {
        self.records_went = true;
    }

    pub(super) fn status(&self) -> NoticesStatus {
        self.status.clone()
    }

    /// Whether to look if one is due. A look that comes to nothing is repeated with later records.
    fn may_look(&mut self, now: Instant) -> bool {
        let went = std::mem::take(&mut self.records_went) && self.topic.is_some() && !self.under_way;
        went && self.not_before.is_none_or(|at| at <= now) && self.rhythm.may_look(now)
    }

    /// Upstream takes none. Whether that is news.
    fn refused(&mut self, why: String) -> bool {
        let news = self.status.refused.as_ref() != Some(&why);
        self.status.refused = Some(why);
        news
    }
}
