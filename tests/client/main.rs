//! The std client against a small gateway built on the codec.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

mod gateway;

use std::time::Duration;

use brooklet::client::{
    Address, ClientError, Connection, ConsumeOptions, Consumer, FetchOptions, Publisher, PublisherOptions,
};
use brooklet::device::{Reading, Stamp};
use brooklet::frame::{AckLevel, ErrorCode, Position, UplinkAction};
use futures_lite::FutureExt;
use gateway::{Gateway, Stored};
use smol::block_on;

/// An end to waiting in vain, seconds.
const SOON_S: u64 = 120;

async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    let too_late = async {
        smol::Timer::after(Duration::from_secs(seconds)).await;
        panic!("not within {seconds} s")
    };
    future.or(too_late).await
}

fn filled(gateway: &Gateway, topic: &str, count: usize) {
    let record = |number: usize| Stored {
        timestamp: Some(1_000 + number as i64),
        key: None,
        value: number.to_string().into_bytes(),
    };
    gateway.kept().topics.insert(topic.to_owned(), (0..count).map(record).collect());
}

#[test]
fn what_is_published_arrives_once_though_connections_break() {
    let gateway = Gateway::start();
    gateway.kept().breaks = 6;
    block_on(within(SOON_S, async {
        let options = PublisherOptions { waiting_bytes_max: 1_024, ..PublisherOptions::new("cli-1") };
        let publisher = Publisher::open(&gateway.address, options).await.unwrap();
        let topic = publisher.topic("readings").unwrap();
        for number in 0..5_000u32 {
            let value = number.to_string();
            let reading = Reading::new(topic, value.as_bytes()).at(Stamp::Wall(1_795_000_000_000 + i64::from(number)));
            assert_eq!(publisher.publish(&reading).await.unwrap(), u64::from(number) + 1);
        }
        publisher.flush().await.unwrap();
        let progress = publisher.progress();
        assert_eq!((progress.accepted, progress.settled, progress.refused), (5_000, 5_000, 0));
        assert!(progress.connections > 3, "{progress:?}");
    }));
    assert_eq!(gateway.kept().breaks, 0);
    assert_eq!(gateway.values("readings"), (0..5_000).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(gateway.kept().topics["readings"][4_999].timestamp, Some(1_795_000_004_999));
}

#[test]
fn upstream_and_refusals_are_told() {
    let gateway = Gateway::start();
    block_on(within(SOON_S, async {
        let options = PublisherOptions { level: AckLevel::Upstream, ..PublisherOptions::new("cli-1") };
        let publisher = Publisher::open(&gateway.address, options).await.unwrap();
        let (good, bad) = (publisher.topic("good").unwrap(), publisher.topic("forbidden").unwrap());
        publisher.publish(&Reading::new(good, b"1")).await.unwrap();
        publisher.publish(&Reading::new(bad, b"2")).await.unwrap();
        let last = publisher.publish(&Reading { key: Some(b"k"), ..Reading::new(good, b"3") }).await.unwrap();
        publisher.upstream(last).await.unwrap();
        publisher.flush().await.unwrap();
        assert_eq!(publisher.progress().refused, 1);
        assert!(publisher.take_trouble().unwrap().contains("not yours"));
        let large = vec![0; 2 * 1024 * 1024];
        let error = publisher.publish(&Reading::new(good, &large)).await.unwrap_err();
        assert!(matches!(error, ClientError::Invalid(_)), "{error}");
    }));
    assert_eq!(gateway.values("good"), ["1", "3"]);
}

#[test]
fn a_second_publisher_of_the_same_id_fences_the_first() {
    let gateway = Gateway::start();
    block_on(within(SOON_S, async {
        let first = Publisher::open(&gateway.address, PublisherOptions::new("same")).await.unwrap();
        let second = Publisher::open(&gateway.address, PublisherOptions::new("same")).await.unwrap();
        let topic = first.topic("t").unwrap();
        while first.progress().connected {
            first.changed().await;
        }
        let error = first.publish(&Reading::new(topic, b"x")).await.unwrap_err();
        assert!(matches!(error, ClientError::Refused(ErrorCode::Fenced, _)), "{error}");
        let topic = second.topic("t").unwrap();
        second.publish(&Reading::new(topic, b"y")).await.unwrap();
        second.flush().await.unwrap();
    }));
    assert_eq!(gateway.values("t"), ["y"]);
}

#[test]
fn a_topic_is_read_to_its_end_within_a_small_credit() {
    let gateway = Gateway::start();
    filled(&gateway, "readings", 3_000);
    block_on(within(SOON_S, async {
        let group = Some("g".to_owned());
        let options = ConsumeOptions { credit_bytes: 600, group, partition: Some(0), ..ConsumeOptions::default() };
        let mut consumer = Consumer::open(&gateway.address, "readings", options.clone()).await.unwrap();
        for number in 0..1_000 {
            let record = consumer.next().await.unwrap().unwrap();
            assert_eq!((record.offset, record.timestamp), (number, Some(1_000 + number)));
        }
        consumer.commit().await.unwrap();
        let mut consumer = Consumer::open(&gateway.address, "readings", options).await.unwrap();
        let mut numbers = 1_000..;
        while let Some(record) = consumer.next().await.unwrap() {
            assert_eq!(record.offset, numbers.next().unwrap(), "goes on at the group's position");
        }
        assert_eq!(numbers.next(), Some(3_000));
        consumer.commit().await.unwrap();
    }));
    assert_eq!(gateway.kept().offsets[&("g".to_owned(), "readings".to_owned())], 3_000);
}

#[test]
fn following_goes_on_over_broken_connections_and_keeps_idle_ones_open() {
    let gateway = Gateway::start();
    filled(&gateway, "readings", 10);
    block_on(within(SOON_S, async {
        let options = ConsumeOptions { follow: true, ..ConsumeOptions::default() };
        let mut consumer = Consumer::open(&gateway.address, "readings", options).await.unwrap();
        for round in 0..4i64 {
            for number in 0..10 {
                assert_eq!(consumer.next().await.unwrap().unwrap().offset, round * 10 + number);
            }
            if round % 2 == 0 {
                gateway.cut();
            }
            let more = gateway.kept().topics["readings"][..10].to_vec();
            if round == 1 {
                // Longer than the gateway's idle time: pings keep the connection.
                let silence = async { smol::Timer::after(Duration::from_millis(4_000)).await };
                assert!(
                    async { Some(consumer.next().await) }
                        .or(async {
                            silence.await;
                            None
                        })
                        .await
                        .is_none()
                );
            }
            gateway.kept().topics.get_mut("readings").unwrap().extend(more);
        }
        assert_eq!(gateway.kept().hellos, 3, "one, and one after each cut: silence has broken none");
    }));
}

#[test]
fn requests_are_answered() {
    let gateway = Gateway::start();
    block_on(within(SOON_S, async {
        let mut connection = Connection::open(&gateway.address, "cli").await.unwrap();
        assert_eq!(connection.gateway().id, "fake");
        connection.create_topic("a", 1, &[("retention.ms", "1000")]).await.unwrap();
        let error = connection.create_topic("a", 1, &[]).await.unwrap_err();
        assert!(matches!(error, ClientError::Refused(ErrorCode::TopicExists, _)), "{error}");
        connection.alter_topic("a", None, &[("retention.bytes", "5")]).await.unwrap();
        assert_eq!(connection.topic("a").await.unwrap().configs, [("retention.bytes".to_owned(), "5".to_owned())]);
        assert_eq!(connection.topic("nix").await.unwrap_err().to_string(), "no such topic; create it");
        filled(&gateway, "b", 5);
        let names: Vec<String> = connection.topics().await.unwrap().into_iter().map(|topic| topic.name).collect();
        assert_eq!(names, ["a", "b"]);
        let offsets = connection.offsets("b", 0, Position::End).await.unwrap();
        assert_eq!((offsets.log_start, offsets.high_watermark, offsets.offset), (0, 5, 5));
        let fetched = connection.fetch("b", 0, Position::Offset(3), FetchOptions::default()).await.unwrap();
        assert_eq!((fetched.records.len(), fetched.next_offset), (2, 5));
        assert_eq!(fetched.records[1].value.as_deref(), Some(b"4".as_slice()));
        assert_eq!(connection.read_offset("g", "b", 0).await.unwrap(), None);
        connection.commit_offset("g", "b", 0, 3).await.unwrap();
        assert_eq!(connection.read_offset("g", "b", 0).await.unwrap(), Some(3));
        assert_eq!(connection.status().await.unwrap(), "{\"a\":1}");
        assert_eq!(connection.uplink(UplinkAction::Check, "main").await.unwrap(), "Check main");
        connection.delete_topic("a").await.unwrap();
        let large = "x".repeat(5_000);
        let error = connection.create_topic(&large, 1, &[]).await.unwrap_err();
        assert!(matches!(error, ClientError::Invalid(_)), "{error}");
        assert_eq!(connection.topics().await.unwrap().len(), 1, "nothing of it was sent");
    }));
}

#[test]
fn errors_name_the_address_and_what_to_do() {
    block_on(within(SOON_S, async {
        // Nobody listens there, and no test is given it.
        let address: Address = "127.0.0.1:1".parse().unwrap();
        let error = Connection::open(&address, "cli").await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&address.to_string()) && text.contains("brooklet serve"), "{text}");
        assert!(error.is_passing());
        let error = Publisher::open(&address, PublisherOptions::new("cli")).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect(..)), "{error}");

        // Something that speaks another protocol.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut stream, b"\x05hello, who is there?").unwrap();
            std::thread::sleep(Duration::from_secs(1));
        });
        let error = Connection::open(&address, "cli").await.unwrap_err();
        assert!(error.to_string().contains("is it the right port?"), "{error}");
    }));
}

#[test]
fn a_unix_socket_does_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let accepted = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0; 3];
        std::io::Read::read_exact(&mut stream, &mut byte).unwrap();
        byte
    });
    block_on(within(SOON_S, async {
        let address: Address = path.display().to_string().parse().unwrap();
        let error = Connection::open(&address, "cli").await.unwrap_err();
        assert!(error.to_string().starts_with("lost the connection to unix:"), "{error}");
    }));
    assert_eq!(accepted.join().unwrap()[1..], [1, b'b'], "a Hello");
}
