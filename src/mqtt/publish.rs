//! PUBLISH (MQTT 5.0, section 3.3).

use alloc::vec::Vec;
use core::num::NonZeroU16;

use super::connect::{Protocol, properties_of, put_properties};
use super::property::{Place, Properties, Property};
use super::topic;
use super::wire::{DecodeError, Reader, TooLong, put_bytes};

/// Names what is under way between two peers, in each direction.
pub type PacketId = NonZeroU16;

/// How often a message arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Qos {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl Qos {
    /// Of the two lowest bits; 3 is none.
    pub fn of_bits(bits: u8) -> Option<Self> {
        match bits & 3 {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A message on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Sent before, perhaps.
    pub dup: bool,
    pub qos: Qos,
    pub retain: bool,
    /// Empty where an alias stands for it.
    pub topic: &'a str,
    /// There if and only if `qos` is not 0.
    pub packet_id: Option<PacketId>,
    pub properties: Properties<'a>,
    pub payload: &'a [u8],
}

const DUP: u8 = 8;
const RETAIN: u8 = 1;

impl<'a> Publish<'a> {
    pub(super) fn read(flags: u8, reader: &mut Reader<'a>, protocol: Protocol) -> Result<Self, DecodeError> {
        let qos = Qos::of_bits(flags >> 1).ok_or(DecodeError::Malformed("a PUBLISH has QoS 3"))?;
        let dup = flags & DUP != 0;
        if dup && qos == Qos::AtMostOnce {
            return Err(DecodeError::Malformed("a PUBLISH of QoS 0 has DUP set"));
        }
        let topic = reader.string()?;
        let packet_id = if qos == Qos::AtMostOnce { None } else { Some(packet_id(reader)?) };
        let properties = properties_of(reader, protocol, Place::Publish)?;
        let payload = reader.take(reader.rest().len())?;
        let publish = Self { dup, qos, retain: flags & RETAIN != 0, topic, packet_id, properties, payload };
        publish.check_topic()?;
        Ok(publish)
    }

    fn check_topic(&self) -> Result<(), DecodeError> {
        if self.topic.is_empty() {
            let aliased = self.alias().is_some();
            return if aliased { Ok(()) } else { Err(DecodeError::Protocol("a PUBLISH has no topic, nor an alias")) };
        }
        if topic::is_name(self.topic) { Ok(()) } else { Err(DecodeError::Malformed("a PUBLISH goes to a wildcard")) }
    }

    /// The alias that it makes or uses.
    pub fn alias(&self) -> Option<u16> {
        self.properties.find(|property| if let Property::TopicAlias(alias) = property { Some(alias) } else { None })
    }

    pub(super) fn flags(&self) -> u8 {
        let dup = if self.dup { DUP } else { 0 };
        dup | ((self.qos as u8) << 1) | u8::from(self.retain)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, protocol: Protocol) -> Result<(), TooLong> {
        put_bytes(out, self.topic.as_bytes())?;
        if let Some(id) = self.packet_id.filter(|_| self.qos != Qos::AtMostOnce) {
            out.extend_from_slice(&id.get().to_be_bytes());
        }
        put_properties(out, protocol, &self.properties)?;
        out.extend_from_slice(self.payload);
        Ok(())
    }
}

/// A packet identifier.
///
/// # Errors
/// [`DecodeError`]; 0 is none.
pub(super) fn packet_id(reader: &mut Reader<'_>) -> Result<PacketId, DecodeError> {
    PacketId::new(reader.u16()?).ok_or(DecodeError::Protocol("a packet identifier is 0"))
}
