//! The uplink over a real store, into a Kafka cluster in this process that fails in every way it is told to.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests"
)]

#[path = "../by_hand/mod.rs"]
mod by_hand;
mod chance;
mod changed;
mod distrust;
mod door;
mod downlink;
mod exactly;
mod faithful;
mod fake;
mod garbage;
mod gentle;
mod least;
mod letters;
mod notices;
mod tier;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use brooklet::broker::{Acks, Broker, BrokerOptions, NewRecord, NewTopic, Topic};
use brooklet::config::{Delivery, HostPort, Labels, Partitioning, TopicPattern, UplinkConfig};
use brooklet::executor::Executor;
use brooklet::kafka::api::ApiKey;
use brooklet::record::{BatchBuilder, Compression, NO_HEADERS};
use brooklet::store::clock::{Clock, ManualClock, RealClock, WALL_FLOOR_MS, WallTrust};
use brooklet::store::disk::RealDisk;
use brooklet::store::{EngineHandle, Store, StoreOptions};
use brooklet::tls::LinkTls;
use brooklet::uplink::{Uplink, UplinkOptions, UplinkState, UplinkStatus, check};
use fake::{Fake, Fault};
use smol::block_on;

/// An end to waiting in vain: no promise.
const SOON: Duration = Duration::from_secs(120);

/// A gateway without listeners.
struct Edge {
    dir: tempfile::TempDir,
    broker: Broker,
    engine: Option<EngineHandle>,
    executor: Arc<Executor>,
    stop: async_channel::Sender<()>,
}

impl Edge {
    fn start() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    fn on(dir: tempfile::TempDir) -> Self {
        Self::with_clock(dir, Arc::new(RealClock::new(WallTrust::Always)))
    }

    fn with_clock(dir: tempfile::TempDir, clock: Arc<dyn Clock>) -> Self {
        let mut options = StoreOptions::new(dir.path());
        options.max_bytes = Some(64 << 20);
        let (store, engine) = Store::open(options, Arc::new(RealDisk::new()), clock).unwrap();
        let engine = engine.spawn().unwrap();
        let broker = Broker::new(store, BrokerOptions::default()).unwrap();
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = async_channel::bounded::<()>(1);
        let on_thread = Arc::clone(&executor);
        thread::spawn(move || block_on(on_thread.run(stopped.recv())));
        Self { dir, broker, engine: Some(engine), executor, stop }
    }

    fn topic(&self, name: &str, partitions: u32) -> Arc<Topic> {
        let new = NewTopic { name: name.to_owned(), partitions: Some(partitions), ..NewTopic::default() };
        block_on(self.broker.create_topic(new)).unwrap()
    }

    /// Appends a batch with these values, each its own key.
    fn produce(&self, topic: &Topic, partition: i32, values: &[String], timestamp: i64) {
        let mut builder = BatchBuilder::new();
        for value in values {
            builder.push(timestamp, Some(value.as_bytes()), Some(value.as_bytes()), NO_HEADERS).unwrap();
        }
        let batch = builder.finish(Compression::Lz4);
        block_on(async { self.broker.produce(topic, partition, batch, Acks::Flash).await.unwrap().wait().await })
            .unwrap();
    }

    /// Batches of three records in each partition, as many as `numbers` has; their values, by partition.
    fn fill(&self, topic: &Topic, numbers: Range<usize>) -> Vec<Vec<String>> {
        let mut all = vec![Vec::new(); topic.partitions.len()];
        for at in numbers {
            for (partition, sent) in all.iter_mut().enumerate() {
                let values: Vec<String> =
                    (0..3).map(|i| format!("{}-{partition}-{}", topic.name, at * 3 + i)).collect();
                self.produce(topic, partition as i32, &values, 1_700_000_000_000);
                sent.extend(values);
            }
        }
        all
    }

    fn uplink(&self, fake: &Fake, change: impl FnOnce(&mut UplinkConfig)) -> Uplink {
        let options = options(fake, change);
        Uplink::spawn(&self.executor, self.broker.clone(), options)
    }

    /// An uplink of the gateway of this name.
    fn uplink_as(&self, gateway: &str, config: UplinkConfig) -> Uplink {
        Uplink::spawn(&self.executor, self.broker.clone(), Self::options_as(gateway, config))
    }

    fn options_as(gateway: &str, config: UplinkConfig) -> UplinkOptions {
        UplinkOptions {
            name: "centre".into(),
            gateway: gateway.into(),
            labels: Labels::default(),
            config,
            tls: LinkTls::default(),
            about: Arc::default(),
        }
    }

    /// Closes the store as a clean stop does, and opens it again.
    fn restart(mut self) -> Self {
        self.close();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        drop(self);
        Self::on(dir)
    }

    fn close(&mut self) {
        self.stop.close();
        self.broker.store().shutdown();
        if let Some(engine) = self.engine.take() {
            engine.join();
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.close();
    }
}

fn options(fake: &Fake, change: impl FnOnce(&mut UplinkConfig)) -> UplinkOptions {
    let address = fake.bootstrap();
    let mut config = UplinkConfig::to(vec![HostPort { host: address.ip().to_string(), port: address.port() }]);
    config.delivery = Delivery::AtLeastOnce;
    config.commit_every = Duration::from_millis(10);
    config.linger = Duration::from_millis(5);
    config.backoff_min = Duration::from_millis(20);
    config.backoff_max = Duration::from_millis(200);
    change(&mut config);
    Edge::options_as("gw-1", config)
}

fn wait_until(uplink: &Uplink, what: impl Fn(&UplinkStatus) -> bool) -> UplinkStatus {
    let begin = Instant::now();
    loop {
        let status = uplink.status();
        if what(&status) {
            return status;
        }
        assert!(begin.elapsed() < SOON, "waited in vain: {}", status.to_json());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whenever it is looked, what is behind the positions is counted: neither is of an earlier moment.
#[test]
fn what_a_status_says_is_forwarded_is_counted_in_it() {
    let fake = Fake::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = edge.uplink(&fake, |_| {});
    thread::scope(|scope| {
        let filling = scope.spawn(|| edge.fill(&topic, 0..200));
        let mut status = uplink.status();
        while !filling.is_finished() || status.lag_records > 0 {
            status = uplink.status();
            let position = status.partitions.iter().map(|partition| partition.position).sum::<i64>();
            assert!(status.counts.records as i64 >= position, "{}", status.to_json());
        }
    });
    block_on(uplink.stop());
}

fn wait_caught_up(uplink: &Uplink) -> UplinkStatus {
    wait_until(uplink, |status| status.lag_records == 0 && status.state == UplinkState::CaughtUp)
}

/// What arrived of one local partition, in the order of arrival, repetitions left out; and how many there were.
fn first_arrivals(fake: &Fake, topic: &str, partitions: usize, of: &[String]) -> (Vec<String>, usize) {
    let wanted: BTreeSet<&String> = of.iter().collect();
    let (mut seen, mut arrived, mut repeated) = (BTreeSet::new(), Vec::new(), 0);
    for partition in 0..partitions {
        for value in fake.values(topic, partition).into_iter().filter(|value| wanted.contains(value)) {
            if seen.insert(value.clone()) { arrived.push(value) } else { repeated += 1 }
        }
    }
    (arrived, repeated)
}

/// Text that doesn't compress.
fn fastrand_text(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state >> 40) as u8 % 90)
    };
    (0..length).map(|_| next()).collect()
}
