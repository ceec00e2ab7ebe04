//! Rows of the keyed state: what an older or newer version, or a bug, may have left of topics, rules, users, groups, positions, clients
//! and sessions. A broker on them refuses to start, in words, or works.

use std::cell::OnceCell;
use std::time::Duration;

use brooklet::broker::groups::{Claim, JoinGroup};
use brooklet::broker::rights::RuleFilter;
use brooklet::broker::rights::report::RuleReport;
use brooklet::broker::users::UserChange;
use brooklet::broker::{Acks, Broker, CommittedOffset, Listener, NewRecord, NewTopic, TierSource, UpstreamTopic};
use brooklet::config::{ListenAuthConfig, ListenTlsConfig};
use brooklet::listen::auth::Authentication;
use brooklet::listen::budget::Budgets;
use brooklet::listen::mqtt::mapping::Rules;
use brooklet::listen::mqtt::{Mqtt, MqttOptions};
use brooklet::record::{BatchBuilder, Compression, NO_HEADERS, Producer};
use brooklet::secret::{ScramHash, Verifier};
use brooklet::store::Space;
use brooklet::store::sim::SimDisk;
use fastrand::Rng;

use crate::harness::Target;
use crate::mutate::bytes;
use crate::world::{Row, World};

/// Spaces whose rows are other rooms' than the store's: it keeps them as they are.
const SPACES: [Space; 8] =
    [Space::Topic, Space::Cursor, Space::Group, Space::Producer, Space::Device, Space::User, Space::Acl, Space::Mqtt];
const SEGMENT_BYTES: u64 = 8 << 20;
/// Bytes of one step of an input; see [`changed`].
pub(crate) const STEP_BYTES: usize = 6;

pub(crate) fn targets() -> [Target; 1] {
    let base = OnceCell::new();
    [Target {
        name: "state-row",
        quick: 60,
        memory: |_| usize::MAX,
        corpus: crate::corpus("state-row"),
        make: Box::new(|rng: &mut Rng| {
            bytes(rng, 6 * STEP_BYTES).into_iter().chain((0..STEP_BYTES).map(|_| rng.u8(..))).collect()
        }),
        run: Box::new(move |input| run(base.get_or_init(Base::new), input)),
    }]
}

struct Base {
    disk: SimDisk,
    rows: Vec<(Space, Vec<u8>, Vec<u8>)>,
}

fn mqtt(broker: &Broker) -> Mqtt {
    let auth = ListenAuthConfig::default().with(&ListenTlsConfig::default());
    let guard = Authentication::new(broker.lobby()).guard(Listener::Mqtt, &auth, &[]);
    let options = MqttOptions {
        rules: Rules::parse(&[]).unwrap(),
        packet_bytes_max: 1 << 20,
        in_flight_bytes_max: 1 << 20,
        in_flight_max: 10,
        session_expiry_s_max: u32::MAX,
        sessions_max: 100,
        subscriptions_max: 100,
        retained_max: 100,
        retained_bytes_max: 1 << 20,
        packet_time: Duration::from_secs(10),
        keep_alive_s_max: None,
        origins: Vec::new(),
    };
    Mqtt::new(broker.clone(), guard, options, &Budgets::new(1 << 20))
}

fn batch(producer: Option<Producer>) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(1_700_000_000_000, Some(b"key"), Some(b"value"), NO_HEADERS).unwrap();
    match producer {
        Some(producer) => builder.finish_with(Compression::None, producer),
        None => builder.finish(Compression::None),
    }
}

impl Base {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let mut world = World::open(&disk, SEGMENT_BYTES).unwrap();
        let broker = world.broker().unwrap();
        fill(&mut world, &broker);
        drop(broker);
        let rows = SPACES
            .into_iter()
            .flat_map(|space| world.store.entries(space, &[]).into_iter().map(move |(key, value)| (space, key, value)))
            .collect();
        world.close();
        let base = Self { disk, rows };
        for space in SPACES.into_iter().filter(|space| *space != Space::Mqtt) {
            assert!(base.rows.iter().any(|row| row.0 == space), "no row of {space:?}");
        }
        base
    }
}

