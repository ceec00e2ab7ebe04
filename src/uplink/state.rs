//! What an uplink is doing, in a word.

use std::collections::BTreeMap;

use super::exactly::Exactly;
use super::status::{StallStatus, UplinkState};
use super::task::Forwarder;
use super::tier::Tier;
use crate::store::PartitionId;

impl Forwarder {
    /// `stalls` are told; `waits`: the link is tried again later.
    pub(super) fn state(&self, stalls: &BTreeMap<PartitionId, StallStatus>, waits: bool) -> UplinkState {
        if self.control.is_paused() {
            return UplinkState::Paused;
        }
        if waits {
            return UplinkState::Backoff;
        }
        if self.exactly.as_ref().is_some_and(Exactly::is_fenced) {
            return UplinkState::Fenced;
        }
        let stopped = self.exactly.as_ref().is_some_and(Exactly::is_stopped);
        if stopped || self.tier.as_ref().is_some_and(Tier::is_stopped) {
            return UplinkState::Diverged;
        }
        if self.metadata.at.is_none() {
            return UplinkState::Connecting;
        }
        let under_way = !self.is_at_rest() || !self.tier.as_ref().is_none_or(Tier::is_at_rest);
        if under_way || !self.producers.is_empty() || !self.reading.is_through() && stalls.is_empty() {
            return UplinkState::Forwarding;
        }
        if stalls.is_empty() { UplinkState::CaughtUp } else { UplinkState::Stalled }
    }
}
