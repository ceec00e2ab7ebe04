//! Packets: what frames them in a stream of bytes, and which kinds there are (MQTT 5.0, section 2.1).

use alloc::vec::Vec;
use core::fmt;

use super::ack::{Ack, Reason};
use super::connect::{ConnAck, Connect, Protocol};
use super::property::Place;
use super::publish::Publish;
use super::reason::ReasonCode;
use super::subscribe::{FilterAck, Subscribe, Unsubscribe};
use super::wire::{DecodeError, Reader, TooLong, put_varint, varint_bytes};

/// The first byte of a packet: its kind in the upper half, flags in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First(pub u8);

/// What the start of some received bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// Not yet a whole packet: at least this many bytes more are needed.
    Need(usize),
    /// A whole packet.
    Packet {
        first: First,
        /// What comes behind the fixed header.
        body: &'a [u8],
        /// Bytes that it took from the input.
        taken: usize,
    },
}

/// The stream can't be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The remaining length has more than four bytes.
    Length,
    /// The packet is larger than is taken; both in bytes, with the fixed header.
    TooLarge { bytes: usize, bytes_max: usize },
}

impl FrameError {
    /// What 5.0 calls it on the wire.
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::Length => ReasonCode::MALFORMED_PACKET,
            Self::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "the remaining length of a packet exceeds four bytes"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "a packet of {bytes} bytes is larger than the {bytes_max} that are taken")
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// Looks for a packet of at most `bytes_max` bytes in all at the start of `input`. One that claims more is refused as soon as its
/// length is read.
///
/// # Errors
/// [`FrameError`].
pub fn split(input: &[u8], bytes_max: usize) -> Result<Split<'_>, FrameError> {
    let Some((first, rest)) = input.split_first() else { return Ok(Split::Need(2)) };
    let mut reader = Reader::new(rest);
    let length = match reader.varint() {
        Ok(length) => length as usize,
        Err(DecodeError::Truncated) => return Ok(Split::Need(1)),
        Err(_) => return Err(FrameError::Length),
    };
    let taken = input.len() - reader.rest().len() + length;
    if taken > bytes_max {
        return Err(FrameError::TooLarge { bytes: taken, bytes_max });
    }
    match reader.take(length) {
        Ok(body) => Ok(Split::Packet { first: First(*first), body, taken }),
        Err(_) => Ok(Split::Need(taken - input.len())),
    }
}

/// A packet of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(FilterAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(FilterAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Reason<'a>),
    Auth(Reason<'a>),
}

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

impl First {
    fn kind(self) -> u8 {
        self.0 >> 4
    }

    fn flags(self) -> u8 {
        self.0 & 0x0f
    }

    /// Whether a CONNECT begins here: nothing else may come first on a connection.
    pub fn is_connect(self) -> bool {
        self.kind() == CONNECT
    }
}

impl<'a> Packet<'a> {
    /// Reads a packet that [`split`] has found. A CONNECT says itself what it speaks.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(first: First, body: &'a [u8], protocol: Protocol) -> Result<Self, DecodeError> {
        let kind = first.kind();
        let flags = if matches!(kind, PUBREL | SUBSCRIBE | UNSUBSCRIBE) { 2 } else { 0 };
        if kind != PUBLISH && first.flags() != flags {
            return Err(DecodeError::Malformed("reserved flags of the fixed header are not as they must be"));
        }
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        let reason = |reader: &mut Reader<'a>, place| Reason::read(reader, protocol, place, ReasonCode::SUCCESS);
        let packet = match kind {
            CONNECT => Self::Connect(Connect::read(reader)?),
            CONNACK => Self::ConnAck(ConnAck::read(reader, protocol)?),
            PUBLISH => Self::Publish(Publish::read(first.flags(), reader, protocol)?),
            PUBACK => Self::PubAck(Ack::read(reader, protocol)?),
            PUBREC => Self::PubRec(Ack::read(reader, protocol)?),
            PUBREL => Self::PubRel(Ack::read(reader, protocol)?),
            PUBCOMP => Self::PubComp(Ack::read(reader, protocol)?),
            SUBSCRIBE => Self::Subscribe(Subscribe::read(reader, protocol)?),
            SUBACK => Self::SubAck(FilterAck::read(reader, protocol)?),
            UNSUBSCRIBE => Self::Unsubscribe(Unsubscribe::read(reader, protocol)?),
            UNSUBACK => Self::UnsubAck(FilterAck::read(reader, protocol)?),
            PINGREQ => Self::PingReq,
            PINGRESP => Self::PingResp,
            DISCONNECT => Self::Disconnect(reason(reader, Place::Disconnect)?),
            AUTH if protocol == Protocol::V5 => Self::Auth(reason(reader, Place::Auth)?),
            _ => return Err(DecodeError::Malformed("there is no such kind of packet")),
        };
        reader.finish()?;
        Ok(packet)
    }

    /// Appends the packet, with its fixed header.
    ///
    /// # Errors
    /// [`TooLong`]: nothing was appended then.
    pub fn encode(&self, out: &mut Vec<u8>, protocol: Protocol) -> Result<(), TooLong> {
        let start = out.len();
        let written = self.write(out, protocol, start);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn write(&self, out: &mut Vec<u8>, protocol: Protocol, start: usize) -> Result<(), TooLong> {
        out.push(self.first());
        let body = out.len();
        self.write_body(out, protocol)?;
        let length = out.len() - body;
        // The length comes before what it counts, and its own size depends on it: it is put in between.
        let mut prefix = Vec::with_capacity(varint_bytes(length));
        put_varint(&mut prefix, length)?;
        out.splice(start + 1..start + 1, prefix);
        Ok(())
    }

    fn first(&self) -> u8 {
        let (kind, flags) = match self {
            Self::Connect(_) => (CONNECT, 0),
            Self::ConnAck(_) => (CONNACK, 0),
            Self::Publish(publish) => (PUBLISH, publish.flags()),
            Self::PubAck(_) => (PUBACK, 0),
            Self::PubRec(_) => (PUBREC, 0),
            Self::PubRel(_) => (PUBREL, 2),
            Self::PubComp(_) => (PUBCOMP, 0),
            Self::Subscribe(_) => (SUBSCRIBE, 2),
            Self::SubAck(_) => (SUBACK, 0),
            Self::Unsubscribe(_) => (UNSUBSCRIBE, 2),
            Self::UnsubAck(_) => (UNSUBACK, 0),
            Self::PingReq => (PINGREQ, 0),
            Self::PingResp => (PINGRESP, 0),
            Self::Disconnect(_) => (DISCONNECT, 0),
            Self::Auth(_) => (AUTH, 0),
        };
        kind << 4 | flags
    }

    fn write_body(&self, out: &mut Vec<u8>, protocol: Protocol) -> Result<(), TooLong> {
        match self {
            Self::Connect(connect) => connect.write(out),
            Self::ConnAck(connack) => connack.write(out, protocol),
            Self::Publish(publish) => publish.write(out, protocol),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => ack.write(out, protocol),
            Self::Subscribe(subscribe) => subscribe.write(out, protocol),
            Self::SubAck(ack) => ack.write_suback(out, protocol),
            Self::Unsubscribe(unsubscribe) => unsubscribe.write(out, protocol),
            Self::UnsubAck(ack) => ack.write_unsuback(out, protocol),
            Self::PingReq | Self::PingResp => Ok(()),
            Self::Disconnect(reason) | Self::Auth(reason) => reason.write(out, protocol, ReasonCode::SUCCESS),
        }
    }
}
