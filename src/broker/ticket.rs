//! The answer to a producer: with `memory` when its records have their offsets, else when they are committed.

use std::future::poll_fn;
use std::mem::replace;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use super::error::ProduceError;
use super::produce::Acks;
use crate::store::{Committed, StoreError};

/// The answer to come. The order of tickets is the order of appends.
#[derive(Debug)]
pub struct Ticket<T> {
    slot: Arc<Slot<T>>,
}

/// What both sides share. There is one for each message of a device: a lock and a waker, where a channel would be several times as much.
#[derive(Debug)]
struct Slot<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    /// Nobody has answered; who waits, if anybody does.
    Open(Option<Waker>),
    Answered(Result<T, ProduceError>),
    /// Nobody will answer, or the answer was taken.
    Over,
}

impl<T> Slot<T> {
    /// The state as it was; a panic elsewhere can't leave it half changed.
    fn replace(&self, with: impl FnOnce(State<T>) -> State<T>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = replace(&mut *state, State::Over);
        *state = with(old);
    }

    /// Answers, unless somebody has.
    fn close(&self, answer: State<T>) {
        let mut waiting = None;
        self.replace(|state| match state {
            State::Open(waker) => {
                waiting = waker;
                answer
            }
            answered => answered,
        });
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl<T> Ticket<T> {
    /// Waits for the answer.
    ///
    /// # Errors
    /// Why the records were not taken; none of them were.
    pub async fn wait(self) -> Result<T, ProduceError> {
        poll_fn(|context| {
            let mut answer = Poll::Pending;
            self.slot.replace(|state| match state {
                State::Open(_) => State::Open(Some(context.waker().clone())),
                State::Answered(result) => {
                    answer = Poll::Ready(result);
                    State::Over
                }
                State::Over => {
                    answer = Poll::Ready(Err(StoreError::Closed.into()));
                    State::Over
                }
            });
            answer
        })
        .await
    }
}

/// The writer's side of a [`Ticket`].
pub(super) struct Answer<T> {
    acks: Acks,
    slot: Arc<Slot<T>>,
    result: Option<Result<T, ProduceError>>,
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.slot.close(State::Over);
    }
}

impl<T: Clone> Answer<T> {
    pub(super) fn new(acks: Acks) -> (Self, Ticket<T>) {
        let slot = Arc::new(Slot(Mutex::new(State::Open(None))));
        (Self { acks, slot: Arc::clone(&slot), result: None }, Ticket { slot })
    }

    pub(super) fn acks(&self) -> Acks {
        self.acks
    }

    /// The operation was applied: with `memory` that is all the producer waits for.
    pub(super) fn applied(&mut self, result: Result<T, ProduceError>) {
        if self.acks == Acks::Memory {
            self.slot.close(State::Answered(result.clone()));
        }
        self.result = Some(result);
    }

    /// The commit was made, or failed; what was answered if it went well.
    pub(super) fn committed(mut self, outcome: Result<&Committed, &StoreError>) -> Option<T> {
        let answer = match (outcome, self.result.take()) {
            (Ok(_), Some(result)) => result,
            // The store applies an operation before it reports on it.
            (Ok(_), None) => Err(StoreError::Closed.into()),
            (Err(error), _) => Err(error.clone().into()),
        };
        // With `memory` the answer has gone out already.
        self.slot.close(State::Answered(answer.clone()));
        answer.ok()
    }
}
