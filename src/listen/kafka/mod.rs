//! The Kafka listener: what ordinary Kafka clients speak.
//!
//! [`session`] reads requests and writes answers in their order; [`routes`] is the one table that decides what is
//! served and advertised; every other file is one API: request in, calls of the broker, response out.

mod acls;
mod alter_configs;
mod api_versions;
mod configs;
mod create_acls;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_topic_partitions;
mod errors;
mod fetch;
mod find_coordinator;
mod gate;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod request;
mod routes;
mod session;
mod sync_group;
mod user_credentials;

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::accept::{Acceptor, Door};
use super::arrival::Arrival;
use super::auth::Guard;
use super::budget::{Budgets, ByteBudget};
use crate::broker::{Acks, Broker, Lobby};
use crate::current::Current;
use crate::kafka::error_code::ErrorCode;

/// The node id of this broker, alone in its cluster.
const NODE_ID: i32 = 1;

/// Settings of the listener.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Host and port that Metadata names; the address that the connection came in on when `None`.
    pub advertised: Option<(String, u16)>,
    /// The same, for who comes by TLS.
    pub tls_advertised: Option<(String, u16)>,
    /// What `acks=1` means.
    pub acks_1: Acks,
    /// Largest request, bytes.
    pub request_bytes_max: usize,
    /// Most requests of a connection that are not answered yet.
    pub in_flight_max: usize,
    /// Memory of the requests of all connections that are not answered yet, bytes; and as much for answers.
    pub in_flight_bytes_max: usize,
    /// A connection without a request for this long is closed; `None`: never.
    pub idle: Option<Duration>,
    /// Time for a begun request to come whole, and for an answer to be taken.
    pub frame_time: Duration,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            advertised: None,
            tls_advertised: None,
            acks_1: Acks::Flash,
            request_bytes_max: 2 * 1024 * 1024,
            in_flight_max: 16,
            in_flight_bytes_max: 8 * 1024 * 1024,
            idle: Some(Duration::from_secs(600)),
            frame_time: Duration::from_secs(30),
        }
    }
}

/// What all sessions share.
struct Context {
    broker: Lobby,
    guard: Guard,
    options: KafkaOptions,
    /// Memory of requests, until they are answered.
    requests: ByteBudget,
    /// Memory of records on their way to consumers, until they are sent. Apart from that of requests: an answer that
    /// waited for memory which the requests behind it hold would wait for ever.
    answers: ByteBudget,
    cluster_id: String,
}

impl Context {
    /// Where clients find this broker: host and port.
    fn address(&self, request: &request::Request) -> (String, u16) {
        let arrival = &request.arrival;
        let advertised = if arrival.is_tls { &self.options.tls_advertised } else { &self.options.advertised };
        match (advertised, arrival.at) {
            (Some((host, port)), _) => (host.clone(), *port),
            (None, Some(at)) => (at.ip().to_canonical().to_string(), at.port()),
            // Only the local socket has no address, and it isn't for Kafka clients.
            (None, None) => ("localhost".to_owned(), 0),
        }
    }
}

/// Whether a client knows the leader epoch that is current (KIP-320); −1 if it knows none.
///
/// # Errors
/// What to answer where it doesn't: it asks for metadata, and again.
fn check_epoch(context: &Context, known: i32) -> Result<(), ErrorCode> {
    let current = context.broker.epoch().ordinal as i32;
    match known {
        ..0 => Ok(()),
        known if known > current => Err(ErrorCode::UnknownLeaderEpoch),
        known if known < current => Err(ErrorCode::FencedLeaderEpoch),
        _ => Ok(()),
    }
}

/// Those of `keys` that come more than once.
fn repeated<K: Copy + Eq + Hash>(keys: impl Iterator<Item = K>) -> HashSet<K> {
    let mut seen = HashSet::new();
    keys.filter(|key| !seen.insert(*key)).collect()
}

/// The Kafka listener.
#[derive(Clone)]
pub struct Kafka {
    /// That of connections which come from now on.
    context: Arc<Current<Context>>,
}

impl Kafka {
    /// A listener that serves `broker` to whom `guard` lets in.
    pub fn new(broker: Broker, guard: Guard, options: KafkaOptions, memory: &Budgets) -> Self {
        let cluster_id = base64url(&broker.store().incarnation());
        let (requests, answers) = memory.parts(options.in_flight_bytes_max);
        let context = Context { broker: broker.lobby(), guard, options, requests, answers, cluster_id };
        Self { context: Arc::new(Current::new(context)) }
    }

    /// Serves whoever connects from now on by these settings; `in_flight_bytes_max` stays.
    pub fn reconfigure(&self, guard: Guard, options: KafkaOptions) {
        let now = self.context.get();
        let (requests, answers) = (now.requests.clone(), now.answers.clone());
        let (broker, cluster_id) = (now.broker.clone(), now.cluster_id.clone());
        self.context.set(Context { broker, guard, options, requests, answers, cluster_id });
    }

    /// Serves clients until shutdown.
    pub async fn serve_tcp(&self, door: Door, acceptor: Acceptor) {
        let (context, shutdown) = (Arc::clone(&self.context), acceptor.shutdown.clone());
        let session =
            move |socket, arrival: Arc<Arrival>| session::run(context.get(), shutdown.clone(), socket, arrival);
        acceptor.run(&door, session).await;
    }
}

/// A UUID as Kafka writes cluster ids: base64url without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let value = chunk.iter().fold(0u32, |acc, byte| (acc << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            let index = (value >> (18 - 6 * i)) & 0x3f;
            text.push(ALPHABET.get(index as usize).copied().unwrap_or(b'A').into());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_have_22_characters() {
        assert_eq!(base64url(&[0xff; 16]), "_____________________w");
        assert_eq!(base64url(b"light w"), "bGlnaHQgdw");
        assert_eq!(base64url(b"light wo"), "bGlnaHQgd28");
        assert_eq!(base64url(b"light wor"), "bGlnaHQgd29y");
    }
}
