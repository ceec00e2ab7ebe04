//! What the loop of an uplink is made of: events, and what it knows of topics and brokers upstream and of its own reading.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::beacon;
use super::exactly::Heard;
use super::link::cluster::{Link, TopicLimits};
use super::link::connection::LinkError;
use super::mirror::Unsaved;
use super::sending::producer::Sent;
use super::tier;
use crate::broker::CommitError;
use crate::store::ScannedBatch;

/// What happened beside the loop.
pub(super) enum Event {
    /// The answer to a Produce request, or why there is none; with the bytes of its batches, and how long it took.
    Answered { node: i32, version: i16, sent: Vec<Sent>, took: (usize, Duration), answer: Result<Vec<u8>, LinkError> },
    /// The gateway upstream has answered to a stretch, or not.
    Above(tier::Heard),
    /// A broker was dialled.
    Dialled { node: i32, link: Result<Link, LinkError> },
    /// The answer to a question about transactions.
    Heard { course: u64, heard: Heard },
    /// A transaction was made durable here, with what was not saved before, or not.
    Recorded { course: u64, unsaved: Unsaved, result: Result<(), CommitError> },
    /// Positions were saved, or not.
    Saved { unsaved: Unsaved, result: Result<(), CommitError> },
    /// What is used of the budget was saved, or not.
    BudgetSaved(Result<(), CommitError>),
    /// What topics upstream take was saved, or not.
    LimitsSaved(Result<(), CommitError>),
    /// It is known what became of a notice to the centre.
    Noticed(beacon::Told),
    /// A record for this local topic was refused, as too large for upstream.
    Refused(String),
}

/// A topic upstream, as it is used.
#[derive(Debug)]
pub(super) struct Upstream {
    /// The number of partitions that records are spread over.
    pub(super) partitions: u32,
    /// Another number that was heard of: it takes effect when nothing of the topic is under way.
    pub(super) heard: Option<u32>,
    pub(super) limits: TopicLimits,
    /// When these were asked for.
    pub(super) limits_at: Instant,
}

/// A broker that failed lately.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) backoff: Backoff,
    pub(super) not_before: Option<Instant>,
}

/// What is known of the cluster, and when to ask again.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    pub(super) at: Option<Instant>,
    /// Something has shown that it is out of date.
    pub(super) stale: bool,
    pub(super) backoff: Backoff,
    pub(super) not_before: Option<Instant>,
}

/// Whether there is something to read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// All that is committed has been read.
    pub(super) at_end: bool,
    /// Something can't be read: commits are looked at one by one until it is found.
    pub(super) careful: bool,
    /// New records may wait for company until then.
    pub(super) not_before: Option<Instant>,
    /// Read, and not gathered yet: there was no room for them in the transaction.
    pub(super) stash: VecDeque<ScannedBatch>,
}

impl Reading {
    /// Forgets what was read.
    pub(super) fn start_anew(&mut self) {
        *self = Self { not_before: self.not_before, ..Self::default() };
    }

    /// Whether all that is committed has been read and gathered.
    pub(super) fn is_through(&self) -> bool {
        self.at_end && self.stash.is_empty()
    }
}
