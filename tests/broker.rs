//! The broker over a real store in a temporary directory, reopened where that matters: topics, idempotent producers,
//! native sessions and their sequences, offsets, followers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

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

#[test]
fn reserves_are_refused_beyond_their_part_with_both_figures() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let broker = &running.broker;
    topic(broker, "alarms", 1);
    topic(broker, "other", 1);
    let changed = alter(broker, "alarms", &[("brooklet.reserve", "11000000"), ("brooklet.priority", "8")]).unwrap();
    assert_eq!((changed.config.reserve, changed.config.priority), (11_000_000, 8));
    // 70 % of 16 MiB are 11,744,040 bytes, of whole hundredths.
    let refused = |result: Result<Arc<Topic>, TopicError>| {
        let Err(TopicError::Invalid(text)) = result else { panic!("{result:?}") };
        for said in ["brooklet.reserve=1000000", "11000000 bytes already", "70%", "11744040 bytes"] {
            assert!(text.contains(said), "{text}");
        }
    };
    refused(alter(broker, "other", &[("brooklet.reserve", "1000000")]));
    let configs = vec![("brooklet.reserve".to_owned(), "1000000".to_owned())];
    refused(block_on(broker.create_topic(NewTopic { name: "new".to_owned(), configs, ..NewTopic::default() })));
    assert_eq!(broker.topic("other").unwrap().config.reserve, 0);
    // What a topic has already doesn't count against itself.
    alter(broker, "alarms", &[("brooklet.reserve", "11000001")]).unwrap();
    assert_eq!(broker.reserves_too_large(), None);
    running.close();
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

#[test]
fn topics_live_through_a_restart_and_a_name_made_again_is_another_topic() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let first = topic(&running.broker, "t", 2);
    assert!(matches!(
        block_on(running.broker.create_topic(NewTopic { name: "t".to_owned(), ..NewTopic::default() })),
        Err(TopicError::Exists(_))
    ));
    let changes = [("retention.ms".to_owned(), Some("60000".to_owned()))];
    block_on(running.broker.alter_topic("t", &changes)).unwrap();
    block_on(running.broker.add_partitions("t", 3)).unwrap();
    assert!(matches!(block_on(running.broker.add_partitions("t", 3)), Err(TopicError::Invalid(_))));
    assert!(matches!(
        block_on(
            running.broker.alter_topic("t", &[("no.such".to_owned(), None), ("x".to_owned(), Some("1".to_owned()))])
        ),
        Err(TopicError::Invalid(_))
    ));
    running.close();

    let running = Running::open(dir.path());
    let again = running.broker.topic("t").unwrap();
    assert_eq!((again.id, again.partition_count(), again.config.retention_ms), (first.id, 3, Some(60_000)));
    block_on(running.broker.delete_topic("t")).unwrap();
    assert!(matches!(block_on(running.broker.delete_topic("t")), Err(TopicError::Unknown(_))));
    assert!(matches!(running.broker.head(again.partitions[0]), Err(FetchError::UnknownPartition)));
    let other = topic(&running.broker, "t", 1);
    assert_ne!(other.id, first.id);
    assert!(!again.partitions.contains(&other.partitions[0]), "a partition's number is never used again");
    running.close();

    let running = Running::open(dir.path());
    assert_eq!(running.broker.topics().len(), 1);
    assert_eq!(running.broker.topic("t").unwrap().id, other.id);
    running.close();
}

#[test]
fn an_idempotent_producers_resend_is_recognised_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let id = block_on(running.broker.new_producer_id()).unwrap();
    let send = |broker: &Broker, sequence: i32, values: &[&str]| {
        let producer = Producer { id, epoch: 0, base_sequence: sequence };
        block_on(async { broker.produce(&t, 0, batch(values, Some(producer)), Acks::Flash).await?.wait().await })
    };
    assert_eq!(send(&running.broker, 0, &["a", "b"]).unwrap().base_offset, 0);
    assert_eq!(send(&running.broker, 2, &["c"]).unwrap().base_offset, 2);
    running.close();

    let running = Running::open(dir.path());
    let resent = send(&running.broker, 0, &["a", "b"]).unwrap();
    assert_eq!((resent.base_offset, resent.duplicate), (0, true));
    assert!(matches!(send(&running.broker, 5, &["f"]), Err(ProduceError::OutOfOrderSequence { expected: 3, got: 5 })));
    assert_eq!(send(&running.broker, 3, &["d"]).unwrap().base_offset, 3);
    let values: Vec<_> = contents(&running.broker, t.partitions[0]).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["a", "b", "c", "d"]);
    let other = block_on(running.broker.new_producer_id()).unwrap();
    assert!(other > id, "an id is never given twice");
    running.close();
}

