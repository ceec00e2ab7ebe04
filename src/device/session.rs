//! The protocol as the device sees it: what to send next, and what an answer means. No I/O and no clock: the caller
//! moves bytes and passes `now_ms`, the time since the device started.
//!
//! Invariants: an entry leaves the storage only when the gateway has settled it (or it can never be sent); `sent`
//! entries, the oldest ones, are on the way on this connection; their sequences are `oldest..oldest + sent`.

use super::{
    ErrorText, Event, Identity, PublishError, Reading, SessionError, Storage,
    entry::{self, Entry},
};
use crate::frame::{
    Alias, ClientMessage, ErrorCode, Hello, LENGTH_BYTES_MAX, MAGIC, NoRoom, Ping, PublishHead, PublishWriter, Record,
    VERSION_MAX, VERSION_MIN,
};

/// Bytes of a publish besides its first record's entry: length, type, alias, flags, sequence.
const PUBLISH_HEAD_BYTES: usize = LENGTH_BYTES_MAX + 1 + 3 + 1 + 2;
/// A timestamp may take this much more when it is counted from another base.
const TIMESTAMP_SLACK_BYTES: usize = 10;

/// The memory that a session works in. A record, with its key and headers, may be about 20 bytes smaller than either.
#[derive(Debug)]
pub struct Buffers<B> {
    pub(super) send: B,
    pub(super) scratch: B,
}

impl<B> Buffers<B> {
    /// `send` holds a frame to send, `scratch` a record.
    pub const fn new(send: B, scratch: B) -> Self {
        Self { send, scratch }
    }
}

/// Where the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    Down,
    /// Hello is to be sent.
    Greeting,
    /// Hello is sent.
    Greeted,
    /// Welcome has come.
    Up,
}

/// What holds for one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    /// Largest body that can be taken.
    receive_bytes_max: u32,
    /// Entries on the way, the oldest ones.
    pub(super) sent: u32,
    /// Aliases sent.
    pub(super) aliases: u16,
    /// An alias was refused for a passing reason: they are sent again with the records.
    pub(super) alias_failed: bool,
    /// No publish before this time.
    pub(super) pause_until_ms: u64,
    /// A ping is on the way.
    pub(super) pinged: bool,
    /// Since when something is awaited from the gateway without a sign of it.
    pub(super) quiet_since_ms: u64,
    pub(super) last_sent_ms: u64,
    /// From Welcome: base of timestamps, window, largest frame body, ms between pings (0: none).
    pub(super) base_timestamp: i64,
    pub(super) in_flight_max: u32,
    pub(super) frame_bytes_max: usize,
    pub(super) ping_ms: u64,
    /// What is to be added to an uptime for wall time, if the gateway trusts its clock.
    pub(super) wall_offset_ms: Option<i64>,
}

impl Connection {
    const fn new(phase: Phase, now_ms: u64) -> Self {
        Self {
            phase,
            receive_bytes_max: 0,
            sent: 0,
            aliases: 0,
            alias_failed: false,
            pause_until_ms: 0,
            pinged: false,
            quiet_since_ms: now_ms,
            last_sent_ms: now_ms,
            base_timestamp: 0,
            in_flight_max: 0,
            frame_bytes_max: 0,
            ping_ms: 0,
            wall_offset_ms: None,
        }
    }
}

/// A publishing client. See the module above for an example.
#[derive(Debug)]
pub struct Session<I, S, B> {
    pub(super) identity: I,
    pub(super) storage: S,
    pub(super) buffers: Buffers<B>,
    pub(super) connection: Connection,
    /// Entries at the old end whose uptimes are of an earlier start of the device.
    pub(super) stale: u32,
    /// Records that have left the storage.
    pub(super) settled: u64,
    /// A record was found too large for this gateway, to be told as an event.
    pub(super) dropped: Option<Event>,
}

impl<I: Identity, S: Storage, B: AsRef<[u8]> + AsMut<[u8]>> Session<I, S, B> {
    /// A session over what `storage` still holds.
    pub fn new(identity: I, storage: S, buffers: Buffers<B>) -> Self {
        let stale = storage.count();
        let connection = Connection::new(Phase::Down, 0);
        Self { identity, storage, buffers, connection, stale, settled: 0, dropped: None }
    }

    /// Accepts a reading: it is kept until it is settled. Returns its number (see [`Event`]).
    pub fn publish(&mut self, reading: &Reading<'_>) -> Result<u64, PublishError<S::Error>> {
        if self.identity.topic(reading.topic).is_none() {
            return Err(PublishError::UnknownTopic);
        }
        let frame_room = self.buffers.send.as_ref().len().saturating_sub(PUBLISH_HEAD_BYTES + TIMESTAMP_SLACK_BYTES);
        let length = entry::write(reading, self.buffers.scratch.as_mut()).map_err(|NoRoom| PublishError::TooLarge)?;
        let entry = self.buffers.scratch.as_ref().get(..length).filter(|entry| entry.len() <= frame_room);
        match self.storage.push(entry.ok_or(PublishError::TooLarge)?) {
            Ok(true) => Ok(self.accepted()),
            Ok(false) => Err(PublishError::Full),
            Err(error) => Err(PublishError::Storage(error)),
        }
    }

