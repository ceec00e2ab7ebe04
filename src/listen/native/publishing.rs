//! Publishes on their way into the broker, in the order they came.
//!
//! Invariant: after a publish was answered with a retriable error, everything behind it is dropped until its sequence
//! comes again ([`Flow`]), so order is kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Context;
use super::errors::{of_produce, of_topic};
use super::outbox::{Gone, Outbox};
use super::reading::End;
use super::session::Greeted;
use crate::broker::{Acks, DeviceSession, Granted, NewRecord, ProduceError, Published, Ticket, right};
use crate::channel::Sender;
use crate::frame::client_message::{Alias, Publish};
use crate::frame::gateway_message::{AliasFailed, AliasOk};
use crate::frame::{ALIASES_MAX, AckLevel, Base, ErrorCode, GatewayMessage, Record, sequence};
use crate::metrics::METRICS;

/// What reading and acknowledging share of a session.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The sequence that must come next, where everything else is dropped; 0 is none.
    resend_from: AtomicU64,
    /// Records taken from the peer and not answered yet.
    in_flight: AtomicU64,
}

impl Flow {
    pub(super) fn resend_from(&self) -> Option<u64> {
        Some(self.resend_from.load(Ordering::Acquire)).filter(|sequence| *sequence != 0)
    }

    pub(super) fn drop_until(&self, sequence: u64) {
        self.resend_from.store(sequence, Ordering::Release);
    }

    fn goes_on(&self) {
        self.resend_from.store(0, Ordering::Release);
    }

    pub(super) fn answered(&self, records: u64) {
        self.in_flight.fetch_sub(records, Ordering::AcqRel);
    }
}

/// A publish whose outcome is to be told.
pub(super) struct Pending {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    /// It is in the order of appends.
    Queued { ticket: Ticket<Published>, level: AckLevel, want_offset: bool },
    /// It is refused for good; its sequences are being used up.
    Refused { ticket: Ticket<Published>, code: ErrorCode, text: String },
    /// It could not be queued now.
    NotNow { code: ErrorCode, text: String },
}

/// The numbers that the client has given to topics.
pub(super) type Aliases = HashMap<u16, String>;

/// Takes the publishes of one connection.
pub(super) struct Publisher<'a> {
    context: &'a Context,
    greeted: &'a Greeted,
    pendings: Sender<Box<Pending>>,
    flow: Arc<Flow>,
    aliases: Aliases,
    /// The sequence that comes next if the client leaves none out.
    expected: u64,
}

impl<'a> Publisher<'a> {
    pub(super) fn new(
        context: &'a Context,
        greeted: &'a Greeted,
        pendings: Sender<Box<Pending>>,
        flow: Arc<Flow>,
    ) -> Self {
        let expected = greeted.device.as_ref().map_or(1, DeviceSession::next_sequence);
        Self { context, greeted, pendings, flow, aliases: Aliases::new(), expected }
    }

    pub(super) fn aliases(&self) -> &Aliases {
        &self.aliases
    }

    /// Gives a topic a number. The topic is created where that is configured.
    pub(super) async fn alias(&mut self, alias: &Alias<'_>, outbox: &Outbox) -> Result<(), Gone> {
        if alias.alias >= ALIASES_MAX {
            let text = format!("alias {}: aliases are below {ALIASES_MAX}", alias.alias);
            let failed = AliasFailed { alias: alias.alias, code: ErrorCode::InvalidArgument, text: &text };
            return outbox.send(GatewayMessage::AliasFailed(failed)).await;
        }
        self.aliases.insert(alias.alias, alias.topic.to_owned());
        match self.greeted.access.topic_or_create::<right::Describe>(alias.topic).await {
            Ok(topic) => {
                let ok = AliasOk { alias: alias.alias, partitions: topic.partition_count() };
                outbox.send(GatewayMessage::AliasOk(ok)).await
            }
            Err(error) => {
                let (code, text) = (of_topic(&error, alias.topic), error.to_string());
                let failed = AliasFailed { alias: alias.alias, code, text: &text };
                outbox.send(GatewayMessage::AliasFailed(failed)).await
            }
        }
    }

