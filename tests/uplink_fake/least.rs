//! At least once: what arrives over faults, restarts and changes upstream; and what the check says before.

use brooklet::store::{Committed, Draft, Operation, PartitionId, Refused, StoreError};

use super::*;

#[test]
fn a_backlog_and_live_records_arrive_once_and_in_order() {
    for (local, upstream) in [(1, 1), (4, 1), (1, 6), (4, 48)] {
        let fake = Fake::start(&[("t", upstream)]);
        let edge = Edge::start();
        let topic = edge.topic("t", local);
        let mut sent = edge.fill(&topic, 0..20);
        let uplink = edge.uplink(&fake, |_| {});
        wait_caught_up(&uplink);
        for (sent, more) in sent.iter_mut().zip(edge.fill(&topic, 20..25)) {
            sent.extend(more);
        }
        let status = wait_caught_up(&uplink);
        for of in &sent {
            assert_eq!(first_arrivals(&fake, "t", upstream, of), (of.clone(), 0), "{local} to {upstream}");
        }
        assert_eq!(status.counts.records as usize, sent.iter().map(Vec::len).sum::<usize>());
        assert_eq!((status.counts.resends, status.counts.failures), (0, 0), "{}", status.to_json());
        block_on(uplink.stop());
    }
}

#[test]
fn every_fault_that_a_broker_survives_costs_neither_records_nor_order() {
    let faults = [
        Fault::ReplyLost,
        Fault::Cut,
        Fault::Code(7),
        Fault::LeaderMoves,
        Fault::None,
        Fault::Code(20),
        Fault::Slow(Duration::from_millis(50)),
        Fault::ReplyLost,
        Fault::LeaderMoves,
        Fault::ReplyLost,
    ];
    for partitioning in [Partitioning::ByGateway, Partitioning::ByKey, Partitioning::Same] {
        let fake = Fake::start(&[("t", 6)]);
        fake.fail(&faults);
        let edge = Edge::start();
        let topic = edge.topic("t", 4);
        let sent = edge.fill(&topic, 0..60);
        let uplink = edge.uplink(&fake, |config| {
            config.partitioning = partitioning;
            config.batch_max_bytes = 1_024;
        });
        let status = wait_caught_up(&uplink);
        for of in &sent {
            let (mut arrived, repeated) = first_arrivals(&fake, "t", 6, of);
            let mut expected = of.clone();
            if partitioning == Partitioning::ByKey {
                // Keys are spread, and each occurs once.
                arrived.sort();
                expected.sort();
            }
            assert_eq!((arrived, repeated), (expected, 0), "{partitioning:?}");
        }
        assert!(status.counts.resends > 0 && fake.state().faults.is_empty());
        block_on(uplink.stop());
    }
}

