//! rustls's state without I/O, and the bytes around it: what has come and is not worked off, what is decrypted and not taken, what is
//! encrypted and not sent.
//!
//! It is rustls's unbuffered interface. The buffered one keeps 4 KiB for reading on each connection for ever, half of all that an idle one
//! would hold.
//!
//! Invariants: while nothing is under way no buffer is held; of what comes no more is held than has come, and at most
//! [`INCOMING_BYTES_MAX`]; decrypted is no more than what is read, and the rest of one record.

use std::io::IoSlice;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{CommonState, Error};

/// Largest record of TLS with its header, bytes (RFC 8446, section 5.2).
const RECORD_BYTES_MAX: usize = 5 + 16_384 + 256;
/// What a record adds to its content at most, bytes.
const OVERHEAD_BYTES: usize = 64;
/// Most content of a record, bytes.
const CONTENT_BYTES_MAX: usize = 16_384;
/// A message of the handshake may have 64 KiB (rustls refuses larger ones), and comes in records.
const INCOMING_BYTES_MAX: usize = 65_536 + 2 * RECORD_BYTES_MAX;
/// What is encrypted at a time at most, bytes.
const WRITE_BYTES_MAX: usize = 4 * CONTENT_BYTES_MAX;
/// A piece of at least so many bytes is encrypted from where it lies; smaller ones are gathered into one record.
const PIECE_BYTES_MIN: usize = 4_096;
/// The room for what comes is so many times what is there.
const GROWTH: usize = 4;

