//! Bytes at random, and damage that gets far: small counts, huge ones, parts that come twice, from elsewhere or not at all.

use fastrand::Rng;

/// Values that lengths, counts and flags are tried with.
const ODD: [u8; 12] = [0x00, 0x01, 0x02, 0x04, 0x0f, 0x10, 0x20, 0x7e, 0x7f, 0x80, 0xfe, 0xff];
/// Lengths and counts in several layouts: 16 and 32 bits, varints, zigzag.
const CLAIMS: [&[u8]; 10] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x00, 0x01, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xfe, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x7f, 0xff],
    &[0x80, 0x80, 0x04],
    &[0x00, 0x00],
];

/// Any bytes, fewer than `max`; often small ones, which read as short lengths and so get further.
pub(crate) fn bytes(rng: &mut Rng, max: usize) -> Vec<u8> {
    let below = *rng.choice(&[3u16, 17, 256, 256]).unwrap();
    let length = rng.usize(..max.max(1));
    (0..length).map(|_| rng.u16(..below) as u8).collect()
}

/// A short text, at times an odd one.
pub(crate) fn text(rng: &mut Rng, max: usize) -> String {
    const PIECES: [&str; 12] = ["t", "g", "plant/7", "é", "\u{1f525}", "\0", "*", "#", "+", "$share/s/", "..", "x"];
    let mut text = String::new();
    for _ in 0..rng.usize(..6) {
        text.push_str(rng.choice(PIECES).unwrap());
    }
    if rng.u8(..40) == 0 {
        text = text.repeat(rng.usize(1..60));
    }
    while text.len() > max {
        text.pop();
    }
    text
}

/// Any number, often one at an edge.
pub(crate) fn number(rng: &mut Rng) -> u64 {
    match rng.u8(..4) {
        0 => rng.u64(..),
        1 => rng.u64(..300),
        2 => {
            *rng.choice(&[0, 1, 127, 128, 255, 65_535, 65_536, u64::from(u32::MAX), i64::MAX as u64, u64::MAX]).unwrap()
        }
        _ => 1 << rng.u8(..64),
    }
}

/// Leaves `input` as it is once in `whole` times, else damages it in up to six ways; `other` lends pieces.
pub(crate) fn mutate(rng: &mut Rng, mut input: Vec<u8>, other: &[u8], whole: u32) -> Vec<u8> {
    if rng.u32(..whole.max(1)) == 0 {
        return input;
    }
    for _ in 0..rng.usize(1..7) {
        once(rng, &mut input, other);
    }
    input
}

fn once(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let length = input.len();
    if length == 0 {
        input.extend(bytes(rng, 32));
        return;
    }
    let at = rng.usize(..length);
    let span = rng.usize(1..=(length - at).min(64));
    match rng.u8(..11) {
        0 => input[at] ^= 1 << rng.u8(..8),
        1 => input[at] = rng.u8(..),
        2 => input[at] = rng.choice(ODD).unwrap(),
        3 => input[at] = input[at].wrapping_add(rng.u8(..3)).wrapping_sub(1),
        4 => {
            let claim = rng.choice(CLAIMS).unwrap();
            let end = length.min(at + claim.len());
            input.splice(at..end, claim.iter().copied());
        }
        5 => drop(input.drain(at..at + span)),
        6 => {
            let piece = input[at..at + span].to_vec();
            let to = rng.usize(..=length);
            input.splice(to..to, piece);
        }
        7 => input.truncate(at),
        8 => {
            let more = bytes(rng, 16);
            input.splice(at..at, more);
        }
        9 if !other.is_empty() => {
            let from = rng.usize(..other.len());
            let piece = other[from..(from + span).min(other.len())].to_vec();
            input.splice(at..at + span, piece);
        }
        _ => input[at..at + span].reverse(),
    }
}
