//! Batches of elsewhere and the positions behind them, in one commit: what downlinks and gateways below bring.
//!
//! Invariant: positions move only in the commit that appends what lies before them, and only where their bringer is right about
//! where they were; so whatever comes twice is refused, or known, the second time.

use std::time::Duration;

use super::Broker;
use super::error::{CommitError, IntakeError};
use super::topic::{TimestampType, Topic};
use crate::oneshot::{self, Receiver, Sender};
use crate::record::{BatchView, SharedBytes, header};
use crate::store::{Committed, Draft, DraftError, Operation, PartitionId, Refused, StoreError};

/// Positions that are to be moved.
pub(super) trait Moves: Send + 'static {
    /// Whether every position is where its bringer believes it to be. Changes nothing.
    fn check(&self, draft: &Draft<'_>) -> Result<Standing, IntakeError>;

    /// Moves them.
    fn put(&self, draft: &mut Draft<'_>) -> Result<(), DraftError>;

    /// So many records and bytes of batches came with them, and are durable.
    fn brought(&self, _records: u64, _bytes: u64) {}
}

/// What the positions say about the batches before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// They are new.
    New,
    /// All of them are here.
    Here,
}

/// A batch to append.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) partition: PartitionId,
    /// Checked, without producer and without marks of a transaction.
    pub(super) bytes: SharedBytes,
    /// Its records get the gateway's time.
    pub(super) stamp: bool,
}

/// What comes of it, once that is durable.
#[derive(Debug)]
pub struct IntakeTicket(Receiver<Result<(), IntakeError>>);

impl IntakeTicket {
    /// Waits until it is durable.
    ///
    /// # Errors
    /// [`IntakeError`]; then nothing has changed, save that after [`CommitError::Store`] it may be there all the same.
    pub async fn wait(self) -> Result<(), IntakeError> {
        self.0.await.unwrap_or(Err(CommitError::Store(StoreError::Closed).into()))
    }
}

pub(super) struct TakeIn<M> {
    moves: M,
    batches: Vec<Brought>,
    bytes: usize,
    urgent: bool,
    /// They were not here before.
    is_new: bool,
    result: Option<Result<(), IntakeError>>,
    reply: Sender<Result<(), IntakeError>>,
}

/// Whether a topic's records get the time at which they are appended.
pub(super) fn stamps(topic: &Topic) -> bool {
    topic.config.timestamp_type == TimestampType::LogAppendTime
}

impl Broker {
    /// Queues an intake; returns once it has its place in the order of appends, which is also the back-pressure. With `within` it
    /// rides with another commit, at the latest after that time.
    pub(super) async fn submit_intake<M: Moves>(
        &self,
        moves: M,
        batches: Vec<Brought>,
        urgent: bool,
        within: Option<Duration>,
    ) -> Result<IntakeTicket, CommitError> {
        let bytes = batches.iter().map(|batch| batch.bytes.len()).sum();
        let (reply, answer) = oneshot::channel();
        let operation = Box::new(TakeIn { moves, batches, bytes, urgent, is_new: false, result: None, reply });
        match within {
            Some(within) => self.shared.store.submit_lazy(operation, within).await,
            None => self.shared.store.submit(operation).await,
        }?;
        Ok(IntakeTicket(answer))
    }
}

impl<M: Moves> Operation for TakeIn<M> {
    /// Whatever fails once something is changed is told as a full draft: then the store undoes all of it, and a position
    /// never moves without what lies before it.
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        match self.check(draft) {
            Ok(Standing::New) => {}
            Ok(Standing::Here) => {
                self.result = Some(Ok(()));
                return Ok(());
            }
            Err(error) => {
                self.result = Some(Err(error));
                return Ok(());
            }
        }
        let appended = self.append(draft);
        self.is_new = appended.is_ok();
        let refused = appended.is_err();
        self.result = Some(appended.map_err(|error| CommitError::Draft(error).into()));
        if refused { Err(Refused) } else { Ok(()) }
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        let answer = match (outcome, self.result) {
            // Refused twice: by what, it knows better than the store.
            (_, Some(Err(error))) => Err(error),
            (Ok(_), Some(Ok(()))) => {
                if self.is_new {
                    let records = self.batches.iter().filter_map(|batch| BatchView::parse(&batch.bytes).ok());
                    self.moves
                        .brought(records.map(|(view, _)| u64::from(view.record_count())).sum(), self.bytes as u64);
                }
                Ok(())
            }
            // The store applies an operation before it reports on it.
            (Ok(_), None) => Err(CommitError::Store(StoreError::Closed).into()),
            (Err(error), _) => Err(CommitError::Store(error.clone()).into()),
        };
        // Nobody may wait any more: what was brought stands all the same.
        self.reply.send(answer);
    }

    fn commits_at_once(&self) -> bool {
        self.urgent
    }

    fn queued_bytes(&self) -> usize {
        self.bytes + 256
    }
}

impl<M: Moves> TakeIn<M> {
    fn check(&self, draft: &Draft<'_>) -> Result<Standing, IntakeError> {
        let standing = self.moves.check(draft)?;
        let gone = |batch: &Brought| draft.head(batch.partition).is_none();
        if self.batches.iter().any(gone) { Err(IntakeError::UnknownPartition) } else { Ok(standing) }
    }

    fn append(&mut self, draft: &mut Draft<'_>) -> Result<(), DraftError> {
        let now_ms = draft.now().wall_ms;
        for batch in &mut self.batches {
            if batch.stamp {
                let mut stamped = batch.bytes.to_vec();
                header::set_log_append_time(&mut stamped, now_ms);
                batch.bytes = stamped.into();
            }
            draft.append_shared(batch.partition, &batch.bytes)?;
        }
        self.moves.put(draft)
    }
}
