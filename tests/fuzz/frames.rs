//! The native protocol: messages of both sides, frames of a stream, packets of a serial link.

use brooklet::frame::serial::{self, Received, SerialDecoder};
use brooklet::frame::{
    Ack, AckAt, AckLevel, Alias, AliasFailed, AlterTopic, ClientMessage, CommitOffset, Configs, CreateTopic, Credit,
    DeadLetters, Decoder, DescribeTopic, Drain, DrainAction, ErrorCode, Failed, Fetch, GatewayMessage, GroupAction,
    GroupBeat, GroupCommit, GroupJoin, GroupJoined, GroupMember, Groups, Headers, Hello, LetterAction, ListOffsets,
    MAGIC, Next, Position, Publish, PublishError, ReadOffset, Record, RecordSet, RecordsWriter, RuleAction, Rules,
    Split, Subscribe, Text, TierCursor, TierCursors, TierEpochs, TierMove, Topic, TopicRef, Uplink, UplinkAction,
    UserAction, Users, Welcome, split,
};
use fastrand::Rng;

use crate::allocations::peak_of;
use crate::harness::Target;
use crate::mutate::{bytes, mutate, number, text};

pub(crate) fn targets() -> [Target; 3] {
    let memory = |bytes| 8_192 + 16 * bytes;
    let target = |name, make: fn(&mut Rng) -> Vec<u8>, run: fn(&[u8])| Target {
        name,
        quick: 3_000,
        memory,
        corpus: crate::corpus(name),
        make: Box::new(make),
        run: Box::new(run),
    };
    [
        target("frame-message", |rng| damaged(rng, any_body), run_message),
        target("frame-stream", make_stream, run_stream),
        target("frame-serial", make_serial, run_serial),
    ]
}

fn damaged(rng: &mut Rng, make: fn(&mut Rng) -> Vec<u8>) -> Vec<u8> {
    let (input, other) = (make(rng), make(rng));
    mutate(rng, input, &other, 5)
}

/// A message's body: a good one mostly, else a known type byte and anything.
pub(crate) fn any_body(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..8) {
        0 => [vec![*rng.choice(&[0x00, 0x80]).unwrap() | rng.u8(..0x22)], bytes(rng, 200)].concat(),
        1 => stretch(rng),
        2..6 => client_body(rng),
        _ => gateway_body(rng),
    }
}

