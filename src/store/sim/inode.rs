//! One simulated file: what programs read, what is on the medium, and what is on its way between the two.

use std::io;
use std::sync::Arc;

use fastrand::Rng;

use super::content::{BLOCK_BYTES, Content, pieces};

/// Smallest unit that a medium writes atomically, bytes.
const SECTOR_BYTES: usize = 512;

/// Invariant: `current` is `durable` with `pending` applied, but for what a failed sync has made of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What reads see: the page cache.
    current: Content,
    /// What is on the medium.
    durable: Content,
    /// What has not been synced, in order.
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    SetLen(u64),
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.current.len()
    }

    pub(super) fn allocated(&self) -> u64 {
        self.current.allocated()
    }

    /// Bytes by which a write would enlarge what is allocated.
    pub(super) fn growth(&self, offset: u64, len: usize) -> u64 {
        self.current.growth(offset, len)
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.current.read(offset, out)
    }

    /// As [`Inode::read`], past the page cache. What waits to be written is written first, as by O_DIRECT; that makes it
    /// no safer than it was.
    pub(super) fn read_direct(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut truth = self.clone();
        truth.drop_cache();
        truth.read(offset, out)
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        self.current.write(offset, data);
        self.pending.push(Change::Write { offset, data: data.into() });
    }

    /// Bytes by which [`Inode::allocate`] would enlarge what is allocated.
    pub(super) fn holes_bytes(&self, len: u64) -> u64 {
        self.current.holes(len).len() as u64 * BLOCK_BYTES as u64
    }

    /// Gives blocks to the holes below `len`.
    pub(super) fn allocate(&mut self, len: u64) {
        let zeroes: Arc<[u8]> = Arc::new([0; BLOCK_BYTES]);
        let (old, holes) = (self.len(), self.current.holes(len));
        for block in holes {
            let offset = block * BLOCK_BYTES as u64;
            self.current.write(offset, &zeroes);
            self.pending.push(Change::Write { offset, data: Arc::clone(&zeroes) });
        }
        self.set_len(old.max(len));
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.current.set_len(len);
        self.pending.push(Change::SetLen(len));
    }

    /// Flips bits on the medium and in the cache.
    pub(super) fn flip(&mut self, offset: u64, bits: u8) {
        self.durable.flip(offset, bits);
        self.current.flip(offset, bits);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
    }

    /// Some of what was pending reaches the medium; the rest never will, though reads go on seeing it: the kernel has
    /// marked those pages clean.
    pub(super) fn sync_failed(&mut self, rng: &mut Rng) {
        self.durable = self.survivors(rng);
        self.pending.clear();
    }

    /// Reads tell the truth again.
    pub(super) fn drop_cache(&mut self) {
        self.current = self.durable.clone();
        for change in &self.pending {
            apply(&mut self.current, change);
        }
    }

    /// The file after a power cut.
    pub(super) fn power_cut(&self, rng: &mut Rng) -> Self {
        let content = self.survivors(rng);
        Self { current: content.clone(), durable: content, pending: Vec::new() }
    }

    /// What is on the medium if writing back stops now: any subset of what is pending, writes torn or whole.
    fn survivors(&self, rng: &mut Rng) -> Content {
        let fate = Fate::draw(rng, self.pending.len());
        let mut content = self.durable.clone();
        for (number, change) in self.pending.iter().enumerate() {
            let Change::Write { offset, data } = change else {
                if fate.spares(rng, number) {
                    apply(&mut content, change);
                }
                continue;
            };
            for (_, _, range) in pieces(*offset, data.len(), fate.unit) {
                if fate.spares(rng, number)
                    && let Some(piece) = data.get(range.clone())
                {
                    content.write(offset + range.start as u64, piece);
                }
            }
        }
        content
    }
}

/// How a power cut treats the pending changes of one file.
#[derive(Debug)]
struct Fate {
    /// Writes are torn at multiples of this, bytes.
    unit: usize,
    /// Changes before this number are kept, later ones lost, save as `luck` has it.
    kept: usize,
    /// Chance of a piece to meet the other fate.
    luck: f64,
}

impl Fate {
    fn draw(rng: &mut Rng, changes: usize) -> Self {
        let unit = *rng.choice(&[SECTOR_BYTES, BLOCK_BYTES, usize::MAX / 2]).unwrap_or(&SECTOR_BYTES);
        let kept = match rng.u8(0..4) {
            0 => 0,
            1 => changes,
            _ => rng.usize(0..=changes),
        };
        let luck = *rng.choice(&[0.0, 0.05, 0.5]).unwrap_or(&0.5);
        Self { unit, kept, luck }
    }

    fn spares(&self, rng: &mut Rng, number: usize) -> bool {
        (number < self.kept) != (rng.f64() < self.luck)
    }
}

fn apply(content: &mut Content, change: &Change) {
    match change {
        Change::Write { offset, data } => content.write(*offset, data),
        Change::SetLen(len) => content.set_len(*len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(inode: &Inode) -> u8 {
        let mut out = [0];
        inode.read(0, &mut out).unwrap();
        out[0]
    }

    #[test]
    fn what_is_synced_survives_every_cut_and_the_rest_any_fate() {
        let mut inode = Inode::default();
        inode.write(0, &[1; 8_192]);
        inode.sync();
        inode.write(0, &[2; 8_192]);
        inode.write(4_096, &[3; 4_096]);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let after = inode.power_cut(&mut Rng::with_seed(seed));
            let mut bytes = [0; 8_192];
            after.read(0, &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| (1..=3).contains(byte)));
            seen.insert((bytes[0], bytes[512], bytes[4_096], bytes[8_191]));
        }
        for expected in [(1, 1, 1, 1), (2, 2, 3, 3), (2, 1, 1, 1), (1, 1, 3, 3), (2, 2, 2, 2), (1, 2, 3, 1)] {
            assert!(seen.contains(&expected), "{expected:?} never happened");
        }
    }

    #[test]
    fn a_failed_sync_shows_what_is_not_there_until_the_cache_is_dropped() {
        let mut inode = Inode::default();
        inode.write(0, &[1]);
        inode.sync();
        // A seed by which nothing reaches the medium.
        let seed = (0..).find(|seed| {
            let mut inode = inode.clone();
            inode.write(0, &[2]);
            inode.sync_failed(&mut Rng::with_seed(*seed));
            inode.drop_cache();
            byte(&inode) == 1
        });
        inode.write(0, &[2]);
        inode.sync_failed(&mut Rng::with_seed(seed.unwrap()));
        assert_eq!(byte(&inode), 2);
        inode.sync();
        assert_eq!(byte(&inode), 2, "a later sync succeeds, and saves nothing");
        assert_eq!(byte(&inode.power_cut(&mut Rng::with_seed(0))), 1);
        inode.drop_cache();
        assert_eq!(byte(&inode), 1);
    }
}
