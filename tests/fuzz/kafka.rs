//! The Kafka protocol: every request and every response in every version, headers, frames, and what members of groups tell each other.

use std::rc::Rc;

use brooklet::kafka::consumer_protocol::{Assignment, Subscription};
use brooklet::kafka::frame;
use brooklet::kafka::header::{RequestHeader, decode_response_header};
use brooklet::kafka::wire::{Layout, Reader};
use fastrand::Rng;

use crate::allocations::peak_of;
use crate::generate::{Filling, generate};
use crate::harness::Target;
use crate::mutate::{bytes, mutate, text};
use crate::subjects::{Subject, subjects};

/// A decoded message takes at most this many times the bytes it came from.
const MEMORY_PER_BYTE_MAX: usize = 32;

pub(crate) fn targets() -> [Target; 3] {
    let [requests, responses] = [true, false].map(|is_request| {
        let of: Vec<Subject> = subjects().into_iter().filter(|subject| subject.is_request == is_request).collect();
        let of = Rc::new(of);
        let name = if is_request { "kafka-request" } else { "kafka-response" };
        let making = Rc::clone(&of);
        Target {
            name,
            quick: 6_000,
            memory: |bytes| (1 << 20) + 400 * bytes,
            corpus: crate::corpus(name),
            make: Box::new(move |rng| make_message(rng, &making)),
            run: Box::new(move |input| run_message(input, &of)),
        }
    });
    let around = Target {
        name: "kafka-around",
        quick: 3_000,
        memory: |bytes| 8_192 + 64 * bytes,
        corpus: crate::corpus("kafka-around"),
        make: Box::new(make_around),
        run: Box::new(run_around),
    };
    [requests, responses, around]
}

/// Which message, which version, its bytes.
fn make_message(rng: &mut Rng, of: &[Subject]) -> Vec<u8> {
    let at = rng.usize(..of.len());
    let subject = &of[at];
    let versions: Vec<i16> = subject.key.versions().collect();
    let version = *rng.choice(&versions).unwrap();
    let layout = subject.key.layout(version).unwrap();
    let body = message(rng, subject, layout);
    let other = message(rng, subject, layout);
    let body = mutate(rng, body, &other, 5);
    [&[at as u8, version as u8][..], &body].concat()
}

pub(crate) fn message(rng: &mut Rng, subject: &Subject, layout: Layout) -> Vec<u8> {
    let filling = match rng.u8(..8) {
        0 => Filling::Empty,
        1 => Filling::Null,
        2 => Filling::Hollow(rng.usize(1..30)),
        3 => Filling::Full(rng.usize(1..3)),
        _ => Filling::Random(rng.u64(..)),
    };
    generate(subject.shape, layout, filling)
}

fn run_message(input: &[u8], of: &[Subject]) {
    let [at, version, body @ ..] = input else { return };
    let Some(subject) = of.get(usize::from(*at)) else { return };
    let version = i16::from(*version);
    if !subject.key.versions().contains(&version) {
        assert!((subject.decode)(version, body).is_err());
        return;
    }
    let (_, held) = peak_of(|| (subject.decode)(version, body));
    assert!(held <= body.len() * MEMORY_PER_BYTE_MAX, "{}: {held} bytes", subject.name(version));
    if let Ok(decoded) = (subject.both_ways)(version, body) {
        let again = (subject.both_ways)(version, &decoded.bytes).expect("what was written is read");
        assert_eq!(again.bytes, decoded.bytes, "{}", subject.name(version));
        assert!(again.debug == decoded.debug || decoded.debug.contains("NaN"), "{}", subject.name(version));
    }
}

fn make_around(rng: &mut Rng) -> Vec<u8> {
    let mut input = match rng.u8(..4) {
        0 => {
            let client_id = text(rng, 60);
            let client_id = rng.bool().then_some(client_id.as_str());
            let header = RequestHeader {
                api_key: rng.i16(..80),
                api_version: rng.i16(..20),
                correlation_id: rng.i32(..),
                client_id,
            };
            let mut out = Vec::new();
            let _ = header.encode(&mut out);
            out
        }
        1 => {
            let names: Vec<String> = (0..rng.usize(..5)).map(|_| text(rng, 60)).collect();
            let topics = names.iter().map(String::as_str).collect();
            Subscription { topics, ..Subscription::default() }.encode().unwrap_or_default()
        }
        2 => [(rng.u32(..400)).to_be_bytes().to_vec(), bytes(rng, 300)].concat(),
        _ => bytes(rng, 200),
    };
    if rng.bool() {
        input.extend(bytes(rng, 20));
    }
    mutate(rng, input, &[], 4)
}

fn run_around(input: &[u8]) {
    let (_, held) = peak_of(|| RequestHeader::decode(&mut Reader::new(input)).is_ok());
    assert_eq!(held, 0, "a header allocates");
    for key in brooklet::kafka::api::ApiKey::ALL {
        for version in key.versions() {
            let _ = decode_response_header(*key, version, &mut Reader::new(input));
        }
    }
    let _ = frame::split(input, 300);
    if let Ok(subscription) = Subscription::decode(input) {
        let again = subscription.encode().unwrap();
        assert_eq!(Subscription::decode(&again).unwrap().topics, subscription.topics);
    }
    let _ = Assignment::decode(input);
}
