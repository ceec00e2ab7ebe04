//! The door: a record that an uplink's topic upstream is known not to take is refused when it comes, with both figures, rather than
//! found undeliverable weeks later.
//!
//! Single records count, since uplinks cut batches to size. Each is measured as the uplink would send it alone: by its plain
//! size where that fits, else in the uplink's codec.
//!
//! Invariants: nothing is unpacked or compressed here unless a record is larger than the tightest limit; who is refused is told to
//! the uplink, which then asks whether the limit still holds.

use crate::executor;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::error::{ProduceError, TooLargeUpstream};
use super::publish::NewRecord;
use super::topic::Topic;
use super::{Broker, Shared};
use crate::limits;
use crate::record::{
    BatchBuilder, BatchError, BatchView, Compression, HEADER_BYTES, RecordRef, SharedBytes, VerifyLimits, decompress,
    records,
};

/// What the topic upstream takes that a local topic goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamLimit {
    /// Its name.
    pub upstream: Arc<str>,
    /// The largest batch, bytes.
    pub bytes_max: usize,
    /// The codec that the uplink would put a batch into that is too large as it is.
    pub compression: Compression,
    /// Bytes of headers that the uplink adds to a native record, at most.
    pub around_native: usize,
    /// Bytes of headers that it adds to a record of a Kafka client, at most.
    pub around_client: usize,
}

/// What stands before a record in a batch: its length.
const LENGTH_BYTES_MAX: usize = 5;

/// Is told of each refusal: the local topic.
pub type OnRefused = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct Inner {
    /// By local topic, then by uplink.
    limits: HashMap<String, BTreeMap<String, UpstreamLimit>>,
    /// By uplink.
    told: BTreeMap<String, OnRefused>,
}

/// See the module.
pub(super) struct Door {
    inner: RwLock<Inner>,
    /// No record of at most so many bytes is too large for any.
    tightest: AtomicUsize,
}

