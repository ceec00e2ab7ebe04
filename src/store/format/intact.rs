//! What is intact among bytes that are a stream no more.
//!
//! Invariant: only what passes its checksum is given.

use super::{Checksums, CommitHeader, ENTRY_HEADER_BYTES, Entry, Kind, RawEntry, commit_header, take_entry, u32_at};

/// An entry that is intact, wherever it was found.
#[derive(Debug)]
pub(in crate::store) struct Intact<'a> {
    /// Of a commit, if it is its header.
    pub header: Option<CommitHeader>,
    /// Else what it says; `None` if this version doesn't know it.
    pub entry: Option<Entry<'a>>,
    pub epoch: u32,
    pub mono_ms: u64,
}

/// The entries that are intact among bytes of a stream, which may begin and end within one. Behind one that isn't, the next is looked
/// for where its length says, else wherever one passes its checksum.
pub(in crate::store) fn intact(bytes: &[u8]) -> impl Iterator<Item = Intact<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        while rest.len() >= ENTRY_HEADER_BYTES {
            if let Some((raw, behind)) = take_intact(rest) {
                rest = behind;
                return Some(Intact {
                    header: commit_header(&raw).map(|(header, ..)| header).ok(),
                    entry: raw.decode().ok(),
                    epoch: raw.epoch,
                    mono_ms: raw.mono_ms,
                });
            }
            let length = ENTRY_HEADER_BYTES.saturating_add(u32_at(rest, 4) as usize);
            let behind = rest.get(length..).filter(|behind| behind.is_empty() || take_intact(behind).is_some());
            rest = behind.or_else(|| rest.get(1..)).unwrap_or_default();
        }
        None
    })
}

/// As [`take_entry`]; looks at the checksum only where all else is as it must be.
fn take_intact(bytes: &[u8]) -> Option<(RawEntry<'_>, &[u8])> {
    let [kind, flags, _, zero] = u32_at(bytes, 8).to_le_bytes();
    let plausible = zero == 0 && flags < 16 && Kind::from_number(kind).is_some();
    if plausible { take_entry(bytes, Checksums::Verify).ok() } else { None }
}
