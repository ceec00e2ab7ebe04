//! What a gateway tells about itself: one JSON object, written by [`super::administration`] and read by the command
//! line, so that both mean the same by every name.
//!
//! Invariants: fields are added, never renamed; a reader takes what is missing for its default and passes over what it
//! does not know, so that the command line and a gateway of another version understand each other. Times are Unix ms by
//! the gateway's clock, sizes bytes, counters since the gateway started.

mod format;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::starts::Start;
use crate::calendar::MS_PER_DAY;
use crate::json;
use crate::listen::mqtt::MqttCounts;
use crate::tls::Report;
use crate::uplink::{DownlinkStatus, UplinkStatus};

pub use format::FormatFigures;

/// A gateway as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayStatus {
    /// Its id.
    pub gateway: String,
    /// What it is known by besides (`[gateway.labels]`).
    pub labels: BTreeMap<String, String>,
    pub version: String,
    pub uptime_s: u64,
    pub time_ms: i64,
    /// Whether it believes its clock.
    pub time_trusted: bool,
    /// Whether it is being drained: it takes no new records.
    pub draining: bool,
    /// Where native clients connect, if they may: in the clear, and by TLS.
    pub native: Option<String>,
    pub native_tls: Option<String>,
    /// Where Kafka clients connect, if they may.
    pub kafka: Option<String>,
    pub kafka_tls: Option<String>,
    /// Where MQTT clients connect, if they may.
    pub mqtt: Option<String>,
    pub mqtt_tls: Option<String>,
    /// Where they connect by WebSocket.
    pub websocket: Option<String>,
    pub websocket_tls: Option<String>,
    /// Where it shows itself by HTTP, if it does.
    pub http: Option<String>,
    pub http_tls: Option<String>,
    /// What somebody should look at, in words.
    pub problems: Vec<String>,
    /// What it runs with.
    pub config: ConfigFigures,
    pub process: ProcessFigures,
    /// What went through in the last minutes.
    pub traffic: TrafficFigures,
    /// What TLS stands on, of listeners, uplinks and downlinks.
    pub certificates: Vec<CertificateFigures>,
    pub mqtt_clients: MqttFigures,
    /// Consumer groups, by name.
    pub groups: Vec<GroupFigures>,
    pub store: StoreFigures,
    /// By name.
    pub topics: Vec<TopicFigures>,
    /// By name.
    pub uplinks: Vec<UplinkStatus>,
    /// By name.
    pub downlinks: Vec<DownlinkStatus>,
    /// The loss ledger: what went, and what of it an uplink had not forwarded.
    pub losses: Vec<Loss>,
    /// The last starts, newest first; at most 20.
    pub starts: Vec<StartFigures>,
    /// The accounts of deleted topics, oldest first; of the last 64.
    pub deleted_topics: Vec<DeletedTopicFigures>,
    /// How many were left out of lists that were cut; empty where all is there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_off: BTreeMap<String, u64>,
    /// Everything counted, by name (see [`crate::metrics`]).
    pub metrics: BTreeMap<String, i64>,
}

/// The configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigFigures {
    /// How many this run has had; 1 is that of its start.
    pub generation: u64,
    /// When it was read.
    pub loaded_ms: i64,
    /// Keys that were changed since, and take a restart.
    pub waiting_for_restart: Vec<String>,
    /// Since when the files hold something that is refused.
    pub refused_since_ms: Option<i64>,
    /// What is wrong with it; at most four.
    pub refused: Vec<String>,
}

/// Unix ms by this machine's clock.
pub(super) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessFigures {
    /// Memory that it has in RAM; 0 where /proc doesn't tell.
    pub resident_bytes: u64,
}

impl ProcessFigures {
    /// Of this process (proc(5)).
    #[must_use]
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        Self { resident_bytes: line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1_024 }
    }
}

/// Records in stretches of time, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficFigures {
    /// How long a stretch is.
    pub every_s: u64,
    /// Taken from clients, whatever they speak.
    pub records_in: Vec<u64>,
    /// Sent to consumers and subscribers.
    pub records_out: Vec<u64>,
    /// Acknowledged upstream.
    pub forwarded: Vec<u64>,
}

/// A consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupFigures {
    pub name: String,
    /// As in Kafka: `Empty`, `PreparingRebalance`, `CompletingRebalance` or `Stable`.
    pub state: String,
    pub members: u64,
}

/// A start of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartFigures {
    pub time_ms: i64,
    /// Whether the clock was believed then.
    pub time_trusted: bool,
    pub version: String,
    /// How the run before it ended: `clean`, `power`, `watchdog`, `panic`, `killed`; `none` if none is known.
    pub before: String,
    /// The last panic of that run, if there was one.
    pub words: String,
}

impl From<Start> for StartFigures {
    fn from(start: Start) -> Self {
        let Start { time_ms, time_trusted, version, before, words, .. } = start;
        Self { time_ms, time_trusted, version, before: before.name().to_owned(), words }
    }
}

