use super::super::super::batches::recode::tests::{batch_of, values_of};
use super::*;

const ME: Identity = Identity { id: 7, epoch: 0 };
const NODE: i32 = 1;

fn moment(now: Instant) -> Moment {
    Moment {
        now,
        wall_ms: 1_000_000_000_000,
        jitter: 1.0,
        backoff: Bounds { min: Duration::from_secs(1), max: Duration::from_secs(300) },
        compression: Compression::None,
        spare_tag: 1_000,
    }
}

fn lane_of(batches: &[&[&str]]) -> Lane {
    let mut lane = Lane::default();
    for (tag, values) in batches.iter().enumerate() {
        let bytes = batch_of(values, 100, Compression::None);
        let records = values.len() as u32;
        let origins = Origins::run(PartitionId(tag as u32), 10, records);
        lane.push(tag as u64, Recoded { bytes, records, origins }, vec![tag as PieceId]);
    }
    lane
}

/// All that is ready, as (tag, base sequence, bytes).
fn send_all(lane: &mut Lane, now: Instant, identity: Identity) -> Vec<(u64, i32, Vec<u8>)> {
    let mut sent = Vec::new();
    while lane.is_ready(NODE, now, Some(identity)) {
        let batch = lane.next(NODE, Some(identity)).unwrap().unwrap();
        let (view, _) = BatchView::parse(batch.bytes).unwrap();
        assert!(view.crc_matches() && view.producer_id() == identity.id && view.base_offset() == 0);
        sent.push((batch.tag, view.base_sequence(), batch.bytes.to_vec()));
    }
    sent
}

fn tags(sent: &[(u64, i32, Vec<u8>)]) -> Vec<(u64, i32)> {
    sent.iter().map(|(tag, sequence, _)| (*tag, *sequence)).collect()
}

#[test]
fn five_are_in_flight_and_sequences_count_records() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a", "b"], &["c"], &["d"], &["e"], &["f"], &["g"], &["h"]]);
    assert!(lane.wants_identity(None) && !lane.is_ready(NODE, now, None));
    assert_eq!(tags(&send_all(&mut lane, now, ME)), [(0, 0), (1, 2), (2, 3), (3, 4), (4, 5)]);
    let acknowledged = lane.answered(0, Verdict::Appended, "", &moment(now));
    assert!(matches!(acknowledged, Outcome::Acknowledged { ref pieces, records: 2, .. } if *pieces == [0]));
    assert_eq!(tags(&send_all(&mut lane, now, ME)), [(5, 6)]);
    // Another leader has to wait for the first one's answers.
    lane.answered(1, Verdict::Appended, "", &moment(now));
    assert!(!lane.is_ready(2, now, Some(ME)) && lane.is_ready(NODE, now, Some(ME)));
}

#[test]
fn after_a_failure_all_goes_again_in_order_with_the_same_bytes() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a"], &["b"], &["c"]]);
    let first = send_all(&mut lane, now, ME);
    assert_eq!(lane.answered(0, Verdict::RetryElsewhere, "moved", &moment(now)), Outcome::Again(Again::AsItWas));
    assert_eq!(lane.answered(1, Verdict::SequenceGap, "gap", &moment(now)), Outcome::Again(Again::AsItWas));
    assert!(send_all(&mut lane, now + Duration::from_secs(2), ME).is_empty(), "one is still in flight");
    assert_eq!(lane.answered(2, Verdict::SequenceGap, "gap", &moment(now)), Outcome::Again(Again::AsItWas));
    assert!(send_all(&mut lane, now, ME).is_empty(), "the wait is not over");
    assert_eq!(lane.retry_at(), Some(now + Duration::from_secs(1)));
    assert_eq!(send_all(&mut lane, now + Duration::from_secs(1), ME), first);
}

#[test]
fn a_lost_connection_costs_no_wait_and_changes_nothing() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a"], &["b"]]);
    let first = send_all(&mut lane, now, ME);
    for tag in [0, 1] {
        assert_eq!(lane.answered(tag, Verdict::Unanswered, "", &moment(now)), Outcome::Again(Again::AsItWas));
    }
    assert_eq!(send_all(&mut lane, now, ME), first);
    assert!(matches!(lane.answered(0, Verdict::Appended, "", &moment(now)), Outcome::Acknowledged { .. }));
}

