//! The downlink out of the cluster in this process: whatever fails, what is committed there is here once and in order; and
//! what came down does not go up again.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brooklet::broker::NewTopic;
use brooklet::config::{DownlinkConfig, HostPort, Labels, LinkBudget, TopicPattern, TopicTemplate, WeekWindow};
use brooklet::kafka::api::ApiKey;
use brooklet::record::{BatchBuilder, BatchView, Compression, NO_HEADERS, Producer, decompress, header, records};
use brooklet::tls::LinkTls;
use brooklet::uplink::{
    Downlink, DownlinkOptions, DownlinkState, DownlinkStatus, Severity, SkipTo, UplinkState, check_downlink,
};
use smol::block_on;

use super::fake::{Fake, Fault};
use super::{Edge, SOON, wait_until};

fn options(fake: &Fake, change: impl FnOnce(&mut DownlinkConfig)) -> DownlinkOptions {
    let address = fake.bootstrap();
    let mut config = DownlinkConfig::from(vec![HostPort { host: address.ip().to_string(), port: address.port() }]);
    config.topics = vec![TopicTemplate::parse("c").unwrap()];
    config.from = brooklet::config::DownlinkFrom::Earliest;
    config.fetch_wait = Duration::from_millis(20);
    config.backoff_min = Duration::from_millis(10);
    config.backoff_max = Duration::from_millis(100);
    change(&mut config);
    DownlinkOptions {
        name: "centre-down".into(),
        gateway: "gw-1".into(),
        labels: Labels::default(),
        config,
        tls: LinkTls::default(),
    }
}

fn downlink(edge: &Edge, fake: &Fake, change: impl FnOnce(&mut DownlinkConfig)) -> Downlink {
    Downlink::spawn(&edge.executor, edge.broker.clone(), options(fake, change))
}

