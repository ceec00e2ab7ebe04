//! Transcripts: what is asked, what is answered, what follows.

use super::*;
use crate::uplink::exactly::cursor::Witness;

const EPOCH: u64 = 77;
const LINEAGE: [u8; 16] = [3; 16];
const ME: Identity = Identity { id: 9, epoch: 4 };

struct Play {
    machine: Transactions,
    now: Instant,
}

fn fresh(local: Local) -> Play {
    let mut machine = Transactions::new(local, EPOCH);
    machine.speak(Protocol::Second);
    machine.set_partition(2);
    Play { machine, now: Instant::now() }
}

fn mark(number: u64) -> Mark {
    Mark { number, epoch: EPOCH, place: Place { partition: 2, offset: 50 } }
}

fn witness(number: u64) -> Heard {
    Heard::Witness(Ok(Some(Witness { partition: 2, number, of: Some((LINEAGE, EPOCH)) })))
}

fn known(last: u64, pending: Option<u64>) -> Local {
    let pending = pending.map(|number| Pending { mark: mark(number), positions: vec![(1, 10)], letters: Vec::new() });
    Local { lineage: LINEAGE, last: Some(mark(last)), pending }
}

impl Play {
    /// The questions that can be put now, coordinators looked for on the way.
    fn asks(&mut self) -> Vec<Ask> {
        let mut asks = Vec::new();
        while let Some((ask, _)) = self.machine.next(self.now) {
            self.machine.asked(&ask);
            match ask {
                Ask::Coordinator(role) => assert_eq!(self.hear(Heard::Coordinator(role, Ok(1))), Happened::Nothing),
                ask => asks.push(ask),
            }
        }
        asks
    }

    fn hear(&mut self, heard: Heard) -> Happened {
        self.machine.heard(heard, self.now, 1.0)
    }

    /// Time for whatever is waited for.
    fn later(&mut self) -> &mut Self {
        self.now += Duration::from_secs(3);
        self
    }

    /// From the start to idle.
    fn idle(local: Local) -> Self {
        let last = local.last.map_or(0, |last| last.number);
        let mut play = fresh(local);
        assert_eq!(play.asks(), [Ask::Producer { keep: None }]);
        play.hear(Heard::Producer(Ok(ME)));
        assert_eq!(play.asks(), [Ask::Witness]);
        assert!(matches!(play.hear(witness(last)), Happened::Resumed { committed: false, .. }));
        assert!(play.machine.is_idle() && play.asks().is_empty());
        play
    }

    /// From idle to where only the end is awaited.
    fn ending(&mut self) {
        self.machine.begin(self.now);
        assert_eq!(self.asks(), [Ask::CommitWitness]);
        assert_eq!(self.hear(Heard::CommitWitness(Ok(()))), Happened::Nothing);
        self.machine.close();
        self.machine.drained(Place { partition: 2, offset: 60 }, vec![(1, 20)], Vec::new());
        assert_eq!(self.asks(), [Ask::Record]);
        assert_eq!(self.hear(Heard::Record(Ok(()))), Happened::Nothing);
        assert_eq!(self.asks(), [Ask::End { commit: true }]);
    }
}

fn lane(partition: i32) -> LaneId {
    ("t".into(), partition)
}

#[test]
fn one_after_the_other_with_the_second_protocol() {
    let mut play = Play::idle(known(7, None));
    play.ending();
    assert_eq!(play.machine.number(), 8);
    let next = Identity { id: 9, epoch: 5 };
    assert_eq!(play.hear(Heard::End(Ok(Some(next)))), Happened::Committed);
    assert_eq!((play.machine.identity(), play.machine.local.last.unwrap().number), (Some(next), 8));
    play.ending();
    assert_eq!(play.machine.number(), 9);
}

