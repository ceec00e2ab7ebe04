//! The outcomes of publishes on their way back: cumulative, in the order of the sequences. And what has come upstream.
//!
//! Invariant: no memory per record that waits for an uplink: one position a partition is remembered, and the latest
//! sequence that it stands for.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use event_listener::Event;
use futures_lite::future::poll_once;

use super::Context;
use super::errors::of_produce;
use super::outbox::{Gone, Outbox};
use super::publishing::{Flow, Outcome, Pending};
use super::session::Greeted;
use crate::broker::{Access, DeviceSession, ProduceError, Published};
use crate::channel::Receiver;
use crate::frame::gateway_message::{Ack, AckAt, PublishError, Upstream as UpstreamNotice};
use crate::frame::{AckLevel, ErrorCode, GatewayMessage, sequence};
use crate::store::PartitionId;

/// What a client is told to wait before it sends again, ms.
const RETRY_MS: u32 = 1_000;

/// Tells the outcomes until there are no more to come.
pub(super) async fn acknowledge(
    greeted: &Greeted,
    outcomes: &Receiver<Box<Pending>>,
    outbox: &Outbox,
    flow: &Flow,
    upstream: &Upstream,
) {
    let (access, session) = (&greeted.access, greeted.device.as_ref());
    let mut acker = Acker { access, session, outbox, flow, upstream, settled: None, resend_from: None };
    // An error is that nobody is there to be told.
    let _ = acker.run(outcomes).await;
}

struct Acker<'a> {
    access: &'a Access,
    session: Option<&'a DeviceSession>,
    outbox: &'a Outbox,
    flow: &'a Flow,
    upstream: &'a Upstream,
    /// What is settled and not told yet: the level that all of it has reached, and the last sequence.
    settled: Option<(AckLevel, u64)>,
    /// The peer was told to send everything again from this sequence on, and has not yet. An acknowledgement of what came
    /// behind it would cover it as well.
    resend_from: Option<u64>,
}

