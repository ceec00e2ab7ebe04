//! `[downlink.NAME]`: what comes down from a Kafka cluster, and its own kinds of values.

use std::{fmt, time::Duration};

use super::{
    auth::LinkSaslConfig, keys, link::LinkConfig, pattern::TopicTemplate, resolve::read_defaults, tls::LinkTlsConfig,
    types::HostPort, words::words,
};
use crate::calendar::{format_time, parse_rfc3339};

/// One `[downlink.NAME]`: brings topics of a Kafka cluster into local ones.
#[derive(Clone, Debug, PartialEq)]
pub struct DownlinkConfig {
    pub enabled: bool,
    /// Brokers to ask first; at least one.
    pub bootstrap: Vec<HostPort>,
    /// Topics upstream, by name; `{gateway}` is replaced.
    pub topics: Vec<TopicTemplate>,
    /// Name of the local topic.
    pub topic: TopicTemplate,
    pub partitioning: DownlinkPartitioning,
    /// Where a topic begins that was never brought before.
    pub from: DownlinkFrom,
    pub out_of_range: OutOfRange,
    /// Most bytes of batches asked for at a time, of one broker; a larger batch comes alone.
    pub fetch_max_bytes: usize,
    /// How long a broker is asked to wait for something new.
    pub fetch_wait: Duration,
    /// For resolving, connecting and the first answer.
    pub connect_timeout: Duration,
    /// For an answer, besides `fetch_wait`.
    pub request_timeout: Duration,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// What may be used of the link. Its questions keep connections alive: `keepalive` is `None`.
    pub link: LinkConfig,
    pub tls: LinkTlsConfig,
    pub sasl: LinkSaslConfig,
    /// Sent with every request. `None`: `brooklet-` and the gateway's id.
    pub client_id: Option<String>,
}

words! {
    /// Which local partition an upstream one goes to.
    pub enum DownlinkPartitioning {
        /// The same number; the local topic grows with the one upstream.
        Same = "same",
        /// The number modulo the partitions that the local topic has.
        Modulo = "modulo",
    }
}

words! {
    /// What happens when the position is not upstream any more: retention has overtaken it.
    pub enum OutOfRange {
        /// Goes on with the oldest record that is left.
        Earliest = "earliest",
        /// Goes on with what is new.
        Latest = "latest",
        /// The partition waits until someone decides.
        Stop = "stop",
    }
}

/// Where a topic begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownlinkFrom {
    /// With the oldest record.
    Earliest,
    /// With what is written after the first contact.
    Latest,
    /// With the first record of this time or later, Unix ms.
    Time(i64),
}

impl DownlinkFrom {
    /// What there is to write.
    pub(super) const ALLOWED: &str = "\"latest\", \"earliest\" or a time, such as \"2026-11-21T20:00:00Z\"";

    /// Reads one of the words, or a time of RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<DownlinkFrom> {
        match text {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            // Before 1970 are Kafka's own special values.
            time => parse_rfc3339(time).filter(|ms| *ms >= 0).map(Self::Time),
        }
    }
}

impl fmt::Display for DownlinkFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Time(ms) => f.write_str(&format_time(*ms)),
        }
    }
}

impl DownlinkConfig {
    /// A downlink from these brokers with every other key at its default. It brings no topic yet.
    #[must_use]
    pub fn from(bootstrap: Vec<HostPort>) -> DownlinkConfig {
        let mut downlink = DownlinkConfig::blank();
        read_defaults(keys::DOWNLINK, &mut downlink);
        DownlinkConfig { bootstrap, ..downlink }
    }

    pub(super) fn blank() -> DownlinkConfig {
        DownlinkConfig {
            enabled: false,
            bootstrap: Vec::new(),
            topics: Vec::new(),
            topic: TopicTemplate::same_name(),
            partitioning: DownlinkPartitioning::Same,
            from: DownlinkFrom::Latest,
            out_of_range: OutOfRange::Earliest,
            fetch_max_bytes: 0,
            fetch_wait: Duration::ZERO,
            connect_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
            backoff_min: Duration::ZERO,
            backoff_max: Duration::ZERO,
            link: LinkConfig::blank(),
            tls: LinkTlsConfig::default(),
            sasl: LinkSaslConfig::default(),
            client_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_read_back() {
        for text in ["latest", "earliest", "2026-11-21T20:00:00.250Z"] {
            assert_eq!(DownlinkFrom::parse(text).map(|from| from.to_string()).as_deref(), Some(text));
        }
        assert_eq!(DownlinkFrom::parse("2026-11-21T21:00:00+01:00"), Some(DownlinkFrom::Time(1_795_291_200_000)));
        for text in ["", "newest", "-1", "1969-12-31T23:59:59Z", "24h"] {
            assert_eq!(DownlinkFrom::parse(text), None, "{text}");
        }
    }
}
