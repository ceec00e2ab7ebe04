//! What an uplink is told, and the bounds it works within.

use std::sync::Arc;
use std::time::Duration;

use super::batches::provenance::Provenance;
use super::beacon::About;
use crate::config::{self, Labels, UplinkConfig};
use crate::record::Compression;
use crate::tls::LinkTls;

/// Bytes of batches that may wait for the cluster's acknowledgement, whatever the backlog. One batch larger than that is
/// taken too, alone.
pub(super) const WINDOW_BYTES: usize = 1024 * 1024;
/// The most, on a link that carries more than that in a round trip: 10 Mbit/s at 1 s and somewhat more.
pub(super) const WINDOW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Part of the window that is read from the store at a time. A whole commit is read even if it is larger.
pub(super) const SCAN_PART: usize = 4;
/// Letters that wait to be saved; beyond that nothing more is read.
pub(super) const LETTERS_MAX: usize = 1_000;
/// What a topic upstream takes is asked again, before a record becomes a letter for it, after this time: who has just raised a
/// limit retries a letter at once.
pub(super) const LIMITS_AGE_MAX: Duration = Duration::from_secs(2);
/// Letters are logged this often at most.
pub(super) const LETTERS_TOLD_EVERY: Duration = Duration::from_secs(60);
/// Largest response taken from a broker: metadata of thousands of partitions stays well below.
pub(super) const RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of batches in one Produce request. One batch larger than that goes alone.
pub(super) const REQUEST_BYTES: usize = 1024 * 1024;
/// Requests in flight a partition: an idempotent producer's bound (the broker remembers five batches of each).
pub(super) const IN_FLIGHT_MAX: usize = 5;
/// Progress is saved with another commit, or at the latest after this time with one of its own; a crash sends again what
/// came later.
pub(super) const SAVE_WITHIN: Duration = Duration::from_secs(60);
/// A clean stop waits this long for acknowledgements under way.
pub(super) const STOP_WITHIN: Duration = Duration::from_millis(1_500);
/// A partition without acknowledgement for this long gives back the memory it holds, so that others go on.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What one uplink is told. The gateway fills it from the configuration.
#[derive(Clone, Debug)]
pub struct UplinkOptions {
    /// Name of the uplink: the follower's name in the broker, and part of the durable cursors' keys.
    pub name: String,
    /// The gateway's id: names it upstream, and spreads gateways over partitions.
    pub gateway: String,
    /// `[gateway.labels]`.
    pub labels: Labels,
    /// `[uplink.NAME]`.
    pub config: UplinkConfig,
    /// What TLS stands on.
    pub tls: LinkTls,
    /// What the centre is told of the gateway.
    pub about: Arc<About>,
}

impl UplinkOptions {
    /// What is sent as client id with every request.
    pub(super) fn client_id(&self) -> String {
        self.config.client_id.clone().unwrap_or_else(|| format!("brooklet-{}", self.gateway))
    }

    /// What records are told to come from; the store's `incarnation` is part of it.
    pub(super) fn provenance(&self, incarnation: [u8; 16]) -> Provenance {
        Provenance::new(self.config.provenance, &self.gateway, incarnation, &self.labels)
    }

    /// The codec of merged batches.
    pub(super) fn compression(&self) -> Compression {
        match self.config.compression {
            config::Compression::None => Compression::None,
            config::Compression::Gzip => Compression::Gzip,
            config::Compression::Snappy => Compression::Snappy,
            config::Compression::Lz4 => Compression::Lz4,
            config::Compression::Zstd => Compression::Zstd,
        }
    }
}

const _: () = assert!(REQUEST_BYTES <= WINDOW_BYTES && WINDOW_BYTES <= WINDOW_BYTES_MAX);
