use super::*;
use crate::record::NO_HEADERS;

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

fn rules() -> Rules {
    Rules { gateway: "gw-1".to_owned(), batch_bytes_max: 1 << 20, codec: None }
}

/// A batch of these values as it lies upstream: with offsets, leader epoch 7, and its producer.
fn stored(base: i64, producer: i64, values: &[&str], headers: &[Header<'_>], codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for (at, value) in values.iter().enumerate() {
        let headers = headers.iter().copied();
        builder.push(1_000 + at as i64, Some(b"k"), Some(value.as_bytes()), headers).unwrap();
    }
    let mut batch = builder.finish_with(codec, Producer { id: producer, epoch: 0, base_sequence: 5 });
    if producer >= 0 {
        header::rewrite_for_forward(&mut batch, Producer { id: producer, epoch: 0, base_sequence: 5 }, true).unwrap();
    }
    header::set_base_offset(&mut batch, base);
    header::set_leader_epoch(&mut batch, 7);
    batch
}

/// A marker at `offset`: control batch of one record, whose key says commit (1) or abort (0).
fn marker(offset: i64, producer: i64, kind: u8) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(1, Some(&[0, 0, 0, kind]), Some(&[0; 6]), NO_HEADERS).unwrap();
    let mut batch = builder.finish_with(Compression::None, Producer { id: producer, epoch: 0, base_sequence: -1 });
    batch[22] |= 0x30;
    reseal(&mut batch);
    header::set_base_offset(&mut batch, offset);
    header::set_leader_epoch(&mut batch, 7);
    batch
}

fn reseal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn whole(batches: &[u8]) -> Fetched<'_> {
    Fetched { batches, aborted: &[], stable_end: None }
}

fn batches(digested: &Digested) -> Vec<Vec<u8>> {
    digested.pieces.iter().flat_map(|piece| piece.batches.clone()).collect()
}

fn count(digested: &Digested) -> u64 {
    digested.pieces.iter().map(|piece| piece.records).sum()
}

fn values(digested: &Digested) -> Vec<String> {
    batches(digested).iter().flat_map(|batch| recode::tests::values_of(batch)).collect()
}

#[test]
fn a_compressed_batch_keeps_its_payload_and_loses_its_producer() {
    let text = "the same words again and again ".repeat(20);
    for codec in Compression::ALL {
        let batch = stored(40, 9, &[&text, &text], &[], codec);
        let digested = digest(whole(&batch), 40, -1, &rules());
        assert_eq!((digested.next_offset, digested.leader_epoch, count(&digested)), (42, 7, 2));
        let (before, _) = BatchView::parse(&batch).unwrap();
        let out = batches(&digested);
        let (after, _) = BatchView::parse(&out[0]).unwrap();
        assert_eq!(after.payload(), before.payload(), "{codec}");
        assert_eq!(after.attributes().0, codec as i16, "{codec}");
        assert_eq!((after.producer_id(), after.producer_epoch(), after.base_sequence()), (-1, -1, -1));
        assert!(after.crc_matches());
    }
}

#[test]
fn aborted_records_and_markers_never_come_out() {
    let log = [
        stored(0, 1, &["a0", "a1"], &[], Compression::None),
        stored(2, 2, &["b2"], &[], Compression::Lz4),
        marker(3, 1, 0),
        stored(4, 1, &["a4"], &[], Compression::None),
        stored(5, -1, &["plain"], &[], Compression::None),
        marker(6, 2, 1),
        marker(7, 1, 1),
    ]
    .concat();
    let fetched = Fetched { aborted: &[(1, 0)], ..whole(&log) };
    let digested = digest(fetched, 0, -1, &rules());
    assert_eq!(values(&digested), ["b2", "a4", "plain"]);
    assert_eq!((digested.next_offset, digested.aborted, digested.fault), (8, 2, None));
}

#[test]
fn nothing_comes_from_the_last_stable_offset_on() {
    let log = [stored(0, -1, &["a"], &[], Compression::None), stored(1, 3, &["open"], &[], Compression::None)].concat();
    let digested = digest(Fetched { stable_end: Some(1), ..whole(&log) }, 0, -1, &rules());
    assert_eq!((values(&digested), digested.next_offset), (vec!["a".to_owned()], 1));
}

