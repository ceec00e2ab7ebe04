//! What a gateway below forwards to this one, with a power cut anywhere here: several stretches are under way, answers are lost,
//! old stretches come late. The cursors and the records before them are one commit, so a sender that goes on from the cursors
//! repeats nothing and leaves nothing out.

use std::collections::BTreeMap;
use std::sync::Arc;

use brooklet::broker::{IntakeError, IntakeTicket, TierBatch, TierMove, TierSource, Topic};
use fastrand::Rng;

use crate::harness::seeds::with_seeds;
use crate::harness::{ROOMY, Verdict, ensure, new_disk, options, tally};
use crate::intake::{Edge, PARTITIONS, batch};
use crate::scene::Case;
use crate::sound;

const BELOW: [u8; 16] = [5; 16];

#[test]
fn a_power_cut_anywhere_parts_no_cursor_from_its_records() {
    with_seeds(0..3, sound(forwarded));
}

/// A stretch: where its partitions stand before and after it.
#[derive(Clone)]
struct Stretch {
    moves: Vec<TierMove>,
    batches: Vec<TierBatch>,
}

/// The gateway below. Its records are all those that [`batch`] makes; each of its lives has a boot epoch of its own.
#[derive(Clone, Default)]
struct Below {
    /// Where upstream's cursors are, once all that is under way is there: offset and boot epoch.
    places: BTreeMap<i32, (i64, u64)>,
    epoch: u64,
}

fn source() -> TierSource {
    TierSource { gateway: "below".into(), uplink: "up".into(), history: [9; 16], user: None }
}

impl Below {
    /// What is sent next.
    fn stretch(&mut self, topic: &Arc<Topic>, rng: &mut Rng) -> Stretch {
        let (mut moves, mut batches) = (Vec::new(), Vec::new());
        let chosen: Vec<i32> = (0..PARTITIONS).filter(|_| rng.bool()).collect();
        for index in chosen {
            let from = self.places.get(&index).copied();
            let first = from.map_or(0, |(next, _)| next);
            let mut next = first;
            for _ in 0..rng.usize(1..3) {
                let bytes = batch(index, &mut next, rng.i64(1..40)).into();
                batches.push(TierBatch { topic: Arc::clone(topic), partition: index, bytes });
            }
            let is_new = from.is_none_or(|(_, epoch)| epoch != self.epoch);
            let epochs = if is_new { vec![(self.epoch, first)] } else { Vec::new() };
            moves.push(TierMove { topic: BELOW, partition: index as u32, from, next, epochs });
            self.places.insert(index, (next, self.epoch));
        }
        Stretch { moves, batches }
    }

    /// Believes what upstream has.
    fn ask(&mut self, above: &mut Edge, rng: &mut Rng) -> Verdict {
        let broker = above.broker.clone();
        let known = above.run(rng, async move { broker.tier_cursors(&source(), Some(BELOW)).await });
        let known = known.map_err(|error| error.to_string())?;
        let place =
            |cursor: &brooklet::broker::TierCursor| (cursor.next, cursor.epochs.first().map_or(0, |(id, _)| *id));
        self.places = known.cursors.iter().map(|cursor| (cursor.partition as i32, place(cursor))).collect();
        Ok(())
    }
}

/// What is here, against the cursors and what was acknowledged.
fn check(above: &mut Edge, rng: &mut Rng, acknowledged: &BTreeMap<i32, i64>) -> Verdict {
    let mut asked = Below::default();
    asked.ask(above, rng)?;
    let cursors = asked.places.into_iter().map(|(index, (next, _))| (index, next)).collect();
    above.hold_against(&cursors, acknowledged)
}

fn send(above: &mut Edge, rng: &mut Rng, stretch: Stretch) -> Result<IntakeTicket, IntakeError> {
    let broker = above.broker.clone();
    above.run(rng, async move { broker.take_stretch(&source(), stretch.moves, stretch.batches).await })
}

type Journal = Vec<(u64, BTreeMap<i32, i64>)>;

