//! Transcripts: what happens, and what is done about it.

use super::super::leg::Source;
use super::*;

const ID: [u8; 16] = [1; 16];
const WAIT: Duration = Duration::from_secs(60);

/// A course and the time, as they go.
struct Play {
    course: Course,
    now: Instant,
}

fn play(from: DownlinkFrom, out_of_range: OutOfRange) -> Play {
    let bounds = Bounds { min: Duration::from_secs(1), max: Duration::from_secs(300) };
    let metadata_age_max = Duration::from_secs(300);
    let policy = Policy { from, out_of_range, wait: WAIT, metadata_age_max, bounds };
    Play { course: Course::new(policy, ["t".into()]), now: Instant::now() }
}

fn heard(id: [u8; 16], leaders: &[i32]) -> Heard {
    Heard { id, leaders: leaders.iter().map(|node| (*node >= 0).then_some(*node)).collect() }
}

fn topics(told: Result<Heard, String>) -> Event {
    Event::Topics(Ok(BTreeMap::from([("t".into(), told)])))
}

/// The local side, with the positions that are known; `met` partitions were there at first.
fn prepared(id: [u8; 16], met: u32, positions: &[Option<i64>]) -> Event {
    let one = |(index, at): (usize, &Option<i64>)| (PartitionId(index as u32), at.map(|at| position(id, at)));
    let partitions = positions.iter().enumerate().map(one).collect();
    Event::Prepared("t".into(), Ok(Prepared { id, met, partitions }))
}

fn position(topic_id: [u8; 16], next_offset: i64) -> UpstreamPosition {
    UpstreamPosition { topic_id, next_offset, leader_epoch: -1 }
}

fn source(index: i32) -> Source {
    ("t".into(), index)
}

/// An answer about one partition.
fn fetched(node: i32, index: i32, outcome: Outcome) -> Event {
    Event::Fetched(node, Ok((Duration::ZERO, vec![(source(index), outcome)])))
}

fn took(to: i64, stored: bool, end: i64) -> Outcome {
    Outcome::Took { to: position(ID, to), stored, end }
}

fn listed(node: i32, offset: i64) -> Event {
    Event::Listed(node, Ok(vec![(source(0), Ok(offset))]))
}

fn saved() -> Event {
    Event::Saved(source(0), Ok(()))
}

fn shown(action: Action) -> Option<String> {
    let at = |position: Option<UpstreamPosition>| position.map_or("-".to_owned(), |p| p.next_offset.to_string());
    Some(match action {
        Action::AskTopics(node) => format!("ask {}", node.map_or("any".to_owned(), |node| node.to_string())),
        Action::Prepare(topic, _) => format!("prepare {topic}"),
        Action::Fetch { node, wanted, wait } => {
            let one = |wanted: &Wanted| format!(" {}@{}", wanted.source.1, wanted.at.next_offset);
            format!("fetch {node}:{} for {} ms", wanted.iter().map(one).collect::<String>(), wait.as_millis())
        }
        Action::List { node, wanted } => {
            let one = |(source, time): &(Source, i64)| format!(" {}@{time}", source.1);
            format!("list {node}:{}", wanted.iter().map(one).collect::<String>())
        }
        Action::Save { source, from, to, at_once, .. } => {
            let when = if at_once { "now" } else { "some time" };
            format!("save {} {} to {} {when}", source.1, at(from), to.next_offset)
        }
        Action::Tell(level, text) => format!("{level} {text}"),
        Action::CountGap(offsets) => format!("gap {offsets}"),
        Action::CountFailure(_) => return None,
        Action::OutageEnded(lasted) => format!("outage of {} s ended", lasted.as_secs()),
    })
}