/// What one listener, uplink or downlink has for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateFigures {
    /// Whose it is: `listen.kafka.tls`, `uplink.centre.tls`.
    pub of: String,
    /// The certificate that is shown to the other side; empty if none is.
    pub subject: String,
    pub issuer: String,
    /// In hexadecimal.
    pub serial: String,
    /// The names that it is for.
    pub names: Vec<String>,
    pub not_before_ms: Option<i64>,
    pub not_after_ms: Option<i64>,
    /// Until it expires; negative when it has. By what is certain of the time, if the clock isn't trusted.
    pub days_left: Option<i64>,
    pub expired: bool,
    /// It expires within 30 days.
    pub expires_soon: bool,
    /// Why the files can't be used as they are; what was read before stays in use.
    pub failure: Option<String>,
    /// How often changed files were taken over.
    pub reloads: u64,
}

impl CertificateFigures {
    /// What is told of `report` at `now_ms` (Unix ms).
    #[must_use]
    pub fn new(report: Report, now_ms: i64) -> Self {
        let mut figures = Self {
            of: report.what,
            expired: report.expired,
            expires_soon: report.expires_soon,
            failure: report.failure,
            reloads: report.reloads,
            ..Self::default()
        };
        if let Some(certificate) = report.certificate {
            figures.not_before_ms = Some(certificate.not_before_ms);
            figures.not_after_ms = Some(certificate.not_after_ms);
            figures.days_left = Some((certificate.not_after_ms - now_ms).div_euclid(MS_PER_DAY));
            (figures.issuer, figures.serial) = (certificate.issuer, certificate.serial);
            let names = certificate.names;
            figures.names = names.dns.into_iter().chain(names.addresses).collect();
            figures.subject = names.subject;
        }
        figures
    }
}

/// MQTT clients, and what is kept for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MqttFigures {
    pub connected: u64,
    /// Sessions that wait for their client.
    pub waiting: u64,
    /// Shared subscriptions.
    pub shares: u64,
    pub retained: u64,
    pub retained_bytes: u64,
}

impl From<MqttCounts> for MqttFigures {
    fn from(counts: MqttCounts) -> Self {
        Self {
            connected: counts.connected as u64,
            waiting: counts.waiting as u64,
            shares: counts.shares as u64,
            retained: counts.retained as u64,
            retained_bytes: counts.retained_bytes as u64,
        }
    }
}

/// The store and its place on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreFigures {
    /// Hexadecimal.
    pub incarnation: String,
    pub disk_bytes: u64,
    /// Of it, what `store.preallocate` has claimed for later.
    pub reserve_bytes: u64,
    /// Why it has claimed less than it could.
    pub reserve_failure: Option<String>,
    /// Bound of `disk_bytes`.
    pub max_bytes: u64,
    pub segment_bytes: u64,
    pub segments: u64,
    /// Segments that cannot be read.
    pub damaged_segments: u64,
    /// Damaged files that were taken out of the store (`.bad`), and what they occupy.
    pub quarantined_segments: u64,
    pub quarantined_bytes: u64,
    pub first_commit: u64,
    pub last_commit: u64,
    /// How often the store was opened for writing.
    pub boot_epoch: u32,
    pub partitions: u64,
    pub state_bytes: u64,
    pub queued_operations: u64,
    /// Recent batches kept in memory.
    pub tail_bytes: u64,
    pub commits: u64,
    pub payload_bytes: u64,
    /// Segments evicted.
    pub evictions: u64,
    /// Runs of segments rewritten, and the bytes of the files that this made.
    pub rewrites: u64,
    pub rewritten_bytes: u64,
    /// What may still be rewritten, and the budget of a day.
    pub rewrite_budget_left: u64,
    pub rewrite_budget: u64,
    /// Why new records are refused, while they are: no room.
    pub refused: Option<String>,
    /// Why the store stopped, while it is not open again.
    pub stopped: Option<String>,
    /// Why the last try to open it again failed, while it is not.
    pub not_reopened: Option<String>,
    /// How often it was opened again after a failure.
    pub healed: u64,
    /// What is written to the medium.
    pub flash: FlashFigures,
    /// What its files are written in.
    pub format: FormatFigures,
}