    /// How many records were accepted; the number of the last one.
    pub fn accepted(&self) -> u64 {
        self.settled + u64::from(self.storage.count())
    }

    /// How many of them are settled.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Whether Welcome has come on this connection.
    pub fn is_up(&self) -> bool {
        self.connection.phase == Phase::Up
    }

    /// Whether nothing is to be sent or awaited, save for a ping now and then.
    pub fn is_idle(&self) -> bool {
        self.is_up() && self.storage.count() == 0 && !self.awaits_answer()
    }

    /// Wall time by the gateway's clock, ms since 1970 (UTC); `None` while not connected or if it isn't trusted.
    pub fn wall_ms(&self, now_ms: u64) -> Option<i64> {
        Some(self.connection.wall_offset_ms?.saturating_add(now_ms as i64))
    }

    /// The identity, to add topics to.
    pub fn identity_mut(&mut self) -> &mut I {
        &mut self.identity
    }

    /// The identity.
    pub fn identity(&self) -> &I {
        &self.identity
    }

    /// The storage.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// A new connection is made, on which frames with a body of up to `receive_bytes_max` can be taken: begin with Hello.
    /// Nothing of what was on the way is any more.
    pub fn connected(&mut self, receive_bytes_max: usize, now_ms: u64) {
        self.connection = Connection::new(Phase::Greeting, now_ms);
        self.connection.receive_bytes_max = u32::try_from(receive_bytes_max).unwrap_or(u32::MAX);
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.connection = Connection::new(Phase::Down, 0);
    }

    /// The storage alone, say to begin anew after a restart.
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// The next whole frame to send, `None` when there is nothing to send now. Each is given once; a frame that can't
    /// be sent whole ends the connection. An error too.
    pub fn transmit(&mut self, now_ms: u64) -> Result<Option<&[u8]>, SessionError<S::Error>> {
        if self.awaits_answer() && now_ms.saturating_sub(self.connection.quiet_since_ms) > self.identity.answer_ms_max()
        {
            return Err(SessionError::NoAnswer);
        }
        let frame = match self.connection.phase {
            Phase::Down | Phase::Greeted => None,
            Phase::Greeting => Some(self.hello(now_ms)?),
            Phase::Up => self.next_when_up(now_ms)?,
        };
        let Some(range) = frame else { return Ok(None) };
        self.connection.last_sent_ms = now_ms;
        Ok(self.buffers.send.as_ref().get(range))
    }

    /// Whether the gateway owes an answer.
    fn awaits_answer(&self) -> bool {
        self.connection.phase == Phase::Greeted || self.connection.pinged || self.connection.sent > 0
    }

    fn hello(&mut self, now_ms: u64) -> Result<Place, SessionError<S::Error>> {
        let numbering = self.storage.numbering();
        let hello = Hello {
            magic: MAGIC,
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            client_id: self.identity.client_id(),
            epoch: numbering.map_or(0, |numbering| numbering.epoch),
            next_sequence: numbering.map_or(0, |numbering| numbering.oldest),
            frame_bytes_max: self.connection.receive_bytes_max,
            in_flight_max: self.identity.in_flight_max().max(1),
            token: self.identity.token(),
        };
        let place = encode(&ClientMessage::Hello(hello), self.buffers.send.as_mut())?;
        self.connection.phase = Phase::Greeted;
        self.connection.quiet_since_ms = now_ms;
        Ok(place)
    }

    fn next_when_up(&mut self, now_ms: u64) -> Result<Option<Place>, SessionError<S::Error>> {
        let paused = now_ms < self.connection.pause_until_ms;
        if !paused {
            if let Some(topic) = self.identity.topic(self.connection.aliases) {
                let alias = Alias { alias: self.connection.aliases, topic };
                let place = encode(&ClientMessage::Alias(alias), self.buffers.send.as_mut())?;
                self.connection.aliases += 1;
                return Ok(Some(place));
            }
            if let Some(place) = self.next_publish(now_ms)? {
                return Ok(Some(place));
            }
        }
        let idle_ms = now_ms.saturating_sub(self.connection.last_sent_ms);
        if self.connection.ping_ms > 0 && idle_ms >= self.connection.ping_ms {
            let place = encode(&ClientMessage::Ping(Ping { id: 1 }), self.buffers.send.as_mut())?;
            if !self.awaits_answer() {
                self.connection.quiet_since_ms = now_ms;
            }
            self.connection.pinged = true;
            return Ok(Some(place));
        }
        Ok(None)
    }

