//! The status cut to what a person looks at: the same fields, lists of bounded length, nothing a partition.
//!
//! Invariant: the size is bounded whatever there is, and what was left off is counted.

use super::status::GatewayStatus;

/// Topics, groups and entries of the ledger.
const LISTED_MAX: usize = 50;
/// Uplinks, downlinks, certificates, problems, keys that wait for a restart; stalls of one link.
const FEW_MAX: usize = 20;

impl GatewayStatus {
    /// See the module.
    #[must_use]
    pub fn glance(mut self) -> Self {
        // Those that hold most are looked for; the others are in the whole status.
        if self.topics.len() > LISTED_MAX {
            self.topics.sort_unstable_by_key(|topic| std::cmp::Reverse(topic.retained.bytes));
        }
        self.leave("topics", |status| cut(&mut status.topics, LISTED_MAX));
        self.topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for topic in &mut self.topics {
            topic.partitions = Vec::new();
            cut(&mut topic.followed_by, FEW_MAX);
        }
        self.losses.retain(|loss| !loss.uplink.is_empty());
        self.losses.sort_unstable_by_key(|loss| std::cmp::Reverse(loss.time_ms));
        self.leave("losses", |status| cut(&mut status.losses, LISTED_MAX));
        self.losses.reverse();
        self.leave("groups", |status| cut(&mut status.groups, LISTED_MAX));
        self.leave("uplinks", |status| cut(&mut status.uplinks, FEW_MAX));
        self.leave("downlinks", |status| cut(&mut status.downlinks, FEW_MAX));
        self.leave("certificates", |status| cut(&mut status.certificates, FEW_MAX));
        self.leave("problems", |status| cut(&mut status.problems, FEW_MAX));
        self.leave("waiting_for_restart", |status| cut(&mut status.config.waiting_for_restart, FEW_MAX));
        for uplink in &mut self.uplinks {
            uplink.partitions = Vec::new();
            cut(&mut uplink.stalls, FEW_MAX);
        }
        for downlink in &mut self.downlinks {
            downlink.partitions = Vec::new();
            cut(&mut downlink.stalled, FEW_MAX);
        }
        self.deleted_topics = Vec::new();
        self
    }

    fn leave(&mut self, what: &str, cut: impl Fn(&mut Self) -> usize) {
        let left = cut(self);
        if left > 0 {
            self.left_off.insert(what.to_owned(), left as u64);
        }
    }
}

/// Shortens a list; how many went.
fn cut<T>(list: &mut Vec<T>, max: usize) -> usize {
    let left = list.len().saturating_sub(max);
    list.truncate(max);
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::status::{Amount, GroupFigures, Loss, PartitionFigures, TopicFigures};

    #[test]
    fn it_is_bounded_and_says_so() {
        let topic = |n: u64| TopicFigures {
            name: format!("t{n:04}"),
            partitions: vec![PartitionFigures::default(); 4],
            retained: Amount { records: n, bytes: n },
            ..TopicFigures::default()
        };
        let loss = |n: i64| Loss { uplink: "centre".to_owned(), time_ms: n, ..Loss::default() };
        let status = GatewayStatus {
            topics: (0..4_000).map(topic).collect(),
            groups: vec![GroupFigures::default(); 2_000],
            losses: (0..10_000).map(loss).chain([Loss::default()]).collect(),
            ..GatewayStatus::default()
        };
        let glance = status.glance();
        assert!(glance.to_json().len() < 100_000);
        assert_eq!((glance.left_off["topics"], glance.left_off["losses"], glance.left_off.len()), (3_950, 9_950, 3));
        assert_eq!((glance.topics[0].name.as_str(), glance.topics[49].name.as_str()), ("t3950", "t3999"));
        assert_eq!(
            (glance.losses[0].time_ms, glance.losses[49].time_ms),
            (9_950, 9_999),
            "the latest, the latest last"
        );
        assert_eq!(GatewayStatus::default().glance(), GatewayStatus::default());
    }
}
