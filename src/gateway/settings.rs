//! From the configuration to each room's own options.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broker::rights::RightsOptions;
use crate::broker::{Acks, BrokerOptions, Defaults, KeyDefault, Listener, Principal, TimestampType, TopicConfig};
use crate::config::{
    self, AcksOne, ClockTrust, Config, DefaultKey, DiskBudget, Forward, HostPort, HttpListenConfig, KafkaListenConfig,
    ListenerRights, MqttListenConfig, NativeListenConfig, OnFull, StoreConfig, StoreMedium,
    TimestampType as ConfigTimestampType, TopicCompression, TopicSettings, Unforwarded,
};
use crate::listen::http::HttpOptions;
use crate::listen::kafka::KafkaOptions;
use crate::listen::mqtt::MqttOptions;
use crate::listen::mqtt::mapping::Rules;
use crate::listen::native::NativeOptions;
use crate::record::Compression;
use crate::store::clock::WallTrust;
use crate::store::disk::Disk;
use crate::store::{self, Device, Medium, Pace, StoreOptions};

/// Least time between two commits on eMMC and SD cards, unless it is set.
const CARD_WINDOW: Duration = Duration::from_secs(1);
/// Where the store lies within the data directory.
pub const STORE_DIR: &str = "store";

pub(super) fn store(config: &Config, disk: &dyn Disk) -> Result<StoreOptions, String> {
    let of = &config.store;
    let mut options = StoreOptions::new(config.data_dir.join(STORE_DIR));
    options.max_bytes = match of.max_bytes {
        DiskBudget::Auto => None,
        DiskBudget::Bytes(bytes) => Some(bytes),
        DiskBudget::Percent(of_hundred) => {
            let space = disk.space(&config.data_dir);
            let space = space.map_err(|error| format!("{}: {error}", config.data_dir.display()))?;
            Some(space.total / 100 * u64::from(of_hundred))
        }
    };
    options.on_full = on_full(of.on_full);
    options.preallocate = of.preallocate;
    options.segment_bytes = of.segment_bytes;
    options.device = Device::below(&config.data_dir);
    let pace = pace_on(of, options.device.as_ref());
    options.commit_window = pace.commit_window;
    options.commit_interval_max = pace.commit_interval_max;
    options.flash_budget = pace.flash_budget;
    options.rewrite_budget_bytes = of.rewrite_budget;
    options.compression = match of.compression {
        config::Compression::None => Compression::None,
        config::Compression::Gzip => Compression::Gzip,
        config::Compression::Snappy => Compression::Snappy,
        config::Compression::Lz4 => Compression::Lz4,
        config::Compression::Zstd => Compression::Zstd,
    };
    options.active_cache_bytes = bytes(of.cache_bytes);
    options.tail_bytes_max = bytes(of.tail_bytes);
    Ok(options)
}

/// How often the store commits.
pub(super) fn pace(config: &Config) -> Pace {
    pace_on(&config.store, Device::below(&config.data_dir).as_ref())
}

fn pace_on(of: &StoreConfig, device: Option<&Device>) -> Pace {
    let card = match of.medium {
        StoreMedium::Auto => device.is_some_and(|device| device.medium() == Medium::FlashCard),
        StoreMedium::FlashCard => true,
        StoreMedium::Disk => false,
    };
    Pace {
        commit_window: of.commit_window.unwrap_or(if card { CARD_WINDOW } else { Duration::ZERO }),
        commit_interval_max: of.commit_interval_max,
        flash_budget: of.flash_budget,
    }
}

fn on_full(of: OnFull) -> store::OnFull {
    match of {
        OnFull::EvictOldest => store::OnFull::EvictOldest,
        OnFull::Refuse => store::OnFull::Refuse,
    }
}

/// When the store believes the wall clock, as the configuration says.
pub fn clock_trust(trust: ClockTrust) -> WallTrust {
    match trust {
        ClockTrust::Auto => WallTrust::Auto,
        ClockTrust::Always => WallTrust::Always,
        ClockTrust::Never => WallTrust::Never,
    }
}

pub(super) fn broker(config: &Config, gateway_id: &str) -> Result<BrokerOptions, String> {
    let topics = &config.topics;
    let by_name: BTreeMap<_, _> =
        topics.by_name.iter().map(|(name, settings)| (name.clone(), overrides(&topic(settings)))).collect();
    Ok(BrokerOptions {
        gateway_id: gateway_id.to_owned(),
        device_header: config.listen.native.device_header,
        auto_create: topics.auto_create,
        partitions: topics.defaults.partitions,
        partitions_by_name: topics.by_name.iter().map(|(name, s)| (name.clone(), s.partitions)).collect(),
        defaults: Defaults { config: topic(&topics.defaults), by_name, dead_letter_bytes: None },
        offsets_retention: config.group.offsets_retention,
        initial_rebalance_delay: config.group.initial_rebalance_delay,
        rights: rights(config)?,
        group_clock: None,
    })
}

