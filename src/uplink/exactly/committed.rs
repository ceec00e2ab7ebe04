//! The records of a partition whose transactions have ended, in order: committed, or aborted. Pure.
//!
//! Invariant: fed with the answers to read_committed fetches from one offset on, without gaps, it gives all records with keys, and
//! marks those of aborted transactions.

use crate::kafka::fetch::PartitionData;
use crate::record::{Aborted, BatchError, BatchView, VerifyLimits, decompress, records};

/// A record upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Found {
    pub(super) offset: i64,
    pub(in crate::uplink) key: Vec<u8>,
    /// `None`: a tombstone.
    pub(in crate::uplink) value: Option<Vec<u8>>,
    /// It is as if it were not there, but for who wants to know what became of it.
    pub(in crate::uplink) aborted: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Committed {
    /// Where to read on.
    pub(in crate::uplink) next: i64,
    aborted: Aborted,
}

impl Committed {
    pub(in crate::uplink) fn from(offset: i64) -> Self {
        Self { next: offset, aborted: Aborted::default() }
    }

    /// The records with keys in an answer.
    ///
    /// # Errors
    /// [`BatchError`], if a batch is not one; what stands before it is passed.
    pub(super) fn take(&mut self, answer: &PartitionData<'_>) -> Result<Vec<Found>, BatchError> {
        for aborted in answer.aborted_transactions.iter().flatten() {
            self.aborted.note(aborted.producer_id, aborted.first_offset);
        }
        let mut found = Vec::new();
        let mut rest = answer.records.unwrap_or_default().bytes();
        while whole(rest) {
            let (view, after) = BatchView::parse(rest)?;
            rest = after;
            self.take_batch(&view, &mut found)?;
            self.next = self.next.max(view.next_offset());
        }
        Ok(found)
    }

    fn take_batch(&mut self, view: &BatchView<'_>, found: &mut Vec<Found>) -> Result<(), BatchError> {
        let aborted = !self.aborted.counts(view);
        if view.attributes().is_control() {
            return Ok(());
        }
        let payload = decompress(view, &VerifyLimits::default())?;
        for record in records(view, &payload) {
            let record = record?;
            if let Some(key) = record.key.filter(|_| record.offset >= self.next) {
                let value = record.value.map(<[u8]>::to_vec);
                found.push(Found { offset: record.offset, key: key.to_vec(), value, aborted });
            }
        }
        Ok(())
    }
}

/// Whether a whole batch stands at the beginning: an answer may end within one.
fn whole(bytes: &[u8]) -> bool {
    const LENGTH_END: usize = 12;
    let length = bytes.get(8..LENGTH_END).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    length.and_then(|length| usize::try_from(length).ok()).is_some_and(|length| bytes.len() - LENGTH_END >= length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::blob::Blob;
    use crate::kafka::fetch::AbortedTransaction;
    use crate::record::{BatchBuilder, Compression, NO_HEADERS, Producer, header};

    fn batch(offset: i64, producer: i64, value: &str) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.push(0, Some(b"k"), Some(value.as_bytes()), NO_HEADERS).unwrap();
        let mut batch = builder.finish(Compression::None);
        let producer = Producer { id: producer, epoch: 0, base_sequence: 0 };
        header::rewrite_for_forward(&mut batch, producer, true).unwrap();
        header::set_base_offset(&mut batch, offset);
        batch
    }

    /// A marker: its attributes say so, nothing else is looked at.
    fn marker(offset: i64, producer: i64) -> Vec<u8> {
        let mut marker = batch(offset, producer, "");
        marker[22] |= 0x20;
        marker
    }

    fn values(reader: &mut Committed, batches: &[Vec<u8>], aborted: &[(i64, i64)]) -> Vec<String> {
        let records = batches.concat();
        let aborted = aborted.iter().map(|(producer_id, first_offset)| AbortedTransaction {
            producer_id: *producer_id,
            first_offset: *first_offset,
        });
        let answer = PartitionData {
            records: Some(Blob::from(&records[..])),
            aborted_transactions: Some(aborted.collect()),
            ..Default::default()
        };
        let found = reader.take(&answer).unwrap();
        let counts = found.into_iter().filter(|found| !found.aborted);
        counts.map(|found| String::from_utf8(found.value.unwrap()).unwrap()).collect()
    }

    #[test]
    fn aborted_ones_are_left_out_until_their_marker() {
        let log = [
            batch(10, 1, "aborted"),
            batch(11, 2, "committed"),
            marker(12, 1),
            batch(13, 1, "again"),
            marker(14, 2),
            marker(15, 1),
            batch(16, 1, "aborted too"),
            marker(17, 1),
        ];
        let mut reader = Committed::from(10);
        assert_eq!(values(&mut reader, &log, &[(1, 10), (1, 16)]), ["committed", "again"]);
        assert_eq!(reader.next, 18);
        // The same in several answers; the list comes with each that it concerns.
        let mut reader = Committed::from(10);
        assert_eq!(values(&mut reader, &log[..1], &[(1, 10)]), [""; 0]);
        assert_eq!(values(&mut reader, &log[1..4], &[(1, 10)]), ["committed", "again"]);
        assert_eq!(values(&mut reader, &log[4..], &[(1, 16)]), [""; 0]);
    }

    #[test]
    fn it_begins_within_a_batch_and_ends_before_half_of_one() {
        let mut builder = BatchBuilder::new();
        for value in ["a", "b", "c"] {
            builder.push(0, Some(b"k"), Some(value.as_bytes()), NO_HEADERS).unwrap();
        }
        let mut first = builder.finish(Compression::Lz4);
        header::set_base_offset(&mut first, 5);
        let second = batch(8, 1, "d");
        let mut reader = Committed::from(6);
        assert_eq!(values(&mut reader, &[first, second[..second.len() - 1].to_vec()], &[]), ["b", "c"]);
        assert_eq!(reader.next, 8);
    }
}
