//! What goes wrong, request by request.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use brooklet::kafka::api::ApiKey;

/// What goes wrong with the next request of an API.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The request is lost with the connection: nothing is done.
    Cut,
    /// It is done, and the connection ends before the answer.
    ReplyLost,
    /// Nothing is done, and nothing on this connection is ever answered again.
    Silence,
    /// It is done, and nothing on this connection is ever answered again.
    DoneInSilence,
    /// Nothing is done; this is the answer (of every partition).
    Code(i16),
    /// It is done, and this is the answer.
    DoneButCode(i16),
    /// Leadership of all partitions moves to the other broker, and this one says so.
    LeaderMoves,
    /// The coordinator of all transactions (groups: of all groups) is the other broker now, and this one says so.
    CoordinatorMoves,
    /// All that is known of producers is forgotten.
    ProducersForgotten,
    /// It takes a while.
    Slow(Duration),
    None,
}

impl Fault {
    pub fn is_done(self) -> bool {
        !matches!(self, Self::Cut | Self::Silence | Self::Code(_))
    }
}

/// The faults to come, for each API.
#[derive(Default)]
pub struct Plan {
    next: BTreeMap<ApiKey, VecDeque<Fault>>,
    /// Errors that last: the answers of an API until this is cleared.
    pub always: BTreeMap<ApiKey, i16>,
}

impl Plan {
    pub fn push(&mut self, api: ApiKey, faults: &[Fault]) {
        self.next.entry(api).or_default().extend(faults);
    }

    pub fn take(&mut self, api: ApiKey) -> Fault {
        let next = self.next.get_mut(&api).and_then(VecDeque::pop_front);
        next.or_else(|| self.always.get(&api).map(|code| Fault::Code(*code))).unwrap_or(Fault::None)
    }

    pub fn is_empty(&self) -> bool {
        self.next.values().all(VecDeque::is_empty)
    }
}
