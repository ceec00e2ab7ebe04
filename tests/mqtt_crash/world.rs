//! A gateway on a simulated disk, and its MQTT clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brooklet::broker::{Broker, BrokerOptions, Listener};
use brooklet::config::{AuthMethod, ListenAuthConfig};
use brooklet::executor::Executor;
use brooklet::listen::arrival::Arrival;
use brooklet::listen::auth::Authentication;
use brooklet::listen::budget::Budgets;
use brooklet::listen::mqtt::{Mqtt, MqttOptions};
use brooklet::shutdown::Shutdown;
use brooklet::store::clock::ManualClock;
use brooklet::store::sim::SimDisk;
use brooklet::store::{Engine, Store, StoreOptions};
use fastrand::Rng;

use crate::Journal;
use crate::harness::{Verdict, ensure};
use crate::peers::{Crew, Line, Role};
use crate::pipe::Pipe;

/// How long it may take until somebody gets something more, in real time: what is not in memory is read on other threads.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct World {
    pub disk: SimDisk,
    pub crew: Crew,
    clock: Arc<ManualClock>,
    engine: Engine,
    mqtt: Mqtt,
    /// By peer.
    lines: Vec<Option<(Line<Pipe>, Pipe)>>,
    executor: Arc<Executor>,
}

impl World {
    /// Opens the gateway on `disk`; its clients live on.
    pub fn open(disk: SimDisk, options: &StoreOptions, crew: Crew) -> Result<Self, String> {
        let clock = Arc::new(ManualClock::default());
        let opened = Store::open(options.clone(), Arc::new(disk.clone()), clock.clone());
        let (store, engine) = opened.map_err(|error| format!("opening: {error}"))?;
        let broker = Broker::new(store, BrokerOptions::default())?;
        let options = MqttOptions {
            rules: Default::default(),
            packet_bytes_max: 1 << 20,
            in_flight_bytes_max: 4 << 20,
            in_flight_max: 20,
            session_expiry_s_max: u32::MAX,
            sessions_max: 100,
            subscriptions_max: 100,
            retained_max: 100,
            retained_bytes_max: 1 << 20,
            packet_time: Duration::from_secs(60),
            keep_alive_s_max: None,
            origins: Vec::new(),
        };
        let anyone = ListenAuthConfig { methods: vec![AuthMethod::None], clear_passwords: true, lifetime: None };
        let guard = Authentication::new(broker.lobby()).guard(Listener::Mqtt, &anyone, &[]);
        let mqtt = Mqtt::new(broker, guard, options, &Budgets::new(64 << 20));
        let lines = crew.peers.iter().map(|_| None).collect();
        Ok(Self { disk, crew, clock, engine, mqtt, lines, executor: Arc::default() })
    }

    /// Lets the clients do `acts` things, and the gateway work in between. What they know goes into the journal.
    pub fn live(&mut self, rng: &mut Rng, acts: u32, journal: &mut Journal) -> Verdict {
        for _ in 0..acts {
            // One client may do a lot while the store does nothing.
            let at = rng.usize(0..self.crew.peers.len());
            for _ in 0..rng.u8(1..6) {
                self.act(at, rng)?;
                while self.executor.try_tick() {}
            }
            let ops = self.disk.ops();
            if journal.last().is_some_and(|(last, _)| *last == ops) {
                journal.pop();
            }
            journal.push((ops, self.crew.clone()));
            self.work(rng);
        }
        Ok(())
    }

    /// A client does something.
    fn act(&mut self, at: usize, rng: &mut Rng) -> Verdict {
        let all_subscribed = self.crew.all_subscribed();
        let peer = &mut self.crew.peers[at];
        let Some((line, pipe)) = &mut self.lines[at] else {
            let pipe = connect(&self.mqtt, &self.executor);
            let mut line = Line::new(pipe.clone());
            peer.greet(&mut line);
            self.lines[at] = Some((line, pipe));
            return Ok(());
        };
        if rng.u8(0..150) == 0 {
            pipe.cut();
            self.lines[at] = None;
            return Ok(());
        }
        if peer.role == Role::Publisher && all_subscribed && rng.bool() {
            peer.publish(line, rng);
            return Ok(());
        }
        for _ in 0..rng.u8(0..6) {
            match peer.take(line)? {
                Some(true) => {}
                Some(false) => break,
                None => {
                    self.lines[at] = None;
                    break;
                }
            }
        }
        Ok(())
    }

    /// A connection of somebody else.
    pub fn connect(&self) -> Pipe {
        connect(&self.mqtt, &self.executor)
    }

    /// The gateway does what there is to do, and its store nothing.
    pub fn stand_still(&self) {
        while self.executor.try_tick() {}
    }

    /// The gateway does what there is to do, and its store something.
    pub fn work(&mut self, rng: &mut Rng) {
        while self.executor.try_tick() {}
        self.clock.advance_ms(rng.u64(0..20));
        if rng.u8(0..3) > 0 {
            self.engine.step_writer(rng.bool());
        }
        if rng.u8(0..4) == 0 {
            let _ = self.engine.step_sealer();
            let _ = self.engine.step_evictor();
        }
        while self.executor.try_tick() {}
    }

    /// Everybody gets what is theirs; then nothing more comes, and all is as it should be.
    pub fn finish(&mut self, rng: &mut Rng) -> Verdict {
        let (mut begin, mut heard) = (Instant::now(), 0);
        let greeted = |line: &Option<(Line<Pipe>, Pipe)>| line.as_ref().is_some_and(|(line, _)| line.greeted);
        while !self.crew.is_done() || !self.lines.iter().all(greeted) {
            let missing = || self.crew.missing().unwrap_or_else(|| format!("{:?}", self.crew.peers));
            ensure!(begin.elapsed() < PATIENCE, "it never comes to rest: {}", missing());
            self.all_take(rng)?;
            if heard != self.crew.heard() {
                (begin, heard) = (Instant::now(), self.crew.heard());
            }
        }
        // What comes behind two answers to pings has been on its way for long enough.
        for round in 1..=2 {
            for (peer, line) in self.crew.peers.iter().zip(&mut self.lines) {
                if let Some((line, _)) = line {
                    peer.ping(line);
                }
            }
            while self.lines.iter().flatten().any(|(line, _)| line.pings < round) {
                ensure!(begin.elapsed() < PATIENCE, "no answer to a ping");
                self.all_take(rng)?;
            }
        }
        self.crew.check()
    }

    fn all_take(&mut self, rng: &mut Rng) -> Verdict {
        for at in 0..self.lines.len() {
            match &mut self.lines[at] {
                Some((line, _)) => while self.crew.peers[at].take(line)? == Some(true) {},
                None => self.act(at, rng)?,
            }
        }
        self.work(rng);
        // Other threads may be reading.
        std::thread::yield_now();
        Ok(())
    }
}

fn connect(mqtt: &Mqtt, executor: &Arc<Executor>) -> Pipe {
    let pipe = Pipe::default();
    let from = Arrival::by_network(([127, 0, 0, 1], 20_000).into(), None);
    let serving = mqtt.serve(Arc::clone(executor), Shutdown::default(), pipe.clone(), from.into());
    executor.spawn(serving).detach();
    pipe
}
