//! What a downlink brings, with a power cut anywhere: the upstream position and the records before it are one commit, so a
//! bringer that goes on from its position repeats nothing and leaves nothing out.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use brooklet::broker::{Broker, BrokerOptions, Intake, IntakeError, NewTopic, Topic, UpstreamPosition, UpstreamTopic};
use brooklet::record::{BatchBuilder, BatchView, Compression, NO_HEADERS, decompress, records};
use brooklet::store::clock::ManualClock;
use brooklet::store::sim::SimDisk;
use brooklet::store::{Engine, Store, StoreOptions};
use fastrand::Rng;

use crate::harness::seeds::with_seeds;
use crate::harness::{ROOMY, Verdict, ensure, new_disk, options, tally};
use crate::scene::Case;
use crate::sound;

const DOWNLINK: &str = "down";
pub(crate) const PARTITIONS: i32 = 3;
const UPSTREAM: &str = "commands";

#[test]
fn a_power_cut_anywhere_parts_no_position_from_its_records() {
    with_seeds(0..3, sound(brought));
}

/// A broker over a simulated disk, driven by hand.
pub(crate) struct Edge {
    pub(crate) disk: SimDisk,
    clock: Arc<ManualClock>,
    pub(crate) broker: Broker,
    engine: Engine,
}

impl Edge {
    pub(crate) fn open(disk: SimDisk, options: &StoreOptions) -> Result<Self, String> {
        let clock = Arc::new(ManualClock::default());
        let opened = Store::open(options.clone(), Arc::new(disk.clone()), clock.clone());
        let (store, engine) = opened.map_err(|error| format!("opening: {error}"))?;
        let broker = Broker::new(store, BrokerOptions { auto_create: false, ..BrokerOptions::default() })?;
        Ok(Self { disk, clock, broker, engine })
    }

    /// Runs a request to its end, the store working meanwhile as the seed has it.
    pub(crate) fn run<T>(&mut self, rng: &mut Rng, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return value;
            }
            self.clock.advance_ms(rng.u64(0..20));
            self.engine.step_writer(rng.bool());
            if rng.u8(0..4) == 0 {
                let _ = self.engine.step_sealer();
                let _ = self.engine.step_evictor();
            }
        }
    }

    pub(crate) fn topic(&mut self, rng: &mut Rng) -> Result<Arc<Topic>, String> {
        let new = NewTopic { name: "here".into(), partitions: Some(PARTITIONS as u32), ..NewTopic::default() };
        let broker = self.broker.clone();
        self.run(rng, async move { broker.create_topic(new).await }).map_err(|error| error.to_string())
    }

    fn check(&self, acknowledged: &BTreeMap<i32, i64>) -> Verdict {
        let positions = self.broker.upstream_positions(DOWNLINK);
        let positions = positions.into_iter().map(|((_, index), position)| (index, position.next_offset));
        self.hold_against(&positions.collect(), acknowledged)
    }

    /// Each position is where its partition's records end, and these are all there are upstream up to it.
    pub(crate) fn hold_against(&self, positions: &BTreeMap<i32, i64>, acknowledged: &BTreeMap<i32, i64>) -> Verdict {
        for index in 0..PARTITIONS {
            let position = positions.get(&index).copied().unwrap_or(0);
            let had = acknowledged.get(&index).copied().unwrap_or(0);
            ensure!(position >= had, "partition {index}: acknowledged up to {had}, the position is {position}");
            let Some(partition) = self.broker.topic("here").and_then(|topic| topic.partition(index)) else {
                ensure!(position == 0, "partition {index} is not there, its position is");
                continue;
            };
            let end = self.broker.head(partition).map_err(|error| error.to_string())?.high_watermark;
            ensure!(end == position, "partition {index}: {end} records here, the position is {position}");
            let mut next = 0;
            while next < end {
                let read = self.broker.store().read(partition, next, 1 << 20).map_err(|error| error.to_string())?;
                let mut rest = read.bytes.as_slice();
                while !rest.is_empty() {
                    let (view, more) = BatchView::parse(rest).map_err(|error| error.to_string())?;
                    next = hold(&view, index, next)?;
                    rest = more;
                }
            }
        }
        Ok(())
    }

    /// What a bringer would ask for next, from where it stands; some partitions at once.
    fn intakes(&self, topic: &Topic, rng: &mut Rng) -> Vec<Intake> {
        let positions = self.broker.upstream_positions(DOWNLINK);
        let some = |_: &i32| rng.bool();
        let chosen: Vec<i32> = (0..PARTITIONS).filter(some).collect();
        let intake = |index: i32| {
            let from = positions.get(&(UPSTREAM.into(), index)).copied();
            let mut next = from.map_or(0, |from| from.next_offset);
            let batches = (0..rng.usize(0..3)).map(|_| batch(index, &mut next, rng.i64(1..40))).collect();
            let to = UpstreamPosition { topic_id: [7; 16], next_offset: next, leader_epoch: rng.i32(0..3) };
            let partition = topic.partition(index).unwrap();
            Intake { upstream: (UPSTREAM.into(), index), from, to, partition, batches }
        };
        chosen.into_iter().map(intake).collect()
    }
}

