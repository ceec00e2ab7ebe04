use std::sync::Arc;
use std::time::Duration;

use smol::block_on;

use super::super::{Acks, Broker, BrokerOptions, NewTopic, Topic};
use super::*;
use crate::limits::{DEAD_LETTER_TOPIC, LOSSES_TOPIC};
use crate::record::{BatchBuilder, BatchView, Compression, NO_HEADERS, VerifyLimits, decompress, records};
use crate::store::clock::{RealClock, WallTrust};
use crate::store::disk::RealDisk;
use crate::store::{EngineHandle, Intervals, Store, StoreOptions};

/// A broker with a topic that an uplink follows.
struct Running {
    broker: Broker,
    engine: EngineHandle,
    topic: Arc<Topic>,
    _dir: tempfile::TempDir,
}

fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(dir.path());
    options.max_bytes = Some(16 << 20);
    options.commit_window = Duration::ZERO;
    let clock = Arc::new(RealClock::new(WallTrust::Always));
    let (store, engine) = Store::open(options, Arc::new(RealDisk::new()), clock).unwrap();
    let engine = engine.spawn().unwrap();
    let options = BrokerOptions { gateway_id: "gw".to_owned(), ..BrokerOptions::default() };
    let broker = Broker::new(store, options).unwrap();
    let topic = block_on(broker.create_topic(NewTopic { name: "t".to_owned(), ..NewTopic::default() })).unwrap();
    broker.add_follower("centre", Arc::new(|topic: &Topic| !topic.is_internal()));
    Running { broker, engine, topic, _dir: dir }
}

impl Running {
    fn produce(&self, values: &[&str]) {
        let mut builder = BatchBuilder::new();
        for value in values {
            builder.push(7, Some(b"k"), Some(value.as_bytes()), NO_HEADERS).unwrap();
        }
        let batch = builder.finish(Compression::Gzip);
        block_on(async { self.broker.produce(&self.topic, 0, batch, Acks::Flash).await.unwrap().wait().await })
            .unwrap();
    }

    fn letter(&self, offset: i64) -> Letter {
        let (partition, upstream, error) = (self.topic.partitions[0], "up".to_owned(), "why".to_owned());
        Letter { partition, offset, bytes: 10, upstream, cause: Cause::Invalid, error }
    }

    fn save(&self, end: i64, letters: &[i64]) {
        let positions = vec![(self.topic.partitions[0], Intervals::up_to(end))];
        let letters = letters.iter().map(|offset| self.letter(*offset)).collect();
        block_on(self.broker.save_with_letters("centre", positions, letters, Duration::ZERO)).unwrap();
    }

    /// The values of a topic's first partition.
    fn values(&self, topic: &str) -> Vec<String> {
        let Some(topic) = self.broker.topic(topic) else { return Vec::new() };
        let (mut values, mut offset) = (Vec::new(), 0);
        loop {
            let read = self.broker.store().read(topic.partitions[0], offset, 1 << 20).unwrap();
            if read.next_offset == offset {
                return values;
            }
            offset = read.next_offset;
            let mut rest = read.bytes.as_slice();
            while let Ok((view, after)) = BatchView::parse(rest) {
                rest = after;
                let payload = decompress(&view, &VerifyLimits::default()).unwrap();
                let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or(b"(none)")).into_owned();
                values.extend(records(&view, &payload).map(|record| text(record.unwrap().value)));
            }
        }
    }

    fn close(self) {
        self.broker.store().shutdown();
        self.engine.join();
    }
}

