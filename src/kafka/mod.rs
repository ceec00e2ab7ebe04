//! The Kafka protocol as values: requests and responses of both directions, without I/O.
//!
//! | file | what it is |
//! |---|---|
//! | [`wire`] | primitives: bounds-checked reader, writers, the two layouts |
//! | [`message`] | the macro by which a message is declared |
//! | [`api`] | the APIs and their versions; a server's table of routes |
//! | [`frame`], [`header`] | sizes and headers around the bodies |
//! | [`error_code`] | the error codes |
//! | all others | one API each, as a table |
//!
//! Invariants: no input panics; nothing is allocated on the word of a peer; strings and record batches are slices of the input.
//! Absent: policy (what a server serves is [`api::Routes`] in the listener), sockets, clocks.

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod api;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod end_txn;
pub mod error_code;
pub mod fetch;
pub mod find_coordinator;
pub mod frame;
pub mod header;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod message;
pub mod metadata;
pub mod offset_commit;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod sync_group;
pub mod txn_offset_commit;
pub mod wire;
