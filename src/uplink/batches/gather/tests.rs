use std::sync::LazyLock;

use super::super::provenance::tests::provenance;
use super::super::recode::tests::{batch_of, values_of};
use super::*;
use crate::config::ProvenanceMode;

static NOTHING_TOLD: LazyLock<Provenance> = LazyLock::new(|| provenance(ProvenanceMode::Never));
const TAKES: Takes = Takes { bytes_max: 100_000, told: true, keyed_only: false };

fn gather_by(provenance: &Provenance, items: Vec<Item<'_>>) -> Gathered {
    gather(
        items,
        Rules { compression: Compression::None, saves: Saving::Bytes, min_bytes: 200, max_bytes: 1_000, provenance },
    )
}

fn gathered_of(items: Vec<Item<'_>>) -> Gathered {
    gather_by(&NOTHING_TOLD, items)
}

fn item(partition: u32, batch: &[u8], route: Route) -> Item<'_> {
    let (view, _) = BatchView::parse(batch).unwrap();
    Item {
        partition: PartitionId(partition),
        topic: "up".into(),
        route,
        batch,
        wanted: std::iter::once(view.base_offset()..view.next_offset()).collect(),
        estimated: false,
        source: Source::Client,
        takes: TAKES,
        condemned: Vec::new(),
    }
}

fn values(gathered: &Gathered) -> Vec<(i32, Vec<String>)> {
    gathered.ready.iter().map(|ready| (ready.lane.1, values_of(&ready.batch.bytes))).collect()
}

fn piece(partition: u32, range: Range<i64>) -> PieceSpec {
    PieceSpec { partition: PartitionId(partition), range, first_timestamp: 0 }
}

#[test]
fn large_ones_and_lone_ones_stay_byte_for_byte() {
    let large = "x".repeat(300);
    for compression in [Compression::None, Compression::Zstd, Compression::Gzip] {
        let noise: String =
            (0..400u32).map(|i| char::from(b'0' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 70)).collect();
        let batches = [batch_of(&[&large, &noise], 0, compression), batch_of(&["lone"], 2, compression)];
        let gathered = gathered_of(batches.iter().map(|batch| item(1, batch, Route::One(4))).collect());
        let ready: Vec<_> = gathered.ready.iter().map(|ready| ready.batch.bytes.clone()).collect();
        assert_eq!(ready, batches);
        assert_eq!(gathered.pieces, [piece(1, 0..2), piece(1, 2..3)]);
    }
}

#[test]
fn records_whose_time_is_estimated_say_so() {
    let batch = batch_of(&["a", "b", &"x".repeat(500)], 7, Compression::Lz4);
    for route in [Route::One(0), Route::ByKey { partitions: 3, keyless: 0 }] {
        let gathered = gathered_of(vec![Item { estimated: true, ..item(1, &batch, route) }]);
        let mut seen = 0;
        for ready in &gathered.ready {
            let (view, _) = BatchView::parse(&ready.batch.bytes).unwrap();
            let payload = decompress(&view, &recode::stored_limits()).unwrap();
            for record in records(&view, &payload).map(Result::unwrap) {
                let headers: Vec<_> = record.headers.collect();
                assert_eq!(headers, [(&b"brooklet.time"[..], Some(&b"estimated"[..]))]);
                seen += 1;
            }
        }
        assert_eq!((seen, gathered.pieces), (3, vec![piece(1, 7..10)]));
    }
}

#[test]
fn small_ones_are_merged_in_order_around_large_ones() {
    let large = batch_of(&[&"x".repeat(300)], 2, Compression::None);
    let small: Vec<_> = [("a", 0), ("b", 1), ("c", 3), ("d", 4)]
        .map(|(value, offset)| batch_of(&[value], offset, Compression::Lz4))
        .to_vec();
    let other = batch_of(&["z"], 9, Compression::None);
    let order = [&small[0], &small[1], &large, &small[2], &other, &small[3]];
    let items = order.iter().enumerate().map(|(at, batch)| item(if at == 4 { 2 } else { 1 }, batch, Route::One(0)));
    let gathered = gathered_of(items.collect());
    let long = "x".repeat(300);
    let expected = [vec!["a", "b"], vec![&long], vec!["c", "z", "d"]];
    assert_eq!(values(&gathered).into_iter().map(|(_, values)| values).collect::<Vec<_>>(), expected);
    assert_eq!(gathered.pieces, [piece(1, 0..2), piece(1, 2..3), piece(1, 3..5), piece(2, 9..10)]);
    assert_eq!(gathered.ready[2].pieces, [2, 3]);
}