#[test]
fn with_the_first_protocol_everything_is_announced() {
    let mut play = Play::idle(known(7, None));
    play.machine.speak(Protocol::First);
    play.machine.begin(play.now);
    play.machine.want(&lane(0));
    play.machine.want(&lane(1));
    assert_eq!(play.asks(), [Ask::Partitions(vec![lane(0), lane(1)])], "the group waits for its turn");
    assert!(!play.machine.may_send(&lane(0)));
    play.hear(Heard::Partitions(vec![lane(0), lane(1)], Ok(Vec::new())));
    assert!(play.machine.may_send(&lane(0)) && !play.machine.may_send(&lane(2)));
    assert_eq!(play.asks(), [Ask::Group]);
    play.machine.want(&lane(2));
    assert_eq!(play.asks(), [Ask::Partitions(vec![lane(2)])]);
    play.hear(Heard::Group(Ok(())));
    assert_eq!(play.asks(), [Ask::CommitWitness]);
    // One topic is refused: the whole transaction comes to nothing, and the topic is named.
    let refused = vec![(lane(2), Failure::code(29)), (lane(0), Failure::code(55))];
    let happened = play.hear(Heard::Partitions(vec![lane(2)], Ok(refused)));
    assert!(matches!(happened, Happened::TopicRefused { topic, .. } if &*topic == "t"));
    assert_eq!(play.later().asks(), [Ask::End { commit: false }]);
}

#[test]
fn the_end_is_asked_for_until_it_is_answered() {
    let mut play = Play::idle(known(7, None));
    play.ending();
    for failure in [Failure::silence("cut"), Failure::code(51), Failure::code(16), Failure::code(14)] {
        assert_eq!(play.hear(Heard::End(Err(failure))), Happened::Nothing);
        assert_eq!(play.asks(), [], "not at once");
        assert_eq!(play.later().asks(), [Ask::End { commit: true }]);
    }
    assert_eq!(play.hear(Heard::End(Ok(None))), Happened::Committed);
}

#[test]
fn in_doubt_the_witness_decides() {
    for (number, expected) in [(8, true), (7, false)] {
        let mut play = Play::idle(known(7, None));
        play.ending();
        assert!(matches!(play.hear(Heard::End(Err(Failure::code(48)))), Happened::Broken(_)));
        assert_eq!(play.later().asks(), [Ask::End { commit: false }]);
        play.hear(Heard::End(Err(Failure::code(48))));
        assert_eq!(play.asks(), [Ask::Producer { keep: Some(ME) }]);
        play.hear(Heard::Producer(Ok(ME)));
        assert_eq!(play.asks(), [Ask::Witness]);
        // Another's markers, or its own, are still being written.
        assert_eq!(play.hear(Heard::Witness(Err(Failure::code(88)))), Happened::Nothing);
        assert_eq!(play.later().asks(), [Ask::Witness]);
        let happened = play.hear(witness(number));
        assert!(matches!(happened, Happened::Resumed { committed, pending: Some(_) } if committed == expected));
        // Its number is not used again, whatever became of it.
        play.machine.begin(play.now);
        assert_eq!(play.machine.number(), 9);
    }
}

#[test]
fn a_restart_with_a_transaction_in_doubt() {
    for (number, expected) in [(8, true), (7, false)] {
        let mut play = fresh(known(7, Some(8)));
        play.asks();
        play.hear(Heard::Producer(Ok(ME)));
        play.asks();
        let happened = play.hear(witness(number));
        assert!(matches!(happened, Happened::Resumed { committed, pending: Some(_) } if committed == expected));
    }
}

#[test]
fn an_expired_witness_is_never_a_beginning() {
    let mut play = fresh(known(7, Some(8)));
    play.asks();
    play.hear(Heard::Producer(Ok(ME)));
    play.asks();
    assert_eq!(play.hear(Heard::Witness(Ok(None))), Happened::Nothing);
    assert_eq!(play.asks(), [Ask::Read { from: Place { partition: 2, offset: 50 }, all: false }]);
    // Another gateway's open transaction hides it; then it is gone: all is looked through.
    let nothing = |high_watermark| super::super::resuming::Chunk { high_watermark, ..Default::default() };
    assert_eq!(play.hear(Heard::Read(Ok(nothing(90)))), Happened::Nothing);
    assert_eq!(play.later().asks(), [Ask::Read { from: Place { partition: 2, offset: 50 }, all: false }]);
    assert_eq!(play.hear(Heard::Read(Err(Failure::code(1)))), Happened::Nothing);
    assert_eq!(play.asks(), [Ask::First { partition: 2 }]);
    play.hear(Heard::First(Ok(40)));
    assert_eq!(play.asks(), [Ask::Read { from: Place { partition: 2, offset: 40 }, all: true }]);
    assert_eq!(play.hear(Heard::Read(Ok(nothing(40)))), Happened::Looked);
    assert!(play.machine.looked().is_some());
    play.machine.stand(LINEAGE, 8);
    assert!(play.machine.is_idle());
}