impl Default for Door {
    fn default() -> Self {
        Self { inner: RwLock::default(), tightest: AtomicUsize::new(usize::MAX) }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Broker {
    /// What is known of the topics upstream to which `uplink` forwards, by local topic; in place of what it has told before.
    /// `refused` is called whenever that is a reason to refuse something: quickly, and on any thread.
    pub fn set_upstream_limits(&self, uplink: &str, limits: Vec<(String, UpstreamLimit)>, refused: OnRefused) {
        let door = &self.shared.door;
        let mut inner = door.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.limits.retain(|_, of_topic| {
            of_topic.remove(uplink);
            !of_topic.is_empty()
        });
        for (topic, limit) in limits {
            inner.limits.entry(topic).or_default().insert(uplink.to_owned(), limit);
        }
        inner.told.insert(uplink.to_owned(), refused);
        let room = |limit: &UpstreamLimit| limit.bytes_max.saturating_sub(limit.around_native.max(limit.around_client));
        let tightest = inner.limits.values().flat_map(BTreeMap::values).map(room).min();
        door.tightest.store(tightest.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Nothing is refused for `uplink` any more.
    pub fn forget_upstream_limits(&self, uplink: &str) {
        self.set_upstream_limits(uplink, Vec::new(), Arc::new(|_| {}));
    }

    /// Checks that a batch of this record alone is within the topic's `max.message.bytes`, and within what every uplink that
    /// follows the topic can forward.
    ///
    /// # Errors
    /// [`ProduceError::TooLarge`], [`ProduceError::TooLargeUpstream`].
    pub fn check_size(&self, topic: &Topic, record: &NewRecord) -> Result<(), ProduceError> {
        topic.check_size(record)?;
        let bytes = record.bytes() + HEADER_BYTES;
        for (uplink, limit) in self.shared.door.tight(&topic.name, bytes, |limit| limit.around_native) {
            let Some(bytes) = alone(limit.compression, |batch| {
                let headers = record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref()));
                batch.push(record.timestamp_ms.unwrap_or(0), record.key.as_deref(), record.value.as_deref(), headers)
            }) else {
                continue;
            };
            if bytes + limit.around_native > limit.bytes_max {
                return Err(self.shared.door.refuse(topic, uplink, bytes + limit.around_native, &limit));
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Checks a verified batch of a Kafka client, whose largest record has so many bytes. What it decompresses to is in memory
    /// meanwhile, of one batch at a time; only if a record is suspect.
    ///
    /// # Errors
    /// [`ProduceError::TooLargeUpstream`].
    pub(super) async fn check_at_door(
        &self,
        topic: &Topic,
        batch: &SharedBytes,
        largest_record: u64,
    ) -> Result<(), ProduceError> {
        let bytes =
            usize::try_from(largest_record).unwrap_or(usize::MAX).saturating_add(HEADER_BYTES + LENGTH_BYTES_MAX);
        for (uplink, limit) in self.door.tight(&topic.name, bytes, |limit| limit.around_client) {
            let (batch, of) = (batch.clone(), limit.clone());
            let place = self.recompressions.acquire_arc().await;
            let look = move || {
                let _place = place;
                too_large_in(&batch, &of)
            };
            // What can't be unpacked within these bounds is left to the uplink to find out.
            let found = executor::unblock(look).await.ok().flatten();
            if let Some((record, bytes)) = found {
                let mut error = self.door.refuse(topic, uplink, bytes, &limit);
                if let ProduceError::TooLargeUpstream(told) = &mut error {
                    told.record = Some(record);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Door {
    /// The limits of a topic by which a record of so many bytes, uncompressed and alone in a batch, may be too large.
    fn tight(
        &self,
        topic: &str,
        bytes: usize,
        around: impl Fn(&UpstreamLimit) -> usize,
    ) -> Vec<(String, UpstreamLimit)> {
        if bytes <= self.tightest.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let of_topic = inner.limits.get(topic).into_iter().flatten();
        let tight = of_topic.filter(|(_, limit)| bytes.saturating_add(around(limit)) > limit.bytes_max);
        tight.map(|(uplink, limit)| (uplink.clone(), limit.clone())).collect()
    }

    fn refuse(&self, topic: &Topic, uplink: String, bytes: usize, limit: &UpstreamLimit) -> ProduceError {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let told = inner.told.get(&uplink).cloned();
        drop(inner);
        if let Some(told) = told {
            told(&topic.name);
        }
        let (upstream, max) = (limit.upstream.to_string(), limit.bytes_max);
        ProduceError::TooLargeUpstream(Box::new(TooLargeUpstream { bytes, max, uplink, upstream, record: None }))
    }
}

/// Bytes of a batch in this codec of what `push` puts into it; `None` if that is no record.
fn alone(compression: Compression, push: impl FnOnce(&mut BatchBuilder) -> Result<(), BatchError>) -> Option<usize> {
    let mut batch = BatchBuilder::new();
    push(&mut batch).ok()?;
    Some(batch.finish(compression).len())
}

/// The first record of a batch that is too large, and its bytes.
fn too_large_in(batch: &[u8], limit: &UpstreamLimit) -> Result<Option<(u32, usize)>, BatchError> {
    let (view, _) = BatchView::parse(batch)?;
    let room = limit.bytes_max.saturating_sub(limit.around_client);
    if view.record_count() == 1 && view.bytes().len() <= room {
        return Ok(None);
    }
    let bounds = VerifyLimits {
        batch_bytes_max: limits::BATCH_BYTES_MAX,
        decompressed_bytes_max: limits::RECOMPRESS_BYTES_MAX,
        ..VerifyLimits::default()
    };
    let payload = decompress(&view, &bounds)?;
    for (at, record) in records(&view, &payload).enumerate() {
        let record = record?;
        if plain_bytes(&record) <= room {
            continue;
        }
        let push =
            |batch: &mut BatchBuilder| batch.push(record.timestamp, record.key, record.value, record.headers.clone());
        if let Some(bytes) = alone(limit.compression, push).filter(|bytes| *bytes > room) {
            return Ok(Some((at as u32, bytes + limit.around_client)));
        }
    }
    Ok(None)
}

/// About what the record takes uncompressed in a batch of its own; rather more.
fn plain_bytes(record: &RecordRef<'_>) -> usize {
    const AROUND: usize = 32;
    const AROUND_HEADER: usize = 10;
    let headers = record.headers.clone().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len) + AROUND_HEADER);
    let parts = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
    HEADER_BYTES + AROUND + parts + headers.sum::<usize>()
}
