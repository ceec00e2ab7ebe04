//! After all cursors were looked through: what was found is held against the own store, and the uplink goes on from there, under
//! another lineage where the two histories differ; or it waits for an operator.
//!
//! Invariant: a divergence is always told: in the log, in the status, and in the topic of losses.

use std::collections::BTreeMap;

use super::cursor::{EPOCHS_TOLD, Epoch};
use super::local::Local;
use super::resuming::Found;
use super::standing::{Divergence, Held, Looked, judge};
use crate::broker::TopicId;
use crate::config::OnDivergence;
use crate::json::{JsonObject, array};
use crate::store::{PartitionId, Store};
use crate::uplink::task::Forwarder;

/// Partitions of a divergence that are told one by one.
const TOLD_MAX: usize = 100;

impl Forwarder {
    /// Where what was found leaves this uplink.
    pub(super) fn settle(&mut self) {
        let Some(found) = self.exactly.as_mut().and_then(|exactly| exactly.machine.looked()) else { return };
        let Some(local) = self.exactly.as_ref().map(|exactly| exactly.machine.local.clone()) else { return };
        let standing = judge(&local, &self.held_against(&local, found));
        let mut lineage = local.lineage;
        if let Some(divergence) = &standing.diverged {
            let stops = self.options.config.on_divergence == OnDivergence::Stop && !self.goes_on_diverged();
            self.tell_divergence(divergence, stops);
            if stops {
                if let Some(exactly) = &mut self.exactly {
                    exactly.machine.stop();
                }
                return;
            }
            lineage = TopicId::random().0;
        }
        for (partition, next) in standing.positions {
            self.mirror.stand(partition, next);
            self.publish(partition);
        }
        if let Some(exactly) = &mut self.exactly {
            exactly.machine.stand(lineage, standing.number);
            let letters = exactly.letters_in_doubt.drain(..).chain(local.pending.into_iter().flat_map(|p| p.letters));
            // Those that upstream's cursors have passed are what they are; the others are met again.
            for letter in letters {
                let followed = self.mirror.get(letter.partition);
                if followed.is_some_and(|followed| followed.position().contains(letter.offset)) {
                    self.mirror.condemn(letter);
                }
            }
        }
        self.take_over_identity();
        self.busy = true;
    }

    /// Whether an operator has said so.
    fn goes_on_diverged(&mut self) -> bool {
        self.exactly.as_mut().is_some_and(|exactly| std::mem::take(&mut exactly.go_on_diverged))
    }

    /// The cursors of this uplink, beside what the own store holds.
    fn held_against(&self, local: &Local, found: Found) -> Looked {
        let name = &self.options.name;
        let witness = found.witness;
        let mut looked = Looked { number: witness.as_ref().map_or(0, |witness| witness.number), ..Default::default() };
        looked.foreign = witness.is_some_and(|witness| witness.of.is_none_or(|(lineage, _)| lineage != local.lineage));
        let histories = Histories::of(self.broker.store());
        let topics = self.broker.topics();
        for (key, value) in found.cursors {
            if key.gateway != self.options.gateway || key.uplink != *name {
                continue;
            }
            looked.number = looked.number.max(value.transaction);
            let topic = topics.iter().find(|topic| topic.id.to_string() == key.topic_id);
            match topic.and_then(|topic| topic.partitions.get(key.partition as usize)) {
                Some(partition) => {
                    let position = self.broker.position(name, *partition).first_gap();
                    let epochs = histories.ends(*partition);
                    looked.cursors.push((Held { partition: *partition, position, epochs }, value));
                }
                None => looked.foreign |= value.lineage != local.lineage,
            }
        }
        looked
    }

    pub(in crate::uplink) fn tell_divergence(&self, divergence: &Divergence, stops: bool) {
        let name = &self.options.name;
        let what = if divergence.another_store {
            "upstream knows this gateway from another store".to_owned()
        } else if divergence.upstream_lost {
            "upstream has lost what it had committed".to_owned()
        } else {
            format!("upstream has records of {} partitions that this store never held", divergence.partitions.len())
        };
        let follows = if stops {
            "on_divergence = \"stop\": nothing is forwarded until `brooklet uplink resume`, which forwards all that is behind \
             the last common point"
        } else {
            "all that is behind the last common point is forwarded, as another history"
        };
        let text = format!("{what}: the store was restored, copied, or lost its tail; {follows}");
        log::error!("uplink {name}: {text}");
        self.failed(text);
        let partition = |(partition, common, upstream): &(PartitionId, i64, i64)| {
            let mut told = JsonObject::new();
            let names = self.mirror.get(*partition).map(|followed| &followed.names);
            told.text("topic", names.map_or("", |names| &names.topic));
            told.number("partition", names.map_or(0, |names| names.index));
            told.number("common", *common).number("upstream", *upstream);
            told.finish()
        };
        let partitions = array(divergence.partitions.iter().take(TOLD_MAX).map(partition));
        let (broker, uplink, stopped) = (self.broker.clone(), name.clone(), stops);
        let told = async move {
            if let Err(error) = broker.tell_divergence(&uplink, &what, &partitions, stopped).await {
                log::warn!("uplink {uplink}: the divergence could not be told in the topic of losses: {error}");
            }
        };
        self.executor.spawn(told).detach();
    }
}

/// Which boot epochs wrote what, as far as the store remembers.
pub(in crate::uplink) struct Histories<'a> {
    store: &'a Store,
    /// By ordinal.
    ids: BTreeMap<u32, u64>,
}

impl<'a> Histories<'a> {
    pub(in crate::uplink) fn of(store: &'a Store) -> Self {
        let ids = store.epochs().into_iter().map(|row| (row.epoch.ordinal, row.epoch.id)).collect();
        Self { store, ids }
    }

    /// The epochs of a partition, the latest first, each with its end.
    pub(in crate::uplink) fn ends(&self, partition: PartitionId) -> Vec<(u64, i64)> {
        let mut ends = Vec::new();
        let mut below = Some(u32::MAX);
        while let Some((ordinal, end)) = below.and_then(|ordinal| self.store.epoch_end(partition, ordinal)) {
            if let Some(id) = self.ids.get(&ordinal) {
                ends.push((*id, end));
            }
            below = ordinal.checked_sub(1);
        }
        ends
    }

    /// What a cursor at `next` tells of them.
    pub(in crate::uplink) fn told(&self, partition: PartitionId, next: i64) -> Vec<Epoch> {
        let ends = self.ends(partition);
        let firsts = ends.iter().skip(1).map(|(_, end)| *end).chain([0]);
        let all = ends.iter().zip(firsts).map(|((id, _), first)| Epoch { id: *id, first });
        all.filter(|epoch| epoch.first < next).take(EPOCHS_TOLD).collect()
    }
}