/// The cursors lie where they were to lie, and their transaction was aborted: nothing else has to be read.
#[test]
fn without_a_witness_the_place_of_the_cursors_tells_both_ends() {
    use crate::uplink::exactly::committed::Found;
    use crate::uplink::exactly::cursor::Value;

    for (transaction, aborted, expected) in [(8, false, Some(true)), (8, true, Some(false)), (9, true, None)] {
        let mut play = fresh(known(7, Some(8)));
        play.asks();
        play.hear(Heard::Producer(Ok(ME)));
        play.asks();
        play.hear(Heard::Witness(Ok(None)));
        play.asks();
        let value = Value { topic: "t".into(), next: 10, lineage: LINEAGE, transaction, epochs: Vec::new() };
        let record = Found { offset: 50, key: b"k".to_vec(), value: Some(value.encode()), aborted };
        let chunk = super::super::resuming::Chunk { records: vec![record], high_watermark: 51, ..Default::default() };
        match (play.hear(Heard::Read(Ok(chunk))), expected) {
            (Happened::Resumed { committed, pending: Some(_) }, Some(expected)) => assert_eq!(committed, expected),
            (Happened::Nothing, None) => assert_eq!(play.asks(), [Ask::First { partition: 2 }], "another's"),
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_rival_is_one_that_the_witness_shows() {
    let displaced = |play: &mut Play| {
        play.machine.begin(play.now);
        play.asks();
        assert!(matches!(play.hear(Heard::CommitWitness(Err(Failure::code(47)))), Happened::Broken(_)));
        assert_eq!(play.later().asks(), [Ask::End { commit: false }]);
        play.hear(Heard::End(Err(Failure::code(90))));
        assert_eq!(play.asks(), [Ask::Producer { keep: Some(ME) }]);
        assert_eq!(play.hear(Heard::Producer(Err(Failure::code(90)))), Happened::Nothing);
        assert_eq!(play.asks(), [Ask::Witness]);
    };
    // Nobody has committed anything: the coordinator itself had ended the transaction.
    let mut play = Play::idle(known(7, None));
    displaced(&mut play);
    assert_eq!(play.hear(witness(7)), Happened::Nothing);
    assert_eq!(play.asks(), [Ask::Producer { keep: None }]);
    play.hear(Heard::Producer(Ok(ME)));
    play.asks();
    play.hear(witness(7));
    // The same again soon after: somebody is alive there.
    displaced(&mut play);
    assert_eq!(play.hear(witness(7)), Happened::Fenced);
    assert!(play.machine.is_fenced() && play.later().asks().is_empty());
    play.machine.look_after();
    assert_eq!(play.asks(), [Ask::Witness]);
    assert_eq!(play.hear(witness(12)), Happened::Fenced);
    play.machine.let_go_on();
    assert_eq!(play.asks(), [Ask::Producer { keep: None }]);
}

#[test]
fn what_someone_must_change_is_asked_for_ever_more_rarely() {
    let mut play = fresh(known(7, None));
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(play.asks(), [Ask::Producer { keep: None }]);
        let happened = play.hear(Heard::Producer(Err(Failure::code(53))));
        assert!(matches!(happened, Happened::Refused(text) if text.contains("TRANSACTIONAL_ID_AUTHORIZATION_FAILED")));
        let at = play.machine.not_before().unwrap();
        waits.push(at.duration_since(play.now).as_secs());
        play.now = at;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    // What passes by itself is told of once a minute has gone by.
    let mut play = fresh(known(7, None));
    let mut alarms = 0;
    for _ in 0..100 {
        play.asks();
        alarms += usize::from(play.hear(Heard::Producer(Err(Failure::code(51)))) != Happened::Nothing);
        play.now = play.machine.not_before().unwrap();
    }
    assert_eq!(alarms, 1);
}
