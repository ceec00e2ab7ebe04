//! What partitions are worth when room is needed.

use super::options::OnFull;

/// The class of a partition, as its topic says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// The topic: its partitions share the reserve.
    pub topic: [u8; 16],
    /// 0 to 9; what has a lower one goes first.
    pub priority: u8,
    /// Bytes of the topic's newest records that are never evicted.
    pub reserve: u64,
    /// `Refuse`: nothing of it is evicted; appends to it are refused where the rest can't make room.
    pub on_full: OnFull,
}
