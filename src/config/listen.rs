//! `[listen]`: the listeners, and what clients may ask of them.

use std::{net::SocketAddr, time::Duration};

use super::{
    auth::{CertificateName, ListenAuthConfig},
    http::HttpListenConfig,
    security::IfNoRule,
    tls::ListenTlsConfig,
    types::HostPort,
    words::words,
};

#[derive(Clone, Debug, PartialEq)]
pub struct ListenConfig {
    /// Connections of all listeners together. `None`: as many as each may have.
    pub max_connections: Option<usize>,
    /// Connections of one listener from one address. `None`: half of what it may have; from this machine all.
    pub max_connections_per_address: Option<usize>,
    /// Memory of requests of all listeners that are not answered yet, and as much for answers. Bytes.
    pub max_inflight_bytes: u64,
    /// TLS handshakes at once, on all listeners.
    pub max_handshakes: usize,
    /// For a handshake, waiting for its turn included.
    pub handshake_timeout: Duration,
    /// `security.names`: where the names in clients' certificates stand.
    pub certificate_names: Vec<CertificateName>,
    pub native: NativeListenConfig,
    pub kafka: KafkaListenConfig,
    pub mqtt: MqttListenConfig,
    pub http: HttpListenConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NativeListenConfig {
    pub enabled: bool,
    pub addr: SocketAddr,
    pub if_no_rule: IfNoRule,
    pub tls: ListenTlsConfig,
    pub auth: ListenAuthConfig,
    pub max_connections: usize,
    /// Largest frame accepted.
    pub max_frame_bytes: usize,
    /// Whether records with a key of their own are kept with their client's id in a header.
    pub device_header: bool,
    /// Frames of all connections together that are received but not answered.
    pub max_inflight_bytes: u64,
    /// A connection silent for longer is closed. `None`: never.
    pub idle_timeout: Option<Duration>,
    /// A begun frame must be whole, and an answer taken, within this.
    pub frame_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct KafkaListenConfig {
    pub enabled: bool,
    pub addr: SocketAddr,
    pub if_no_rule: IfNoRule,
    pub tls: ListenTlsConfig,
    pub auth: ListenAuthConfig,
    /// What Metadata answers. `None`: the address that the connection came in on.
    pub advertised: Option<HostPort>,
    /// The same, over TLS.
    pub tls_advertised: Option<HostPort>,
    pub acks_1: AcksOne,
    pub max_connections: usize,
    /// Largest request accepted.
    pub max_request_bytes: usize,
    /// Most requests of a connection in progress at once.
    pub max_in_flight: usize,
    /// Requests of all connections together that are received but not answered.
    pub max_inflight_bytes: u64,
    /// A connection silent for longer is closed. `None`: never.
    pub idle_timeout: Option<Duration>,
    /// A begun request must be whole, and an answer taken, within this.
    pub frame_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MqttListenConfig {
    pub enabled: bool,
    pub addr: SocketAddr,
    pub if_no_rule: IfNoRule,
    pub tls: ListenTlsConfig,
    pub auth: ListenAuthConfig,
    pub max_connections: usize,
    /// Largest packet accepted.
    pub max_packet_bytes: usize,
    /// Packets of all connections together that are received but not worked off.
    pub max_inflight_bytes: u64,
    /// Messages of QoS 1 and 2 that a client may have open, each way.
    pub max_inflight: u16,
    /// Clients that are connected or have a session.
    pub max_sessions: usize,
    /// Subscriptions of one session.
    pub max_subscriptions: usize,
    /// Longest that a session outlives its connection. `None`: as long as the client asked for.
    pub session_expiry: Option<Duration>,
    pub max_retained: usize,
    pub max_retained_bytes: u64,
    /// CONNECT must come, a begun packet be whole, and an answer be taken, within this.
    pub packet_timeout: Duration,
    /// The longest that a client of 5.0 may be silent. `None`: as long as it promised.
    pub max_keepalive: Option<Duration>,
    /// Where MQTT is spoken over WebSocket, in the clear. `None`: nowhere.
    pub websocket: Option<SocketAddr>,
    /// The same, by TLS.
    pub websocket_tls: Option<SocketAddr>,
    /// Sites whose pages may come by WebSocket, beside the gateway's own; `*`: all.
    pub websocket_origins: Vec<String>,
    /// Which Kafka topic a message goes to; the first rule that matches.
    pub map: Vec<MqttRule>,
}

/// A rule of `listen.mqtt.map`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MqttRule {
    /// An MQTT filter.
    pub filter: String,
    /// Template of the Kafka topic.
    pub topic: String,
    /// Template of the record's key; the client's id where there is none.
    pub key: Option<String>,
    /// Names and templates of further headers.
    pub headers: Vec<(String, String)>,
}

words! {
    /// What acks=1 of a Kafka producer means here.
    pub enum AcksOne {
        /// Committed and fsynced, like acks=all.
        Flash = "flash",
        /// Accepted; a power cut within the commit window loses it.
        Memory = "memory",
    }
}
