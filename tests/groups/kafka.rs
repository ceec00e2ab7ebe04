//! The Kafka protocol by hand: a member's life, offsets, restarts by SIGKILL, administration.

use crate::common::{
    gateway::{Gateway, START},
    wait_for,
    wire::{self, Answer, Body, Committed, Wire, create_topic},
};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const ILLEGAL_GENERATION: i16 = 22;
const INVALID_GROUP_ID: i16 = 24;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const REBALANCE_IN_PROGRESS: i16 = 27;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const FENCED_INSTANCE_ID: i16 = 82;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;

/// A subscription to one topic, as `ConsumerProtocolSubscription` version 0.
fn subscription(topic: &str) -> Vec<u8> {
    Body::default().i16(0).i32(1).string(topic).i32(-1).0
}

/// A member on a connection of its own.
struct Member {
    wire: Wire,
    id: String,
    instance: Option<&'static str>,
    generation: i32,
    leads: bool,
    /// Ids that the leader was told.
    members: Vec<String>,
}

fn nullable(body: Body, text: Option<&str>) -> Body {
    match text {
        Some(text) => body.string(text),
        None => body.i16(-1),
    }
}

impl Member {
    fn new(gateway: &Gateway, instance: Option<&'static str>) -> Member {
        let wire = Wire::connect(&gateway.kafka.to_string()).unwrap();
        Member { wire, id: String::new(), instance, generation: -1, leads: false, members: Vec::new() }
    }

    /// JoinGroup v5, again with the id that it is given.
    fn join(&mut self) -> i16 {
        match self.join_once(10_000) {
            MEMBER_ID_REQUIRED => self.join_once(10_000),
            code => code,
        }
    }

    fn join_once(&mut self, session_ms: i32) -> i16 {
        let body = Body::default().string("readers").i32(session_ms).i32(20_000).string(&self.id);
        let body = nullable(body, self.instance).string("consumer").i32(1).string("range");
        let mut answer = self.wire.call(11, 5, body.bytes(&subscription("t"))).unwrap();
        answer.i32();
        let code = answer.i16();
        self.generation = answer.i32();
        assert!(code != 0 || answer.string() == "range");
        if code != 0 {
            answer.string();
        }
        let leader = answer.string();
        self.id = answer.string();
        self.leads = code == 0 && leader == self.id;
        self.members = answer.array(|a| {
            let id = a.string();
            a.string();
            assert_eq!(a.blob(), subscription("t"));
            id
        });
        code
    }

    /// SyncGroup v3; a leader gives each member its own id as its assignment.
    fn sync(&mut self) -> Result<Vec<u8>, i16> {
        let body = Body::default().string("readers").i32(self.generation).string(&self.id);
        let mut body = nullable(body, self.instance).i32(self.members.len() as i32);
        for member in &self.members {
            body = body.string(member).bytes(member.as_bytes());
        }
        let mut answer = self.wire.call(14, 3, body).unwrap();
        answer.i32();
        match answer.i16() {
            0 => Ok(answer.blob()),
            code => Err(code),
        }
    }

    /// Heartbeat v3.
    fn beat(&mut self) -> i16 {
        let body = Body::default().string("readers").i32(self.generation).string(&self.id);
        let mut answer = self.wire.call(12, 3, nullable(body, self.instance)).unwrap();
        answer.i32();
        answer.i16()
    }

    fn commit(&mut self, offset: i64) -> i16 {
        let generation = self.generation;
        commit(&mut self.wire, generation, &self.id, self.instance, &[("t", 0, offset, "note")])[0]
    }

    /// LeaveGroup v3.
    fn leave(&mut self) -> i16 {
        let body = nullable(Body::default().string("readers").i32(1).string(&self.id), self.instance);
        let mut answer = self.wire.call(13, 3, body).unwrap();
        answer.i32();
        assert_eq!(answer.i16(), 0);
        answer.array(|a| (a.string(), a.string(), a.i16()))[0].2
    }
}

/// OffsetCommit v7: a code a partition.
fn commit(
    wire: &mut Wire,
    generation: i32,
    member: &str,
    instance: Option<&str>,
    offsets: &[(&str, i32, i64, &str)],
) -> Vec<i16> {
    let body = Body::default().string("readers").i32(generation).string(member);
    let mut body = nullable(body, instance).i32(offsets.len() as i32);
    for (topic, partition, offset, note) in offsets {
        body = body.string(topic).i32(1).i32(*partition).i64(*offset).i32(5).string(note);
    }
    let mut answer = wire.call(8, 7, body).unwrap();
    answer.i32();
    let topics = answer.array(|a| {
        a.string();
        a.array(|a| (a.i32(), a.i16()))
    });
    topics.into_iter().flatten().map(|(_, code)| code).collect()
}

