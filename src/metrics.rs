//! What the gateway counts about itself: one static table, from which `status` and every exporter print, so that
//! nothing counted stays unseen.
//!
//! Invariants: counting never blocks and never allocates; counters only grow, and start from 0 with the process.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A figure that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The figure now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A figure that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// A figure at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Replaces the figure.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The figure now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One line of the table, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Name, in snake case.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Whether it only grows.
    pub is_counter: bool,
    /// The figure.
    pub value: i64,
}

/// Declares the table: `kind name "help"` a line.
macro_rules! metrics {
    (@zero counter) => { Counter(AtomicU64::new(0)) };
    (@zero gauge) => { Gauge(AtomicI64::new(0)) };
    (@type counter) => { Counter };
    (@type gauge) => { Gauge };
    (@is_counter counter) => { true };
    (@is_counter gauge) => { false };
    ($($kind:ident $name:ident $help:literal;)*) => {
        /// Everything that is counted.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $help] pub $name: metrics!(@type $kind),)*
        }

        /// The figures of this process.
        pub static METRICS: Metrics = Metrics { $($name: metrics!(@zero $kind),)* };

        impl Metrics {
            /// All figures as of now, in the order of their declaration.
            pub fn readings(&self) -> Vec<Reading> {
                vec![$(Reading {
                    name: stringify!($name),
                    help: $help,
                    is_counter: metrics!(@is_counter $kind),
                    value: i64::try_from(self.$name.get()).unwrap_or(i64::MAX),
                },)*]
            }
        }
    };
}

