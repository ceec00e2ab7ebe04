//! Properties of MQTT 5.0 (section 2.2.2): one table of what exists, how it is written, and where it may stand.
//!
//! [`Properties`] borrows the bytes of a packet. They are checked whole when it is made (every property is known, of its type,
//! allowed in this packet, and there once, but for those that may repeat), so that [`Properties::iter`] can't fail.

use alloc::vec::Vec;

use super::wire::{DecodeError, Reader, TooLong, put_bytes, put_varint};

/// Where a property stands: a kind of packet, or the will in CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Place {
    Connect = 1 << 0,
    ConnAck = 1 << 1,
    Publish = 1 << 2,
    Will = 1 << 3,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK allow the same ones.
    Ack = 1 << 4,
    Subscribe = 1 << 5,
    Unsubscribe = 1 << 6,
    Disconnect = 1 << 7,
    Auth = 1 << 8,
}

macro_rules! properties {
    (@type Bool $l:lifetime) => { bool };
    (@type Byte $l:lifetime) => { u8 };
    (@type Two $l:lifetime) => { u16 };
    (@type Four $l:lifetime) => { u32 };
    (@type Varint $l:lifetime) => { u32 };
    (@type Text $l:lifetime) => { &$l str };
    (@type Binary $l:lifetime) => { &$l [u8] };
    (@type Pair $l:lifetime) => { (&$l str, &$l str) };
    (@read Bool $r:ident) => { $r.bool()? };
    (@read Byte $r:ident) => { $r.byte()? };
    (@read Two $r:ident) => { $r.u16()? };
    (@read Four $r:ident) => { $r.u32()? };
    (@read Varint $r:ident) => { $r.varint()? };
    (@read Text $r:ident) => { $r.string()? };
    (@read Binary $r:ident) => { $r.bytes()? };
    (@read Pair $r:ident) => { ($r.string()?, $r.string()?) };
    (@write Bool $o:ident $v:ident) => { $o.push(u8::from(*$v)) };
    (@write Byte $o:ident $v:ident) => { $o.push(*$v) };
    (@write Two $o:ident $v:ident) => { $o.extend_from_slice(&$v.to_be_bytes()) };
    (@write Four $o:ident $v:ident) => { $o.extend_from_slice(&$v.to_be_bytes()) };
    (@write Varint $o:ident $v:ident) => { put_varint($o, *$v as usize)? };
    (@write Text $o:ident $v:ident) => { put_bytes($o, $v.as_bytes())? };
    (@write Binary $o:ident $v:ident) => { put_bytes($o, $v)? };
    (@write Pair $o:ident $v:ident) => {{ put_bytes($o, $v.0.as_bytes())?; put_bytes($o, $v.1.as_bytes())? }};
    ($($(#[$doc:meta])* $id:literal $name:ident: $kind:ident in $($place:ident)|+;)*) => {
        /// A property and its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<'a> {
            $($(#[$doc])* $name(properties!(@type $kind 'a)),)*
        }

        impl<'a> Property<'a> {
            /// Its identifier on the wire.
            pub fn id(&self) -> u8 {
                match self { $(Self::$name(_) => $id,)* }
            }

            fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                match reader.varint()? {
                    $($id => Ok(Self::$name(properties!(@read $kind reader))),)*
                    _ => Err(DecodeError::Malformed("a property has an identifier that does not exist")),
                }
            }

            fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
                out.push(self.id());
                match self { $(Self::$name(value) => properties!(@write $kind out value),)* }
                Ok(())
            }

            fn is_allowed_in(&self, place: Place) -> bool {
                let places = match self { $(Self::$name(_) => $(Place::$place as u16)|+,)* };
                places & place as u16 != 0
            }
        }
    };
}

properties! {
    /// Whether the payload is UTF-8 text.
    0x01 PayloadFormat: Bool in Publish | Will;
    /// Lifetime of the message, seconds.
    0x02 MessageExpiry: Four in Publish | Will;
    /// What the payload is, for the application.
    0x03 ContentType: Text in Publish | Will;
    /// Where an answer is expected.
    0x08 ResponseTopic: Text in Publish | Will;
    /// What tells the asker which question is answered.
    0x09 CorrelationData: Binary in Publish | Will;
    /// Which of the subscriber's subscriptions matched; 1 to 268,435,455.
    0x0b SubscriptionId: Varint in Publish | Subscribe;
    /// How long the session outlives its connection, seconds; `u32::MAX`: for ever.
    0x11 SessionExpiry: Four in Connect | ConnAck | Disconnect;
    /// The client id that the server chose.
    0x12 AssignedClientId: Text in ConnAck;
    /// The keep alive that the server wants, seconds.
    0x13 ServerKeepAlive: Two in ConnAck;
    /// Name of the method of extended authentication.
    0x15 AuthMethod: Text in Connect | ConnAck | Auth;
    /// What that method says.
    0x16 AuthData: Binary in Connect | ConnAck | Auth;
    /// Whether reason strings and user properties are wanted with failures.
    0x17 RequestProblemInfo: Bool in Connect;
    /// How long the will waits after the connection is lost, seconds.
    0x18 WillDelay: Four in Will;
    /// Whether response information is wanted in CONNACK.
    0x19 RequestResponseInfo: Bool in Connect;
    /// What response topics may be made of.
    0x1a ResponseInfo: Text in ConnAck;
    /// Another server to use.
    0x1c ServerReference: Text in ConnAck | Disconnect;
    /// The reason, for people.
    0x1f ReasonString: Text in ConnAck | Ack | Disconnect | Auth;
    /// Publishes of QoS 1 and 2 that may be unanswered at a time, at least 1.
    0x21 ReceiveMaximum: Two in Connect | ConnAck;
    /// Topic aliases that are accepted: 1 up to this.
    0x22 TopicAliasMaximum: Two in Connect | ConnAck;
    /// A number for the topic's name.
    0x23 TopicAlias: Two in Publish;
    /// The highest QoS, 0 or 1; 2 is told by its absence.
    0x24 MaximumQos: Byte in ConnAck;
    /// Whether retained messages are taken.
    0x25 RetainAvailable: Bool in ConnAck;
    /// A name and a value of the application's; may repeat.
    0x26 User: Pair in Connect | ConnAck | Publish | Will | Ack | Subscribe | Unsubscribe | Disconnect | Auth;
    /// The largest packet that is accepted, bytes with its fixed header, at least 1.
    0x27 MaximumPacketSize: Four in Connect | ConnAck;
    /// Whether filters may have wildcards.
    0x28 WildcardAvailable: Bool in ConnAck;
    /// Whether subscription identifiers are taken.
    0x29 SubscriptionIdAvailable: Bool in ConnAck;
    /// Whether shared subscriptions are.
    0x2a SharedAvailable: Bool in ConnAck;
}

impl Property<'_> {
    /// The user's properties may repeat anywhere, subscription identifiers in a PUBLISH.
    fn may_repeat_in(&self, place: Place) -> bool {
        matches!((self, place), (Property::User(_), _) | (Property::SubscriptionId(_), Place::Publish))
    }

    /// Values that the standard rules out for whole packets.
    fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::SubscriptionId(0) => Err(DecodeError::Protocol("a subscription identifier is 0")),
            Self::ReceiveMaximum(0) => Err(DecodeError::Protocol("the receive maximum is 0")),
            Self::MaximumPacketSize(0) => Err(DecodeError::Protocol("the maximum packet size is 0")),
            Self::MaximumQos(2..) => Err(DecodeError::Protocol("the maximum QoS is neither 0 nor 1")),
            _ => Ok(()),
        }
    }
}

