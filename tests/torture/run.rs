//! The torture: devices publish, one cell after the other occurs, the weather changes; then everything is compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::centre::{self, Verdict};
use crate::common::gateway::Gateway;
use crate::common::peers::{Nodes, kafka_nodes};
use crate::common::wire::create_topic;
use crate::devices::{Fleet, Source};
use crate::faults::{Cell, Control, Deck, Kind, Step, Weather};
use crate::moves::{home, relocate};
use crate::options::Options;
use crate::proxy::{Hooks, Proxy};
use crate::site::kill;

const TOPIC: &str = "readings";
const UPSTREAM_PARTITIONS: i32 = 6;
/// Of the internal topics, as scripts/kafka.sh makes them.
const INTERNAL_PARTITIONS: i32 = 3;
const GATEWAY: &str = "torture";
/// Transactional id and group of the uplink.
const NAME: &str = "brooklet.torture.central";
/// How long the next request of a step may take to come.
const MEET: Duration = Duration::from_secs(15);
/// How long forwarding may stand still after a fault. A transaction left open by the dead is given up after 15 s.
const STANDSTILL_MAX: Duration = Duration::from_secs(180);
/// How long the rest may take to be forwarded when all is well again.
const DRAIN: Duration = Duration::from_secs(360);
/// The weather changes after so many cells.
const CELLS_PER_WEATHER: u32 = 4;
/// How long bad weather lasts, ms; now and then longer than a transaction may be open.
const WEATHER_MS: Range<u64> = 500..6_000;
const LONG_CUT: Duration = Duration::from_secs(22);
/// A node is killed after so many changes of weather.
const WEATHERS_PER_NODE: u32 = 5;

/// What happened besides the cells.
#[derive(Default)]
struct Tally {
    weather: BTreeMap<Weather, u32>,
    nodes_killed: u32,
    gateway_killed: u32,
    unmet: BTreeMap<Cell, u32>,
    standstill_max: Duration,
}

struct Torture {
    options: Options,
    nodes: Nodes,
    proxy: Proxy,
    gateway: Gateway,
    /// Of the gateway; 0 once it was killed.
    pid: Arc<AtomicU32>,
    random: fastrand::Rng,
    /// The weathers still to come before each may come again.
    skies: Vec<Weather>,
    tally: Tally,
    begin: Instant,
    story: String,
}

#[test]
#[ignore = "started by scripts/torture.sh"]
fn torture() {
    let Some(nodes) = kafka_nodes() else { panic!("scripts/torture.sh starts the cluster") };
    let options = Options::from_env();
    println!("seed {}, {:?}, {} devices", options.seed, options.time, options.devices);
    create_topic(&nodes.bootstrap, TOPIC, UPSTREAM_PARTITIONS);
    let (over, published) = (AtomicBool::new(false), AtomicU64::new(0));
    let source = Source::load(options.data.as_deref());
    let (seed, devices) = (options.seed, options.devices);
    let mut torture = Torture::start(options, nodes);
    let fleet = Fleet {
        gateway: torture.gateway.native,
        topic: TOPIC,
        source: &source,
        over: &over,
        published: &published,
        seed,
    };
    let counts = thread::scope(|scope| {
        let fleet = scope.spawn(|| fleet.run(0..devices));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| torture.run(&published)));
        over.store(true, Ordering::Relaxed);
        let counts = fleet.join().unwrap();
        (counts, outcome)
    });
    let (counts, outcome) = counts;
    let stuck = outcome.err().map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default());
    torture.finish(&counts, stuck);
}

impl Torture {
    fn start(options: Options, nodes: Nodes) -> Torture {
        let pid = Arc::new(AtomicU32::new(0));
        let (to_kill, brokers) = (Arc::clone(&pid), nodes.bootstrap.clone());
        let hooks = Hooks {
            kill: Box::new(move || kill(&to_kill)),
            relocate: Box::new(move |step| {
                if !relocate_for(&brokers, step) {
                    println!("            what {step:?} goes to did not move");
                }
            }),
        };
        let proxy = Proxy::start(&nodes.bootstrap, hooks);
        proxy.control().transactional = options.delivery == "exactly-once";
        let gateway = Gateway::start(&config(&proxy.bootstrap, &options.delivery));
        pid.store(gateway.pid(), Ordering::SeqCst);
        let random = fastrand::Rng::with_seed(options.seed);
        let (tally, begin, story) = (Tally::default(), Instant::now(), String::new());
        Torture { options, nodes, proxy, gateway, pid, random, skies: Vec::new(), tally, begin, story }
    }

    fn tell(&mut self, what: &str) {
        let line = format!("{:8.1} s  {what}", self.begin.elapsed().as_secs_f64());
        println!("{line}");
        let _ = writeln!(self.story, "{line}");
    }

