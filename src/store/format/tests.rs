use proptest::prelude::*;

use super::*;

fn header(seq: CommitSeq) -> CommitHeader {
    let stamp = Stamp { mono_ms: 77, wall_ms: -5, wall_trusted: true };
    CommitHeader { seq, epoch_ordinal: 3, epoch_id: 0x0102_0304_0506_0708, stamp }
}

fn made(stamps: Stamps) -> Made {
    Made { stamps, gathered: stamps != Stamps::Producer }
}

/// A stream of batches of these lengths; the store doesn't look into them here.
pub(in crate::store) fn stream(lengths: &[usize], room: Room) -> (Stream, Vec<(usize, usize)>) {
    let mut writer = StreamWriter::new(header(9), 0);
    let places = lengths
        .iter()
        .map(|&n| writer.batch(PartitionId(n as u32), made(Stamps::Producer), &vec![n as u8; n]))
        .collect();
    (writer.finish(room), places)
}

#[test]
fn a_stream_is_laid_out_as_documented() {
    let mut writer = StreamWriter::new(header(9), 0);
    writer.partition_created(PartitionId(0x0a0b_0c0d));
    writer.put(Space::Cursor, b"k", b"value");
    let bytes = writer.finish(Room::default()).bytes;
    assert_eq!(bytes.len(), 60 + 28 + 28 + 2 + 1 + 5);
    assert_eq!(
        bytes[4..32],
        [&[32, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 77][..], &[0; 7], &[9, 0, 0, 0]].concat()
    );
    assert_eq!(
        bytes[32..60],
        [&[0; 4][..], &[8, 7, 6, 5, 4, 3, 2, 1, 0xfb], &[0xff; 7], &[2, 0, 0, 0, 124, 0, 0, 0]].concat()
    );
    assert_eq!(bytes[64..76], [0, 0, 0, 0, 4, 0, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a]);
    assert_eq!(bytes[92..100], [8, 0, 0, 0, 2, 0, 3, 0]);
    assert_eq!(&bytes[116..], b"\x01\0kvalue");
    assert_eq!(u32_at(&bytes, 0), crc32c::crc32c(&bytes[4..60]));
}

#[test]
fn entries_come_back_as_they_went_in() {
    let mut writer = StreamWriter::new(header(9), 0);
    let p = PartitionId(5);
    writer.partition_created(p);
    let place = writer.batch(p, made(Stamps::Provisional), b"batch");
    writer.put(Space::Group, b"key", b"");
    writer.delete(Space::User, b"gone");
    let removal = |partition, log_start, records, bytes| Removal {
        partition: PartitionId(partition),
        log_start,
        what: Removed { records, bytes },
    };
    let removed = [removal(0, 7, 7, 300), removal(5, 1 << 40, 0, u64::MAX), removal(u32::MAX, 0, 1, 1)];
    writer.removed(LossReason::Expired, &removed);
    writer.partition_dropped(p);
    let stream = writer.finish(Room::default());
    let (read, entries) = parse_stream(&stream.bytes).unwrap();
    assert_eq!(read, header(9));
    let entries: Vec<_> = entries.map(Result::unwrap).collect();
    assert_eq!((entries[1].position, entries[1].bytes), place);
    let expected = [
        Entry::PartitionCreated(p),
        Entry::Batch { partition: p, made: made(Stamps::Provisional), epoch: 3, bytes: b"batch" },
        Entry::Put { space: Space::Group, key: b"key", value: b"" },
        Entry::Delete { space: Space::User, key: b"gone" },
        entries[4].entry,
        Entry::PartitionDropped(p),
    ];
    assert_eq!(entries.iter().map(|placed| placed.entry).collect::<Vec<_>>(), expected);
    let Entry::Removed { reason: LossReason::Expired, rows } = entries[4].entry else { panic!() };
    assert_eq!(removals(rows).map(Result::unwrap).collect::<Vec<_>>(), removed);
    assert!(removals(&rows[..rows.len() - 1]).any(|removal| removal.is_err()));
    let batch = &stream.bytes[place.0..place.0 + place.1];
    assert_eq!(parse_batch_entry(batch, p), Ok(&b"batch"[..]));
    assert!(parse_batch_entry(batch, PartitionId(6)).is_err());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (stream, _) = stream(&[3, 40], Room::default());
    for bit in 0..stream.bytes.len() * 8 {
        let mut bytes = stream.bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let read = parse_stream(&bytes).map(|(_, entries)| entries.collect::<Result<Vec<_>, _>>());
        assert!(!matches!(read, Ok(Ok(_))), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok((_, entries)) = parse_stream(&bytes) {
            let _ = entries.count();
        }
        let _ = removals(&bytes).count();
    }
}
