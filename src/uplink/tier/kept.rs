//! What is kept here of an uplink to a gateway: one row in the broker's cursor space. It changes seldom.
//!
//! Layout: a byte, the format (1), then [`Kept`] in postcard.

use serde::{Deserialize, Serialize};

use crate::broker::dead_letter::Letter;

const FORMAT: u8 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The history that the cursors upstream belong to: the store's incarnation, or another number after it had diverged.
    pub(super) history: [u8; 16],
    /// The store upstream, once it was met.
    pub(super) upstream: Option<[u8; 16]>,
    /// Records that stretches under way pass without delivering them: until the positions behind them are saved.
    pub(super) letters: Vec<Letter>,
}

impl Kept {
    /// Before upstream was met.
    pub(super) fn new(incarnation: [u8; 16]) -> Self {
        Self { history: incarnation, upstream: None, letters: Vec::new() }
    }

    /// Reads what [`Kept::encode`] made; `None` if it is anything else.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        match value.split_first()? {
            (&FORMAT, body) => postcard::from_bytes(body).ok(),
            _ => None,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }
}

/// The key of the row: no partition's, whose keys end in four bytes after the zero.
pub(super) fn key(uplink: &str) -> Vec<u8> {
    [uplink.as_bytes(), b"\0gateway-above"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back_and_nothing_else_does() {
        let kept = Kept { upstream: Some([3; 16]), ..Kept::new([7; 16]) };
        assert_eq!(Kept::decode(&kept.encode()), Some(kept.clone()));
        assert_eq!((Kept::decode(&[]), Kept::decode(&[2, 0]), Kept::decode(&kept.encode()[..9])), (None, None, None));
    }
}