/// The properties of a packet, checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    /// Whole properties, without the length before them.
    bytes: &'a [u8],
}

impl<'a> Properties<'a> {
    /// Takes them and their length off the reader.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read(reader: &mut Reader<'a>, place: Place) -> Result<Self, DecodeError> {
        let length = reader.varint()?;
        let bytes = reader.take(length as usize)?;
        let mut rest = Reader::new(bytes);
        // Identifiers are below 64: see the table.
        let mut seen = 0u64;
        while !rest.is_empty() {
            let property = Property::read(&mut rest)?;
            property.check()?;
            if !property.is_allowed_in(place) {
                return Err(DecodeError::Protocol("a property is not allowed in this packet"));
            }
            let bit = 1 << property.id();
            if seen & bit != 0 && !property.may_repeat_in(place) {
                return Err(DecodeError::Protocol("a property is there twice"));
            }
            seen |= bit;
        }
        Ok(Self { bytes })
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + Clone + use<'a> {
        let mut rest = Reader::new(self.bytes);
        core::iter::from_fn(move || if rest.is_empty() { None } else { Property::read(&mut rest).ok() })
    }

    /// The first for which `pick` finds something.
    pub fn find<T>(&self, pick: impl FnMut(Property<'a>) -> Option<T>) -> Option<T> {
        self.iter().find_map(pick)
    }

    /// The user's properties, in order.
    pub fn user(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        self.iter().filter_map(|property| if let Property::User(pair) = property { Some(pair) } else { None })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        put_varint(out, self.bytes.len())?;
        out.extend_from_slice(self.bytes);
        Ok(())
    }
}

