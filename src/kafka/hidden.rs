//! Bytes of a message that are not for everybody to see: passwords, tokens, and what is made of them.
//!
//! Invariant: no formatting shows them.

use crate::kafka::wire::{DecodeError, EncodeError, Layout, Reader, Shape, Wire};

/// A run of bytes that Debug leaves out. On the wire it is one like any other.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Hidden<'a>(&'a [u8]);

impl<'a> Hidden<'a> {
    /// The bytes, to be used and not to be shown.
    pub fn expose(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> From<&'a [u8]> for Hidden<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl<'a> Wire<'a> for Hidden<'a> {
    const SHAPE: Shape = <&[u8]>::SHAPE;

    fn min_size(layout: Layout) -> usize {
        <&[u8]>::min_size(layout)
    }

    fn read(reader: &mut Reader<'a>, layout: Layout) -> Result<Self, DecodeError> {
        <&[u8]>::read(reader, layout).map(Self)
    }

    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), EncodeError> {
        self.0.write(out, layout)
    }
}
