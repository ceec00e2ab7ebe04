//! SUBSCRIBE and UNSUBSCRIBE, and the answers to them (MQTT 5.0, sections 3.8 to 3.11).
//!
//! Lists stay in the bytes of the packet, which are checked whole when it is read: iterating them can't fail.

use alloc::vec::Vec;

use super::connect::{Protocol, properties_of, put_properties};
use super::property::{Place, Properties, Property};
use super::publish::{PacketId, Qos, packet_id};
use super::reason::ReasonCode;
use super::wire::{DecodeError, Reader, TooLong, put_bytes};

/// A client subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    pub packet_id: PacketId,
    pub properties: Properties<'a>,
    pub filters: Subscriptions<'a>,
}

/// What a client subscribes to, at least one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriptions<'a> {
    bytes: &'a [u8],
}

/// One filter and how it is to be served. Whether it is a filter, the server has to look for itself: it has a reason code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    pub filter: &'a str,
    /// At most this QoS.
    pub qos: Qos,
    /// Nothing that this client published itself.
    pub no_local: bool,
    /// RETAIN stays as it was published.
    pub retain_as_published: bool,
    pub retain: RetainHandling,
}

/// Which retained messages come with a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    #[default]
    Send = 0,
    /// Only if there was no such subscription.
    SendIfNew = 1,
    No = 2,
}

impl<'a> Subscribe<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, protocol: Protocol) -> Result<Self, DecodeError> {
        let packet_id = packet_id(reader)?;
        let properties = properties_of(reader, protocol, Place::Subscribe)?;
        let bytes = reader.rest();
        if bytes.is_empty() {
            return Err(DecodeError::Protocol("a SUBSCRIBE has no filter"));
        }
        while !reader.is_empty() {
            Subscription::read(reader, protocol)?;
        }
        Ok(Self { packet_id, properties, filters: Subscriptions { bytes } })
    }

    /// The identifier that messages of these subscriptions carry.
    pub fn identifier(&self) -> Option<u32> {
        self.properties.find(|property| if let Property::SubscriptionId(id) = property { Some(id) } else { None })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, protocol: Protocol) -> Result<(), TooLong> {
        out.extend_from_slice(&self.packet_id.get().to_be_bytes());
        put_properties(out, protocol, &self.properties)?;
        out.extend_from_slice(self.filters.bytes);
        Ok(())
    }
}

impl<'a> Subscriptions<'a> {
    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Subscription<'a>> + use<'a> {
        let mut rest = Reader::new(self.bytes);
        // The options of 3.1.1 are a part of those of 5.0.
        core::iter::from_fn(move || Subscription::read(&mut rest, Protocol::V5).ok())
    }

    /// Those that [`put_subscription`] has written.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }
}

/// Appends a filter for [`Subscriptions::of`].
///
/// # Errors
/// [`TooLong`].
pub fn put_subscription(out: &mut Vec<u8>, one: &Subscription<'_>) -> Result<(), TooLong> {
    put_bytes(out, one.filter.as_bytes())?;
    let flags = (u8::from(one.no_local) << 2) | (u8::from(one.retain_as_published) << 3);
    out.push(one.qos as u8 | flags | ((one.retain as u8) << 4));
    Ok(())
}

impl<'a> Subscription<'a> {
    fn read(reader: &mut Reader<'a>, protocol: Protocol) -> Result<Self, DecodeError> {
        let filter = reader.string()?;
        let options = reader.byte()?;
        let reserved = if protocol == Protocol::V5 { 0xc0 } else { 0xfc };
        if options & reserved != 0 {
            return Err(DecodeError::Malformed("reserved options of a subscription are set"));
        }
        let qos = Qos::of_bits(options).ok_or(DecodeError::Malformed("a subscription asks for QoS 3"))?;
        let retain = match (options >> 4) & 3 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::No,
            _ => return Err(DecodeError::Protocol("a subscription asks for retain handling 3")),
        };
        Ok(Self { filter, qos, no_local: options & 4 != 0, retain_as_published: options & 8 != 0, retain })
    }
}

/// A client ends subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    pub packet_id: PacketId,
    pub properties: Properties<'a>,
    pub filters: Filters<'a>,
}

/// Filters, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters<'a> {
    bytes: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, protocol: Protocol) -> Result<Self, DecodeError> {
        let packet_id = packet_id(reader)?;
        let properties = properties_of(reader, protocol, Place::Unsubscribe)?;
        let bytes = reader.rest();
        if bytes.is_empty() {
            return Err(DecodeError::Protocol("an UNSUBSCRIBE has no filter"));
        }
        while !reader.is_empty() {
            reader.string()?;
        }
        Ok(Self { packet_id, properties, filters: Filters { bytes } })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, protocol: Protocol) -> Result<(), TooLong> {
        out.extend_from_slice(&self.packet_id.get().to_be_bytes());
        put_properties(out, protocol, &self.properties)?;
        out.extend_from_slice(self.filters.bytes);
        Ok(())
    }
}

impl<'a> Filters<'a> {
    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = Reader::new(self.bytes);
        core::iter::from_fn(move || rest.string().ok())
    }

    /// Strings with their lengths before them, one after the other.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }
}

/// SUBACK or UNSUBACK: a reason for each filter, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterAck<'a> {
    pub packet_id: PacketId,
    pub properties: Properties<'a>,
    /// One byte each, a [`ReasonCode`]. UNSUBACK of 3.1.1 has none.
    pub reasons: &'a [u8],
}

impl<'a> FilterAck<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, protocol: Protocol) -> Result<Self, DecodeError> {
        let packet_id = packet_id(reader)?;
        let properties = properties_of(reader, protocol, Place::Ack)?;
        Ok(Self { packet_id, properties, reasons: reader.take(reader.rest().len())? })
    }

    pub(super) fn write_suback(&self, out: &mut Vec<u8>, protocol: Protocol) -> Result<(), TooLong> {
        self.write_head(out, protocol)?;
        // 3.1.1 knows three levels, and one failure.
        let told = |code: &u8| if protocol == Protocol::V3 && ReasonCode(*code).is_error() { 0x80 } else { *code };
        out.extend(self.reasons.iter().map(told));
        Ok(())
    }

    pub(super) fn write_unsuback(&self, out: &mut Vec<u8>, protocol: Protocol) -> Result<(), TooLong> {
        self.write_head(out, protocol)?;
        if protocol == Protocol::V5 {
            out.extend_from_slice(self.reasons);
        }
        Ok(())
    }

    fn write_head(&self, out: &mut Vec<u8>, protocol: Protocol) -> Result<(), TooLong> {
        out.extend_from_slice(&self.packet_id.get().to_be_bytes());
        put_properties(out, protocol, &self.properties)
    }
}