/// Makes [`Properties`] for a packet that is sent. That they are allowed in it is the caller's duty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertiesBuilder {
    bytes: Vec<u8>,
}

impl PropertiesBuilder {
    /// Appends one. One that is too long for its field is left out: properties are hints, and no reason to end a connection.
    pub fn push(&mut self, property: Property<'_>) {
        let before = self.bytes.len();
        if property.write(&mut self.bytes).is_err() {
            self.bytes.truncate(before);
        }
    }

    /// Appends one, if there is one.
    pub fn extend<'a>(&mut self, properties: impl IntoIterator<Item = Property<'a>>) {
        properties.into_iter().for_each(|property| self.push(property));
    }

    /// What was appended.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties { bytes: &self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], place: Place) -> Result<Properties<'_>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let properties = Properties::read(&mut reader, place)?;
        reader.finish()?;
        Ok(properties)
    }

    #[test]
    fn what_is_written_is_read() {
        let all = [
            Property::PayloadFormat(true),
            Property::MessageExpiry(7),
            Property::ContentType("text"),
            Property::ResponseTopic("a/b"),
            Property::CorrelationData(&[1, 0, 2]),
            Property::SubscriptionId(300),
            Property::SubscriptionId(1),
            Property::TopicAlias(9),
            Property::User(("k", "v")),
            Property::User(("k", "v")),
        ];
        let mut builder = PropertiesBuilder::default();
        builder.extend(all);
        let mut out = Vec::new();
        builder.as_properties().write(&mut out).unwrap();
        let back = read(&out, Place::Publish).unwrap();
        assert_eq!(back.iter().collect::<Vec<_>>(), all);
        assert_eq!(back.user().count(), 2);
    }

    #[test]
    fn what_has_no_place_here_is_refused() {
        let protocol = |bytes: &[u8], place| matches!(read(bytes, place), Err(DecodeError::Protocol(_)));
        assert!(protocol(&[5, 0x11, 0, 0, 0, 1], Place::Publish), "a session's expiry in a PUBLISH");
        assert!(protocol(&[4, 0x01, 1, 0x01, 1], Place::Publish), "twice");
        assert!(protocol(&[2, 0x01, 2], Place::Publish), "neither 0 nor 1");
        assert!(protocol(&[3, 0x21, 0, 0], Place::Connect), "a receive maximum of 0");
        assert!(protocol(&[2, 0x0b, 0], Place::Subscribe), "identifier 0");
        assert_eq!(read(&[2, 0x77, 0], Place::Publish).map(|_| ()).unwrap_err().reason().0, 0x81);
        assert_eq!(read(&[4, 0x02, 0, 0], Place::Publish), Err(DecodeError::Truncated));
        assert_eq!(read(&[3, 0x02, 0, 0], Place::Publish), Err(DecodeError::Truncated));
    }
}
