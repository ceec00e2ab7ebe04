//! The table of metrics. A new figure of [`crate::metrics`] belongs into it; a test finds what is missing.

use super::Kind::{Counter, Gauge};
use super::Source::{By, Of, One};
use super::{Family, Kind, Samples, Source, links, logs};
use crate::gateway::status::GatewayStatus;

const fn family(name: &'static str, kind: Kind, source: Source, help: &'static str) -> Family {
    Family { name, kind, help, source }
}

/// A figure of the whole gateway.
type Fill = fn(&GatewayStatus, &mut Samples<'_>);

const BUILD: Fill = |s, out| out.add(&[("version", &s.version)], 1.0);
const LABELS: Fill =
    |s, out| s.labels.iter().for_each(|(name, value)| out.add(&[("name", name), ("value", value)], 1.0));
const CERTIFICATES: Fill = |s, out| {
    for of in &s.certificates {
        out.maybe(
            &[("of", &of.of), ("subject", &of.subject)],
            of.not_after_ms.map(|at| (at - s.time_ms) as f64 / 1_000.0),
        );
    }
};

/// Figures of the store, each a field of it.
macro_rules! store {
    ($($field:ident).+) => {
        Of(&[], |s, out| out.add(&[], s.store.$($field).+ as f64))
    };
}

// A line a metric: it is read as a table.
#[rustfmt::skip]
pub(super) static FAMILIES: &[Family] = &[
    family("brooklet_build_info", Gauge, Of(&["version"], BUILD), "1, with the version."),
    family("brooklet_gateway_label", Gauge, Of(&["name", "value"], LABELS), "1 for each label of the gateway (gateway.labels)."),
    family("brooklet_uptime_seconds", Gauge, Of(&[], |s, out| out.add(&[], s.uptime_s as f64)), "Time since the gateway started."),
    family("brooklet_time_seconds", Gauge, Of(&[], |s, out| out.add(&[], s.time_ms as f64 / 1_000.0)), "The gateway's clock, Unix time."),
    family("brooklet_clock_trusted", Gauge, Of(&[], |s, out| out.add(&[], f64::from(u8::from(s.time_trusted)))), "1 while the gateway believes its clock."),
    family("brooklet_problems", Gauge, Of(&[], |s, out| out.add(&[], s.problems.len() as f64)), "What somebody should look at; the status says what."),
    family("brooklet_process_resident_memory_bytes", Gauge, Of(&[], |s, out| out.add(&[], s.process.resident_bytes as f64)), "Memory of the process in RAM."),
    family("brooklet_config_reloads_total", Counter, By("result", &[("done", "config_reloads"), ("refused", "config_reloads_refused")]), "Times that the configuration was read again: taken, or refused."),
    family("brooklet_config_waiting", Gauge, One("config_waiting"), "Keys of the configuration that were changed and take a restart."),
    family("brooklet_config_refused", Gauge, Of(&[], |s, out| out.add(&[], f64::from(u8::from(s.config.refused_since_ms.is_some())))), "1 while the configuration on disk is refused, else 0."),
    // What goes in and out.
    family("brooklet_received_records_total", Counter, By("protocol", &[("native", "records_in_native"), ("kafka", "records_in_kafka"), ("mqtt", "records_in_mqtt"), ("tier", "records_in_tiers")]), "Records of clients that were appended; tier: of gateways below."),
    family("brooklet_received_bytes_total", Counter, By("protocol", &[("native", "bytes_in_native"), ("kafka", "bytes_in_kafka"), ("mqtt", "bytes_in_mqtt"), ("tier", "bytes_in_tiers")]), "Their bytes: keys and values, or batches as they came (Kafka, tiers)."),
    family("brooklet_sent_records_total", Counter, By("protocol", &[("native", "records_out_native"), ("kafka", "records_out_kafka"), ("mqtt", "mqtt_delivered")]), "Records sent to consumers and subscribers."),
    family("brooklet_sent_bytes_total", Counter, By("protocol", &[("native", "bytes_out_native"), ("kafka", "bytes_out_kafka"), ("mqtt", "bytes_out_mqtt")]), "Their bytes: payloads (MQTT), or batches as they lie (Kafka)."),
    family("brooklet_requests_total", Counter, By("protocol", &[("native", "requests_native"), ("kafka", "requests_kafka"), ("mqtt", "requests_mqtt"), ("http", "requests_http")]), "Requests and packets of clients."),
    family("brooklet_duplicates_dropped_total", Counter, One("duplicates_dropped"), "Resends recognised: records, and batches of idempotent producers."),
    family("brooklet_batches_appended_total", Counter, One("batches_appended"), "Batches of Kafka producers that were appended."),
    family("brooklet_batches_refused_total", Counter, One("batches_refused"), "Batches and records refused for what they are: damaged, malformed, too large."),
    family("brooklet_fetched_bytes_total", Counter, One("bytes_fetched"), "Bytes of batches read for consumers and uplinks."),
    // Who is there.
    family("brooklet_connections", Gauge, By("listener", &[("native", "connections_native"), ("kafka", "connections_kafka"), ("mqtt", "connections_mqtt"), ("http", "connections_http")]), "Open connections."),
    family("brooklet_connections_accepted_total", Counter, One("connections_accepted"), "Connections accepted, on all listeners."),
    family("brooklet_connections_refused_total", Counter, By("reason", &[("limit", "connections_refused"), ("address", "connections_refused_per_address")]), "Connections refused: too many in all or on that listener, or from that address."),
    family("brooklet_connections_closed_total", Counter, By("reason", &[("slow", "connections_too_slow"), ("protocol", "protocol_errors"), ("unauthenticated", "connections_unauthenticated")]), "Connections closed for what the peer did or did not do."),
    family("brooklet_authentications_total", Counter, By("result", &[("done", "authenticated"), ("failed", "authentication_failures"), ("throttled", "authentication_throttled")]), "Attempts to authenticate."),
    family("brooklet_denied_total", Counter, By("dry_run", &[("false", "denied"), ("true", "denied_dry")]), "Requests without the rights for them: refused, or only counted."),
    family("brooklet_client_ids_refused_total", Counter, One("client_ids_refused"), "Connections refused because their client id belongs to another user."),
    family("brooklet_acl_rules", Gauge, One("acl_rules"), "Rules of access that are kept."),
    family("brooklet_acl_dry_run", Gauge, One("acl_dry_run"), "1 while rules of access are not enforced, else 0."),
    family("brooklet_users", Gauge, One("users"), "Users that are kept."),
    family("brooklet_sessions_fenced_total", Counter, One("sessions_fenced"), "Native sessions taken over by a newer connection of the same client id."),
    family("brooklet_watchers_dropped_total", Counter, One("events_dropped"), "Watchers of the status that were too slow."),
    family("brooklet_memory_in_flight_bytes", Gauge, One("memory_in_flight"), "Memory of requests that are being read or not answered yet, and of answers not sent yet."),
    family("brooklet_memory_waits_total", Counter, One("memory_waits"), "Requests and answers that waited for memory that others held."),
    family("brooklet_memory_displaced_total", Counter, One("memory_displaced"), "Connections closed because they held memory that others needed, and were too slow to send the rest."),
    family("brooklet_kept", Gauge, By("what", &[("topics", "kept_topics"), ("partitions", "kept_partitions"), ("groups", "kept_groups"), ("producers", "kept_producers"), ("clients", "kept_clients"), ("users", "kept_users"), ("rules", "kept_rules"), ("sessions", "kept_sessions")]), "How many there are of what is kept and bounded in number."),
    family("brooklet_kept_refused_total", Counter, One("kept_refused"), "Topics, partitions, groups, users, rules and sessions refused because there are as many as there may be."),
    family("brooklet_tasks_panicked_total", Counter, One("tasks_panicked"), "Connections and parts of the gateway that ended by a fault in the program."),
    family("brooklet_tls_handshakes_in_progress", Gauge, One("tls_handshaking"), "Handshakes under way, and those that wait for their turn."),
    family("brooklet_tls_handshakes_total", Counter, By("result", &[("done", "tls_handshakes"), ("failed", "tls_handshakes_failed"), ("late", "tls_handshakes_late")]), "Handshakes of TLS on listeners."),
    family("brooklet_tls_handshakes_waited_total", Counter, One("tls_handshakes_waited"), "Handshakes that had to wait for their turn: as many as may be were under way, in all or from their address."),
    family("brooklet_tls_resumed_total", Counter, One("tls_resumed"), "Handshakes that resumed an earlier session; in those done."),
    family("brooklet_tls_reloads_total", Counter, By("result", &[("done", "tls_reloads"), ("failed", "tls_reload_errors")]), "Files of TLS that had changed: taken over, or not to be used."),
    family("brooklet_certificate_remaining_seconds", Gauge, Of(&["of", "subject"], CERTIFICATES), "Until a certificate expires; negative when it has."),
    family("brooklet_mqtt_sessions", Gauge, Of(&["state"], logs::mqtt_sessions), "MQTT clients: connected, and sessions that wait for their client."),
    family("brooklet_mqtt_shares", Gauge, Of(&[], |s, out| out.add(&[], s.mqtt_clients.shares as f64)), "Shared subscriptions."),
    family("brooklet_mqtt_retained_messages", Gauge, Of(&[], |s, out| out.add(&[], s.mqtt_clients.retained as f64)), "Retained messages."),
    family("brooklet_mqtt_retained_bytes", Gauge, Of(&[], |s, out| out.add(&[], s.mqtt_clients.retained_bytes as f64)), "Retained messages, their bytes."),
    family("brooklet_mqtt_evicted_records_total", Counter, One("mqtt_evicted"), "Records evicted before they could be delivered to a session that waited for them."),
    family("brooklet_groups", Gauge, Of(&["state"], logs::groups), "Consumer groups."),
    family("brooklet_group_members", Gauge, Of(&[], |s, out| out.add(&[], s.groups.iter().map(|group| group.members).sum::<u64>() as f64)), "Members of all groups."),
    // The store and what it is on.
    family("brooklet_store_open", Gauge, Of(&[], |s, out| out.add(&[], f64::from(u8::from(s.store.stopped.is_none() && s.store.refused.is_none())))), "1 while the store takes records."),
    family("brooklet_store_bytes", Gauge, store!(disk_bytes), "Everything of the store on disk."),
    family("brooklet_store_limit_bytes", Gauge, store!(max_bytes), "Its bound (store.max_bytes)."),
    family("brooklet_store_reserve_bytes", Gauge, store!(reserve_bytes), "Of it, what store.preallocate has claimed for later."),
    family("brooklet_store_segments", Gauge, Of(&["state"], logs::segments), "Segment files: whole, unreadable, taken out."),
    family("brooklet_store_partitions", Gauge, store!(partitions), "Partitions."),
    family("brooklet_store_state_bytes", Gauge, store!(state_bytes), "Keyed state: positions, sessions, sequences."),
    family("brooklet_store_queued_operations", Gauge, store!(queued_operations), "Operations that wait for the writer."),
    family("brooklet_store_tail_bytes", Gauge, store!(tail_bytes), "Recent batches kept in memory."),
    family("brooklet_store_commits_total", Counter, store!(commits), "Commits."),
    family("brooklet_store_payload_bytes_total", Counter, store!(payload_bytes), "Bytes of batches committed."),
    family("brooklet_store_evicted_segments_total", Counter, store!(evictions), "Segments evicted for room."),
    family("brooklet_store_rewrites_total", Counter, store!(rewrites), "Runs of segments rewritten."),
    family("brooklet_store_rewritten_bytes_total", Counter, store!(rewritten_bytes), "Bytes of files that rewriting made."),
    family("brooklet_store_healed_total", Counter, One("store_healed"), "Times that the store was opened again after a failure."),
    family("brooklet_flash_written_bytes_total", Counter, By("by", &[("store", "store_bytes_written"), ("device", "device_bytes_written")]), "Bytes written: by the store to its files; by everyone to the device below."),
    family("brooklet_flash_day_bytes", Gauge, By("by", &[("store", "store_day_bytes"), ("device", "device_day_bytes")]), "The same in the last 24 hours that the gateway ran."),
    family("brooklet_flash_budget_bytes", Gauge, Of(&[], |s, out| out.maybe(&[], s.store.flash.day_budget_bytes.map(|bytes| bytes as f64))), "What the store should write a day (store.flash_budget)."),
    family("brooklet_flash_budget_unmet", Gauge, One("flash_budget_unmet"), "1 while more has to be written than the budget allows."),
    family("brooklet_commit_interval_seconds", Gauge, Of(&[], |s, out| out.add(&[], s.store.flash.commit_interval_ms as f64 / 1_000.0)), "Least time between two commits now."),
    family("brooklet_card_life_used_ratio", Gauge, Of(&["part"], logs::card_life), "What an eMMC says is used up of its life, in tenths; beyond 1: past the estimate."),
    family("brooklet_card_pre_eol", Gauge, One("card_pre_eol"), "What an eMMC says of its reserve: 1 normal, 2 80 % used, 3 90 % used; 0: nothing."),
    // What there is, and what is lost of it.
    family("brooklet_lost_records_total", Counter, By("reason", &[("evicted", "lost_evicted"), ("expired", "lost_expired"), ("deleted", "lost_deleted"), ("quarantined", "lost_quarantined"), ("dead-lettered", "lost_dead_lettered"), ("skipped", "lost_skipped"), ("compacted", "lost_compacted")]), "Records that went, forwarded or not."),
    family("brooklet_lost_unforwarded_records_total", Counter, One("lost_unforwarded"), "Lost records that an uplink had not forwarded, once an uplink."),
    family("brooklet_ledger_records", Gauge, Of(&["uplink", "reason"], logs::ledger), "The loss ledger: records that went before an uplink had forwarded them, since the store was made."),
    family("brooklet_topics", Gauge, Of(&[], |s, out| out.add(&[], s.topics.len() as f64)), "Topics."),
    family("brooklet_topic_accepted_records_total", Counter, Of(&["topic"], logs::accepted), "Records accepted since the topic was made. Of 200 topics one by one, then of all others together."),
    family("brooklet_topic_retained_records", Gauge, Of(&["topic"], logs::retained_records), "Records kept."),
    family("brooklet_topic_retained_bytes", Gauge, Of(&["topic"], logs::retained_bytes), "Bytes kept."),
    family("brooklet_topic_lost_records_total", Counter, Of(&["topic", "reason"], logs::lost), "Records that went, since the topic was made."),
    // Upstream and down.
    family("brooklet_uplink_up", Gauge, Of(&["uplink"], links::up), "1 while the link is up."),
    family("brooklet_uplink_state", Gauge, Of(&["uplink", "state"], links::state), "1 for the state that the uplink is in."),
    family("brooklet_uplink_lag_records", Gauge, Of(&["uplink"], links::lag_records), "Records not acknowledged upstream."),
    family("brooklet_uplink_lag_bytes", Gauge, Of(&["uplink"], links::lag_bytes), "Bytes that they take in the store."),
    family("brooklet_uplink_oldest_age_seconds", Gauge, Of(&["uplink"], links::oldest_age), "Age of the oldest of them, by its timestamp; 0 if nothing waits."),
    family("brooklet_uplink_drain_seconds", Gauge, Of(&["uplink"], links::drain), "In what time all will be forwarded at this rate; missing: never."),
    family("brooklet_uplink_full_seconds", Gauge, Of(&["uplink"], links::full), "In what time what waits fills the store at this rate; missing: never."),
    family("brooklet_uplink_stalled_partitions", Gauge, Of(&["uplink"], links::stalled), "Partitions that are not forwarded until someone changes something."),
    family("brooklet_uplink_records_total", Counter, Of(&["uplink"], links::records), "Records acknowledged upstream."),
    family("brooklet_uplink_bytes_total", Counter, Of(&["uplink"], links::bytes), "Bytes of batches acknowledged upstream."),
    family("brooklet_uplink_batches_total", Counter, Of(&["uplink"], links::batches), "Batches acknowledged upstream."),
    family("brooklet_uplink_resends_total", Counter, Of(&["uplink"], links::resends), "Batches sent again."),
    family("brooklet_uplink_adapted_total", Counter, Of(&["uplink", "how"], links::adapted), "Batches cut to upstream's size, or with timestamps shifted into its bounds."),
    family("brooklet_uplink_producers_lost_total", Counter, Of(&["uplink"], links::producers_lost), "Producer ids that upstream had forgotten: what was under way may have arrived twice."),
    family("brooklet_uplink_lost_records_total", Counter, Of(&["uplink", "reason"], links::lost), "Records evicted before they were forwarded, or refused upstream and set aside."),
    family("brooklet_uplink_failures_total", Counter, Of(&["uplink"], links::failures), "Failed attempts and lost connections."),
    family("brooklet_uplink_link_bytes_total", Counter, Of(&["uplink", "direction"], links::link_bytes), "Bytes over the link, without headers of IP and TCP."),
    family("brooklet_uplink_wire_bytes_total", Counter, Of(&["uplink"], links::wire_bytes), "Both directions with those headers, estimated."),
    family("brooklet_uplink_notices_total", Counter, Of(&["uplink", "result"], links::notices), "Notices of how the gateway is: taken upstream, and not (or nobody knows)."),
    family("brooklet_uplink_budget_bytes", Gauge, Of(&["uplink", "part"], links::budget), "The link's budget of this day or month: used, limit."),
    family("brooklet_uplink_shut", Gauge, Of(&["uplink", "reason"], links::shut), "1 while schedule, budget or slow start keep topics back."),
    family("brooklet_uplinks_records_total", Counter, One("uplink_records"), "Records acknowledged upstream, over all uplinks."),
    family("brooklet_uplinks_bytes_total", Counter, One("uplink_bytes"), "Bytes of batches acknowledged upstream, over all uplinks."),
    family("brooklet_uplinks_errors_total", Counter, One("uplink_errors"), "Failed requests to upstream clusters."),
    family("brooklet_uplinks_connects_total", Counter, One("uplink_connects"), "Connections made to upstream clusters."),
    family("brooklet_uplinks_link_bytes_total", Counter, By("direction", &[("sent", "uplink_bytes_sent"), ("received", "uplink_bytes_received")]), "Bytes over all links upstream."),
    family("brooklet_state_renewed_total", Counter, One("state_renewed"), "Starts at which state.redb was damaged and begun anew."),
    family("brooklet_uplinks_distrusted_total", Counter, One("uplink_distrusted"), "Positions and transactions of uplinks that could not be true as the store had them: damaged, and found out anew."),
    family("brooklet_uplinks_doubt_total", Counter, By("result", &[("committed", "uplink_doubt_committed"), ("aborted", "uplink_doubt_aborted")]), "Transactions in doubt after a lost answer or a restart, and what had become of them."),
    family("brooklet_downlink_up", Gauge, Of(&["downlink"], links::down_up), "1 while records can come down."),
    family("brooklet_downlink_lag_records", Gauge, Of(&["downlink"], links::down_lag), "Offsets upstream that have not come down."),
    family("brooklet_downlink_records_total", Counter, Of(&["downlink"], links::down_records), "Records brought."),
    family("brooklet_downlink_bytes_total", Counter, Of(&["downlink"], links::down_bytes), "Bytes of batches brought."),
    family("brooklet_downlink_failures_total", Counter, Of(&["downlink"], links::down_failures), "Failed attempts and lost connections."),
    family("brooklet_downlinks_records_total", Counter, One("downlink_records"), "Records brought, by all downlinks."),
    family("brooklet_downlinks_bytes_total", Counter, One("downlink_bytes"), "Bytes of batches brought, by all downlinks."),
    family("brooklet_downlinks_looped_total", Counter, One("downlink_looped"), "Records left out because they had passed this gateway before."),
    family("brooklet_downlinks_gaps_total", Counter, One("downlink_gaps"), "Offsets passed over or gone back, as the log upstream was not as it had been."),
    family("brooklet_downlinks_errors_total", Counter, One("downlink_errors"), "Failed requests of downlinks."),
];
