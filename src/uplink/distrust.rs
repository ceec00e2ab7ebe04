//! What the store says of forwarding, where that can't be true: a position beyond the end of its log, a row of transactions that contradicts
//! itself or the logs. Rows have checksums on disk, so that is another program's work, or a fault in this one.
//!
//! Invariants: it is told, and replaced in the store before anything is forwarded; where upstream keeps cursors, these tell what was
//! forwarded; else all that is kept is forwarded again. Nothing is passed over.

use std::time::Duration;

use super::task::Forwarder;
use crate::metrics::METRICS;
use crate::store::{Intervals, PartitionId};

/// Partitions that are told by name.
const TOLD_MAX: usize = 5;

impl Forwarder {
    /// Begins anew where what was kept could not be true.
    pub(super) async fn begin_distrusted_anew(&mut self) {
        let partitions = self.broker.take_distrusted(&self.options.name);
        let row = self.exactly.as_mut().is_some_and(|exactly| exactly.take_distrusted());
        if partitions.is_empty() && !row {
            return;
        }
        self.tell_distrust(&partitions);
        // The partitions themselves are followed from their beginning on already.
        self.fail_transaction("what was kept of positions could not be true");
        let (name, broker) = (self.options.name.clone(), self.broker.clone());
        let row = self.exactly.as_mut().map(|exactly| exactly.doubt(&name));
        let positions: Vec<_> = partitions.into_iter().map(|partition| (partition, Intervals::new())).collect();
        let saving = async {
            match row {
                Some(row) => broker.save_with_row(&name, positions, Vec::new(), row).await,
                None => broker.save_positions(&name, positions, Duration::ZERO).await,
            }
        };
        if let Some(Err(error)) = self.control.unless_stopping(saving).await {
            self.failed(format!("positions were not saved: {error}"));
        }
        self.busy = true;
    }

    fn tell_distrust(&self, partitions: &[PartitionId]) {
        METRICS.uplink_distrusted.add(partitions.len().max(1) as u64);
        let named = |partition: &PartitionId| {
            let names = &self.mirror.get(*partition)?.names;
            Some(format!("{}/{}", names.topic, names.index))
        };
        let mut of = partitions.iter().filter_map(named).take(TOLD_MAX).collect::<Vec<_>>().join(", ");
        if partitions.len() > TOLD_MAX {
            of.push_str(&format!(" and {} more", partitions.len() - TOLD_MAX));
        }
        let what = if partitions.is_empty() { "its last transaction".to_owned() } else { format!("positions of {of}") };
        let follows = if self.exactly.is_some() || self.tier.is_some() {
            "what upstream has is asked there, and all the rest is forwarded"
        } else {
            "all that is kept of them is forwarded again"
        };
        let text = format!("what the store has of {what} can't be true and was damaged; {follows}");
        log::error!("uplink {}: {text}", self.options.name);
        self.failed(text);
    }
}
