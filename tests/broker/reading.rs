//! Readers: whom a commit wakes, and positions that live through a restart.

use super::*;

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
    let six = batch(&["1", "2", "3", "4", "5", "6"], None);
    block_on(async { running.broker.produce(&t, 0, six, Acks::Flash).await?.wait().await }).unwrap();
    assert_eq!(running.broker.upstream_offset(p), None, "nobody follows it");
    running.broker.add_follower("a", Arc::new(|topic: &Topic| !topic.is_internal()));
    running.broker.add_follower("b", Arc::new(|topic: &Topic| topic.name == "t"));
    let other = topic(&running.broker, "other", 1);
    assert_eq!(running.broker.followers_of(&other), ["a"]);
    running.broker.advance_position("a", p, Intervals::up_to(5));
    assert_eq!(running.broker.upstream_offset(p), Some(0), "the slowest counts");
    running.broker.advance_position("b", p, Intervals::up_to(3));
    assert_eq!(running.broker.upstream_offset(p), Some(3));
    let saved = |to| vec![(p, Intervals::up_to(to))];
    block_on(running.broker.save_positions("a", saved(5), Duration::from_millis(1))).unwrap();
    block_on(running.broker.save_positions("b", saved(35), Duration::from_millis(1))).unwrap();
    running.close();

    let running = Running::open(dir.path());
    running.broker.add_follower("a", Arc::new(|_: &Topic| true));
    running.broker.add_follower("b", Arc::new(|_: &Topic| true));
    assert_eq!(running.broker.position("a", p).first_gap(), 5);
    assert_eq!(
        running.broker.position("b", p).first_gap(),
        0,
        "nobody is done with what is not there: all of it is in doubt"
    );
    assert_eq!([running.broker.take_distrusted("b"), running.broker.take_distrusted("a")], [vec![p], vec![]]);
    assert_eq!(running.broker.take_distrusted("b"), [], "once");
    running.broker.remove_follower("b");
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

/// Positions are made durable with other commits, some time later: who lets go of a partition and takes it up again in between goes on there.
#[test]
fn a_follower_that_comes_back_goes_on_where_it_was_also_before_that_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let p = t.partitions[0];
    let three = batch(&["1", "2", "3"], None);
    block_on(async { running.broker.produce(&t, 0, three, Acks::Flash).await?.wait().await }).unwrap();
    let (all, none) = (|_: &Topic| true, |_: &Topic| false);
    running.broker.add_follower("a", Arc::new(all));
    running.broker.advance_position("a", p, Intervals::up_to(2));
    assert_eq!(running.broker.store().entries(Space::Cursor, &[]).len(), 0, "not durable");
    running.broker.remove_follower("a");
    assert_eq!(running.broker.position("a", p), Intervals::new(), "it follows nothing");
    running.broker.add_follower("a", Arc::new(all));
    assert_eq!(running.broker.position("a", p), Intervals::up_to(2), "another uplink in the place of one");
    running.broker.advance_position("a", p, Intervals::up_to(3));
    running.broker.add_follower("a", Arc::new(none));
    assert_eq!(running.broker.upstream_offset(p), None);
    running.broker.add_follower("a", Arc::new(all));
    assert_eq!(running.broker.position("a", p), Intervals::up_to(3), "another pattern, and back");
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