/// Records as a publish or a fetch has them.
fn record_list(rng: &mut Rng, fetched: bool, with: impl FnOnce(brooklet::frame::Records<'_>) -> Vec<u8>) -> Vec<u8> {
    let own: Vec<(Vec<u8>, Vec<u8>)> = (0..rng.usize(1..5)).map(|_| (bytes(rng, 20), bytes(rng, 60))).collect();
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        own.iter().map(|(key, value)| (&key[..], rng.bool().then_some(&value[..]))).collect();
    let mut buffer = vec![0; 4_096];
    let base = rng.i64(0..1 << 40);
    let mut writer = if fetched {
        RecordsWriter::for_fetch(&mut buffer, base)
    } else {
        RecordsWriter::for_publish(&mut buffer, rng.i64(..))
    };
    let mut offset = base;
    for (key, value) in &own {
        offset += if fetched { rng.i64(0..3) } else { 0 };
        let record = Record {
            offset,
            timestamp: rng.bool().then(|| rng.i64(..)),
            key: rng.bool().then_some(&key[..]),
            value: rng.bool().then_some(&value[..]),
            headers: if rng.bool() { Headers::of(&headers) } else { Headers::NONE },
        };
        let _ = writer.push(&record);
        offset += 1;
    }
    with(writer.finish())
}

fn client_encoded(message: &ClientMessage<'_>) -> Vec<u8> {
    let mut buffer = vec![0; 16_384];
    message.encode_unframed(&mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
}

fn gateway_encoded(message: &GatewayMessage<'_>) -> Vec<u8> {
    let mut buffer = vec![0; 16_384];
    message.encode_unframed(&mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
}

fn position(rng: &mut Rng) -> Position {
    let at = number(rng) as i64;
    *rng.choice(&[Position::Offset(at), Position::Time(at), Position::Beginning, Position::End]).unwrap()
}

pub(crate) fn hello(rng: &mut Rng) -> Vec<u8> {
    let (client_id, token) = (text(rng, 100) + "c", bytes(rng, 80));
    client_encoded(&ClientMessage::Hello(Hello {
        magic: MAGIC,
        version_min: 1,
        version_max: rng.u8(1..4),
        client_id: &client_id,
        epoch: rng.u64(..3),
        next_sequence: number(rng),
        frame_bytes_max: 1 << rng.u8(8..25),
        in_flight_max: rng.u16(..200),
        token: (rng.u8(..6) == 0).then_some(&token[..]),
    }))
}

/// A good message of a client.
pub(crate) fn client_body(rng: &mut Rng) -> Vec<u8> {
    let (name, other, blob) = (text(rng, 300), text(rng, 60), bytes(rng, 200));
    let (name, other) = (name.as_str(), other.as_str());
    let (id, partition, offset) = (number(rng) as u32, rng.u32(..4), number(rng) as i64);
    let topic = if rng.bool() { TopicRef::Name(name) } else { TopicRef::Alias(rng.u16(..4)) };
    let from = position(rng);
    let configs: Configs<'_> = (0..rng.usize(..5)).map(|_| (other, name)).collect();
    let instance = rng.bool().then_some(other);
    let member = GroupMember { group: name, member: other, instance, generation: number(rng) as i32 };
    let wait_ms = rng.u32(..20);
    client_encoded(&match rng.u8(..21) {
        0 => return hello(rng),
        1 => ClientMessage::Alias(Alias { alias: rng.u16(..1_100), topic: name }),
        2..5 => {
            let (alias, sequence, want_offset) = (rng.u16(..4), rng.u16(..), rng.bool());
            let level = *rng.choice(&[AckLevel::Memory, AckLevel::Flash, AckLevel::Upstream]).unwrap();
            return record_list(rng, false, |records| {
                client_encoded(&ClientMessage::Publish(Publish { alias, level, want_offset, sequence, records }))
            });
        }
        5 => ClientMessage::Fetch(Fetch { id, topic, partition, from, bytes_max: id, bytes_min: 0, wait_ms }),
        6 => ClientMessage::Subscribe(Subscribe { id, topic, partition, from, credit_bytes: id }),
        7 => ClientMessage::Credit(Credit { id, bytes: partition }),
        8 => ClientMessage::CommitOffset(CommitOffset { id, reader: other, topic, partition, offset, metadata: name }),
        9 => ClientMessage::ReadOffset(ReadOffset { id, reader: other, topic, partition }),
        10 => ClientMessage::ListOffsets(ListOffsets { id, topic, partition, at: from }),
        11 => ClientMessage::CreateTopic(CreateTopic { id, name, partitions: id % 5, configs }),
        12 => ClientMessage::AlterTopic(AlterTopic { id, name, partitions: Some(id % 5), configs }),
        13 => ClientMessage::DescribeTopic(DescribeTopic { id, name }),
        14 => ClientMessage::Uplink(Uplink { id, action: UplinkAction::Status, name }),
        15 => ClientMessage::GroupJoin(GroupJoin { id, member, topic, session_ms: id, rebalance_ms: wait_ms }),
        16 => ClientMessage::GroupBeat(GroupBeat { id, member }),
        17 => {
            let offsets = (0..rng.u32(..33)).map(|at| (at, offset)).collect();
            ClientMessage::GroupCommit(GroupCommit { id, member, topic, offsets })
        }
        18 => ClientMessage::Groups(Groups { id, action: GroupAction::Describe, name }),
        19 => ClientMessage::DeadLetters(DeadLetters { id, action: LetterAction::List, first: offset, last: i64::MAX }),
        _ => match rng.u8(..4) {
            0 => ClientMessage::Rules(Rules { id, action: RuleAction::List, text: name }),
            1 => ClientMessage::Users(Users { id, action: UserAction::List, name, verifiers: &blob }),
            2 => ClientMessage::TierCursors(TierCursors { id, uplink: name, history: [7; 16], topic: None }),
            _ => ClientMessage::Drain(Drain { id, action: DrainAction::End, wait_ms }),
        },
    })
}

/// What a gateway below sends: moves of cursors and batches.
fn stretch(rng: &mut Rng) -> Vec<u8> {
    let epochs: TierEpochs = (0..rng.usize(..6)).map(|_| (number(rng), number(rng) as i64)).collect();
    let moves: Vec<TierMove> = (0..rng.usize(..4))
        .map(|_| TierMove {
            topic: [rng.u8(..); 16],
            partition: rng.u32(..4),
            from: rng.bool().then(|| (number(rng) as i64, number(rng))),
            next: number(rng) as i64,
            epochs: epochs.clone(),
        })
        .collect();
    let mut body = vec![0x1c];
    body.extend(postcard::to_stdvec(&(rng.u32(..), moves)).unwrap());
    let batches: Vec<(String, u32, Vec<u8>)> =
        (0..rng.usize(..3)).map(|_| (text(rng, 30), rng.u32(..4), bytes(rng, 90))).collect();
    let batches: Vec<(&str, u32, &[u8])> =
        batches.iter().map(|(name, at, blob)| (name.as_str(), *at, &blob[..])).collect();
    body.extend(postcard::to_stdvec(&batches).unwrap());
    body
}

fn gateway_body(rng: &mut Rng) -> Vec<u8> {
    let (name, other, blob) = (text(rng, 300), text(rng, 60), bytes(rng, 60));
    let (name, other) = (name.as_str(), other.as_str());
    let (id, count, offset) = (number(rng) as u32, rng.u32(..9), number(rng) as i64);
    let code = ErrorCode::from(rng.u8(..));
    gateway_encoded(&match rng.u8(..10) {
        0 => GatewayMessage::Welcome(Welcome {
            version: rng.u8(..),
            gateway_id: name,
            epoch: number(rng),
            resumed: rng.bool(),
            last_sequence: number(rng),
            time_ms: offset,
            time_trusted: rng.bool(),
            frame_bytes_max: id,
            in_flight_max: rng.u16(..),
            idle_seconds_max: rng.u16(..),
        }),
        1 => GatewayMessage::Failed(Failed { id, code, text: name }),
        2 => GatewayMessage::AliasFailed(AliasFailed { alias: rng.u16(..), code, text: other }),
        3 => GatewayMessage::Ack(Ack { level: AckLevel::Flash, up_to: rng.u16(..) }),
        4 => GatewayMessage::AckAt(AckAt { level: AckLevel::Flash, up_to: number(rng), partition: count, offset }),
        5 => {
            GatewayMessage::PublishError(PublishError { sequence: number(rng), count, code, retry_ms: id, text: name })
        }
        6 => {
            let pushed = rng.bool();
            return record_list(rng, true, |records| {
                let set = RecordSet {
                    id,
                    log_start: 0,
                    high_watermark: offset,
                    next_offset: offset,
                    base_offset: 0,
                    records,
                };
                gateway_encoded(&if pushed { GatewayMessage::Push(set) } else { GatewayMessage::Records(set) })
            });
        }
        7 => {
            let configs = (0..count).map(|_| (other, name)).collect();
            GatewayMessage::Topic(Topic { id, name, uuid: [3; 16], partitions: count, configs })
        }
        8 => GatewayMessage::GroupJoined(GroupJoined { id, member: name, generation: offset as i32, share: &blob }),
        _ => match rng.bool() {
            true => GatewayMessage::Text(Text { id, last: rng.bool(), text: name }),
            false => {
                let epochs = (0..rng.usize(..6)).map(|_| (number(rng), offset)).collect();
                GatewayMessage::TierCursor(TierCursor { id, topic: [9; 16], partition: count, next: offset, epochs })
            }
        },
    })
}

fn run_message(body: &[u8]) {
    let (client, held) = peak_of(|| ClientMessage::decode(body));
    assert_eq!(held, 0, "decoding allocates");
    let (gateway, held) = peak_of(|| GatewayMessage::decode(body));
    assert_eq!(held, 0, "decoding allocates");
    let mut buffer = vec![0; 8 * body.len() + 64];
    if let Ok(message) = client {
        look_at_client(&message);
        let again = message.encode_unframed(&mut buffer).expect("what was read has a form");
        assert_eq!(ClientMessage::decode(again).as_ref(), Ok(&message));
    }
    if let Ok(message) = gateway {
        match &message {
            GatewayMessage::Records(set) | GatewayMessage::Push(set) => {
                set.iter().for_each(|record| record.headers.for_each(drop));
            }
            GatewayMessage::GroupJoined(joined) => assert!(joined.partitions().count() <= joined.share.len()),
            _ => {}
        }
        let again = message.encode_unframed(&mut buffer).expect("what was read has a form");
        assert_eq!(GatewayMessage::decode(again).as_ref(), Ok(&message));
    }
}

fn look_at_client(message: &ClientMessage<'_>) {
    match message {
        ClientMessage::Publish(publish) => {
            let records = publish.records.iter(brooklet::frame::Base { timestamp: i64::MAX, offset: 0 });
            assert_eq!(records.len(), records.clone().count(), "what was validated is all there");
            records.for_each(|record| record.headers.for_each(drop));
        }
        ClientMessage::TierStretch(stretch) => {
            assert_eq!(stretch.moves.len(), stretch.moves.iter().count());
            assert_eq!(stretch.batches.len(), stretch.batches.iter().count());
        }
        _ => {}
    }
}

fn make_stream(rng: &mut Rng) -> Vec<u8> {
    let mut line = Vec::new();
    for _ in 0..rng.usize(1..5) {
        let body = any_body(rng);
        let length = body.len();
        match length {
            ..0x80 => line.push(length as u8),
            _ => line.extend([length as u8 | 0x80, (length >> 7) as u8]),
        }
        line.extend(body);
    }
    let other = bytes(rng, 40);
    mutate(rng, line, &other, 3)
}

fn run_stream(input: &[u8]) {
    let _ = split(input, 300);
    let mut fixed = Decoder::new([0; 512], 500);
    let mut bodies = Vec::new();
    let mut rest = input;
    while let Ok(next) = fixed.next() {
        match next {
            Next::Frame(body) => bodies.push(body.to_vec()),
            Next::Need(_) if rest.is_empty() => break,
            Next::Need(_) => {
                // The cut is where the bytes say.
                let length = usize::from(rest[0] % 61 + 1).min(rest.len());
                let taken = fixed.feed(&rest[..length]);
                rest = &rest[taken..];
            }
        }
    }
    let (mut at, mut whole) = (input, Vec::new());
    while let Ok(Split::Frame { body, taken }) = split(at, 500) {
        whole.push(body.to_vec());
        at = &at[taken..];
    }
    assert_eq!(bodies, whole, "however the bytes are cut");
}

fn make_serial(rng: &mut Rng) -> Vec<u8> {
    let mut line = Vec::new();
    for _ in 0..rng.usize(1..4) {
        let body = any_body(rng);
        let mut packet = vec![0; serial::packet_bytes_max(body.len())];
        line.extend_from_slice(serial::encode(&body, &mut packet).unwrap());
    }
    let other = bytes(rng, 40);
    mutate(rng, line, &other, 3)
}

fn run_serial(input: &[u8]) {
    let mut decoder = SerialDecoder::new([0; 300]);
    for byte in input {
        if let Received::Body(body) = decoder.push(*byte) {
            let mut packet = vec![0; serial::packet_bytes_max(body.len())];
            let packet = serial::encode(body, &mut packet).unwrap();
            assert!(packet.len() <= input.len() + 1, "a body is shorter than its packet");
        }
    }
}