#[test]
fn a_letter_is_written_once_whatever_is_saved_again() {
    let running = start();
    running.produce(&["a", "b", "c", "d"]);
    running.save(2, &[1]);
    // As after an outcome that was not known.
    running.save(2, &[1]);
    running.save(4, &[1, 2, 3]);
    assert_eq!(running.values(DEAD_LETTER_TOPIC), ["b", "c", "d"]);
    let losses = running.broker.store().losses();
    let sums: Vec<_> = losses.iter().map(|loss| (loss.reader.as_str(), loss.first_offset, loss.last_offset)).collect();
    assert_eq!(sums, [("centre", 1, 3)]);
    assert_eq!((losses[0].records, losses[0].reason), (3, crate::store::LossReason::DeadLettered));
    assert!(running.broker.store().removals().is_empty(), "the records are still there");
    let told = running.values(LOSSES_TOPIC);
    assert_eq!(told.len(), 2, "{told:?}");
    for (told, (first, records)) in told.iter().zip([(1, 1), (2, 2)]) {
        for said in [
            r#""v":1,"gateway":"gw""#.to_owned(),
            format!(r#""first_offset":{first}"#),
            r#""reason":"dead-lettered""#.to_owned(),
            format!(r#""lost_to":{{"centre":{records}}}"#),
        ] {
            assert!(told.contains(&said), "{said}: {told}");
        }
    }
    running.close();
}

#[test]
fn what_is_deleted_before_it_was_forwarded_is_told_with_who_lost_it() {
    let running = start();
    running.produce(&["a", "b", "c", "d"]);
    running.save(1, &[]);
    block_on(running.broker.delete_records(running.topic.partitions[0], 3)).unwrap();
    let told = running.values(LOSSES_TOPIC);
    assert!(told.len() == 1 && told[0].contains(r#""lost_to":{"centre":2}"#), "{told:?}");
    // A record that is gone already is no letter.
    running.save(4, &[2, 3]);
    assert_eq!(running.values(DEAD_LETTER_TOPIC), ["d"]);
    running.close();
}

#[test]
fn large_records_are_kept_whole_as_long_as_a_commit_takes_them() {
    let running = start();
    running.produce(&[&"x".repeat(12 << 20), "small"]);
    // With the headers of a letter it is larger than any commit.
    let commit_bytes = running.broker.store().status().segment_bytes as usize / 8 * 4;
    let mut noise = vec![0; commit_bytes - 200];
    fastrand::Rng::with_seed(3).fill(&mut noise);
    let mut builder = BatchBuilder::new();
    builder.push(7, Some(b"k"), Some(&noise), NO_HEADERS).unwrap();
    let batch = builder.finish(Compression::Gzip);
    block_on(async { running.broker.produce(&running.topic, 0, batch, Acks::Flash).await.unwrap().wait().await })
        .unwrap();
    running.save(3, &[0, 1, 2]);
    let lengths: Vec<usize> = running.values(DEAD_LETTER_TOPIC).iter().map(String::len).collect();
    assert_eq!(lengths, [12 << 20, 5, "(none)".len()]);
    running.close();
}

#[test]
fn the_topic_takes_a_part_of_the_store_and_is_internal() {
    let running = start();
    running.produce(&["a"]);
    running.save(1, &[0]);
    let topic = running.broker.topic(DEAD_LETTER_TOPIC).unwrap();
    assert!(topic.is_internal() && topic.partition_count() == 1);
    assert_eq!(topic.config.retention_bytes, Some(1 << 20), "a 16th");
    running.close();
}

#[test]
fn letters_are_listed_and_each_is_settled_once() {
    let running = start();
    running.produce(&["a", "b", "c", "d", "e"]);
    running.save(5, &[1, 2, 3, 4]);
    let list = block_on(running.broker.letters(0, i64::MAX)).unwrap();
    let named: Vec<_> =
        list.letters.iter().map(|letter| (letter.letter, letter.topic.as_str(), letter.offset)).collect();
    assert_eq!(named, [(0, "t", 1), (1, "t", 2), (2, "t", 3), (3, "t", 4)]);
    let first = &list.letters[0];
    let told = (first.cause.as_str(), first.error.as_str(), first.uplink.as_str(), first.upstream.as_str());
    assert_eq!((told, first.key.as_deref(), first.value_bytes), (("invalid", "why", "centre", "up"), Some("k"), 1));

    let settle = |first, last, how| block_on(running.broker.settle_letters(first, last, how)).unwrap();
    let settled = |count| LettersSettled { settled: count, refused: Vec::new() };
    assert_eq!(settle(2, 2, Settle::Retry), settled(1));
    assert_eq!(settle(0, 2, Settle::Retry), settled(2), "one of them was settled before");
    assert_eq!(running.values("t"), ["a", "b", "c", "d", "e", "d", "b", "c"]);
    let dead = running.broker.topic(DEAD_LETTER_TOPIC).unwrap();
    assert_eq!(running.broker.head(dead.partitions[0]).unwrap().log_start, 3, "what is settled goes");
    assert_eq!(settle(0, i64::MAX, Settle::Drop), settled(1));
    assert_eq!(settle(0, i64::MAX, Settle::Retry), settled(0));
    assert_eq!(block_on(running.broker.letters(0, i64::MAX)).unwrap(), LetterList::default());
    assert_eq!(running.values("t").len(), 8);
    // What was put back is the record as it was.
    let read = running.broker.store().read(running.topic.partitions[0], 5, 1).unwrap();
    let (view, _) = BatchView::parse(&read.bytes).unwrap();
    let payload = decompress(&view, &VerifyLimits::default()).unwrap();
    let record = records(&view, &payload).next().unwrap().unwrap();
    assert_eq!((record.timestamp, record.key, record.headers.count()), (7, Some(&b"k"[..]), 0));
    running.close();
}

#[test]
fn a_letter_whose_topic_is_gone_stays() {
    let running = start();
    running.produce(&["a", "b"]);
    running.save(2, &[1]);
    block_on(running.broker.delete_topic("t")).unwrap();
    let settled = block_on(running.broker.settle_letters(0, 9, Settle::Retry)).unwrap();
    assert!(settled.settled == 0 && settled.refused[0].1.contains("no topic t"), "{settled:?}");
    assert_eq!(block_on(running.broker.letters(0, i64::MAX)).unwrap().letters.len(), 1);
    running.close();
}
