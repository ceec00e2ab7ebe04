//! What an uplink that forwards exactly once keeps, here and upstream: its row, the cursors of its partitions, the witness. Whatever an older
//! or newer version, a bug, another program or damage made of them, one or many at once: the uplink ends no thread, says of no record that it
//! is forwarded which is not there yet, and forwards what comes later. (The identities in the rows are new each time, so that a case tried
//! again may come out otherwise.)

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use brooklet::broker::{Acks, Broker, BrokerOptions, NewTopic};
use brooklet::config::{Delivery, HostPort, Labels, UplinkConfig, UplinkProtocol};
use brooklet::executor::Executor;
use brooklet::kafka::api::ApiKey;
use brooklet::record::{BatchBuilder, BatchView, Compression, NO_HEADERS};
use brooklet::store::clock::{RealClock, WallTrust};
use brooklet::store::sim::SimDisk;
use brooklet::store::{EngineHandle, Space, Store, StoreOptions};
use brooklet::tls::LinkTls;
use brooklet::uplink::{Uplink, UplinkOptions, UplinkState, UplinkStatus};
use fastrand::Rng;
use smol::block_on;

use crate::fake::{Committed, Coordinator, Fake, Fault, Partition, Place};
use crate::harness::Target;
use crate::rows::{STEP_BYTES, damage};
use crate::world::{DIR, Row, World};

const SEGMENT_BYTES: u64 = 8 << 20;
const CURSORS: &str = "brooklet.cursors";
const CURSOR_PARTITIONS: usize = 6;
const PARTITIONS: usize = 2;
const EARLIER: [&str; 3] = ["a", "b", "c"];
const LATER: [&str; 3] = ["x", "y", "z"];
/// An end to waiting for what must come.
const SOON: Duration = Duration::from_secs(60);
/// No case is looked at for longer: what still tries then would try for ever.
const LOOK: Duration = Duration::from_secs(2);
/// Failures after which it is taken for one that tries for ever.
const FAILURES: u64 = 6;

pub(crate) fn targets() -> [Target; 1] {
    let base = OnceCell::new();
    [Target {
        name: "uplink-kept",
        quick: 8,
        memory: |_| usize::MAX,
        corpus: crate::corpus("uplink-kept"),
        make: Box::new(|rng: &mut Rng| (0..STEP_BYTES * rng.usize(1..5)).map(|_| rng.u8(..)).collect()),
        run: Box::new(move |input| run(base.get_or_init(Base::new), input)),
    }]
}

/// A gateway without listeners, at work.
struct Edge {
    broker: Broker,
    engine: Option<EngineHandle>,
    executor: Arc<Executor>,
    stop: async_channel::Sender<()>,
}

impl Edge {
    fn on(disk: &SimDisk) -> Option<Self> {
        let mut options = StoreOptions::new(Path::new(DIR));
        (options.max_bytes, options.segment_bytes) = (Some(64 << 20), Some(SEGMENT_BYTES));
        let clock = Arc::new(RealClock::new(WallTrust::Always));
        let (store, engine) = Store::open(options, Arc::new(disk.clone()), clock).ok()?;
        let engine = Some(engine.spawn().unwrap());
        let broker = Broker::new(store.clone(), BrokerOptions::default()).map_err(|_| store.shutdown()).ok()?;
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = async_channel::bounded::<()>(1);
        let on_thread = Arc::clone(&executor);
        thread::spawn(move || block_on(on_thread.run(stopped.recv())));
        Some(Self { broker, engine, executor, stop })
    }

    /// A batch of three records into each partition.
    fn fill(&self, values: [&str; 3]) {
        let topic = self.broker.topic("t").unwrap();
        for partition in 0..PARTITIONS as i32 {
            let mut builder = BatchBuilder::new();
            for value in values {
                builder.push(1_700_000_000_000, None, Some(value.as_bytes()), NO_HEADERS).unwrap();
            }
            let batch = builder.finish(Compression::None);
            block_on(async { self.broker.produce(&topic, partition, batch, Acks::Flash).await.unwrap().wait().await })
                .unwrap();
        }
    }

