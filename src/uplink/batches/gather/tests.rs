use super::super::recode::tests::{batch_of, values_of};
use super::*;

const RULES: Rules = Rules { compression: Compression::None, min_bytes: 200, max_bytes: 1_000 };

fn item(partition: u32, batch: &[u8], route: Route) -> Item<'_> {
    let (view, _) = BatchView::parse(batch).unwrap();
    Item {
        partition: PartitionId(partition),
        topic: "up".into(),
        route,
        batch,
        wanted: std::iter::once(view.base_offset()..view.next_offset()).collect(),
        estimated: false,
        upstream_bytes_max: 100_000,
    }
}

fn values(gathered: &Gathered) -> Vec<(i32, Vec<String>)> {
    gathered.ready.iter().map(|ready| (ready.lane.1, values_of(&ready.bytes))).collect()
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
        let gathered = gather(batches.iter().map(|batch| item(1, batch, Route::One(4))).collect(), RULES);
        let ready: Vec<_> = gathered.ready.iter().map(|ready| ready.bytes.clone()).collect();
        assert_eq!(ready, batches);
        assert_eq!(gathered.pieces, [piece(1, 0..2), piece(1, 2..3)]);
    }
}

#[test]
fn records_whose_time_is_estimated_say_so() {
    let batch = batch_of(&["a", "b", &"x".repeat(500)], 7, Compression::Lz4);
    for route in [Route::One(0), Route::ByKey { partitions: 3, keyless: 0 }] {
        let gathered = gather(vec![Item { estimated: true, ..item(1, &batch, route) }], RULES);
        let mut seen = 0;
        for ready in &gathered.ready {
            let (view, _) = BatchView::parse(&ready.bytes).unwrap();
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
    let gathered = gather(items.collect(), RULES);
    let long = "x".repeat(300);
    let expected = [vec!["a", "b"], vec![&long], vec!["c", "z", "d"]];
    assert_eq!(values(&gathered).into_iter().map(|(_, values)| values).collect::<Vec<_>>(), expected);
    assert_eq!(gathered.pieces, [piece(1, 0..2), piece(1, 2..3), piece(1, 3..5), piece(2, 9..10)]);
    assert_eq!(gathered.ready[2].pieces, [2, 3]);
}

#[test]
fn merged_ones_end_at_their_size() {
    let batches: Vec<_> = (0..40).map(|i| batch_of(&[&format!("{i:0>60}")], i, Compression::None)).collect();
    let gathered = gather(batches.iter().map(|batch| item(1, batch, Route::One(0))).collect(), RULES);
    assert!(gathered.ready.len() > 3);
    assert!(gathered.ready.iter().all(|ready| ready.bytes.len() < 1_300), "one more small one at most");
    assert_eq!(gathered.ready.iter().map(|ready| ready.records).sum::<u32>(), 40);
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
        let gathered = gather(items, RULES);
        let mut forwarded: Vec<String> = values(&gathered).into_iter().flat_map(|(_, values)| values).collect();
        forwarded.sort();
        assert_eq!(forwarded, ["good", "other"]);
        let fault = gathered.faults[&PartitionId(1)];
        assert!(matches!(fault, Fault::Damaged { offset: 1, error: BatchError::Crc { .. } }), "{fault}");
        assert!(gathered.pieces.iter().all(|piece| piece.range == (0..1)));
    }
}

#[test]
fn what_is_done_already_is_left_out() {
    let batch = batch_of(&["a", "b", "c", "d"], 10, Compression::Snappy);
    let mut partly = item(1, &batch, Route::One(0));
    partly.wanted = vec![11..12, 13..14];
    let gathered = gather(vec![partly], RULES);
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
    let gathered = gather(batches.iter().map(|batch| item(1, batch, route)).collect(), RULES);
    assert_eq!(gathered.pieces, [piece(1, 0..30)]);
    let got = values(&gathered);
    assert_eq!(got.len(), 3);
    for (partition, values) in got {
        let expected: Vec<&String> =
            names.iter().filter(|name| route.partition_for(Some(name.as_bytes())) == partition).collect();
        assert_eq!(values.iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_upstream_would_refuse_for_its_size_is_cut_or_told() {
    let values: Vec<String> = (0..10).map(|i| format!("{i}{}", "y".repeat(100))).collect();
    let refs: Vec<&str> = values.iter().map(String::as_str).collect();
    let batch = batch_of(&refs, 5, Compression::None);
    let mut large = item(1, &batch, Route::One(0));
    large.upstream_bytes_max = 800;
    let gathered = gather(vec![large], RULES);
    assert!(gathered.ready.len() > 1 && gathered.ready.iter().all(|ready| ready.bytes.len() <= 800));
    let carrying: Vec<_> = gathered.ready.iter().map(|ready| ready.pieces.len()).collect();
    assert_eq!(carrying.iter().sum::<usize>(), 1);
    assert_eq!(carrying.last(), Some(&1));

    let single = batch_of(&[&"z".repeat(900)], 5, Compression::None);
    for route in [Route::One(0), Route::ByKey { partitions: 2, keyless: 0 }] {
        let mut large = item(1, &single, route);
        large.upstream_bytes_max = 800;
        let gathered = gather(vec![large], RULES);
        assert!(gathered.ready.is_empty() && gathered.pieces.iter().all(|piece| piece.range.is_empty()));
        assert!(gathered.faults[&PartitionId(1)].to_string().contains("offset 5"));
    }
}