fn fetch_offsets(wire: &mut Wire, of: Option<(&str, i32)>) -> Vec<Committed> {
    wire::fetch_offsets(wire, "readers", of)
}

/// Id, instance, assignment.
type Described = (String, String, Vec<u8>);

/// DescribeGroups v4: state, protocol, and members.
fn describe(wire: &mut Wire, group: &str) -> (String, String, Vec<Described>) {
    let mut answer = wire.call(15, 4, Body::default().i32(1).string(group).i8(0)).unwrap();
    answer.i32();
    let mut groups = answer.array(|a| {
        assert_eq!(a.i16(), 0);
        a.string();
        let state = a.string();
        a.string();
        let protocol = a.string();
        let members = a.array(|a| {
            let (id, instance, client, host) = (a.string(), a.string(), a.string(), a.string());
            assert_eq!((client.as_str(), host.as_str()), ("test", "/127.0.0.1"));
            a.blob();
            (id, instance, a.blob())
        });
        a.i32();
        (state, protocol, members)
    });
    groups.pop().unwrap()
}

fn codes(mut answer: Answer, element: impl FnMut(&mut Answer) -> (String, i16)) -> Vec<(String, i16)> {
    answer.i32();
    answer.array(element)
}

fn delete_group(wire: &mut Wire, group: &str) -> i16 {
    let answer = wire.call(42, 1, Body::default().i32(1).string(group)).unwrap();
    codes(answer, |a| (a.string(), a.i16()))[0].1
}

/// OffsetDelete v0: the group's code, else the partition's.
fn delete_offset(wire: &mut Wire, topic: &str) -> i16 {
    let body = Body::default().string("readers").i32(1).string(topic).i32(1).i32(0);
    let mut answer = wire.call(47, 0, body).unwrap();
    let code = answer.i16();
    answer.i32();
    let topics = answer.array(|a| {
        a.string();
        a.array(|a| (a.i32(), a.i16()))
    });
    if code != 0 { code } else { topics[0][0].1 }
}

fn two_members(gateway: &Gateway) -> (Member, Member) {
    let mut one = Member::new(gateway, None);
    assert_eq!(one.join(), 0);
    assert!(one.leads);
    assert_eq!(one.sync().unwrap(), one.id.as_bytes());
    let mut two = Member::new(gateway, Some("two"));
    // The second one waits for the first, which learns by its heartbeat that it must join again.
    let joining = std::thread::spawn(move || {
        assert_eq!(two.join(), 0);
        two
    });
    wait_for("a rebalance", START, || (one.beat() == REBALANCE_IN_PROGRESS).then_some(()));
    assert_eq!(one.join(), 0);
    let mut two = joining.join().unwrap();
    assert_eq!((one.generation, two.generation, one.leads, two.leads), (2, 2, true, false));
    let syncing = std::thread::spawn(move || {
        assert_eq!(two.sync().unwrap(), two.id.as_bytes());
        two
    });
    assert_eq!(one.sync().unwrap(), one.id.as_bytes());
    (one, syncing.join().unwrap())
}

#[test]
fn two_members_share_a_group_over_a_kill() {
    let mut gateway = Gateway::start("");
    create_topic(&gateway.kafka.to_string(), "t", 2);
    let (mut one, mut two) = two_members(&gateway);
    assert_eq!((one.commit(7), two.beat()), (0, 0));
    assert_eq!(commit(&mut one.wire, 1, "", None, &[("t", 0, 9, "")]), [UNKNOWN_MEMBER_ID]);
    assert_eq!(commit(&mut one.wire, -1, "", None, &[("t", 0, 9, "")]), [UNKNOWN_MEMBER_ID]);

    gateway.kill();
    gateway.launch();
    let again = || Wire::connect(&gateway.kafka.to_string()).unwrap();
    (one.wire, two.wire) = (again(), again());

    // They go on as if nothing had been.
    assert_eq!((one.beat(), two.beat()), (0, 0));
    assert_eq!(one.sync().unwrap(), one.id.as_bytes());
    assert_eq!(fetch_offsets(&mut two.wire, Some(("t", 0))), [("t".to_owned(), 0, 7, 5, "note".to_owned())]);
    assert_eq!(two.commit(8), 0);
    let (state, protocol, members) = describe(&mut one.wire, "readers");
    assert_eq!((state.as_str(), protocol.as_str()), ("Stable", "range"));
    let expected =
        [(&one.id, ""), (&two.id, "two")].map(|(id, name)| (id.clone(), name.to_owned(), id.clone().into_bytes()));
    assert_eq!(members, expected);

    // A static member comes back under another id; its old one is fenced.
    let mut heir = Member::new(&gateway, Some("two"));
    assert_eq!((heir.join(), heir.generation), (0, 2));
    assert_eq!(heir.sync().unwrap(), two.id.as_bytes());
    assert_eq!(two.beat(), FENCED_INSTANCE_ID);

    one.generation = 1;
    assert_eq!((one.beat(), one.commit(9)), (ILLEGAL_GENERATION, ILLEGAL_GENERATION));
    assert_eq!(heir.leave(), 0);
    one.generation = 2;
    assert_eq!(one.beat(), REBALANCE_IN_PROGRESS);
    assert_eq!((one.leave(), one.leave()), (0, UNKNOWN_MEMBER_ID));
    assert_eq!(describe(&mut one.wire, "readers").0, "Empty");
}