metrics! {
    gauge connections_native "Connections of native clients.";
    gauge connections_kafka "Connections of Kafka clients.";
    gauge connections_mqtt "Open connections of MQTT clients.";
    gauge connections_http "Open connections of those who read how the gateway is, by HTTP.";
    counter connections_accepted "Connections accepted on all listeners.";
    counter connections_refused "Connections refused because the limit was reached.";
    counter connections_refused_per_address "Connections refused because their address had as many as it may have.";
    gauge memory_in_flight "Bytes of requests that are being read or not answered yet, and of answers not yet sent, that count against listen.max_inflight_bytes.";
    counter memory_waits "Times that a request or an answer waited for memory that others held.";
    counter memory_displaced "Connections closed because they held memory that others needed, and were too slow to send the rest.";
    counter kept_refused "Topics, partitions, groups, users, rules of access and MQTT sessions refused because there are as many as there may be.";
    gauge kept_topics "Topics.";
    gauge kept_partitions "Partitions of all topics.";
    gauge kept_groups "Consumer groups, and names with offsets only.";
    gauge kept_producers "Idempotent producers remembered, once a partition.";
    gauge kept_clients "Native clients whose sequences are remembered.";
    gauge kept_users "Users that may authenticate by a password.";
    gauge kept_rules "Rules of access.";
    gauge kept_sessions "MQTT clients that are connected or have a session.";
    counter tasks_panicked "Connections and parts of the gateway that ended by a fault in the program.";
    gauge tls_handshaking "TLS handshakes under way, and those that wait for their turn.";
    counter tls_handshakes "TLS handshakes done, resumed sessions included.";
    counter tls_resumed "TLS handshakes that resumed an earlier session.";
    counter tls_handshakes_failed "TLS handshakes that failed: no TLS, no way in common, a certificate refused.";
    counter tls_handshakes_waited "Handshakes that had to wait for their turn: as many as may be were under way, in all or from their address.";
    counter tls_handshakes_late "TLS handshakes that took longer than listen.handshake_timeout.";
    counter tls_reloads "Certificates, keys, CAs and lists taken over because their files had changed.";
    counter tls_reload_errors "Certificates, keys, CAs and lists that could not be used; what was read before stayed in use.";
    gauge tls_expires_in_s "Seconds until the first certificate in use expires, negative when one has; 0 without TLS.";
    counter authenticated "Clients that have authenticated by a password.";
    counter authentication_failures "Attempts to authenticate that failed.";
    counter authentication_throttled "Attempts to authenticate that were refused because of earlier failures from their address.";
    counter connections_unauthenticated "Connections closed because they had not authenticated, in time or before they asked for something.";
    counter connections_too_slow "Connections closed because the peer was silent, or took too long to send the rest or to take an answer.";
    counter protocol_errors "Connections closed because of what the peer sent.";
    gauge acl_rules "Rules of access that are kept.";
    counter config_reloads "Times that the configuration was read again and taken.";
    counter config_reloads_refused "Times that it was read again and refused.";
    gauge config_waiting "Keys that were changed and take a restart.";
    gauge acl_dry_run "1 while rules of access are not enforced, else 0.";
    gauge users "Users that are kept.";
    counter client_ids_refused "Connections refused because their client id belongs to another user.";
    counter denied "Requests refused for want of rights.";
    counter denied_dry "Requests that would have been refused for want of rights, in a dry run.";
    counter requests_native "Requests of native clients.";
    counter requests_kafka "Requests of Kafka clients.";
    counter requests_mqtt "Packets of MQTT clients.";
    counter requests_http "Requests by HTTP.";
    counter events_dropped "Watchers of the status that were too slow to be told every change.";
    counter mqtt_delivered "Messages sent to MQTT clients.";
    counter mqtt_evicted "Records that were evicted before they could be delivered to an MQTT client whose session waited for them.";
    counter batches_appended "Record batches of Kafka producers that were appended.";
    counter batches_refused "Record batches and records refused for what they are: damaged, malformed, too large.";
    counter records_in "Records of clients and of gateways below that were appended, whatever they speak.";
    counter records_in_native "Records of native clients that were appended, the gateway's own telemetry among them.";
    counter records_in_kafka "Records of Kafka producers that were appended.";
    counter records_in_mqtt "Messages of MQTT clients that were appended.";
    counter records_in_tiers "Records of gateways below that were appended.";
    counter bytes_in_native "Keys and values of native clients that were appended, bytes.";
    counter bytes_in_kafka "Record batches of Kafka producers that were appended, bytes as they came.";
    counter bytes_in_mqtt "Keys and payloads of MQTT clients that were appended, bytes.";
    counter bytes_in_tiers "Bytes of batches of gateways below that were appended.";
    counter records_out_native "Records sent to native consumers.";
    counter records_out_kafka "Records in the batches sent to Kafka consumers.";
    counter bytes_out_native "Records sent to native consumers, bytes.";
    counter bytes_out_kafka "Record batches sent to Kafka consumers, bytes.";
    counter bytes_out_mqtt "Payloads sent to MQTT clients, bytes.";
    counter duplicates_dropped "Resends recognised: native records, and batches of idempotent Kafka producers.";
    counter store_healed "Times that the store was opened again after a failure.";
    counter sessions_fenced "Native sessions taken over by a newer connection with the same client id.";
    counter bytes_fetched "Bytes of record batches read for consumers and uplinks.";
    counter store_bytes_written "Bytes that the store wrote to its files.";
    counter device_bytes_written "Bytes written to the device below the store, by everyone, as far as it was watched.";
    gauge store_day_bytes "Bytes that the store wrote to its files in the last 24 hours.";
    gauge device_day_bytes "Bytes written to the device below the store by everyone in the last 24 hours.";
    gauge card_life_used_percent "What an eMMC says is used up of its life, percent in tens; 0 if it says nothing.";
    gauge card_pre_eol "What an eMMC says of its reserve: 1 normal, 2 80 % used, 3 90 % used; 0 if it says nothing.";
    gauge flash_budget_unmet "1 while store.flash_budget can't be met.";
    counter lost_evicted "Records that went because room was needed.";
    counter lost_expired "Records that went by retention.";
    counter lost_deleted "Records that were deleted, or their topic was.";
    counter lost_quarantined "Records in segments that the medium damaged.";
    counter lost_dead_lettered "Records that a cluster upstream refused for good.";
    counter lost_skipped "Records that an operator told an uplink to pass over.";
    counter lost_compacted "Records for which a newer one of the same key stands.";
    counter lost_unforwarded "Lost records that an uplink had not forwarded, once an uplink.";
    counter uplink_records "Records acknowledged by upstream clusters.";
    counter uplink_bytes "Bytes of record batches acknowledged by upstream clusters.";
    counter uplink_errors "Failed requests to upstream clusters.";
    counter uplink_bytes_sent "Bytes sent to upstream clusters, without headers of IP and TCP.";
    counter uplink_bytes_received "Bytes received from upstream clusters, without headers of IP and TCP.";
    counter uplink_connects "Connections made to upstream clusters.";
    counter state_renewed "Starts at which state.redb was damaged and begun anew.";
    counter uplink_distrusted "Positions and transactions of uplinks that could not be true as the store had them: damaged, and found out anew.";
    counter uplink_doubt_committed "Transactions in doubt after a lost answer or a restart that turned out to be committed upstream.";
    counter uplink_doubt_aborted "Transactions in doubt after a lost answer or a restart that were not committed, and sent again.";
    counter downlink_records "Records that downlinks brought.";
    counter downlink_bytes "Bytes of record batches that downlinks brought.";
    counter downlink_looped "Records left out by downlinks because they had passed this gateway before.";
    counter downlink_gaps "Offsets that downlinks passed over or went back, as the log upstream was not as it had been.";
    counter downlink_errors "Failed requests of downlinks.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_read() {
        // Other tests count beside this one.
        let value = |name| METRICS.readings().iter().find(|r| r.name == name).map(|r| (r.is_counter, r.value)).unwrap();
        let before = value("sessions_fenced").1;
        METRICS.sessions_fenced.add(3);
        assert!(value("sessions_fenced").0 && value("sessions_fenced").1 >= before + 3);
        assert!(!value("connections_native").0);
        let gauge = Gauge::new();
        gauge.add(2);
        gauge.add(-1);
        assert_eq!(gauge.get(), 1);
        let readings = METRICS.readings();
        assert!(readings.iter().all(|r| r.help.ends_with('.')));
    }
}