/// A gateway that does not know the time: what bears its stamps waits, what bears the devices' goes.
#[test]
fn what_was_stamped_without_knowing_the_time_waits_for_it_or_is_marked() {
    let values = |range: Range<i32>| range.map(|n| format!("stamped-{n}")).collect::<Vec<_>>();
    let stamped_topic = |edge: &Edge, name: &str| {
        let configs = vec![("message.timestamp.type".to_owned(), "LogAppendTime".to_owned())];
        let new = NewTopic { name: name.to_owned(), partitions: Some(1), configs, ..NewTopic::default() };
        block_on(edge.broker.create_topic(new)).unwrap()
    };
    let fake = Fake::start(&[("devices", 1), ("stamped", 1)]);
    let clock = Arc::new(ManualClock::new(5_000, 0));
    clock.set_wall(5_000, false);
    let edge = Edge::with_clock(tempfile::tempdir().unwrap(), Arc::clone(&clock) as Arc<dyn Clock>);
    let (stamped, devices) = (stamped_topic(&edge, "stamped"), edge.topic("devices", 1));
    edge.produce(&stamped, 0, &values(0..3), 1);
    let uplink = edge.uplink(&fake, |config| config.clock_wait = Duration::from_secs(3_600));
    let sent = edge.fill(&devices, 0..5).remove(0);
    let status = wait_until(&uplink, |status| status.counts.records == 15 && !status.stalls.is_empty());
    assert_eq!(first_arrivals(&fake, "devices", 1, &sent).0, sent);
    assert_eq!((status.stalls.len(), status.lag_records), (1, 3), "{}", status.to_json());
    assert!(status.stalls[0].why.contains("clock_wait"), "{}", status.stalls[0].why);
    assert!(fake.values("stamped", 0).is_empty());
    block_on(uplink.stop());

    // Nobody learns it: marked, with an estimate that isn't before this version was made.
    let uplink = edge.uplink(&fake, |config| config.clock_wait = Duration::ZERO);
    wait_caught_up(&uplink);
    assert_eq!(fake.values("stamped", 0), values(0..3));
    let times = fake.times_and_headers("stamped", 0);
    assert!(times.iter().all(|(time, header)| *time >= WALL_FLOOR_MS && header.as_deref() == Some("brooklet.time")));
    block_on(uplink.stop());

    // Learned: the rest goes with the true time, unmarked.
    edge.produce(&stamped, 0, &values(3..6), 1);
    let now = WALL_FLOOR_MS + 1_000_000_000;
    clock.set_wall(now, true);
    let uplink = edge.uplink(&fake, |config| config.clock_wait = Duration::from_secs(3_600));
    wait_caught_up(&uplink);
    let times = fake.times_and_headers("stamped", 0);
    assert_eq!(times[3..], [(now, None), (now, None), (now, None)]);
    block_on(uplink.stop());
}

#[test]
fn a_lost_producer_repeats_but_loses_nothing() {
    let fake = Fake::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = edge.uplink(&fake, |_| {});
    let mut sent = edge.fill(&topic, 0..10).remove(0);
    wait_caught_up(&uplink);
    fake.fail(&[Fault::ProducersForgotten]);
    let more: Vec<String> = (0..5).map(|i| format!("more-{i}")).collect();
    edge.produce(&topic, 0, &more, 1_700_000_000_000);
    sent.extend(more);
    let status = wait_caught_up(&uplink);
    assert_eq!(first_arrivals(&fake, "t", 1, &sent).0, sent);
    assert_eq!(status.counts.producers_lost, 1);
    block_on(uplink.stop());
}

