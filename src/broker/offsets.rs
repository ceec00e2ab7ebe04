//! Offsets that groups commit, and the keys of their space. A group without members is but a name for positions.
//!
//! | key in `Space::Group` | value |
//! |---|---|
//! | name's length (u16, big-endian), name | the group's members and generation (`groups/saved.rs`) |
//! | the same, topic UUID, partition (i32, big-endian) | a committed offset |
//! | two zero bytes | powered time, ms (u64, little-endian) |
//!
//! Invariants: a commit that changes nothing writes nothing; whether a member may commit is decided on the writer, in the
//! order of commits.

use serde::{Deserialize, Serialize};

use super::Broker;
use super::call::call;
use super::error::OffsetError;
use super::groups::{self, GroupError, Membership};
use super::topic::{Topic, TopicId};
use crate::limits;
use crate::store::{Draft, DraftError, Space};
use std::sync::Arc;

/// The first byte of every value in `Space::Group`.
const FORMAT: u8 = 1;

/// An offset that a named reader has committed: the next one it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the last record read; −1 is unknown.
    pub leader_epoch: i32,
    /// The reader's own note, at most [`limits::OFFSET_METADATA_BYTES_MAX`].
    pub metadata: String,
}

impl Broker {
    /// Commits offsets of `reader` as nobody's member, durable when this returns, all or none of them.
    ///
    /// # Errors
    /// [`OffsetError::Invalid`] for a note that is too long or an offset below 0, [`OffsetError::Group`] while the group
    /// has members, or the store's.
    pub async fn commit_offsets(
        &self,
        reader: &str,
        offsets: Vec<(TopicId, i32, CommittedOffset)>,
    ) -> Result<(), OffsetError> {
        self.commit_group_offsets(reader, None, offsets).await
    }

    /// As [`Broker::commit_offsets`], for a member of a generation.
    ///
    /// # Errors
    /// As there, and [`OffsetError::Group`] unless the generation is the group's, and the member in it.
    pub async fn commit_group_offsets(
        &self,
        group: &str,
        membership: Option<Membership>,
        offsets: Vec<(TopicId, i32, CommittedOffset)>,
    ) -> Result<(), OffsetError> {
        groups::check_name(group)?;
        for (_, partition, committed) in &offsets {
            if committed.metadata.len() > limits::OFFSET_METADATA_BYTES_MAX {
                let max = limits::OFFSET_METADATA_BYTES_MAX;
                return Err(OffsetError::Invalid(format!("the metadata of an offset has at most {max} bytes")));
            }
            if committed.offset < 0 {
                let offset = committed.offset;
                return Err(OffsetError::Invalid(format!("partition {partition}: offset {offset} is below 0")));
            }
        }
        let entries: Vec<_> = offsets
            .into_iter()
            .map(|(topic, partition, committed)| (key(group, topic, partition), encode(&committed)))
            .collect();
        let (groups, after) = (Arc::clone(&self.shared.groups), Arc::clone(&self.shared.groups));
        let (name, made) = (group.to_owned(), group.to_owned());
        let apply = move |draft: &mut Draft<'_>| -> Result<Result<(), GroupError>, DraftError> {
            if let Err(error) = groups.may_commit(&name, membership.as_ref()) {
                return Ok(Err(error));
            }
            for (key, value) in &entries {
                if draft.get(Space::Group, key) != Some(value.as_slice()) {
                    draft.put(Space::Group, key, value)?;
                }
            }
            Ok(Ok(()))
        };
        let committed = call(&self.shared.store, apply, move |outcome| {
            if outcome.is_ok() {
                after.committed(&made);
            }
        });
        Ok(committed.await??)
    }

    /// All that `reader` has committed, ordered by topic and partition.
    pub fn committed_offsets(&self, reader: &str) -> Vec<(TopicId, i32, CommittedOffset)> {
        let prefix = group_key(reader);
        let rows = self.shared.store.entries(Space::Group, &prefix);
        let one = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let (topic, rest) = key.get(prefix.len()..)?.split_first_chunk::<16>()?;
            let partition = i32::from_be_bytes(rest.try_into().ok()?);
            Some((TopicId(*topic), partition, decode(value)?))
        };
        rows.iter().filter_map(one).collect()
    }

    /// What `reader` has committed for a partition, if anything.
    pub fn committed_offset(&self, reader: &str, topic: &Topic, partition: i32) -> Option<CommittedOffset> {
        decode(&self.shared.store.get(Space::Group, &key(reader, topic.id, partition))?)
    }
}

/// The key that holds for how long this gateway has been powered.
pub(super) const POWERED_KEY: &[u8] = &[0, 0];

/// The value at [`POWERED_KEY`].
pub(super) fn powered_value(ms: u64) -> [u8; 8] {
    ms.to_le_bytes()
}

/// The powered time, if that is what this row has.
pub(super) fn powered_ms(key: &[u8], value: &[u8]) -> Option<u64> {
    (key == POWERED_KEY).then_some(())?;
    Some(u64::from_le_bytes(value.try_into().ok()?))
}

/// Length of the group's name, the name. All keys of the group begin with it, and no other group's.
pub(super) fn group_key(group: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(group.len() + 22);
    key.extend_from_slice(&(group.len() as u16).to_be_bytes());
    key.extend_from_slice(group.as_bytes());
    key
}

/// The group that a row belongs to, and whether it is the group's own.
pub(super) fn group_of(key: &[u8]) -> Option<(&str, bool)> {
    let (length, rest) = key.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    Some((name, rest.is_empty()))
}

/// The group's key, topic UUID, partition.
pub(super) fn key(reader: &str, topic: TopicId, partition: i32) -> Vec<u8> {
    let mut key = group_key(reader);
    key.extend_from_slice(&topic.0);
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// Whether a key of `Space::Group` is of this topic.
pub(super) fn is_of(key: &[u8], topic: TopicId) -> bool {
    let Some(([high, low], rest)) = key.split_first_chunk() else { return false };
    let name_bytes = usize::from(u16::from_be_bytes([*high, *low]));
    rest.get(name_bytes..).is_some_and(|rest| rest.starts_with(&topic.0))
}

fn encode(committed: &CommittedOffset) -> Vec<u8> {
    // Serializing owned values into a growing vector has nothing that can fail.
    postcard::to_extend(committed, vec![FORMAT]).unwrap_or_default()
}

fn decode(value: &[u8]) -> Option<CommittedOffset> {
    match value.split_first()? {
        (&FORMAT, body) => postcard::from_bytes(body).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_their_group() {
        let topic = TopicId([7; 16]);
        assert_eq!(group_of(&group_key("readers")), Some(("readers", true)));
        assert_eq!(group_of(&key("readers", topic, 3)), Some(("readers", false)));
        assert_eq!(group_of(POWERED_KEY), None);
        assert!(!is_of(POWERED_KEY, topic) && !is_of(&group_key("g"), topic) && is_of(&key("g", topic, 0), topic));
        assert!(!key("ab", topic, 0).starts_with(&group_key("a")));
        assert_eq!(powered_ms(POWERED_KEY, &powered_value(5)), Some(5));
        assert_eq!(powered_ms(&group_key("g"), &powered_value(5)), None);
    }
}
