//! Messages between gateways, one above the other: what an uplink sends to another gateway, and what that knows of it.
//!
//! A gateway below forwards whole record batches as they are, in *stretches*: batches, and how far each partition below is
//! forwarded with them. The one above keeps a *cursor* for each partition below, moved in the commit that appends the batches, and
//! only from where the sender believes it to be. So a stretch that comes twice is recognised, whatever was lost in between.
//!
//! A cursor belongs to a *history* (16 bytes of the sender's choice): copies of one store that went different ways have two.
//! Boot epochs are random numbers; they tell whether the records up to a cursor were the sender's own.

use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::DecodeError;
use super::wire::{NoRoom, Reader, Writer};

/// Boot epochs that a cursor names.
pub const TIER_EPOCHS_MAX: usize = 5;
/// Most partitions below that one stretch moves.
pub const TIER_MOVES_MAX: usize = 1_024;
/// Most batches in one stretch.
pub const TIER_BATCHES_MAX: usize = 4_096;

/// Boot epochs of the store below that wrote a partition, the latest first: id, first offset.
pub type TierEpochs = heapless::Vec<(u64, i64), TIER_EPOCHS_MAX>;

/// Says for which uplink and history of the client's the stretches that follow on this connection are, and asks for the
/// cursors. Answered by a [`TierCursor`] each, then [`TierKnown`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierCursors<'a> {
    /// Comes back.
    pub id: u32,
    /// The uplink's name. The gateway's is the client id.
    pub uplink: &'a str,
    /// See the module.
    pub history: [u8; 16],
    /// Only those of this topic below (UUID).
    pub topic: Option<[u8; 16]>,
}

/// How far a partition below is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierCursor {
    /// Of the request.
    pub id: u32,
    /// The topic's UUID below.
    pub topic: [u8; 16],
    /// The partition's index in it.
    pub partition: u32,
    /// The first offset that is not here.
    pub next: i64,
    /// Who wrote what lies before.
    pub epochs: TierEpochs,
}

/// Ends the cursors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierKnown<'a> {
    /// Of the request.
    pub id: u32,
    /// This store: another one has lost what was forwarded to the one before.
    pub incarnation: [u8; 16],
    /// Other histories that are known of this gateway and uplink.
    pub others: u32,
    /// The gateways that this one forwards to, and those to them in turn: an id a line.
    #[serde(borrow)]
    pub above: &'a str,
}

/// Where a cursor is: its offset, and the latest boot epoch before it (0: none).
pub type TierPlace = (i64, u64);

/// A cursor that a stretch moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierMove {
    /// The topic's UUID below.
    pub topic: [u8; 16],
    /// The partition's index in it.
    pub partition: u32,
    /// Where the sender believes the cursor to be.
    pub from: Option<TierPlace>,
    /// Where it is to be; not before `from`.
    pub next: i64,
    /// Boot epochs since `from`, the latest first.
    pub epochs: TierEpochs,
}

/// A record batch (version 2) for a partition here. Without producer and base offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierBatch<'a> {
    /// The topic's name here.
    pub topic: &'a str,
    /// The partition here.
    pub partition: u32,
    /// One whole batch.
    pub bytes: &'a [u8],
}

/// Batches, and the cursors behind them: all or nothing. Answered by [`super::Done`] when it is durable, also where it was
/// before; refused with [`super::ErrorCode::SequenceGap`] where a cursor is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierStretch<'a> {
    /// Comes back.
    pub id: u32,
    /// At most [`TIER_MOVES_MAX`], each of another partition.
    pub moves: Items<'a, TierMove>,
    /// At most [`TIER_BATCHES_MAX`], in their order.
    pub batches: Items<'a, TierBatch<'a>>,
}

/// Items back to back, checked when they were read: iterating can't fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items<'a, T> {
    count: usize,
    bytes: &'a [u8],
    of: PhantomData<T>,
}

impl<'a, T: Deserialize<'a>> Items<'a, T> {
    /// Reads a count and as many items; what follows.
    fn read(bytes: &'a [u8], count_max: usize) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut reader = Reader::new(bytes);
        let count = usize::try_from(reader.varint()?).map_err(|_| DecodeError::Malformed)?;
        if count > count_max {
            return Err(DecodeError::Malformed);
        }
        let bytes = reader.rest();
        let mut rest = bytes;
        for _ in 0..count {
            let (_item, after) = postcard::take_from_bytes::<T>(rest).map_err(|_| DecodeError::Malformed)?;
            rest = after;
        }
        let own = bytes.get(..bytes.len() - rest.len()).ok_or(DecodeError::Malformed)?;
        Ok((Self { count, bytes: own, of: PhantomData }, rest))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let (item, after) = postcard::take_from_bytes::<T>(rest).ok()?;
            rest = after;
            Some(item)
        })
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.varint(self.count as u64)?;
        writer.raw(self.bytes)
    }
}