impl Play {
    fn is(&mut self, event: Event, expected: &[&str]) {
        let shown: Vec<String> = self.course.step(event.clone(), self.now, 1.0).into_iter().filter_map(shown).collect();
        assert_eq!(shown, expected, "after {event:?}");
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Metadata and the local side are there: one partition, led by broker 1, at a position.
    fn begun_at(mut self, at: i64) -> Self {
        self.is(Event::Tick, &["ask any"]);
        self.is(topics(Ok(heard(ID, &[1]))), &["prepare t"]);
        self.is(prepared(ID, 1, &[Some(at)]), &[&format!("fetch 1: 0@{at} for 60000 ms")]);
        // Metadata is not asked for again at once.
        self.pass(Duration::from_millis(100));
        self
    }
}

#[test]
fn the_first_start_finds_its_beginning_and_makes_that_durable_first() {
    for (from, asked) in [
        (DownlinkFrom::Latest, "list 1: 0@-1"),
        (DownlinkFrom::Earliest, "list 1: 0@-2"),
        (DownlinkFrom::Time(77), "list 1: 0@77"),
    ] {
        let mut play = play(from, OutOfRange::Earliest);
        play.is(Event::Tick, &["ask any"]);
        play.is(topics(Ok(heard(ID, &[1]))), &["prepare t"]);
        play.is(prepared(ID, 1, &[None]), &[asked]);
        play.is(listed(1, 40), &["save 0 - to 40 now"]);
        play.is(saved(), &["fetch 1: 0@40 for 60000 ms"]);
        play.is(fetched(1, 0, took(42, true, 42)), &["fetch 1: 0@42 for 60000 ms"]);
    }
}

#[test]
fn a_time_that_nothing_is_as_late_as_begins_with_what_comes() {
    let mut play = play(DownlinkFrom::Time(77), OutOfRange::Earliest);
    play.is(Event::Tick, &["ask any"]);
    play.is(topics(Ok(heard(ID, &[1]))), &["prepare t"]);
    play.is(prepared(ID, 1, &[None]), &["list 1: 0@77"]);
    play.is(listed(1, -1), &["list 1: 0@-1"]);
    play.is(listed(1, 9), &["save 0 - to 9 now"]);
}

#[test]
fn partitions_that_were_added_later_begin_at_their_beginning() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest).begun_at(5);
    play.is(
        fetched(1, 0, Outcome::Refused(6)),
        &["WARN t/0: NOT_LEADER_OR_FOLLOWER (6); tried again, the others go on", "ask 1"],
    );
    play.is(topics(Ok(heard(ID, &[1, 1]))), &["prepare t"]);
    play.is(prepared(ID, 1, &[Some(5), None]), &["list 1: 1@-2"]);
}

#[test]
fn a_broker_is_asked_again_only_when_all_that_came_is_stored() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest);
    play.is(Event::Tick, &["ask any"]);
    play.is(topics(Ok(heard(ID, &[1, 2, 1]))), &["prepare t"]);
    play.is(
        prepared(ID, 3, &[Some(1), Some(2), Some(3)]),
        &["fetch 1: 0@1 2@3 for 60000 ms", "fetch 2: 1@2 for 60000 ms"],
    );
    // Whoever brought nothing is asked for first.
    let both = vec![(source(0), took(9, true, 20)), (source(2), took(3, true, 3))];
    play.is(Event::Fetched(1, Ok((Duration::ZERO, both))), &["fetch 1: 2@3 0@9 for 60000 ms"]);
    play.is(Event::Tick, &[]);
}

#[test]
fn a_position_without_records_is_saved_along_with_something_else() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest).begun_at(5);
    play.is(fetched(1, 0, took(6, false, 6)), &["save 0 5 to 6 some time", "fetch 1: 0@6 for 60000 ms"]);
    // One at a time; the next brings both.
    play.is(fetched(1, 0, took(8, false, 8)), &["fetch 1: 0@8 for 60000 ms"]);
    play.is(saved(), &[]);
    play.pass(WAIT);
    play.is(fetched(1, 0, took(8, false, 8)), &["save 0 6 to 8 some time", "fetch 1: 0@8 for 60000 ms"]);
}

#[test]
fn a_broker_that_holds_no_question_is_not_asked_all_the_time() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest).begun_at(5);
    play.is(fetched(1, 0, took(5, false, 5)), &[]);
    let next = play.course.next_time().unwrap() - play.now;
    assert_eq!(next, Duration::from_millis(900));
    play.pass(next);
    // Between a step and the look at the clock time passes: what has become due is no less so.
    assert_eq!(play.course.next_time(), Some(play.now));
    play.is(Event::Tick, &["fetch 1: 0@5 for 60000 ms"]);
    play.is(fetched(1, 0, took(6, true, 6)), &["fetch 1: 0@6 for 60000 ms"]);
}

