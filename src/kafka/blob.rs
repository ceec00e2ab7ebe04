//! Bytes of a message that may be sent from where they lie, so that a large answer is not put together in one piece first.
//!
//! Invariant: with its asides put in at their places, what is encoded is the same, byte for byte, as without any.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kafka::wire::{DecodeError, EncodeError, Layout, Reader, Shape, Wire, write_long_length};

/// A run of bytes. Decoding borrows it; encoding copies it, unless it was put [aside](Blob::aside).
#[derive(Clone, Copy, Default)]
pub struct Blob<'a> {
    bytes: &'a [u8],
    place: Option<&'a AtomicUsize>,
}

impl<'a> Blob<'a> {
    /// Bytes of which only the length is encoded: `place` becomes where they belong, counted in what is encoded, and whoever
    /// sends that sends them in between.
    pub fn aside(bytes: &'a [u8], place: &'a AtomicUsize) -> Self {
        Self { bytes, place: Some(place) }
    }

    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> From<&'a [u8]> for Blob<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, place: None }
    }
}

impl std::fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes.fmt(f)
    }
}

impl PartialEq for Blob<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Blob<'_> {}

impl<'a> Wire<'a> for Option<Blob<'a>> {
    const SHAPE: Shape = Option::<&[u8]>::SHAPE;

    fn min_size(layout: Layout) -> usize {
        Option::<&[u8]>::min_size(layout)
    }

    fn read(reader: &mut Reader<'a>, layout: Layout) -> Result<Self, DecodeError> {
        Ok(Option::<&[u8]>::read(reader, layout)?.map(Blob::from))
    }

    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), EncodeError> {
        match self {
            Some(Blob { bytes, place: Some(place) }) => {
                write_long_length(out, bytes.len(), layout)?;
                place.store(out.len(), Ordering::Relaxed);
                Ok(())
            }
            other => other.map(|blob| blob.bytes).write(out, layout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
    use crate::kafka::message::Message;

    fn response<'a>(blobs: [Option<Blob<'a>>; 3]) -> FetchResponse<'a> {
        let partitions = blobs.into_iter().map(|records| PartitionData { records, ..Default::default() }).collect();
        FetchResponse { responses: vec![FetchableTopicResponse { topic: "t", partitions }], ..Default::default() }
    }

    #[test]
    fn with_its_asides_put_in_an_answer_is_the_same() {
        let (long, short) = ([7; 300], [8; 3]);
        for version in 4..=12 {
            let mut whole = Vec::new();
            response([Some(Blob::from(&long[..])), None, Some(Blob::from(&short[..]))])
                .encode(version, &mut whole)
                .unwrap();
            let places = [AtomicUsize::new(0), AtomicUsize::new(0)];
            let mut parts = Vec::new();
            response([Some(Blob::aside(&long, &places[0])), None, Some(Blob::aside(&short, &places[1]))])
                .encode(version, &mut parts)
                .unwrap();
            let [first, second] = places.map(AtomicUsize::into_inner);
            let joined = [&parts[..first], &long, &parts[first..second], &short, &parts[second..]].concat();
            assert_eq!(joined, whole, "version {version}");
        }
    }
}