#[test]
fn what_passed_this_gateway_does_not_come_in_again() {
    let mine: [Header<'_>; 1] = [(b"brooklet.gateway", Some(b"gw-1"))];
    let other: [Header<'_>; 2] = [(b"brooklet.gateway", Some(b"gw-12")), (b"x", Some(b"gw-1"))];
    let log = [
        stored(0, -1, &["mine"], &mine, Compression::None),
        stored(1, -1, &["theirs"], &other, Compression::Gzip),
        stored(2, -1, &["mine", "mine"], &mine, Compression::Zstd),
    ]
    .concat();
    let digested = digest(whole(&log), 0, -1, &rules());
    assert_eq!((values(&digested), digested.looped, digested.next_offset), (vec!["theirs".to_owned()], 3, 4));
}

#[test]
fn a_fetch_from_inside_a_batch_brings_what_is_wanted_of_it() {
    let log = stored(10, -1, &["10", "11", "12"], &[], Compression::Snappy);
    let digested = digest(whole(&log), 11, -1, &rules());
    assert_eq!((values(&digested), digested.next_offset), (vec!["11".to_owned(), "12".to_owned()], 13));
    let behind = digest(whole(&log), 13, 4, &rules());
    assert_eq!((behind.pieces.len(), behind.next_offset), (0, 13));
}

#[test]
fn batches_that_compaction_thinned_are_whole_again() {
    let mut thinned = stored(20, 4, &["20", "21"], &[], Compression::None);
    // Two records, of which the last has delta 5: what lay in between is gone.
    thinned[23..27].copy_from_slice(&5_i32.to_be_bytes());
    reseal(&mut thinned);
    let mut empty = stored(26, 4, &["x"], &[], Compression::None);
    empty.truncate(61);
    empty[8..12].copy_from_slice(&49_i32.to_be_bytes());
    empty[57..61].copy_from_slice(&0_i32.to_be_bytes());
    reseal(&mut empty);
    let log = [thinned, empty].concat();
    let digested = digest(whole(&log), 20, -1, &rules());
    assert_eq!((values(&digested), digested.next_offset), (vec!["20".to_owned(), "21".to_owned()], 27));
    let out = batches(&digested);
    let (view, _) = BatchView::parse(&out[0]).unwrap();
    crate::record::verify(&view, &limits()).unwrap();
}

#[test]
fn the_brokers_time_becomes_each_records_own() {
    let mut batch = stored(0, -1, &["a", "b"], &[], Compression::None);
    header::set_log_append_time(&mut batch, 77_000);
    let digested = digest(whole(&batch), 0, -1, &rules());
    let out = batches(&digested);
    let (view, _) = BatchView::parse(&out[0]).unwrap();
    let times: Vec<i64> = records(&view, view.payload()).map(|record| record.unwrap().timestamp).collect();
    assert_eq!((times, view.attributes().timestamp_type()), (vec![77_000, 77_000], TimestampType::CreateTime));
}

#[test]
fn damage_ends_it_before_the_batch_and_is_told() {
    let good = stored(0, -1, &["a"], &[], Compression::None);
    let mut bad = stored(1, -1, &["b"], &[], Compression::None);
    *bad.last_mut().unwrap() ^= 1;
    let log = [good.clone(), bad].concat();
    let digested = digest(whole(&log), 0, -1, &rules());
    assert_eq!((values(&digested), digested.next_offset), (vec!["a".to_owned()], 1));
    assert!(digested.fault.unwrap().why.contains("the batch at offset 1"));
    // Cut off behind a whole one is how answers end; alone it is no batch.
    let cut = [good.as_slice(), &good[..30]].concat();
    assert_eq!(digest(whole(&cut), 0, -1, &rules()).fault, None);
    assert!(digest(whole(&good[..30]), 0, -1, &rules()).fault.is_some());
}

#[test]
fn what_is_too_large_for_the_local_topic_is_cut_by_record() {
    let text = "x".repeat(300);
    let log = stored(0, -1, &[&text, &text, &text], &[], Compression::None);
    let small = Rules { batch_bytes_max: 500, ..rules() };
    let digested = digest(whole(&log), 0, -1, &small);
    assert_eq!((batches(&digested).len(), count(&digested)), (3, 3));
    let digested = digest(whole(&log), 0, -1, &Rules { batch_bytes_max: 200, ..rules() });
    assert!(digested.pieces.is_empty() && digested.next_offset == 0);
    assert!(digested.fault.unwrap().why.contains("max.message.bytes"));
}

#[test]
fn a_topic_kept_in_one_codec_gets_it() {
    let text = "the same words again and again ".repeat(20);
    let log = stored(0, -1, &[&text], &[], Compression::None);
    let digested = digest(whole(&log), 0, -1, &Rules { codec: Some(Compression::Gzip), ..rules() });
    let out = batches(&digested);
    let (view, _) = BatchView::parse(&out[0]).unwrap();
    assert_eq!((view.attributes().compression(), values(&digested)), (Ok(Compression::Gzip), vec![text]));
}

proptest::proptest! {
    #[test]
    fn no_answer_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), at in 0_i64..9) {
        let mut log = stored(0, 1, &["a", "b"], &[], Compression::Lz4);
        log.extend(marker(2, 1, 0));
        for (at, byte) in bytes.iter().enumerate().filter(|(at, _)| at % 7 == 0) {
            if let Some(target) = log.get_mut(at * 3) {
                *target ^= byte & 1;
            }
        }
        let digested = digest(Fetched { aborted: &[(1, 0)], ..whole(&log) }, at, -1, &rules());
        proptest::prop_assert!(digested.next_offset >= at);
        let _ = digest(whole(&bytes), at, -1, &rules());
    }
}
