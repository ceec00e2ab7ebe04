//! A cluster whose answers are garbage for a while: what is sent to it is done, and what comes back is no answer. The uplink neither ends nor takes
//! memory by a claim, nor goes past a record; once the answers are good again everything is there, in its order.

use std::time::Duration;

use brooklet::config::UplinkConfig;
use brooklet::kafka::api::ApiKey;
use brooklet::metrics::METRICS;
use smol::block_on;

use crate::fake::{Fake, Fault};
use crate::{Edge, first_arrivals, wait_caught_up, wait_until};

const SEEDS: u64 = 2;
const ROUNDS: usize = 6;
const APIS: [ApiKey; 6] = [
    ApiKey::ApiVersions,
    ApiKey::Metadata,
    ApiKey::InitProducerId,
    ApiKey::DescribeConfigs,
    ApiKey::Produce,
    ApiKey::ListOffsets,
];

fn options(config: &mut UplinkConfig) {
    config.connect_timeout = Duration::from_millis(300);
    config.request_timeout = Duration::from_millis(200);
    (config.backoff_min, config.backoff_max) = (Duration::from_millis(5), Duration::from_millis(20));
}

fn play(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (local, upstream) = (random.usize(1..4), random.usize(1..4));
    let fake = Fake::start(&[("t", upstream)]);
    let mut edge = Edge::start();
    edge.topic("t", local as u32);
    let mut sent = vec![Vec::new(); local];
    let mut uplink = edge.uplink(&fake, options);
    let mut at = 0;
    for _ in 0..ROUNDS {
        for api in APIS {
            let faults: Vec<_> = (0..random.usize(..3)).map(|_| Fault::Garbled(random.u64(..))).collect();
            fake.fail_api(api, &faults);
        }
        let count = random.usize(1..4);
        let topic = edge.broker.topic("t").unwrap();
        for (sent, more) in sent.iter_mut().zip(edge.fill(&topic, at..at + count)) {
            sent.extend(more);
        }
        at += count;
        // Some of it is for the next round, and for what comes after a restart.
        let most = random.usize(20..120);
        let before = fake.state().requests.values().sum::<usize>();
        wait_until(&uplink, |status| {
            let state = fake.state();
            let asked = state.requests.values().sum::<usize>() - before;
            // What it need not ask again keeps its faults.
            state.faults.is_empty() || asked > most || status.lag_records == 0
        });
        if random.u32(..4) == 0 {
            drop(uplink);
            edge = edge.restart();
            uplink = edge.uplink(&fake, options);
        }
    }
    let asked: usize = APIS.iter().map(|api| fake.requests(*api)).sum();
    assert!(asked > 3 * ROUNDS, "seed {seed}: {asked} requests");
    fake.state().faults = Default::default();
    wait_caught_up(&uplink);
    block_on(uplink.stop());
    for of in &sent {
        // What was done before a garbled answer comes again, as at least once has it, and nothing is missing.
        assert_eq!(first_arrivals(&fake, "t", upstream, of).0, *of, "seed {seed}");
    }
}

#[test]
fn garbage_in_place_of_answers_costs_no_record() {
    let before = METRICS.tasks_panicked.get();
    let seeds = std::env::var("BROOKLET_GARBAGE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        play(seed);
    }
    assert_eq!(METRICS.tasks_panicked.get(), before, "a part of the gateway ended by a fault");
    // 2 GiB were claimed again and again.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    assert!(peak.is_none_or(|kib: u64| kib < 512 * 1024), "{peak:?} KiB");
}
