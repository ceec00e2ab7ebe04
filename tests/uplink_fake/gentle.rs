//! The uplink on a link that may not be used at will, or is not there.

use std::io::{Read, Write};
use std::net::TcpListener;

use brooklet::config::{LinkBudget, WeekWindow};

use super::*;

fn urgent_topic(edge: &Edge, name: &str) -> Arc<Topic> {
    let configs = vec![("brooklet.urgent".to_owned(), "true".to_owned())];
    let new = NewTopic { name: name.to_owned(), partitions: Some(1), configs, ..NewTopic::default() };
    block_on(edge.broker.create_topic(new)).unwrap()
}

fn arrived(fake: &Fake, topic: &str) -> usize {
    fake.values(topic, 0).len()
}

/// An address on which every connection gets this answer.
fn answering(answer: &'static [u8]) -> HostPort {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(answer);
            let _ = stream.read(&mut [0; 512]);
        }
    });
    HostPort { host: "127.0.0.1".into(), port }
}

#[test]
fn at_the_end_of_the_budget_only_what_is_urgent_goes_until_the_next_day() {
    let clock = Arc::new(ManualClock::new(1_000, WALL_FLOOR_MS));
    let edge = Edge::with_clock(tempfile::tempdir().unwrap(), clock.clone());
    let fake = Fake::start(&[("t", 1), ("alarms", 1)]);
    let (topic, alarms) = (edge.topic("t", 1), urgent_topic(&edge, "alarms"));
    // Far more than the budget.
    for _ in 0..12 {
        let value: String = (0..20_000).map(|_| fastrand::alphanumeric()).collect();
        edge.produce(&topic, 0, &[value], WALL_FLOOR_MS);
    }
    let uplink = edge.uplink(&fake, |config| config.link.budget = LinkBudget::parse("64KiB/day"));
    let shut = wait_until(&uplink, |status| status.link.shut.as_deref() == Some("budget"));
    assert!(shut.lag_records > 0 && shut.lag_bytes > 0, "{}", shut.to_json());
    let budget = shut.link.budget.unwrap();
    assert!(budget.used_bytes >= budget.limit_bytes && shut.link.shut_until_ms.is_some());
    let alarm = |uplink: &Uplink, n: usize| {
        edge.produce(&alarms, 0, &[format!("fire {n}")], WALL_FLOOR_MS);
        let gone = |status: &UplinkStatus| status.partitions.iter().any(|p| p.topic == "alarms" && p.lag_records == 0);
        wait_until(uplink, gone);
        assert_eq!(arrived(&fake, "alarms"), n);
    };
    (1..4).for_each(|n| alarm(&uplink, n));
    // What was under way when it shut has arrived by then. A restart changes nothing.
    block_on(uplink.stop());
    let before = arrived(&fake, "t");
    let uplink = edge.uplink(&fake, |config| config.link.budget = LinkBudget::parse("64KiB/day"));
    wait_until(&uplink, |status| status.link.shut.as_deref() == Some("budget"));
    (4..6).for_each(|n| alarm(&uplink, n));
    assert_eq!(arrived(&fake, "t"), before);
    block_on(uplink.stop());
    assert_eq!(arrived(&fake, "t"), before);
    // On the next day it goes on.
    clock.advance_ms(24 * 3_600_000);
    let uplink = edge.uplink(&fake, |config| config.link.budget = LinkBudget::parse("10MiB/day"));
    wait_caught_up(&uplink);
    assert_eq!(arrived(&fake, "t"), 12);
}

