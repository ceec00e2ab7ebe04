//! Segments and `state.redb` on a medium that has damaged them: opening fails in words or succeeds; what is read then is what was
//! written, or an error.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use brooklet::broker::{Acks, NewTopic};
use brooklet::record::{BatchBuilder, BatchView, Compression, NO_HEADERS};
use brooklet::store::disk::{Disk, OpenMode};
use brooklet::store::sim::SimDisk;
use brooklet::store::{OpenError, PartitionId, ReadBatches, ReadError, Reader, fsck, repair};
use fastrand::Rng;

use crate::allocations::peak_of;
use crate::harness::Target;
use crate::world::{DIR, World};

const SEGMENT_BYTES: u64 = 1 << 20;
/// Bytes of one step of an input; see [`damage`].
const STEP_BYTES: usize = 8;
/// Most that opening damaged files holds: what is kept of a segment until it is replayed, redb's caches, a page of 1 MiB, the tail.
const MEMORY_MAX: usize = 12 << 20;
/// Most bytes of batches that one read returns.
const READ_BYTES: usize = 64 * 1024;

pub(crate) fn targets() -> [Target; 1] {
    let base = OnceCell::new();
    [Target {
        name: "disk-damage",
        quick: 40,
        memory: |_| MEMORY_MAX,
        corpus: crate::corpus("disk-damage"),
        make: Box::new(|rng: &mut Rng| (0..STEP_BYTES * rng.usize(1..4)).map(|_| rng.u8(..)).collect()),
        run: Box::new(move |input| run(base.get_or_init(Base::new), input)),
    }]
}

struct Base {
    disk: SimDisk,
    /// Every batch as it is served, by partition and first offset.
    batches: BTreeMap<(PartitionId, i64), Vec<u8>>,
    /// Where each partition ends.
    ends: BTreeMap<PartitionId, i64>,
}

impl Base {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let mut world = World::open(&disk, SEGMENT_BYTES).unwrap();
        let broker = world.broker().unwrap();
        let mut rng = Rng::with_seed(9);
        let topics = ["a", "b"].map(|name| {
            let new = NewTopic { name: name.to_owned(), partitions: Some(2), ..NewTopic::default() };
            world.drive(broker.create_topic(new)).unwrap().unwrap()
        });
        for round in 0..120 {
            let mut builder = BatchBuilder::new();
            for _ in 0..rng.usize(1..20) {
                let value: Vec<u8> = (0..rng.usize(1..2_000)).map(|_| rng.u8(..)).collect();
                builder.push(1_700_000_000_000 + round, Some(b"key"), Some(&value), NO_HEADERS).unwrap();
            }
            let batch = builder.finish(Compression::None);
            let topic = &topics[rng.usize(..2)];
            let index = rng.i32(0..2);
            let produced = async { broker.produce(topic, index, batch, Acks::Flash).await.unwrap().wait().await };
            world.drive(produced).unwrap().unwrap();
        }
        drop(broker);
        let store = world.store.clone();
        assert!(store.status().segments >= 2, "several segments");
        let (mut batches, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for partition in store.partitions() {
            let end = store.head(partition).unwrap().high_watermark;
            ends.insert(partition, end);
            let mut at = 0;
            while at < end {
                let read = store.read(partition, at, READ_BYTES).unwrap();
                for batch in split(&read) {
                    batches.insert((partition, BatchView::parse(batch).unwrap().0.base_offset()), batch.to_vec());
                }
                at = read.next_offset;
            }
        }
        drop(store);
        world.close();
        Self { disk, batches, ends }
    }
}

fn split(read: &ReadBatches) -> Vec<&[u8]> {
    let (mut rest, mut all) = (&read.bytes[..], Vec::new());
    while !rest.is_empty() {
        let (view, behind) = BatchView::parse(rest).expect("whole batches are served");
        all.push(view.bytes());
        rest = behind;
    }
    all
}