    /// Takes one publish; its outcome is told by the acknowledging side.
    pub(super) async fn publish(&mut self, publish: &Publish<'_>) -> Result<(), End> {
        let Some(session) = &self.greeted.device else {
            let text = "the client said in its Hello that it would not publish (in_flight_max 0)";
            return Err(End::Peer(ErrorCode::InvalidArgument, text.to_owned()));
        };
        let first = sequence::expand(publish.sequence, self.expected);
        let count = publish.records.len() as u64;
        if let Some(resend_from) = self.flow.resend_from() {
            if first > resend_from {
                return Ok(());
            }
            self.flow.goes_on();
            self.expected = first;
        }
        let in_flight = self.flow.in_flight.fetch_add(count, Ordering::AcqRel) + count;
        // One publish may hold more records than the limit; then it is alone.
        if in_flight > u64::from(self.greeted.in_flight_max) && in_flight > count {
            let max = self.greeted.in_flight_max;
            let text = format!("{in_flight} records without acknowledgement; {max} were agreed on");
            return Err(End::Peer(ErrorCode::Overloaded, text));
        }
        if first > self.expected {
            let text = format!("sequence {first} came where {} was due", self.expected);
            let (first, code) = (self.expected, ErrorCode::SequenceGap);
            self.flow.drop_until(first);
            return self.tell(Pending { first, count, outcome: Outcome::NotNow { code, text } }).await;
        }
        self.expected = self.expected.max(first + count);
        match self.topic(publish.alias).await {
            Ok(topic) => self.append(session, &topic, first, publish).await,
            Err((code, text)) if code.is_retriable() => {
                self.flow.drop_until(first);
                self.tell(Pending { first, count, outcome: Outcome::NotNow { code, text } }).await
            }
            Err((code, text)) => self.refuse(session, first, count, code, text).await,
        }
    }

    async fn topic(&self, alias: u16) -> Result<Granted<right::Write>, (ErrorCode, String)> {
        let name = self.aliases.get(&alias).ok_or_else(|| {
            (ErrorCode::UnknownTopic, format!("alias {alias} was never given to a topic on this connection"))
        })?;
        let topic = self.greeted.access.topic_or_create(name).await;
        topic.map_err(|error| (of_topic(&error, name), error.to_string()))
    }

    /// Queues the records; those that are too large are refused one by one, without harm to the others.
    async fn append(
        &self,
        session: &DeviceSession,
        topic: &Granted<right::Write>,
        first: u64,
        publish: &Publish<'_>,
    ) -> Result<(), End> {
        let base = Base { timestamp: self.greeted.base_timestamp, offset: 0 };
        let now = self.context.broker.now();
        let mut run = Vec::new();
        let mut next = first;
        for record in publish.records.iter(base) {
            let record = owned(&record);
            let time = record.timestamp_ms.unwrap_or(-1);
            let checked =
                self.greeted.access.check_size(topic, &record).and_then(|()| topic.check_times(time, time, now));
            if let Err(error) = checked {
                let before = run.len() as u64;
                self.queue(session, topic, next, std::mem::take(&mut run), publish).await?;
                next += before;
                METRICS.batches_refused.add(1);
                self.refuse(session, next, 1, of_produce(&error), error.to_string()).await?;
                next += 1;
            } else {
                run.push(record);
            }
        }
        self.queue(session, topic, next, run, publish).await
    }

    async fn queue(
        &self,
        session: &DeviceSession,
        topic: &Granted<right::Write>,
        first: u64,
        records: Vec<NewRecord>,
        publish: &Publish<'_>,
    ) -> Result<(), End> {
        let count = records.len() as u64;
        if count == 0 {
            return Ok(());
        }
        let acks = match publish.level {
            AckLevel::Memory => Acks::Memory,
            AckLevel::Flash => Acks::Flash,
            AckLevel::Upstream => Acks::Upstream,
        };
        let outcome = match self.greeted.access.publish(session, topic, first, records, acks).await {
            Ok(ticket) => Outcome::Queued { ticket, level: publish.level, want_offset: publish.want_offset },
            Err(error) => self.not_queued(first, &error)?,
        };
        self.tell(Pending { first, count, outcome }).await
    }

    /// Uses up sequences of records that are refused for good.
    async fn refuse(
        &self,
        session: &DeviceSession,
        first: u64,
        count: u64,
        code: ErrorCode,
        text: String,
    ) -> Result<(), End> {
        let outcome = match self.greeted.access.skip(session, first, count).await {
            Ok(ticket) => Outcome::Refused { ticket, code, text },
            Err(error) => self.not_queued(first, &error)?,
        };
        self.tell(Pending { first, count, outcome }).await
    }

    fn not_queued(&self, first: u64, error: &ProduceError) -> Result<Outcome, End> {
        match of_produce(error) {
            // The fence has its own way to end the connection.
            ErrorCode::Fenced => Err(End::Refused(ErrorCode::Fenced, error.to_string())),
            code => {
                self.flow.drop_until(first);
                Ok(Outcome::NotNow { code, text: error.to_string() })
            }
        }
    }

    async fn tell(&self, pending: Pending) -> Result<(), End> {
        self.pendings.send(Box::new(pending)).await.map_err(|_| End::Closed)
    }
}

/// A record as the broker keeps it while it waits for the writer.
fn owned(record: &Record<'_>) -> NewRecord {
    NewRecord {
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        timestamp_ms: record.timestamp,
        headers: record.headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect(),
    }
}