    fn uplink(&self, name: &str, change: impl FnOnce(&mut UplinkConfig)) -> Uplink {
        let mut config = UplinkConfig::to(vec![HostPort { host: "127.0.0.1".into(), port: 1 }]);
        config.delivery = Delivery::ExactlyOnce;
        (config.commit_every, config.linger) = (Duration::ZERO, Duration::ZERO);
        (config.backoff_min, config.backoff_max) = (Duration::from_millis(5), Duration::from_millis(20));
        change(&mut config);
        let options = UplinkOptions {
            name: name.into(),
            gateway: "gw-1".into(),
            labels: Labels::default(),
            config,
            tls: LinkTls::default(),
            about: Arc::default(),
        };
        Uplink::spawn(&self.executor, self.broker.clone(), options)
    }

    fn to(&self, fake: &Fake) -> Uplink {
        let port = fake.bootstrap().port();
        self.uplink("centre", |config| config.bootstrap = vec![HostPort { host: "127.0.0.1".into(), port }])
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop.close();
        self.broker.store().shutdown();
        if let Some(engine) = self.engine.take() {
            engine.join();
        }
    }
}

fn wait(uplink: &Uplink, within: Duration, done: impl Fn(&UplinkStatus) -> bool) -> Option<UplinkStatus> {
    let begin = Instant::now();
    while begin.elapsed() < within {
        let status = uplink.status();
        if done(&status) {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
    None
}

/// What is kept where, after a gateway has died while the end of a transaction was in doubt.
struct Base {
    disk: SimDisk,
    fake: Fake,
    rows: Vec<Row>,
    /// By partition, key and value.
    cursors: Vec<(usize, Vec<u8>, Vec<u8>)>,
    witnesses: Vec<(String, Place, Committed)>,
}

impl Base {
    fn new() -> Self {
        let (disk, fake) = (SimDisk::new(1), Fake::start(&[("t", 1), (CURSORS, CURSOR_PARTITIONS)]));
        let edge = Edge::on(&disk).unwrap();
        let new = NewTopic { name: "t".to_owned(), partitions: Some(PARTITIONS as u32), ..NewTopic::default() };
        block_on(edge.broker.create_topic(new)).unwrap();
        edge.fill(EARLIER);
        let uplink = edge.to(&fake);
        let caught_up = |status: &UplinkStatus| status.lag_records == 0 && status.state == UplinkState::CaughtUp;
        wait(&uplink, SOON, caught_up).unwrap();
        let asked = fake.requests(ApiKey::EndTxn);
        fake.fail_api(ApiKey::EndTxn, &[Fault::DoneInSilence]);
        edge.fill(EARLIER);
        wait(&uplink, SOON, |_| fake.requests(ApiKey::EndTxn) > asked).unwrap();
        drop(uplink);
        let rows = edge.broker.store().entries(Space::Cursor, &[]).into_iter();
        let mut rows: Vec<Row> = rows.map(|(key, value)| (Space::Cursor, key, Some(value))).collect();
        assert!(rows.iter().any(|(_, key, _)| key.ends_with(b"\0exactly-once")), "{rows:?}");
        // As one to a gateway keeps it: the history, the store upstream, no letters.
        let kept = [&[1][..], &[7; 16], &[1], &[9; 16], &[0]].concat();
        rows.push((Space::Cursor, b"above\0gateway-above".to_vec(), Some(kept)));
        drop(edge);
        let state = fake.state();
        let mut cursors = Vec::new();
        for (index, partition) in state.topics[CURSORS].iter().enumerate() {
            let pair = |key: Option<&[u8]>, value: &[u8], _: i64, _: Option<&[u8]>| {
                (index, key.unwrap().to_vec(), value.to_vec())
            };
            cursors.extend(Partition::each(partition.committed(), pair));
        }
        let of = |(name, group): (&String, &crate::fake::Group)| {
            let one = |(place, committed): (&Place, &Committed)| (name.clone(), place.clone(), committed.clone());
            group.committed.iter().map(one).collect::<Vec<_>>()
        };
        let witnesses: Vec<_> = state.groups.iter().flat_map(of).collect();
        assert!(!cursors.is_empty() && !witnesses.is_empty());
        drop(state);
        Self { disk, fake, rows, cursors, witnesses }
    }
}

/// What a case makes of a base: see [`damage`].
struct Case {
    rows: Vec<Row>,
    cursors: Vec<(usize, Vec<u8>, Vec<u8>)>,
    witnesses: Vec<(String, Place, Committed)>,
}

impl Case {
    fn new(base: &Base, input: &[u8]) -> Self {
        let (rows, cursors, witnesses) = (Vec::new(), base.cursors.clone(), base.witnesses.clone());
        let mut case = Self { rows, cursors, witnesses };
        for step in input.chunks_exact(STEP_BYTES) {
            let at = usize::from(step[0]) / 3;
            match step[0] % 3 {
                0 => {
                    let (space, mut key, value) = base.rows[at % base.rows.len()].clone();
                    let mut value = value.unwrap_or_default();
                    let there = damage(if step[1] % 4 == 0 { &mut key } else { &mut value }, step);
                    case.rows.push((space, key, there.then_some(value)));
                }
                1 => {
                    let at = at % case.cursors.len().max(1);
                    let Some((_, key, value)) = case.cursors.get_mut(at) else { continue };
                    if !damage(if step[1] % 4 == 0 { key } else { value }, step) {
                        case.cursors.remove(at);
                    }
                }
                _ => {
                    let at = at % case.witnesses.len().max(1);
                    let Some((_, _, (number, text))) = case.witnesses.get_mut(at) else { continue };
                    let mut bytes =
                        if step[1] % 2 == 0 { number.to_be_bytes().to_vec() } else { text.clone().into_bytes() };
                    if !damage(&mut bytes, step) {
                        case.witnesses.remove(at);
                    } else if step[1] % 2 == 0 {
                        bytes.resize(8, 0);
                        *number = i64::from_be_bytes(bytes.try_into().unwrap()).max(0);
                    } else {
                        *text = String::from_utf8_lossy(&bytes).into_owned();
                    }
                }
            }
        }
        case
    }

    /// Lets the cluster be as the case has it.
    fn put(&self, fake: &Fake) {
        let mut state = fake.state();
        state.faults = Default::default();
        state.groups = BTreeMap::new();
        state.coordinator = Coordinator { version: 2, ..Coordinator::default() };
        state.topics.insert("t".to_owned(), vec![Partition::default()]);
        let mut cursors: Vec<Partition> = (0..CURSOR_PARTITIONS).map(|_| Partition::default()).collect();
        for (partition, key, value) in &self.cursors {
            let mut builder = BatchBuilder::new();
            builder.push(1_700_000_000_000, Some(key), Some(value), NO_HEADERS).unwrap();
            let batch = builder.finish(Compression::None);
            cursors[*partition].append(&BatchView::parse(&batch).unwrap().0).unwrap();
        }
        state.topics.insert(CURSORS.to_owned(), cursors);
        for (group, place, committed) in &self.witnesses {
            state.groups.entry(group.clone()).or_default().committed.insert(place.clone(), committed.clone());
        }
    }
}

fn run(base: &Base, input: &[u8]) {
    let (disk, case) = (base.disk.kill(1), Case::new(base, input));
    let mut world = World::open(&disk, SEGMENT_BYTES).unwrap();
    world.write(case.rows.clone());
    world.close();
    case.put(&base.fake);
    let Some(edge) = Edge::on(&disk) else { return };
    // It reads its row as it begins; nobody answers it.
    let above = edge.uplink("above", |config| config.protocol = UplinkProtocol::Brooklet);
    let uplink = edge.to(&base.fake);
    let ended = |status: &UplinkStatus| match status.state {
        UplinkState::CaughtUp => status.lag_records == 0,
        UplinkState::Diverged | UplinkState::Fenced | UplinkState::Stalled => true,
        _ => status.counts.failures >= FAILURES,
    };
    let status = wait(&uplink, LOOK, ended).unwrap_or_else(|| uplink.status());
    let is_there = |status: &UplinkStatus| {
        for partition in &status.partitions {
            assert!(partition.position <= partition.end, "forwarded before it is there: {}", status.to_json());
        }
    };
    is_there(&status);
    // What comes now passes nobody unsent, if the uplink goes on at all.
    if status.state == UplinkState::CaughtUp {
        edge.fill(LATER);
        let caught_up = |status: &UplinkStatus| status.lag_records == 0 && status.state == UplinkState::CaughtUp;
        wait(&uplink, SOON, caught_up).unwrap();
        is_there(&uplink.status());
        let arrived = base.fake.values("t", 0);
        for value in LATER {
            let count = arrived.iter().filter(|arrived| *arrived == value).count();
            assert!(count >= PARTITIONS, "{value} passed unsent: {arrived:?}");
        }
    }
    drop((above, uplink));
}
