//! SASL: both sides of every mechanism, verifiers as they are kept, and the texts in between.

use brooklet::base64;
use brooklet::sasl::client::{Credentials, Exchange, Step};
use brooklet::sasl::server::{ScramBegun, read_plain};
use brooklet::secret::{ScramHash, Secret, Verifier, first_line};
use fastrand::Rng;

use crate::harness::Target;
use crate::mutate::{bytes, mutate, text};

/// What parts an input: one message from the next.
const PART: u8 = 0xff;

pub(crate) fn targets() -> [Target; 1] {
    [Target {
        name: "sasl",
        quick: 1_000,
        memory: |bytes| 64 * 1_024 + 64 * bytes,
        corpus: crate::corpus("sasl"),
        make: Box::new(make),
        run: Box::new(run),
    }]
}

fn verifier() -> Verifier {
    Verifier::of_nobody(ScramHash::Sha256, b"always the same", "nobody", 4_096)
}

fn make(rng: &mut Rng) -> Vec<u8> {
    let name = text(rng, 40);
    let first = format!("n,,n={name},r=clientnonce{}", rng.u8(..));
    let kept = {
        let mut out = Vec::new();
        verifier().encode(&mut out);
        out
    };
    let salt = base64::encode(&bytes(rng, 40));
    // Nearly always a count that is refused, or the least: those that are done take their time.
    let rounds = *rng.choice(&[0, 1, 4_095, 4_096, 65_537, u32::MAX]).unwrap();
    let parts = [
        first.into_bytes(),
        format!("c=biws,r=clientnonce7servernonce,p={}", base64::encode(&[7; 32])).into_bytes(),
        format!("r=abcservernonce,s={salt},i={rounds}").into_bytes(),
        format!("v={}", base64::encode(&bytes(rng, 64))).into_bytes(),
        format!("\0{name}\0secret").into_bytes(),
        br#"{"status":"invalid_token"}"#.to_vec(),
        kept,
        bytes(rng, 60),
    ];
    let mut input = Vec::new();
    for _ in 0..rng.usize(1..4) {
        let part = rng.choice(&parts).unwrap().clone();
        input.extend(mutate(rng, part, &parts[0], 3));
        input.push(PART);
    }
    input
}

fn run(input: &[u8]) {
    let parts: Vec<&[u8]> = input.split(|byte| *byte == PART).collect();
    for part in &parts {
        let _ = read_plain(part);
        let mut rest = *part;
        if let Some(kept) = Verifier::decode(&mut rest) {
            let mut again = Vec::new();
            kept.encode(&mut again);
            assert_eq!(again, part[..part.len() - rest.len()]);
        }
        let _ = first_line(part);
        if let Ok(text) = std::str::from_utf8(part)
            && let Some(decoded) = base64::decode(text)
        {
            assert_eq!(base64::encode(&decoded), text);
        }
    }
    if let Ok(begun) = ScramBegun::read(parts[0])
        && let Ok((_, challenged)) = begun.challenge(verifier(), "servernonce")
        && let Some(last) = parts.get(1)
    {
        assert!(challenged.finish(last).is_err(), "nobody knows the password of nobody");
    }
    let (user, password) = (|| "me".to_owned(), || Secret::new(*b"secret"));
    let hash = if input.len().is_multiple_of(2) { ScramHash::Sha256 } else { ScramHash::Sha512 };
    for credentials in [
        Credentials::Plain { user: user(), password: password() },
        Credentials::Scram { hash, user: user(), password: password() },
        Credentials::Bearer { token: password(), extensions: Vec::new() },
    ] {
        let is_scram = matches!(credentials, Credentials::Scram { .. });
        let (_, mut exchange) = Exchange::begin(credentials, "abc").unwrap();
        for part in &parts {
            match exchange.next(part) {
                Ok(Step::Done) => assert!(!is_scram, "the server has shown nothing"),
                Ok(Step::Send(_)) => {}
                Err(_) => break,
            }
        }
    }
}
