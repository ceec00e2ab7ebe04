//! A consumer's place in a group: its member id and generation, and when its next beat is due.

use std::time::{Duration, Instant};

use super::{ClientError, Connection};
use crate::frame::{
    ClientMessage, ErrorCode, GROUP_OFFSETS_MAX, GatewayMessage, GroupBeat, GroupCommit, GroupJoin, GroupLeave,
    GroupMember, TopicRef,
};

/// How long the others of a group wait for a member to come again. A consumer looks three times a session.
const REBALANCE: Duration = Duration::from_secs(60);
/// Beats within a session: two may be late.
const BEATS: u32 = 3;

/// A consumer's place in a group.
#[derive(Debug)]
pub(super) struct Membership {
    group: String,
    instance: Option<String>,
    session: Duration,
    member: String,
    generation: i32,
    beat_at: Instant,
}

impl Membership {
    /// Of nobody yet.
    pub(super) fn new(group: &str, instance: Option<&str>, session: Duration) -> Self {
        Self {
            group: group.to_owned(),
            instance: instance.map(str::to_owned),
            session,
            member: String::new(),
            generation: -1,
            beat_at: Instant::now(),
        }
    }

    /// Enters the group, or comes again; the partitions of `topic` that are its own until the next rebalance.
    pub(super) async fn join(&mut self, connection: &mut Connection, topic: &str) -> Result<Vec<u32>, ClientError> {
        let id = connection.new_id();
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let join = GroupJoin {
            id,
            member: self.told(),
            topic: TopicRef::Name(topic),
            session_ms: ms(self.session),
            rebalance_ms: ms(REBALANCE),
        };
        connection.send(&ClientMessage::GroupJoin(join)).await?;
        // Others may take their time twice: to join, and for the assignment.
        let body = connection.answer(id, REBALANCE * 2 + self.session).await?;
        let joined = match connection.decode(&body)? {
            GatewayMessage::GroupJoined(joined) => joined,
            other => return Err(connection.unexpected(&other)),
        };
        joined.member.clone_into(&mut self.member);
        self.generation = joined.generation;
        self.beat_at = Instant::now() + self.session / BEATS;
        Ok(joined.partitions().collect())
    }

    /// How long until the next beat is due; zero if it is.
    pub(super) fn until_beat(&self) -> Duration {
        self.beat_at.saturating_duration_since(Instant::now())
    }

    /// The next beat is due at once: something has told that the group has changed.
    pub(super) fn hurry(&mut self) {
        self.beat_at = Instant::now();
    }

    /// Keeps the share; [`is_over`] tells whether a refusal means to join again.
    pub(super) async fn beat(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let id = connection.new_id();
        connection.send(&ClientMessage::GroupBeat(GroupBeat { id, member: self.told() })).await?;
        connection.done(id).await?;
        self.beat_at = Instant::now() + self.session / BEATS;
        Ok(())
    }

    /// Saves positions, as a member of this generation.
    pub(super) async fn commit(
        &self,
        connection: &mut Connection,
        topic: &str,
        offsets: &[(u32, i64)],
    ) -> Result<(), ClientError> {
        connection.commit_offsets(self.told(), topic, offsets).await
    }

    /// Gives the share up, so that others needn't wait for the end of the session.
    pub(super) async fn leave(&self, connection: &mut Connection) -> Result<(), ClientError> {
        let id = connection.new_id();
        connection.send(&ClientMessage::GroupLeave(GroupLeave { id, member: self.told() })).await?;
        connection.done(id).await
    }

    fn told(&self) -> GroupMember<'_> {
        GroupMember {
            group: &self.group,
            member: &self.member,
            instance: self.instance.as_deref(),
            generation: self.generation,
        }
    }
}

/// Whether an error says that the generation, or the membership, is over: join again.
pub(super) fn is_over(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(ErrorCode::Rebalancing, _))
}

impl Connection {
    /// Saves positions of a group, as its member, or while it has none as nobody (see [`GroupMember`]).
    pub async fn commit_offsets(
        &mut self,
        member: GroupMember<'_>,
        topic: &str,
        offsets: &[(u32, i64)],
    ) -> Result<(), ClientError> {
        for some in offsets.chunks(GROUP_OFFSETS_MAX) {
            let (id, topic) = (self.new_id(), TopicRef::Name(topic));
            let offsets = some.iter().copied().collect();
            self.send(&ClientMessage::GroupCommit(GroupCommit { id, member, topic, offsets })).await?;
            self.done(id).await?;
        }
        Ok(())
    }
}