/// The next `count` records of a partition elsewhere.
pub(crate) fn batch(index: i32, next: &mut i64, count: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for number in *next..*next + count {
        let value = format!("{index}/{number} {}", "x".repeat((number % 90) as usize));
        builder.push(number, None, Some(value.as_bytes()), NO_HEADERS).unwrap();
    }
    *next += count;
    builder.finish(Compression::None)
}

/// The records of a batch are those from `next` on. Where it ends.
fn hold(view: &BatchView<'_>, index: i32, mut next: i64) -> Result<i64, String> {
    let payload = decompress(view, &Default::default()).map_err(|error| error.to_string())?;
    for record in records(view, &payload) {
        let value = record.map_err(|error| error.to_string())?.value.unwrap_or_default().to_vec();
        let expected = format!("{index}/{next} ");
        ensure!(value.starts_with(expected.as_bytes()), "partition {index}: no {expected} where it should be");
        next += 1;
    }
    Ok(next)
}

/// A bringer's life, cut anywhere, and its next one.
pub fn brought(case: Case) -> Verdict {
    let rng = &mut Rng::with_seed(case.seed);
    let options = StoreOptions { planted: case.planted, ..options(rng, ROOMY) };
    let disk = new_disk(case.seed);
    disk.watch(0.02);
    let mut edge = Edge::open(disk, &options)?;
    let topic = edge.topic(rng)?;
    // What was acknowledged, by the operations of the disk done by then.
    let mut journal: Vec<(u64, BTreeMap<i32, i64>)> = vec![(0, BTreeMap::new())];
    let met = UpstreamTopic { topic_id: [7; 16], partitions: PARTITIONS as u32 };
    let broker = edge.broker.clone();
    let noted = edge.run(rng, async move { broker.meet_upstream_topic(DOWNLINK, UPSTREAM, met).await });
    noted.map_err(|error| error.to_string())?;
    for _ in 0..60 {
        bring(&mut edge, &topic, rng, &mut journal)?;
    }
    let moments = edge.disk.unwatch();
    edge.check(&journal.last().unwrap().1)?;
    let chosen: Vec<_> = moments.iter().filter(|_| rng.u8(0..4) == 0).collect();
    for moment in chosen {
        let known = journal.iter().rev().find(|(ops, _)| *ops <= moment.op).map(|(_, known)| known.clone());
        let known = known.unwrap_or_default();
        tally::count_at("power cut of a bringer", moment.at.0);
        let wrong = |what: String| format!("power cut before operation {}, {:?}: {what}", moment.op, moment.at);
        let mut again = Edge::open(moment.power_cut(rng.u64(..)), &options).map_err(wrong)?;
        again.check(&known).map_err(wrong)?;
        // It goes on from where it is.
        let topic = match again.broker.topic("here") {
            Some(topic) => topic,
            None => again.topic(rng)?,
        };
        let mut journal = vec![(0, known)];
        for _ in 0..4 {
            bring(&mut again, &topic, rng, &mut journal).map_err(wrong)?;
        }
        again.check(&journal.last().unwrap().1).map_err(wrong)?;
    }
    Ok(())
}

/// Brings something; sometimes the same twice, as a bringer does that does not know what became of it.
fn bring(edge: &mut Edge, topic: &Topic, rng: &mut Rng, journal: &mut Vec<(u64, BTreeMap<i32, i64>)>) -> Verdict {
    let intakes = edge.intakes(topic, rng);
    let moves = intakes.iter().any(|intake| intake.from != Some(intake.to));
    let within = (rng.u8(0..8) == 0).then_some(std::time::Duration::from_millis(50));
    let (broker, brought) = (edge.broker.clone(), intakes.clone());
    let taken = edge.run(rng, async move { broker.take_in(DOWNLINK, brought, within).await });
    taken.map_err(|error| format!("not taken in: {error}"))?;
    let mut known = journal.last().unwrap().1.clone();
    known.extend(intakes.iter().map(|intake| (intake.upstream.1, intake.to.next_offset)));
    journal.push((edge.disk.ops(), known));
    if moves && rng.bool() {
        let broker = edge.broker.clone();
        let again = edge.run(rng, async move { broker.take_in(DOWNLINK, intakes, None).await });
        ensure!(matches!(again, Err(IntakeError::Moved)), "the same was taken in twice: {again:?}");
    }
    Ok(())
}