impl Acker<'_> {
    async fn run(&mut self, outcomes: &Receiver<Box<Pending>>) -> Result<(), Gone> {
        while let Ok(first) = outcomes.recv().await {
            // Boxed, so that a connection on which nothing is under way has no room for it.
            Box::pin(self.settle_all(first, outcomes)).await?;
        }
        Ok(())
    }

    /// Tells `first` and what is there behind it; one acknowledgement for everything that is settled by then.
    async fn settle_all(&mut self, first: Box<Pending>, outcomes: &Receiver<Box<Pending>>) -> Result<(), Gone> {
        let mut next = Some(first);
        while let Some(pending) = next {
            // Before it is told: the peer may fill its window again as soon as it hears.
            self.flow.answered(pending.count);
            self.settle(*pending).await?;
            next = outcomes.try_recv().ok();
        }
        self.tell_settled().await
    }

    async fn settle(&mut self, pending: Pending) -> Result<(), Gone> {
        let Pending { first, count, outcome } = pending;
        if self.resend_from.is_some_and(|from| first > from) {
            return Ok(());
        }
        self.resend_from = None;
        match outcome {
            Outcome::NotNow { code, text } => self.send_again(first, code, &text).await,
            Outcome::Refused { ticket, code, text } => match self.wait(ticket.wait()).await? {
                Ok(_) => self.refused(first, count, code, &text).await,
                Err(error) => self.failed(first, count, &error).await,
            },
            Outcome::Queued { ticket, level, want_offset } => match self.wait(ticket.wait()).await? {
                Ok(published) => self.published(&published, level, want_offset).await,
                Err(error) => self.failed(first, count, &error).await,
            },
        }
    }

    /// The outcome; what is settled before it is told if it takes its time.
    async fn wait<T>(&mut self, outcome: impl Future<Output = T>) -> Result<T, Gone> {
        let mut outcome = pin!(outcome);
        if let Some(outcome) = poll_once(outcome.as_mut()).await {
            return Ok(outcome);
        }
        self.tell_settled().await?;
        Ok(outcome.await)
    }

    async fn published(&mut self, published: &Published, level: AckLevel, want_offset: bool) -> Result<(), Gone> {
        let reached = level.min(AckLevel::Flash);
        if level == AckLevel::Memory
            && let Some(session) = self.session
        {
            session.acknowledged_from_memory(published.last_sequence);
        }
        if level == AckLevel::Upstream {
            self.upstream.want(published.last_sequence, published.upstream.clone());
        }
        if !want_offset {
            let (level, _) = self.settled.unwrap_or((reached, 0));
            self.settled = Some((level.min(reached), published.last_sequence));
            return Ok(());
        }
        self.tell_settled().await?;
        let (partition, offset) = published.last.map_or((0, -1), |(partition, offset)| {
            let index = self.access.index_of(partition).unwrap_or(0);
            (index.unsigned_abs(), offset)
        });
        let ack = AckAt { level: reached, up_to: published.last_sequence, partition, offset };
        self.outbox.send(GatewayMessage::AckAt(ack)).await
    }

    /// Tells that records are refused for good; their sequences are used up.
    async fn refused(&mut self, first: u64, count: u64, code: ErrorCode, text: &str) -> Result<(), Gone> {
        self.tell_settled().await?;
        let count_told = u32::try_from(count).unwrap_or(u32::MAX);
        let error = PublishError { sequence: first, count: count_told, code, retry_ms: 0, text };
        self.outbox.send(GatewayMessage::PublishError(error)).await?;
        self.settled = Some((AckLevel::Flash, first + count - 1));
        self.tell_settled().await
    }

    /// Tells that this and everything behind it is to be sent again.
    async fn send_again(&mut self, first: u64, code: ErrorCode, text: &str) -> Result<(), Gone> {
        self.tell_settled().await?;
        self.resend_from = Some(first);
        let retry_ms = if code == ErrorCode::SequenceGap { 0 } else { RETRY_MS };
        let error = PublishError { sequence: first, count: 0, code, retry_ms, text };
        self.outbox.send(GatewayMessage::PublishError(error)).await
    }

    /// A publish that was queued, and then not appended.
    async fn failed(&mut self, first: u64, count: u64, error: &ProduceError) -> Result<(), Gone> {
        let code = of_produce(error);
        match (code, self.flow.resend_from()) {
            // Behind one that failed; the client sends it again after that one.
            (ErrorCode::SequenceGap, Some(resend_from)) if first > resend_from => Ok(()),
            // The connection is about to end.
            (ErrorCode::Fenced, _) => Ok(()),
            _ if code.is_retriable() => {
                let first = match error {
                    ProduceError::SequenceGap { expected, .. } => *expected,
                    _ => first,
                };
                self.flow.drop_until(first);
                self.send_again(first, code, &error.to_string()).await
            }
            _ => self.refused_late(first, count, error).await,
        }
    }

    /// Refused for good by the writer: the sequences are used up now, and what was queued behind it comes again.
    async fn refused_late(&mut self, first: u64, count: u64, error: &ProduceError) -> Result<(), Gone> {
        self.flow.drop_until(first);
        let Some(session) = self.session else { return Ok(()) };
        let skipped = match self.access.skip(session, first, count).await {
            Ok(ticket) => ticket.wait().await,
            Err(error) => Err(error),
        };
        if let Err(error) = skipped {
            return self.send_again(first, of_produce(&error), &error.to_string()).await;
        }
        self.refused(first, count, of_produce(error), &error.to_string()).await?;
        let next = first + count;
        self.flow.drop_until(next);
        self.send_again(next, ErrorCode::SequenceGap, "what came behind the refused records is to be sent again").await
    }

    async fn tell_settled(&mut self) -> Result<(), Gone> {
        match self.settled.take() {
            None => Ok(()),
            Some((level, up_to)) => {
                self.outbox.send(GatewayMessage::Ack(Ack { level, up_to: sequence::truncate(up_to) })).await
            }
        }
    }
}

/// What a client wants to see upstream.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    wish: Mutex<Option<Wish>>,
    changed: Event,
}

#[derive(Debug)]
struct Wish {
    up_to: u64,
    /// Partition and next offset.
    ends: Vec<(PartitionId, i64)>,
}

impl Upstream {
    /// From now on `up_to` is what the client waits for; `ends` cover everything before it as well.
    pub(super) fn want(&self, up_to: u64, ends: Vec<(PartitionId, i64)>) {
        if ends.is_empty() {
            return;
        }
        *self.lock() = Some(Wish { up_to, ends });
        self.changed.notify(usize::MAX);
    }

    /// Sends a notice each time that what was wanted has come upstream; returns when there is nobody to notify.
    pub(super) async fn notify(&self, context: &Context, outbox: &Outbox) {
        loop {
            let changed = self.changed.listen();
            let Some(wish) = self.lock().take() else {
                changed.await;
                continue;
            };
            // Boxed, so that a client that waits for nothing upstream has no room for it.
            let told = Box::pin(async {
                for (partition, next_offset) in wish.ends {
                    reached(context, partition, next_offset).await;
                }
                outbox.send(GatewayMessage::Upstream(UpstreamNotice { up_to: wish.up_to })).await
            });
            if told.await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Wish>> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves when every uplink that follows the partition has come to `next_offset`. While none follows it that is
/// never: nothing that is in no cluster is said to be in one.
async fn reached(context: &Context, partition: PartitionId, next_offset: i64) {
    loop {
        let progress = context.broker.upstream_progress();
        let is_upstream = context.broker.upstream_offset(partition).is_some_and(|offset| offset >= next_offset);
        // The records of a topic that was deleted are not waited for.
        if is_upstream || context.broker.index_of(partition).is_none() {
            return;
        }
        progress.await;
    }
}
