//! The codec against `kafka-protocol`, for every message in every version spoken.
//!
//! Bytes of a message, generated from its shape, must mean the same values to both, field by field and by name, and
//! both must turn these values into the same bytes.
use brooklet::kafka::api::ApiKey;
use brooklet::kafka::error_code::ErrorCode;
use brooklet::kafka::header::{RequestHeader, decode_response_header, encode_response_header};
use brooklet::kafka::wire::Reader;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{self as theirs, RequestKind, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

use crate::debug_tree;
use crate::generate::{Filling, generate};
use crate::subjects::{Subject, subjects};

/// The value as the oracle shows it, and as it encodes it.
fn oracle(subject: &Subject, version: i16, bytes: &[u8]) -> (String, Vec<u8>) {
    let key = theirs::ApiKey::try_from(subject.key.code()).unwrap();
    let mut input = bytes.to_vec().into();
    let mut again = Default::default();
    let debug = if subject.is_request {
        let message = RequestKind::decode(key, &mut input, version).unwrap();
        message.encode(&mut again, version).unwrap();
        format!("{message:?}")
    } else {
        let message = ResponseKind::decode(key, &mut input, version).unwrap();
        message.encode(&mut again, version).unwrap();
        format!("{message:?}")
    };
    assert!(input.is_empty(), "{}: the oracle left {} bytes", subject.name(version), input.len());
    (debug, again.to_vec())
}

fn agree(subject: &Subject, version: i16, filling: Filling) {
    let name = format!("{} {filling:?}", subject.name(version));
    let bytes = generate(subject.shape, subject.key.layout(version).unwrap(), filling);
    let ours = (subject.both_ways)(version, &bytes).unwrap_or_else(|error| panic!("{name}: {error}\n{bytes:?}"));

    // Ours to theirs.
    let (debug, _) = oracle(subject, version, &ours.bytes);
    same_values(subject, version, &name, &ours.debug, &debug);
    // Theirs to ours.
    let (debug, bytes_of_oracle) = oracle(subject, version, &bytes);
    let again = (subject.both_ways)(version, &bytes_of_oracle).unwrap();
    same_values(subject, version, &name, &again.debug, &debug);
    // Where only one form exists, all three write it. (A tagged field may be sent with its default; unknown tags get
    // lost.)
    if !matches!(filling, Filling::Random(_)) {
        assert_eq!(ours.bytes, bytes, "{name}: not the bytes we were given");
        assert_eq!(ours.bytes, bytes_of_oracle, "{name}: not the bytes of the oracle");
    }
}

fn same_values(subject: &Subject, version: i16, name: &str, ours: &str, theirs: &str) {
    let (our_tree, their_tree) = (debug_tree::parse(ours), debug_tree::parse(theirs));
    let difference = debug_tree::difference(&subject.shape, version, &our_tree, &their_tree);
    assert_eq!(difference, None, "{name}\n  ours {ours}\ntheirs {theirs}");
}

#[test]
fn every_message_in_every_version_means_the_same() {
    for subject in subjects() {
        for version in subject.key.versions() {
            for filling in [Filling::Empty, Filling::Null, Filling::Full(1), Filling::Full(3)] {
                agree(&subject, version, filling);
            }
        }
    }
}

#[test]
fn long_arrays_mean_the_same() {
    // 130 elements: counts whose varint takes two bytes. Not where arrays are nested, for the size of it.
    let is_flat = |subject: &&Subject| format!("{:?}", subject.shape).matches("Array").count() == 1;
    for subject in subjects().iter().filter(is_flat) {
        agree(subject, *subject.key.versions().end(), Filling::Full(130));
    }
}

proptest! {
    // A seed can't be made smaller, only other.
    #![proptest_config(ProptestConfig {
        cases: 32, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default()
    })]

    #[test]
    fn random_messages_mean_the_same(seed: u64) {
        for subject in subjects() {
            for version in subject.key.versions() {
                agree(&subject, version, Filling::Random(seed));
            }
        }
    }
}

#[test]
fn headers_mean_the_same() {
    for &api in ApiKey::ALL {
        let their_api = theirs::ApiKey::try_from(api.code()).unwrap();
        for version in api.versions() {
            assert_eq!(
                api.request_header_version(version),
                their_api.request_header_version(version),
                "{}",
                api.name()
            );
            assert_eq!(
                api.response_header_version(version),
                their_api.response_header_version(version),
                "{}",
                api.name()
            );
            for client_id in [None, Some(""), Some("probe-7")] {
                request_header_means_the_same(RequestHeader {
                    api_key: api.code(),
                    api_version: version,
                    correlation_id: -77,
                    client_id,
                });
            }
            let mut ours = Vec::new();
            encode_response_header(api, version, 1 << 20, &mut ours);
            let header_version = their_api.response_header_version(version);
            let header = theirs::ResponseHeader::decode(&mut ours.as_slice(), header_version).unwrap();
            assert_eq!(header.correlation_id, 1 << 20);
            let mut reader = Reader::new(&ours);
            assert_eq!(decode_response_header(api, version, &mut reader), Ok(1 << 20));
            assert_eq!(reader.finish(), Ok(()));
        }
    }
}

fn request_header_means_the_same(header: RequestHeader<'_>) {
    let header_version = theirs::ApiKey::try_from(header.api_key).unwrap().request_header_version(header.api_version);
    let mut ours = Vec::new();
    header.encode(&mut ours).unwrap();
    let their_header = theirs::RequestHeader::decode(&mut ours.as_slice(), header_version).unwrap();
    assert_eq!(their_header.client_id.as_deref(), header.client_id);
    assert_eq!(their_header.correlation_id, header.correlation_id);
    assert_eq!((their_header.request_api_key, their_header.request_api_version), (header.api_key, header.api_version));
    let mut their_bytes = Vec::new();
    their_header.encode(&mut their_bytes, header_version).unwrap();
    assert_eq!(their_bytes, ours);
    let mut reader = Reader::new(&ours);
    assert_eq!(RequestHeader::decode(&mut reader), Ok(header));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn error_codes_mean_the_same() {
    for &ours in ErrorCode::ALL.iter().filter(|&&code| code != ErrorCode::None) {
        let their_error = ResponseError::try_from_code(ours.code()).unwrap();
        assert_eq!(their_error.to_string().to_uppercase(), ours.name().replace('_', ""));
        // Kafka made it retriable after the oracle's table was written.
        let retriable = their_error.is_retriable() || ours == ErrorCode::ConcurrentTransactions;
        assert_eq!(ours.is_retriable(), retriable, "{ours}");
    }
}