#[test]
fn a_lost_producer_starts_again_at_sequence_0_with_a_new_id() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a"], &["b"], &["c"]]);
    send_all(&mut lane, now, ME);
    lane.answered(0, Verdict::Appended, "", &moment(now));
    assert_eq!(lane.answered(1, Verdict::SequenceGap, "", &moment(now)), Outcome::Again(Again::NewProducer));
    assert_eq!(lane.answered(2, Verdict::ProducerLost, "", &moment(now)), Outcome::Again(Again::AsItWas));
    assert!(lane.wants_identity(Some(ME)) && !lane.is_ready(NODE, now, Some(ME)));
    let other = Identity { id: 8, epoch: 0 };
    assert_eq!(tags(&send_all(&mut lane, now, other)), [(1, 0), (2, 1)]);
}

#[test]
fn a_batch_too_large_is_cut_within_its_sequences() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a", "b", "c"], &["d"]]);
    send_all(&mut lane, now, ME);
    assert_eq!(lane.answered(0, Verdict::TooLarge, "", &moment(now)), Outcome::Again(Again::Cut));
    lane.answered(1, Verdict::SequenceGap, "", &moment(now));
    let sent = send_all(&mut lane, now, ME);
    assert_eq!(tags(&sent), [(0, 0), (1_000, 1), (1, 3)]);
    let values: Vec<String> = sent.iter().flat_map(|(_, _, bytes)| values_of(bytes)).collect();
    assert_eq!(values, ["a", "b", "c", "d"]);
    // The first part stands for nothing, the second for the whole.
    let done = |outcome| if let Outcome::Acknowledged { pieces, .. } = outcome { pieces } else { panic!() };
    assert!(done(lane.answered(0, Verdict::Appended, "", &moment(now))).is_empty());
    assert_eq!(done(lane.answered(1_000, Verdict::Appended, "", &moment(now))), [0]);

    let mut single = lane_of(&[&["only"]]);
    send_all(&mut single, now, ME);
    let rejected = rejected(single.answered(0, Verdict::TooLarge, "large", &moment(now)));
    assert_eq!((rejected.records, rejected.cause), (vec![(PartitionId(0), 10)], Cause::TooLarge));
    assert_eq!((rejected.pieces, rejected.why), (vec![0], "large".to_owned()));
    assert!(single.is_empty());
}

fn rejected(outcome: Outcome) -> Rejected {
    if let Outcome::Rejected(rejected) = outcome { rejected } else { panic!("{outcome:?}") }
}

fn values(sent: &[(u64, i32, Vec<u8>)]) -> Vec<Vec<String>> {
    sent.iter().map(|(_, _, bytes)| values_of(bytes)).collect()
}

#[test]
fn records_that_upstream_names_go_out_of_their_batch() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a", "b", "c", "d"], &["e"]]);
    send_all(&mut lane, now, ME);
    lane.blame(0, vec![3, 1, 3, 99]);
    let out = rejected(lane.answered(0, Verdict::BadRecord, "bad", &moment(now)));
    assert_eq!(out.records, [(PartitionId(0), 11), (PartitionId(0), 13)]);
    assert!(out.pieces.is_empty(), "the rest carries it");
    lane.answered(1, Verdict::SequenceGap, "", &moment(now));
    // Under the old id, a sequence might mean another batch.
    assert!(lane.wants_identity(Some(ME)) && send_all(&mut lane, now, ME).is_empty());
    let sent = send_all(&mut lane, now, Identity { id: 8, epoch: 0 });
    assert_eq!(
        (tags(&sent), values(&sent)),
        (vec![(0, 0), (1, 2)], vec![vec!["a".into(), "c".into()], vec!["e".into()]])
    );
    assert!(
        matches!(lane.answered(0, Verdict::Appended, "", &moment(now)), Outcome::Acknowledged { pieces, .. } if pieces == [0])
    );
}

#[test]
fn records_that_upstream_does_not_name_are_found_by_halves() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a", "b", "X", "c", "d"]]);
    let (mut arrived, mut out, mut id) = (Vec::new(), Vec::new(), 7);
    for round in 0..20 {
        let moment = Moment { spare_tag: 1_000 + round * 10, ..moment(now) };
        for (tag, _, bytes) in send_all(&mut lane, now, Identity { id, epoch: 0 }) {
            let values = values_of(&bytes);
            // A broker takes nothing behind what it has refused.
            let behind = !out.is_empty() && id == 7;
            let verdict = match values.iter().any(|value| value == "X") {
                true => Verdict::BadRecord,
                false if behind => Verdict::SequenceGap,
                false => Verdict::Appended,
            };
            match lane.answered(tag, verdict, "bad", &moment) {
                Outcome::Rejected(rejected) => out.extend(rejected.records),
                Outcome::Acknowledged { .. } => arrived.extend(values),
                _ => {}
            }
        }
        if lane.wants_identity(Some(Identity { id, epoch: 0 })) {
            id += 1;
        }
    }
    assert_eq!((out, lane.is_empty()), (vec![(PartitionId(0), 12)], true));
    arrived.sort();
    assert_eq!(arrived, ["a", "b", "c", "d"]);
}