#[test]
fn what_retention_took_upstream_is_counted_and_passed_over() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest).begun_at(5);
    // Metadata first: it could be another topic.
    play.is(fetched(1, 0, Outcome::Refused(1)), &["ask 1"]);
    play.is(topics(Ok(heard(ID, &[1]))), &["list 1: 0@-2"]);
    play.is(
        listed(1, 30),
        &[
            "WARN t/0: 25 offsets from 5 on are gone upstream or passed over (out_of_range); goes on at 30",
            "gap 25",
            "save 0 5 to 30 now",
        ],
    );
    play.is(saved(), &["fetch 1: 0@30 for 60000 ms"]);
}

#[test]
fn by_configuration_it_goes_on_at_the_end_or_stops() {
    let mut latest = play(DownlinkFrom::Latest, OutOfRange::Latest).begun_at(5);
    latest.is(fetched(1, 0, Outcome::Refused(1)), &["ask 1"]);
    latest.is(topics(Ok(heard(ID, &[1]))), &["list 1: 0@-2"]);
    latest.is(listed(1, 30), &["list 1: 0@-1"]);
    latest.is(
        listed(1, 50),
        &[
            "WARN t/0: 45 offsets from 5 on are gone upstream or passed over (out_of_range); goes on at 50",
            "gap 45",
            "save 0 5 to 50 now",
        ],
    );

    let mut stop = play(DownlinkFrom::Latest, OutOfRange::Stop).begun_at(5);
    stop.is(fetched(1, 0, Outcome::Refused(1)), &["ask 1"]);
    stop.is(topics(Ok(heard(ID, &[1]))), &["list 1: 0@-2"]);
    stop.is(listed(1, 30), &[
        "ERROR t/0: 25 offsets from 5 on are gone upstream; out_of_range = \"stop\": set it to \"earliest\" or \"latest\" to go on, or `brooklet downlink skip`",
    ]);
    stop.pass(Duration::from_secs(3_600));
    stop.is(Event::Tick, &["ask 1"]);
    stop.is(topics(Ok(heard(ID, &[1]))), &[]);
}

#[test]
fn a_log_that_was_cut_goes_on_where_it_was() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Latest).begun_at(50);
    play.is(fetched(1, 0, Outcome::Refused(1)), &["ask 1"]);
    play.is(topics(Ok(heard(ID, &[1]))), &["list 1: 0@-2"]);
    play.is(listed(1, 0), &["list 1: 0@-1"]);
    play.is(
        listed(1, 30),
        &[
            "WARN t/0: the log upstream lost 20 offsets from 30 on that had been brought; goes on at 30",
            "gap 20",
            "save 0 50 to 30 now",
        ],
    );
    play.is(saved(), &["fetch 1: 0@30 for 60000 ms"]);
    // The broker may tell by itself where it was cut.
    play.is(
        fetched(1, 0, Outcome::Diverged(28)),
        &[
            "WARN t/0: the log upstream lost 2 offsets from 28 on that had been brought; goes on at 28",
            "gap 2",
            "save 0 30 to 28 now",
        ],
    );
    play.is(saved(), &["fetch 1: 0@28 for 60000 ms"]);
    // Only its epochs have other names now.
    play.is(fetched(1, 0, Outcome::Diverged(28)), &["fetch 1: 0@28 for 60000 ms"]);
}

#[test]
fn a_topic_made_again_is_another_topic() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest).begun_at(50);
    play.is(fetched(1, 0, Outcome::Refused(1)), &["ask 1"]);
    let new = [2; 16];
    // The old position is not asked for in the new topic.
    play.is(topics(Ok(heard(new, &[1]))), &["prepare t"]);
    // What was prepared for the old one does not count.
    play.is(prepared(ID, 1, &[Some(50)]), &["prepare t"]);
    play.is(prepared(new, 0, &[None]), &["list 1: 0@-2"]);
    play.is(listed(1, 0), &["save 0 - to 0 now"]);
    play.is(saved(), &["fetch 1: 0@0 for 60000 ms"]);
}

