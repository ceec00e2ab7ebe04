//! Configurations before anything is read into them. The values here are never seen: every key of the table has a
//! default, or is required, and is read over them.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use log::LevelFilter;

use super::{
    auth::*, http::*, keys, labels::Labels, link::*, listen::*, pattern::TopicTemplate, resolve::read_defaults,
    security::*, store::*, tls::*, topics::*, types::*, uplink::*,
};

impl Default for Config {
    /// What holds without any file, variable or flag.
    fn default() -> Config {
        let mut config = Config::blank();
        read_defaults(keys::GLOBAL, &mut config);
        read_defaults(keys::TOPIC, &mut config.topics.defaults);
        config
    }
}

impl Config {
    pub(super) fn blank() -> Config {
        Config {
            data_dir: PathBuf::new(),
            gateway: GatewayConfig { id: None, labels: Labels::default() },
            store: StoreConfig {
                max_bytes: DiskBudget::Auto,
                segment_bytes: None,
                commit_window: None,
                commit_interval_max: Duration::ZERO,
                flash_budget: None,
                rewrite_budget: None,
                medium: StoreMedium::Auto,
                compression: Compression::None,
                cache_bytes: 0,
                tail_bytes: 0,
                on_full: OnFull::EvictOldest,
                preallocate: false,
            },
            listen: ListenConfig {
                max_connections: None,
                max_connections_per_address: None,
                max_inflight_bytes: 0,
                max_handshakes: 0,
                handshake_timeout: Duration::ZERO,
                certificate_names: Vec::new(),
                native: blank_native(),
                kafka: blank_kafka(),
                mqtt: blank_mqtt(),
                http: HttpListenConfig::default(),
            },
            topics: TopicsConfig { auto_create: false, defaults: blank_topic(), by_name: BTreeMap::new() },
            group: GroupConfig { offsets_retention: Duration::ZERO, initial_rebalance_delay: Duration::ZERO },
            source: SourceConfig {
                host: HostSourceConfig { enabled: false, interval: Duration::ZERO, topic: String::new() },
            },
            uplinks: BTreeMap::new(),
            downlinks: BTreeMap::new(),
            log: LogConfig { level: LevelFilter::Off },
            clock: ClockConfig { trust: ClockTrust::Never },
            security: SecurityConfig::default(),
        }
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn blank_native() -> NativeListenConfig {
    NativeListenConfig {
        enabled: false,
        addr: nowhere(),
        if_no_rule: IfNoRule::Auto,
        tls: ListenTlsConfig::default(),
        auth: ListenAuthConfig::default(),
        max_connections: 0,
        max_frame_bytes: 0,
        device_header: true,
        max_inflight_bytes: 0,
        idle_timeout: None,
        frame_timeout: Duration::ZERO,
    }
}

fn blank_kafka() -> KafkaListenConfig {
    KafkaListenConfig {
        enabled: false,
        addr: nowhere(),
        if_no_rule: IfNoRule::Auto,
        tls: ListenTlsConfig::default(),
        auth: ListenAuthConfig::default(),
        advertised: None,
        tls_advertised: None,
        acks_1: AcksOne::Flash,
        max_connections: 0,
        max_request_bytes: 0,
        max_in_flight: 0,
        max_inflight_bytes: 0,
        idle_timeout: None,
        frame_timeout: Duration::ZERO,
    }
}

fn blank_mqtt() -> MqttListenConfig {
    MqttListenConfig {
        enabled: false,
        addr: nowhere(),
        if_no_rule: IfNoRule::Auto,
        tls: ListenTlsConfig::default(),
        auth: ListenAuthConfig::default(),
        max_connections: 0,
        max_packet_bytes: 0,
        max_inflight_bytes: 0,
        max_inflight: 0,
        max_sessions: 0,
        max_subscriptions: 0,
        session_expiry: None,
        max_retained: 0,
        max_retained_bytes: 0,
        packet_timeout: Duration::ZERO,
        max_keepalive: None,
        websocket: None,
        websocket_tls: None,
        websocket_origins: Vec::new(),
        map: Vec::new(),
    }
}

fn blank_topic() -> TopicSettings {
    TopicSettings {
        partitions: 0,
        retention: None,
        retention_bytes: None,
        max_message_bytes: 0,
        compression: TopicCompression::Producer,
        timestamp_before_max: None,
        timestamp_after_max: None,
        timestamp_type: TimestampType::CreateTime,
        key: DefaultKey::None,
        priority: 0,
        reserve: 0,
        on_full: OnFull::EvictOldest,
        unforwarded: Unforwarded::Keep,
        urgent: false,
        forward: Forward::Always,
    }
}

impl UplinkConfig {
    /// An uplink to these brokers with every other key at its default.
    #[must_use]
    pub fn to(bootstrap: Vec<HostPort>) -> UplinkConfig {
        let mut uplink = UplinkConfig::blank();
        read_defaults(keys::UPLINK, &mut uplink);
        UplinkConfig { bootstrap, ..uplink }
    }

    pub(super) fn blank() -> UplinkConfig {
        UplinkConfig {
            enabled: false,
            protocol: UplinkProtocol::Kafka,
            bootstrap: Vec::new(),
            topics: Vec::new(),
            exclude: Vec::new(),
            topic: TopicTemplate::same_name(),
            partitioning: Partitioning::ByGateway,
            batch_min_bytes: 0,
            batch_max_bytes: 0,
            compression: Compression::None,
            linger: Duration::ZERO,
            clock_wait: Duration::ZERO,
            provenance: ProvenanceMode::Built,
            status: None,
            create_topics: false,
            create_partitions: None,
            create_replication: None,
            connect_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
            backoff_min: Duration::ZERO,
            backoff_max: Duration::ZERO,
            delivery: Delivery::AtLeastOnce,
            link: LinkConfig::blank(),
            tls: LinkTlsConfig::default(),
            sasl: LinkSaslConfig::default(),
            on_divergence: OnDivergence::ForwardAll,
            commit_every: Duration::ZERO,
            transaction_timeout: Duration::ZERO,
            refuse_too_large: false,
            client_id: None,
        }
    }
}
