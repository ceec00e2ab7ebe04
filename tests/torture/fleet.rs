//! Twenty gateways on one topic of six partitions, their links cut at random: how long a read_committed consumer waits for
//! what lies in the log already, and what transactions cost in control records.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::centre;
use crate::common::peers::kafka_nodes;
use crate::common::wire::{batches_and_markers, create_topic};
use crate::devices::{Fleet, Source};
use crate::faults::Weather;
use crate::options::Options;
use crate::site::{Site, unique};

const GATEWAYS: usize = 20;
const PARTITIONS: i32 = 6;
/// A link is cut so often.
const PAUSE_MS: std::ops::Range<u64> = 100..900;
/// For so long.
const CUT_MS: std::ops::Range<u64> = 200..12_000;
/// No read_committed consumer may be held up longer.
const STALL_MAX: Duration = Duration::from_secs(30);

/// A stock consumer that runs along, and when it was given each record.
struct Watcher {
    kcat: Child,
    reading: thread::JoinHandle<HashMap<(i32, i64), Instant>>,
}

impl Watcher {
    fn start(brokers: &str, topic: &str, isolation: &str) -> Watcher {
        let mut kcat = Command::new("kcat")
            .args(["-C", "-q", "-u", "-b", brokers, "-t", topic, "-o", "beginning", "-f", "%p %o\n"])
            .args(["-X", &format!("isolation.level={isolation}"), "-X", "fetch.wait.max.ms=50"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(kcat.stdout.take().unwrap()).lines();
        let reading = thread::spawn(move || {
            let mut seen = HashMap::new();
            for line in lines.map_while(Result::ok) {
                if let Some((partition, offset)) = line.split_once(' ') {
                    seen.insert((partition.parse().unwrap(), offset.parse().unwrap()), Instant::now());
                }
            }
            seen
        });
        Watcher { kcat, reading }
    }

    fn stop(mut self) -> HashMap<(i32, i64), Instant> {
        let _ = self.kcat.kill();
        let _ = self.kcat.wait();
        self.reading.join().unwrap()
    }
}

#[test]
#[ignore = "started by scripts/torture.sh"]
fn twenty_gateways() {
    let nodes = kafka_nodes().expect("scripts/torture.sh starts the cluster");
    let (brokers, options) = (&nodes.bootstrap, Options::from_env());
    let topic = unique("twenty");
    create_topic(brokers, &topic, PARTITIONS);
    let watchers = ["read_committed", "read_uncommitted"].map(|isolation| Watcher::start(brokers, &topic, isolation));
    let mut sites: Vec<Site> = (0..GATEWAYS).map(|n| Site::start(brokers, &format!("{topic}-{n}"), &topic)).collect();
    let (over, published, source) = (AtomicBool::new(false), AtomicU64::new(0), Source::Made);
    let counts: Vec<u64> = thread::scope(|scope| {
        let mut running = Vec::new();
        for (device, site) in sites.iter().enumerate() {
            let (gateway, seed) = (site.gateway.native, options.seed);
            let fleet = Fleet { gateway, topic: &topic, source: &source, over: &over, published: &published, seed };
            running.push(scope.spawn(move || fleet.run(device..device + 1)));
        }
        let cuts = cut_at_random(&sites, options.time, options.seed);
        over.store(true, Ordering::Relaxed);
        println!("{cuts} cuts in {:?}", options.time);
        running.into_iter().flat_map(|fleet| fleet.join().unwrap()).collect()
    });
    sites.iter().for_each(Site::wait_caught_up);
    // The last markers.
    thread::sleep(Duration::from_secs(2));
    let [committed, all] = watchers.map(Watcher::stop);
    sites.iter_mut().for_each(Site::stop);
    let verdict = centre::compare(brokers, &topic, &counts);
    let longest = tell_delays(&committed, &all);
    tell_control_records(brokers, &topic);
    assert_eq!((verdict.lost, verdict.twice, verdict.disordered, verdict.unknown), (0, 0, 0, 0), "{:?}", verdict.told);
    assert!(longest < STALL_MAX, "a read_committed consumer was held up for {longest:?}");
}

fn cut_at_random(sites: &[Site], time: Duration, seed: u64) -> u32 {
    let mut random = fastrand::Rng::with_seed(seed);
    let begin = Instant::now();
    let mut until: Vec<Option<Instant>> = vec![None; sites.len()];
    let mut cuts = 0;
    while begin.elapsed() < time {
        let now = Instant::now();
        for (site, until) in sites.iter().zip(&mut until) {
            if until.is_some_and(|at| at <= now) {
                site.proxy.set_weather(None, Duration::ZERO);
                *until = None;
            }
        }
        let one = random.usize(..sites.len());
        if until[one].is_none() {
            sites[one].proxy.set_weather(Some(Weather::Cut), Duration::ZERO);
            until[one] = Some(now + Duration::from_millis(random.u64(CUT_MS)));
            cuts += 1;
        }
        thread::sleep(Duration::from_millis(random.u64(PAUSE_MS)));
    }
    sites.iter().for_each(|site| site.proxy.set_weather(None, Duration::ZERO));
    cuts
}

/// How long records that are in the log were held back; the longest.
fn tell_delays(committed: &HashMap<(i32, i64), Instant>, all: &HashMap<(i32, i64), Instant>) -> Duration {
    let held = |(place, at): (&(i32, i64), &Instant)| Some(at.saturating_duration_since(*all.get(place)?));
    let mut delays: Vec<Duration> = committed.iter().filter_map(held).collect();
    delays.sort();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    println!(
        "{} records; a read_committed consumer had them later than another one by: median {:?}, p99 {:?}, longest {:?}",
        delays.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    at(1.0)
}

fn tell_control_records(brokers: &str, topic: &str) {
    let (mut control, mut data) = (0, 0);
    for (batches, markers) in batches_and_markers(brokers, topic) {
        control += markers;
        data += batches.iter().map(|batch| batch.record_count()).sum::<i32>();
    }
    println!("{control} control records for {data} records: {:.3} each", f64::from(control) / f64::from(data));
}
