//! Every bound that is not a user's setting, in one place, with the relations between them asserted at compile time.
//!
//! Units are last in the names. What a user may set is in [`crate::config`]; its allowed range is here.

/// Longest topic name, bytes (as in Kafka).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// The internal topic that tells of every loss.
pub const LOSSES_TOPIC: &str = "brooklet.losses";
/// The internal topic of records that a cluster upstream refuses for what they are.
pub const DEAD_LETTER_TOPIC: &str = "brooklet.dead-letter";
/// Part of `store.max_bytes` that the dead-letter topic may take unless it is configured by name: one in so many.
pub const DEAD_LETTER_SHARE: u64 = 16;
/// Bytes of records that one commit puts into the dead-letter topic; one record larger than that goes alone.
pub const DEAD_LETTER_COMMIT_BYTES: usize = 1024 * 1024;
/// Letters in one answer, and settled in one commit.
pub const DEAD_LETTER_LISTED_MAX: usize = 500;
/// Whether a topic is Brooklet's own: uplinks follow it only where it is named.
pub fn is_internal_topic(name: &str) -> bool {
    name.starts_with("__") || name == LOSSES_TOPIC || name == DEAD_LETTER_TOPIC
}
/// Most topics a broker keeps.
pub const TOPICS_MAX: usize = 4_096;
/// Most partitions a broker keeps, over all topics.
pub const PARTITIONS_MAX: usize = 16_384;
/// Default of `max.message.bytes` (as in Kafka: 1 MiB + 12 bytes of log overhead).
pub const BATCH_BYTES_DEFAULT: usize = 1_048_588;
/// Largest `max.message.bytes` a topic may set.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest size a batch may decompress to, bytes, whatever its ratio.
pub const BATCH_DECOMPRESSED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Largest ratio of decompressed to compressed size of a batch. Highly repetitive telemetry reaches some hundreds.
pub const DECOMPRESSION_RATIO_MAX: u64 = 4_096;
/// Largest size a batch may decompress to where its topic keeps it in another codec, bytes: it is in memory then.
pub const RECOMPRESS_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most array elements in one Kafka message, over all its arrays: bounds what a decoded message takes beyond its own bytes.
/// A metadata response of [`PARTITIONS_MAX`] partitions with three replicas has about seven a partition.
pub const KAFKA_ELEMENTS_MAX: usize = 131_072;
/// Longest client id, bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 128;
/// Most rules of access, and the longest name of a resource in one, bytes.
pub const ACL_RULES_MAX: usize = 4_000;
pub const ACL_NAME_BYTES_MAX: usize = 249;
/// Longest name of a user, bytes.
pub const PRINCIPAL_BYTES_MAX: usize = 255;
/// Most intervals a reader's position may consist of.
pub const POSITION_INTERVALS_MAX: usize = 64;
/// Most users that may authenticate by a password; each takes some 300 bytes of the store's state.
pub const USERS_MAX: usize = 2_000;
/// Most native clients whose sequences are remembered; the longest unseen are forgotten first.
pub const DEVICES_MAX: usize = 20_000;
/// How long an unseen native client's sequences are remembered, ms (by a trusted clock only).
pub const DEVICE_EXPIRY_MS: i64 = 30 * 24 * 3_600_000;
/// Most (partition, idempotent producer) pairs remembered; the longest unseen are forgotten first.
pub const PRODUCERS_MAX: usize = 10_000;
/// How long an unseen idempotent producer is remembered, ms (Kafka's `producer.id.expiration.ms`; a trusted clock only).
pub const PRODUCER_EXPIRY_MS: i64 = 24 * 3_600_000;
/// Boot epochs that a position upstream names: to find the last common point, two histories must have gone apart within these.
pub const TIER_EPOCHS_MAX: usize = 5;
/// Most cursors of gateways below that are kept, of all partitions there; the longest unmoved are forgotten first.
pub const TIER_CURSORS_MAX: usize = 20_000;
/// How long an unmoved cursor of a gateway below is kept, ms (by a trusted clock only). A gateway that comes back later goes on
/// from its own positions.
pub const TIER_CURSOR_EXPIRY_MS: i64 = 366 * 24 * 3_600_000;
/// Longest name of a reader (group id) that commits offsets, bytes.
pub const READER_NAME_BYTES_MAX: usize = 249;
/// Longest metadata text of a committed offset, bytes (Kafka's `offset.metadata.max.bytes`).
pub const OFFSET_METADATA_BYTES_MAX: usize = 4_096;
/// Most groups, of members or of offsets only.
pub const GROUPS_MAX: usize = 2_000;
/// Most members of a group, and ids given out for a first join (KIP-394).
pub const GROUP_MEMBERS_MAX: usize = 250;
/// Most bytes of what the members of a group tell the leader and get from it.
pub const GROUP_BYTES_MAX: usize = 512 * 1024;
/// Most ways of assignment that one member names.
pub const GROUP_PROTOCOLS_MAX: usize = 32;
/// Shortest and longest session time-out of a member, ms (as in Kafka).
pub const GROUP_SESSION_MS_MIN: u64 = 6_000;
pub const GROUP_SESSION_MS_MAX: u64 = 1_800_000;
/// How long a new member may wait for its first generation, ms (as in Kafka).
pub const GROUP_NEW_MEMBER_MS: u64 = 300_000;
/// Longest name of an uplink, bytes. It is part of the durable cursor's key.
pub const UPLINK_NAME_BYTES_MAX: usize = 64;
/// Labels of a gateway. All of them go along with every record that is batched here.
pub const LABELS_MAX: usize = 16;
/// Longest name of a label.
pub const LABEL_NAME_BYTES_MAX: usize = 32;
/// Longest value of a label.
pub const LABEL_VALUE_BYTES_MAX: usize = 128;
/// Largest configuration file, bytes.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most bytes of record batches in one answer to a consumer (one batch comes even if it is larger).
pub const FETCH_BYTES_MAX: usize = 1024 * 1024;
/// Most records of a refused batch that its producer is told to be at fault.
pub const RECORDS_AT_FAULT_MAX: usize = 1_000;
/// Longest time a fetch waits for records, ms.
pub const FETCH_WAIT_MS_MAX: u64 = 30_000;
/// Highest `priority` of a topic; what has a higher one is kept longer when room is needed.
pub const PRIORITY_MAX: u8 = 9;
/// The priority of a topic that does not say: as many levels above it as one needs, and some below.
pub const PRIORITY_DEFAULT: u8 = 5;
/// Part of `store.max_bytes` that may be promised: the topics' reserves, and what topics hold that may not be evicted.
/// The rest is what the ring turns over in: the active segment, the spare, the one being sealed, a rewrite's headroom.
pub const RESERVE_PERCENT_MAX: u64 = 70;
/// Most bytes that may be reserved within a bound of `max_bytes`.
pub const fn reserve_sum_max(max_bytes: u64) -> u64 {
    max_bytes / 100 * RESERVE_PERCENT_MAX
}
/// TLS sessions of clients that a listener remembers, so that these come back with a short handshake.
pub const TLS_SESSIONS_MAX: usize = 1_024;
/// Most rows of the store's boot-epoch table.
pub const EPOCHS_MAX: usize = 256;

const _: () = assert!(BATCH_BYTES_DEFAULT <= BATCH_BYTES_MAX);
const _: () = assert!((BATCH_BYTES_MAX as u64) < BATCH_DECOMPRESSED_BYTES_MAX);
const _: () = assert!((BATCH_BYTES_MAX as u64) < RECOMPRESS_BYTES_MAX);
const _: () = assert!(KAFKA_ELEMENTS_MAX >= 8 * PARTITIONS_MAX);
/// Longest MQTT topic and filter, bytes: a retained message's is the key of a row.
pub const MQTT_TOPIC_BYTES_MAX: usize = 1_000;
/// Longest client id of an MQTT client, bytes.
pub const MQTT_CLIENT_ID_BYTES_MAX: usize = 256;
/// Messages of a shared subscription that are with its members or came back from them: they are listed in its row.
pub const MQTT_SHARE_OPEN_MAX: usize = 1_024;
