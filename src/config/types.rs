//! The final types: what the rest of the house sees of the configuration. Those of a section stand in a file of its name.
//!
//! Values here have been checked: ranges of single keys by the table in [`super::keys`], relations between keys by
//! [`super::relations`]. Nobody below parses text again. Sizes are in bytes.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use super::{
    downlink::DownlinkConfig, labels::Labels, listen::ListenConfig, security::SecurityConfig, store::StoreConfig,
    topics::TopicsConfig, uplink::UplinkConfig, words::words,
};

/// Everything `serve` can be told. [`Config::default`] is what holds without any file, variable or flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where everything is kept: segments, identity, the socket for local administration.
    pub data_dir: PathBuf,
    pub gateway: GatewayConfig,
    pub store: StoreConfig,
    pub listen: ListenConfig,
    pub topics: TopicsConfig,
    pub group: GroupConfig,
    pub source: SourceConfig,
    /// By name; the name is part of the durable cursor's key.
    pub uplinks: BTreeMap<String, UplinkConfig>,
    /// By name, which no uplink has; the name is part of the durable positions' keys.
    pub downlinks: BTreeMap<String, DownlinkConfig>,
    pub log: LogConfig,
    pub clock: ClockConfig,
    pub security: SecurityConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GatewayConfig {
    /// Name of this gateway at the centre. `None`: generated once and kept in the data directory.
    pub id: Option<String>,
    /// What it is known by besides.
    pub labels: Labels,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GroupConfig {
    /// How long offsets of a group without members are kept, in powered time.
    pub offsets_retention: Duration,
    /// How long an empty group waits for more members before it assigns.
    pub initial_rebalance_delay: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    pub host: HostSourceConfig,
}

/// The gateway's own telemetry from /proc and /sys.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSourceConfig {
    pub enabled: bool,
    pub interval: Duration,
    pub topic: String,
}

words! {
    /// Codec of a record batch.
    pub enum Compression {
        None = "none",
        Gzip = "gzip",
        Snappy = "snappy",
        Lz4 = "lz4",
        Zstd = "zstd",
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    pub level: log::LevelFilter,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClockConfig {
    pub trust: ClockTrust,
}

words! {
    /// When the wall clock is believed. Many boards have no clock that survives a power cut.
    pub enum ClockTrust {
        /// Once the kernel says that it is synchronised, or a hardware clock exists and shows a plausible time.
        Auto = "auto",
        Always = "always",
        Never = "never",
    }
}

/// A host name or address and a port; resolved when connecting, never before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Without brackets, also for IPv6.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_written_as_they_are_read() {
        let v6 = HostPort { host: "::1".to_owned(), port: 9092 };
        assert_eq!(v6.to_string(), "[::1]:9092");
    }
}