fn rights(config: &Config) -> Result<RightsOptions, String> {
    let super_users = config.security.super_users.iter().map(|name| Principal::new(name));
    let open = config.listener_rights().into_iter().filter(|rights| rights.is_open());
    let listener = |rights: ListenerRights| Listener::ALL.into_iter().find(|it| it.name() == rights.listener);
    Ok(RightsOptions {
        super_users: super_users.collect::<Result<_, _>>()?,
        open: open.filter_map(listener).collect(),
        enforce: config.security.enforce,
        bind_client_ids: config.security.bind_client_ids,
    })
}

fn topic(settings: &TopicSettings) -> TopicConfig {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    TopicConfig {
        retention_ms: settings.retention.map(ms),
        compression: match settings.compression {
            TopicCompression::Producer => None,
            TopicCompression::Uncompressed => Some(Compression::None),
            TopicCompression::Gzip => Some(Compression::Gzip),
            TopicCompression::Snappy => Some(Compression::Snappy),
            TopicCompression::Lz4 => Some(Compression::Lz4),
            TopicCompression::Zstd => Some(Compression::Zstd),
        },
        timestamp_before_max_ms: settings.timestamp_before_max.map(ms),
        timestamp_after_max_ms: settings.timestamp_after_max.map(ms),
        retention_bytes: settings.retention_bytes,
        max_message_bytes: settings.max_message_bytes,
        timestamp_type: match settings.timestamp_type {
            ConfigTimestampType::CreateTime => TimestampType::CreateTime,
            ConfigTimestampType::LogAppendTime => TimestampType::LogAppendTime,
        },
        key: match settings.key {
            DefaultKey::ClientId => KeyDefault::ClientId,
            DefaultKey::None => KeyDefault::None,
        },
        priority: settings.priority,
        reserve: settings.reserve,
        on_full: on_full(settings.on_full),
        expire_unforwarded: settings.unforwarded == Unforwarded::Delete,
        urgent: settings.urgent,
        forward_named_only: settings.forward == Forward::Named,
    }
}

/// Every setting of a topic's configuration, as it would be set.
fn overrides(config: &TopicConfig) -> Vec<(String, String)> {
    TopicConfig::KEYS.iter().filter_map(|key| Some(((*key).to_owned(), config.get(key)?))).collect()
}

pub(super) fn native(config: &NativeListenConfig, gateway_id: &str) -> NativeOptions {
    NativeOptions {
        gateway_id: gateway_id.to_owned(),
        frame_bytes_max: config.max_frame_bytes,
        in_flight_bytes_max: bytes(config.max_inflight_bytes),
        idle: config.idle_timeout,
        frame_time: config.frame_timeout,
    }
}

/// # Errors
/// A text that names the rule that makes no sense, and why.
pub(super) fn mqtt(config: &MqttListenConfig) -> Result<MqttOptions, String> {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    Ok(MqttOptions {
        rules: Rules::parse(&config.map).map_err(|why| format!("listen.mqtt.map: {why}"))?,
        packet_bytes_max: config.max_packet_bytes,
        in_flight_bytes_max: bytes(config.max_inflight_bytes),
        in_flight_max: config.max_inflight,
        session_expiry_s_max: config.session_expiry.map_or(u32::MAX, seconds),
        sessions_max: config.max_sessions,
        subscriptions_max: config.max_subscriptions,
        retained_max: config.max_retained,
        retained_bytes_max: bytes(config.max_retained_bytes),
        packet_time: config.packet_timeout,
        keep_alive_s_max: config.max_keepalive.map(|time| u16::try_from(time.as_secs()).unwrap_or(u16::MAX)),
        origins: config.websocket_origins.clone(),
    })
}

pub(super) fn http(config: &HttpListenConfig) -> HttpOptions {
    HttpOptions { token_file: config.token_file.clone().filter(|_| config.enabled), names: config.names.clone() }
}

fn address(of: &Option<HostPort>) -> Option<(String, u16)> {
    of.as_ref().map(|at| (at.host.clone(), at.port))
}

pub(super) fn kafka(config: &KafkaListenConfig) -> KafkaOptions {
    KafkaOptions {
        advertised: address(&config.advertised),
        tls_advertised: address(if config.tls.takes_listener() && config.tls_advertised.is_none() {
            &config.advertised
        } else {
            &config.tls_advertised
        }),
        acks_1: match config.acks_1 {
            AcksOne::Flash => Acks::Flash,
            AcksOne::Memory => Acks::Memory,
        },
        request_bytes_max: config.max_request_bytes,
        in_flight_max: config.max_in_flight,
        in_flight_bytes_max: bytes(config.max_inflight_bytes),
        idle: config.idle_timeout,
        frame_time: config.frame_timeout,
    }
}

/// A size in memory; beyond the address space it is all there is.
pub(super) fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