    /// As many of the entries that come next as have the same topic and level and fit one frame and the window.
    fn next_publish(&mut self, now_ms: u64) -> Result<Option<Place>, SessionError<S::Error>> {
        let window = self.connection.in_flight_max.min(self.storage.count());
        let Some(numbering) = self.storage.numbering().filter(|_| self.connection.sent < window) else {
            return Ok(None);
        };
        let Some(first) = read(&mut self.storage, self.connection.sent, self.buffers.scratch.as_mut())? else {
            return self.drop_unsendable("a stored record can't be read back");
        };
        let (topic, level) = (first.topic, first.level);
        let limit = self.connection.frame_bytes_max.saturating_add(LENGTH_BYTES_MAX);
        let send = self.buffers.send.as_mut();
        let length = send.len().min(limit);
        let send = send.get_mut(..length).unwrap_or_default();
        let head = PublishHead {
            alias: topic,
            level,
            want_offset: false,
            sequence: numbering.oldest + u64::from(self.connection.sent),
            base_timestamp: self.connection.base_timestamp,
        };
        let mut writer = PublishWriter::begin(send, head).map_err(|NoRoom| SessionError::BufferTooSmall)?;
        let mut next = Some(first);
        let mut index = self.connection.sent;
        while let Some(entry) = next.filter(|entry| (entry.topic, entry.level) == (topic, level)) {
            if writer.push(&stamped(entry, index < self.stale, self.connection.wall_offset_ms)).is_err() {
                break;
            }
            index += 1;
            if index >= window {
                break;
            }
            next = read(&mut self.storage, index, self.buffers.scratch.as_mut())?;
        }
        if writer.count() == 0 {
            return self.drop_unsendable("the record is larger than the gateway's frames");
        }
        let place = writer.finish().map_err(|NoRoom| SessionError::BufferTooSmall)?;
        if !self.awaits_answer() {
            self.connection.quiet_since_ms = now_ms;
        }
        self.connection.sent = index;
        Ok(Some(place))
    }

    /// Drops the entry that comes next, since it can never be sent: once it is the oldest, so that those after it move
    /// up by one sequence and leave no gap.
    fn drop_unsendable(&mut self, why: &str) -> Result<Option<Place>, SessionError<S::Error>> {
        let Some(numbering) = self.storage.numbering().filter(|_| self.connection.sent == 0) else { return Ok(None) };
        if self.dropped.is_some() {
            return Ok(None);
        }
        self.release(1)?;
        self.storage.set_numbering(numbering).map_err(SessionError::Storage)?;
        let code = ErrorCode::RecordTooLarge;
        self.dropped = Some(Event::Refused { first: self.settled, count: 1, code, text: error_text(why) });
        Ok(None)
    }

    /// Lets `count` entries go.
    pub(super) fn release(&mut self, count: u32) -> Result<(), SessionError<S::Error>> {
        let count = count.min(self.storage.count());
        self.storage.release(count).map_err(SessionError::Storage)?;
        self.settled += u64::from(count);
        self.stale = self.stale.saturating_sub(count);
        self.connection.sent = self.connection.sent.saturating_sub(count);
        Ok(())
    }
}

/// Where a frame stands in the send buffer.
type Place = core::ops::Range<usize>;

fn encode<E>(message: &ClientMessage<'_>, buffer: &mut [u8]) -> Result<Place, SessionError<E>> {
    message.encode_at(buffer).map_err(|NoRoom| SessionError::BufferTooSmall)
}

fn read<'b, S: Storage>(
    storage: &mut S,
    index: u32,
    scratch: &'b mut [u8],
) -> Result<Option<Entry<'b>>, SessionError<S::Error>> {
    let length = storage.read(index, scratch).map_err(SessionError::Storage)?;
    Ok(length.and_then(|length| scratch.get(..length)).and_then(entry::read))
}

/// The record with wall time, as far as that can be known.
fn stamped<'a>(entry: Entry<'a>, stale: bool, wall_offset_ms: Option<i64>) -> Record<'a> {
    let mut record = entry.record;
    if entry.uptime {
        let offset = if stale { None } else { wall_offset_ms };
        record.timestamp = record.timestamp.zip(offset).map(|(uptime, offset)| uptime.saturating_add(offset));
    }
    record
}

/// As much of a text as has room, cut between characters.
pub(super) fn error_text(text: &str) -> ErrorText {
    let mut cut = ErrorText::new();
    for character in text.chars() {
        if cut.push(character).is_err() {
            break;
        }
    }
    cut
}
