//! Batches: resends of idempotent producers, what is refused, codecs, stamps.

use super::*;

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
