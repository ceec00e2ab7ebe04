//! The two sets of messages: one table each of type byte, name and content makes the enum, its decoder and encoder.
//!
//! A frame's body is the type byte and the content. Content that is shorter or longer than its type says is
//! malformed: fields are added with a new protocol version only. What ends in a record list is written by hand, since
//! the list runs to the end of the frame; all else is postcard.

use serde::{Deserialize, Serialize};

use super::{
    AckLevel, DecodeError, Records,
    client_message::{
        Alias, AlterTopic, CommitOffset, CreateTopic, Credit, DeleteTopic, DescribeTopic, Fetch, Hello, ListOffsets,
        ListTopics, Ping, Publish, ReadOffset, RecentLog, Reload, Status, StoreFormat, Subscribe, Unsubscribe, Uplink,
    },
    drain_message::Drain,
    gateway_message::{
        Ack, AckAt, AliasFailed, AliasOk, Done, Failed, Offsets, Pong, PublishError, ReaderOffset, RecordSet, Text,
        Topic, Upstream, Welcome,
    },
    group_message::{GroupBeat, GroupCommit, GroupJoin, GroupJoined, GroupLeave, Groups},
    letter_message::DeadLetters,
    rule_message::Rules,
    tier_message::{TierCursor, TierCursors, TierKnown, TierStretch},
    user_message::Users,
    wire::{NoRoom, Reader, Writer},
};

const WANT_OFFSET: u8 = 4;

/// Content that postcard reads and writes whole.
trait Content<'a>: Sized {
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError>;
    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom>;
}

macro_rules! postcard_content {
    ($($name:ident $(<$life:lifetime>)?),* $(,)?) => {
        $(impl<'a> Content<'a> for $name $(<$life>)? {
            fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                decode_postcard(bytes)
            }

            fn encode(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
                encode_postcard(self, writer)
            }
        })*
    };
}

postcard_content! {
    Ping, Alias<'a>, Fetch<'a>, Subscribe<'a>, Credit, Unsubscribe, CommitOffset<'a>, ReadOffset<'a>,
    ListOffsets<'a>, CreateTopic<'a>, ListTopics<'a>, DescribeTopic<'a>, AlterTopic<'a>, DeleteTopic<'a>, Status,
    Uplink<'a>, Welcome<'a>, Pong, Failed<'a>, AliasOk, AliasFailed<'a>, AckAt, Upstream, PublishError<'a>, Offsets,
    Done, ReaderOffset<'a>, Topic<'a>, Text<'a>, GroupJoin<'a>, GroupBeat<'a>, GroupLeave<'a>, GroupCommit<'a>,
    Groups<'a>, GroupJoined<'a>, DeadLetters, Rules<'a>, Users<'a>, TierCursors<'a>, TierCursor, TierKnown<'a>, Drain,
    RecentLog, Reload, StoreFormat,
}

fn decode_postcard<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((content, [])) => Ok(content),
        _ => Err(DecodeError::Malformed),
    }
}

fn encode_postcard<T: Serialize>(content: &T, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
    // The buffer's end is the only way in which these types can fail.
    let length = postcard::to_slice(content, writer.room()).map_err(|_| NoRoom)?.len();
    writer.advance(length)
}

impl<'a> Content<'a> for Hello<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let hello: Self = decode_postcard(bytes)?;
        hello.check()?;
        Ok(hello)
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        encode_postcard(self, writer)
    }
}

impl Publish<'_> {
    /// Writes all but the records, which go behind it.
    pub(super) fn encode_head(
        writer: &mut Writer<'_>,
        alias: u16,
        level: AckLevel,
        want_offset: bool,
        sequence: u16,
    ) -> Result<(), NoRoom> {
        writer.varint(u64::from(alias))?;
        writer.byte(level as u8 | if want_offset { WANT_OFFSET } else { 0 })?;
        writer.raw(&sequence.to_le_bytes())
    }
}

impl<'a> Content<'a> for Publish<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let alias = u16::try_from(reader.varint()?).map_err(|_| DecodeError::Malformed)?;
        let flags = reader.byte()?;
        let level = AckLevel::from_u8(flags & !WANT_OFFSET).ok_or(DecodeError::Malformed)?;
        let sequence = u16::from_le_bytes([reader.byte()?, reader.byte()?]);
        let records = Records::parse(reader.rest())?;
        if records.is_empty() {
            return Err(DecodeError::Malformed);
        }
        Ok(Self { alias, level, want_offset: flags & WANT_OFFSET != 0, sequence, records })
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        Self::encode_head(writer, self.alias, self.level, self.want_offset, self.sequence)?;
        writer.raw(self.records.bytes())
    }
}

impl<'a> Content<'a> for Ack {
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let &[level, low, high] = bytes else { return Err(DecodeError::Malformed) };
        let level = AckLevel::from_u8(level).ok_or(DecodeError::Malformed)?;
        Ok(Self { level, up_to: u16::from_le_bytes([low, high]) })
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.byte(self.level as u8)?;
        writer.raw(&self.up_to.to_le_bytes())
    }
}

impl<'a> Content<'a> for RecordSet<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let id = u32::try_from(reader.varint()?).map_err(|_| DecodeError::Malformed)?;
        let (log_start, high_watermark) = (reader.zigzag()?, reader.zigzag()?);
        let (next_offset, base_offset) = (reader.zigzag()?, reader.zigzag()?);
        let records = Records::parse(reader.rest())?;
        Ok(Self { id, log_start, high_watermark, next_offset, base_offset, records })
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.varint(u64::from(self.id))?;
        for number in [self.log_start, self.high_watermark, self.next_offset, self.base_offset] {
            writer.zigzag(number)?;
        }
        writer.raw(self.records.bytes())
    }
}