#[test]
fn what_is_wrong_with_a_batch_is_found_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let send = |bytes: Vec<u8>, index| block_on(running.broker.produce(&t, index, bytes, Acks::Flash)).map(drop);
    let good = batch(&["a"], None);
    assert!(matches!(send(good.clone(), 1), Err(ProduceError::UnknownPartition)));
    assert!(matches!(send(good.clone(), -1), Err(ProduceError::UnknownPartition)));
    assert!(matches!(send(vec![0; 2 << 20], 0), Err(ProduceError::TooLarge { .. })));
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(send(flipped, 0), Err(ProduceError::Corrupt(_))));
    assert!(matches!(send([good.clone(), good].concat(), 0), Err(ProduceError::Corrupt(_))));
    assert!(matches!(send(Vec::new(), 0), Err(ProduceError::Corrupt(_))));
    assert_eq!(running.broker.head(t.partitions[0]).unwrap().high_watermark, 0);
    running.close();
}

#[test]
fn what_decompresses_to_much_is_taken_and_to_too_much_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let zeros = |megabytes: usize| {
        let mut builder = BatchBuilder::new();
        builder.push(0, None, Some(&vec![0; megabytes << 20]), NO_HEADERS).unwrap();
        builder.finish(Compression::Gzip)
    };
    let send = |batch: Vec<u8>| {
        block_on(async { running.broker.produce(&t, 0, batch, Acks::Flash).await?.wait().await })
            .map(|done| done.base_offset)
    };
    assert_eq!(send(zeros(20)).unwrap(), 0);
    assert!(matches!(send(zeros(70)), Err(ProduceError::Corrupt(_))));
    assert_eq!(send(zeros(2)).unwrap(), 1);
    running.close();
}

#[test]
fn a_batch_is_kept_in_the_codec_of_its_topic_and_a_resend_is_still_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let values: Vec<String> = (0..100).map(|i| format!("reading {i} of a sensor")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    for (round, (name, codec)) in [
        ("producer", Compression::None),
        ("zstd", Compression::Zstd),
        ("gzip", Compression::Gzip),
        ("lz4", Compression::Lz4),
        ("snappy", Compression::Snappy),
        ("uncompressed", Compression::None),
    ]
    .into_iter()
    .enumerate()
    {
        let change = [("compression.type".to_owned(), Some(name.to_owned()))];
        let t = block_on(running.broker.alter_topic(&t.name, &change)).unwrap();
        let sent = batch(&values, Some(Producer { id: 9, epoch: 0, base_sequence: 100 * round as i32 }));
        let send = || {
            let produced = running.broker.produce(&t, 0, sent.clone(), Acks::Flash);
            block_on(async { produced.await?.wait().await }).unwrap()
        };
        let first = send();
        assert_eq!(first.base_offset, 100 * round as i64);
        assert!(send().duplicate, "{name}");
        let read = block_on(running.broker.fetch(t.partitions[0], first.base_offset, 1 << 20)).unwrap();
        let (view, _) = BatchView::parse(&read.bytes).unwrap();
        assert_eq!(view.attributes().compression(), Ok(codec), "{name}");
        assert_eq!((view.producer_id(), view.base_sequence()), (9, 100 * round as i32));
    }
    let kept = contents(&running.broker, t.partitions[0]);
    assert!(kept.chunks(100).all(|chunk| chunk.iter().map(|(_, value)| value).eq(&values)));
    running.close();
}