#[test]
fn a_missing_topic_waits_and_goes_on_where_it_was() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest).begun_at(5);
    play.is(fetched(1, 0, Outcome::Refused(3)), &[
        "WARN t/0: UNKNOWN_TOPIC_OR_PARTITION (3): the topic does not exist upstream: create it there; tried again, the others go on",
        "ask 1",
    ]);
    play.is(topics(Err("missing".to_owned())), &["WARN t: missing; tried again, the others go on"]);
    play.is(Event::Tick, &[]);
    play.pass(Duration::from_secs(1));
    play.is(Event::Tick, &["ask any"]);
    // Told once, while it lasts.
    play.is(topics(Err("missing".to_owned())), &[]);
    play.pass(Duration::from_secs(2));
    play.is(Event::Tick, &["ask any"]);
    play.is(topics(Ok(heard(ID, &[1]))), &["prepare t"]);
    play.is(prepared(ID, 1, &[Some(5)]), &["INFO t: goes on after 3 s", "fetch 1: 0@5 for 60000 ms"]);
    play.is(fetched(1, 0, took(6, true, 6)), &["INFO t/0: goes on after 3 s", "fetch 1: 0@6 for 60000 ms"]);
}

#[test]
fn a_broker_that_fails_holds_up_only_what_it_leads() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest);
    play.is(Event::Tick, &["ask any"]);
    play.is(topics(Ok(heard(ID, &[1, 2]))), &["prepare t"]);
    play.is(prepared(ID, 2, &[Some(1), Some(2)]), &["fetch 1: 0@1 for 60000 ms", "fetch 2: 1@2 for 60000 ms"]);
    // Broker 1 is at a question; that does not delay metadata.
    play.pass(Duration::from_secs(1));
    play.is(Event::Fetched(2, Err("cut".to_owned())), &["WARN cut; tried again", "ask any"]);
    play.is(topics(Ok(heard(ID, &[1, 1]))), &[]);
    play.is(fetched(1, 0, took(1, true, 1)), &["fetch 1: 0@1 1@2 for 60000 ms"]);
}

#[test]
fn an_unreachable_cluster_is_told_once_and_tried_ever_more_rarely() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest);
    play.is(Event::Tick, &["ask any"]);
    play.is(Event::Topics(Err("refused".to_owned())), &["WARN refused; nothing comes down until it works again"]);
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        play.is(Event::Tick, &[]);
        let next = play.course.next_time().unwrap() - play.now;
        assert_eq!(next.as_secs(), seconds);
        play.pass(next);
        play.is(Event::Tick, &["ask any"]);
        play.is(Event::Topics(Err("refused".to_owned())), &[]);
    }
    play.pass(Duration::from_secs(300));
    play.is(Event::Tick, &["ask any"]);
    play.is(topics(Ok(heard(ID, &[1]))), &["INFO works again after 1411 s", "outage of 1411 s ended", "prepare t"]);
}

#[test]
fn what_is_not_stored_is_looked_up_before_it_is_asked_for_again() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest).begun_at(5);
    play.is(
        fetched(1, 0, Outcome::Stale("not stored: the disk".to_owned())),
        &["WARN t/0: not stored: the disk; tried again, the others go on", "prepare t"],
    );
    // It was stored all the same.
    play.is(prepared(ID, 1, &[Some(8)]), &[]);
    play.pass(Duration::from_secs(1));
    play.is(Event::Tick, &["fetch 1: 0@8 for 60000 ms"]);
}

#[test]
fn old_metadata_is_asked_for_between_two_answers() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest).begun_at(5);
    play.pass(Duration::from_secs(301));
    play.is(Event::Tick, &[]);
    play.is(fetched(1, 0, took(6, true, 6)), &["ask 1"]);
    play.is(topics(Ok(heard(ID, &[1]))), &["fetch 1: 0@6 for 60000 ms"]);
}

#[test]
fn paused_it_asks_for_nothing_and_throttled_it_waits() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest).begun_at(5);
    play.course.permit(Open::Nothing, None);
    play.is(fetched(1, 0, took(6, true, 6)), &[]);
    assert_eq!(play.course.next_time(), None);
    play.course.permit(Open::All, None);
    play.is(Event::Tick, &["fetch 1: 0@6 for 60000 ms"]);
    let answer = vec![(source(0), took(7, true, 7))];
    play.is(Event::Fetched(1, Ok((Duration::from_secs(5), answer))), &[]);
    play.pass(Duration::from_secs(5));
    play.is(Event::Tick, &["fetch 1: 0@7 for 60000 ms"]);
}