/// rustls's state of one side.
pub enum Connection {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// See the module.
pub(super) struct Engine {
    connection: Connection,
    /// What has come; from `done` on it is not worked off.
    incoming: Vec<u8>,
    done: usize,
    /// Nothing has come since all that could be was worked off.
    is_worked_off: bool,
    /// What was decrypted; from `taken` on nobody has read it.
    plain: Vec<u8>,
    taken: usize,
    /// What was encrypted; from `sent` on the socket doesn't have it.
    outgoing: Vec<u8>,
    sent: usize,
    /// The other side has said that no more comes.
    has_ended: bool,
    is_closing: bool,
    /// What was wrong: nothing goes on after it.
    failed: Option<Error>,
}

impl Engine {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            incoming: Vec::new(),
            done: 0,
            is_worked_off: false,
            plain: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
            sent: 0,
            has_ended: false,
            is_closing: false,
            failed: None,
        }
    }

    /// What rustls tells of the connection.
    pub(super) fn state(&self) -> &CommonState {
        match &self.connection {
            Connection::Client(client) => client,
            Connection::Server(server) => server,
        }
    }

    /// Bytes that have come and are not worked off.
    pub(super) fn pending(&self) -> usize {
        self.incoming.len() - self.done
    }

    /// Takes what has come.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.make_way();
        self.incoming.extend_from_slice(bytes);
        self.is_worked_off = bytes.is_empty() && self.is_worked_off;
    }

    /// Lets `read` put more behind what has come, at most some times as much; it says how much it was. `None`: there is too much already.
    pub(super) fn receive_by<T>(&mut self, read: impl FnOnce(&mut [u8]) -> (usize, T)) -> Option<T> {
        self.make_way();
        let had = self.incoming.len();
        if had >= INCOMING_BYTES_MAX {
            return None;
        }
        self.incoming.resize(had + (GROWTH * had).min(RECORD_BYTES_MAX), 0);
        let (more, told) = read(self.incoming.get_mut(had..).unwrap_or_default());
        self.incoming.truncate(had + more);
        self.is_worked_off = more == 0 && self.is_worked_off;
        Some(told)
    }

    fn make_way(&mut self) {
        self.incoming.drain(..self.done);
        self.done = 0;
    }

    /// Works off what has come, until something is decrypted or more has to come.
    ///
    /// # Errors
    /// What is wrong with it; what the other side is to be told of that is in [`Engine::outgoing`] then.
    pub(super) fn process(&mut self) -> Result<(), Error> {
        self.work(&mut [], &mut Job::None).map(drop)
    }

    /// Reads what is decrypted; `None`: more has to come; 0: no more comes.
    ///
    /// # Errors
    /// As [`Engine::process`].
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<Option<usize>, Error> {
        if self.plain.is_empty() && !self.is_worked_off {
            let read = self.work(into, &mut Job::None)?;
            if read > 0 {
                return Ok(Some(read));
            }
        }
        let rest = self.plain.get(self.taken..).unwrap_or_default();
        let read = copy(rest, into);
        self.taken += read;
        if self.taken == self.plain.len() {
            (self.plain, self.taken) = (Vec::new(), 0);
        }
        Ok((read > 0 || self.has_ended).then_some(read))
    }

    /// Encrypts the first of these bytes; how many.
    ///
    /// # Errors
    /// As [`Engine::process`]; or the keys have been used for all that they may be.
    pub(super) fn write(&mut self, bufs: &[IoSlice<'_>]) -> Result<usize, Error> {
        let mut pieces = bufs.iter().filter(|buf| !buf.is_empty());
        let (Some(first), next) = (pieces.next(), pieces.next()) else { return Ok(0) };
        let mut gathered = Vec::new();
        let content = if first.len() >= PIECE_BYTES_MIN || next.is_none() {
            first.get(..WRITE_BYTES_MAX).unwrap_or(first)
        } else {
            for buf in bufs {
                let room = CONTENT_BYTES_MAX - gathered.len();
                gathered.extend_from_slice(buf.get(..room).unwrap_or(buf));
            }
            &gathered
        };
        let mut job = Job::Encrypt(content);
        self.work(&mut [], &mut job)?;
        // Where it is still to be done, both sides have ended the connection.
        if matches!(job, Job::None) { Ok(content.len()) } else { Err(Error::EncryptError) }
    }

    /// Says that no more comes from here.
    pub(super) fn close(&mut self) {
        if !self.is_closing {
            self.is_closing = true;
            // What is wrong with what came meanwhile doesn't matter any more.
            let _ = self.work(&mut [], &mut Job::Close);
        }
    }

    /// What is to be sent.
    pub(super) fn outgoing(&self) -> &[u8] {
        self.outgoing.get(self.sent..).unwrap_or_default()
    }

    /// So much of it has been.
    pub(super) fn has_sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent >= self.outgoing.len() {
            (self.outgoing, self.sent) = (Vec::new(), 0);
        }
    }

    /// Whether it holds no buffer.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        [&self.incoming, &self.plain, &self.outgoing].iter().all(|buffer| buffer.capacity() == 0)
    }

    /// Works off what has come, as far as there is room `into` which to decrypt it, and does a job if there is one; how much was decrypted
    /// into it.
    fn work(&mut self, into: &mut [u8], job: &mut Job<'_>) -> Result<usize, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut read = 0;
        loop {
            if matches!(job, Job::None) && (!self.plain.is_empty() || read > 0 && read == into.len()) {
                return Ok(read);
            }
            let (more, went) = self.step(into.get_mut(read..).unwrap_or_default(), job);
            read += more;
            match went {
                Ok(Went::On) => {}
                Ok(Went::Waits) => break,
                Err(error) => {
                    // With this step, what the other side is to be told of it is put in line; another one would be one too many for rustls.
                    let _ = self.step(&mut [], &mut Job::None);
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
        self.is_worked_off = true;
        if self.pending() == 0 {
            (self.incoming, self.done) = (Vec::new(), 0);
        }
        Ok(read)
    }

    /// One step of rustls's; how much was decrypted, and how it goes on.
    fn step(&mut self, into: &mut [u8], job: &mut Job<'_>) -> (usize, Result<Went, Error>) {
        let rest = self.incoming.get_mut(self.done..).unwrap_or_default();
        let (plain, outgoing, has_ended) = (&mut self.plain, &mut self.outgoing, &mut self.has_ended);
        let mut ends = Ends { into, read: 0, plain, outgoing, has_ended, job };
        let (discard, went) = match &mut self.connection {
            Connection::Client(client) => ends.settle(client.process_tls_records(rest)),
            Connection::Server(server) => ends.settle(server.process_tls_records(rest)),
        };
        self.done += discard;
        (ends.read, went)
    }
}

/// What is to be done once rustls can.
enum Job<'a> {
    None,
    Encrypt(&'a [u8]),
    Close,
}

/// How it goes on after a step.
enum Went {
    On,
    Waits,
}

/// Where bytes of a step go to.
struct Ends<'a, 'j> {
    into: &'a mut [u8],
    /// Bytes that are there.
    read: usize,
    /// What has no room there.
    plain: &'a mut Vec<u8>,
    outgoing: &'a mut Vec<u8>,
    has_ended: &'a mut bool,
    job: &'a mut Job<'j>,
}

impl Ends<'_, '_> {
    /// Does what rustls asks for; how many bytes of those that have come it needs no more, and how it goes on.
    fn settle<Data>(&mut self, status: UnbufferedStatus<'_, '_, Data>) -> (usize, Result<Went, Error>) {
        let mut discard = status.discard;
        let went = status.state.and_then(|state| match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    self.take(record.payload);
                }
                Ok(Went::On)
            }
            ConnectionState::EncodeTlsData(mut message) => {
                put(self.outgoing, 0, |room| message.encode(room).map_err(Unput::from))?;
                Ok(Went::On)
            }
            ConnectionState::TransmitTlsData(sent) => {
                // In line it is sent before anything that comes behind it.
                sent.done();
                Ok(Went::On)
            }
            ConnectionState::WriteTraffic(mut traffic) => {
                match std::mem::replace(self.job, Job::None) {
                    Job::None => {}
                    Job::Encrypt(content) => {
                        let records = content.len().div_ceil(CONTENT_BYTES_MAX);
                        let guess = content.len() + records * OVERHEAD_BYTES;
                        put(self.outgoing, guess, |room| traffic.encrypt(content, room).map_err(Unput::from))?;
                    }
                    Job::Close => {
                        let close = |room: &mut [u8]| traffic.queue_close_notify(room).map_err(Unput::from);
                        put(self.outgoing, OVERHEAD_BYTES, close)?;
                    }
                }
                Ok(Went::Waits)
            }
            ConnectionState::PeerClosed => {
                *self.has_ended = true;
                Ok(Went::On)
            }
            // Early data is never allowed.
            _ => Ok(Went::Waits),
        });
        (discard, went)
    }

    fn take(&mut self, payload: &[u8]) {
        let fits = copy(payload, self.into.get_mut(self.read..).unwrap_or_default());
        self.read += fits;
        self.plain.extend_from_slice(payload.get(fits..).unwrap_or_default());
    }
}

/// As much as there is room for.
fn copy(from: &[u8], into: &mut [u8]) -> usize {
    into.iter_mut().zip(from).for_each(|(into, from)| *into = *from);
    from.len().min(into.len())
}

/// Why nothing was put.
enum Unput {
    /// So many bytes of room are needed.
    Needs(usize),
    Never,
}

impl From<EncodeError> for Unput {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Self::Needs(required_size),
            EncodeError::AlreadyEncoded => Self::Never,
        }
    }
}

impl From<EncryptError> for Unput {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Self::Needs(required_size),
            EncryptError::EncryptExhausted => Self::Never,
        }
    }
}

/// Lets `write` put something behind `line`, with room for `guess` bytes first, then with as much as it says.
fn put(
    line: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Unput>,
) -> Result<(), Error> {
    let had = line.len();
    let mut room = guess;
    for _ in 0..2 {
        line.resize(had + room, 0);
        match write(line.get_mut(had..).unwrap_or_default()) {
            Ok(put) => {
                line.truncate(had + put);
                return Ok(());
            }
            Err(Unput::Needs(bytes)) => room = bytes,
            Err(Unput::Never) => break,
        }
    }
    line.truncate(had);
    Err(Error::EncryptError)
}