#[test]
fn timestamps_far_from_a_trusted_clock_are_refused_where_the_topic_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let now = running.broker.store().now();
    let send = |timestamp_ms: i64| {
        let mut builder = BatchBuilder::new();
        builder.push(timestamp_ms, None, Some(b"v"), NO_HEADERS).unwrap();
        let t = running.broker.topic("t").unwrap();
        block_on(running.broker.produce(&t, 0, builder.finish(Compression::None), Acks::Flash)).map(drop)
    };
    let set = |key: &str, value: &str| {
        block_on(running.broker.alter_topic("t", &[(key.to_owned(), Some(value.to_owned()))])).unwrap();
    };
    let (before, after) = ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms");
    send(1).unwrap();
    send(now.wall_ms + 100_000_000).unwrap();
    set(before, "3600000");
    set(after, "60000");
    let refused = |result: Result<(), ProduceError>, by: &str| {
        assert!(matches!(&result, Err(ProduceError::Timestamp { key, .. }) if *key == by), "{result:?}");
    };
    refused(send(now.wall_ms - 7_200_000), before);
    refused(send(now.wall_ms + 600_000), after);
    send(now.wall_ms - 1_000_000).unwrap();
    send(now.wall_ms).unwrap();
    send(-1).unwrap();
    set("message.timestamp.type", "LogAppendTime");
    send(1).unwrap();

    // A clock that is not to be trusted decides nothing.
    let untrusted = Stamp { wall_trusted: false, ..now };
    set("message.timestamp.type", "CreateTime");
    running.broker.topic("t").unwrap().check_times(1, i64::MAX, untrusted).unwrap();
    assert_eq!(running.broker.head(t.partitions[0]).unwrap().high_watermark, 6);
    running.close();
}

#[test]
fn a_session_goes_on_after_a_restart_and_resends_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let publish = |broker: &Broker, session: &_, first, values: &[&str]| {
        let records = values.iter().map(|value| record(value)).collect();
        block_on(async { broker.publish(session, &t, first, records, Acks::Flash).await?.wait().await })
    };
    let session = block_on(running.broker.open_session("device", None, 0)).unwrap();
    assert_eq!((session.resumed(), session.last_durable_sequence(), session.next_sequence()), (false, 0, 1));
    let published = publish(&running.broker, &session, 1, &["1", "2"]).unwrap();
    assert_eq!((published.last_sequence, published.duplicates), (2, 0));
    let resent = publish(&running.broker, &session, 2, &["2", "3"]).unwrap();
    assert_eq!((resent.last_sequence, resent.duplicates, resent.last), (3, 1, Some((t.partitions[0], 2))));
    assert!(matches!(
        publish(&running.broker, &session, 5, &["5"]),
        Err(ProduceError::SequenceGap { expected: 4, got: 5 })
    ));
    let epoch = session.epoch();
    drop(session);
    running.close();

    let running = Running::open(dir.path());
    let session = block_on(running.broker.open_session("device", Some(epoch), 0)).unwrap();
    assert_eq!((session.resumed(), session.last_durable_sequence()), (true, 3));
    assert_eq!(publish(&running.broker, &session, 3, &["3", "4"]).unwrap().duplicates, 1);
    block_on(async { running.broker.skip(&session, 5, 2).await?.wait().await }).unwrap();
    assert_eq!(publish(&running.broker, &session, 7, &["7"]).unwrap().last_sequence, 7);
    let values: Vec<_> = contents(&running.broker, t.partitions[0]).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["1", "2", "3", "4", "7"]);

    // A device that has forgotten its epoch begins another; what it remembers of the old one is of no use any more.
    let newer = block_on(running.broker.open_session("device", None, 0)).unwrap();
    assert!(newer.epoch() > epoch && !newer.resumed());
    assert!(session.is_fenced());
    assert!(matches!(publish(&running.broker, &session, 8, &["8"]), Err(ProduceError::SessionFenced)));
    assert_eq!(publish(&running.broker, &newer, 1, &["new"]).unwrap().duplicates, 0);
    drop((session, newer));
    running.close();
}

