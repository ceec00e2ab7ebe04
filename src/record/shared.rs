//! Bytes that several own, and parts of them: cloned and cut without a copy.
//!
//! Invariant: whoever keeps a part keeps the whole in memory; where that matters, [`SharedBytes::compact`].

use std::any::Any;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A part of bytes that are never changed any more.
#[derive(Clone)]
pub struct SharedBytes {
    whole: Arc<Whole>,
    range: Range<usize>,
}

struct Whole {
    bytes: Vec<u8>,
    /// Dropped with the bytes: what they cost somebody.
    _guard: Option<Box<dyn Any + Send + Sync>>,
}

impl SharedBytes {
    /// These bytes, and what is to be dropped when nobody has any part of them left.
    pub fn guarded(bytes: Vec<u8>, guard: impl Any + Send + Sync) -> Self {
        Self::new(bytes, Some(Box::new(guard)))
    }

    fn new(bytes: Vec<u8>, guard: Option<Box<dyn Any + Send + Sync>>) -> Self {
        let range = 0..bytes.len();
        Self { whole: Arc::new(Whole { bytes, _guard: guard }), range }
    }

    /// The part of these bytes that `part` borrows; a copy if it is not one of them.
    pub fn part(&self, part: &[u8]) -> Self {
        let from = (part.as_ptr() as usize).checked_sub(self.whole.bytes.as_ptr() as usize);
        let range = from.and_then(|from| Some(from..from.checked_add(part.len())?));
        match range.filter(|range| range.start >= self.range.start && range.end <= self.range.end) {
            Some(range) => Self { whole: Arc::clone(&self.whole), range },
            None => part.into(),
        }
    }

    /// Bytes that are in memory as long as this is.
    pub fn held(&self) -> usize {
        self.whole.bytes.capacity()
    }

    /// The same bytes, as a copy if they hold more than twice as much in memory.
    pub fn compact(&self) -> Self {
        if self.held() > 2 * self.len() { self.as_ref().into() } else { self.clone() }
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.whole.bytes.get(self.range.clone()).unwrap_or_default()
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for SharedBytes {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes, None)
    }
}

impl From<&[u8]> for SharedBytes {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl std::fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} shared bytes", self.len(), self.whole.bytes.len())
    }
}

impl PartialEq for SharedBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SharedBytes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_and_what_is_none_is_copied() {
        let whole = SharedBytes::from((0u8..100).collect::<Vec<_>>());
        let part = whole.part(&whole[10..30]);
        assert_eq!((&part[..], part.held()), (&whole[10..30], whole.held()));
        assert_eq!(part.part(&part[5..6])[..], [15]);
        assert_eq!(part.part(&[]).len(), 0);
        let other = [15, 16];
        assert_eq!(whole.part(&other), SharedBytes::from(&other[..]));
        assert!(whole.part(&other).held() < 10);
        let outside = part.part(&whole[9..12]);
        assert_eq!((&outside[..], outside.held()), (&[9, 10, 11][..], 3), "not of this part");
    }

    #[test]
    fn compact_copies_small_parts_only() {
        let whole = SharedBytes::from(vec![7; 100]);
        assert_eq!(whole.part(&whole[..50]).compact().held(), 100);
        let small = whole.part(&whole[..49]).compact();
        assert_eq!((small.held(), &small[..]), (49, &whole[..49]));
    }

    #[test]
    fn the_guard_goes_with_the_last_part() {
        let guard = Arc::new(());
        let whole = SharedBytes::guarded(vec![1, 2, 3], Arc::clone(&guard));
        let part = whole.part(&whole[1..]);
        drop(whole);
        assert_eq!((Arc::strong_count(&guard), &part[..]), (2, &[2, 3][..]));
        drop(part);
        assert_eq!(Arc::strong_count(&guard), 1);
    }
}
