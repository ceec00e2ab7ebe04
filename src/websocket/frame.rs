//! Frames: those of a client taken apart as they come, those of the server begun.
//!
//! Invariants: no input panics; a payload is undone in place, so decoding needs no memory beyond a header and one ping; what breaks the
//! rules of RFC 6455 is noticed before the first byte of the payload that it stands before; behind CLOSE nothing is read.

use std::fmt;

/// Longest payload of PING, PONG and CLOSE (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
/// Longest header of a frame: two bytes, a length, a mask.
const HEADER_BYTES_MAX: usize = 14;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A client has broken the rules: the connection is closed with this code (section 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    pub code: u16,
    pub what: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSocket: {} ({})", self.what, self.code)
    }
}

impl std::error::Error for Violation {}

const fn violation(what: &'static str) -> Violation {
    Violation { code: 1002, what }
}

/// What some bytes of a client held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// So many bytes of data now stand at the front.
    pub data: usize,
    /// The newest PING's payload: PONG is owed.
    pub ping: Option<Vec<u8>>,
    /// CLOSE has come: its payload is to be sent back, and nothing else comes.
    pub close: Option<Vec<u8>>,
}

/// What a client sends, from its first frame to its CLOSE.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_BYTES_MAX],
    /// Bytes of the header that have come.
    have: usize,
    /// The frame whose payload comes.
    frame: Option<Frame>,
    /// A message has begun that is not at its end.
    in_message: bool,
    is_closed: bool,
}

#[derive(Clone, Debug)]
struct Frame {
    opcode: u8,
    mask: [u8; 4],
    /// Bytes of the payload that have come, of all.
    done: u64,
    length: u64,
    /// The payload of a control frame.
    control: Vec<u8>,
}

impl Decoder {
    /// Takes what has come, whole or in pieces, and moves the data in it to the front.
    ///
    /// # Errors
    /// [`Violation`]; what stood before it is lost with the connection.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, Violation> {
        let mut decoded = Decoded::default();
        let mut read = 0;
        while !self.is_closed {
            let Some(frame) = &mut self.frame else {
                let Some(byte) = bytes.get(read) else { break };
                read += 1;
                self.header_byte(*byte)?;
                continue;
            };
            let left = usize::try_from(frame.length - frame.done).unwrap_or(usize::MAX);
            let taken = left.min(bytes.len() - read);
            if taken == 0 && left > 0 {
                break;
            }
            let payload = bytes.get_mut(read..read + taken).unwrap_or_default();
            frame.unmask(payload);
            if frame.is_control() {
                frame.control.extend_from_slice(payload);
            } else {
                bytes.copy_within(read..read + taken, decoded.data);
                decoded.data += taken;
            }
            read += taken;
            if taken == left {
                self.finish(&mut decoded)?;
            }
        }
        Ok(decoded)
    }

    fn header_byte(&mut self, byte: u8) -> Result<(), Violation> {
        if let Some(slot) = self.header.get_mut(self.have) {
            *slot = byte;
        }
        self.have += 1;
        let [first, second, rest @ ..] = self.header;
        if self.have == 2 {
            self.check(first, second)?;
        }
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.have < 2 + length_bytes + 4 {
            return Ok(());
        }
        let (long, rest) = rest.split_at_checked(length_bytes).unwrap_or_default();
        let long = long.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        let length = match length_bytes {
            0 => u64::from(second & 0x7f),
            2 if long < 126 => return Err(violation("a length that is longer than it need be")),
            8 if long < 0x1_0000 => return Err(violation("a length that is longer than it need be")),
            8 if long >> 63 != 0 => return Err(violation("a length beyond 63 bits")),
            _ => long,
        };
        let mask = rest.first_chunk().copied().unwrap_or_default();
        self.have = 0;
        self.frame = Some(Frame { opcode: first & 0x0f, mask, done: 0, length, control: Vec::new() });
        Ok(())
    }

    fn check(&mut self, first: u8, second: u8) -> Result<(), Violation> {
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(violation("reserved bits: no extension was agreed on"));
        }
        if second & 0x80 == 0 {
            return Err(violation("a frame of a client without a mask"));
        }
        match opcode {
            TEXT => return Err(Violation { code: 1003, what: "a text message: MQTT comes in binary ones" }),
            CONTINUATION if !self.in_message => return Err(violation("the continuation of nothing")),
            BINARY if self.in_message => return Err(violation("a message within a message")),
            CONTINUATION | BINARY => self.in_message = !is_last,
            CLOSE | PING | PONG if !is_last => return Err(violation("a control frame in pieces")),
            CLOSE | PING | PONG if usize::from(second & 0x7f) > CONTROL_BYTES_MAX => {
                return Err(violation("a control frame of more than 125 bytes"));
            }
            CLOSE | PING | PONG => {}
            _ => return Err(violation("an unknown kind of frame")),
        }
        Ok(())
    }

    fn finish(&mut self, decoded: &mut Decoded) -> Result<(), Violation> {
        let Some(frame) = self.frame.take() else { return Ok(()) };
        match frame.opcode {
            PING => decoded.ping = Some(frame.control),
            CLOSE => {
                check_close(&frame.control)?;
                self.is_closed = true;
                decoded.close = Some(frame.control);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Frame {
    fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }

    fn unmask(&mut self, payload: &mut [u8]) {
        // As a word where the payload is long, and in steps of it.
        self.mask.rotate_left((self.done % 4) as usize);
        let mut words = payload.chunks_exact_mut(4);
        for word in &mut words {
            for (byte, mask) in word.iter_mut().zip(self.mask) {
                *byte ^= mask;
            }
        }
        for (byte, mask) in words.into_remainder().iter_mut().zip(self.mask) {
            *byte ^= mask;
        }
        self.mask.rotate_right((self.done % 4) as usize);
        self.done += payload.len() as u64;
    }
}

/// A code and a reason, or nothing (sections 5.5.1 and 7.4).
fn check_close(payload: &[u8]) -> Result<(), Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(()) } else { Err(violation("CLOSE with half a code")) };
    };
    if !matches!(u16::from_be_bytes(*code), 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(violation("CLOSE with a code that is not to be sent"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(()),
        Err(_) => Err(Violation { code: 1007, what: "CLOSE with a reason that is not UTF-8" }),
    }
}

/// Begins a message of `length` bytes, which follow.
pub fn put_header(out: &mut Vec<u8>, length: usize) {
    put(out, BINARY, length);
}

/// The answer to a PING.
pub fn put_pong(out: &mut Vec<u8>, payload: &[u8]) {
    put_control(out, PONG, payload);
}

/// The end, or the answer to it: a code and a reason, or nothing.
pub fn put_close(out: &mut Vec<u8>, payload: &[u8]) {
    put_control(out, CLOSE, payload);
}

fn put_control(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let payload = payload.get(..CONTROL_BYTES_MAX).unwrap_or(payload);
    put(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

fn put(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(0x80 | opcode);
    match length {
        0..126 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