#[test]
fn what_was_acknowledged_from_memory_and_lost_is_stepped_over() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let session = block_on(running.broker.open_session("device", None, 0)).unwrap();
    let epoch = session.epoch();
    block_on(async { running.broker.publish(&session, &t, 1, vec![record("1")], Acks::Memory).await?.wait().await })
        .unwrap();
    drop(session);
    running.close();
    let running = Running::open(dir.path());
    // The client has seen 2 and 3 acknowledged from memory before the power went.
    let session = block_on(running.broker.open_session("device", Some(epoch), 4)).unwrap();
    assert_eq!(session.next_sequence(), 4);
    block_on(async { running.broker.publish(&session, &t, 4, vec![record("4")], Acks::Flash).await?.wait().await })
        .unwrap();
    drop(session);
    running.close();
}

#[test]
fn native_records_go_by_key_and_without_one_by_client() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 8);
    let session = block_on(running.broker.open_session("device", None, 0)).unwrap();
    let mut sequence = 1;
    let mut publish = |record: NewRecord| {
        let broker = &running.broker;
        let first = sequence;
        sequence += 1;
        block_on(async { broker.publish(&session, &t, first, vec![record], Acks::Flash).await?.wait().await })
            .unwrap()
            .last
            .unwrap()
            .0
    };
    let keyed = |key: &str| NewRecord { key: Some(key.as_bytes().to_vec()), ..record("v") };
    assert_eq!(publish(keyed("k")), publish(keyed("k")));
    let own = publish(record("v"));
    assert_eq!(own, publish(keyed("device")), "the client's id is the key");
    let spread: std::collections::BTreeSet<_> = (0..40).map(|i| publish(keyed(&i.to_string()))).collect();
    assert!(spread.len() > 4, "{spread:?}");
    drop(session);
    running.close();
}

#[test]
fn a_topic_may_stamp_everything_itself() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let configs = vec![("message.timestamp.type".to_owned(), "LogAppendTime".to_owned())];
    let new = NewTopic { name: "t".to_owned(), configs, ..NewTopic::default() };
    let t = block_on(running.broker.create_topic(new)).unwrap();
    let session = block_on(running.broker.open_session("device", None, 0)).unwrap();
    let before = running.broker.store().now().wall_ms;
    block_on(async { running.broker.publish(&session, &t, 1, vec![record("n")], Acks::Flash).await?.wait().await })
        .unwrap();
    let kafka = batch(&["k"], None);
    let appended = block_on(async { running.broker.produce(&t, 0, kafka, Acks::Flash).await?.wait().await }).unwrap();
    assert!(appended.log_append_time_ms >= before);
    let read = block_on(running.broker.fetch(t.partitions[0], 0, 1 << 20)).unwrap();
    let (native, rest) = BatchView::parse(&read.bytes).unwrap();
    let (kafka, _) = BatchView::parse(rest).unwrap();
    assert!(native.max_timestamp() >= before && kafka.max_timestamp() == appended.log_append_time_ms);
    assert!(native.crc_matches() && kafka.crc_matches());
    drop(session);
    running.close();
}

#[test]
fn a_reader_that_wants_much_is_woken_by_enough_and_reads_nothing_before() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let broker = &running.broker;
    let t = topic(broker, "t", 2);
    let seen: Vec<_> = t.partitions.iter().map(|partition| broker.seen(*partition).unwrap()).collect();
    let send = |index, bytes: usize| {
        let value = "x".repeat(bytes);
        block_on(async { broker.produce(&t, index, batch(&[&value], None), Acks::Flash).await?.wait().await }).unwrap();
    };
    block_on(async {
        let mut wait = std::pin::pin!(broker.wait_for_bytes(&seen, 10_000, Duration::from_secs(3_600)));
        let ready = |wait: Option<()>| wait.is_some();
        for index in [0, 1, 0] {
            assert!(!ready(smol::future::poll_once(&mut wait).await));
            send(index, 3_000);
        }
        assert!(!ready(smol::future::poll_once(&mut wait).await), "some 9,300 bytes");
        send(1, 1_000);
        assert!(ready(smol::future::poll_once(&mut wait).await));
    });
    // A partition that goes ends the wait.
    let seen = [broker.seen(t.partitions[0]).unwrap()];
    block_on(async {
        let mut wait = std::pin::pin!(broker.wait_for_bytes(&seen, 1 << 40, Duration::from_secs(3_600)));
        assert!(smol::future::poll_once(&mut wait).await.is_none());
        broker.delete_topic("t").await.unwrap();
        assert!(smol::future::poll_once(&mut wait).await.is_some());
    });
    assert_eq!(broker.seen(t.partitions[0]), None);
    running.close();
}