    fn run(&mut self, published: &AtomicU64) {
        let steps: Vec<Step> = match self.options.delivery.as_str() {
            "exactly-once" => self.steps_in_use(),
            _ => vec![Step::InitProducerId, Step::Produce],
        };
        let mut deck = Deck::new(&steps, &Kind::ALL, self.options.seed);
        let mut cells = 0;
        self.await_progress("the start");
        while self.begin.elapsed() < self.options.time {
            self.occur(deck.next());
            cells += 1;
            if cells % CELLS_PER_WEATHER == 0 {
                self.change_weather(cells / CELLS_PER_WEATHER);
            }
            if cells % 16 == 0 {
                let (fired, commits) = (self.fired(), self.proxy.control().commits);
                self.tell(&format!(
                    "{fired} faults, {commits} commits, {} published",
                    published.load(Ordering::Relaxed)
                ));
            }
        }
    }

    /// With transactions v2 partitions and groups are added by themselves.
    fn steps_in_use(&mut self) -> Vec<Step> {
        self.await_progress("the first transaction");
        let seen = self.proxy.control().seen.clone();
        Step::ALL.into_iter().filter(|step| seen.contains(&step.api())).collect()
    }

    fn fired(&self) -> u32 {
        self.proxy.control().fired.values().sum()
    }

