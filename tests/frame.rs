//! The native protocol's codec: round trips, hostile input, and the size of what a small device sends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

use brooklet::frame::{
    self, Ack, AckAt, AckLevel, Alias, AlterTopic, Base, ClientMessage, CommitOffset, DeadLetters, Decoder,
    DescribeTopic, ErrorCode, Failed, Fetch, FrameError, GROUP_OFFSETS_MAX, GatewayMessage, GroupAction, GroupBeat,
    GroupCommit, GroupJoin, GroupJoined, GroupLeave, GroupMember, Groups, Headers, Hello, LetterAction, ListTopics,
    MAGIC, Next, Position, Publish, PublishError, PublishHead, PublishWriter, Record, RecordSet, Records,
    RecordsWriter, RuleAction, Rules, Subscribe, Text, Topic, TopicRef, Uplink, UplinkAction, Welcome,
    serial::{self, Received, SerialDecoder},
    split,
};
use proptest::{collection::vec, option, prelude::*};

const HELLO: Hello<'static> = Hello {
    magic: MAGIC,
    version_min: 1,
    version_max: 1,
    client_id: "pump-17",
    epoch: 3,
    next_sequence: 31_536_001,
    frame_bytes_max: 1_024,
    in_flight_max: 64,
    token: None,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// A year's worth of records into a session that is a day old: the sizes must hold there too.
#[test]
fn a_small_reading_costs_few_bytes() {
    let mut buffer = [0; 256];
    let hello = ClientMessage::Hello(HELLO).encode(&mut buffer).unwrap().to_vec();
    let alias = ClientMessage::Alias(Alias { alias: 0, topic: "plant.readings" }).encode(&mut buffer).unwrap().to_vec();
    let (sequence, connected_at) = (31_536_001, 1_795_000_000_000);
    let level = AckLevel::Flash;
    let head = PublishHead { alias: 0, level, want_offset: false, sequence, base_timestamp: connected_at };
    let mut writer = PublishWriter::begin(&mut buffer, head).unwrap();
    writer.push(&Record::of(b"t=21.53 p=1013.2 ok!").at(connected_at + 86_400_000)).unwrap();
    let place = writer.finish().unwrap();
    let publish = buffer[place].to_vec();
    let ack = GatewayMessage::Ack(Ack { level, up_to: frame::sequence::truncate(sequence) });
    let ack = ack.encode(&mut buffer).unwrap().to_vec();

    for (name, bytes) in [("hello", &hello), ("alias", &alias), ("publish", &publish), ("ack", &ack)] {
        println!("{name:8} {:3} bytes: {}", bytes.len(), hex(bytes));
    }
    println!("publish + ack: {} bytes for a value of 20", publish.len() + ack.len());
    assert!(publish.len() + ack.len() <= 40);
    assert!(hello.len() <= 40);
}

