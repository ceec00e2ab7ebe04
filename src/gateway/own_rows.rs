//! Rows of the gateway itself in the keyed state: who it is, when it was started.
//!
//! Invariant: the rows of one call are committed together, at once, and the answer comes when they are durable.

use crate::oneshot::{self, Receiver, Sender};
use crate::store::{Committed, Draft, DraftError, Operation, Refused, Space, Store, StoreError};

/// A key of the space *gateway*, and its value; without one it is deleted.
pub(super) type OwnRow = (Vec<u8>, Option<Vec<u8>>);

/// Why it was not written, if it was not.
pub(super) type Written = Result<(), String>;

struct PutRows {
    rows: Vec<OwnRow>,
    refused: Option<DraftError>,
    told: Sender<Written>,
}

impl Operation for PutRows {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        self.refused = None;
        for (key, value) in &self.rows {
            let done = match value {
                Some(value) => draft.put(Space::Gateway, key, value),
                None => draft.delete(Space::Gateway, key),
            };
            match done {
                Ok(()) => {}
                Err(DraftError::Full) => return Err(Refused),
                Err(error) => self.refused = Some(error),
            }
        }
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        let outcome = outcome.map_err(ToString::to_string).map(drop);
        let refused = self.refused.map_or(Ok(()), |error| Err(error.to_string()));
        self.told.send(outcome.and(refused));
    }

    fn commits_at_once(&self) -> bool {
        true
    }
}

/// Queues the rows; what is returned tells when they are durable. It ends without a word where the store takes nothing any more.
pub(super) fn write_rows(store: &Store, rows: Vec<OwnRow>) -> Receiver<Written> {
    let (told, outcome) = oneshot::channel();
    // A queue that is full of other work is no state that a start or an end meets.
    drop(store.try_submit(Box::new(PutRows { rows, refused: None, told })));
    outcome
}
