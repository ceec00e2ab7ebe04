//! What clients publish, on its way into the broker.
//!
//! Invariants: messages of one client keep their order; what fails is told to the client, or ends its connection where its version has
//! no words for it.

use std::fmt;
use std::sync::Arc;

use super::Context;
use super::hub::packet_row;
use super::inbound::Mark;
use super::message::Message;
use crate::broker::{Access, Acks, CommitError, Noted, NotedRecord, ProduceError, Ticket, TopicError};
use crate::limits::MQTT_TOPIC_BYTES_MAX;
use crate::mqtt::{PacketId, Qos, ReasonCode};
use crate::store::{DraftError, StoreError};

/// What is to be published when a connection is lost.
#[derive(Clone, Debug)]
pub(super) struct Will {
    pub(super) message: Message,
    /// The broker, as the client may use it.
    pub(super) access: Access,
}

/// Why a message is not taken.
#[derive(Clone, Debug)]
pub(super) struct NotTaken {
    pub(super) reason: ReasonCode,
    pub(super) text: String,
}

impl NotTaken {
    fn new(reason: ReasonCode, text: impl fmt::Display) -> Self {
        Self { reason, text: text.to_string() }
    }
}

impl From<ProduceError> for NotTaken {
    fn from(error: ProduceError) -> Self {
        let reason = match &error {
            ProduceError::Denied(_) => ReasonCode::NOT_AUTHORIZED,
            ProduceError::Draining => ReasonCode::SERVER_SHUTTING_DOWN,
            ProduceError::TooLarge { .. } | ProduceError::TooLargeUpstream(_) => ReasonCode::PACKET_TOO_LARGE,
            ProduceError::Store(error) => of_commit(error),
            _ => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        };
        Self::new(reason, error)
    }
}

impl From<TopicError> for NotTaken {
    fn from(error: TopicError) -> Self {
        let reason = match &error {
            TopicError::Denied(_) => ReasonCode::NOT_AUTHORIZED,
            TopicError::Unknown(_) | TopicError::Invalid(_) => ReasonCode::TOPIC_NAME_INVALID,
            TopicError::TooMany(_) => ReasonCode::QUOTA_EXCEEDED,
            TopicError::Exists(_) => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
            TopicError::Store(error) => of_commit(error),
        };
        Self::new(reason, error)
    }
}

fn of_commit(error: &CommitError) -> ReasonCode {
    match error {
        CommitError::Store(StoreError::Full | StoreError::DiskFull)
        | CommitError::Draft(DraftError::Full | DraftError::StateFull | DraftError::DiskFull) => {
            ReasonCode::QUOTA_EXCEEDED
        }
        _ => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
    }
}

/// Puts a message into the order of appends. `kept_id`: its packet id, where a resend on a later connection is to be recognised.
///
/// # Errors
/// [`NotTaken`]. Later ones come by the ticket.
pub(super) async fn publish(
    context: &Context,
    access: &Access,
    client: &str,
    message: Message,
    kept_id: Option<(PacketId, Mark)>,
) -> Result<Ticket<Noted>, NotTaken> {
    if message.topic.len() > MQTT_TOPIC_BYTES_MAX {
        let text = format!("a topic of {} bytes; at most {MQTT_TOPIC_BYTES_MAX} are taken", message.topic.len());
        return Err(NotTaken::new(ReasonCode::TOPIC_NAME_INVALID, text));
    }
    if message.topic.starts_with('$') {
        return Err(NotTaken::new(ReasonCode::TOPIC_NAME_INVALID, "topics that begin with $ are the gateway's own"));
    }
    let mapped = context.options().rules.map(&message.topic, client);
    let topic = access.topic_or_create(&mapped.topic).await?;
    let mut rows = Vec::new();
    let mut held: Option<Box<dyn Send>> = None;
    if message.retain {
        let options = context.options();
        let row = context.retained.row(&context.broker, &message, (options.retained_max, options.retained_bytes_max));
        held = Some(Box::new(context.retained.counted(&message.topic)));
        let text =
            "no more messages are retained: their number or size would pass mqtt.retained_max or retained_bytes_max";
        rows.push(row.ok_or_else(|| NotTaken::new(ReasonCode::QUOTA_EXCEEDED, text))?);
    }
    let unless = kept_id.map(|(id, mark)| (packet_row(client, id), mark.to_row()));
    rows.extend(unless.clone().map(|(key, value)| (key, Some(value))));
    let acks = if message.qos() == Qos::AtMostOnce && !message.retain { Acks::Memory } else { Acks::Flash };
    let noted = NotedRecord { record: message.into_record(mapped), unless, rows, held };
    Ok(access.publish_noted(&topic, noted, acks).await?)
}

/// Publishes a will. A failure is logged: there is nobody to tell.
pub(super) async fn publish_will(context: &Arc<Context>, will: Will) {
    // Mosquitto's bridges have one below $SYS.
    if will.message.topic.starts_with('$') {
        return;
    }
    let client = will.message.client.clone().unwrap_or_default();
    let published = async {
        let ticket = publish(context, &will.access, &client, will.message, None).await?;
        Ok::<_, NotTaken>(ticket.wait().await?)
    };
    if let Err(error) = published.await {
        log::warn!("mqtt: the will of {client:?} could not be published: {}", error.text);
    }
}
