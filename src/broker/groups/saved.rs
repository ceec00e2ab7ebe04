//! A group as it lies in the store, so that its members go on after a restart of the gateway as if nothing had been:
//! their ids, generation and assignments hold, and their sessions begin anew.
//!
//! What is stored is always a whole generation with its assignment, or a group without members. Who was on the way to
//! the next generation is told to join again.

use serde::{Deserialize, Serialize};

use super::group::{Group, Rules, State};
use super::member::Member;
use super::types::Opaque;

/// The first byte of the value.
const FORMAT: u8 = 1;

/// The value of a group's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: Vec<SavedMember>,
    /// When the group was last used, ms of powered time.
    pub(super) used_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedMember {
    id: String,
    instance_id: Option<String>,
    client_id: String,
    client_host: String,
    session_ms: u64,
    rebalance_ms: u64,
    /// For the protocol chosen.
    metadata: Vec<u8>,
    assignment: Vec<u8>,
}

impl Saved {
    pub(super) fn encode(&self) -> Vec<u8> {
        // Serializing owned values into a growing vector has nothing that can fail.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        match value.split_first()? {
            (&FORMAT, body) => postcard::from_bytes(body).ok(),
            _ => None,
        }
    }
}

impl Group {
    /// The group with what is being saved.
    pub(super) fn to_save(&self, used_ms: u64) -> Saved {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let one = |member: &Member| SavedMember {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_ms: member.session_ms,
            rebalance_ms: member.rebalance_ms,
            metadata: member.metadata(protocol).to_vec(),
            assignment: self.assignment_to_be(member).to_vec(),
        };
        Saved {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(one).collect(),
            used_ms,
        }
    }

    /// The group as it was saved.
    pub(super) fn from_saved(saved: Saved, rules: Rules, now: u64) -> Self {
        let protocol = saved.protocol.clone().unwrap_or_default();
        let one = |member: SavedMember| Member {
            id: member.id,
            instance_id: member.instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            session_ms: member.session_ms,
            rebalance_ms: member.rebalance_ms,
            protocols: vec![(protocol.clone(), Opaque::from(member.metadata))],
            assignment: Opaque::from(member.assignment),
            joining: None,
            syncing: None,
            lapses_at: now.saturating_add(member.session_ms),
            is_new: false,
            has_synced: true,
            is_restored: true,
        };
        let members: Vec<Member> = saved.members.into_iter().map(one).collect();
        Self {
            state: if members.is_empty() { State::Empty } else { State::Stable },
            generation: saved.generation,
            protocol_type: saved.protocol_type,
            protocol: saved.protocol,
            leader: saved.leader,
            members,
            ..Self::new(rules)
        }
    }
}
