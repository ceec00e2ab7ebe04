//! Where a device keeps the records that no gateway has acknowledged yet.
//!
//! [`RamRing`] is included and lost with the power; flash or FRAM is the user's to add by [`Storage`].

use crate::frame::wire::{Writer, varint_bytes};

/// Which session epoch the kept records are numbered in, and the sequence of the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbering {
    /// The session epoch.
    pub epoch: u64,
    /// The sequence of the oldest entry kept, or of the next one to come.
    pub oldest: u64,
}

/// A bounded queue of entries, with random reads and removal at the old end.
///
/// What is durable of it survives a restart of the device as a whole or not at all: [`Storage::release`] must move the
/// numbering's `oldest` and drop the entries in one step, so that no entry ever gets another's sequence.
pub trait Storage {
    /// What may go wrong; [`core::convert::Infallible`] in RAM.
    type Error: core::fmt::Debug;

    /// Appends an entry. `false` without room for it; nothing has changed then.
    fn push(&mut self, entry: &[u8]) -> Result<bool, Self::Error>;

    /// Copies the entry `index` (0 is the oldest) to the start of `buffer` and returns its length; `None` if there is no
    /// such entry. An entry is never larger than the buffer, unless an earlier run had larger ones: then it is cut.
    fn read(&mut self, index: u32, buffer: &mut [u8]) -> Result<Option<usize>, Self::Error>;

    /// Drops the `count` oldest entries (all, if there are fewer) and moves the numbering on by as many.
    fn release(&mut self, count: u32) -> Result<(), Self::Error>;

    /// Entries kept.
    fn count(&self) -> u32;

    /// The numbering; `None` before the first gateway has answered.
    fn numbering(&self) -> Option<Numbering>;

    /// Sets the numbering: with each new session epoch.
    fn set_numbering(&mut self, numbering: Numbering) -> Result<(), Self::Error>;
}

/// A [`Storage`] in an array of `N` bytes. An entry takes its own size and one or two bytes.
pub type RamRing<const N: usize> = Ring<[u8; N]>;

/// A [`Storage`] in any piece of memory.
///
/// Invariants: entries lie one behind the other, each a varint length and its bytes, and wrap around the end;
/// `used` is the sum of their sizes.
#[derive(Debug)]
pub struct Ring<B> {
    buffer: B,
    head: usize,
    used: usize,
    count: u32,
    numbering: Option<Numbering>,
    /// An entry and its distance from `head`: reading on from there needs no walk through all before.
    cursor: (u32, usize),
}

impl<const N: usize> RamRing<N> {
    /// An empty ring.
    pub const fn new() -> Self {
        Self::over([0; N])
    }
}

