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
    /// It is done, and the answer is no answer; by a seed.
    Garbled(u64),
    None,
}

impl Fault {
    pub fn is_done(self) -> bool {
        !matches!(self, Self::Cut | Self::Silence | Self::Code(_))
    }
}

/// Makes an answer one that nobody could take for true: cut short, of other bytes, of lengths and counts that are only claimed, or of another
/// request. Never a lie that a client can't see through.
pub(super) fn garble(answer: &mut Vec<u8>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    // Its size and the id of its request.
    const HEAD: usize = 8;
    let rest = answer.len().saturating_sub(HEAD);
    match random.u8(..8) {
        0 => answer.truncate(random.usize(..answer.len())),
        1 => answer.truncate(HEAD + random.usize(..rest.max(1))),
        2 => answer[HEAD..].iter_mut().for_each(|byte| *byte = random.u8(..)),
        3 => answer.splice(HEAD.., (0..random.usize(..40_000)).map(|_| random.u8(..))).for_each(drop),
        // The first array, of messages of either form.
        4 => answer.splice(HEAD..(HEAD + 4).min(answer.len()), [0x7f, 0xff, 0xff, 0xff]).for_each(drop),
        5 => answer.splice(HEAD.., [0, 0xff, 0xff, 0xff, 0xff, 0x0f]).for_each(drop),
        6 => {
            let claim = [i32::MAX, -1, 0, 3, 0x0400_0000, i32::MIN][random.usize(..6)];
            answer[..4].copy_from_slice(&claim.to_be_bytes());
            return;
        }
        _ => answer[7] ^= 0x55,
    }
    if random.bool() && answer.len() >= 4 {
        let size = u32::try_from(answer.len() - 4).unwrap();
        answer[..4].copy_from_slice(&size.to_be_bytes());
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