#[test]
fn positions_outlive_a_restart() {
    let fake = Fake::start(&[("t", 3)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 2);
    let mut sent = edge.fill(&topic, 0..10);
    let uplink = edge.uplink(&fake, |_| {});
    wait_caught_up(&uplink);
    block_on(uplink.stop());
    drop(uplink);

    let edge = edge.restart();
    let topic = edge.broker.topic("t").unwrap();
    let more = vec!["after".to_owned()];
    edge.produce(&topic, 1, &more, 1_700_000_000_000);
    sent[1].extend(more);
    let uplink = edge.uplink(&fake, |_| {});
    let status = wait_caught_up(&uplink);
    assert_eq!(status.counts.records, 1);
    for of in &sent {
        assert_eq!(first_arrivals(&fake, "t", 3, of), (of.clone(), 0));
    }
    block_on(uplink.stop());
}

#[test]
fn an_absent_cluster_is_waited_for_and_found_again() {
    let fake = Fake::start(&[("t", 1)]);
    fake.state().refuses = true;
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = edge.uplink(&fake, |_| {});
    let sent = edge.fill(&topic, 0..10).remove(0);
    let backs_off = |status: &UplinkStatus| status.counts.failures >= 3 && status.state == UplinkState::Backoff;
    let status = wait_until(&uplink, backs_off);
    assert_eq!(status.lag_records, 30, "{}", status.to_json());
    // At most one attempt a backoff, which is 40 ms by now at least; however long that sleep takes.
    let (before, begin) = (fake.state().connections, Instant::now());
    thread::sleep(Duration::from_millis(500));
    let tried = fake.state().connections - before;
    assert!(tried as u128 <= 2 + begin.elapsed().as_millis() / 40, "{tried} in {:?}", begin.elapsed());
    fake.state().refuses = false;
    wait_caught_up(&uplink);
    assert_eq!(first_arrivals(&fake, "t", 1, &sent), (sent, 0));
    block_on(uplink.stop());
}

#[test]
fn one_topic_stalls_with_a_reason_and_the_others_go_on() {
    let fake = Fake::start(&[("good", 1), ("denied", 1)]);
    fake.state().denied.push("denied".into());
    let edge = Edge::start();
    let (good, denied, missing) = (edge.topic("good", 1), edge.topic("denied", 1), edge.topic("missing", 1));
    let sent: Vec<_> = [&good, &denied, &missing].map(|topic| edge.fill(topic, 0..5).remove(0)).to_vec();
    let uplink = edge.uplink(&fake, |_| {});
    let status = wait_until(&uplink, |status| status.lag_records == 30 && status.stalls.len() == 2);
    assert!(
        status.stalls.iter().any(|stall| stall.topic == "denied" && stall.why.contains("TOPIC_AUTHORIZATION_FAILED"))
    );
    assert!(status.stalls.iter().any(|stall| stall.topic == "missing" && stall.why.contains("create_topics")));
    assert_eq!(first_arrivals(&fake, "good", 1, &sent[0]), (sent[0].clone(), 0));
    fake.state().denied.clear();
    fake.state().topics.insert("missing".into(), vec![fake::Partition::default()]);
    wait_caught_up(&uplink);
    for (name, of) in ["good", "denied", "missing"].iter().zip(&sent) {
        assert_eq!(first_arrivals(&fake, name, 1, of), (of.clone(), 0));
    }
    block_on(uplink.stop());
}

#[test]
fn missing_topics_are_created_only_if_allowed() {
    let fake = Fake::start(&[]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let sent = edge.fill(&topic, 0..2).remove(0);
    let uplink = edge.uplink(&fake, |config| {
        config.create_topics = true;
        config.create_partitions = Some(3);
    });
    wait_caught_up(&uplink);
    assert_eq!(fake.state().topics["t"].len(), 3);
    assert_eq!(first_arrivals(&fake, "t", 3, &sent), (sent, 0));
    block_on(uplink.stop());
}

#[test]
fn batches_are_cut_to_what_upstream_takes_told_or_found_out() {
    for tells in [true, false] {
        let fake = Fake::start(&[("t", 1)]);
        fake.state().max_message_bytes = 2_000;
        fake.state().tells_limits = tells;
        let edge = Edge::start();
        let topic = edge.topic("t", 1);
        let values: Vec<String> = (0..100).map(|i| format!("{i}-{}", fastrand_text(i, 100))).collect();
        edge.produce(&topic, 0, &values, 1_700_000_000_000);
        let uplink = edge.uplink(&fake, |_| {});
        let status = wait_caught_up(&uplink);
        assert_eq!(first_arrivals(&fake, "t", 1, &values), (values, 0));
        assert_eq!(status.counts.cuts > 0, !tells);
        block_on(uplink.stop());
    }
}

/// Batches that a commit is to hold together.
struct AtOnce(PartitionId, Vec<Vec<u8>>, async_channel::Sender<()>);

impl Operation for AtOnce {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        self.1.iter().try_for_each(|batch| draft.append_batch(self.0, batch).map(drop).map_err(|_| Refused))
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        outcome.unwrap();
        self.2.try_send(()).unwrap();
    }
}

/// What lies unpacked, put together and compressed at once is bounded, however large a commit is, and where a whole one is read.
#[test]
fn a_large_commit_is_gathered_in_parts() {
    const READ_AT_ONCE: usize = 256 << 10;
    let fake = Fake::start(&[("t", 1)]);
    fake.state().max_message_bytes = 8 << 20;
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let values: Vec<String> = (0..30).map(|number| fastrand_text(number, 60_000)).collect();
    let batch = |value: &String| {
        let mut builder = BatchBuilder::new();
        builder.push(1_700_000_000_000, None, Some(value.as_bytes()), NO_HEADERS).unwrap();
        builder.finish(Compression::None)
    };
    let (done, committed) = async_channel::bounded(1);
    let at_once = AtOnce(topic.partitions[0], values.iter().map(batch).collect(), done);
    assert!(edge.broker.store().try_submit(Box::new(at_once)).is_ok());
    block_on(committed.recv()).unwrap();
    // Each of them waits for company, which no bound but that of reading ends.
    let uplink = edge.uplink(&fake, |config| {
        (config.batch_min_bytes, config.batch_max_bytes) = (4 << 20, 4 << 20);
        config.compression = brooklet::config::Compression::None;
    });
    wait_caught_up(&uplink);
    assert_eq!(fake.values("t", 0), values);
    let sizes: Vec<usize> = fake.state().topics["t"][0].entries.iter().map(|entry| entry.bytes.len()).collect();
    assert!(sizes.iter().all(|size| *size <= READ_AT_ONCE), "{sizes:?}");
    assert_eq!(sizes.len(), values.len().div_ceil(4), "{sizes:?}");
    block_on(uplink.stop());
}

#[test]
fn a_clock_ahead_shifts_timestamps_and_blocks_nothing() {
    let fake = Fake::start(&[("t", 1)]);
    fake.state().newest_timestamp = 1_900_000_000_000;
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let values = vec!["from 2096".to_owned()];
    edge.produce(&topic, 0, &values, 4_000_000_000_000);
    let uplink = edge.uplink(&fake, |_| {});
    let status = wait_caught_up(&uplink);
    assert_eq!(first_arrivals(&fake, "t", 1, &values), (values, 0));
    assert_eq!(status.counts.timestamps_shifted, 1);
    block_on(uplink.stop());
}

#[test]
fn partitions_added_upstream_are_used_and_order_is_kept() {
    let fake = Fake::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 4);
    let uplink = edge.uplink(&fake, |_| {});
    let mut sent = edge.fill(&topic, 0..5);
    wait_caught_up(&uplink);
    fake.state().topics.get_mut("t").unwrap().extend((1..8).map(|_| fake::Partition::default()));
    // A leader that moves makes the uplink look at the metadata: with the first record, so that it is there before the others.
    fake.fail(&[Fault::LeaderMoves]);
    for at in 0..20 {
        for (partition, of) in sent.iter_mut().enumerate() {
            let values = vec![format!("later-{partition}-{at}")];
            edge.produce(&topic, partition as i32, &values, 1_700_000_000_000);
            of.extend(values);
            if (partition, at) == (0, 0) {
                wait_caught_up(&uplink);
            }
        }
    }
    wait_caught_up(&uplink);
    let used = (0..8).filter(|partition| !fake.values("t", *partition).is_empty()).count();
    assert!(used > 1, "{used}");
    for of in &sent {
        let (mut arrived, repeated) = first_arrivals(&fake, "t", 8, of);
        // Over the change, order is one of time; within a partition upstream it is that of the list.
        assert_eq!(repeated, 0);
        for partition in 0..8 {
            let here: Vec<String> =
                fake.values("t", partition).into_iter().filter(|value| of.contains(value)).collect();
            let expected: Vec<String> = of.iter().filter(|value| here.contains(value)).cloned().collect();
            assert_eq!(here, expected);
        }
        let mut expected = of.clone();
        arrived.sort();
        expected.sort();
        assert_eq!(arrived, expected);
    }
    block_on(uplink.stop());
}

