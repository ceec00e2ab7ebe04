//! Exactly once: the records of a stretch and the positions behind it become visible upstream in one transaction, or not at all.
//!
//! | file | what it is |
//! |---|---|
//! | `transaction`, `open` | one transaction after the other, and what to ask next (pure) |
//! | `question` | what is asked, of whom, and what the answers lead to |
//! | `resuming` | how an uplink finds out where it stands, step by step (pure) |
//! | `trouble` | what an error code means for a transaction (pure) |
//! | `cursor` | the positions as they lie upstream: records of `brooklet.cursors`, and the witness |
//! | `local` | what is kept here of the last transactions |
//! | `committed` | the records of a partition upstream that count (pure) |
//! | `standing` | what follows from what was found (pure) |
//! | `sizing` | how much a transaction may take (pure) |
//! | `patience` | how long the brokers let one stand (pure) |
//! | `requests`, `reading` | the requests behind each question |
//! | `knows`, `drive`, `settling` | join it with the forwarder's loop |
//!
//! **What a transaction holds**: the batches; a cursor for each local partition that it moves; and the *witness*, which is the
//! group's offset on this gateway's partition of `brooklet.cursors`: the transaction's number. Before it is committed, its number,
//! the place of its cursors and the new positions are made durable here. So one look at the witness tells what became of a
//! transaction whose end nobody heard; and if the group's offset has expired, one look at the place of the cursors.
//!
//! Invariants: a position moves only with a transaction that is known to be committed; numbers of transactions never go back
//! and never name two that could both be committed; a witness that is not there is never taken for a beginning.

mod committed;
mod cursor;
mod drive;
mod knows;
mod local;
mod open;
mod patience;
mod question;
mod reading;
mod requests;
mod resuming;
mod settling;
mod sizing;
mod standing;
mod transaction;
mod trouble;

pub(super) use committed::Committed;
pub(super) use cursor::Epoch;
pub(super) use knows::{Exactly, Tally, cursors, id, is_cursors};
pub(super) use question::Heard;
pub(super) use reading::{READ_BYTES, edge, read};
pub(super) use settling::Histories;
pub(super) use standing::{Divergence, common_point};
