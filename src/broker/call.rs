//! A function run by the store's writer, in commit order, whose answer comes when its changes are durable.
//!
//! Invariant: the answer never comes before the commit, and `after` (which publishes the change to this process) runs
//! before the answer.

use std::time::Duration;

use super::error::CommitError;
use crate::oneshot::{self, Receiver, Sender};
use crate::store::{Committed, Draft, DraftError, Operation, Refused, Store, StoreError};

/// What runs on the writer. It may run again in a later commit when the draft was full.
type Apply<T> = Box<dyn FnMut(&mut Draft<'_>) -> Result<T, DraftError> + Send>;

struct Call<T> {
    apply: Apply<T>,
    after: Box<dyn FnOnce(&T) + Send>,
    value: Option<Result<T, DraftError>>,
    at_once: bool,
    reply: Sender<Result<T, CommitError>>,
}

impl<T: Send> Operation for Call<T> {
    fn commits_at_once(&self) -> bool {
        self.at_once
    }

    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        self.value = Some(unless_full((self.apply)(draft))?);
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        let answer = match (outcome, self.value) {
            (Err(error), _) => Err(CommitError::Store(error.clone())),
            (Ok(_), Some(Ok(value))) => {
                (self.after)(&value);
                Ok(value)
            }
            (Ok(_), Some(Err(error))) => Err(CommitError::Draft(error)),
            // The store applies an operation before it reports on it.
            (Ok(_), None) => Err(CommitError::Store(StoreError::Closed)),
        };
        // Nobody may wait any more: the change stands all the same.
        self.reply.send(answer);
    }
}

/// Turns a full draft into the refusal that the store understands; anything else is the operation's own answer.
pub(super) fn unless_full<T, E: IsDraftFull>(result: Result<T, E>) -> Result<Result<T, E>, Refused> {
    match result {
        Err(error) if error.is_draft_full() => Err(Refused),
        other => Ok(other),
    }
}

/// An error that may mean: not in this commit, again in the next.
pub(super) trait IsDraftFull {
    fn is_draft_full(&self) -> bool;
}

impl IsDraftFull for DraftError {
    fn is_draft_full(&self) -> bool {
        *self == Self::Full
    }
}

/// Runs `apply` on the writer and waits until what it changed is durable; `after` sees the answer first.
///
/// # Errors
/// Why it was not committed; then nothing of it was.
pub(super) async fn call<T: Send + 'static>(
    store: &Store,
    apply: impl FnMut(&mut Draft<'_>) -> Result<T, DraftError> + Send + 'static,
    after: impl FnOnce(&T) + Send + 'static,
) -> Result<T, CommitError> {
    submit(store, apply, after, false).await
}

/// As [`call`], committed without waiting for company.
///
/// # Errors
/// As [`call`].
pub(super) async fn call_at_once<T: Send + 'static>(
    store: &Store,
    apply: impl FnMut(&mut Draft<'_>) -> Result<T, DraftError> + Send + 'static,
    after: impl FnOnce(&T) + Send + 'static,
) -> Result<T, CommitError> {
    submit(store, apply, after, true).await
}

async fn submit<T: Send + 'static>(
    store: &Store,
    apply: impl FnMut(&mut Draft<'_>) -> Result<T, DraftError> + Send + 'static,
    after: impl FnOnce(&T) + Send + 'static,
    at_once: bool,
) -> Result<T, CommitError> {
    let (reply, answer) = oneshot::channel();
    let call = Call { apply: Box::new(apply), after: Box::new(after), value: None, at_once, reply };
    store.submit(Box::new(call)).await?;
    wait(answer).await
}

/// As [`call`], but the change may wait up to `within` for another commit to ride with: it costs no flash of its own.
///
/// # Errors
/// As [`call`].
pub(super) async fn call_lazily<T: Send + 'static>(
    store: &Store,
    within: Duration,
    apply: impl FnMut(&mut Draft<'_>) -> Result<T, DraftError> + Send + 'static,
    after: impl FnOnce(&T) + Send + 'static,
) -> Result<T, CommitError> {
    let (reply, answer) = oneshot::channel();
    let call = Call { apply: Box::new(apply), after: Box::new(after), value: None, at_once: false, reply };
    store.submit_lazy(Box::new(call), within).await?;
    wait(answer).await
}

async fn wait<T>(answer: Receiver<Result<T, CommitError>>) -> Result<T, CommitError> {
    answer.await.unwrap_or(Err(CommitError::Store(StoreError::Closed)))
}