#[test]
fn merged_ones_end_at_their_size() {
    let batches: Vec<_> = (0..40).map(|i| batch_of(&[&format!("{i:0>60}")], i, Compression::None)).collect();
    let gathered = gathered_of(batches.iter().map(|batch| item(1, batch, Route::One(0))).collect());
    assert!(gathered.ready.len() > 3);
    assert!(gathered.ready.iter().all(|ready| ready.batch.bytes.len() < 1_300), "one more small one at most");
    assert_eq!(gathered.ready.iter().map(|ready| ready.batch.records).sum::<u32>(), 40);
}

#[test]
fn a_damaged_batch_ends_its_partition_only() {
    let mut damaged = batch_of(&["bad"], 1, Compression::None);
    *damaged.last_mut().unwrap() ^= 1;
    let (good, after, other) = (
        batch_of(&["good"], 0, Compression::None),
        batch_of(&["after"], 2, Compression::None),
        batch_of(&["other"], 0, Compression::None),
    );
    for route in [Route::One(0), Route::ByKey { partitions: 3, keyless: 0 }] {
        let items =
            vec![item(1, &good, route), item(1, &damaged, route), item(2, &other, route), item(1, &after, route)];
        let gathered = gathered_of(items);
        let mut forwarded: Vec<String> = values(&gathered).into_iter().flat_map(|(_, values)| values).collect();
        forwarded.sort();
        assert_eq!(forwarded, ["good", "other"]);
        let fault = gathered.faults[&PartitionId(1)];
        assert!(matches!(fault, Fault { offset: 1, error: BatchError::Crc { .. } }), "{fault}");
        assert!(gathered.pieces.iter().all(|piece| piece.range == (0..1)));
    }
}

#[test]
fn what_is_done_already_is_left_out() {
    let batch = batch_of(&["a", "b", "c", "d"], 10, Compression::Snappy);
    let mut partly = item(1, &batch, Route::One(0));
    partly.wanted = vec![11..12, 13..14];
    let gathered = gathered_of(vec![partly]);
    assert_eq!(values(&gathered), [(0, vec!["b".to_owned(), "d".to_owned()])]);
    assert_eq!(gathered.pieces, [piece(1, 11..14)]);
}

#[test]
fn keys_are_dealt_out_and_a_piece_is_one_however_many_batches_carry_it() {
    let route = Route::ByKey { partitions: 3, keyless: 0 };
    let names: Vec<String> = (0..30).map(|i| format!("k{i}")).collect();
    let batches: Vec<_> = names
        .chunks(10)
        .enumerate()
        .map(|(at, chunk)| {
            let refs: Vec<&str> = chunk.iter().map(String::as_str).collect();
            batch_of(&refs, at as i64 * 10, Compression::Gzip)
        })
        .collect();
    let gathered = gathered_of(batches.iter().map(|batch| item(1, batch, route)).collect());
    assert_eq!(gathered.pieces, [piece(1, 0..30)]);
    let got = values(&gathered);
    assert_eq!(got.len(), 3);
    for (partition, values) in got {
        let expected: Vec<&String> =
            names.iter().filter(|name| route.partition_for(Some(name.as_bytes())) == partition).collect();
        assert_eq!(values.iter().collect::<Vec<_>>(), expected);
    }
}

fn letters(gathered: &Gathered) -> Vec<(i64, Cause)> {
    gathered.letters.iter().map(|letter| (letter.offset, letter.cause)).collect()
}