#[test]
fn pause_and_resume() {
    let fake = Fake::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = edge.uplink(&fake, |_| {});
    wait_caught_up(&uplink);
    uplink.pause();
    wait_until(&uplink, |status| status.state == UplinkState::Paused);
    let sent = edge.fill(&topic, 0..3).remove(0);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(uplink.status().lag_records, 9);
    uplink.resume();
    wait_caught_up(&uplink);
    assert_eq!(first_arrivals(&fake, "t", 1, &sent), (sent, 0));
    block_on(uplink.stop());
}

#[test]
fn the_check_names_what_is_wrong_and_what_to_do() {
    let fake = Fake::start(&[("good", 1)]);
    let edge = Edge::start();
    let topics = [edge.topic("good", 1), edge.topic("missing", 1)];
    let findings = block_on(check(&options(&fake, |_| {}), &topics, true));
    let text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    assert!(text.contains("ok    versions  Produce 12, Metadata 12"), "{text}");
    assert!(text.contains("ok    topics    good (1 partitions) goes to good (1)"), "{text}");
    assert!(text.contains("FAIL  topics    missing: UNKNOWN_TOPIC_OR_PARTITION"), "{text}");
    assert!(text.contains("exactly   the cluster offers"), "{text}");
    fake.state().denied.push("good".to_owned());
    let findings = block_on(check(&options(&fake, |_| {}), &topics, true));
    let command = "--operation Write --topic good";
    assert!(findings.iter().any(|finding| finding.text.ends_with(command)), "{findings:?}");
    // What exactly once takes besides.
    let exactly = options(&fake, |config| config.delivery = Delivery::ExactlyOnce);
    let look = || -> String {
        let findings = block_on(check(&exactly, &topics, true));
        findings.iter().map(|finding| format!("{finding}\n")).collect()
    };
    fake.state().coordinator.version = 0;
    let text = look();
    assert!(text.contains("FAIL  exactly   no transactions") && text.contains("at-least-once"), "{text}");
    fake.state().coordinator.version = 2;
    let text = look();
    assert!(text.contains("ok    exactly   the cluster offers transactions, of the second protocol"), "{text}");
    assert!(text.contains("ok    exactly   brooklet.cursors is missing upstream and will be created"), "{text}");
    assert!(text.contains("ok    exactly   group brooklet.gw-1.centre: Read allowed"), "{text}");
    fake.state().topics.insert("brooklet.cursors".into(), vec![fake::Partition::default()]);
    fake.state().denied.push("brooklet.cursors".to_owned());
    for (api, code, command) in [
        (ApiKey::AddOffsetsToTxn, 53, "--operation Write --operation Describe --transactional-id brooklet.gw-1.centre"),
        (ApiKey::AddOffsetsToTxn, 30, "--operation Read --group brooklet.gw-1.centre"),
        (ApiKey::FindCoordinator, 30, "--operation Read --group brooklet.gw-1.centre"),
    ] {
        fake.fail_api(api, &[Fault::Code(code)]);
        let text = look();
        assert!(text.contains(command) && text.contains("--operation Read --topic brooklet.cursors"), "{text}");
    }
    assert_eq!(fake.requests(ApiKey::EndTxn), 0);
    fake.state().refuses = true;
    let findings = block_on(check(&options(&fake, |_| {}), &topics, true));
    assert!(findings.iter().any(|finding| finding.to_string().contains("FAIL  metadata")), "{findings:?}");
}

/// A topic is refused while another of its batches is still to be answered: when that is taken up again after a moment, what is gathered must
/// not lie behind a batch that nobody sends any more.
#[test]
fn a_topic_that_is_refused_for_a_moment_goes_on_by_itself() {
    let fake = Fake::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    // Nothing that a codec makes smaller by much: each batch is a request of its own.
    let sent: Vec<String> = (1..13).map(|at| fastrand_text(at, 60_000)).collect();
    for value in &sent {
        edge.produce(&topic, 0, std::slice::from_ref(value), 1_700_000_000_000);
    }
    // Of three under way the second is refused, long before the third is answered.
    let slow = |ms| Fault::Slow(Duration::from_millis(ms));
    fake.fail_api(ApiKey::Produce, &[slow(1_000), Fault::Code(29), slow(3_000)]);
    let uplink = edge.uplink(&fake, |_| {});
    let status = wait_caught_up(&uplink);
    assert!(status.last_error.is_some(), "{}", status.to_json());
    assert_eq!(first_arrivals(&fake, "t", 1, &sent).0, sent);
    block_on(uplink.stop());
}
