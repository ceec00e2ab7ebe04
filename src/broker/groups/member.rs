//! A member of a group.

use super::types::{Claim, Opaque, Token};

/// A member, from its first join to its end.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_ms: u64,
    pub(super) rebalance_ms: u64,
    /// The preferred first.
    pub(super) protocols: Vec<(String, Opaque)>,
    pub(super) assignment: Opaque,
    /// It waits for the next generation.
    pub(super) joining: Option<Joining>,
    /// It waits for its assignment.
    pub(super) syncing: Option<Token>,
    /// When it is out, unless something is heard of it, ms.
    pub(super) lapses_at: u64,
    /// It has not seen a generation yet.
    pub(super) is_new: bool,
    /// It has asked for its assignment in this generation.
    pub(super) has_synced: bool,
    /// It comes from the store, and nothing has been heard of it since. A static one may have come back under another id
    /// that was not stored yet.
    pub(super) is_restored: bool,
}

/// A join that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joining {
    pub(super) token: Token,
    pub(super) can_skip: bool,
    /// It can be answered when this save is done, without a new generation.
    pub(super) after_save: Option<u64>,
}

impl Member {
    /// What it says to the leader if `protocol` is chosen.
    pub(super) fn metadata(&self, protocol: &str) -> Opaque {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map_or_else(|| Opaque::from([]), |(_, metadata)| Opaque::clone(metadata))
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// Whether `claim` is this member's, by the name of a static one.
    pub(super) fn has_instance(&self, claim: &Claim) -> bool {
        self.instance_id.is_some() && self.instance_id == claim.instance_id
    }

    /// The moment it lapses; `None` while it waits for the coordinator, which is as good as a heartbeat. A new member
    /// can't send any, and may be gone without anyone having noticed: it lapses while it waits, too.
    pub(super) fn lapse(&self) -> Option<u64> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (self.is_new || !waits).then_some(self.lapses_at)
    }

    pub(super) fn heard_of(&mut self, now: u64) {
        self.lapses_at = now.saturating_add(self.session_ms);
        self.is_restored = false;
    }

    /// Bytes it holds in memory beside its fixed size.
    pub(super) fn bytes(&self) -> usize {
        self.assignment.len() + protocols_bytes(&self.protocols)
    }
}

/// Bytes of what a member tells the leader.
pub(super) fn protocols_bytes(protocols: &[(String, Opaque)]) -> usize {
    protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum()
}