#[test]
fn whoever_may_be_asked_for_soon_shortens_the_wait_of_the_others() {
    let mut play = play(DownlinkFrom::Latest, OutOfRange::Earliest);
    play.is(Event::Tick, &["ask any"]);
    play.is(topics(Ok(heard(ID, &[1, 1]))), &["prepare t"]);
    play.is(prepared(ID, 2, &[Some(1), Some(2)]), &["fetch 1: 0@1 1@2 for 60000 ms"]);
    let both = vec![(source(0), Outcome::Fault("damaged".to_owned())), (source(1), took(3, true, 3))];
    play.is(
        Event::Fetched(1, Ok((Duration::ZERO, both))),
        &["WARN t/0: damaged; tried again, the others go on", "fetch 1: 1@3 for 1000 ms"],
    );
}

#[test]
fn where_the_gate_is_shut_only_what_is_urgent_is_asked_for_and_no_question_outlasts_it() {
    let mut play = play(DownlinkFrom::Earliest, OutOfRange::Earliest);
    play.course.permit(Open::Urgent, None);
    play.is(Event::Tick, &[]);
    assert_eq!(play.course.next_time(), None);
    play.course.set_urgent(|topic| topic == "t");
    play.is(Event::Tick, &["ask any"]);
    play.is(topics(Ok(heard(ID, &[1]))), &["prepare t"]);
    play.is(prepared(ID, 1, &[Some(5)]), &["fetch 1: 0@5 for 60000 ms"]);
    play.pass(Duration::from_millis(100));
    play.course.permit(Open::Nothing, None);
    // What was asked for still comes in.
    play.is(fetched(1, 0, took(7, true, 9)), &[]);
    play.course.permit(Open::All, Some(play.now + Duration::from_secs(3)));
    play.is(Event::Tick, &["fetch 1: 0@7 for 3000 ms"]);
}

#[test]
fn an_operator_lets_a_partition_go_on_behind_what_holds_it_up() {
    let skip = |to| Event::Skip(source(0), to);
    let mut play = play(DownlinkFrom::Earliest, OutOfRange::Stop).begun_at(5);
    let held_up = fetched(1, 0, Outcome::Fault("damaged".to_owned()));
    play.is(held_up, &["WARN t/0: damaged; tried again, the others go on"]);
    let passed = "WARN t/0: 4 offsets from 5 on are passed over by an operator's word; goes on at 9";
    // At once, not when it would be tried again; and durable before anything is asked for.
    play.is(skip(SkipTo::Offset(9)), &[passed, "gap 4", "save 0 5 to 9 now"]);
    play.is(saved(), &["fetch 1: 0@9 for 60000 ms"]);
    // What is on the way comes first; and it never goes back.
    play.is(skip(SkipTo::Offset(10)), &[]);
    play.is(fetched(1, 0, took(12, true, 20)), &["fetch 1: 0@12 for 60000 ms"]);
    play.is(skip(SkipTo::Latest), &[]);
    play.is(fetched(1, 0, took(13, true, 20)), &["list 1: 0@-1"]);
    let passed = "WARN t/0: 7 offsets from 13 on are gone upstream or passed over (out_of_range); goes on at 20";
    play.is(listed(1, 20), &[passed, "gap 7", "save 0 13 to 20 now"]);
    // And where it waits for a decision.
    play.is(saved(), &["fetch 1: 0@20 for 60000 ms"]);
    play.is(fetched(1, 0, Outcome::Refused(1)), &["ask 1"]);
    play.is(topics(Ok(heard(ID, &[1]))), &["list 1: 0@-2"]);
    let stopped = "ERROR t/0: 10 offsets from 20 on are gone upstream; out_of_range = \"stop\": set it to \"earliest\" or \"latest\" to go on, or `brooklet downlink skip`";
    play.is(listed(1, 30), &[stopped]);
    let passed = "WARN t/0: 11 offsets from 20 on are passed over by an operator's word; goes on at 31";
    play.is(skip(SkipTo::Offset(31)), &[passed, "gap 11", "save 0 20 to 31 now"]);
}
