//! Publishes this machine's readings, one record a group, through the broker: as a native device would, with a session
//! and sequences, so that nothing about these records is special.
//!
//! Invariants: one commit an interval, however many groups there are; trouble is logged when it begins and when it
//! ends, not at every try; what could not be published is dropped, since the next reading says more.

use std::time::{Duration, Instant};

use crate::broker::{Acks, Broker, DeviceSession, NewRecord};
use crate::config::HostSourceConfig;
use crate::executor;
use crate::json::JsonObject;

use super::host::{HostReader, HostReading};

/// The client id of the gateway's own readings. A device that takes it fences them, and is fenced at the next interval.
const CLIENT_ID: &str = "brooklet.source.host";

/// Publishes until dropped.
pub async fn publish_host(broker: Broker, config: HostSourceConfig, gateway_id: String) {
    // The first reading is the beginning of the first interval.
    let mut reader = executor::unblock(HostReader::new).await;
    let mut publisher = Publisher { broker, topic: config.topic, gateway_id, session: None };
    let mut failing = false;
    let mut due = Instant::now();
    loop {
        due = next_due(due, config.interval, Instant::now());
        smol::Timer::at(due).await;
        let read = executor::unblock(move || {
            let readings = reader.read();
            (reader, readings)
        });
        let readings;
        (reader, readings) = read.await;
        let published = publisher.publish(&readings).await;
        match &published {
            Ok(()) if failing => log::info!("this machine's readings are published again"),
            Ok(()) => {}
            Err(why) if !failing => log::warn!("this machine's readings can't be published: {why}"),
            Err(_) => {}
        }
        failing = published.is_err();
    }
}

/// The next multiple of the interval that lies in the future: after a pause (suspended, out of processor time) what was
/// missed is not caught up on.
fn next_due(due: Instant, interval: Duration, now: Instant) -> Instant {
    let next = due + interval;
    if next > now { next } else { now + interval }
}

struct Publisher {
    broker: Broker,
    topic: String,
    gateway_id: String,
    /// The session with its next sequence; `None` after trouble.
    session: Option<(DeviceSession, u64)>,
}

impl Publisher {
    async fn publish(&mut self, readings: &[HostReading]) -> Result<(), String> {
        if readings.is_empty() {
            return Err("neither /proc nor /sys tells anything here".to_owned());
        }
        let topic = self.broker.topic_or_create(&self.topic).await.map_err(|error| error.to_string())?;
        // Taken out: what fails below leaves none, and the next time begins anew.
        let (session, next) = match self.session.take() {
            Some(open) => open,
            None => {
                let opened = self.broker.open_session(CLIENT_ID, None, 0).await.map_err(|error| error.to_string())?;
                let next = opened.next_sequence();
                (opened, next)
            }
        };
        let records: Vec<NewRecord> = readings.iter().map(|reading| self.record(reading)).collect();
        let count = records.len() as u64;
        let ticket = self.broker.publish(&session, &topic, next, records, Acks::Flash).await;
        ticket.map_err(|error| error.to_string())?.wait().await.map_err(|error| error.to_string())?;
        self.session = Some((session, next + count));
        Ok(())
    }

    /// Without a time of its own: the gateway stamps it, which it would do from the same clock.
    fn record(&self, reading: &HostReading) -> NewRecord {
        let mut value = JsonObject::new();
        value.text("gateway", &self.gateway_id);
        reading.write_to(&mut value);
        NewRecord {
            key: Some(reading.metric.clone().into_bytes()),
            value: Some(value.finish().into_bytes()),
            ..NewRecord::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_intervals_are_not_caught_up_on() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(next_due(start, second, start), start + second);
        let late = start + Duration::from_millis(2_500);
        assert_eq!(next_due(start, second, late), late + second);
    }
}
