use proptest::prelude::*;

use super::*;

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, 0, payload.len());
    out[0] = first;
    out[1] |= 0x80;
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn data(bytes: &mut [u8]) -> Result<Vec<u8>, Violation> {
    let decoded = Decoder::default().decode(bytes)?;
    Ok(bytes[..decoded.data].to_vec())
}

#[test]
fn the_rfc_s_example_is_read() {
    // Section 5.7, as a binary message.
    let mut hello = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(data(&mut hello).unwrap(), b"Hello");
    let mut out = Vec::new();
    put_pong(&mut out, b"Hello");
    assert_eq!(out, b"\x8a\x05Hello");
    for (length, header) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let mut out = Vec::new();
        put_header(&mut out, length);
        assert_eq!(out.len(), header, "{length}");
        let mut sent = frame(0x82, &vec![7; length]);
        assert_eq!(data(&mut sent).unwrap(), vec![7; length]);
    }
}

#[test]
fn messages_in_pieces_have_control_frames_between() {
    let mut bytes =
        [frame(0x02, b"on"), frame(0x89, b"ping"), frame(0x00, b""), frame(0x8a, b"x"), frame(0x80, b"e")].concat();
    bytes.extend(frame(0x88, b"\x03\xe8bye"));
    bytes.extend(frame(0x82, b"ignored"));
    let decoded = Decoder::default().decode(&mut bytes).unwrap();
    assert_eq!(&bytes[..decoded.data], b"one");
    assert_eq!((decoded.ping.as_deref(), decoded.close.as_deref()), (Some(&b"ping"[..]), Some(&b"\x03\xe8bye"[..])));
}

#[test]
fn what_breaks_the_rules_is_refused_by_its_code() {
    let long = |code: u8, length: &[u8]| [&[0x82, 0x80 | code][..], length, &[0; 4]].concat();
    let cases = [
        (1002, frame(0xc2, b"x")),
        (1002, frame(0xa2, b"x")),
        (1002, b"\x82\x01".to_vec()),
        (1003, frame(0x81, b"text")),
        (1002, frame(0x80, b"nothing before")),
        (1002, [frame(0x02, b"a"), frame(0x82, b"b")].concat()),
        (1002, frame(0x83, b"")),
        (1002, frame(0x8b, b"")),
        (1002, frame(0x09, b"half a ping")),
        (1002, frame(0x89, &[0; 126])),
        (1002, frame(0x88, b"\x03")),
        (1002, frame(0x88, b"\x03\xed")),
        (1002, frame(0x88, b"\x00\x00")),
        (1007, frame(0x88, b"\x03\xe8\xff")),
        (1002, long(126, &[0, 125])),
        (1002, long(127, &[0, 0, 0, 0, 0, 0, 0xff, 0xff])),
        (1002, long(127, &[0x80, 0, 0, 0, 0, 0, 0, 0])),
    ];
    for (code, mut bytes) in cases {
        let shown = format!("{bytes:02x?}");
        assert_eq!(data(&mut bytes).unwrap_err().code, code, "{shown}");
    }
    // A size that is claimed costs nothing.
    assert_eq!(data(&mut [long(127, &[0x7f, 0, 0, 0, 0, 0, 0, 0]), b"x".to_vec()].concat()).unwrap(), b"x");
}

/// Decodes in the pieces that `cuts` make, and gives back all data, whether it was closed, and the end.
fn in_pieces(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, bool, Option<u16>) {
    let (mut decoder, mut got, mut closed) = (Decoder::default(), Vec::new(), false);
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((*cuts.next().unwrap()).clamp(1, rest.len()));
        rest = behind;
        let mut piece = piece.to_vec();
        match decoder.decode(&mut piece) {
            Ok(decoded) => {
                assert!(decoded.data <= piece.len());
                assert!(decoded.ping.iter().chain(&decoded.close).all(|payload| payload.len() <= CONTROL_BYTES_MAX));
                got.extend_from_slice(&piece[..decoded.data]);
                closed |= decoded.close.is_some();
            }
            Err(violation) => return (got, closed, Some(violation.code)),
        }
    }
    (got, closed, None)
}

proptest! {
    #[test]
    fn no_bytes_panic_and_pieces_change_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        cuts in proptest::collection::vec(1..9_usize, 1..6),
    ) {
        let (got, closed, end) = in_pieces(&bytes, &[usize::MAX]);
        let pieces = in_pieces(&bytes, &cuts);
        prop_assert_eq!((closed, end), (pieces.1 && end.is_none() || closed, pieces.2));
        if end.is_none() {
            prop_assert_eq!(got, pieces.0);
        }
    }

    #[test]
    fn what_is_sent_in_frames_comes_out(
        frames in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), 0..3_u8), 1..12),
        cuts in proptest::collection::vec(1..70_usize, 1..6),
        broken in proptest::option::of((any::<usize>(), any::<u8>())),
    ) {
        let (mut bytes, mut sent, mut in_message) = (Vec::new(), Vec::new(), false);
        for (payload, kind) in &frames {
            if *kind == 2 {
                bytes.extend(frame(0x89, &payload[..payload.len().min(CONTROL_BYTES_MAX)]));
                continue;
            }
            let is_last = *kind == 0;
            bytes.extend(frame(u8::from(is_last) << 7 | if in_message { 0 } else { 2 }, payload));
            in_message = !is_last;
            sent.extend_from_slice(payload);
        }
        prop_assert_eq!(in_pieces(&bytes, &cuts), (sent, false, None));
        if let Some((at, byte)) = broken {
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = in_pieces(&bytes, &cuts);
        }
    }
}