fn wait(downlink: &Downlink, what: impl Fn(&DownlinkStatus) -> bool) -> DownlinkStatus {
    let begin = Instant::now();
    loop {
        let status = downlink.status();
        if what(&status) {
            return status;
        }
        assert!(begin.elapsed() < SOON, "waited in vain: {status:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until so many records have come down.
fn wait_records(downlink: &Downlink, records: u64) -> DownlinkStatus {
    let all = |status: &DownlinkStatus| status.counts.records >= records && status.state == DownlinkState::CaughtUp;
    wait(downlink, all)
}

/// A batch of these values into the cluster; of a transaction, if a producer is named.
fn put(fake: &Fake, partition: usize, values: &[String], producer: Option<(i64, i32)>, gateway: Option<&str>) {
    let mut builder = BatchBuilder::new();
    for value in values {
        let mark = gateway.map(|id| (b"brooklet.gateway".as_slice(), Some(id.as_bytes())));
        builder.push(1_700_000_000_000, None, Some(value.as_bytes()), mark.into_iter()).unwrap();
    }
    let mut batch = builder.finish(Compression::Lz4);
    if let Some((id, base_sequence)) = producer {
        header::rewrite_for_forward(&mut batch, Producer { id, epoch: 0, base_sequence }, true).unwrap();
    }
    let (view, _) = BatchView::parse(&batch).unwrap();
    fake.state().topics.get_mut("c").unwrap()[partition].append(&view).unwrap();
}

fn values(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| format!("value {n}")).collect()
}

/// Transactions of one producer in both partitions, every third aborted, and records without one between them. How many
/// records are committed.
fn fill(fake: &Fake, rounds: usize) -> u64 {
    let mut committed = 0;
    for round in 0..rounds {
        let commit = round % 3 != 2;
        for partition in 0..2 {
            put(fake, partition, &values(round * 10, 3), Some((5_000 + round as i64, 0)), None);
            put(fake, partition, &values(round * 10 + 3, 1), None, None);
            fake.state().topics.get_mut("c").unwrap()[partition].mark(5_000 + round as i64, 0, commit);
            committed += if commit { 4 } else { 1 };
        }
    }
    committed
}

/// The values of a local partition, in order.
fn here(edge: &Edge, topic: &str, partition: i32) -> Vec<String> {
    let partition = edge.broker.topic(topic).unwrap().partition(partition).unwrap();
    let (mut next, mut values) = (0, Vec::new());
    while next < edge.broker.head(partition).unwrap().high_watermark {
        let read = block_on(edge.broker.fetch(partition, next, 1 << 20)).unwrap();
        let mut rest = read.bytes.as_slice();
        while !rest.is_empty() {
            let (view, more) = BatchView::parse(rest).unwrap();
            let payload = decompress(&view, &Default::default()).unwrap();
            let value = |record: brooklet::record::RecordRef<'_>| String::from_utf8(record.value.unwrap().to_vec());
            values.extend(records(&view, &payload).map(|record| value(record.unwrap()).unwrap()));
            rest = more;
        }
        next = read.next_offset;
    }
    values
}

fn assert_same(edge: &Edge, fake: &Fake) {
    for partition in 0..2 {
        assert_eq!(here(edge, "c", partition), fake.values("c", partition as usize), "partition {partition}");
    }
}

#[test]
fn whatever_fails_each_committed_record_comes_down_once() {
    let fake = Fake::start(&[("c", 2)]);
    let mut committed = fill(&fake, 30);
    let faults = [
        Fault::ReplyLost,
        Fault::Cut,
        Fault::Code(6),
        Fault::LeaderMoves,
        Fault::None,
        Fault::Code(-1),
        Fault::Slow(Duration::from_millis(30)),
        Fault::LeaderMoves,
        Fault::ReplyLost,
    ];
    fake.fail_api(ApiKey::Fetch, &faults);
    fake.fail_api(ApiKey::ListOffsets, &[Fault::Cut, Fault::Code(6), Fault::ReplyLost]);
    fake.fail_api(ApiKey::Metadata, &[Fault::Cut, Fault::ReplyLost, Fault::None, Fault::Cut]);
    let edge = Edge::start();
    let down = downlink(&edge, &fake, |config| config.fetch_max_bytes = 1_024);
    wait_records(&down, committed);
    assert_same(&edge, &fake);

    // Another gateway's process goes on from the position, while more comes.
    block_on(down.stop());
    committed += fill_later(&fake);
    let edge = edge.restart();
    let down = downlink(&edge, &fake, |config| config.fetch_max_bytes = 1_024);
    let status = wait_records(&down, 20);
    assert_same(&edge, &fake);
    assert_eq!(status.counts.records, 20, "of {committed} all others were here");
    assert_eq!((status.counts.gaps, status.counts.recreated), (0, 0));
}

/// Ten records more in each partition.
fn fill_later(fake: &Fake) -> u64 {
    (0..2).for_each(|partition| put(fake, partition, &values(900, 10), None, None));
    20
}

#[test]
fn what_came_down_goes_up_only_where_it_is_named_and_never_comes_down_twice() {
    let fake = Fake::start(&[("c", 2)]);
    put(&fake, 0, &values(0, 3), None, None);
    put(&fake, 0, &values(3, 2), None, Some("gw-1"));
    put(&fake, 0, &values(5, 2), None, Some("gw-2"));
    let edge = Edge::start();
    // The local topic is there already, and followed.
    edge.topic("c", 1);
    let other = edge.topic("other", 1);
    edge.produce(&other, 0, &values(0, 3), 1_700_000_000_000);
    let follow_all = edge.uplink(&fake, |config| {
        config.topic = TopicTemplate::parse("up.{topic}").unwrap();
        config.create_topics = true;
    });
    let down = downlink(&edge, &fake, |_| {});
    let status = wait_records(&down, 5);
    assert_eq!(status.counts.looped, 2);
    let expected: Vec<String> = [values(0, 3), values(5, 2)].concat();
    assert_eq!((here(&edge, "c", 0), here(&edge, "c", 1).len()), (expected.clone(), 0));
    let caught_up = |status: &brooklet::uplink::UplinkStatus| {
        status.state == UplinkState::CaughtUp && status.partitions.len() == 1 && status.lag_records == 0
    };
    wait_until(&follow_all, caught_up);
    assert_eq!(fake.values("up.other", 0), values(0, 3));
    assert!(fake.state().topics.get("up.c").is_none_or(|c| c.iter().all(|partition| partition.entries.is_empty())));
    block_on(follow_all.stop());

    let by_name = edge.uplink(&fake, |config| {
        config.topic = TopicTemplate::parse("named.{topic}").unwrap();
        config.topics = vec![TopicPattern::parse("c").unwrap()];
        config.create_topics = true;
    });
    wait_until(&by_name, |status| status.counts.records == 5);
    assert_eq!(fake.values("named.c", 0), expected);
}

#[test]
fn a_topic_that_may_not_be_read_is_named_with_the_remedy_and_holds_up_nobody() {
    let fake = Fake::start(&[("c", 2), ("secret", 1)]);
    let committed = fill(&fake, 2);
    fake.state().denied.push("secret".into());
    let both = |config: &mut DownlinkConfig| {
        config.topics = ["c", "secret", "missing"].map(|name| TopicTemplate::parse(name).unwrap()).to_vec();
    };
    let edge = Edge::start();
    let down = downlink(&edge, &fake, both);
    let status = wait(&down, |status| status.counts.records == committed && status.stalled.len() == 2);
    assert_eq!(status.state, DownlinkState::Stalled);
    let text = format!("{:?}", status.stalled);
    assert!(text.contains("needs READ") && text.contains("create it there"), "{text}");
    assert_same(&edge, &fake);

    let findings = block_on(check_downlink(&options(&fake, both)));
    let failed: Vec<String> =
        findings.iter().filter(|finding| finding.severity == Severity::Fail).map(|f| f.text.clone()).collect();
    assert_eq!(failed.len(), 2, "{findings:?}");
    assert!(failed.iter().any(|text| text.contains("kafka-acls") && text.contains("--topic secret")), "{failed:?}");
    assert!(findings.iter().any(|finding| finding.text == "c may be read"), "{findings:?}");

    fake.state().denied.clear();
    wait(&down, |status| status.stalled.len() == 1);
}

#[test]
fn a_damaged_batch_stops_its_partition_before_it_until_it_is_whole() {
    let fake = Fake::start(&[("c", 2)]);
    put(&fake, 0, &values(0, 3), None, None);
    put(&fake, 0, &values(3, 3), None, None);
    put(&fake, 1, &values(0, 3), None, None);
    let flip = |fake: &Fake| {
        let mut state = fake.state();
        let bytes = &mut state.topics.get_mut("c").unwrap()[0].entries[1].bytes;
        *bytes.last_mut().unwrap() ^= 1;
    };
    flip(&fake);
    let edge = Edge::start();
    let down = downlink(&edge, &fake, |_| {});
    let status = wait(&down, |status| status.state == DownlinkState::Stalled && status.counts.records == 6);
    assert!(status.partitions[0].stalled.as_ref().unwrap().contains("checksum"), "{status:?}");
    assert_eq!((here(&edge, "c", 0), here(&edge, "c", 1)), (values(0, 3), values(0, 3)));
    flip(&fake);
    wait_records(&down, 9);
    assert_same(&edge, &fake);
}

#[test]
fn the_latest_begins_behind_what_is_committed_and_takes_what_is_committed_later() {
    let fake = Fake::start(&[("c", 2)]);
    put(&fake, 0, &values(0, 3), Some((5_000, 0)), None);
    fake.state().topics.get_mut("c").unwrap()[0].mark(5_000, 0, true);
    // Written before the first contact, and committed after it: whoever reads what is committed meets it then.
    put(&fake, 0, &values(3, 2), Some((5_001, 0)), None);
    put(&fake, 1, &values(0, 3), None, None);
    // A leader that doesn't know yet how far its log is committed says so (OFFSET_NOT_AVAILABLE).
    fake.fail_api(ApiKey::ListOffsets, &[Fault::Code(78), Fault::Code(78)]);
    let edge = Edge::start();
    let down = downlink(&edge, &fake, |config| config.from = brooklet::config::DownlinkFrom::Latest);
    wait(&down, |status| status.partitions.len() == 2 && status.partitions.iter().all(|one| one.position.is_some()));
    fake.state().topics.get_mut("c").unwrap()[0].mark(5_001, 0, true);
    put(&fake, 0, &values(5, 2), None, None);
    put(&fake, 1, &values(3, 1), None, None);
    wait_records(&down, 5);
    assert_eq!((here(&edge, "c", 0), here(&edge, "c", 1)), (values(3, 4), values(3, 1)));
}

#[test]
fn what_holds_a_partition_up_is_passed_over_when_an_operator_says_so() {
    let fake = Fake::start(&[("c", 2)]);
    for at in 0..3 {
        put(&fake, 0, &values(at * 3, 3), None, None);
    }
    put(&fake, 1, &values(0, 2), None, None);
    *fake.state().topics.get_mut("c").unwrap()[0].entries[1].bytes.last_mut().unwrap() ^= 1;
    let edge = Edge::start();
    // Longer than the test: it goes on at the operator's word, not when it is tried again.
    let patient = |config: &mut DownlinkConfig| {
        (config.backoff_min, config.backoff_max) = (Duration::from_secs(600), Duration::from_secs(600));
    };
    let down = downlink(&edge, &fake, patient);
    let status = wait(&down, |status| status.state == DownlinkState::Stalled && status.counts.records == 5);
    let why = status.partitions[0].stalled.clone().unwrap();
    assert!(why.contains("brooklet downlink skip centre-down c --partition 0 --to 6"), "{why}");
    for (topic, partition, to, expected) in [
        ("c", Some(0), SkipTo::Offset(3), "nothing comes down twice"),
        ("c", Some(0), SkipTo::Offset(10), "ends at 9"),
        ("c", Some(2), SkipTo::Latest, "no topic c, partition 2"),
        ("d", None, SkipTo::Latest, "(c)"),
        ("c", None, SkipTo::Offset(6), "name one"),
    ] {
        let refused = down.skip(topic, partition, to).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
    down.skip("c", Some(0), SkipTo::Offset(6)).unwrap();
    let status = wait_records(&down, 8);
    assert_eq!((here(&edge, "c", 0), status.counts.gaps), ([values(0, 3), values(6, 3)].concat(), 3));
    // All that is committed by now, of all partitions; and that is durable.
    pause(&down, &fake);
    for partition in 0..2 {
        put(&fake, partition, &values(900, 4), None, None);
    }
    down.skip("c", None, SkipTo::Latest).unwrap();
    down.resume();
    wait(&down, |status| status.counts.gaps == 11 && status.state == DownlinkState::CaughtUp);
    block_on(down.stop());
    let edge = edge.restart();
    let down = downlink(&edge, &fake, |_| {});
    put(&fake, 1, &values(2, 1), None, None);
    wait_records(&down, 1);
    assert_eq!((here(&edge, "c", 0).len(), here(&edge, "c", 1)), (6, values(0, 3)));
}

/// Pauses it, and waits until nothing is under way any more.
fn pause(down: &Downlink, fake: &Fake) {
    down.pause();
    wait(down, |status| status.state == DownlinkState::Paused);
    loop {
        let asked = fake.requests(ApiKey::Fetch);
        thread::sleep(Duration::from_millis(50));
        if fake.requests(ApiKey::Fetch) == asked {
            return;
        }
    }
}

/// A window that is shut for as long as a test runs.
fn never() -> WeekWindow {
    let minute = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60 % 1_440;
    let hour = (minute / 60 + 12) % 24;
    WeekWindow::parse(&format!("{hour:02}:00-{hour:02}:59")).unwrap()
}

#[test]
fn outside_its_schedule_only_urgent_topics_come_down_and_no_budget_is_overdrawn() {
    let fake = Fake::start(&[("c", 2), ("alarms", 1)]);
    let committed = fill(&fake, 2);
    let edge = Edge::start();
    let configs = vec![("brooklet.urgent".to_owned(), "true".to_owned())];
    let urgent = NewTopic { name: "alarms".to_owned(), partitions: Some(1), configs, ..NewTopic::default() };
    block_on(edge.broker.create_topic(urgent)).unwrap();
    let both = |config: &mut DownlinkConfig| {
        config.topics = ["c", "alarms"].map(|name| TopicTemplate::parse(name).unwrap()).to_vec();
    };
    let alarm = |fake: &Fake| {
        let mut builder = BatchBuilder::new();
        builder.push(1_700_000_000_000, None, Some(b"fire".as_slice()), NO_HEADERS).unwrap();
        let batch = builder.finish(Compression::None);
        let (view, _) = BatchView::parse(&batch).unwrap();
        fake.state().topics.get_mut("alarms").unwrap()[0].append(&view).unwrap();
    };
    alarm(&fake);
    let down = downlink(&edge, &fake, |config| {
        both(config);
        config.link.schedule = vec![never()];
    });
    wait(&down, |status| status.counts.records == 1 && status.link.shut.as_deref() == Some("schedule"));
    assert_eq!(here(&edge, "alarms", 0).len(), 1);
    assert!(edge.broker.topic("c").is_none(), "nothing of it was asked for");
    block_on(down.stop());

    // A day's budget: what is over it waits, and the next process knows.
    let budget = |config: &mut DownlinkConfig| {
        both(config);
        config.fetch_max_bytes = 1_024;
        config.link.budget = LinkBudget::parse("64KiB/day");
    };
    for _ in 0..400 {
        let value: String = (0..400).map(|_| fastrand::alphanumeric()).collect();
        put(&fake, 0, &[value], None, None);
    }
    let down = downlink(&edge, &fake, budget);
    let shut = wait(&down, |status| status.link.shut.as_deref() == Some("budget"));
    let used = shut.link.budget.unwrap();
    assert!(used.used_bytes >= used.limit_bytes && used.used_bytes < used.limit_bytes * 3 / 2, "{used:?}");
    block_on(down.stop());
    let before = here(&edge, "c", 0).len();
    let down = downlink(&edge, &fake, budget);
    wait(&down, |status| status.link.shut.as_deref() == Some("budget"));
    alarm(&fake);
    wait(&down, |_| here(&edge, "alarms", 0).len() == 2);
    assert_eq!(here(&edge, "c", 0).len(), before);
    block_on(down.stop());
    let down = downlink(&edge, &fake, both);
    wait(&down, |status| status.state == DownlinkState::CaughtUp);
    assert_same(&edge, &fake);
    assert!(here(&edge, "c", 0).len() + here(&edge, "c", 1).len() == committed as usize + 400);
}

#[test]
fn no_more_comes_than_the_rate_allows() {
    let fake = Fake::start(&[("c", 2)]);
    for partition in 0..2 {
        for at in 0..8 {
            let value: String = (0..8_000).map(|_| fastrand::alphanumeric()).collect();
            put(&fake, partition, &[format!("{at} {value}")], None, None);
        }
    }
    let edge = Edge::start();
    let begin = Instant::now();
    let down = downlink(&edge, &fake, |config| {
        config.fetch_max_bytes = 8_192;
        config.link.rate_limit = Some(60_000);
    });
    let status = wait_records(&down, 16);
    // Not sooner than the rate allows, but for what may come ahead: one answer of each broker and the burst.
    let least = (status.link.bytes_received as f64 - 2.0 * 12_000.0 - 6_000.0) / 60_000.0;
    assert!(begin.elapsed().as_secs_f64() > least, "{:?} for {:?}", begin.elapsed(), status.link);
    assert_same(&edge, &fake);
}

#[test]
fn partitions_fold_onto_those_that_the_local_topic_has() {
    let fake = Fake::start(&[("c", 3)]);
    for partition in 0..3 {
        put(&fake, partition, &[format!("p{partition}")], None, None);
    }
    let edge = Edge::start();
    edge.topic("down.c.gw-1", 2);
    let down = downlink(&edge, &fake, |config| {
        config.topic = TopicTemplate::parse("down.{topic}.{gateway}").unwrap();
        config.partitioning = brooklet::config::DownlinkPartitioning::Modulo;
    });
    wait_records(&down, 3);
    let mut first = here(&edge, "down.c.gw-1", 0);
    first.sort();
    assert_eq!((first, here(&edge, "down.c.gw-1", 1)), (vec!["p0".to_owned(), "p2".to_owned()], vec!["p1".to_owned()]));
    // Deleted by somebody, it is made again, and the position stands: nothing comes twice.
    block_on(edge.broker.delete_topic("down.c.gw-1")).unwrap();
    put(&fake, 0, &["later".to_owned()], None, None);
    wait_records(&down, 4);
    assert_eq!(here(&edge, "down.c.gw-1", 0), ["later"]);
}

#[test]
fn paused_nothing_comes_down() {
    let fake = Fake::start(&[("c", 2)]);
    put(&fake, 0, &values(0, 3), None, None);
    let edge = Edge::start();
    let down = downlink(&edge, &fake, |_| {});
    wait_records(&down, 3);
    pause(&down, &fake);
    let asked = fake.requests(ApiKey::Fetch);
    put(&fake, 0, &values(3, 3), None, None);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(fake.requests(ApiKey::Fetch), asked);
    down.resume();
    wait_records(&down, 6);
    assert_same(&edge, &fake);
}

#[test]
fn what_the_link_was_is_remembered() {
    let fake = Fake::start(&[("c", 1)]);
    let edge = Edge::start();
    let downlink = downlink(&edge, &fake, |_| {});
    let reaches = |wanted| wait(&downlink, |status| status.state == wanted);
    reaches(DownlinkState::CaughtUp);
    downlink.pause();
    reaches(DownlinkState::Paused);
    downlink.resume();
    let history = reaches(DownlinkState::CaughtUp).history;
    let words: Vec<&str> = history.iter().map(|change| change.link.as_str()).collect();
    assert!(words.ends_with(&["up", "paused", "up"]), "{words:?}");
    assert!(history.iter().all(|change| change.at_ms > 0));
    block_on(downlink.stop());
    assert_eq!(downlink.status().history.last().map(|change| change.link.clone()), Some("stopped".to_owned()));
}
