//! A publisher that is faster than its gateway's flash: it is not read, and in the end it has an answer to everything.

use brooklet::mqtt::{Connect, Packet, PacketId, Protocol, Publish, Qos, Split, split};
use fastrand::Rng;

use crate::harness::{ROOMY, new_disk, options};
use crate::peers::{Crew, Link};
use crate::world::World;

const MESSAGES: u16 = 30_000;
const PAYLOAD: [u8; 500] = [b'x'; 500];
/// What a connection holds beside the queue of the store.
const BESIDE: usize = 256 * 1024;

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes, Protocol::V3).unwrap();
    bytes
}

/// The ids of the PUBACKs that have come.
fn acknowledged(bytes: &[u8]) -> Vec<u16> {
    let (mut rest, mut ids) = (bytes, Vec::new());
    while let Split::Packet { first, body, taken } = split(rest, 1 << 20).unwrap() {
        match Packet::decode(first, body, Protocol::V3).unwrap() {
            Packet::PubAck(ack) => ids.push(ack.packet_id.get()),
            Packet::ConnAck(_) => {}
            other => panic!("{other:?}"),
        }
        rest = &rest[taken..];
    }
    ids
}

#[test]
fn a_store_that_stands_still_stops_the_reading_and_nothing_is_dropped() {
    let rng = &mut Rng::with_seed(3);
    let options = options(rng, ROOMY);
    let mut world = World::open(new_disk(3), &options, Crew::new()).unwrap();
    let mut pipe = world.connect();
    // The topic is there first: to make it is a commit of its own.
    let publish = |id| {
        let packet_id = PacketId::new(id);
        encoded(&Packet::Publish(Publish {
            topic: "t",
            payload: &PAYLOAD,
            qos: Qos::AtLeastOnce,
            packet_id,
            ..Publish::default()
        }))
    };
    pipe.send(&encoded(&Packet::Connect(Connect {
        level: 4,
        client_id: "fast",
        clean_start: true,
        ..Connect::default()
    })));
    pipe.send(&publish(MESSAGES + 1));
    let mut answers = Vec::new();
    while acknowledged(&answers).is_empty() {
        world.work(rng);
        assert!(pipe.receive(&mut answers));
    }
    answers.clear();
    let all: Vec<u8> = (1..=MESSAGES).flat_map(publish).collect();
    pipe.send(&all);
    world.stand_still();
    let read = all.len() - pipe.unread();
    assert!(read < options.queue_bytes_max + BESIDE, "{read} of {} bytes were read", all.len());
    assert!(pipe.unread() > 0);
    world.stand_still();
    assert_eq!(all.len() - pipe.unread(), read, "it reads no more");
    assert!(pipe.receive(&mut answers) && answers.is_empty(), "nothing is acknowledged that isn't on flash");
    while pipe.unread() > 0 || acknowledged(&answers).len() < usize::from(MESSAGES) {
        world.work(rng);
        assert!(pipe.receive(&mut answers));
    }
    assert_eq!(acknowledged(&answers), (1..=MESSAGES).collect::<Vec<_>>());
}
