//! What members of a group of type "consumer" say to each other, in JoinGroup's metadata and SyncGroup's assignments:
//! a version (i16) and a struct in the layout before the flexible one (`ConsumerProtocolSubscription`,
//! `ConsumerProtocolAssignment`, versions 0–3).
//!
//! A later version only appends fields, so it is read as the last one known, and what follows is left alone.

use crate::kafka::message::messages;
use crate::kafka::wire::{DecodeError, EncodeError, Layout, Reader, Wire};

/// The `protocol_type` of JoinGroup that goes with it.
pub const PROTOCOL_TYPE: &str = "consumer";
/// The highest version known.
const VERSION_MAX: i16 = 3;
/// The version written: the first with owned partitions isn't needed by an eager assignor.
const VERSION: i16 = 0;

messages! {
    /// What a member wants.
    struct Subscription<'a> {
        topics: Vec<&'a str>;
        user_data: Option<&'a [u8]>;
        owned_partitions: Vec<TopicPartitions<'a>>, in 1..;
        generation_id: i32, in 2.., default -1;
        rack_id: Option<&'a str>, in 3..;
    }

    /// What a member gets.
    struct Assignment<'a> {
        assigned_partitions: Vec<TopicPartitions<'a>>;
        user_data: Option<&'a [u8]>;
    }

    struct TopicPartitions<'a> {
        topic: &'a str;
        partitions: Vec<i32>;
    }
}

impl<'a> Subscription<'a> {
    /// Reads what a member told the leader.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        decode(bytes)
    }

    /// The bytes to tell the leader.
    ///
    /// # Errors
    /// A topic's name that is too long.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        encode(self)
    }
}

impl<'a> Assignment<'a> {
    /// Reads what a member got. Nothing at all is an assignment of nothing: that is what a member gets that the leader
    /// left out.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() { Ok(Self::default()) } else { decode(bytes) }
    }

    /// The bytes that a member gets.
    ///
    /// # Errors
    /// A topic's name that is too long.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        encode(self)
    }
}

fn decode<'a, T: Wire<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    if version < 0 {
        return Err(DecodeError::Version(version));
    }
    T::read(&mut reader, Layout { version: version.min(VERSION_MAX), flexible: false })
}

fn encode<'a, T: Wire<'a>>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = VERSION.to_be_bytes().to_vec();
    value.write(&mut out, Layout { version: VERSION, flexible: false })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As kafka-python 3 writes them.
    #[test]
    fn bytes_of_version_0() {
        let subscription = Subscription { topics: vec!["t"], ..Default::default() };
        let bytes = b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff";
        assert_eq!(subscription.encode().unwrap(), bytes);
        assert_eq!(Subscription::decode(bytes).unwrap(), subscription);
        let partitions = TopicPartitions { topic: "t", partitions: vec![0, 2] };
        let assignment = Assignment { assigned_partitions: vec![partitions], ..Default::default() };
        let bytes = b"\0\0\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x02\xff\xff\xff\xff";
        assert_eq!(assignment.encode().unwrap(), bytes);
        assert_eq!(Assignment::decode(bytes).unwrap(), assignment);
        assert_eq!(Assignment::decode(b"").unwrap(), Assignment::default());
    }

    /// The first as kafka-python 3 writes it.
    #[test]
    fn later_versions_are_read() {
        let bytes = b"\0\x03\0\0\0\x01\0\x01t\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x07\0\0\0\x05\0\x01r";
        let subscription = Subscription::decode(bytes).unwrap();
        assert_eq!((subscription.generation_id, subscription.rack_id), (5, Some("r")));
        assert_eq!(subscription.owned_partitions[0].partitions, [7]);
        let mut later = bytes.to_vec();
        later[1] = 9;
        later.extend(b"more");
        assert_eq!(Subscription::decode(&later).unwrap(), subscription);
        assert!(Subscription::decode(b"\xff\xff\0\0\0\0").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Subscription::decode(&bytes);
            let _ = Assignment::decode(&bytes);
        }
    }
}