/// Steps of eight bytes: which file, where (three bytes, as a part of its length), how far (two), how, with what.
fn damage(disk: &SimDisk, input: &[u8]) {
    let mut files = disk.list(Path::new(DIR)).unwrap();
    files.retain(|file| file.len > 0);
    files.sort_by(|one, other| one.name.cmp(&other.name));
    for step in input.chunks_exact(STEP_BYTES) {
        let file = &files[usize::from(step[0]) % files.len()];
        let path = Path::new(DIR).join(&file.name);
        let part = u64::from(u32::from_be_bytes([0, step[1], step[2], step[3]]));
        let at = (file.len * part) >> 24;
        // Mostly the first pages, where the database keeps its roots, are hit too seldom by chance.
        let at = if step[6] & 0x10 != 0 { at % 16_384.min(file.len) } else { at };
        let bytes = match step[6] % 4 {
            0 | 1 => 1,
            2 => 512,
            _ => 4_096.max(u64::from(u16::from_be_bytes([step[4], step[5]]))),
        };
        let mut rng = Rng::with_seed(u64::from(step[7]));
        for place in at..(at + bytes).min(file.len) {
            let bits = if bytes == 1 { 1 << (step[7] % 8) } else { rng.u8(..) };
            disk.flip(&path, place, bits).unwrap();
        }
    }
}

fn run(base: &Base, input: &[u8]) {
    let disk = base.disk.kill(1);
    damage(&disk, input);
    let before = disk.kill(5);
    let report = fsck(Path::new(DIR), Arc::new(disk.kill(2)), &mut |_, _| {}).expect("fsck reads what it can");
    let found = report.findings_total > 0;
    match Reader::open(Path::new(DIR), Arc::new(disk.kill(3))) {
        Ok(reader) => {
            let read = |partition, at| reader.read(partition, at, READ_BYTES);
            let whole = check(base, &reader.partitions(), &read, found);
            assert!(whole || found, "fsck finds what readers miss");
        }
        Err(error) => in_words(&error),
    }
    match World::open(&disk, SEGMENT_BYTES) {
        Ok(mut world) => {
            let store = world.store.clone();
            let read = |partition, at| store.read(partition, at, READ_BYTES);
            let whole = check(base, &store.partitions(), &read, false);
            assert!(whole || found, "fsck finds what readers miss");
            // What is found damaged is taken out of the ring.
            for _ in 0..5 {
                world.turn();
            }
            check(base, &store.partitions(), &read, false);
            if let Ok(broker) = world.broker() {
                let topics = broker.topics();
                assert_eq!(topics.len(), 2, "topics are not lost silently");
            }
            drop(store);
            world.close();
        }
        Err(error) => in_words(&error),
    }
    mend(base, &before.kill(4));
}

/// What a repair leaves opens, and holds what was written or says that it is lost; it gives no offset again.
fn mend(base: &Base, disk: &SimDisk) {
    let on: Arc<dyn Disk> = Arc::new(disk.clone());
    let done = match repair(Path::new(DIR), &on, &mut |_, _| {}) {
        Ok(done) => done,
        Err(error) => return in_words(&error),
    };
    let mut world = World::open(disk, SEGMENT_BYTES).expect("a mended store opens");
    let store = world.store.clone();
    if done.cuts.is_empty() {
        return world.close();
    }
    for (partition, end) in &base.ends {
        // One whose creation is lost is unknown.
        let Some(head) = store.head(*partition) else { continue };
        assert!(head.high_watermark >= *end, "{partition:?} goes on at {}, and had {end}", head.high_watermark);
        let mut at = head.log_start;
        while at < head.high_watermark {
            let Ok(read) = store.read(*partition, at, READ_BYTES) else { break };
            for batch in split(&read) {
                let offset = BatchView::parse(batch).unwrap().0.base_offset();
                let written = base.batches.get(&(*partition, offset)).map(Vec::as_slice);
                assert_eq!(Some(batch), written, "{partition:?} at {offset}: what is kept was written");
            }
            assert!(read.next_offset > at, "a reader gets on");
            at = read.next_offset;
        }
    }
    for _ in 0..5 {
        world.turn();
    }
    drop(store);
    world.close();
}

