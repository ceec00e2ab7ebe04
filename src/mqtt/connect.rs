//! CONNECT and CONNACK (MQTT 5.0, sections 3.1 and 3.2; 3.1.1 likewise).

use alloc::vec::Vec;
use core::fmt;

use super::property::{Place, Properties, Property};
use super::publish::Qos;
use super::reason::ReasonCode;
use super::topic;
use super::wire::{DecodeError, Reader, TooLong, put_bytes};

/// The version that a connection speaks. 3.1 is taken for 3.1.1: what differs (a limit of 23 bytes on client ids, mostly) is of no
/// interest to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// 3.1 and 3.1.1.
    #[default]
    V3,
    /// 5.0.
    V5,
}

/// A client introduces itself. Debug leaves out the password, and the properties, which may hold another.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Connect<'a> {
    pub protocol: Protocol,
    /// The protocol level as it is on the wire: 3 (3.1), 4 (3.1.1) or 5.
    pub level: u8,
    /// The client id; empty: the server is to choose one.
    pub client_id: &'a str,
    /// Whether an earlier session is to be forgotten.
    pub clean_start: bool,
    /// Most time between two packets of the client, seconds; 0: any.
    pub keep_alive: u16,
    pub will: Option<Will<'a>>,
    pub user: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub properties: Properties<'a>,
}

/// What is to be published when a connection ends without DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    pub retain: bool,
    pub properties: Properties<'a>,
}

const USER: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("level", &self.level)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("will", &self.will.map(|will| will.topic))
            .field("user", &self.user)
            .field("has_password", &self.password.is_some())
            .finish_non_exhaustive()
    }
}

impl<'a> Connect<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let name = reader.string()?;
        let level = reader.byte()?;
        // A bridge of Mosquitto sets the highest bit of the level to say what it is.
        let level = level & 0x7f;
        let protocol = match (name, level) {
            ("MQTT", 5) => Protocol::V5,
            ("MQTT", 4) | ("MQIsdp", 3) => Protocol::V3,
            ("MQTT" | "MQIsdp", level) => return Err(DecodeError::Version(level)),
            _ => return Err(DecodeError::Malformed("CONNECT names another protocol than MQTT")),
        };
        let flags = reader.byte()?;
        if flags & RESERVED != 0 {
            return Err(DecodeError::Malformed("the reserved flag of CONNECT is set"));
        }
        let keep_alive = reader.u16()?;
        let properties = properties_of(reader, protocol, Place::Connect)?;
        let client_id = reader.string()?;
        let will = Self::read_will(reader, flags, protocol)?;
        let user = if flags & USER != 0 { Some(reader.string()?) } else { None };
        if protocol == Protocol::V3 && flags & PASSWORD != 0 && user.is_none() {
            return Err(DecodeError::Malformed("CONNECT has a password without a user"));
        }
        let password = if flags & PASSWORD != 0 { Some(reader.bytes()?) } else { None };
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self { protocol, level, client_id, clean_start, keep_alive, will, user, password, properties })
    }

    fn read_will(reader: &mut Reader<'a>, flags: u8, protocol: Protocol) -> Result<Option<Will<'a>>, DecodeError> {
        let qos = Qos::of_bits(flags >> 3).ok_or(DecodeError::Malformed("the will's QoS is 3"))?;
        let retain = flags & WILL_RETAIN != 0;
        if flags & WILL == 0 {
            let clear = qos == Qos::AtMostOnce && !retain;
            return if clear {
                Ok(None)
            } else {
                Err(DecodeError::Malformed("flags of a will that isn't there are set"))
            };
        }
        let properties = properties_of(reader, protocol, Place::Will)?;
        let topic = reader.string()?;
        if !topic::is_name(topic) {
            return Err(DecodeError::Malformed("the will's topic is empty, or has wildcards"));
        }
        Ok(Some(Will { topic, payload: reader.bytes()?, qos, retain, properties }))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let (name, level) = match (self.protocol, self.level) {
            (Protocol::V5, _) => ("MQTT", 5),
            (Protocol::V3, 3) => ("MQIsdp", 3),
            (Protocol::V3, _) => ("MQTT", 4),
        };
        put_bytes(out, name.as_bytes())?;
        let mut flags = if self.clean_start { CLEAN_START } else { 0 };
        if let Some(will) = &self.will {
            flags |= WILL | ((will.qos as u8) << 3) | if will.retain { WILL_RETAIN } else { 0 };
        }
        flags |= if self.user.is_some() { USER } else { 0 };
        flags |= if self.password.is_some() { PASSWORD } else { 0 };
        out.extend_from_slice(&[level, flags]);
        out.extend_from_slice(&self.keep_alive.to_be_bytes());
        put_properties(out, self.protocol, &self.properties)?;
        put_bytes(out, self.client_id.as_bytes())?;
        if let Some(will) = &self.will {
            put_properties(out, self.protocol, &will.properties)?;
            put_bytes(out, will.topic.as_bytes())?;
            put_bytes(out, will.payload)?;
        }
        self.user.map_or(Ok(()), |user| put_bytes(out, user.as_bytes()))?;
        self.password.map_or(Ok(()), |password| put_bytes(out, password))
    }

    /// How long the session outlives the connection, seconds. 3.1.1 knows for ever (`u32::MAX`) and not at all.
    pub fn session_expiry(&self) -> u32 {
        let asked = |property| if let Property::SessionExpiry(seconds) = property { Some(seconds) } else { None };
        match self.protocol {
            Protocol::V3 if self.clean_start => 0,
            Protocol::V3 => u32::MAX,
            Protocol::V5 => self.properties.find(asked).unwrap_or(0),
        }
    }
}

/// The server's answer to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether there is an earlier session that goes on.
    pub session_present: bool,
    /// 3.1.1 gets the return code that is closest.
    pub reason: ReasonCode,
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, protocol: Protocol) -> Result<Self, DecodeError> {
        let session_present = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Malformed("reserved flags of CONNACK are set")),
        };
        let code = reader.byte()?;
        let reason = match protocol {
            Protocol::V3 => ReasonCode::of_connect_return_code(code),
            Protocol::V5 => ReasonCode(code),
        };
        Ok(Self { session_present, reason, properties: properties_of(reader, protocol, Place::ConnAck)? })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, protocol: Protocol) -> Result<(), TooLong> {
        let code = match protocol {
            Protocol::V3 => self.reason.connect_return_code(),
            Protocol::V5 => self.reason.0,
        };
        // A refusal never speaks of a session.
        out.extend_from_slice(&[u8::from(self.session_present && code == 0), code]);
        put_properties(out, protocol, &self.properties)
    }
}

/// Properties, where the version has them.
pub(super) fn properties_of<'a>(
    reader: &mut Reader<'a>,
    protocol: Protocol,
    place: Place,
) -> Result<Properties<'a>, DecodeError> {
    match protocol {
        Protocol::V3 => Ok(Properties::default()),
        Protocol::V5 => Properties::read(reader, place),
    }
}

/// Properties, where the version has them; 3.1.1 is not told.
pub(super) fn put_properties(
    out: &mut Vec<u8>,
    protocol: Protocol,
    properties: &Properties<'_>,
) -> Result<(), TooLong> {
    match protocol {
        Protocol::V3 => Ok(()),
        Protocol::V5 => properties.write(out),
    }
}
