//! What the coordinator of groups is asked and answers, protocol-neutral. What members say to each other (metadata,
//! assignments) is opaque bytes here.

use std::fmt;
use std::sync::Arc;

use crate::broker::rights::Denied;

/// Bytes that one member hands to others, untouched.
pub type Opaque = Arc<[u8]>;

/// Who says to be a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The id that the coordinator gave; "" for who has none.
    pub member_id: String,
    /// The name that a static member keeps over restarts (KIP-345).
    pub instance_id: Option<String>,
}

/// Who says to be a member of which generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Who.
    pub claim: Claim,
    /// Below 0: none.
    pub generation: i32,
}

/// Asks to be a member of the next generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroup {
    /// Who; `member_id` is "" for a new member.
    pub claim: Claim,
    /// The client's own name; it begins the member ids that it is given.
    pub client_id: String,
    /// Where the client comes from, for people.
    pub client_host: String,
    /// Without a heartbeat for this long, ms, a member is out.
    pub session_ms: u64,
    /// How long others wait for it to join again, ms.
    pub rebalance_ms: u64,
    /// What kind of group: "consumer", "connect", …
    pub protocol_type: String,
    /// Ways of assignment it can do, the preferred first, with what it tells the leader.
    pub protocols: Vec<(String, Opaque)>,
    /// A new member gets its id first and joins with that (KIP-394), so that a client that gives up leaves no member.
    pub id_first: bool,
    /// A leader that needn't assign can be told so (KIP-814).
    pub can_skip: bool,
}

/// A generation, as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Counts the memberships of the group.
    pub generation: i32,
    /// As all members said.
    pub protocol_type: String,
    /// The way of assignment that all can do and most prefer.
    pub protocol: String,
    /// The member that assigns.
    pub leader: String,
    /// The id of who asked.
    pub member_id: String,
    /// Who asked is the leader, and the assignment stands.
    pub skip_assignment: bool,
    /// All members; empty unless who asked is the leader.
    pub members: Vec<JoinedMember>,
}

/// A member, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its name, if it is static.
    pub instance_id: Option<String>,
    /// What it tells the leader, for the protocol chosen.
    pub metadata: Opaque,
}

/// Why somebody didn't join, and the id to go on with (that given with [`GroupError::MemberIdRequired`], else as asked).
#[derive(Clone, Debug)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// The id to go on with.
    pub member_id: String,
}

/// Asks for the assignment of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroup {
    /// Who, of which generation.
    pub membership: Membership,
    /// As joined, for a check; `None` where the client doesn't say.
    pub protocol_type: Option<String>,
    /// As joined, for a check; `None` where the client doesn't say.
    pub protocol: Option<String>,
    /// From the leader: what each member gets. From others it is ignored.
    pub assignments: Vec<(String, Opaque)>,
}

/// What a member gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// As joined.
    pub protocol_type: String,
    /// As joined.
    pub protocol: String,
    /// From the leader; empty if that left the member out.
    pub assignment: Opaque,
}

/// Why the coordinator refuses. What a client does next differs for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupError {
    /// The caller may not.
    Denied(Denied),
    /// A group's name is empty or too long.
    InvalidName,
    /// The session time-out is outside the allowed range; the text names it.
    InvalidSession(String),
    /// What was sent is larger than what a group may hold; the text names the bound.
    TooLarge(String),
    /// No member of that id: join anew.
    UnknownMember,
    /// Another process has taken over this static member's name.
    Fenced,
    /// Not the current generation: join again.
    OldGeneration,
    /// The group waits for its members to join again.
    Rebalancing,
    /// The group is of another kind, or no way of assignment is common to all members.
    InconsistentProtocol,
    /// Join again with the id that comes along.
    MemberIdRequired,
    /// The group, or the gateway, has as many as it may.
    TooMany,
    /// Only a group without members can be deleted or moved.
    NotEmpty,
    /// There is no such group.
    UnknownGroup,
    /// Members are subscribed to the topic whose offsets are to be deleted.
    Subscribed,
    /// The gateway is stopping, or its store didn't take the change: try again.
    NotAvailable,
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied(denied) => return denied.fmt(f),
            Self::InvalidName => {
                let max = crate::limits::READER_NAME_BYTES_MAX;
                return write!(f, "a group's name has 1 to {max} bytes");
            }
            Self::InvalidSession(text) | Self::TooLarge(text) => text,
            Self::UnknownMember => "the group has no such member; join it again",
            Self::Fenced => "another process uses this instance id; give each process one of its own",
            Self::OldGeneration => "the group has moved on to another generation; join it again",
            Self::Rebalancing => "the group is rebalancing; join it again",
            Self::InconsistentProtocol => "the group's members have another protocol type or no assignor in common",
            Self::MemberIdRequired => "join again with the member id in this answer",
            Self::TooMany => "the group, or the gateway, has as many members and groups as it may",
            Self::NotEmpty => "the group has members; stop them first",
            Self::UnknownGroup => "there is no such group",
            Self::Subscribed => "members of the group are subscribed to the topic; stop them first",
            Self::NotAvailable => "the group can't be served now; try again",
        })
    }
}

impl std::error::Error for GroupError {}

impl From<Denied> for GroupError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// Who waits for an answer.
pub(super) type Token = u64;

/// What happens to a group.
#[derive(Debug)]
pub(super) enum Event {
    /// `fresh_id` is the id that a new member gets.
    Join {
        token: Token,
        fresh_id: String,
        join: JoinGroup,
    },
    Sync {
        token: Token,
        sync: SyncGroup,
    },
    Heartbeat {
        token: Token,
        membership: Membership,
    },
    Leave {
        token: Token,
        members: Vec<Claim>,
    },
    /// Asks whether offsets may be committed; `None` from outside of the membership.
    Commit {
        token: Token,
        membership: Option<Membership>,
    },
    /// What [`Effect::Save`] of this number asked for is durable, or could not be stored.
    Saved {
        number: u64,
        ok: bool,
    },
    /// Time has passed.
    Tick,
}

/// An answer to whoever waits by a token.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Joined(Result<Joined, JoinRefused>),
    Synced(Result<Synced, GroupError>),
    /// To heartbeats and commits.
    Done(Result<(), GroupError>),
    /// One a member, in their order.
    Left(Vec<Result<(), GroupError>>),
}

/// What is to be done after an event.
#[derive(Debug)]
pub(super) enum Effect {
    Answer(Token, Answer),
    /// Store the group and say [`Event::Saved`].
    Save {
        number: u64,
    },
    /// Store the group with some other commit; if that doesn't come to pass, no harm is done.
    SaveLazily,
}