    /// One cell: armed, met, got over.
    fn occur(&mut self, cell: Cell) {
        self.proxy.control().arm(cell);
        if cell.step == Step::InitProducerId {
            // Asked for at the start only, so there is a start.
            self.tally.gateway_killed += 1;
            kill(&self.pid);
        }
        let begin = Instant::now();
        while self.proxy.control().is_armed() {
            self.revive();
            if begin.elapsed() > MEET {
                self.proxy.control().disarm();
                *self.tally.unmet.entry(cell).or_default() += 1;
                return self.tell(&format!("{cell}: not met in {MEET:?}"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        let since = self.begin.elapsed().as_secs_f64();
        let _ = writeln!(self.story, "{since:8.1} s  {cell}");
        self.await_progress(&cell.to_string());
    }

    /// Starts the gateway again if it was killed.
    fn revive(&mut self) {
        if self.pid.load(Ordering::SeqCst) != 0 {
            return;
        }
        thread::sleep(Duration::from_millis(self.random.u64(0..300)));
        self.gateway.kill();
        // Not waited for: it may be killed again before it answers anybody.
        self.gateway.begin_launch();
        self.pid.store(self.gateway.pid(), Ordering::SeqCst);
    }

    /// Until the cluster has committed something that was begun after this moment, or about it.
    fn await_progress(&mut self, after: &str) {
        let begin = Instant::now();
        let before = self.proxy.control().commits;
        loop {
            self.revive();
            // The first may have been on its way.
            if self.proxy.control().commits >= before + 2 {
                break;
            }
            if begin.elapsed() > STANDSTILL_MAX {
                let status = self.gateway.cli(&["uplink", "status", "--json"], "");
                let status = String::from_utf8_lossy(&status.stdout).into_owned();
                self.tell(&format!("stuck; requests without an answer:\n{}status: {status}", self.proxy.waiting()));
                panic!("nothing was forwarded for {STANDSTILL_MAX:?} after {after}");
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.tally.standstill_max = self.tally.standstill_max.max(begin.elapsed());
    }

    fn change_weather(&mut self, nth: u32) {
        if self.skies.is_empty() {
            self.skies = Weather::ALL.to_vec();
            self.random.shuffle(&mut self.skies);
        }
        let Some(weather) = self.skies.pop() else { return };
        let mut time = Duration::from_millis(self.random.u64(WEATHER_MS));
        if weather == Weather::Cut && self.random.u32(..4) == 0 {
            time = LONG_CUT;
        }
        let delay = if weather == Weather::Slow { self.random.u64(20..400) } else { 0 };
        *self.tally.weather.entry(weather).or_default() += 1;
        self.tell(&format!("{weather:?} for {time:?}"));
        self.proxy.set_weather(Some(weather), Duration::from_millis(delay));
        thread::sleep(time);
        self.proxy.set_weather(None, Duration::ZERO);
        self.await_progress(&format!("{weather:?} for {time:?}"));
        if nth.is_multiple_of(WEATHERS_PER_NODE) {
            self.kill_node();
        }
    }

    fn kill_node(&mut self) {
        let addresses: Vec<String> = self.nodes.bootstrap.split(',').map(str::to_owned).collect();
        let address = addresses[self.random.usize(..addresses.len())].clone();
        self.tell(&format!("{address} is killed"));
        self.tally.nodes_killed += 1;
        self.nodes.kill(&address);
        self.await_progress(&format!("{address} was killed"));
        self.nodes.restore();
        self.tell(&format!("{address} is back"));
        self.await_progress(&format!("{address} came back"));
    }

    /// All well again: what is left is forwarded, then compared.
    fn finish(mut self, published: &[u64], stuck: Option<String>) {
        self.proxy.control().disarm();
        self.proxy.set_weather(None, Duration::ZERO);
        self.revive();
        let drained = stuck.is_none() && self.drain();
        let log = self.gateway.log();
        if drained {
            self.gateway.stop();
        } else {
            self.gateway.kill();
        }
        let verdict = centre::compare(&self.nodes.bootstrap, TOPIC, published);
        let doubts = ["was committed upstream", "was not committed upstream"].map(|said| log.matches(said).count());
        let report = self.report(published, &verdict, doubts);
        println!("{report}");
        let work = &self.options.work;
        fs::create_dir_all(work).unwrap();
        fs::write(work.join("gateway.log"), log).unwrap();
        fs::write(work.join("story.txt"), format!("{}\n{report}", self.story)).unwrap();
        let exact = verdict.twice == 0 || self.options.delivery != "exactly-once";
        let right = verdict.lost == 0 && verdict.disordered == 0 && verdict.unknown == 0 && exact;
        let mut short = self.short();
        if self.options.least > 0 && doubts.contains(&0) {
            short.push(format!("in doubt and committed, in doubt and aborted: {doubts:?}"));
        }
        let wrong = [
            stuck,
            (!drained).then(|| format!("not all was forwarded within {DRAIN:?}")),
            (!right).then(|| verdict.told.join("\n")),
            (!short.is_empty()).then(|| format!("too seldom: {}", short.join(", "))),
        ];
        let wrong: Vec<String> = wrong.into_iter().flatten().collect();
        let (seed, dir) = (self.options.seed, work.display());
        assert!(wrong.is_empty(), "seed {seed}; story and log of the gateway in {dir}:\n{}", wrong.join("\n"));
    }

    fn drain(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < DRAIN {
            let status = self.gateway.cli(&["uplink", "status", "--json"], "");
            let all: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            if all[0]["state"] == "caught-up" && all[0]["lag_records"] == 0 {
                return true;
            }
            thread::sleep(Duration::from_millis(200));
        }
        false
    }

    /// The cells that occurred less often than was asked.
    fn short(&self) -> Vec<String> {
        let control = self.proxy.control();
        let seldom = |(cell, n): (&Cell, &u32)| (*n < self.options.least).then(|| format!("{cell} {n}"));
        control.fired.iter().filter_map(seldom).collect()
    }

    fn report(&self, published: &[u64], verdict: &Verdict, [committed, aborted]: [usize; 2]) -> String {
        let mut text = format!("\n{}\n", table(&self.proxy.control()));
        let tally = &self.tally;
        for (weather, n) in &tally.weather {
            let _ = write!(text, "{weather:?} {n} times, ");
        }
        let _ = writeln!(text, "nodes killed {}", tally.nodes_killed);
        let unmet: u32 = tally.unmet.values().sum();
        let _ = writeln!(
            text,
            "faults not met {unmet}, longest way back to a commit {:.1} s, commits {}, MB through the proxy {:.1}",
            tally.standstill_max.as_secs_f64(),
            self.proxy.control().commits,
            self.proxy.bytes() as f64 / 1e6,
        );
        let _ = writeln!(text, "transactions in doubt that turned out committed {committed}, aborted {aborted}");
        let acknowledged: u64 = published.iter().sum();
        let Verdict { records, lost, twice, disordered, unknown, .. } = verdict;
        let _ = writeln!(
            text,
            "seed={} devices={} acknowledged={acknowledged} arrived={records} lost={lost} duplicates={twice} \
             out_of_order={disordered} unknown={unknown}",
            self.options.seed,
            published.len(),
        );
        text
    }
}

fn table(control: &Control) -> String {
    let mut text = format!("{:16}", "faults at");
    for kind in Kind::ALL {
        let _ = write!(text, "{:>14}", format!("{kind:?}"));
    }
    for step in Step::ALL {
        let _ = write!(text, "\n{:16}", format!("{step:?}"));
        for kind in Kind::ALL {
            let n = control.fired.get(&Cell { step, kind }).copied();
            let _ = write!(text, "{:>14}", n.map_or("–".to_owned(), |n| n.to_string()));
        }
    }
    text
}

fn config(bootstrap: &str, delivery: &str) -> String {
    let addresses: Vec<String> = bootstrap.split(',').map(|address| format!("{address:?}")).collect();
    format!(
        "gateway.id = \"{GATEWAY}\"\n\n[topic.{TOPIC}]\npartitions = 4\n\n[uplink.central]\nbootstrap = [{}]\n\
         delivery = \"{delivery}\"\nbackoff.min = \"50ms\"\nbackoff.max = \"1s\"\nconnect_timeout = \"3s\"\n\
         request_timeout = \"8s\"\n{}",
        addresses.join(", "),
        if delivery == "exactly-once" { "commit_every = \"100ms\"\n" } else { "" },
    )
}

/// Moves what this step's requests go to.
fn relocate_for(brokers: &str, step: Step) -> bool {
    let all: Vec<i32> = (0..UPSTREAM_PARTITIONS).collect();
    let home = [home(NAME, INTERNAL_PARTITIONS)];
    match step {
        Step::Produce => relocate(brokers, TOPIC, &all),
        Step::TxnOffsetCommit => relocate(brokers, "__consumer_offsets", &home),
        _ => relocate(brokers, "__transaction_state", &home),
    }
}
