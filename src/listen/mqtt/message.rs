//! Messages as records and back. What MQTT knows of a message beside its payload travels in headers of the record, under the names
//! below; user properties keep their own names. A record of a Kafka producer is a message as well: its headers are its user
//! properties, and its topic follows from Kafka's ([`mapping::topic_of`]).

use serde::{Deserialize, Serialize};

use super::mapping::{self, Mapped};
use crate::broker::NewRecord;
use crate::mqtt::{PropertiesBuilder, Property, Publish, Qos};
use crate::record::RecordRef;

/// The whole topic.
const TOPIC: &[u8] = b"mqtt.topic";
/// The QoS it was published with.
const QOS: &[u8] = b"mqtt.qos";
/// Who published it.
const CLIENT: &[u8] = b"mqtt.client";
/// `1` if it was to be retained.
const RETAIN: &[u8] = b"mqtt.retain";
/// Its lifetime, seconds from the record's timestamp.
const EXPIRY: &[u8] = b"mqtt.expiry";
const CONTENT_TYPE: &[u8] = b"mqtt.content-type";
const RESPONSE_TOPIC: &[u8] = b"mqtt.response-topic";
const CORRELATION_DATA: &[u8] = b"mqtt.correlation-data";
/// `1` if the payload is said to be text.
const PAYLOAD_FORMAT: &[u8] = b"mqtt.payload-format";

/// A message on its way to subscribers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Client id of the publisher; `None`: it came another way.
    pub(super) client: Option<String>,
    /// When it was published, ms since 1970.
    pub(super) timestamp_ms: i64,
    pub(super) expiry_s: Option<u32>,
    pub(super) content_type: Option<String>,
    pub(super) response_topic: Option<String>,
    pub(super) correlation_data: Option<Vec<u8>>,
    pub(super) payload_format: Option<bool>,
    pub(super) user: Vec<(String, String)>,
}

impl Message {
    /// What a client publishes to `topic` (its aliases resolved).
    pub(super) fn published(publish: &Publish<'_>, topic: &str, client: &str, timestamp_ms: i64) -> Self {
        let mut message = Self {
            topic: topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            client: Some(client.to_owned()),
            timestamp_ms,
            ..Self::default()
        };
        for property in publish.properties.iter() {
            match property {
                Property::MessageExpiry(seconds) => message.expiry_s = Some(seconds),
                Property::ContentType(text) => message.content_type = Some(text.to_owned()),
                Property::ResponseTopic(text) => message.response_topic = Some(text.to_owned()),
                Property::CorrelationData(data) => message.correlation_data = Some(data.to_vec()),
                Property::PayloadFormat(is_text) => message.payload_format = Some(is_text),
                Property::User((name, value)) => message.user.push((name.to_owned(), value.to_owned())),
                _ => {}
            }
        }
        message
    }

    /// The record that it is stored as.
    pub(super) fn into_record(self, mapped: Mapped) -> NewRecord {
        let mut headers: Vec<(Vec<u8>, Option<Vec<u8>>)> =
            Vec::with_capacity(4 + mapped.headers.len() + self.user.len());
        headers.push((TOPIC.to_vec(), Some(self.topic.into_bytes())));
        headers.push((QOS.to_vec(), Some(self.qos.to_string().into_bytes())));
        headers.extend(self.client.map(|client| (CLIENT.to_vec(), Some(client.into_bytes()))));
        let mut put = |name: &[u8], value: &[u8]| headers.push((name.to_vec(), Some(value.to_vec())));
        if self.retain {
            put(RETAIN, b"1");
        }
        if let Some(seconds) = self.expiry_s {
            put(EXPIRY, seconds.to_string().as_bytes());
        }
        if let Some(text) = &self.content_type {
            put(CONTENT_TYPE, text.as_bytes());
        }
        if let Some(text) = &self.response_topic {
            put(RESPONSE_TOPIC, text.as_bytes());
        }
        if let Some(data) = &self.correlation_data {
            put(CORRELATION_DATA, data);
        }
        if let Some(is_text) = self.payload_format {
            put(PAYLOAD_FORMAT, if is_text { b"1" } else { b"0" });
        }
        for (name, value) in mapped.headers.iter().chain(&self.user) {
            put(name.as_bytes(), value.as_bytes());
        }
        NewRecord { key: Some(mapped.key.into_bytes()), value: Some(self.payload), timestamp_ms: None, headers }
    }

