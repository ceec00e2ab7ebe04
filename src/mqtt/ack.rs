//! Packets that are little more than a reason: PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT 5.0, sections 3.4 to 3.7), DISCONNECT (3.14) and
//! AUTH (3.15).

use alloc::vec::Vec;

use super::connect::Protocol;
use super::property::{Place, Properties};
use super::publish::{PacketId, packet_id};
use super::reason::ReasonCode;
use super::wire::{DecodeError, Reader, TooLong};

/// A step in the acknowledgement of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    pub packet_id: PacketId,
    /// 3.1.1 knows success only.
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

impl<'a> Ack<'a> {
    /// Success.
    pub fn of(packet_id: PacketId) -> Self {
        Self { packet_id, reason: ReasonCode::SUCCESS, properties: Properties::default() }
    }

    pub(super) fn read(reader: &mut Reader<'a>, protocol: Protocol) -> Result<Self, DecodeError> {
        let packet_id = packet_id(reader)?;
        let Reason { reason, properties } = Reason::read(reader, protocol, Place::Ack, ReasonCode::SUCCESS)?;
        Ok(Self { packet_id, reason, properties })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, protocol: Protocol) -> Result<(), TooLong> {
        out.extend_from_slice(&self.packet_id.get().to_be_bytes());
        Reason { reason: self.reason, properties: self.properties }.write(out, protocol, ReasonCode::SUCCESS)
    }
}

/// What DISCONNECT and AUTH consist of. Both are empty in 3.1.1, which has no AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

impl<'a> Reason<'a> {
    /// A reason alone.
    pub fn of(reason: ReasonCode) -> Self {
        Self { reason, properties: Properties::default() }
    }

    /// Trailing parts may be left out: the reason if it is `usual`, the properties if there are none.
    pub(super) fn read(
        reader: &mut Reader<'a>,
        protocol: Protocol,
        place: Place,
        usual: ReasonCode,
    ) -> Result<Self, DecodeError> {
        if protocol == Protocol::V3 || reader.is_empty() {
            return Ok(Self::of(usual));
        }
        let reason = ReasonCode(reader.byte()?);
        let properties = if reader.is_empty() { Properties::default() } else { Properties::read(reader, place)? };
        Ok(Self { reason, properties })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, protocol: Protocol, usual: ReasonCode) -> Result<(), TooLong> {
        if protocol == Protocol::V3 || self.reason == usual && self.properties.is_empty() {
            return Ok(());
        }
        out.push(self.reason.0);
        if self.properties.is_empty() { Ok(()) } else { self.properties.write(out) }
    }
}
