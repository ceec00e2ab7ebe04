//! Ids for idempotent producers, never given twice: a block of them is reserved durably, then given from memory.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::Broker;
use super::call::call;
use super::error::CommitError;
use crate::store::Space;

/// Where the first id not yet reserved is kept, in `Space::Producer`; producers' keys have 12 bytes.
const NEXT: &[u8] = b"next";
/// The first id ever given.
const FIRST: i64 = 1;
/// Ids reserved by one commit.
const BLOCK: i64 = 1_000;

/// The reserved ids that are left.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    left: Mutex<Range<i64>>,
}

impl ProducerIds {
    fn take(&self) -> Option<i64> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    fn refill(&self, block: Range<i64>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = block;
    }
}

impl Broker {
    /// An id that no producer was ever given, for use with epoch 0.
    ///
    /// # Errors
    /// Why the store could not reserve any.
    pub async fn new_producer_id(&self) -> Result<i64, CommitError> {
        if let Some(id) = self.shared.producer_ids.take() {
            return Ok(id);
        }
        let block = call(
            &self.shared.store,
            |draft| {
                let stored =
                    draft.get(Space::Producer, NEXT).and_then(|v| Some(i64::from_be_bytes(v.try_into().ok()?)));
                let first = stored.unwrap_or(FIRST);
                let end = first.saturating_add(BLOCK);
                draft.put(Space::Producer, NEXT, &end.to_be_bytes())?;
                Ok(first..end)
            },
            |_| {},
        )
        .await?;
        // Two callers may each reserve a block; the smaller rest of one is then left unused.
        let (first, rest) = (block.start, block.start + 1..block.end);
        self.shared.producer_ids.refill(rest);
        Ok(first)
    }
}
