//! Records dealt out by their keys: one batch under construction for each partition upstream.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::super::sending::producer::LaneId;
use super::{Gatherer, Item, Open, Ready, too_large, unpack};
use crate::record::{BatchError, BatchView, RecordRef, records};
use crate::store::PartitionId;

/// See the module.
#[derive(Default)]
pub(super) struct Keyed {
    open: BTreeMap<LaneId, Open>,
    /// One piece for each local partition, however many batches carry parts of it.
    pieces: BTreeMap<PartitionId, usize>,
}

impl Gatherer<'_> {
    /// Deals the records of a batch out by their keys.
    pub(super) fn deal_out(&mut self, item: &Item<'_>, view: &BatchView<'_>) {
        let payload = match unpack(view, &super::recode::stored_limits()) {
            Ok(payload) => payload,
            Err(error) => return self.damaged(item.partition, item.first_wanted(), error),
        };
        let piece = match self.keyed.pieces.get(&item.partition) {
            Some(piece) => *piece,
            None => self.piece(item, view),
        };
        self.keyed.pieces.insert(item.partition, piece);
        self.stretch(piece, item);
        let mut origin = String::new();
        for record in records(view, &payload).flatten().filter(|record| item.wants(record.offset)) {
            if let Some(letter) = item.letter(&record) {
                self.gathered.letters.push(letter);
            } else if let Err(error) = self.deal(item, piece, &record, &mut origin) {
                // The partition ends before this record.
                return self.damaged(item.partition, record.offset, error);
            }
        }
    }

    fn deal(
        &mut self,
        item: &Item<'_>,
        piece: usize,
        record: &RecordRef<'_>,
        origin: &mut String,
    ) -> Result<(), BatchError> {
        let lane = (Arc::clone(&item.topic), item.route.partition_for(record.key));
        let max = item.merge_bytes_max(self.rules);
        let mut open = self.keyed.open.remove(&lane).unwrap_or_default();
        let headers = item.headers(self.rules, record, origin);
        let (time, key, value) = (record.timestamp, record.key, record.value);
        // A timestamp too far from the first one's needs a batch of its own.
        let fits = open.builder.size_with(time, key, value, headers.iter().copied()).is_ok_and(|size| size <= max);
        if !fits {
            self.close(&lane, &mut open);
        }
        open.push(item, piece, record, &headers)?;
        if open.builder.size() > item.takes.bytes_max {
            // It is alone. If compression doesn't help, nothing does.
            if let Some((alone, pieces, takes)) = open.finish(self.rules) {
                let letter = if alone.bytes.len() > takes.bytes_max && takes.told {
                    too_large(&alone, &lane.0, takes)
                } else {
                    None
                };
                match letter {
                    Some(letter) => self.gathered.letters.push(letter),
                    None => self.gathered.ready.push(Ready { lane, batch: alone, pieces }),
                }
            }
            return Ok(());
        }
        self.keyed.open.insert(lane, open);
        Ok(())
    }

    pub(super) fn flush_keyed(&mut self) {
        for (lane, mut open) in std::mem::take(&mut self.keyed.open) {
            self.close(&lane, &mut open);
        }
    }
}