fn in_words(error: &OpenError) {
    assert!(!error.to_string().is_empty());
}

/// Whether all is there. What is there is what was written. `cut`: the end of a partition may be missing, as for one who only looks
/// at a store that would not be opened.
fn check(
    base: &Base,
    partitions: &[PartitionId],
    read: &dyn Fn(PartitionId, i64) -> Result<ReadBatches, ReadError>,
    cut: bool,
) -> bool {
    assert_eq!(partitions, base.ends.keys().copied().collect::<Vec<_>>(), "partitions are not lost silently");
    let mut met = 0;
    for (partition, end) in &base.ends {
        let mut at = 0;
        while at < *end {
            match read(*partition, at) {
                Ok(read) => {
                    let ends = read.head.high_watermark;
                    assert!(
                        ends == *end || (cut && ends < *end),
                        "a partition ends at {ends}, where it ended at {end}"
                    );
                    for batch in split(&read) {
                        let offset = BatchView::parse(batch).unwrap().0.base_offset();
                        let written = base.batches.get(&(*partition, offset)).map(Vec::as_slice);
                        assert_eq!(Some(batch), written, "{partition:?} at {offset}: what is served was written");
                        met += usize::from(offset >= at);
                    }
                    if read.next_offset >= ends && ends < *end {
                        break;
                    }
                    assert!(read.next_offset > at, "a reader gets on");
                    at = read.next_offset;
                }
                Err(_) => {
                    // Behind the batch that can't be read.
                    let behind = base.batches.range((*partition, at + 1)..=(*partition, i64::MAX)).next();
                    at = behind.map_or(*end, |((_, offset), _)| *offset);
                }
            }
        }
    }
    met >= base.batches.len()
}

/// Bytes that name pages, or say how large they are: of the header, and of all pages that may be branches or definitions of tables.
fn naming(bytes: &[u8]) -> Vec<u64> {
    let mut places: Vec<u64> = (9..320).collect();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    for (number, page) in bytes.chunks_exact(4_096).enumerate().skip(1).filter(|(_, page)| page[0] == 2) {
        let count = usize::from(u16::from_le_bytes([page[2], page[3]])) + 1;
        let last = 4_096.min(8 + 24 * count);
        places.extend((8 + 16 * count..last).map(|at| (number * 4_096 + at) as u64));
    }
    for slot in [64, 192] {
        for root in [word(slot + 8), word(slot + 40)] {
            let page = 4_096 + (root & 0xF_FFFF) * 4_096;
            places.extend((page + 4..page + 2_048).step_by(5));
        }
    }
    places
}

#[test]
fn nothing_that_names_a_page_makes_opening_take_memory() {
    let base = Base::new();
    let mut files = base.disk.list(Path::new(DIR)).unwrap();
    files.retain(|file| file.name.to_str().is_some_and(|name| name.ends_with(".seg")) && file.len > 4_096);
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let mut refused = 0;
    for file in &files {
        let path = Path::new(DIR).join(&file.name);
        let mut bytes = vec![0; file.len as usize];
        base.disk.open(&path, OpenMode::Read).unwrap().read_at(0, &mut bytes).unwrap();
        for (number, place) in naming(&bytes).into_iter().filter(|place| *place < file.len).enumerate() {
            if number % 8 != 0 {
                continue;
            }
            let disk = base.disk.kill(1);
            disk.flip(&path, place, [0x80, 0x10, 0x48][number % 3]).unwrap();
            let (opened, peak) = peak_of(|| World::open(&disk, SEGMENT_BYTES).map(World::close).is_ok());
            refused += usize::from(!opened);
            assert!(peak <= MEMORY_MAX, "byte {place} of {}: {peak} bytes were held", path.display());
        }
    }
    assert!(refused > 20, "{refused}");
}