#[derive(Debug, Clone)]
struct OwnRecord {
    skipped: u32,
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

type HeaderRef<'a> = (&'a [u8], Option<&'a [u8]>);

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn own_record() -> impl Strategy<Value = OwnRecord> {
    let headers = vec((bytes(), option::of(bytes())), 0..4);
    (prop_oneof![Just(0), any::<u32>()], option::of(any::<i64>()), option::of(bytes()), option::of(bytes()), headers)
        .prop_map(|(skipped, timestamp, key, value, headers)| OwnRecord { skipped, timestamp, key, value, headers })
}

/// Calls `with` with the records as the codec wants them; offsets start at `base` plus what the first skips.
fn with_records<R>(own: &[OwnRecord], base: i64, with: impl FnOnce(&[Record<'_>]) -> R) -> R {
    let headers: Vec<Vec<HeaderRef<'_>>> = own
        .iter()
        .map(|record| record.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect())
        .collect();
    let mut offset = base;
    let records: Vec<Record<'_>> = own
        .iter()
        .zip(&headers)
        .map(|(record, headers)| {
            let at = offset + i64::from(record.skipped);
            offset = at + 1;
            Record {
                offset: at,
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: Headers::of(headers),
            }
        })
        .collect();
    with(&records)
}

fn whole(frame: &[u8]) -> &[u8] {
    match split(frame, frame::FRAME_BYTES_MAX).unwrap() {
        frame::Split::Frame { body, taken } if taken == frame.len() => body,
        other => panic!("not one frame: {other:?}"),
    }
}

fn client_round_trip(message: &ClientMessage<'_>) {
    let mut framed = vec![0xaa];
    message.append_to(&mut framed).unwrap();
    assert_eq!(ClientMessage::decode(whole(&framed[1..])).as_ref(), Ok(message));
}

fn gateway_round_trip(message: &GatewayMessage<'_>) {
    let mut framed = Vec::new();
    message.append_to(&mut framed).unwrap();
    assert_eq!(GatewayMessage::decode(whole(&framed)).as_ref(), Ok(message));
}

fn position() -> impl Strategy<Value = Position> {
    prop_oneof![
        any::<i64>().prop_map(Position::Offset),
        any::<i64>().prop_map(Position::Time),
        Just(Position::Beginning),
        Just(Position::End)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn publishes_come_back(
        own in vec(own_record(), 1..12), alias in 0..frame::ALIASES_MAX, sequence in 1..u64::MAX, base in any::<i64>(),
    ) {
        with_records(&own, 0, |records| {
            let mut buffer = vec![0; 16_384];
            let level = AckLevel::Upstream;
            let head = PublishHead { alias, level, want_offset: true, sequence, base_timestamp: base };
            let mut writer = PublishWriter::begin(&mut buffer, head).unwrap();
            for record in records {
                writer.push(record).unwrap();
            }
            let place = writer.finish().unwrap();
            let framed = &buffer[place];
            let Ok(ClientMessage::Publish(publish)) = ClientMessage::decode(whole(framed)) else { panic!("no publish") };
            assert_eq!((publish.alias, publish.level, publish.want_offset), (alias, level, true));
            assert_eq!(publish.sequence, frame::sequence::truncate(sequence));
            let decoded = publish.records.iter(Base { timestamp: base, offset: 0 });
            assert_eq!(decoded.len(), records.len());
            for (decoded, record) in decoded.zip(records) {
                assert_eq!(Record { offset: record.offset, ..decoded }, *record);
            }
            client_round_trip(&ClientMessage::Publish(publish));
        });
    }

    #[test]
    fn record_sets_come_back(own in vec(own_record(), 0..12), base in 0..i64::MAX / 2, id in any::<u32>()) {
        with_records(&own, base, |records| {
            let mut buffer = vec![0; 16_384];
            let mut writer = RecordsWriter::for_fetch(&mut buffer, base);
            for record in records {
                writer.push(record).unwrap();
            }
            let next_offset = records.last().map_or(base, |record| record.offset + 1);
            let high_watermark = next_offset + 5;
            let records_read = writer.finish();
            let set =
                RecordSet { id, log_start: 0, high_watermark, next_offset, base_offset: base, records: records_read };
            assert!(set.iter().eq(records.iter().copied()));
            gateway_round_trip(&GatewayMessage::Records(set.clone()));
            gateway_round_trip(&GatewayMessage::Push(set));
        });
    }

    #[test]
    fn requests_come_back(
        id in any::<u32>(), name in ".{0,40}", other in ".{0,40}", number in any::<u32>(), offset in any::<i64>(),
        from in position(), token in option::of(vec(any::<u8>(), 0..1_024)),
        pairs in vec((".{0,20}", ".{0,20}"), 0..24),
    ) {
        let configs: frame::Configs<'_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let (topic, partition, short) = (TopicRef::Name(&name), number, number as u16);
        let member = GroupMember { group: &name, member: &other, instance: Some(&other), generation: number as i32 };
        let messages = [
            ClientMessage::Hello(Hello { epoch: u64::from(id), token: token.as_deref(), ..HELLO }),
            ClientMessage::Alias(Alias { alias: short, topic: &name }),
            ClientMessage::Fetch(Fetch { id, topic, partition, from, bytes_max: id, bytes_min: 1, wait_ms: number }),
            ClientMessage::Subscribe(Subscribe {
                id, topic: TopicRef::Alias(short), partition, from, credit_bytes: number,
            }),
            ClientMessage::CommitOffset(CommitOffset { id, reader: &other, topic, partition, offset, metadata: &other }),
            ClientMessage::ListTopics(ListTopics { id, after: &name }),
            ClientMessage::DescribeTopic(DescribeTopic { id, name: &name }),
            ClientMessage::AlterTopic(AlterTopic { id, name: &name, partitions: Some(number), configs: configs.clone() }),
            ClientMessage::Uplink(Uplink { id, action: UplinkAction::Pause, name: &name }),
            ClientMessage::GroupJoin(GroupJoin { id, member, topic, session_ms: number, rebalance_ms: id }),
            ClientMessage::GroupBeat(GroupBeat { id, member }),
            ClientMessage::GroupLeave(GroupLeave { id, member: GroupMember { instance: None, ..member } }),
            ClientMessage::GroupCommit(GroupCommit {
                id, member, topic, offsets: (0..number as usize % (GROUP_OFFSETS_MAX + 1)).map(|i| (i as u32, offset)).collect(),
            }),
            ClientMessage::Groups(Groups { id, action: GroupAction::Delete, name: &name }),
            ClientMessage::Rules(Rules { id, action: RuleAction::Remove, text: &name }),
            ClientMessage::DeadLetters(DeadLetters { id, action: LetterAction::Retry, first: offset, last: i64::MAX }),
        ];
        messages.iter().for_each(client_round_trip);
        let answers = [
            GatewayMessage::Welcome(Welcome {
                version: 1, gateway_id: &name, epoch: u64::from(id), resumed: true, last_sequence: u64::from(number), time_ms: offset,
                time_trusted: false, frame_bytes_max: number, in_flight_max: short, idle_seconds_max: id as u16,
            }),
            GatewayMessage::Failed(Failed { id, code: ErrorCode::from(number as u8), text: &other }),
            GatewayMessage::Ack(Ack { level: AckLevel::Memory, up_to: short }),
            GatewayMessage::AckAt(AckAt { level: AckLevel::Flash, up_to: u64::from(id), partition, offset }),
            GatewayMessage::PublishError(PublishError {
                sequence: u64::from(id), count: number, code: ErrorCode::RecordTooLarge, retry_ms: 0, text: &other,
            }),
            GatewayMessage::Topic(Topic { id, name: &name, uuid: [7; 16], partitions: number, configs }),
            GatewayMessage::Text(Text { id, last: true, text: &other }),
            GatewayMessage::GroupJoined(GroupJoined { id, member: &name, generation: number as i32, share: other.as_bytes() }),
        ];
        answers.iter().for_each(gateway_round_trip);
    }

    /// However the bytes are cut, the same frames come out.
    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames(
        bodies in vec(vec(any::<u8>(), 1..200), 1..10), cuts in vec(1..64usize, 1..20),
    ) {
        let mut line = Vec::new();
        for body in &bodies {
            let length = body.len();
            if length < 0x80 { line.push(length as u8) } else { line.extend([length as u8 | 0x80, (length >> 7) as u8]) }
            line.extend(body);
        }
        let mut decoder = Decoder::new([0; 256], 200);
        let (mut got, mut rest, mut cut) = (Vec::new(), line.as_slice(), cuts.iter().cycle());
        loop {
            match decoder.next().unwrap() {
                Next::Frame(body) => got.push(body.to_vec()),
                Next::Need(_) if rest.is_empty() => break,
                Next::Need(more) => {
                    prop_assert!(more <= rest.len(), "asks for no more than there is");
                    let length = (*cut.next().unwrap()).min(rest.len());
                    let taken = decoder.feed(&rest[..length]);
                    rest = &rest[taken..];
                }
            }
        }
        prop_assert_eq!(&got, &bodies);

        let (mut decoder, mut got, mut rest) = (Decoder::growing(8, 200), Vec::new(), line.as_slice());
        loop {
            match decoder.next().unwrap() {
                Next::Frame(body) => got.push(body.to_vec()),
                Next::Need(_) if rest.is_empty() => break,
                Next::Need(_) => {
                    let room = decoder.room();
                    prop_assert!(room.len() <= 2 * 204);
                    let length = room.len().min(rest.len());
                    room[..length].copy_from_slice(&rest[..length]);
                    decoder.received(length);
                    rest = &rest[length..];
                }
            }
        }
        prop_assert_eq!(got, bodies);
    }

    #[test]
    fn random_bytes_never_panic(input in vec(any::<u8>(), 0..400), kind in any::<u8>()) {
        let _ = split(&input, 300);
        let _ = ClientMessage::decode(&input);
        let _ = GatewayMessage::decode(&input);
        // The same behind a type byte that is known, so that contents are reached.
        let body = [&[kind % 0x14], input.as_slice()].concat();
        let _ = ClientMessage::decode(&body);
        let body = [&[0x80 | (kind % 0x12)], input.as_slice()].concat();
        if let Ok(GatewayMessage::Records(set) | GatewayMessage::Push(set)) = GatewayMessage::decode(&body) {
            set.iter().for_each(|record| record.headers.for_each(drop));
        }
        let mut decoder = Decoder::new([0; 128], 1_000);
        let mut rest = input.as_slice();
        while let Ok(next) = decoder.next() {
            match next {
                Next::Frame(body) => drop(ClientMessage::decode(body)),
                Next::Need(_) if rest.is_empty() => break,
                Next::Need(_) => {
                    let taken = decoder.feed(rest);
                    rest = &rest[taken..];
                }
            }
        }
        let mut serial = SerialDecoder::new([0; 64]);
        for byte in input {
            let _ = serial.push(byte);
        }
    }

    /// A good message cut, or with a byte changed: an error or another message, never a panic.
    #[test]
    fn mutated_messages_never_panic(
        own in vec(own_record(), 1..6), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        with_records(&own, 0, |records| {
            let mut buffer = vec![0; 8_192];
            let mut writer = RecordsWriter::for_fetch(&mut buffer, 0);
            for record in records {
                writer.push(record).unwrap();
            }
            let list = writer.finish();
            let publish = Publish { alias: 1, level: AckLevel::Flash, want_offset: false, sequence: 9, records: list };
            let mut body = vec![0; 8_192];
            let length = ClientMessage::Publish(publish).encode_unframed(&mut body).unwrap().len();
            body.truncate(length);
            let place = at.index(body.len());
            assert!(ClientMessage::decode(&body).is_ok());
            let _ = ClientMessage::decode(&body[..place]);
            body[place] = byte;
            if let Ok(ClientMessage::Publish(publish)) = ClientMessage::decode(&body) {
                let records = publish.records.iter(Base::default());
                assert_eq!(records.len(), records.count(), "what was validated is all there");
            }
        });
    }

    #[test]
    fn serial_packets_come_back_and_noise_is_noticed(
        bodies in vec(vec(prop_oneof![Just(0u8), any::<u8>()], 1..600), 1..5),
        at in any::<prop::sample::Index>(), bit in 0..8u32,
    ) {
        let packets: Vec<Vec<u8>> = bodies.iter().map(|body| {
            let mut out = vec![0; serial::packet_bytes_max(body.len())];
            serial::encode(body, &mut out).unwrap().to_vec()
        }).collect();
        let collect = |line: &[u8]| {
            let (mut decoder, mut got) = (SerialDecoder::new([0; 604]), Vec::new());
            for byte in line {
                if let Received::Body(body) = decoder.push(*byte) {
                    got.push(body.to_vec());
                }
            }
            got
        };
        let mut line = packets.concat();
        prop_assert_eq!(&collect(&line), &bodies);
        // One bit changed: one packet is lost, and its neighbour only if the delimiter between them was hit.
        let place = at.index(line.len());
        line[place] ^= 1 << bit;
        let got = collect(&line);
        prop_assert!(got.iter().all(|body| bodies.contains(body)), "nothing damaged gets through");
        prop_assert!(got.len() + 2 >= bodies.len());
    }
}

#[test]
fn lengths_are_not_believed() {
    let too_large = FrameError::TooLarge { length: 2_097_151, limit: 2_048 };
    assert_eq!(split(&[0xff, 0xff, 0x7f], 2_048), Err(too_large), "before any of the body is there");
    assert_eq!(split(&[0], 2_048), Err(FrameError::BadLength));
    assert_eq!(split(&[0xff, 0xff, 0xff, 0xff], 2_048), Err(FrameError::BadLength));
    assert_eq!(split(&[0xff], 2_048), Ok(frame::Split::Need(1)), "more is no error");
    assert!(matches!(split(&[5, 1, 2], 2_048), Ok(frame::Split::Need(3))));
}

#[test]
fn what_a_version_does_not_know_is_an_error_of_its_own() {
    assert_eq!(ClientMessage::decode(&[0x7f, 1]), Err(frame::DecodeError::UnknownType(0x7f)));
    let mut buffer = [0; 64];
    let body = ClientMessage::Ping(frame::Ping { id: 1 }).encode_unframed(&mut buffer).unwrap();
    let longer = [body, &[0]].concat();
    assert_eq!(ClientMessage::decode(&longer), Err(frame::DecodeError::Malformed), "a field too many");
    assert_eq!(frame::common_version(1, 9), Some(1));
    assert_eq!(frame::common_version(2, 9), None);
    let hello = ClientMessage::Hello(Hello { magic: *b"nope", ..HELLO });
    let body = hello.encode_unframed(&mut buffer).unwrap();
    assert_eq!(ClientMessage::decode(body), Err(frame::DecodeError::Malformed));
    assert_eq!(Records::parse(&[]), Ok(Records::EMPTY));
}

/// Bytes that must not change: other programs, and devices in the field, speak them.
#[test]
fn messages_of_groups_byte_by_byte() {
    let member = GroupMember { group: "g", member: "m", instance: None, generation: 3 };
    let mut buffer = [0; 256];
    let topic = TopicRef::Name("t");
    for (message, bytes) in [
        (
            ClientMessage::GroupJoin(GroupJoin { id: 1, member, topic, session_ms: 10_000, rebalance_ms: 300 }),
            "0f 13 01 01 67 01 6d 00 06 01 01 74 90 4e ac 02",
        ),
        (ClientMessage::GroupBeat(GroupBeat { id: 2, member }), "08 14 02 01 67 01 6d 00 06"),
        (
            ClientMessage::GroupLeave(GroupLeave { id: 2, member: GroupMember { instance: Some("i"), ..member } }),
            "0a 15 02 01 67 01 6d 01 01 69 06",
        ),
        (
            ClientMessage::GroupCommit(GroupCommit {
                id: 2,
                member,
                topic,
                offsets: [(1, 5), (2, 6)].into_iter().collect(),
            }),
            "10 16 02 01 67 01 6d 00 06 01 01 74 02 01 0a 02 0c",
        ),
        (ClientMessage::Groups(Groups { id: 2, action: GroupAction::Describe, name: "g" }), "05 17 02 01 01 67"),
        (
            ClientMessage::DeadLetters(DeadLetters { id: 2, action: LetterAction::Drop, first: 1, last: 3 }),
            "05 18 02 02 02 06",
        ),
        (ClientMessage::Rules(Rules { id: 2, action: RuleAction::Add, text: "[]" }), "06 19 02 01 02 5b 5d"),
    ] {
        assert_eq!(hex(message.encode(&mut buffer).unwrap()), bytes);
    }
    let joined = GroupJoined { id: 1, member: "m", generation: 3, share: &[0, 0, 4] };
    let joined = GatewayMessage::GroupJoined(joined);
    assert_eq!(hex(joined.encode(&mut buffer).unwrap()), "09 91 01 01 6d 06 03 00 00 04");
}
