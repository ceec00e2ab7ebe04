//! A partition's log as its leader keeps it: batches with offsets, what is known of each producer, open and aborted
//! transactions. Rules: KIP-98 (sequences, markers), KIP-360 (a new epoch starts at sequence 0), KIP-890 (transactions v2).

use std::collections::{BTreeMap, VecDeque};

use brooklet::record::{
    BatchBuilder, BatchView, Compression, NO_HEADERS, Producer, VerifyLimits, decompress, header, records,
};

/// Batches of a producer that a leader recognises when they come again.
const REMEMBERED: usize = 5;

pub struct Entry {
    pub base: i64,
    pub count: u32,
    /// As a consumer gets it: the base offset is the log's.
    pub bytes: Vec<u8>,
    pub producer: i64,
    pub transactional: bool,
    pub control: bool,
}

impl Entry {
    pub fn next(&self) -> i64 {
        self.base + i64::from(self.count)
    }
}

/// The records of this producer from `first` on, up to the marker at `marker`, do not count.
#[derive(Clone, Copy, Debug)]
pub struct Aborted {
    pub producer: i64,
    pub first: i64,
    pub marker: i64,
}

#[derive(Default)]
struct Known {
    epoch: i16,
    /// First sequence, count, offset.
    batches: VecDeque<(i32, u32, i64)>,
    /// First offset of the open transaction.
    open_from: Option<i64>,
}

#[derive(Default)]
pub struct Partition {
    pub entries: Vec<Entry>,
    pub aborted: Vec<Aborted>,
    producers: BTreeMap<i64, Known>,
}

impl Partition {
    pub fn end(&self) -> i64 {
        self.entries.last().map_or(0, Entry::next)
    }

    /// The first offset that a read_committed consumer must wait for.
    pub fn last_stable(&self) -> i64 {
        self.producers.values().filter_map(|known| known.open_from).min().unwrap_or_else(|| self.end())
    }

    /// Whether this producer has written to it in the open transaction: the leader then asks the coordinator no more.
    pub fn has_open(&self, producer: i64, epoch: i16) -> bool {
        self.producers.get(&producer).is_some_and(|known| known.epoch == epoch && known.open_from.is_some())
    }

    pub fn forget_producers(&mut self) {
        assert!(self.producers.values().all(|known| known.open_from.is_none()), "Kafka forgets no open transaction");
        self.producers.clear();
    }

    /// Its offset, or the error. A batch that is there already gets the offset that it has.
    pub fn append(&mut self, view: &BatchView<'_>) -> Result<i64, i16> {
        let (producer, epoch) = (view.producer_id(), view.producer_epoch());
        let (sequence, count) = (view.base_sequence(), view.record_count());
        let (base, transactional) = (self.end(), view.attributes().is_transactional());
        if producer >= 0 {
            let known = self.producers.entry(producer).or_insert_with(|| Known { epoch, ..Known::default() });
            if epoch < known.epoch {
                return Err(47);
            }
            if epoch > known.epoch {
                assert!(known.open_from.is_none(), "a new epoch before the old one's transaction ended");
                *known = Known { epoch, ..Known::default() };
            }
            if let Some((_, _, offset)) = known.batches.iter().find(|(first, n, _)| (*first, *n) == (sequence, count)) {
                return Ok(*offset);
            }
            // A leader that knows nothing of a producer takes any sequence in transactions v1; no client here needs that.
            if known.batches.back().map_or(0, |(first, n, _)| following(*first, *n)) != sequence {
                return Err(45);
            }
            if known.open_from.is_some() && !transactional {
                return Err(48);
            }
            known.batches.push_back((sequence, count, base));
            if known.batches.len() > REMEMBERED {
                known.batches.pop_front();
            }
            if transactional {
                known.open_from.get_or_insert(base);
            }
        }
        let mut bytes = view.bytes().to_vec();
        header::set_base_offset(&mut bytes, base);
        self.entries.push(Entry { base, count, bytes, producer, transactional, control: false });
        Ok(base)
    }

    /// Ends a transaction. With transactions v2 the marker bears the next epoch, which fences late batches (KIP-890).
    pub fn mark(&mut self, producer: i64, epoch: i16, commit: bool) {
        let base = self.end();
        let known = self.producers.entry(producer).or_insert_with(|| Known { epoch, ..Known::default() });
        assert!(epoch >= known.epoch, "a marker of an old epoch");
        if epoch > known.epoch {
            known.epoch = epoch;
            known.batches.clear();
        }
        if let Some(first) = known.open_from.take()
            && !commit
        {
            self.aborted.push(Aborted { producer, first, marker: base });
        }
        let bytes = control_batch(base, producer, epoch, commit);
        self.entries.push(Entry { base, count: 1, bytes, producer, transactional: true, control: true });
    }

    /// What a read_committed consumer is given, in order: batches up to the last stable offset, without the aborted ones.
    pub fn committed(&self) -> impl Iterator<Item = &Entry> {
        let end = self.last_stable();
        let is_aborted = |entry: &Entry| {
            let spans = |a: &Aborted| a.producer == entry.producer && (a.first..a.marker).contains(&entry.base);
            entry.transactional && self.aborted.iter().any(spans)
        };
        self.entries.iter().filter(move |entry| entry.base < end && !entry.control && !is_aborted(entry))
    }

    /// Key, value, largest timestamp of the batch and first header of each record of these entries.
    pub fn each<'a, T>(
        entries: impl Iterator<Item = &'a Entry>,
        mut take: impl FnMut(Option<&[u8]>, &[u8], i64, Option<&[u8]>) -> T,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for entry in entries {
            let (view, _) = BatchView::parse(&entry.bytes).unwrap();
            let payload = decompress(&view, &VerifyLimits::default()).unwrap();
            for record in records(&view, &payload) {
                let mut record = record.unwrap();
                let first = record.headers.next().map(|(name, _)| name);
                all.push(take(record.key, record.value.unwrap_or_default(), view.max_timestamp(), first));
            }
        }
        all
    }
}

fn following(first: i32, count: u32) -> i32 {
    // After i32::MAX comes 0.
    ((i64::from(first) + i64::from(count)) % (1 << 31)) as i32
}

/// Control records: key (version, type: 0 abort, 1 commit), value (version, coordinator epoch).
fn control_batch(base: i64, producer: i64, epoch: i16, commit: bool) -> Vec<u8> {
    let key = [0, 0, 0, u8::from(commit)];
    let mut builder = BatchBuilder::new();
    builder.push(1_700_000_000_000, Some(&key), Some(&[0; 6]), NO_HEADERS).unwrap();
    let mut bytes = builder.finish_with(Compression::None, Producer { id: producer, epoch, base_sequence: -1 });
    // Transactional, control; the CRC covers them.
    bytes[22] |= 0x30;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    header::set_base_offset(&mut bytes, base);
    bytes
}