/// One of everything.
fn fill(world: &mut World, broker: &Broker) {
    for name in ["t", "other"] {
        let configs = vec![("retention.ms".to_owned(), "60000".to_owned())];
        let new = NewTopic { name: name.to_owned(), partitions: Some(2), configs, id: None };
        world.drive(broker.create_topic(new)).unwrap().unwrap();
    }
    let topic = broker.topic("t").unwrap();
    let id = world.drive(broker.new_producer_id()).unwrap().unwrap();
    let producer = Some(Producer { id, epoch: 0, base_sequence: 0 });
    world.drive(async { broker.produce(&topic, 0, batch(producer), Acks::Flash).await.unwrap().wait().await });
    let session = world.drive(broker.open_session("device", None, 0)).unwrap().unwrap();
    let record = NewRecord { value: Some(b"reading".to_vec()), ..NewRecord::default() };
    world.drive(async { broker.publish(&session, &topic, 1, vec![record], Acks::Flash).await.unwrap().wait().await });
    drop(session);
    let offset = CommittedOffset { offset: 1, leader_epoch: 0, metadata: "note".to_owned() };
    world.drive(broker.commit_offsets("group", vec![(topic.id, 0, offset)])).unwrap().unwrap();
    let rule = RuleReport {
        principal: "User:a".to_owned(),
        host: "*".to_owned(),
        operation: "Read".to_owned(),
        resource: "Topic".to_owned(),
        name: "t".to_owned(),
        prefix: false,
        allow: true,
    };
    let rule = vec![rule.rule().unwrap()];
    world.drive(broker.add_rules(rule)).unwrap().unwrap();
    let verifier = Verifier::of_nobody(ScramHash::Sha256, b"secret", "a", 4_096);
    world.drive(broker.change_users(vec![UserChange::Set("a".to_owned(), verifier)])).unwrap().unwrap();
    let met = UpstreamTopic { topic_id: [3; 16], partitions: 2 };
    world.drive(broker.meet_upstream_topic("down", "above", met)).unwrap().unwrap();
    let _ = world.drive(broker.join_group("members", join()));
    world.write(vec![
        (Space::Mqtt, b"s\0client".to_vec(), Some(vec![1, 0, 0, 0])),
        (Space::Mqtt, b"r\0topic".to_vec(), Some(vec![1, 0, 0, 0])),
    ]);
}

fn join() -> JoinGroup {
    JoinGroup {
        claim: Claim { member_id: String::new(), instance_id: None },
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_ms: 10_000,
        rebalance_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), b"abc"[..].into())],
        id_first: false,
        can_skip: false,
    }
}

/// What an input makes of the rows: steps of six bytes, which row, key or value, how, where (two bytes), with what.
fn changed(base: &Base, input: &[u8]) -> Vec<Row> {
    let mut changes = Vec::new();
    for step in input.chunks_exact(STEP_BYTES) {
        let (space, key, value) = &base.rows[usize::from(step[0]) % base.rows.len()];
        let (mut key, mut value) = (key.clone(), value.clone());
        let there = damage(if step[1] % 3 == 0 { &mut key } else { &mut value }, step);
        changes.push((*space, key, there.then_some(value)));
    }
    changes
}

/// What a step makes of a key or a value: how, where (two bytes), with what, from its third byte on. `false`: all of it is gone.
pub(crate) fn damage(part: &mut Vec<u8>, step: &[u8]) -> bool {
    let at = if part.is_empty() { 0 } else { usize::from(u16::from_be_bytes([step[3], step[4]])) % part.len() };
    match step[2] % 8 {
        0 => part.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (step[5] % 8)),
        1 => part.iter_mut().skip(at).take(1).for_each(|byte| *byte = step[5]),
        2 => part.truncate(at),
        3 => part.insert(at, step[5]),
        4 => part.extend([step[5]; 5]),
        5 => drop(part.splice(at.., [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])),
        6 => {
            let mut rng = Rng::with_seed(u64::from(step[5]));
            let from = 1.min(part.len());
            part.truncate(from);
            part.extend(bytes(&mut rng, 120));
        }
        _ => return false,
    }
    true
}

fn run(base: &Base, input: &[u8]) {
    let disk = base.disk.kill(1);
    let mut world = World::open(&disk, SEGMENT_BYTES).unwrap();
    world.write(changed(base, input));
    match world.broker() {
        Ok(broker) => look_around(&mut world, &broker),
        Err(why) => assert!(!why.is_empty()),
    }
    world.close();
    // And so after a restart.
    let world = World::open(&disk, SEGMENT_BYTES).unwrap();
    let _ = world.broker();
    world.close();
}

fn look_around(world: &mut World, broker: &Broker) {
    let topics = broker.topics();
    broker.add_follower("uplink", std::sync::Arc::new(|_| true));
    for topic in &topics {
        for partition in &topic.partitions {
            let _ = (broker.head(*partition), broker.position("uplink", *partition));
        }
        let _ = broker.committed_offset("group", topic, 0);
    }
    let _ = (broker.groups(), broker.users(), broker.rules(&RuleFilter::ALL), broker.committed_offsets("group"));
    let _ = (broker.upstream_positions("down"), broker.upstream_topic("down", "above"));
    let _ = (broker.store().losses(), broker.store().removals(), broker.store().deleted_topics());
    let _ = mqtt(broker).counts();
    let source = TierSource { gateway: "below".to_owned(), uplink: "up".to_owned(), history: [7; 16], user: None };
    let _ = world.drive(broker.tier_cursors(&source, None));
    let _ = world.drive(broker.open_session("device", Some(1), 5));
    let _ = world.drive(broker.letters(0, 10));
    let _ = world.drive(broker.join_group("members", join()));
    let _ = world.drive(broker.new_producer_id());
    if let Some(topic) = topics.first() {
        let produced = async { broker.produce(topic, 0, batch(None), Acks::Flash).await?.wait().await };
        let _ = world.drive(produced);
        let offset = CommittedOffset { offset: 1, leader_epoch: 0, metadata: String::new() };
        let _ = world.drive(broker.commit_offsets("group", vec![(topic.id, 0, offset)]));
        let _ = world.drive(broker.delete_topic(&topic.name));
    }
}
