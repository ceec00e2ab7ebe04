//! What can be seen of the transactions from outside.

use std::time::Instant;

use super::{State, Transactions};
use crate::uplink::exactly::cursor;
use crate::uplink::exactly::open::{Asking, Open, Phase};
use crate::uplink::link::versions::Protocol;
use crate::uplink::sending::producer::{Identity, LaneId};

impl Transactions {
    pub(in crate::uplink::exactly) fn partition(&self) -> i32 {
        self.partition
    }

    pub(in crate::uplink::exactly) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(in crate::uplink::exactly) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    pub(in crate::uplink::exactly) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    pub(in crate::uplink::exactly) fn is_resuming(&self) -> bool {
        matches!(self.state, State::Resuming(_))
    }

    pub(in crate::uplink::exactly) fn is_fenced(&self) -> bool {
        matches!(self.state, State::Fenced)
    }

    pub(in crate::uplink::exactly) fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    pub(in crate::uplink::exactly) fn open(&self) -> Option<&Open> {
        if let State::Open(open) = &self.state { Some(open) } else { None }
    }

    /// Whether records may be added to the open transaction.
    pub(in crate::uplink::exactly) fn is_streaming(&self) -> bool {
        self.open().is_some_and(|open| matches!(open.phase, Phase::Streaming))
    }

    /// Whether the last acknowledgements are awaited.
    pub(in crate::uplink::exactly) fn is_draining(&self) -> bool {
        self.open().is_some_and(|open| matches!(open.phase, Phase::Draining))
    }

    /// Whether all that belongs to the open transaction is acknowledged, and only its end is awaited.
    pub(in crate::uplink::exactly) fn is_ending(&self) -> bool {
        self.open().is_some_and(|open| matches!(open.phase, Phase::Ending(_)))
    }

    /// The number of the open transaction, or of the next.
    pub(in crate::uplink::exactly) fn number(&self) -> u64 {
        self.open().map_or(self.number + 1, |open| open.number)
    }

    /// What is committed beside the number.
    pub(in crate::uplink::exactly) fn witness_metadata(&self) -> String {
        cursor::metadata(&self.local.lineage, self.epoch)
    }

    /// When something is due that isn't now.
    pub(in crate::uplink::exactly) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Whether records may go to this partition now.
    pub(in crate::uplink::exactly) fn may_send(&self, lane: &LaneId) -> bool {
        let Some(open) = self.open() else { return false };
        match open.phase {
            Phase::Streaming | Phase::Draining => {
                self.protocol == Protocol::Second || open.partitions.get(lane) == Some(&Asking::Answered)
            }
            Phase::Recording(_) | Phase::Ending(_) => false,
        }
    }
}
