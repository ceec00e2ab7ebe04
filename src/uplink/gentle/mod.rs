//! Gentleness: what of the link an uplink or a downlink may use, and when. Pure: the caller brings the time and counts the bytes.
//!
//! | file | what it decides |
//! |---|---|
//! | `gate` | one answer for the task: all, only what is urgent, or nothing; how much, and for how long |
//! | `budget` | `budget`: bytes of a day or month, kept over restarts |
//! | `schedule` | `schedule`: windows of the week |
//! | `slow_start` | after an outage: when to begin, and how fast to grow |
//! | `bucket` | `rate_limit`: when the next bytes may leave, or be asked for |
//! | `rhythm` | how far apart commits upstream are |
//! | `flow` | how much may be under way |
//!
//! Invariants: what is urgent waits for no window and no budget; a clock that is not believed closes no window and renews no
//! budget early; a crash never makes a budget count less than was used, save for what the last save had not reached.

mod bucket;
mod budget;
mod flow;
mod gate;
mod rhythm;
mod schedule;
mod slow_start;

pub(in crate::uplink) use bucket::Bucket;
pub(in crate::uplink) use flow::Flow;
pub(in crate::uplink) use gate::{Gate, Open, Permit, Shut};
