//! Which batches of a log count for who reads committed records only. Pure.
//!
//! Invariant: told of all aborted transactions that a fetch names, and then shown its batches in order, it lets no batch of an
//! aborted transaction pass, no marker, and everything else.

use std::collections::BTreeSet;

use super::BatchView;

/// The aborted transactions of a partition around the place that a reader has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aborted {
    /// Those to come: first offset, producer.
    to_come: BTreeSet<(i64, i64)>,
    /// The producers in whose aborted transactions the reader is.
    within: BTreeSet<i64>,
}

impl Aborted {
    /// A producer's transaction that begins at `first_offset` is aborted, says a fetch.
    pub fn note(&mut self, producer: i64, first_offset: i64) {
        self.to_come.insert((first_offset, producer));
    }

    /// Whether the records of the next batch count.
    pub fn counts(&mut self, view: &BatchView<'_>) -> bool {
        let later = self.to_come.split_off(&(view.next_offset(), i64::MIN));
        self.within.extend(std::mem::replace(&mut self.to_come, later).into_iter().map(|(_, producer)| producer));
        let attributes = view.attributes();
        if attributes.is_control() {
            // A marker ends its producer's transaction.
            self.within.remove(&view.producer_id());
            return false;
        }
        !(attributes.is_transactional() && self.within.contains(&view.producer_id()))
    }
}
