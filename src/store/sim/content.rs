//! The bytes of a simulated file: sparse, in blocks that snapshots share.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Unit of allocation, bytes, as on ext4.
pub(super) const BLOCK_BYTES: usize = 4_096;

type Block = [u8; BLOCK_BYTES];

/// Invariant: no block lies wholly beyond `len`, and of the last one what lies beyond is zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    len: u64,
    blocks: Arc<BTreeMap<u64, Arc<Block>>>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of the blocks that were ever written and not cut off.
    pub(super) fn allocated(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK_BYTES as u64
    }

    /// Bytes by which a write would enlarge what is allocated.
    pub(super) fn growth(&self, offset: u64, len: usize) -> u64 {
        let fresh = pieces(offset, len, BLOCK_BYTES).filter(|(block, ..)| !self.blocks.contains_key(block)).count();
        fresh as u64 * BLOCK_BYTES as u64
    }

    /// The blocks below `len` that were never written.
    pub(super) fn holes(&self, len: u64) -> Vec<u64> {
        (0..len.div_ceil(BLOCK_BYTES as u64)).filter(|block| !self.blocks.contains_key(block)).collect()
    }

    /// Flips bits of one byte, if it is allocated.
    pub(super) fn flip(&mut self, offset: u64, bits: u8) {
        let (block, within) = (offset / BLOCK_BYTES as u64, (offset % BLOCK_BYTES as u64) as usize);
        if let Some(block) = Arc::make_mut(&mut self.blocks).get_mut(&block)
            && let Some(byte) = Arc::make_mut(block).get_mut(within)
        {
            *byte ^= bits;
        }
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(out.len() as u64) > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (block, within, range) in pieces(offset, out.len(), BLOCK_BYTES) {
            let Some(out) = out.get_mut(range) else { continue };
            match self.blocks.get(&block).and_then(|bytes| bytes.get(within..within + out.len())) {
                Some(bytes) => out.copy_from_slice(bytes),
                None => out.fill(0),
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let blocks = Arc::make_mut(&mut self.blocks);
        for (block, within, range) in pieces(offset, data.len(), BLOCK_BYTES) {
            let bytes = Arc::make_mut(blocks.entry(block).or_insert_with(|| Arc::new([0; BLOCK_BYTES])));
            if let (Some(to), Some(from)) = (bytes.get_mut(within..within + range.len()), data.get(range)) {
                to.copy_from_slice(from);
            }
        }
        self.len = self.len.max(offset.saturating_add(data.len() as u64));
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let blocks = Arc::make_mut(&mut self.blocks);
            let kept = len.div_ceil(BLOCK_BYTES as u64);
            blocks.split_off(&kept);
            let tail = (len % BLOCK_BYTES as u64) as usize;
            if tail > 0
                && let Some(block) = blocks.get_mut(&(kept - 1))
                && let Some(beyond) = Arc::make_mut(block).get_mut(tail..)
            {
                beyond.fill(0);
            }
        }
        self.len = len;
    }
}

/// Cuts `len` bytes at `offset` at multiples of `unit`: (number of the unit, offset within it, range of the bytes).
pub(super) fn pieces(
    offset: u64,
    len: usize,
    unit: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % unit as u64) as usize;
        let start = done;
        done += (unit - within).min(len - done);
        Some((at / unit as u64, within, start..done))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Behaves as a plain vector of bytes does.
        #[test]
        fn is_a_file(ops in prop::collection::vec((0_u64..20_000, prop::option::of(1_usize..9_000), any::<u8>()), 1..30)) {
            let (mut content, mut model) = (Content::default(), Vec::new());
            for (at, write, byte) in ops {
                match write {
                    Some(len) => {
                        content.write(at, &vec![byte; len]);
                        let end = at as usize + len;
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].fill(byte);
                    }
                    None => {
                        content.set_len(at);
                        model.resize(at as usize, 0);
                    }
                }
                let mut read = vec![1; model.len()];
                content.read(0, &mut read).unwrap();
                prop_assert_eq!(content.len(), model.len() as u64);
                prop_assert!(read == model);
                prop_assert!(content.allocated() <= content.len().next_multiple_of(BLOCK_BYTES as u64));
                prop_assert!(content.read(1, &mut read).is_err() || model.is_empty());
            }
        }
    }
}
