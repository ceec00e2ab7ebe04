//! Frames on a byte stream (TCP, Unix socket): a varint length of 1 to 4 bytes, then as many bytes of body.
//!
//! The length counts the body only and is never 0. A length beyond the limit is an error as soon as it is read;
//! nothing is reserved for it. "Need more" is an answer, not an error.

use core::ops::Range;

use super::{
    AckLevel, ClientMessage, FrameError, GatewayMessage, Record, message,
    record::{Base, RecordsWriter},
    wire::{NoRoom, Writer},
};

/// Longest length prefix, bytes.
pub const LENGTH_BYTES_MAX: usize = 4;

/// What the start of some received bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split<'a> {
    /// Not yet a whole frame: at least this many bytes more are needed.
    Need(usize),
    /// A whole frame.
    Frame {
        /// Its body.
        body: &'a [u8],
        /// Bytes that it took from the input, length prefix included.
        taken: usize,
    },
}

/// Looks for a frame with a body of at most `body_bytes_max` bytes at the start of `input`.
pub fn split(input: &[u8], body_bytes_max: usize) -> Result<Split<'_>, FrameError> {
    let Some((length, prefix)) = read_length(input, body_bytes_max)? else { return Ok(Split::Need(1)) };
    match input.get(prefix..prefix + length) {
        Some(body) => Ok(Split::Frame { body, taken: prefix + length }),
        None => Ok(Split::Need(prefix + length - input.len())),
    }
}

/// The length and the bytes it takes; `None` if it isn't there whole.
fn read_length(input: &[u8], body_bytes_max: usize) -> Result<Option<(usize, usize)>, FrameError> {
    let mut length = 0usize;
    for (index, byte) in input.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 != 0 {
            continue;
        }
        return match length {
            0 => Err(FrameError::BadLength),
            length if length > body_bytes_max => Err(FrameError::TooLarge { length, limit: body_bytes_max }),
            length => Ok(Some((length, index + 1))),
        };
    }
    if input.len() < LENGTH_BYTES_MAX { Ok(None) } else { Err(FrameError::BadLength) }
}

/// Collects received bytes in a fixed buffer and hands out the bodies of whole frames.
///
/// Read into [`Decoder::space`], say how much by [`Decoder::received`] (or copy by [`Decoder::feed`]), then take
/// frames until [`Decoder::next`] says how much more it needs. After an error the stream can't be followed any more.
#[derive(Debug)]
pub struct Decoder<B> {
    buffer: B,
    start: usize,
    end: usize,
    /// What the buffer is or may grow to.
    capacity_max: usize,
    body_bytes_max: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Decoder<B> {
    /// Takes bodies of at most `body_bytes_max`, and [`LENGTH_BYTES_MAX`] less than the buffer.
    pub fn new(buffer: B, body_bytes_max: usize) -> Self {
        let capacity_max = buffer.as_ref().len();
        let mut decoder = Self { buffer, start: 0, end: 0, capacity_max, body_bytes_max: 0 };
        decoder.set_limit(body_bytes_max);
        decoder
    }

    /// Changes the limit, after Hello or Welcome. It is never beyond what the buffer has room for.
    pub fn set_limit(&mut self, body_bytes_max: usize) {
        self.body_bytes_max = body_bytes_max.min(self.capacity_max.saturating_sub(LENGTH_BYTES_MAX));
    }

    /// The largest body taken, bytes.
    pub fn limit(&self) -> usize {
        self.body_bytes_max
    }

    /// Forgets everything received: for a new connection.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Bytes received and not yet taken.
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Room for received bytes; what is pending moves to the front. Empty only if the buffer is full, which it isn't
    /// while [`Decoder::next`] needs more.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.as_mut().copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.buffer.as_mut().get_mut(self.end..).unwrap_or_default()
    }

    /// Counts `length` bytes of [`Decoder::space`] as received.
    pub fn received(&mut self, length: usize) {
        self.end = (self.end + length).min(self.buffer.as_ref().len());
    }

    /// Copies as much of `bytes` as has room; how much that was.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let length = space.len().min(bytes.len());
        for (to, from) in space.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.received(length);
        length
    }

    /// The next whole frame's body, or how many bytes more it needs at least.
    #[expect(clippy::should_implement_trait, reason = "it lends from itself, as no Iterator can")]
    pub fn next(&mut self) -> Result<Next<'_>, FrameError> {
        let pending = self.buffer.as_ref().get(self.start..self.end).unwrap_or_default();
        match split(pending, self.body_bytes_max)? {
            Split::Need(more) => Ok(Next::Need(more)),
            Split::Frame { body, taken } => {
                self.start += taken;
                Ok(Next::Frame(body))
            }
        }
    }
}

#[cfg(feature = "gateway")]
impl Decoder<Vec<u8>> {
    /// A decoder whose buffer starts with `first` bytes and grows with what arrives, not with what a peer claims.
    pub fn growing(first: usize, body_bytes_max: usize) -> Self {
        let mut decoder = Self::new(vec![0; first.max(2 * LENGTH_BYTES_MAX)], 0);
        decoder.capacity_max = super::FRAME_BYTES_MAX + LENGTH_BYTES_MAX;
        decoder.set_limit(body_bytes_max);
        decoder
    }

    /// As [`Decoder::space`], but never empty: a full buffer is doubled, up to the limit.
    pub fn room(&mut self) -> &mut [u8] {
        if self.space().is_empty() {
            let length = (2 * self.buffer.len()).min(self.body_bytes_max + LENGTH_BYTES_MAX).max(self.buffer.len() + 1);
            self.buffer.resize(length, 0);
        }
        self.space()
    }

