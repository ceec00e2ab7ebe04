//! Messages of consumer groups, both directions; encoded as [`super::client_message`] tells.
//!
//! A client says which group and topic it wants to read, and is answered its share of the partitions; the gateway does
//! the assigning on its behalf, in Kafka's consumer protocol, so that Kafka clients and native ones share a group.
//! Until the next [`GroupBeat`] is refused with [`super::ErrorCode::Rebalancing`] the share stands.

use serde::{Deserialize, Serialize};

use super::TopicRef;
use super::wire::{NoRoom, Reader, Writer};

/// Most offsets in one [`GroupCommit`].
pub const GROUP_OFFSETS_MAX: usize = 32;

/// Who speaks for which member of which group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember<'a> {
    /// The group's name.
    pub group: &'a str,
    /// The member's id, as the last [`GroupJoined`] said; "" for who has none.
    pub member: &'a str,
    /// A name that the client keeps over restarts: then its share waits for it as long as its session lasts.
    #[serde(borrow)]
    pub instance: Option<&'a str>,
    /// The generation, as the last [`GroupJoined`] said; -1 for none.
    pub generation: i32,
}

/// Enters a group, or comes again when it rebalances. Answered by [`GroupJoined`], which takes until all members have
/// come, or the time for it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupJoin<'a> {
    /// Comes back.
    pub id: u32,
    /// Who; the generation has no meaning here.
    #[serde(borrow)]
    pub member: GroupMember<'a>,
    /// What it wants to read.
    #[serde(borrow)]
    pub topic: TopicRef<'a>,
    /// Without a beat for this long, ms, its share goes to others: 6,000 to 1,800,000.
    pub session_ms: u32,
    /// How long the others wait for it to come again, ms.
    pub rebalance_ms: u32,
}

/// Keeps a share, at least three times a session. Answered by [`super::Done`], or refused when it is time to join again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupBeat<'a> {
    /// Comes back.
    pub id: u32,
    /// Who.
    #[serde(borrow)]
    pub member: GroupMember<'a>,
}

/// Leaves a group, so that others needn't wait for the end of the session. Answered by [`super::Done`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLeave<'a> {
    /// Comes back.
    pub id: u32,
    /// Who.
    #[serde(borrow)]
    pub member: GroupMember<'a>,
}

/// Saves positions of a group durably, all or none. Answered by [`super::Done`]. Only its members may, each in the
/// current generation; while it has none, anyone (member "" and generation -1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCommit<'a> {
    /// Comes back.
    pub id: u32,
    /// Who.
    #[serde(borrow)]
    pub member: GroupMember<'a>,
    /// The topic.
    #[serde(borrow)]
    pub topic: TopicRef<'a>,
    /// Partitions, and the next offset to read of each.
    pub offsets: heapless::Vec<(u32, i64), GROUP_OFFSETS_MAX>,
}

/// What to do about groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupAction {
    /// All groups: a JSON array.
    List,
    /// One with its members and offsets: a JSON object.
    Describe,
    /// Forget one, with its offsets; it must have no members. The text is empty.
    Delete,
}

/// Looks at groups, or forgets one. Answered by [`super::Text`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups<'a> {
    /// Comes back.
    pub id: u32,
    /// What to do.
    pub action: GroupAction,
    /// Which one; "" for a list.
    pub name: &'a str,
}

/// Answers [`GroupJoin`]: a member's share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupJoined<'a> {
    /// Of the request.
    pub id: u32,
    /// The member's id from now on.
    pub member: &'a str,
    /// The generation: counts the memberships of the group.
    pub generation: i32,
    /// The partitions, ascending: each as a varint of how many lie between it and the one before.
    pub share: &'a [u8],
}

impl GroupJoined<'_> {
    /// The partitions, ascending. What isn't well-formed ends them.
    pub fn partitions(&self) -> impl Iterator<Item = u32> {
        let mut reader = Reader::new(self.share);
        let mut next = 0u32;
        core::iter::from_fn(move || {
            let between = u32::try_from(reader.varint().ok()?).ok()?;
            let partition = next.checked_add(between)?;
            next = partition.checked_add(1)?;
            Some(partition)
        })
    }
}

/// Writes a share; `partitions` must ascend.
///
/// # Errors
/// The buffer is too small; five bytes a partition are always enough.
pub fn write_share(writer: &mut Writer<'_>, partitions: impl IntoIterator<Item = u32>) -> Result<(), NoRoom> {
    let mut next = 0u32;
    for partition in partitions {
        writer.varint(u64::from(partition.saturating_sub(next)))?;
        next = partition.saturating_add(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back_in_few_bytes() {
        let mut buffer = [0; 64];
        for partitions in [&[][..], &[0], &[0, 1, 2, 3], &[7, 300, u32::MAX - 1]] {
            let mut writer = Writer::new(&mut buffer);
            write_share(&mut writer, partitions.iter().copied()).unwrap();
            let joined = GroupJoined { id: 1, member: "m", generation: 1, share: writer.written() };
            assert!(joined.partitions().eq(partitions.iter().copied()));
            assert!(joined.share.len() <= 5 * partitions.len());
        }
        let short = GroupJoined { id: 1, member: "m", generation: 1, share: &[3, 0x80] };
        assert!(short.partitions().eq([3]));
    }
}