#[test]
fn offsets_are_kept_and_forgotten() {
    let mut gateway = Gateway::start("");
    create_topic(&gateway.kafka.to_string(), "t", 2);
    create_topic(&gateway.kafka.to_string(), "u", 1);
    let mut wire = Wire::connect(&gateway.kafka.to_string()).unwrap();
    let long = "x".repeat(5_000);
    let offsets = [("t", 1, 3, "a"), ("t", 2, 3, ""), ("nowhere", 0, 3, ""), ("u", 0, 4, &long), ("u", 0, 5, "")];
    assert_eq!(
        commit(&mut wire, -1, "", None, &offsets),
        [0, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_OR_PARTITION, OFFSET_METADATA_TOO_LARGE, 0]
    );

    gateway.kill();
    gateway.launch();
    let mut wire = Wire::connect(&gateway.kafka.to_string()).unwrap();
    let all = [("t".to_owned(), 1, 3, 5, "a".to_owned()), ("u".to_owned(), 0, 5, 5, String::new())];
    assert_eq!(fetch_offsets(&mut wire, None), all);
    assert_eq!(fetch_offsets(&mut wire, Some(("t", 0))), [("t".to_owned(), 0, -1, -1, String::new())]);
    assert_eq!(describe(&mut wire, "readers"), ("Empty".to_owned(), String::new(), Vec::new()));
    assert_eq!(describe(&mut wire, "others").0, "Dead");

    assert_eq!(delete_offset(&mut wire, "u"), 0);
    assert_eq!(fetch_offsets(&mut wire, None), all[..1]);
    let mut member = Member::new(&gateway, None);
    assert_eq!((member.join(), member.sync().is_ok()), (0, true));
    assert_eq!(delete_offset(&mut wire, "t"), GROUP_SUBSCRIBED_TO_TOPIC);
    assert_eq!(delete_group(&mut wire, "readers"), NON_EMPTY_GROUP);
    assert_eq!(member.leave(), 0);
    assert_eq!(delete_group(&mut wire, "readers"), 0);
    assert_eq!(delete_group(&mut wire, "readers"), GROUP_ID_NOT_FOUND);
    assert_eq!(delete_offset(&mut wire, "t"), GROUP_ID_NOT_FOUND);
    assert_eq!(fetch_offsets(&mut wire, None), []);
    // ListGroups v0.
    let mut listed = wire.call(16, 0, Body::default()).unwrap();
    assert_eq!((listed.i16(), listed.array(|a| (a.string(), a.string()))), (0, Vec::new()));
}

#[test]
fn what_is_wrong_is_said_by_kafkas_codes() {
    let mut gateway = Gateway::start("");
    create_topic(&gateway.kafka.to_string(), "t", 1);
    let mut member = Member::new(&gateway, None);
    assert_eq!(member.join_once(5_999), INVALID_SESSION_TIMEOUT);
    member.id = "nobody".to_owned();
    assert_eq!((member.join_once(10_000), member.beat()), (UNKNOWN_MEMBER_ID, UNKNOWN_MEMBER_ID));
    assert_eq!((member.sync(), member.leave()), (Err(UNKNOWN_MEMBER_ID), UNKNOWN_MEMBER_ID));
    member.generation = 1;
    assert_eq!(member.commit(1), ILLEGAL_GENERATION);
    // Heartbeat v0, of a group without a name.
    let mut answer = member.wire.call(12, 0, Body::default().string("").i32(1).string("m")).unwrap();
    assert_eq!(answer.i16(), INVALID_GROUP_ID);
    // FindCoordinator v2: this broker.
    let mut found = member.wire.call(10, 2, Body::default().string("readers").i8(0)).unwrap();
    found.i32();
    assert_eq!((found.i16(), found.string(), found.i32()), (0, String::new(), 1));
    assert_eq!(format!("{}:{}", found.string(), found.i32()), gateway.kafka.to_string());
    // Members that wait don't hold up the end of the gateway.
    let mut one = Member::new(&gateway, None);
    assert_eq!((one.join(), one.sync().is_ok()), (0, true));
    let mut two = Member::new(&gateway, Some("two"));
    let waiting = std::thread::spawn(move || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| two.join())));
    wait_for("a rebalance", START, || (one.beat() == REBALANCE_IN_PROGRESS).then_some(()));
    gateway.stop();
    let _ = waiting.join();
}
