//! From what was gathered to stretches, and what their answers mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::places::{Place, UnderWay};
use super::{Heard, Tier};
use crate::broker::dead_letter::Letter;
use crate::frame::{ErrorCode, GatewayMessage, TierBatch, TierMove, tier_stretch_frame};
use crate::record::{Producer, header};
use crate::store::PartitionId;
use crate::uplink::batches::gather::{Gathered, PieceSpec, Ready};
use crate::uplink::beacon::Told;
use crate::uplink::exactly::{Histories, Tally};
use crate::uplink::link::cluster::ClusterError;
use crate::uplink::link::connection::LinkError;
use crate::uplink::parts::Event;
use crate::uplink::task::Forwarder;

/// What an answer says.
enum Answer {
    Taken,
    Refused(ErrorCode, String),
    None(LinkError),
}

/// All that was gathered for one topic upstream.
#[derive(Default)]
struct Group {
    pieces: Vec<PieceSpec>,
    ready: Vec<Ready>,
}

/// A stretch, ready to be sent.
struct Stretch {
    moves: Vec<TierMove>,
    places: Vec<(PartitionId, Place)>,
    tally: Tally,
}

impl Forwarder {
    /// Whether what was gathered fits into one frame.
    pub(in crate::uplink) fn fits(&self, gathered: &Gathered) -> bool {
        let Some(tier) = &self.tier else { return true };
        gathered.ready.iter().map(|ready| ready.batch.bytes.len()).sum::<usize>() <= tier.frame_room()
    }

    /// Sends what was gathered, a stretch for each topic upstream.
    pub(in crate::uplink) async fn send_stretches(&mut self, gathered: Gathered) {
        let Gathered { ready, pieces, letters, faults } = gathered;
        if !letters.is_empty() && !self.keep_letters(letters).await {
            return;
        }
        let mut groups: BTreeMap<Arc<str>, Group> = BTreeMap::new();
        for one in ready {
            groups.entry(Arc::clone(&one.lane.0)).or_default().ready.push(one);
        }
        for piece in pieces {
            let Some(followed) = self.mirror.get(piece.partition) else { continue };
            groups.entry(Arc::clone(&followed.names.upstream)).or_default().pieces.push(piece);
        }
        for (topic, group) in groups {
            self.send_stretch(&topic, group);
        }
        for (partition, fault) in faults {
            self.alarm_partition(partition, &fault.to_string());
        }
    }

    /// Writes down the records that the next stretches leave out. Whether that is done.
    async fn keep_letters(&mut self, letters: Vec<Letter>) -> bool {
        letters.iter().for_each(|letter| self.mirror.condemn(letter.clone()));
        let Some(tier) = &self.tier else { return false };
        let mut kept = tier.kept.clone();
        // Those whose positions are durable by now are letters already.
        kept.letters.retain(|old| self.mirror.is_condemned(old.partition, old.offset));
        kept.letters.retain(|old| letters.iter().all(|new| (new.partition, new.offset) != (old.partition, old.offset)));
        kept.letters.extend(letters);
        match self.keep_row(kept).await {
            Ok(()) => true,
            Err(error) => {
                log::debug!("uplink {}: {error}", self.options.name);
                self.give_up_line(&error);
                false
            }
        }
    }

    /// Sends one stretch. Where it can't be made, its partitions stall, or upstream's cursors are asked for.
    fn send_stretch(&mut self, topic: &Arc<str>, mut group: Group) {
        for ready in &mut group.ready {
            if let Err(error) = header::rewrite_for_forward(&mut ready.batch.bytes, Producer::NONE, false) {
                self.stall_topic(topic, &format!("a batch was damaged in memory: {error}"));
                return self.doubt_all();
            }
        }
        let Some(stretch) = self.stretch(&group) else { return self.doubt_all() };
        let moved = !stretch.moves.is_empty();
        let mut pieces = Vec::new();
        for piece in &group.pieces {
            let parts = u32::from(moved);
            let (partition, range) = (piece.partition, piece.range.clone());
            pieces.push(self.mirror.gathered(partition, range, parts, piece.first_timestamp));
            if !moved {
                self.publish(partition);
            }
        }
        if !moved {
            return;
        }
        let name = topic.to_string();
        let batches: Vec<TierBatch<'_>> = group.ready.iter().map(|ready| batch(&name, ready)).collect();
        let Some(Tier { line: Some(line), .. }) = &self.tier else { return self.doubt_all() };
        let line = Arc::clone(line);
        let Some(tier) = &mut self.tier else { return };
        let id = tier.new_id();
        let reply = tier_stretch_frame(id, &stretch.moves, &batches)
            .map_err(|_| LinkError::new("a stretch is larger than a frame"))
            .and_then(|frame| line.send(id, frame));
        let partitions = stretch.places.iter().map(|(partition, _)| *partition).collect();
        let under_way = UnderWay { id, topic: Arc::clone(topic), partitions, pieces, tally: stretch.tally };
        tier.places.sent(under_way, stretch.places);
        self.in_flight += 1;
        self.beacon.records_went();
        let sender = self.sender.clone();
        let awaited = async move {
            let answer = match reply {
                Ok(reply) => reply.bodies().await,
                Err(error) => Err(error),
            };
            let _ = sender.send(Event::Above(Heard { id, answer })).await;
        };
        self.executor.spawn(awaited).detach();
    }