/// Sends some stretches without waiting, then takes their answers; now and then an old one comes again.
fn forward(above: &mut Edge, below: &mut Below, topic: &Arc<Topic>, rng: &mut Rng, journal: &mut Journal) -> Verdict {
    let mut under_way = Vec::new();
    for _ in 0..rng.usize(1..4) {
        let stretch = below.stretch(topic, rng);
        let ticket = send(above, rng, stretch.clone()).map_err(|error| format!("not queued: {error}"))?;
        under_way.push((stretch, ticket));
    }
    for (stretch, ticket) in under_way {
        let answer = above.run(rng, ticket.wait());
        ensure!(answer.is_ok(), "a stretch is refused: {answer:?}");
        let mut known = journal.last().unwrap().1.clone();
        known.extend(stretch.moves.iter().map(|moved| (moved.partition as i32, moved.next)));
        journal.push((above.disk.ops(), known));
        if rng.u8(0..3) == 0 {
            let ticket = send(above, rng, stretch).map_err(|error| format!("not queued: {error}"))?;
            let again = above.run(rng, ticket.wait());
            ensure!(again.is_ok(), "what is here already is refused: {again:?}");
        }
    }
    if rng.u8(0..4) == 0 {
        // One that is in nobody's way: it begins where no cursor is.
        let mut lost = below.clone();
        let _never_sent = lost.stretch(topic, rng);
        let stray = lost.stretch(topic, rng);
        let is_stray =
            stray.moves.iter().any(|moved| moved.from != below.places.get(&(moved.partition as i32)).copied());
        let ticket = send(above, rng, stray).map_err(|error| format!("not queued: {error}"))?;
        let answer = above.run(rng, ticket.wait());
        if is_stray {
            ensure!(
                matches!(answer, Err(IntakeError::Moved)),
                "taken though something is missing before it: {answer:?}"
            );
        } else {
            answer.map_err(|error| format!("refused: {error}"))?;
            below.ask(above, rng)?;
        }
    }
    if rng.u8(0..6) == 0 {
        below.epoch = rng.u64(1..);
    }
    Ok(())
}

/// The life of the gateway above, cut anywhere, and its next one.
pub fn forwarded(case: Case) -> Verdict {
    let rng = &mut Rng::with_seed(case.seed);
    let options = brooklet::store::StoreOptions { planted: case.planted, ..options(rng, ROOMY) };
    let disk = new_disk(case.seed);
    disk.watch(0.02);
    let mut above = Edge::open(disk, &options)?;
    let topic = above.topic(rng)?;
    // What was acknowledged, by the operations of the disk done by then.
    let mut journal: Journal = vec![(0, BTreeMap::new())];
    let mut below = Below { epoch: 7, ..Below::default() };
    for _ in 0..30 {
        forward(&mut above, &mut below, &topic, rng, &mut journal)?;
    }
    let moments = above.disk.unwatch();
    check(&mut above, rng, &journal.last().unwrap().1)?;
    let chosen: Vec<_> = moments.iter().filter(|_| rng.u8(0..4) == 0).collect();
    for moment in chosen {
        let known = journal.iter().rev().find(|(ops, _)| *ops <= moment.op).map(|(_, known)| known.clone());
        let known = known.unwrap_or_default();
        tally::count_at("power cut above a gateway", moment.at.0);
        let wrong = |what: String| format!("power cut before operation {}, {:?}: {what}", moment.op, moment.at);
        let mut again = Edge::open(moment.power_cut(rng.u64(..)), &options).map_err(wrong)?;
        check(&mut again, rng, &known).map_err(wrong)?;
        let topic = match again.broker.topic("here") {
            Some(topic) => topic,
            None => again.topic(rng)?,
        };
        // It asks, and goes on from there.
        let (mut journal, mut below) = (vec![(0, known)], below.clone());
        below.ask(&mut again, rng).map_err(wrong)?;
        for _ in 0..4 {
            forward(&mut again, &mut below, &topic, rng, &mut journal).map_err(wrong)?;
        }
        check(&mut again, rng, &journal.last().unwrap().1).map_err(wrong)?;
    }
    Ok(())
}
