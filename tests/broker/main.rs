//! The broker over a real store in a temporary directory, reopened where that matters: topics, idempotent producers,
//! native sessions and their sequences, offsets, followers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod producing;
mod reading;
mod sessions;
mod topics;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brooklet::broker::groups::GroupError;
use brooklet::broker::{
    Acks, Broker, BrokerOptions, CommittedOffset, FetchError, NewRecord, NewTopic, OffsetError, ProduceError, Topic,
    TopicError,
};
use brooklet::record::{BatchBuilder, BatchView, Compression, NO_HEADERS, Producer, decompress, records};
use brooklet::store::clock::{RealClock, WallTrust};
use brooklet::store::disk::RealDisk;
use brooklet::store::{EngineHandle, Intervals, PartitionId, Space, Stamp, Store, StoreOptions};
use smol::block_on;

/// A broker and what keeps it running.
struct Running {
    broker: Broker,
    engine: EngineHandle,
}

impl Running {
    fn open(dir: &Path) -> Self {
        let mut options = StoreOptions::new(dir);
        options.max_bytes = Some(16 << 20);
        options.commit_window = Duration::from_millis(1);
        let clock = Arc::new(RealClock::new(WallTrust::Always));
        let (store, engine) = Store::open(options, Arc::new(RealDisk::new()), clock).unwrap();
        let engine = engine.spawn().unwrap();
        Self { broker: Broker::new(store, BrokerOptions::default()).unwrap(), engine }
    }

    fn close(self) {
        self.broker.store().shutdown();
        self.engine.join();
    }
}

fn topic(broker: &Broker, name: &str, partitions: u32) -> Arc<Topic> {
    let new = NewTopic { name: name.to_owned(), partitions: Some(partitions), ..NewTopic::default() };
    block_on(broker.create_topic(new)).unwrap()
}

/// Tries to set configurations of a topic.
fn alter(broker: &Broker, name: &str, set: &[(&str, &str)]) -> Result<Arc<Topic>, TopicError> {
    let set: Vec<_> = set.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect();
    block_on(broker.alter_topic(name, &set))
}

fn batch(values: &[&str], producer: Option<Producer>) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(1_600_000_000_000, None, Some(value.as_bytes()), NO_HEADERS).unwrap();
    }
    match producer {
        Some(producer) => builder.seal(producer).to_vec(),
        None => builder.finish(Compression::None),
    }
}

/// Offsets and values of everything in a partition.
fn contents(broker: &Broker, partition: PartitionId) -> Vec<(i64, String)> {
    let mut at = broker.head(partition).unwrap().log_start;
    let mut all = Vec::new();
    loop {
        let read = block_on(broker.fetch(partition, at, 1 << 20)).unwrap();
        if read.bytes.is_empty() {
            return all;
        }
        let mut rest = read.bytes.as_slice();
        while !rest.is_empty() {
            let (view, behind) = BatchView::parse(rest).unwrap();
            let payload = decompress(&view, &Default::default()).unwrap();
            for record in records(&view, &payload) {
                let record = record.unwrap();
                all.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
            }
            rest = behind;
        }
        at = read.next_offset;
    }
}

fn record(value: &str) -> NewRecord {
    NewRecord { value: Some(value.as_bytes().to_vec()), timestamp_ms: Some(5), ..NewRecord::default() }
}
