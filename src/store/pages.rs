//! What redb's pages look like, as far as the store looks at them itself: so that no damaged file makes redb take memory by what the
//! damage says, and so that what lies in a file can be found when redb can't find it (`salvage`).
//!
//! redb takes memory for a page before it reads it, by the size that whoever names the page gives, and by the header's geometry for
//! its allocators. In a file that was not closed it checks whoever names a page by its checksum first; in one that was closed cleanly it
//! checks nothing. So there, whatever names pages is looked at here: the header, the tables' definitions, branches.
//!
//! Layout of redb's format 3, little-endian. Header: magic (9 bytes), flags (bit 0 which slot is the primary one, bit 1 not closed), 2
//! bytes, page size u32, pages of a region's header u32, of its data u32, full regions u32, pages of the last one u32; at 64 and
//! 192 the two slots: version, whether there are tables, system tables (u8 each), 5 bytes, then roots: page u64, checksum u128, length u64 of
//! each. A page's number: index in units of its own size in the lowest 20 bits, region in the next 20, order in the highest 5. A leaf: 1,
//! a byte, pairs u16; ends of the keys and of the values, u32 each, where they differ in length; keys; values. A branch: 2, a byte, keys
//! u16, 4 bytes; checksums of its children, u128; their numbers, u64. A table's definition: kind u8, length u64, whether it has a root
//! u8, the root.
//!
//! Invariant: nothing here believes a length.

use std::io;

use super::backend::PAGE_BYTES;
use super::disk::DiskFile;
use super::format::u64_at;

/// The first bytes of every redb file, at format version 3 as before it.
pub(super) const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];
/// Page size, pages of a region's header and of its data, as all of the store's files have them.
const GEOMETRY: [u32; 3] = [PAGE_BYTES as u32, 0, 1 << 20];
const HEADER_BYTES: usize = 320;
const FLAGS_AT: usize = 9;
const PRIMARY: u8 = 1;
const UNCLEAN: u8 = 2;
const SLOTS_AT: [usize; 2] = [64, 192];
/// A root: page, checksum, length.
const ROOT_BYTES: usize = 32;

const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// The longest way down a tree of tables that is looked at; there are less than a hundred.
const DEPTH_MAX: u32 = 4;

/// What is wrong with what names pages.
pub(super) type Wrong = &'static str;

/// What a header says of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// It was closed cleanly, so redb will believe all of it.
    pub clean: bool,
    /// Roots of the tables and of redb's own; 0 bytes in front of them mean there is none.
    roots: [Option<u64>; 2],
}

impl Header {
    /// Reads it; `None` if no database was ever completely created in the file.
    ///
    /// # Errors
    /// `InvalidData` if it isn't one that the store has made; else of the file.
    pub(super) fn read(file: &dyn DiskFile) -> io::Result<Option<Self>> {
        let mut raw = [0; HEADER_BYTES];
        if file.len()? < raw.len() as u64 {
            return Ok(None);
        }
        file.read_at(0, &mut raw)?;
        if !raw.starts_with(&MAGIC) {
            return Ok(None);
        }
        let word = |at: usize| super::format::u32_at(&raw, at);
        if [word(12), word(16), word(20)] != GEOMETRY {
            return Err(invalid("its header tells of pages as no file of a store has them"));
        }
        let flags = raw.get(FLAGS_AT).copied().unwrap_or(0);
        let at = SLOTS_AT.get(usize::from(flags & PRIMARY)).copied().unwrap_or(0);
        let root = |which: usize| {
            let there = raw.get(at + 1 + which).is_some_and(|there| *there != 0);
            there.then(|| u64_at(&raw, at + 8 + which * ROOT_BYTES))
        };
        Ok(Some(Self { clean: flags & UNCLEAN == 0, roots: [root(0), root(1)] }))
    }

    /// Checks that what names tables names pages of the file, of sizes that there are.
    ///
    /// # Errors
    /// `InvalidData` if something doesn't; else of the file.
    pub(super) fn check_tables(&self, file: &dyn DiskFile, order_max: u8) -> io::Result<()> {
        let bounds = Bounds { len: file.len()?, order_max };
        for root in self.roots.into_iter().flatten() {
            check_tables(file, root, bounds, DEPTH_MAX)?;
        }
        Ok(())
    }
}

/// Where pages may lie, and how large they may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub len: u64,
    pub order_max: u8,
}

