//! A commit's stream cut into chunks that fill redb's pages.
//!
//! redb puts a value of up to a page (4 KiB, less the page's own header and the key) into a shared leaf, and gives a
//! larger one 4 KiB·2^k of its own. So a chunk is 65,472, 16,320 or 4,032 bytes: the largest of which the rest of the entry
//! at the chunk's start fills half, and the commit all; it runs on into the entries behind it. So reading a batch reads
//! little else, and batches of 16 KiB, as most producers send them, don't fall into many small chunks. The last chunk of a
//! commit is what remains. The first one of the next commit is cut to the room that this left in its page ([`Room`]): that page must
//! be written again anyway.

use super::types::CommitSeq;
use crate::record::SharedBytes;

/// Chunk sizes, largest first. See the module.
pub(super) const CHUNK_BYTES: [usize; 3] = [65_472, 16_320, CHUNK_BYTES_MIN];
const CHUNK_BYTES_MIN: usize = 4_032;

/// Where an entry lies: its commit, the chunk that holds its first byte, and where in it. `bytes` is its whole length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Location {
    pub commit: CommitSeq,
    pub chunk: u32,
    pub at: u32,
    pub bytes: u32,
}

/// A stream ready to be stored.
#[derive(Debug)]
pub(super) struct Stream {
    pub bytes: SharedBytes,
    /// Where each chunk ends; the last is the length of the stream.
    pub chunk_ends: Vec<usize>,
}

impl Stream {
    /// The chunks, in order.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.chunk_ends.iter().map(move |&end| {
            let chunk = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            chunk
        })
    }

    /// Where the entry at `position` with `bytes` bytes lies.
    pub(super) fn locate(&self, commit: CommitSeq, position: usize, bytes: usize) -> Location {
        let chunk = self.chunk_ends.partition_point(|&end| end <= position);
        let start = chunk.checked_sub(1).and_then(|before| self.chunk_ends.get(before)).copied().unwrap_or(0);
        Location { commit, chunk: chunk as u32, at: (position - start) as u32, bytes: bytes as u32 }
    }
}

/// Bytes that the last leaf of a segment's log still takes: 0 if unknown. Only a matter of waste, never of correctness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room(usize);

impl Room {
    /// A chunk for a smaller room isn't worth its key.
    const BYTES_MIN: usize = 64;
    /// What a leaf spends on an entry besides the value: a 12-byte key and the value's end.
    const ENTRY_BYTES: usize = 16;
    /// What one value leaves of a page to another: 4,096 less the leaf's own 4 bytes and both entries.
    const SHARED_BYTES: usize = 4_096 - 4 - 2 * Self::ENTRY_BYTES;

    /// The room once a stream is stored whose chunks end there.
    pub(super) fn after(self, chunk_ends: &[usize]) -> Self {
        let mut room = self.0;
        let mut start = 0;
        for (index, &end) in chunk_ends.iter().enumerate() {
            let bytes = end - start;
            room = match bytes {
                _ if index == 0 && bytes <= room => room.saturating_sub(bytes + Self::ENTRY_BYTES),
                ..=CHUNK_BYTES_MIN => Self::SHARED_BYTES.saturating_sub(bytes),
                _ => 0,
            };
            start = end;
        }
        Self(room)
    }
}

/// Where the chunks of a stream end, whose entries start at `starts` and which is `length` bytes long.
pub(super) fn cut(starts: &[usize], length: usize, room: Room) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut at, mut entry) = (0, 0);
    if room.0 >= Room::BYTES_MIN {
        at = room.0.min(length);
        ends.push(at);
    }
    while at < length {
        while starts.get(entry + 1).is_some_and(|&next| next <= at) {
            entry += 1;
        }
        let rest = starts.get(entry + 1).copied().unwrap_or(length) - at;
        let fills = |size: &usize| 2 * rest >= *size && length - at >= *size;
        let size = CHUNK_BYTES.into_iter().find(fills).unwrap_or(CHUNK_BYTES_MIN);
        at = length.min(at + size);
        ends.push(at);
    }
    ends
}

/// Cuts a run of bytes with no entries in it, such as a snapshot, into chunks.
pub(super) fn cut_plain(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    cut(&[0], bytes.len(), Room::default()).into_iter().map(move |end| {
        let chunk = bytes.get(start..end).unwrap_or_default();
        start = end;
        chunk
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::format::parse_batch_entry;
    use super::super::format::tests::stream;
    use super::super::types::PartitionId;
    use super::*;

    #[test]
    fn chunks_are_cut_by_the_entry_at_their_start() {
        let (large, _) = stream(&[200_000], Room::default());
        let sizes: Vec<usize> = large.chunks().map(<[u8]>::len).collect();
        assert_eq!(sizes, [4_032, 65_472, 65_472, 16_320, 16_320, 16_320, 4_032, 4_032, 4_032, 4_032, 24]);
        let (small, places) = stream(&[1_000; 10], Room::default());
        let sizes: Vec<usize> = small.chunks().map(<[u8]>::len).collect();
        assert_eq!(sizes, [4_032, 4_032, 60 + 10 * 1_028 - 8_064]);
        assert_eq!(small.locate(9, places[4].0, places[4].1), Location { commit: 9, chunk: 1, at: 140, bytes: 1_028 });
        let (medium, _) = stream(&[16_384; 3], Room::default());
        let sizes: Vec<usize> = medium.chunks().map(<[u8]>::len).collect();
        assert_eq!(sizes, [4_032, 16_320, 16_320, 4_032, 4_032, 4_032, 528], "half of an entry is enough");
    }

    #[test]
    fn a_commit_begins_in_the_room_of_the_one_before() {
        let (first, _) = stream(&[1_000], Room::default());
        let room = Room::default().after(&first.chunk_ends);
        assert_eq!(room, Room(4_060 - 1_088));
        let (second, _) = stream(&[5_000], room);
        assert_eq!(second.chunk_ends, [2_972, 5_088]);
        assert_eq!(room.after(&second.chunk_ends), Room(4_060 - 2_116));
        let (third, _) = stream(&[100], Room(400));
        assert_eq!(third.chunk_ends, [188]);
        assert_eq!(Room(400).after(&third.chunk_ends), Room(400 - 204));
    }

    proptest! {
        #[test]
        fn cut_streams_can_be_put_together_again(
            lengths in prop::collection::vec(0usize..100_000, 0..8),
            room in prop::option::of(0usize..4_060),
        ) {
            let (stream, places) = stream(&lengths, Room(room.unwrap_or(0)));
            let chunks: Vec<&[u8]> = stream.chunks().collect();
            prop_assert_eq!(&chunks.concat()[..], &stream.bytes[..]);
            prop_assert!(chunks.iter().all(|chunk| (1..=65_472).contains(&chunk.len())));
            for ((at, bytes), length) in places.into_iter().zip(lengths) {
                let place = stream.locate(1, at, bytes);
                let joined = chunks[place.chunk as usize..].concat();
                let entry = &joined[place.at as usize..][..bytes];
                prop_assert_eq!(parse_batch_entry(entry, PartitionId(length as u32)).unwrap().len(), length);
            }
        }
    }
}