/// What is written to the medium. A day is the last 24 hours in which the gateway ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlashFigures {
    /// Bytes that the store wrote in a day.
    pub day_bytes: u64,
    /// Bytes written to the device below in a day, by everyone, the filesystem's journal included.
    pub day_device_bytes: u64,
    /// How much of a day was counted.
    pub day_counted_s: u64,
    /// What `day_bytes` should stay within.
    pub day_budget_bytes: Option<u64>,
    /// More had to be written than the budget allows.
    pub budget_unmet: bool,
    /// Least time between two commits now, ms: the window, stretched by the budget.
    pub commit_interval_ms: u64,
    /// The disks below, as in /sys/block; empty if unknown.
    pub device: String,
    /// Whether one of them is eMMC or an SD card.
    pub is_card: bool,
    /// What an eMMC says is used up of its life, percent in tens (its SLC and its MLC part); 110 is beyond the estimate.
    pub life_used_percent: Vec<u8>,
    /// What it says of its reserve: 1 normal, 2 80 % used, 3 90 % used.
    pub pre_eol: Option<u8>,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicFigures {
    pub name: String,
    /// Its UUID.
    pub id: String,
    /// Brooklet's own: uplinks do not follow it unless it is named.
    pub internal: bool,
    /// What each uplink that follows it has still to forward; empty if none does.
    pub followed_by: Vec<Follower>,
    pub partitions: Vec<PartitionFigures>,
    /// The topic's account: `accepted = retained + lost`, whatever the reason; in records and bytes.
    pub accepted: Amount,
    pub retained: Amount,
    /// By reason.
    pub lost: BTreeMap<String, Amount>,
}

/// An uplink that follows a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Follower {
    pub uplink: String,
    /// Records not acknowledged upstream, those in flight included, over all partitions of the topic.
    pub lag_records: u64,
    /// Records acknowledged upstream. The uplink's account: `accepted = delivered + lag + lost`.
    pub delivered_records: u64,
    /// By reason: records that went before this uplink had forwarded them.
    pub lost_records: BTreeMap<String, u64>,
}

/// A partition, by its place in the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionFigures {
    /// Oldest offset kept.
    pub log_start: i64,
    /// One past the last offset that may be read.
    pub high_watermark: i64,
    /// Bytes kept.
    pub bytes: u64,
    /// Every uplink that follows the topic has forwarded what lies before; `None` if none does.
    pub upstream: Option<i64>,
}

/// An entry of the loss ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Loss {
    /// An uplink that had not forwarded these; empty: all that went, whether it had been forwarded or not.
    pub uplink: String,
    /// `None` if the topic is deleted.
    pub topic: Option<String>,
    pub partition: Option<u32>,
    pub first_offset: i64,
    pub last_offset: i64,
    pub records: u64,
    pub bytes: u64,
    /// `evicted`, `expired`, `deleted`, `quarantined`, `dead-lettered`, `skipped` or `compacted`.
    pub reason: String,
    /// Of the latest loss in this entry.
    pub time_ms: i64,
    /// Bounds of when the records were appended.
    pub appended_from_ms: i64,
    pub appended_to_ms: i64,
}

/// Records and bytes, of batches with their store headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amount {
    pub records: u64,
    pub bytes: u64,
}

/// What a deleted topic leaves: `accepted` is the sum of `lost`, in records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeletedTopicFigures {
    pub name: String,
    /// Its UUID.
    pub id: String,
    pub time_ms: i64,
    pub accepted: Amount,
    /// By reason, the deletion itself among them.
    pub lost: BTreeMap<String, Amount>,
    /// By uplink: records that it had not forwarded when they went.
    pub lost_to: BTreeMap<String, u64>,
}

impl GatewayStatus {
    /// Reads what a gateway has told.
    ///
    /// # Errors
    /// Where it is no such object.
    pub fn parse(json: &str) -> Result<Self, String> {
        json::from_str(json).map_err(|error| format!("the gateway's status cannot be read: {error}"))
    }

    /// As JSON, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::to_string(self)
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&TopicFigures> {
        self.topics.iter().find(|topic| topic.name == name)
    }
}

impl TopicFigures {
    /// Records kept, over all partitions.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.high_watermark.abs_diff(partition.log_start)).sum()
    }

    /// Bytes kept, over all partitions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let status = GatewayStatus {
            gateway: "gw-\"1\"".to_owned(),
            labels: BTreeMap::from([("site".to_owned(), "Halle \"2\"".to_owned())]),
            native: Some("127.0.0.1:1".to_owned()),
            topics: vec![TopicFigures {
                name: "t".to_owned(),
                followed_by: vec![Follower {
                    uplink: "centre".to_owned(),
                    lag_records: u64::MAX,
                    ..Follower::default()
                }],
                partitions: vec![PartitionFigures { high_watermark: i64::MAX, ..PartitionFigures::default() }],
                ..TopicFigures::default()
            }],
            metrics: BTreeMap::from([("records_in".to_owned(), 7)]),
            ..GatewayStatus::default()
        };
        assert_eq!(GatewayStatus::parse(&status.to_json()), Ok(status));
    }

    #[test]
    fn another_version_is_understood() {
        let status = GatewayStatus::parse(r#"{"gateway":"g","to_come":[{}],"store":{"disk_bytes":5}}"#).unwrap();
        assert_eq!((status.gateway.as_str(), status.store.disk_bytes), ("g", 5));
        assert!(GatewayStatus::parse("[]").is_err() && GatewayStatus::parse("").is_err());
    }
}