#[test]
fn pieces_wait_for_what_was_before_the_rejected() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a", "b"]]);
    send_all(&mut lane, now, ME);
    lane.answered(0, Verdict::TooLarge, "", &moment(now));
    let sent = send_all(&mut lane, now, ME);
    assert_eq!(tags(&sent), [(0, 0), (1_000, 1)]);
    let out = rejected(lane.answered(1_000, Verdict::TooLarge, "", &moment(now)));
    assert!(out.pieces.is_empty());
    assert!(
        matches!(lane.answered(0, Verdict::Appended, "", &moment(now)), Outcome::Acknowledged { pieces, .. } if pieces == [0])
    );
}

#[test]
fn only_the_timestamps_that_upstream_names_are_shifted() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a", "b", "c", "d"], &["e"]]);
    send_all(&mut lane, now, ME);
    lane.blame(0, vec![1, 2]);
    assert!(matches!(lane.answered(0, Verdict::BadTimestamp, "", &moment(now)), Outcome::Again(Again::Shifted { .. })));
    lane.answered(1, Verdict::SequenceGap, "", &moment(now));
    let sent = send_all(&mut lane, now, ME);
    assert_eq!(tags(&sent), [(0, 0), (1_000, 1), (1_001, 3), (1, 4)]);
    let newest: Vec<i64> =
        sent.iter().map(|(_, _, bytes)| BatchView::parse(bytes).unwrap().0.max_timestamp()).collect();
    assert_eq!(newest, [0, 1_000_000_000_000, 3, 0]);
    let pieces = |outcome| if let Outcome::Acknowledged { pieces, .. } = outcome { pieces } else { panic!() };
    let done: Vec<Vec<PieceId>> =
        [0, 1_000, 1_001].map(|tag| pieces(lane.answered(tag, Verdict::Appended, "", &moment(now)))).to_vec();
    assert_eq!(done, [vec![], vec![], vec![0]]);
}

#[test]
fn refused_timestamps_move_to_now_and_then_back() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a", "b"]]);
    let mut newest = Vec::new();
    for _ in 0..4 {
        let sent = send_all(&mut lane, now, ME);
        let (view, _) = BatchView::parse(&sent[0].2).unwrap();
        assert_eq!((view.max_timestamp() - view.base_timestamp(), view.base_sequence()), (1, 0));
        newest.push(view.max_timestamp());
        let outcome = lane.answered(0, Verdict::BadTimestamp, "", &moment(now));
        assert!(matches!(outcome, Outcome::Again(Again::Shifted { .. })));
    }
    let wall = 1_000_000_000_000;
    assert_eq!(newest, [1, wall, wall - HOUR_MS, wall - 2 * HOUR_MS]);
    // No shift helps: each record is found, and rejected.
    let (mut out, mut identity) = (Vec::new(), ME);
    for round in 0..200 {
        let moment = Moment { spare_tag: 1_000 + round * 10, ..moment(now) };
        if lane.wants_identity(Some(identity)) {
            identity.id += 1;
        }
        for (tag, ..) in send_all(&mut lane, now, identity) {
            if let Outcome::Rejected(rejected) = lane.answered(tag, Verdict::BadTimestamp, "late", &moment) {
                assert_eq!(rejected.cause, Cause::Timestamp);
                out.extend(rejected.records);
            }
        }
    }
    assert_eq!((out, lane.is_empty()), (vec![(PartitionId(0), 10), (PartitionId(0), 11)], true));
}

#[test]
fn patience_ends_and_what_is_dropped_is_waited_for() {
    let now = Instant::now();
    let mut lane = lane_of(&[&["a"], &["b"]]);
    send_all(&mut lane, now, ME);
    assert!(matches!(lane.answered(0, Verdict::Retry, "x", &moment(now)), Outcome::Again(_)));
    let late = moment(now + PATIENCE);
    assert_eq!(lane.answered(0, Verdict::Retry, "x", &late), Outcome::Stalled("x".into()));
    assert_eq!(lane.abandon(), [0, 1]);
    assert!(lane.bytes() < 2 * ENTRY_BYTES && !lane.is_empty());
    assert_eq!(lane.answered(1, Verdict::Appended, "", &late), Outcome::Stray);
    assert!(lane.is_empty());
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(sequence_after(i32::MAX - 1, 5), 3);
}