#[test]
fn outside_the_schedule_records_wait_and_urgent_ones_do_not() {
    // The floor is a Sunday, 00:00.
    let clock = Arc::new(ManualClock::new(1_000, WALL_FLOOR_MS));
    let edge = Edge::with_clock(tempfile::tempdir().unwrap(), clock.clone());
    let fake = Fake::start(&[("t", 1), ("alarms", 1)]);
    let (topic, alarms) = (edge.topic("t", 1), urgent_topic(&edge, "alarms"));
    edge.fill(&topic, 0..5);
    edge.fill(&alarms, 0..2);
    let scheduled = |config: &mut UplinkConfig| config.link.schedule = vec![WeekWindow::parse("02:00-04:00").unwrap()];
    let uplink = edge.uplink(&fake, scheduled);
    wait_until(&uplink, |status| status.partitions.iter().any(|p| p.topic == "alarms" && p.position == 6));
    let status = wait_until(&uplink, |status| status.link.shut.as_deref() == Some("schedule"));
    assert_eq!((arrived(&fake, "t"), status.lag_records), (0, 15));
    block_on(uplink.stop());
    clock.advance_ms(3 * 3_600_000);
    let uplink = edge.uplink(&fake, scheduled);
    wait_caught_up(&uplink);
    assert_eq!((arrived(&fake, "t"), arrived(&fake, "alarms")), (15, 6));
}

#[test]
fn a_rate_is_kept_and_everything_arrives() {
    let edge = Edge::start();
    let fake = Fake::start(&[("t", 1)]);
    let topic = edge.topic("t", 1);
    for n in 0..8 {
        edge.produce(&topic, 0, &[format!("{n}{}", "y".repeat(20_000))], 1_700_000_000_000);
    }
    let begin = Instant::now();
    let uplink = edge.uplink(&fake, |config| {
        config.link.rate_limit = Some(100_000);
        config.compression = brooklet::config::Compression::None;
    });
    // Figures of the link are told a moment after the positions.
    let status = wait_until(&uplink, |status| status.lag_records == 0 && status.link.bytes_sent > 160_000);
    assert!(status.link.bytes_on_wire > status.link.bytes_sent);
    // Not sooner than the rate allows; how much later is the machine's business.
    let least = (status.link.bytes_sent as f64 - 20_000.0) / 100_000.0;
    assert!(begin.elapsed().as_secs_f64() > least, "{:?}", begin.elapsed());
    assert_eq!(arrived(&fake, "t"), 8);
}

#[test]
fn what_answers_in_the_brokers_place_is_named() {
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    edge.fill(&topic, 0..1);
    let fake = Fake::start(&[("t", 1)]);
    for (answer, expected) in [
        (b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n".as_slice(), "captive portal"),
        (b"<!DOCTYPE html><html>Please log in</html>", "captive portal"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "TLS"),
        (b"\x00\x00\x00\x04\xde\xad\xbe\xef", "out of order"),
    ] {
        let address = answering(answer);
        let uplink = edge.uplink(&fake, |config| config.bootstrap = vec![address]);
        let status = wait_until(&uplink, |status| status.last_error.is_some());
        let error = status.last_error.unwrap().text;
        assert!(error.contains(expected) && error.contains("127.0.0.1:"), "{error}");
        assert_eq!(status.lag_records, 3);
        block_on(uplink.stop());
    }
    // Once the broker is there, it goes on.
    let uplink = edge.uplink(&fake, |_| {});
    wait_caught_up(&uplink);
}

#[test]
fn an_idle_link_is_asked_something_small_and_nothing_else() {
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    edge.fill(&topic, 0..1);
    let fake = Fake::start(&[("t", 1)]);
    let uplink = edge.uplink(&fake, |config| {
        config.link.keepalive = Some(Duration::from_millis(20));
        config.link.metadata_refresh = Duration::from_millis(1);
    });
    let begin = wait_caught_up(&uplink).link;
    wait_until(&uplink, |status| status.link.bytes_sent > begin.bytes_sent + 200);
    let end = uplink.status();
    let (sent, received) = (end.link.bytes_sent - begin.bytes_sent, end.link.bytes_received - begin.bytes_received);
    // The brokers' addresses, not the topics'.
    assert!(received < 4 * sent, "{sent} sent, {received} received");
    assert_eq!((end.state, end.counts.failures), (UplinkState::CaughtUp, 0));
    let quiet = edge.uplink(&fake, |config| config.link.keepalive = None);
    let before = wait_caught_up(&quiet).link.bytes_sent;
    thread::sleep(Duration::from_millis(200));
    assert_eq!(quiet.status().link.bytes_sent, before);
}