    /// Gives memory back after large frames: an empty buffer is cut to `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.pending() == 0 && self.buffer.len() > bytes {
            self.clear();
            self.buffer = vec![0; bytes.max(2 * LENGTH_BYTES_MAX)];
        }
    }
}

/// What [`Decoder::next`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// At least this many bytes more make the next frame.
    Need(usize),
    /// A frame's body.
    Frame(&'a [u8]),
}

/// Writes a whole frame from what `body` writes, and says where in the buffer it stands: the length is set right before
/// the body once that is known.
fn frame(buffer: &mut [u8], body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>) -> Result<Range<usize>, NoRoom> {
    let mut writer = Writer::new(buffer.get_mut(LENGTH_BYTES_MAX..).ok_or(NoRoom)?);
    body(&mut writer)?;
    let length = writer.len();
    set_length(buffer, length)
}

/// Sets the length right before a body that starts at [`LENGTH_BYTES_MAX`], and says where the frame stands.
pub(super) fn set_length(buffer: &mut [u8], body: usize) -> Result<Range<usize>, NoRoom> {
    let mut prefix = [0; LENGTH_BYTES_MAX];
    let mut writer = Writer::new(&mut prefix);
    writer.varint(body as u64)?;
    let start = LENGTH_BYTES_MAX - writer.len();
    buffer.get_mut(start..LENGTH_BYTES_MAX).ok_or(NoRoom)?.copy_from_slice(writer.written());
    Ok(start..LENGTH_BYTES_MAX + body)
}

macro_rules! encoders {
    ($($set:ident)*) => {
        $(impl $set<'_> {
            /// Encodes a whole frame in `buffer`, which needs [`LENGTH_BYTES_MAX`] more than the body. The frame may
            /// start some bytes into the buffer.
            pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
                let place = self.encode_at(buffer)?;
                buffer.get(place).ok_or(NoRoom)
            }

            /// As `encode`, and says where in the buffer the frame stands.
            pub fn encode_at(&self, buffer: &mut [u8]) -> Result<Range<usize>, NoRoom> {
                frame(buffer, |writer| self.encode_body(writer))
            }

            /// Encodes the body only, at the start of `buffer`: for a serial link.
            pub fn encode_unframed<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
                let mut writer = Writer::new(buffer);
                self.encode_body(&mut writer)?;
                Ok(writer.finish())
            }

            /// Appends a whole frame to `out`, which grows by at most twice the frame. [`NoRoom`] only for a body beyond
            /// [`super::FRAME_BYTES_MAX`]; `out` is then as it was.
            #[cfg(feature = "gateway")]
            pub fn append_to(&self, out: &mut Vec<u8>) -> Result<(), NoRoom> {
                append(out, |buffer| self.encode_at(buffer))
            }
        })*
    };
}

encoders! { ClientMessage GatewayMessage }

/// Lets `encode` write a frame behind what `out` holds, with as much room as it turns out to need.
#[cfg(feature = "gateway")]
fn append(out: &mut Vec<u8>, encode: impl Fn(&mut [u8]) -> Result<Range<usize>, NoRoom>) -> Result<(), NoRoom> {
    let before = out.len();
    let mut room = 128;
    while room <= 2 * (super::FRAME_BYTES_MAX + LENGTH_BYTES_MAX) {
        out.resize(before + room, 0);
        let buffer = out.get_mut(before..).unwrap_or_default();
        if let Ok(place) = encode(buffer) {
            let length = place.len();
            buffer.copy_within(place, 0);
            out.truncate(before + length);
            return Ok(());
        }
        room *= 2;
    }
    out.truncate(before);
    Err(NoRoom)
}

/// Writes a publish straight into a frame, record by record.
#[derive(Debug)]
pub struct PublishWriter<'b> {
    records: RecordsWriter<'b>,
}

/// All of a publish but the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishHead {
    /// The topic's alias.
    pub alias: u16,
    /// When to acknowledge.
    pub level: AckLevel,
    /// Whether the offset is wanted.
    pub want_offset: bool,
    /// The first record's sequence, whole.
    pub sequence: u64,
    /// The gateway time of the Welcome, ms since 1970.
    pub base_timestamp: i64,
}

impl<'b> PublishWriter<'b> {
    /// Starts a frame in `buffer`, which has to keep at least one record; the body is at most
    /// `buffer.len() - LENGTH_BYTES_MAX`.
    pub fn begin(buffer: &'b mut [u8], head: PublishHead) -> Result<Self, NoRoom> {
        let mut writer = Writer::new(buffer);
        writer.raw(&[0; LENGTH_BYTES_MAX])?;
        writer.byte(message::PUBLISH)?;
        super::Publish::encode_head(
            &mut writer,
            head.alias,
            head.level,
            head.want_offset,
            super::sequence::truncate(head.sequence),
        )?;
        let base = Base { timestamp: head.base_timestamp, offset: 0 };
        Ok(Self { records: RecordsWriter::over(writer, base, false) })
    }

    /// Adds a record; without room the frame stays as it was.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), NoRoom> {
        self.records.push(record)
    }

    /// Records added.
    pub fn count(&self) -> usize {
        self.records.count()
    }

    /// Where in the buffer the frame stands: some bytes from its start. [`NoRoom`] if no record was added: there is no
    /// empty publish.
    pub fn finish(self) -> Result<Range<usize>, NoRoom> {
        if self.records.is_empty() {
            return Err(NoRoom);
        }
        let buffer = self.records.into_writer().finish();
        let body = buffer.len() - LENGTH_BYTES_MAX;
        set_length(buffer, body)
    }
}
