//! Bytes from hostile peers: no panic, no allocation on the word of a peer.
//!
//! Each message in each version is tried with random bytes, with every truncation and with damage of valid bytes, and
//! with inflated counts, under an allocator that counts what each thread has at most in use.

use brooklet::kafka::api::ApiKey;
use brooklet::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse, unsupported_version};
use brooklet::kafka::header::RequestHeader;
use brooklet::kafka::message::Message;
use brooklet::kafka::metadata::{MetadataRequest, MetadataResponse};
use brooklet::kafka::wire::{DecodeError, EncodeError, Layout, Reader, Wire};
use proptest::prelude::*;

use crate::allocations::peak_of;
use crate::generate::{Filling, generate, uvarint};
use crate::subjects::{Subject, subjects};

/// A decoded message takes at most this many times the bytes it came from: 32 bytes of memory for a structure of two.
const MEMORY_PER_BYTE_MAX: usize = 32;

/// Whatever the bytes are: decoded or refused, within the memory.
fn survive(subject: &Subject, version: i16, bytes: &[u8]) {
    let (_, peak) = peak_of(|| (subject.decode)(version, bytes));
    let allowed = bytes.len() * MEMORY_PER_BYTE_MAX;
    assert!(peak <= allowed, "{}: {peak} bytes of memory for {} bytes", subject.name(version), bytes.len());
}

fn each_message(mut test: impl FnMut(&Subject, Layout)) {
    for subject in subjects() {
        for version in subject.key.versions() {
            test(&subject, subject.key.layout(version).unwrap());
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    each_message(|subject, layout| {
        let bytes = generate(subject.shape, layout, Filling::Full(1));
        for cut in 0..bytes.len() {
            let refused = (subject.decode)(layout.version, &bytes[..cut]);
            assert!(refused.is_err(), "{} cut at {cut}", subject.name(layout.version));
            survive(subject, layout.version, &bytes[..cut]);
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!((subject.decode)(layout.version, &longer), Err(DecodeError::Trailing(1)));
    });
}

#[test]
fn damage_at_every_place_is_survived() {
    each_message(|subject, layout| {
        let bytes = generate(subject.shape, layout, Filling::Full(2));
        for at in 0..bytes.len() {
            for damage in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = damage;
                survive(subject, layout.version, &damaged);
            }
            // A count or a length of 2,147,483,647, in either layout.
            for huge in [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x0f][..]] {
                let mut damaged = bytes.clone();
                let end = bytes.len().min(at + huge.len());
                damaged.splice(at..end, huge.iter().copied());
                survive(subject, layout.version, &damaged);
            }
        }
    });
}

#[test]
fn the_emptiest_elements_keep_the_bound_on_memory() {
    each_message(|subject, layout| {
        let bytes = generate(subject.shape, layout, Filling::Hollow(20));
        assert_eq!((subject.decode)(layout.version, &bytes), Ok(()), "{}", subject.name(layout.version));
        survive(subject, layout.version, &bytes);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512), small in any::<bool>()) {
        // Small values read as short lengths, and so get further into a message.
        let bytes: Vec<u8> = bytes.iter().map(|byte| if small { byte % 4 } else { *byte }).collect();
        each_message(|subject, layout| survive(subject, layout.version, &bytes));
        let _ = RequestHeader::decode(&mut Reader::new(&bytes));
    }
}

#[test]
fn an_inflated_count_is_refused_before_memory_is_taken() {
    let claim = 0x7fff_ffff_i32.to_be_bytes();
    let ((), peak) = peak_of(|| {
        assert_eq!(MetadataRequest::from_bytes(1, &claim), Err(DecodeError::Count(0x7fff_ffff)));
    });
    assert_eq!(peak, 0);
    let flexible = uvarint(0x7fff_ffff);
    assert_eq!(MetadataRequest::from_bytes(12, &flexible), Err(DecodeError::Count(0x7fff_fffe)));
    assert_eq!(MetadataRequest::from_bytes(1, &(-2i32).to_be_bytes()), Err(DecodeError::NegativeLength(-2)));
    // One element more than there is room for: a topic has at least its name's length.
    let one_too_many = [&3i32.to_be_bytes()[..], &[0, 0, 0, 0, 0]].concat();
    assert_eq!(MetadataRequest::from_bytes(1, &one_too_many), Err(DecodeError::Count(3)));
}

#[test]
fn the_element_budget_holds_over_all_arrays() {
    let nested = vec![vec![7i32; 3]; 4];
    let layout = Layout { version: 0, flexible: false };
    let mut bytes = Vec::new();
    nested.write(&mut bytes, layout).unwrap();
    assert_eq!(Vec::<Vec<i32>>::read(&mut Reader::with_budget(&bytes, 16), layout), Ok(nested));
    let refused = Vec::<Vec<i32>>::read(&mut Reader::with_budget(&bytes, 15), layout);
    assert_eq!(refused, Err(DecodeError::Elements));
}

#[test]
fn varints_end_at_32_bits() {
    assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(), Ok(u32::MAX));
    assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x10]).uvarint(), Err(DecodeError::Varint));
    assert_eq!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).uvarint(), Err(DecodeError::Varint));
    assert_eq!(Reader::new(&[0x80]).uvarint(), Err(DecodeError::Truncated));
}

#[test]
fn an_unknown_version_is_refused_and_its_header_read() {
    assert_eq!(ApiVersionsRequest::from_bytes(5, &[]), Err(DecodeError::Version(5)));
    assert_eq!(ApiVersionsRequest::default().encode(-1, &mut Vec::new()), Err(EncodeError::Version(-1)));
    // A client of the future asks for ApiVersions 99: the header is flexible, and the answer is of version 0.
    let asked = RequestHeader { api_key: 18, api_version: 99, correlation_id: 5, client_id: Some("later") };
    let mut bytes = Vec::new();
    asked.encode(&mut bytes).unwrap();
    assert_eq!(RequestHeader::decode(&mut Reader::new(&bytes)), Ok(asked));
    let mut answer = Vec::new();
    unsupported_version(Vec::new()).encode(0, &mut answer).unwrap();
    assert_eq!(answer, [0, 35, 0, 0, 0, 0]);
}

#[test]
fn a_value_without_a_form_is_an_error_and_leaves_nothing() {
    let mut out = vec![1];
    let all_topics = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(all_topics.encode(0, &mut out), Err(EncodeError::Null("topics")));
    let long = "x".repeat(40_000);
    let response = MetadataResponse { cluster_id: Some(&long), ..Default::default() };
    assert_eq!(response.encode(2, &mut out), Err(EncodeError::TooLong(40_000)));
    assert_eq!(out, [1]);
    assert_eq!(response.encode(9, &mut out), Ok(()));
}

#[test]
fn old_librdkafka_sees_no_tags() {
    // Before 2.2.0 it steps wrong over the tagged fields of ApiVersions v3 (see api_versions.rs).
    let mut out = Vec::new();
    ApiVersionsResponse::default().encode(3, &mut out).unwrap();
    assert_eq!(out, [0, 0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(ApiKey::ApiVersions.response_header_version(3), 0);
}
