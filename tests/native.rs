//! The native client against a real gateway in this process: restarts, fencing, refusals, reading, administration.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brooklet::client::{
    Address, ClientError, Connection, ConsumeOptions, Consumer, FetchOptions, OwnedRecord, Publisher, PublisherOptions,
};
use brooklet::config::{Config, DiskBudget};
use brooklet::device::Reading;
use brooklet::frame::{AckLevel, ErrorCode, Position};
use brooklet::gateway::{Gateway, SOCKET_NAME};
use futures_lite::{FutureExt, future};
use smol::block_on;
use tempfile::TempDir;

/// A gateway whose directory and address stay over restarts.
struct Home {
    config: Config,
    gateway: Option<Gateway>,
    _directory: TempDir,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: directory.path().join("data"), ..Config::default() };
        config.store.max_bytes = DiskBudget::Bytes(64 * 1024 * 1024);
        config.listen.kafka.enabled = false;
        config.listen.mqtt.enabled = false;
        config.listen.native.addr = "127.0.0.1:0".parse().unwrap();
        let gateway = Gateway::start(&config).unwrap();
        config.listen.native.addr = gateway.native_addr().unwrap();
        Self { config, gateway: Some(gateway), _directory: directory }
    }

    fn address(&self) -> Address {
        self.config.listen.native.addr.to_string().parse().unwrap()
    }

    fn stop(&mut self) {
        self.gateway.take().unwrap().stop();
    }

    fn start(&mut self) {
        self.gateway = Some(Gateway::start(&self.config).unwrap());
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop();
        }
    }
}

async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    let too_late = async {
        smol::Timer::after(Duration::from_secs(seconds)).await;
        panic!("not within {seconds} s")
    };
    future.or(too_late).await
}

async fn read_all(address: &Address, topic: &str) -> Vec<OwnedRecord> {
    let mut consumer = Consumer::open(address, topic, ConsumeOptions::default()).await.unwrap();
    let mut records = Vec::new();
    while let Some(record) = consumer.next().await.unwrap() {
        records.push(record);
    }
    records
}

fn text(bytes: Option<&Vec<u8>>) -> String {
    String::from_utf8(bytes.unwrap().clone()).unwrap()
}

#[test]
fn several_devices_lose_and_repeat_nothing_over_restarts_of_the_gateway() {
    const EACH: usize = 3_000;
    let mut home = Home::new();
    let address = home.address();
    block_on(within(120, async {
        let mut connection = Connection::open(&address, "admin").await.unwrap();
        connection.create_topic("readings", 3, &[]).await.unwrap();
    }));
    let restarted = Arc::new(AtomicBool::new(false));
    let devices: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|name| {
            let (address, restarted) = (address.clone(), Arc::clone(&restarted));
            std::thread::spawn(move || {
                block_on(within(120, async {
                    let options = PublisherOptions { in_flight_max: 50, ..PublisherOptions::new(name) };
                    let publisher = Publisher::open(&address, options).await.unwrap();
                    let topic = publisher.topic("readings").unwrap();
                    for number in 0..EACH {
                        publisher.publish(&Reading::new(topic, number.to_string().as_bytes())).await.unwrap();
                        if number % 100 == 0 {
                            smol::Timer::after(Duration::from_millis(30)).await;
                        }
                        // Nobody is through before the first restart.
                        while number + 2 == EACH && !restarted.load(Ordering::Acquire) {
                            smol::Timer::after(Duration::from_millis(30)).await;
                        }
                    }
                    publisher.flush().await.unwrap();
                    publisher.progress()
                }))
            })
        })
        .collect();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(250));
        home.stop();
        std::thread::sleep(Duration::from_millis(50));
        home.start();
        restarted.store(true, Ordering::Release);
    }
    for device in devices {
        let progress = device.join().unwrap();
        assert_eq!((progress.settled, progress.refused), (EACH as u64, 0), "{progress:?}");
        assert!(progress.connections >= 2, "{progress:?}");
    }
    let records = block_on(within(120, read_all(&address, "readings")));
    let mut by_device: HashMap<String, Vec<String>> = HashMap::new();
    for record in &records {
        // Without a key of its own a record has its client's id.
        by_device.entry(text(record.key.as_ref())).or_default().push(text(record.value.as_ref()));
    }
    let expected: Vec<String> = (0..EACH).map(|number| number.to_string()).collect();
    assert_eq!(by_device.len(), 4);
    assert!(by_device.values().all(|values| *values == expected), "each once, in order");
}