impl<'a> Content<'a> for TierStretch<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(bytes)
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        self.write(writer)
    }
}

macro_rules! messages {
    ($(#[$meta:meta])* $set:ident { $($(#[doc = $doc:literal])+ $value:literal $name:ident($content:ty),)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $set<'a> {
            $($(#[doc = $doc])+ $name($content),)*
        }

        impl<'a> $set<'a> {
            /// Decodes a frame's body; strings, bytes and records are borrowed from it.
            pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
                let (kind, content) = body.split_first().ok_or(DecodeError::Malformed)?;
                match *kind {
                    $($value => Content::decode(content).map(Self::$name),)*
                    unknown => Err(DecodeError::UnknownType(unknown)),
                }
            }

            /// The type byte.
            pub const fn kind(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $value,)*
                }
            }

            pub(super) fn encode_body(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
                writer.byte(self.kind())?;
                match self {
                    $(Self::$name(content) => content.encode(writer),)*
                }
            }
        }
    };
}

/// The type byte of [`ClientMessage::Publish`], which is also written in place.
pub(super) const PUBLISH: u8 = 0x04;
/// The type byte of [`ClientMessage::TierStretch`], which is also written in place.
#[cfg(feature = "gateway")]
pub(super) const TIER_STRETCH: u8 = 0x1c;

messages! {
    /// A message from a client to a gateway.
    ClientMessage {
        /// First on a connection.
        0x01 Hello(Hello<'a>),
        /// Still there?
        0x02 Ping(Ping),
        /// A number for a topic.
        0x03 Alias(Alias<'a>),
        /// Records to keep.
        0x04 Publish(Publish<'a>),
        /// Read once.
        0x05 Fetch(Fetch<'a>),
        /// Read as it comes.
        0x06 Subscribe(Subscribe<'a>),
        /// More credit for a subscription.
        0x07 Credit(Credit),
        /// End a subscription.
        0x08 Unsubscribe(Unsubscribe),
        /// Save a reader's position.
        0x09 CommitOffset(CommitOffset<'a>),
        /// Read a reader's position.
        0x0a ReadOffset(ReadOffset<'a>),
        /// A partition's start and end.
        0x0b ListOffsets(ListOffsets<'a>),
        /// Create a topic.
        0x0c CreateTopic(CreateTopic<'a>),
        /// List topics.
        0x0d ListTopics(ListTopics<'a>),
        /// One topic with its settings.
        0x0e DescribeTopic(DescribeTopic<'a>),
        /// Change a topic.
        0x0f AlterTopic(AlterTopic<'a>),
        /// Delete a topic.
        0x10 DeleteTopic(DeleteTopic<'a>),
        /// The gateway's status.
        0x11 Status(Status),
        /// Look at or steer uplinks.
        0x12 Uplink(Uplink<'a>),
        /// Enter a group, or come again.
        0x13 GroupJoin(GroupJoin<'a>),
        /// Keep a share of a group.
        0x14 GroupBeat(GroupBeat<'a>),
        /// Leave a group.
        0x15 GroupLeave(GroupLeave<'a>),
        /// Save positions of a group.
        0x16 GroupCommit(GroupCommit<'a>),
        /// Look at groups, or forget one.
        0x17 Groups(Groups<'a>),
        /// Look at letters, or settle them.
        0x18 DeadLetters(DeadLetters),
        /// Look at rules of access, or change them.
        0x19 Rules(Rules<'a>),
        /// Look at users, or change one.
        0x1a Users(Users<'a>),
        /// What of a gateway below is here.
        0x1b TierCursors(TierCursors<'a>),
        /// Batches of a gateway below.
        0x1c TierStretch(TierStretch<'a>),
        /// Empty the gateway.
        0x1d Drain(Drain),
        /// The end of the gateway's log.
        0x1e RecentLog(RecentLog),
        /// Read the configuration again.
        0x1f Reload(Reload),
        /// Look at the format of the store, or go over to the newest.
        0x20 StoreFormat(StoreFormat),
    }
}

messages! {
    /// A message from a gateway to a client.
    #[expect(clippy::large_enum_variant, reason = "without alloc there is no Box; a topic's settings are the large one")]
    GatewayMessage {
        /// Answers Hello.
        0x81 Welcome(Welcome<'a>),
        /// Answers Ping.
        0x82 Pong(Pong),
        /// A request or the connection failed.
        0x83 Failed(Failed<'a>),
        /// Answers Alias.
        0x84 AliasOk(AliasOk),
        /// Answers Alias.
        0x85 AliasFailed(AliasFailed<'a>),
        /// Sequences are settled.
        0x86 Ack(Ack),
        /// Sequences are settled; with an offset.
        0x87 AckAt(AckAt),
        /// Sequences have reached the centre.
        0x88 Upstream(Upstream),
        /// Records weren't taken.
        0x89 PublishError(PublishError<'a>),
        /// Answers Fetch.
        0x8a Records(RecordSet<'a>),
        /// Records of a subscription.
        0x8b Push(RecordSet<'a>),
        /// Answers ListOffsets.
        0x8c Offsets(Offsets),
        /// A request is done.
        0x8d Done(Done),
        /// Answers ReadOffset.
        0x8e ReaderOffset(ReaderOffset<'a>),
        /// A topic listed or described.
        0x8f Topic(Topic<'a>),
        /// A piece of text.
        0x90 Text(Text<'a>),
        /// A share of a group.
        0x91 GroupJoined(GroupJoined<'a>),
        /// How far a partition below is forwarded.
        0x92 TierCursor(TierCursor),
        /// Ends the cursors.
        0x93 TierKnown(TierKnown<'a>),
    }
}
