//! Exactly once, with several things going wrong at once, by chance: lost requests and answers, silence, coordinators and leaders
//! that move, answers that say no though it is done, late markers, expired transactions and offsets, restarts. A seed replays the
//! choices, though not their timing. `BROOKLET_CHANCE_SEEDS` says how many.

use std::thread;
use std::time::Duration;

use brooklet::config::{Delivery, UplinkConfig};
use brooklet::kafka::api::ApiKey;
use smol::block_on;

use crate::fake::{Fake, Fault, Phase};
use crate::{Edge, first_arrivals, wait_caught_up};

const SEEDS: u64 = 6;
const ROUNDS: usize = 12;
const NAME: &str = "brooklet.gw-1.centre";
const APIS: [ApiKey; 10] = [
    ApiKey::Metadata,
    ApiKey::FindCoordinator,
    ApiKey::InitProducerId,
    ApiKey::OffsetFetch,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::TxnOffsetCommit,
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::EndTxn,
];
/// 7 REQUEST_TIMED_OUT, 14 COORDINATOR_LOAD_IN_PROGRESS, 15 COORDINATOR_NOT_AVAILABLE, 16 NOT_COORDINATOR, 51
/// CONCURRENT_TRANSACTIONS: what a coordinator says that has just changed, or that couldn't wait for its replicas.
const FAULTS: [Fault; 12] = [
    Fault::None,
    Fault::Cut,
    Fault::ReplyLost,
    Fault::Silence,
    Fault::DoneInSilence,
    Fault::CoordinatorMoves,
    Fault::Code(14),
    Fault::Code(16),
    Fault::Code(51),
    Fault::DoneButCode(15),
    Fault::DoneButCode(7),
    Fault::Slow(Duration::from_millis(30)),
];
/// 6 NOT_LEADER_OR_FOLLOWER, 20 NOT_ENOUGH_REPLICAS_AFTER_APPEND: what leaders say.
const LEADERS: [Fault; 9] = [
    Fault::None,
    Fault::Cut,
    Fault::ReplyLost,
    Fault::Silence,
    Fault::DoneInSilence,
    Fault::LeaderMoves,
    Fault::Code(6),
    Fault::DoneButCode(20),
    Fault::DoneButCode(7),
];

fn options(config: &mut UplinkConfig) {
    config.delivery = Delivery::ExactlyOnce;
    config.commit_every = Duration::ZERO;
    config.connect_timeout = Duration::from_millis(300);
    config.request_timeout = Duration::from_millis(200);
}

fn push_faults(fake: &Fake, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(0..5) {
        let api = APIS[random.usize(..APIS.len())];
        let fault = match api {
            ApiKey::Produce | ApiKey::Fetch => LEADERS[random.usize(..LEADERS.len())],
            ApiKey::Metadata => [Fault::Cut, Fault::Silence, Fault::None][random.usize(..3)],
            _ => FAULTS[random.usize(..FAULTS.len())],
        };
        fake.fail_api(api, &[fault]);
    }
}

/// What befalls a cluster by itself. A transaction that ends before its time looks like a rival's doing, and the second time in
/// ten minutes it is taken for one (`exactly::a_second_gateway_of_the_same_id…`): so that happens to each process `once` at most, however long the machine
/// lets transactions stand open.
fn befall(fake: &Fake, random: &mut fastrand::Rng, once: &mut bool) {
    let mut state = fake.state();
    state.coordinator.markers_after = [0, 0, 1, 4][random.usize(..4)];
    let open = state.coordinator.transactions.get(NAME).is_some_and(|txn| txn.phase == Phase::Ongoing);
    if random.u32(..3) == 0 && open && std::mem::take(once) {
        state.coordinator.expire(NAME);
    }
    if random.u32(..6) == 0
        && let Some(group) = state.groups.get_mut(NAME)
    {
        group.committed.clear();
    }
}

fn play(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (local, upstream) = (random.usize(1..4), random.usize(1..4));
    let fake = Fake::start(&[("t", upstream)]);
    let version = random.i16(1..3);
    fake.state().coordinator.version = version;
    if random.u32(..4) == 0 {
        fake.state().coordinator.first_epoch = i16::MAX - 9;
    }
    let mut edge = Edge::start();
    edge.topic("t", local as u32);
    let mut sent = vec![Vec::new(); local];
    let mut uplink = edge.uplink(&fake, options);
    let (mut at, mut once) = (0, true);
    for _ in 0..ROUNDS {
        push_faults(&fake, &mut random);
        let count = random.usize(1..4);
        let topic = edge.broker.topic("t").unwrap();
        for (sent, more) in sent.iter_mut().zip(edge.fill(&topic, at..at + count)) {
            sent.extend(more);
        }
        at += count;
        thread::sleep(Duration::from_millis(random.u64(0..60)));
        befall(&fake, &mut random, &mut once);
        if random.u32(..3) == 0 {
            drop(uplink);
            edge = edge.restart();
            // Of the process before.
            befall(&fake, &mut random, &mut true);
            once = true;
            uplink = edge.uplink(&fake, options);
        }
    }
    fake.state().faults = Default::default();
    fake.state().coordinator.markers_after = 0;
    wait_caught_up(&uplink);
    block_on(uplink.stop());
    for of in &sent {
        assert_eq!(first_arrivals(&fake, "t", upstream, of), (of.clone(), 0), "seed {seed}, version {version}");
    }
}

#[test]
fn several_things_at_once_cost_no_record_and_repeat_none() {
    let seeds = std::env::var("BROOKLET_CHANCE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        play(seed);
    }
}
