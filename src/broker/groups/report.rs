//! Groups as people and programs see them: what the native protocol tells as JSON, and the command line reads back.
//! Fields are added, never renamed; readers take what is missing for its default.

use serde::{Deserialize, Serialize};

/// A group in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupSummary {
    /// Its name.
    pub name: String,
    /// "Empty", "PreparingRebalance", "CompletingRebalance" or "Stable".
    pub state: String,
    /// "consumer" mostly; "" if it never had members.
    pub protocol_type: String,
    /// How many members it has.
    pub members: usize,
}

/// A group with its members and offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// As in [`GroupSummary`].
    pub state: String,
    /// As in [`GroupSummary`].
    pub protocol_type: String,
    /// The way of assignment, while there is one.
    pub protocol: String,
    /// Counts its memberships.
    pub generation: i32,
    /// Its members.
    pub members: Vec<MemberReport>,
    /// What is committed or assigned, by topic and partition.
    pub partitions: Vec<GroupPartition>,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberReport {
    /// Its id.
    pub id: String,
    /// Its name, if it is static.
    pub instance: Option<String>,
    /// What the client calls itself.
    pub client: String,
    /// Where it comes from.
    pub host: String,
    /// How many partitions it has.
    pub partitions: usize,
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The next offset to read, if it is committed.
    pub committed: Option<i64>,
    /// The oldest offset kept.
    pub log_start: i64,
    /// One beyond the newest offset.
    pub end: i64,
    /// Records between the two, without those that are gone.
    pub lag: Option<u64>,
    /// What was committed along.
    pub metadata: String,
    /// Id of the member that reads it, if its assignment can be read.
    pub member: Option<String>,
}