impl<'a> TierStretch<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let id = u32::try_from(reader.varint()?).map_err(|_| DecodeError::Malformed)?;
        let (moves, rest) = Items::read(reader.rest(), TIER_MOVES_MAX)?;
        match Items::read(rest, TIER_BATCHES_MAX)? {
            (batches, []) => Ok(Self { id, moves, batches }),
            _ => Err(DecodeError::Malformed),
        }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.varint(u64::from(self.id))?;
        self.moves.write(writer)?;
        self.batches.write(writer)
    }
}

/// A whole frame with a stretch, written in one go: its batches are the larger part of what an uplink sends.
///
/// # Errors
/// [`NoRoom`]: more items than a stretch may have, or a body beyond [`super::FRAME_BYTES_MAX`].
#[cfg(feature = "gateway")]
pub fn tier_stretch_frame(id: u32, moves: &[TierMove], batches: &[TierBatch<'_>]) -> Result<Vec<u8>, NoRoom> {
    use super::stream::LENGTH_BYTES_MAX;
    if moves.len() > TIER_MOVES_MAX || batches.len() > TIER_BATCHES_MAX {
        return Err(NoRoom);
    }
    let bytes: usize = batches.iter().map(|batch| batch.bytes.len() + batch.topic.len() + 16).sum();
    let mut frame = Vec::with_capacity(bytes + moves.len() * 128 + 32);
    frame.extend_from_slice(&[0; LENGTH_BYTES_MAX]);
    frame.push(super::message::TIER_STRETCH);
    // Writing into a growing vector has nothing that can fail.
    let counted = |frame: Vec<u8>, count: u64| postcard::to_extend(&count, frame).map_err(|_| NoRoom);
    frame = counted(counted(frame, u64::from(id))?, moves.len() as u64)?;
    for one in moves {
        frame = postcard::to_extend(one, frame).map_err(|_| NoRoom)?;
    }
    frame = counted(frame, batches.len() as u64)?;
    for one in batches {
        frame = postcard::to_extend(one, frame).map_err(|_| NoRoom)?;
    }
    let body = frame.len() - LENGTH_BYTES_MAX;
    if body > super::FRAME_BYTES_MAX {
        return Err(NoRoom);
    }
    let start = super::stream::set_length(&mut frame, body)?.start;
    frame.drain(..start);
    Ok(frame)
}

#[cfg(test)]
#[cfg(feature = "gateway")]
mod tests {
    use super::super::{ClientMessage, FRAME_BYTES_MAX, Split, split};
    use super::*;

    fn one_move(partition: u32) -> TierMove {
        let epochs = [(u64::MAX, 40), (1, 0)].into_iter().collect();
        TierMove { topic: [7; 16], partition, from: Some((40, 1)), next: 42, epochs }
    }

    fn body(frame: &[u8]) -> &[u8] {
        match split(frame, FRAME_BYTES_MAX) {
            Ok(Split::Frame { body, taken }) if taken == frame.len() => body,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stretch_reads_back_and_is_written_alike_both_ways() {
        let moves = [one_move(0), TierMove { from: None, epochs: TierEpochs::new(), ..one_move(70_000) }];
        let batches = [
            TierBatch { topic: "t", partition: 3, bytes: b"batch" },
            TierBatch { topic: "u", partition: 0, bytes: b"" },
        ];
        let frame = tier_stretch_frame(9, &moves, &batches).unwrap();
        let message = ClientMessage::decode(body(&frame)).unwrap();
        let ClientMessage::TierStretch(stretch) = &message else { panic!("{message:?}") };
        assert_eq!((stretch.id, stretch.moves.len(), stretch.batches.len()), (9, 2, 2));
        assert_eq!(stretch.moves.iter().collect::<Vec<_>>(), moves);
        assert_eq!(stretch.batches.iter().collect::<Vec<_>>(), batches);
        let mut other_way = Vec::new();
        message.append_to(&mut other_way).unwrap();
        assert_eq!(frame, other_way);
    }

    #[test]
    fn no_bytes_but_a_stretchs_are_taken_for_one() {
        let frame =
            tier_stretch_frame(1, &[one_move(1)], &[TierBatch { topic: "t", partition: 1, bytes: &[1; 40] }]).unwrap();
        let whole = body(&frame);
        for cut in 1..whole.len() {
            assert!(ClientMessage::decode(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(ClientMessage::decode(&[whole, &[0]].concat()).is_err());
        // Counts that promise more than there is, and more than may be.
        let kind = whole[0];
        for body in [&[kind, 1, 2, 0][..], &[kind, 1, 0, 0x81, 0x20], &[kind, 1, 0x81, 0x08, 0], &[kind, 1, 0, 5]] {
            assert!(ClientMessage::decode(body).is_err(), "{body:?}");
        }
        assert!(tier_stretch_frame(1, &vec![one_move(1); TIER_MOVES_MAX + 1], &[]).is_err());
    }
}
