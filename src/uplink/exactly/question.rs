//! What is asked about transactions, of whom, what the answers are, and what they lead to.

use std::sync::Arc;

use super::cursor::Witness;
use super::local::{Pending, Place};
use super::resuming::Chunk;
use super::trouble::Failure;
use crate::uplink::sending::producer::{Identity, LaneId};

/// Which coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Role {
    Group,
    Transactions,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Ask {
    /// Who coordinates.
    Coordinator(Role),
    /// A producer id and epoch. `keep`: as its successor, unless somebody else is that already.
    Producer {
        keep: Option<Identity>,
    },
    /// The group's offsets.
    Witness,
    /// The first offset of this partition of cursors.
    First {
        partition: i32,
    },
    /// Records of it: as many as one answer takes, or one batch of them.
    Read {
        from: Place,
        all: bool,
    },
    Partitions(Vec<LaneId>),
    Group,
    CommitWitness,
    /// To make this durable here.
    Record,
    End {
        commit: bool,
    },
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Whom {
    Anyone,
    Coordinator(i32),
    /// The leader of this partition of cursors.
    Cursors(i32),
    /// The own store.
    Here,
}

/// An answer.
#[derive(Debug)]
pub(in crate::uplink) enum Heard {
    Coordinator(Role, Result<i32, Failure>),
    Producer(Result<Identity, Failure>),
    Witness(Result<Option<Witness>, Failure>),
    First(Result<i64, Failure>),
    Read(Result<Chunk, Failure>),
    /// The partitions that are not part of it, each with the reason.
    Partitions(Vec<LaneId>, Result<Vec<(LaneId, Failure)>, Failure>),
    Group(Result<(), Failure>),
    CommitWitness(Result<(), Failure>),
    Record(Result<(), String>),
    /// The identity of the next transaction, with the second protocol.
    End(Result<Option<Identity>, Failure>),
}

/// What an answer led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Happened {
    Nothing,
    /// The transaction is committed.
    Committed,
    /// It is not, or not known to be: everything since the last one is to be dropped.
    Broken(String),
    /// A topic can't be written to: as `Broken`, and the topic is left out for a while.
    TopicRefused {
        topic: Arc<str>,
        why: String,
    },
    /// Where it stands is known: the last transaction's positions are to be taken over, if it was committed.
    Resumed {
        pending: Option<Pending>,
        committed: bool,
    },
    /// All cursors were looked through, and wait in [`Transactions::looked`].
    Looked,
    /// Upstream does not let a transaction stand that long.
    TooPatient(String),
    /// Someone must change something upstream; tried again after a backoff.
    Refused(String),
    /// A rival has taken this uplink's place.
    Fenced,
    /// Asked in vain for too long.
    Alarm(String),
}