impl Bounds {
    /// Offset and length of a page.
    fn range(self, number: u64) -> Result<(u64, u64), Wrong> {
        let order = (number >> 59) as u8;
        if order > self.order_max {
            return Err("it names a page larger than there are");
        }
        let (index, region) = (number & (0xF_FFFF >> order), (number >> 20) & 0xF_FFFF);
        let bytes = PAGE_BYTES << order;
        let offset = PAGE_BYTES + region * (u64::from(GEOMETRY[2]) * PAGE_BYTES) + index * bytes;
        if offset + bytes > self.len {
            return Err("it names a page beyond its end");
        }
        Ok((offset, bytes))
    }

    /// Checks a page that redb has read: whether it is no branch, or one that names pages of the file.
    pub(super) fn check_children(self, page: &[u8]) -> Result<(), Wrong> {
        children(page)?.try_for_each(|child| self.range(child).map(drop))
    }
}

/// The pages that a branch names; none of another page.
fn children(page: &[u8]) -> Result<impl Iterator<Item = u64>, Wrong> {
    let count = if page.first() == Some(&BRANCH) { usize::from(u16_at(page, 2)) + 1 } else { 0 };
    let from = 8 + 16 * count;
    let numbers = match count {
        0 => &[][..],
        _ => page.get(from..from + 8 * count).ok_or("a branch of its trees has more children than room")?,
    };
    Ok(numbers.chunks_exact(8).map(|number| u64_at(number, 0)))
}

fn check_tables(file: &dyn DiskFile, number: u64, bounds: Bounds, depth: u32) -> io::Result<()> {
    let (offset, bytes) = bounds.range(number).map_err(invalid)?;
    let mut page = vec![0; usize::try_from(bytes).unwrap_or(0)];
    file.read_at(offset, &mut page)?;
    if page.first() == Some(&BRANCH) {
        let below = depth.checked_sub(1).ok_or_else(|| invalid("the tree of its tables has no end"))?;
        return children(&page).map_err(invalid)?.try_for_each(|child| check_tables(file, child, bounds, below));
    }
    let leaf = Leaf::parse(&page, None).ok_or_else(|| invalid("the definitions of its tables are malformed"))?;
    for (_, definition) in leaf.pairs() {
        if definition.get(9).is_some_and(|there| *there != 0) {
            bounds.range(u64_at(definition, 10)).map_err(invalid)?;
        }
    }
    Ok(())
}

/// A leaf whose values differ in length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf<'a> {
    page: &'a [u8],
    /// Bytes of each key, where they are all alike.
    key_bytes: Option<usize>,
    count: usize,
}

impl<'a> Leaf<'a> {
    /// Takes bytes that begin with a leaf as one; `None` if they don't. What lies behind the leaf is no matter.
    pub(super) fn parse(page: &'a [u8], key_bytes: Option<usize>) -> Option<Self> {
        if page.first() != Some(&LEAF) {
            return None;
        }
        let leaf = Self { page, key_bytes, count: usize::from(u16_at(page, 2)) };
        let mut last = leaf.keys_at();
        let ends = (0..leaf.count).map(|n| leaf.key_end(n)).chain((0..leaf.count).map(|n| leaf.value_end(n)));
        for end in ends {
            let end = end.filter(|end| *end >= last && *end <= page.len())?;
            last = end;
        }
        (leaf.count > 0).then_some(leaf)
    }

    /// Its keys and values.
    pub(super) fn pairs(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let part = move |from: Option<usize>, to: Option<usize>| self.page.get(from?..to?);
        let keys_end = self.key_end(self.count.wrapping_sub(1));
        (0..self.count).filter_map(move |n| {
            let before = n.checked_sub(1);
            let key = part(before.map_or(Some(self.keys_at()), |n| self.key_end(n)), self.key_end(n))?;
            let value = part(before.map_or(keys_end, |n| self.value_end(n)), self.value_end(n))?;
            Some((key, value))
        })
    }

    fn keys_at(self) -> usize {
        4 + 4 * self.count * if self.key_bytes.is_some() { 1 } else { 2 }
    }

    fn key_end(self, n: usize) -> Option<usize> {
        match self.key_bytes {
            Some(bytes) => Some(self.keys_at() + bytes * (n + 1)),
            None => self.end(n),
        }
    }

    fn value_end(self, n: usize) -> Option<usize> {
        self.end(if self.key_bytes.is_some() { n } else { self.count + n })
    }

    fn end(self, n: usize) -> Option<usize> {
        let raw = self.page.get(4 + 4 * n..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*raw)).ok()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |raw| u16::from_le_bytes(*raw))
}

pub(super) fn invalid(what: Wrong) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