    /// The message that a record of `kafka_topic` is. A tombstone is one without payload.
    pub(super) fn of_record(record: &RecordRef<'_>, kafka_topic: &str) -> Self {
        let mut message = Self {
            payload: record.value.unwrap_or_default().to_vec(),
            timestamp_ms: record.timestamp,
            // A Kafka producer has no QoS: the subscriber's decides.
            qos: Qos::ExactlyOnce as u8,
            ..Self::default()
        };
        let mut topic = None;
        for (name, value) in record.headers.clone() {
            let bytes = value.unwrap_or_default();
            let Ok(text) = std::str::from_utf8(bytes) else {
                if name == CORRELATION_DATA {
                    message.correlation_data = Some(bytes.to_vec());
                }
                continue;
            };
            match name {
                TOPIC => topic = Some(text).filter(|topic| crate::mqtt::topic::is_name(topic)),
                QOS => message.qos = text.parse().unwrap_or(message.qos).min(Qos::ExactlyOnce as u8),
                CLIENT => message.client = Some(text.to_owned()),
                RETAIN => message.retain = text == "1",
                EXPIRY => message.expiry_s = text.parse().ok(),
                CONTENT_TYPE => message.content_type = Some(text.to_owned()),
                RESPONSE_TOPIC => message.response_topic = Some(text.to_owned()),
                CORRELATION_DATA => message.correlation_data = Some(bytes.to_vec()),
                PAYLOAD_FORMAT => message.payload_format = Some(text == "1"),
                name => {
                    if let Ok(name) = std::str::from_utf8(name) {
                        message.user.push((name.to_owned(), text.to_owned()));
                    }
                }
            }
        }
        message.topic = topic.map_or_else(|| mapping::topic_of(kafka_topic), str::to_owned);
        message
    }

    /// Seconds that are left of its lifetime by a clock that shows `now_ms`; `None`: it has no end. Zero: it has passed.
    pub(super) fn left_s(&self, now_ms: i64) -> Option<u32> {
        let age_s = now_ms.saturating_sub(self.timestamp_ms).max(0) / 1_000;
        self.expiry_s.map(|expiry| expiry.saturating_sub(u32::try_from(age_s).unwrap_or(u32::MAX)))
    }

    /// The properties of the PUBLISH that delivers it; `left_s` of its lifetime, the subscriptions that matched.
    pub(super) fn properties(&self, left_s: Option<u32>, subscriptions: &[u32]) -> PropertiesBuilder {
        let mut properties = PropertiesBuilder::default();
        properties.extend(self.payload_format.map(Property::PayloadFormat));
        properties.extend(left_s.map(Property::MessageExpiry));
        properties.extend(self.content_type.as_deref().map(Property::ContentType));
        properties.extend(self.response_topic.as_deref().map(Property::ResponseTopic));
        properties.extend(self.correlation_data.as_deref().map(Property::CorrelationData));
        properties.extend(subscriptions.iter().map(|id| Property::SubscriptionId(*id)));
        properties.extend(self.user.iter().map(|(name, value)| Property::User((name, value))));
        properties
    }

    /// The QoS it was published with.
    pub(super) fn qos(&self) -> Qos {
        Qos::of_bits(self.qos).unwrap_or_default()
    }

    /// Bytes it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let user: usize = self.user.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        self.topic.len() + self.payload.len() + user + 200
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchView, Compression, VerifyLimits, decompress, records};

    fn through_the_store(record: &NewRecord, kafka_topic: &str) -> Message {
        let headers = record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref()));
        let mut builder = BatchBuilder::new();
        builder.push(7_000, record.key.as_deref(), record.value.as_deref(), headers).unwrap();
        let batch = builder.finish(Compression::None);
        let (view, _) = BatchView::parse(&batch).unwrap();
        let limits = VerifyLimits {
            batch_bytes_max: 1 << 20,
            decompressed_bytes_max: 1 << 20,
            ratio_max: 100,
            control_allowed: true,
        };
        let payload = decompress(&view, &limits).unwrap();
        let record = records(&view, &payload).next().unwrap().unwrap();
        Message::of_record(&record, kafka_topic)
    }

    #[test]
    fn a_message_comes_out_of_the_log_as_it_went_in() {
        let mut builder = PropertiesBuilder::default();
        builder.extend([
            Property::PayloadFormat(true),
            Property::MessageExpiry(60),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("answers/1"),
            Property::CorrelationData(&[0xff, 0]),
            Property::User(("a", "1")),
            Property::User(("a", "2")),
        ]);
        let publish = Publish {
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: builder.as_properties(),
            payload: b"21.5",
            ..Publish::default()
        };
        let message = Message::published(&publish, "plant/a", "dev", 7_000);
        let mapped = Mapped { topic: "plant".into(), key: "dev".into(), headers: vec![("site".into(), "x".into())] };
        let back = through_the_store(&message.clone().into_record(mapped), "plant");
        let mut expected = message.clone();
        expected.user.insert(0, ("site".into(), "x".into()));
        assert_eq!(back, expected);
        assert_eq!((back.left_s(7_000), back.left_s(67_000), back.left_s(0)), (Some(60), Some(0), Some(60)));
        let left = builder.as_properties().iter().count();
        assert_eq!(message.properties(Some(60), &[]).as_properties().iter().count(), left);
    }

    #[test]
    fn a_record_of_kafka_is_a_message() {
        let record = NewRecord {
            value: None,
            headers: vec![(b"h".to_vec(), Some(b"v".to_vec())), (b"binary".to_vec(), Some(vec![0xff]))],
            ..NewRecord::default()
        };
        let message = through_the_store(&record, "plant.temperature");
        assert_eq!((&*message.topic, message.qos(), message.payload.len()), ("plant/temperature", Qos::ExactlyOnce, 0));
        assert_eq!(message.user, [("h".to_owned(), "v".to_owned())]);
        assert_eq!(message.client, None);
    }
}
