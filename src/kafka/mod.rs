//! The Kafka protocol as values: requests and responses of both directions, without I/O.
//!
//! | file | what it is |
//! |---|---|
//! | [`wire`] | primitives: bounds-checked reader, writers, the two layouts |
//! | [`message`] | the macro by which a message is declared |
//! | [`nullable`] | structures that may be null |
//! | [`api`] | the APIs and their versions; a server's table of routes |
//! | [`hidden`] | bytes that are not to be seen |
//! | [`frame`], [`header`] | sizes and headers around the bodies |
//! | [`error_code`] | the error codes |
//! | [`consumer_protocol`] | what members of consumer groups say to each other |
//! | all others | one API each, as a table |
//!
//! A client asks and a server answers:
//!
//! ```
//! use brooklet::kafka::frame;
//! use brooklet::kafka::header::{RequestHeader, read_response, write_request, write_response};
//! use brooklet::kafka::message::Message;
//! use brooklet::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic};
//! use brooklet::kafka::wire::Reader;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut sent = Vec::new();
//! let wanted = MetadataRequestTopic { name: Some("readings"), ..Default::default() };
//! write_request(&mut sent, 12, 1, Some("probe"), &MetadataRequest { topics: Some(vec![wanted]), ..Default::default() })?;
//!
//! let received = frame::split(&sent, 1 << 20)?.ok_or("a whole frame has been sent")?;
//! let mut reader = Reader::new(received.frame);
//! let header = RequestHeader::decode(&mut reader)?;
//! let request = MetadataRequest::decode(header.api_version, &mut reader)?;
//! let names = request.topics.iter().flatten().map(|topic| topic.name);
//! let topics = names.map(|name| MetadataResponseTopic { name, ..Default::default() }).collect();
//! let mut answer = Vec::new();
//! let response = MetadataResponse { topics, ..Default::default() };
//! write_response(&mut answer, header.api_version, header.correlation_id, &response)?;
//!
//! let received = frame::split(&answer, 1 << 20)?.ok_or("a whole frame has been sent")?;
//! let (correlation_id, response): (i32, MetadataResponse) = read_response(12, received.frame)?;
//! assert_eq!((correlation_id, response.topics.len()), (1, 1));
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: no input panics; nothing is allocated on the word of a peer; strings and record batches are slices of
//! the input. Absent: policy (what a server serves is [`api::Routes`] in the listener), sockets, clocks.

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod alter_configs;
pub mod alter_user_scram_credentials;
pub mod api;
pub mod api_versions;
pub mod blob;
pub mod consumer_protocol;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_topic_partitions;
pub mod describe_user_scram_credentials;
pub mod end_txn;
pub mod error_code;
pub mod fetch;
pub mod find_coordinator;
pub mod frame;
pub mod header;
pub mod heartbeat;
pub mod hidden;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod message;
pub mod metadata;
pub mod nullable;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod sync_group;
pub mod txn_offset_commit;
pub mod wire;