#[test]
fn a_newer_connection_fences_and_a_too_large_record_is_refused_alone() {
    let home = Home::new();
    block_on(within(120, async {
        let mut connection = Connection::open(&home.address(), "admin").await.unwrap();
        connection.create_topic("t", 1, &[("max.message.bytes", "20000")]).await.unwrap();
        let first = Publisher::open(&home.address(), PublisherOptions::new("same")).await.unwrap();
        let topic = first.topic("t").unwrap();
        let large = vec![b'x'; 60_000];
        for value in [b"1".as_slice(), &large, b"2", b"3"] {
            first.publish(&Reading::new(topic, value)).await.unwrap();
        }
        first.flush().await.unwrap();
        assert_eq!(first.progress().refused, 1);

        let second = Publisher::open(&home.address(), PublisherOptions::new("same")).await.unwrap();
        let error = loop {
            match first.publish(&Reading::new(topic, b"late")).await {
                Ok(_) => smol::Timer::after(Duration::from_millis(10)).await,
                Err(error) => break error,
            };
        };
        assert!(matches!(error, ClientError::Refused(ErrorCode::Fenced, _)), "{error}");
        let topic = second.topic("t").unwrap();
        second.publish(&Reading::new(topic, b"4")).await.unwrap();
        second.flush().await.unwrap();
        let values: Vec<String> = read_all(&home.address(), "t").await.iter().map(|r| text(r.value.as_ref())).collect();
        let kept: Vec<&str> = values.iter().map(String::as_str).filter(|value| *value != "late").collect();
        assert_eq!(kept, ["1", "2", "3", "4"]);
    }));
}

#[test]
fn memory_is_acknowledged_and_followers_see_what_is_committed() {
    let home = Home::new();
    block_on(within(120, async {
        let options = PublisherOptions { level: AckLevel::Memory, ..PublisherOptions::new("m") };
        let publisher = Publisher::open(&home.address(), options).await.unwrap();
        let topic = publisher.topic("live").unwrap();
        publisher.publish(&Reading::new(topic, b"0")).await.unwrap();
        publisher.flush().await.unwrap();
        let options = ConsumeOptions { follow: true, credit_bytes: 200, ..ConsumeOptions::default() };
        let consume = async {
            let mut consumer = Consumer::open(&home.address(), "live", options).await.unwrap();
            for number in 0..500 {
                assert_eq!(text(consumer.next().await.unwrap().unwrap().value.as_ref()), number.to_string());
            }
        };
        let produce = async {
            for number in 1..500 {
                publisher.publish(&Reading::new(topic, number.to_string().as_bytes())).await.unwrap();
                if number % 50 == 0 {
                    smol::Timer::after(Duration::from_millis(20)).await;
                }
            }
        };
        future::zip(consume, produce).await;
    }));
}

#[test]
fn administration_goes_by_tcp_and_by_the_local_socket() {
    let home = Home::new();
    let local = Address::Unix(home.config.data_dir.join(SOCKET_NAME));
    for (round, address) in [home.address(), local].iter().enumerate() {
        block_on(within(120, async {
            let mut connection = Connection::open(address, "admin").await.unwrap();
            let name = format!("topic-{round}");
            connection.create_topic(&name, 2, &[("retention.ms", "3600000")]).await.unwrap();
            let error = connection.create_topic(&name, 2, &[]).await.unwrap_err();
            assert!(matches!(error, ClientError::Refused(ErrorCode::TopicExists, _)), "{error}");
            let error = connection.create_topic("no/slash", 1, &[]).await.unwrap_err();
            assert!(matches!(error, ClientError::Refused(ErrorCode::InvalidTopic, _)), "{error}");
            assert!(connection.topics().await.unwrap().iter().any(|topic| topic.name == name && topic.partitions == 2));
            let configs = connection.topic(&name).await.unwrap().configs;
            assert!(configs.contains(&("retention.ms".to_owned(), "3600000".to_owned())), "{configs:?}");
            connection.alter_topic(&name, Some(3), &[]).await.unwrap();
            assert_eq!(connection.topic(&name).await.unwrap().partitions, 3);
            let offsets = connection.offsets(&name, 2, Position::End).await.unwrap();
            assert_eq!((offsets.log_start, offsets.high_watermark, offsets.offset), (0, 0, 0));
            let error = connection.offsets(&name, 3, Position::End).await.unwrap_err();
            assert!(matches!(error, ClientError::Refused(ErrorCode::UnknownPartition, _)), "{error}");
            connection.commit_offset("group", &name, 1, 0).await.unwrap();
            assert_eq!(connection.read_offset("group", &name, 1).await.unwrap(), Some(0));
            assert_eq!(connection.read_offset("group", &name, 0).await.unwrap(), None);
            let options = FetchOptions { wait_ms: 50, ..FetchOptions::default() };
            let fetched = connection.fetch(&name, 0, Position::Beginning, options).await.unwrap();
            assert_eq!((fetched.records.len(), fetched.next_offset), (0, 0));
            assert!(connection.status().await.unwrap().starts_with('{'));
            connection.delete_topic(&name).await.unwrap();
            let error = connection.topic(&name).await.unwrap_err();
            assert!(matches!(error, ClientError::Refused(ErrorCode::UnknownTopic, _)), "{error}");
        }));
    }
}
