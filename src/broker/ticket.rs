//! The answer to a producer: with `memory` when its records have their offsets, else when they are committed.

use async_channel::{Receiver, Sender};

use super::error::ProduceError;
use super::produce::Acks;
use crate::store::{Committed, StoreError};

/// The answer to come. The order of tickets is the order of appends.
#[derive(Debug)]
pub struct Ticket<T> {
    answer: Receiver<Result<T, ProduceError>>,
}

impl<T> Ticket<T> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// Why the records were not taken; none of them were.
    pub async fn wait(self) -> Result<T, ProduceError> {
        self.answer.recv().await.unwrap_or(Err(StoreError::Closed.into()))
    }
}

/// The writer's side of a [`Ticket`].
pub(super) struct Answer<T> {
    acks: Acks,
    reply: Sender<Result<T, ProduceError>>,
    result: Option<Result<T, ProduceError>>,
}

impl<T: Clone> Answer<T> {
    pub(super) fn new(acks: Acks) -> (Self, Ticket<T>) {
        let (reply, answer) = async_channel::bounded(1);
        (Self { acks, reply, result: None }, Ticket { answer })
    }

    pub(super) fn acks(&self) -> Acks {
        self.acks
    }

    /// The operation was applied: with `memory` that is all the producer waits for.
    pub(super) fn applied(&mut self, result: Result<T, ProduceError>) {
        if self.acks == Acks::Memory {
            // A producer that has gone does not wait.
            let _ = self.reply.try_send(result.clone());
        }
        self.result = Some(result);
    }

    /// The commit was made, or failed; what was answered if it went well.
    pub(super) fn committed(self, outcome: Result<&Committed, &StoreError>) -> Option<T> {
        let answer = match (outcome, self.result) {
            (Ok(_), Some(result)) => result,
            // The store applies an operation before it reports on it.
            (Ok(_), None) => Err(StoreError::Closed.into()),
            (Err(error), _) => Err(error.clone().into()),
        };
        // With `memory` the answer has gone out already, and the channel holds one.
        let _ = self.reply.try_send(answer.clone());
        answer.ok()
    }
}