impl<const N: usize> Default for RamRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Ring<B> {
    /// An empty ring over `buffer`.
    pub const fn over(buffer: B) -> Self {
        Self { buffer, head: 0, used: 0, count: 0, numbering: None, cursor: (0, 0) }
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Ring<B> {
    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used
    }

    fn byte(&self, at: usize) -> u8 {
        let buffer = self.buffer.as_ref();
        let place = (self.head + at).checked_rem(buffer.len()).unwrap_or(0);
        buffer.get(place).copied().unwrap_or(0)
    }

    /// Copies between `target` and the ring from `at` on, in at most two pieces.
    fn copy_out(&self, at: usize, target: &mut [u8]) {
        let buffer = self.buffer.as_ref();
        let start = (self.head + at).checked_rem(buffer.len()).unwrap_or(0);
        let (wrapped, straight) = buffer.split_at_checked(start).unwrap_or((buffer, &[]));
        for (to, from) in target.iter_mut().zip(straight.iter().chain(wrapped)) {
            *to = *from;
        }
    }

    fn copy_in(&mut self, at: usize, source: &[u8]) {
        let length = self.buffer.as_ref().len();
        let start = (self.head + at).checked_rem(length).unwrap_or(0);
        let Some((wrapped, straight)) = self.buffer.as_mut().split_at_mut_checked(start) else { return };
        for (to, from) in straight.iter_mut().chain(wrapped).zip(source) {
            *to = *from;
        }
    }

    /// The length of the entry `at` this distance from the head, and the bytes that the length takes.
    fn length(&self, at: usize) -> (usize, usize) {
        let (mut length, mut prefix) = (0, 0);
        loop {
            let byte = self.byte(at + prefix);
            length |= usize::from(byte & 0x7f) << (7 * prefix);
            prefix += 1;
            if byte & 0x80 == 0 || prefix == 4 {
                return (length, prefix);
            }
        }
    }

    /// How far from the head the entry `index` lies; it must exist.
    fn find(&mut self, index: u32) -> usize {
        if self.cursor.0 > index {
            self.cursor = (0, 0);
        }
        while self.cursor.0 < index {
            let (length, prefix) = self.length(self.cursor.1);
            self.cursor = (self.cursor.0 + 1, self.cursor.1 + prefix + length);
        }
        self.cursor.1
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Storage for Ring<B> {
    type Error = core::convert::Infallible;

    fn push(&mut self, entry: &[u8]) -> Result<bool, Self::Error> {
        let size = varint_bytes(entry.len() as u64) + entry.len();
        let free = self.buffer.as_ref().len() - self.used;
        if size > free || entry.len() >= 1 << 28 || self.count == u32::MAX {
            return Ok(false);
        }
        let mut prefix = [0; 4];
        let mut writer = Writer::new(&mut prefix);
        if writer.varint(entry.len() as u64).is_err() {
            return Ok(false);
        }
        self.copy_in(self.used, writer.written());
        self.copy_in(self.used + writer.len(), entry);
        self.used += size;
        self.count += 1;
        Ok(true)
    }

    fn read(&mut self, index: u32, buffer: &mut [u8]) -> Result<Option<usize>, Self::Error> {
        if index >= self.count {
            return Ok(None);
        }
        let at = self.find(index);
        let (length, prefix) = self.length(at);
        let length = length.min(buffer.len());
        if let Some(target) = buffer.get_mut(..length) {
            self.copy_out(at + prefix, target);
        }
        Ok(Some(length))
    }

    fn release(&mut self, count: u32) -> Result<(), Self::Error> {
        let count = count.min(self.count);
        let bytes = if count == self.count { self.used } else { self.find(count) };
        self.head = (self.head + bytes).checked_rem(self.buffer.as_ref().len()).unwrap_or(0);
        self.used -= bytes;
        self.count -= count;
        if self.count == 0 {
            // From the start again: of a large ring that is seldom full most is never touched.
            self.head = 0;
        }
        self.cursor = (0, 0);
        if let Some(numbering) = &mut self.numbering {
            numbering.oldest += u64::from(count);
        }
        Ok(())
    }

    fn count(&self) -> u32 {
        self.count
    }

    fn numbering(&self) -> Option<Numbering> {
        self.numbering
    }

    fn set_numbering(&mut self, numbering: Numbering) -> Result<(), Self::Error> {
        self.numbering = Some(numbering);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn a_ring_is_a_queue_whatever_wraps() {
        let (mut ring, mut model) = (RamRing::<300>::new(), VecDeque::new());
        ring.set_numbering(Numbering { epoch: 1, oldest: 1 }).unwrap();
        let (mut seed, mut released) = (7u32, 0u64);
        for step in 0..20_000u32 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let entry = vec![step as u8; (seed >> 24) as usize % 160];
            if ring.push(&entry).unwrap() {
                model.push_back(entry);
            } else {
                let count = 1 + (seed >> 8) % 3;
                ring.release(count).unwrap();
                released += u64::from(count.min(model.len() as u32));
                model.drain(..model.len().min(count as usize));
            }
            let index = (seed >> 16) % 4;
            let mut buffer = [0; 300];
            let read = ring.read(index, &mut buffer).unwrap().map(|length| buffer[..length].to_vec());
            assert_eq!(read.as_ref(), model.get(index as usize));
            assert_eq!(ring.count() as usize, model.len());
            assert_eq!(ring.numbering(), Some(Numbering { epoch: 1, oldest: 1 + released }));
        }
        assert!(released > 1_000);
    }
}