#[test]
fn readers_offsets_live_through_a_restart_and_an_unchanged_commit_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let at = |offset| CommittedOffset { offset, leader_epoch: 1, metadata: "note".to_owned() };
    block_on(running.broker.commit_offsets("reader", vec![(t.id, 0, at(7))])).unwrap();
    let commits = running.broker.store().status().commits;
    block_on(running.broker.commit_offsets("reader", vec![(t.id, 0, at(7))])).unwrap();
    assert_eq!(running.broker.store().status().commits, commits);
    assert!(matches!(
        block_on(running.broker.commit_offsets("", vec![(t.id, 0, at(7))])),
        Err(OffsetError::Group(GroupError::InvalidName))
    ));
    assert!(matches!(
        block_on(running.broker.commit_offsets("reader", vec![(t.id, 0, at(-1))])),
        Err(OffsetError::Invalid(_))
    ));
    running.close();
    let running = Running::open(dir.path());
    assert_eq!(running.broker.committed_offset("reader", &t, 0), Some(at(7)));
    assert_eq!(running.broker.committed_offset("other", &t, 0), None);
    running.close();
}

#[test]
fn followers_positions_decide_what_is_upstream_and_live_through_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let p = t.partitions[0];
    assert_eq!(running.broker.upstream_offset(p), None, "nobody follows it");
    running.broker.add_follower("a", Arc::new(|topic: &Topic| !topic.is_internal()));
    running.broker.add_follower("b", Arc::new(|topic: &Topic| topic.name == "t"));
    let other = topic(&running.broker, "other", 1);
    assert_eq!(running.broker.followers_of(&other), ["a"]);
    running.broker.advance_position("a", p, Intervals::up_to(5));
    assert_eq!(running.broker.upstream_offset(p), Some(0), "the slowest counts");
    running.broker.advance_position("b", p, Intervals::up_to(3));
    assert_eq!(running.broker.upstream_offset(p), Some(3));
    let saved = vec![(p, Intervals::up_to(5))];
    block_on(running.broker.save_positions("a", saved, Duration::from_millis(1))).unwrap();
    running.close();

    let running = Running::open(dir.path());
    running.broker.add_follower("a", Arc::new(|_: &Topic| true));
    assert_eq!(running.broker.position("a", p).first_gap(), 5);
    let committed = CommittedOffset { offset: 1, leader_epoch: -1, metadata: String::new() };
    block_on(running.broker.commit_offsets("reader", vec![(t.id, 0, committed)])).unwrap();
    let id = block_on(running.broker.new_producer_id()).unwrap();
    let from = |sequence| batch(&["a"], Some(Producer { id, epoch: 0, base_sequence: sequence }));
    for topic in [&t, &other] {
        block_on(async { running.broker.produce(topic, 0, from(0), Acks::Flash).await?.wait().await }).unwrap();
    }
    block_on(running.broker.delete_topic("t")).unwrap();
    assert_eq!(running.broker.upstream_offset(p), None);
    let kept = |space| running.broker.store().entries(space, &[]).len();
    assert_eq!([Space::Cursor, Space::Group].map(kept), [0, 0], "nothing is kept about a topic that is gone");
    assert_eq!(kept(Space::Producer), 2, "the next id, and the producer's state in the other topic");
    running.close();
}

#[test]
fn a_reader_at_the_end_is_woken_by_the_next_commit() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let p = t.partitions[0];
    let broker = running.broker.clone();
    let waiting = std::thread::spawn(move || {
        block_on(broker.wait_for_records(&[(p, 0)], Duration::from_secs(20)));
        broker.head(p).unwrap().high_watermark
    });
    block_on(async { running.broker.produce(&t, 0, batch(&["a"], None), Acks::Flash).await?.wait().await }).unwrap();
    assert_eq!(waiting.join().unwrap(), 1);
    block_on(running.broker.delete_records(p, -1)).unwrap();
    assert_eq!(running.broker.head(p).unwrap().log_start, 1);
    assert!(matches!(block_on(running.broker.fetch(p, 0, 100)), Err(FetchError::OutOfRange(_))));
    running.close();
}