/// Each record that is sent, by value, with where it lay.
fn origins(gathered: &Gathered) -> Vec<(String, i64)> {
    let of = |ready: &Ready| {
        let values = values_of(&ready.batch.bytes);
        let offsets: Vec<i64> = ready.batch.origins.iter().map(|(_, offset)| offset).collect();
        assert_eq!((values.len(), offsets.len()), (ready.batch.records as usize, ready.batch.records as usize));
        values.into_iter().zip(offsets).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = gathered.ready.iter().flat_map(of).collect();
    all.sort_by_key(|(_, offset)| *offset);
    all
}

const ROUTES: [Route; 2] = [Route::One(0), Route::ByKey { partitions: 3, keyless: 0 }];

#[test]
fn what_upstream_would_refuse_for_its_size_is_cut() {
    let values: Vec<String> = (0..10).map(|i| format!("{i}{}", "y".repeat(100))).collect();
    let refs: Vec<&str> = values.iter().map(String::as_str).collect();
    let batch = batch_of(&refs, 5, Compression::None);
    let mut large = item(1, &batch, Route::One(0));
    large.takes.bytes_max = 800;
    let gathered = gathered_of(vec![large]);
    assert!(gathered.ready.len() > 1 && gathered.ready.iter().all(|ready| ready.batch.bytes.len() <= 800));
    let carrying: Vec<_> = gathered.ready.iter().map(|ready| ready.pieces.len()).collect();
    assert_eq!(carrying.iter().sum::<usize>(), 1);
    assert_eq!(carrying.last(), Some(&1));
    assert_eq!(origins(&gathered), values.into_iter().zip(5..).collect::<Vec<_>>());
}

#[test]
fn records_too_large_for_upstream_are_letters_and_the_others_go() {
    let mut noise = fastrand::Rng::with_seed(1);
    let long: String = (0..900).map(|_| noise.alphanumeric()).collect();
    let batches = [batch_of(&["a", &long, "b"], 5, Compression::Lz4), batch_of(&["c"], 8, Compression::None)];
    for route in ROUTES {
        for source in [Source::Client, Source::Native] {
            let items = batches.iter().map(|batch| {
                let mut item = Item { source, ..item(1, batch, route) };
                item.takes.bytes_max = 800;
                item
            });
            let gathered = gathered_of(items.collect());
            assert_eq!(letters(&gathered), [(6, Cause::TooLarge)]);
            assert!(gathered.letters[0].error.contains("800") && gathered.letters[0].bytes > 900);
            assert_eq!(origins(&gathered), [("a".into(), 5), ("b".into(), 7), ("c".into(), 8)]);
            assert!(gathered.faults.is_empty() && gathered.pieces.last().unwrap().range.end == 9);
        }
        // What is only Kafka's default is no reason.
        let mut untold = item(1, &batches[0], route);
        untold.takes = Takes { bytes_max: 800, told: false, keyed_only: false };
        let gathered = gathered_of(vec![untold]);
        assert_eq!((gathered.letters.len(), origins(&gathered).len()), (0, 3));
    }
}

#[test]
fn a_compacted_topic_gets_only_records_with_keys() {
    let mut builder = BatchBuilder::new();
    for (key, value) in [(Some("k"), "a"), (None, "b"), (Some("l"), "c")] {
        builder.push(1, key.map(str::as_bytes), Some(value.as_bytes()), crate::record::NO_HEADERS).unwrap();
    }
    let batch = builder.finish(Compression::None);
    let keyed = batch_of(&[&"x".repeat(300)], 3, Compression::None);
    for route in ROUTES {
        let items = [&batch, &keyed].map(|batch| {
            let mut item = item(1, batch, route);
            item.takes.keyed_only = true;
            item
        });
        let gathered = gathered_of(items.to_vec());
        assert_eq!(letters(&gathered), [(1, Cause::NoKey)]);
        assert_eq!(origins(&gathered).iter().map(|(_, offset)| *offset).collect::<Vec<_>>(), [0, 2, 3]);
        if route == Route::One(0) {
            assert_eq!(gathered.ready.last().unwrap().batch.bytes, keyed, "with keys it stays as it is");
        }
    }
}

#[test]
fn condemned_records_are_letters() {
    let batch = batch_of(&["a", "b", "c"], 5, Compression::None);
    let letter = Letter {
        partition: PartitionId(1),
        offset: 6,
        bytes: 1,
        upstream: "up".into(),
        cause: Cause::Invalid,
        error: "no".into(),
    };
    for route in ROUTES {
        let gathered = gathered_of(vec![Item { condemned: vec![letter.clone()], ..item(1, &batch, route) }]);
        assert_eq!(gathered.letters, std::slice::from_ref(&letter));
        assert_eq!(origins(&gathered), [("a".into(), 5), ("c".into(), 7)]);
        assert_eq!(gathered.pieces, [piece(1, 5..8)]);
    }
}

#[test]
fn letters_behind_damage_are_not_written_yet() {
    let mut damaged = batch_of(&["bad"], 7, Compression::None);
    *damaged.last_mut().unwrap() ^= 1;
    let batch = batch_of(&["a", "b"], 5, Compression::None);
    let letter = |offset| Letter {
        partition: PartitionId(1),
        offset,
        bytes: 1,
        upstream: "up".into(),
        cause: Cause::Invalid,
        error: "no".into(),
    };
    let first = Item { condemned: vec![letter(6), letter(7)], ..item(1, &batch, Route::One(0)) };
    let gathered = gathered_of(vec![first, item(1, &damaged, Route::One(0))]);
    assert_eq!((letters(&gathered), gathered.pieces.as_slice()), (vec![(6, Cause::Invalid)], &[piece(1, 5..7)][..]));
}

#[test]
fn what_is_built_here_says_where_it_comes_from() {
    let built = provenance(ProvenanceMode::Built);
    let large = "x".repeat(300);
    let batch = batch_of(&["dev-1", &large], 5, Compression::Lz4);
    let origin = |offset| format!("{}/1/{offset}", "ab".repeat(16));
    for route in ROUTES {
        let gathered = gather_by(&built, vec![Item { source: Source::Native, ..item(1, &batch, route) }]);
        let mut told = Vec::new();
        for ready in &gathered.ready {
            let (view, _) = BatchView::parse(&ready.batch.bytes).unwrap();
            let payload = decompress(&view, &recode::stored_limits()).unwrap();
            for record in records(&view, &payload).map(Result::unwrap) {
                let headers: Vec<String> =
                    record.headers.map(|(_, value)| String::from_utf8(value.unwrap().to_vec()).unwrap()).collect();
                told.push(headers);
            }
        }
        told.sort_by_key(|headers| headers[2].clone());
        assert_eq!(told[0], ["gw", "dev-1", &origin(5), "berlin"]);
        assert_eq!(told[1], ["gw", &large, &origin(6), "berlin"]);
    }
    let as_it_came = gather_by(&built, vec![item(1, &batch, Route::One(0))]);
    assert_eq!(as_it_came.ready[0].batch.bytes, batch);
    let always = provenance(ProvenanceMode::Always);
    let rebuilt = gather_by(&always, vec![item(1, &batch, Route::One(0))]);
    assert_ne!(rebuilt.ready[0].batch.bytes, batch);
    assert_eq!(origins(&rebuilt), [("dev-1".into(), 5), (large, 6)]);
}

#[test]
fn timestamps_too_far_apart_part_company() {
    let mut builder = BatchBuilder::new();
    builder.push(i64::MAX, Some(b"far"), Some(b"far"), crate::record::NO_HEADERS).unwrap();
    let far = builder.finish(Compression::None);
    let mut builder = BatchBuilder::new();
    builder.push(-5, Some(b"early"), Some(b"early"), crate::record::NO_HEADERS).unwrap();
    let mut early = builder.finish(Compression::None);
    crate::record::header::set_base_offset(&mut early, 1);
    let gathered = gathered_of(vec![item(1, &far, Route::One(0)), item(1, &early, Route::One(0))]);
    assert!(gathered.faults.is_empty());
    assert_eq!(origins(&gathered), [("far".into(), 0), ("early".into(), 1)]);
    assert_eq!(gathered.ready.len(), 2);
}
