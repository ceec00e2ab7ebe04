//! HTTP: heads of requests, and what targets and fields say; WebSocket: its handshake and its frames.

use brooklet::http::Head;
use brooklet::http::target::{parameter, path};
use brooklet::websocket::frame::{Decoder, Violation};
use brooklet::websocket::handshake::{Offer, accept, refused};
use fastrand::Rng;

use crate::allocations::peak_of;
use crate::harness::Target;
use crate::mutate::{bytes, mutate, number, text};

pub(crate) fn targets() -> [Target; 2] {
    let frames = Target {
        name: "websocket-frame",
        quick: 3_000,
        memory: |bytes| 8_192 + 16 * bytes,
        corpus: crate::corpus("websocket-frame"),
        make: Box::new(|rng| {
            let (input, other) = (frames(rng), frames(rng));
            mutate(rng, input, &other, 3)
        }),
        run: Box::new(run_frames),
    };
    let heads = Target {
        name: "http-head",
        quick: 3_000,
        memory: |bytes| 8_192 + 16 * bytes,
        corpus: crate::corpus("http-head"),
        make: Box::new(|rng| {
            let (input, other) = (head(rng), head(rng));
            mutate(rng, input, &other, 4)
        }),
        run: Box::new(run),
    };
    [heads, frames]
}

/// Some frames of a client.
fn frames(rng: &mut Rng) -> Vec<u8> {
    let mut made = Vec::new();
    for _ in 0..rng.usize(1..6) {
        let opcode = *rng.choice(&[0x82, 0x82, 0x02, 0x80, 0x00, 0x89, 0x8a, 0x88, 0x81]).unwrap();
        let payload = bytes(rng, 300);
        made.push(opcode);
        match payload.len() {
            length @ ..126 => made.push(0x80 | length as u8),
            length => made.extend([0xfe, (length >> 8) as u8, length as u8]),
        }
        made.extend([rng.u8(..), 2, 3, 4]);
        made.extend(payload);
    }
    made
}

/// All data, and whether the client has closed, of bytes that come in pieces.
fn decoded<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(Vec<u8>, bool), Violation> {
    let (mut decoder, mut data, mut closed) = (Decoder::default(), Vec::new(), false);
    for piece in pieces {
        let mut piece = piece.to_vec();
        let decoded = decoder.decode(&mut piece)?;
        data.extend_from_slice(&piece[..decoded.data]);
        closed |= decoded.close.is_some();
    }
    Ok((data, closed))
}

fn run_frames(input: &[u8]) {
    let whole = decoded(std::iter::once(input));
    for cut in [1, 7, 64] {
        assert_eq!(decoded(input.chunks(cut)), whole, "however the bytes are cut");
    }
}

fn head(rng: &mut Rng) -> Vec<u8> {
    const NAMES: [&str; 10] = [
        "Host",
        "Connection",
        "Upgrade",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Cookie",
        "Content-Length",
        "Transfer-Encoding",
        "X-Any",
        "Accept",
    ];
    const VALUES: [&str; 9] = [
        "localhost:8080",
        "keep-alive, Upgrade",
        "websocket",
        "dGhlIHNhbXBsZSBub25jZQ==",
        "13",
        "a=b; c=\"d\"; e",
        "0",
        "chunked",
        "text/html, */*;q=0.1",
    ];
    let method = rng.choice(["GET", "POST", "HEAD", "get", "PUT"]).unwrap();
    let target = match rng.u8(..4) {
        0 => format!("/{}", text(rng, 60)),
        1 => format!("/metrics?name={}&x=%{:02x}%4&+", number(rng), rng.u8(..)),
        2 => format!("/{}", "a".repeat(rng.usize(..1_200))),
        _ => "/mqtt".to_owned(),
    };
    let mut made = format!("{method} {target} HTTP/1.{}\r\n", rng.u8(..3)).into_bytes();
    for _ in 0..rng.usize(..8) {
        let (name, value) = (rng.choice(NAMES).unwrap(), rng.choice(VALUES).unwrap());
        made.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    if rng.u8(..12) == 0 {
        made.extend(b"X: y\r\n".repeat(rng.usize(1..1_500)));
    }
    made.extend_from_slice(b"\r\n");
    made.extend(bytes(rng, 20));
    made
}

fn run(input: &[u8]) {
    let (parsed, held) = peak_of(|| Head::parse(input));
    assert_eq!(held, 0, "reading a head allocates");
    let head = match parsed {
        Ok(Some(head)) => head,
        Ok(None) => return,
        Err(error) => {
            assert!((400..600).contains(&error.status()) && !error.to_string().is_empty());
            return;
        }
    };
    assert!(head.len <= input.len() && head.target.starts_with('/'));
    // What comes behind it changes nothing.
    let again = Head::parse(&input[..head.len]).expect("a head is one without what is behind it");
    assert_eq!(again, Some(head));
    for cut in [head.len - 1, head.len / 2] {
        assert!(!matches!(Head::parse(&input[..cut]), Ok(Some(_))), "half a head is none");
    }
    head.all().for_each(drop);
    match accept(&head, &Offer { path: "/mqtt", protocol: "mqtt", origins: &[] }) {
        Ok(answer) => assert!(answer.starts_with("HTTP/1.1 101 ")),
        Err(refusal) => assert!(refused(refusal).starts_with("HTTP/1.1 4")),
    }
    let _ = (head.field("host"), head.text("Upgrade"), head.has_token("Connection", "upgrade"), head.cookie("a"));
    let _ = (head.has_body(), head.fields("x").count(), path(head.target).len(), parameter(head.target, "name"));
}