    /// The moves of a group's partitions; `None` if upstream has some of its records already, as is believed.
    fn stretch(&self, group: &Group) -> Option<Stretch> {
        let tier = self.tier.as_ref()?;
        let histories = Histories::of(self.broker.store());
        let mut ranges: BTreeMap<PartitionId, std::ops::Range<i64>> = BTreeMap::new();
        for piece in &group.pieces {
            let range = ranges.entry(piece.partition).or_insert_with(|| piece.range.clone());
            range.end = range.end.max(piece.range.end);
        }
        let mut stretch = Stretch { moves: Vec::new(), places: Vec::new(), tally: Tally::default() };
        for (partition, range) in ranges {
            if tier.places.is_beyond(partition, range.start) {
                return None;
            }
            let names = &self.mirror.get(partition)?.names;
            let topic = self.broker.topic(&names.topic)?;
            let epochs = histories.told(partition, range.end);
            if let Some((proposed, place)) = tier.places.propose(partition, range.end, &epochs) {
                stretch.moves.push(proposed.of(topic.id.0, names.index));
                stretch.places.push((partition, place));
            }
        }
        for ready in &group.ready {
            stretch.tally.records += u64::from(ready.batch.records);
            stretch.tally.bytes += ready.batch.bytes.len() as u64;
            stretch.tally.batches += 1;
        }
        Some(stretch)
    }

    fn doubt_all(&mut self) {
        self.busy = true;
        if let Some(tier) = &mut self.tier {
            tier.places.doubt_all();
        }
    }

    /// A stretch was answered.
    pub(in crate::uplink) fn heard_above(&mut self, heard: Heard) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(tier) = &mut self.tier else { return };
        let answer = read(heard.answer);
        let first = tier.places.unsure().is_none();
        let Some(stretch) = tier.places.answered(heard.id, matches!(answer, Answer::Taken)) else { return };
        match answer {
            Answer::Taken => self.taken(&stretch),
            // What follows a failure on the same line fails with it.
            _ if !first => {}
            Answer::None(error) => self.give_up_line(&error.into()),
            Answer::Refused(code, text) => self.stretch_refused(&stretch, code, &text),
        }
        self.pacing.answered(self.in_flight, self.broker.store().now());
    }

    fn taken(&mut self, stretch: &UnderWay) {
        if let Some(tier) = &mut self.tier {
            tier.surprises = 0;
        }
        self.link_works();
        self.metadata.backoff.succeed();
        self.pacing.carried(stretch.tally.bytes);
        self.count_acknowledged(stretch.tally);
        for partition in self.mirror.acknowledged(&stretch.pieces) {
            self.publish(partition);
        }
        if self.saving && self.mirror.has_passed_letters() {
            // A letter is awaited by whoever looks for the record.
            self.hurry_save();
        }
    }

    fn stretch_refused(&mut self, stretch: &UnderWay, code: ErrorCode, text: &str) {
        let error: ClusterError = LinkError::new(format_args!("{code}: {text}")).into();
        match code {
            ErrorCode::SequenceGap => {
                // Another store with the same history, or a cursor that was forgotten: the cursors tell.
                self.doubt_all();
                let Some(tier) = &mut self.tier else { return };
                tier.surprises += 1;
                if tier.surprises > 1 {
                    self.give_up_line(&error);
                }
            }
            ErrorCode::UnknownTopic
            | ErrorCode::UnknownPartition
            | ErrorCode::RecordTooLarge
            | ErrorCode::StoreFull
            | ErrorCode::NotAuthorized
            | ErrorCode::InvalidArgument => self.stall_topic(&stretch.topic, &error.to_string()),
            _ => self.give_up_line(&error),
        }
    }

    /// The line is of no use for now: another attempt is made after a pause.
    fn give_up_line(&mut self, error: &ClusterError) {
        if let Some(tier) = &mut self.tier {
            tier.line = None;
            tier.places.doubt(&[]);
        }
        self.link_failed(error);
    }
}

impl Tier {
    /// Sends a notice: a stretch that moves no cursor, so whatever becomes of it concerns no other. `None`: there is no line.
    pub(in crate::uplink) fn tell(
        &mut self,
        topic: &str,
        partition: u32,
        bytes: &[u8],
    ) -> Option<impl Future<Output = Told> + Send + use<>> {
        let (line, id) = (self.line.clone()?, self.new_id());
        let frame = tier_stretch_frame(id, &[], &[TierBatch { topic, partition, bytes }]).ok()?;
        let reply = line.send(id, frame).ok()?;
        Some(async move {
            match read(reply.bodies().await) {
                Answer::Taken => Told::Taken,
                Answer::Refused(
                    ErrorCode::UnknownTopic | ErrorCode::NotAuthorized | ErrorCode::InvalidArgument,
                    text,
                ) => Told::Refused(text),
                Answer::Refused(..) | Answer::None(_) => Told::Dropped(false),
            }
        })
    }
}

fn batch<'a>(topic: &'a str, ready: &'a Ready) -> TierBatch<'a> {
    TierBatch { topic, partition: ready.lane.1.unsigned_abs(), bytes: &ready.batch.bytes }
}

fn read(answer: Result<Vec<Vec<u8>>, LinkError>) -> Answer {
    let bodies = match answer {
        Ok(bodies) => bodies,
        Err(error) => return Answer::None(error),
    };
    match bodies.last().map(|body| GatewayMessage::decode(body)) {
        Some(Ok(GatewayMessage::Done(_))) => Answer::Taken,
        Some(Ok(GatewayMessage::Failed(failed))) => Answer::Refused(failed.code, failed.text.to_owned()),
        _ => Answer::None(LinkError::new("the answer to a stretch is none")),
    }
}
