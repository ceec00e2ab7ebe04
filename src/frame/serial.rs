//! Frames on a serial link: the body and its CRC-32C (four bytes, little-endian), COBS-encoded, ended by a zero byte.
//!
//! COBS (Cheshire and Baker, 1999) takes every zero out of a packet at a cost of one byte in 254, so a zero always ends
//! one: after noise the receiver is in step again with the next zero. What was lost shows as a sequence gap to the
//! gateway, or as a time-out to the client.

use super::wire::NoRoom;

/// Ends each packet.
pub const DELIMITER: u8 = 0;
const CRC_BYTES: usize = 4;

/// Largest packet for a body, delimiter included, bytes.
pub const fn packet_bytes_max(body: usize) -> usize {
    let plain = body + CRC_BYTES;
    plain + plain / 254 + 2
}

/// Encodes a frame's body as a packet in `out`, and gives the packet. [`packet_bytes_max`] is room enough.
pub fn encode<'b>(body: &[u8], out: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
    let crc = crc32c(body).to_le_bytes();
    let mut code_at = 0;
    let mut written = 1;
    for byte in body.iter().chain(&crc) {
        if *byte != 0 {
            *out.get_mut(written).ok_or(NoRoom)? = *byte;
            written += 1;
        }
        // A code byte tells the distance to the next one; 255 stands for no zero between them.
        if *byte == 0 || written - code_at == 0xff {
            *out.get_mut(code_at).ok_or(NoRoom)? = (written - code_at) as u8;
            code_at = written;
            written += 1;
        }
    }
    *out.get_mut(code_at).ok_or(NoRoom)? = (written - code_at) as u8;
    *out.get_mut(written).ok_or(NoRoom)? = DELIMITER;
    out.get(..=written).ok_or(NoRoom)
}

/// What a received byte led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received<'a> {
    /// The packet goes on.
    More,
    /// A whole packet's body, its CRC good.
    Body(&'a [u8]),
    /// A packet that was damaged or too large is over; the next may be good.
    Damaged,
}

/// Decodes packets byte by byte in a buffer that holds one body and four bytes more.
#[derive(Debug)]
pub struct SerialDecoder<B> {
    buffer: B,
    length: usize,
    /// Bytes until the next code byte.
    left: u8,
    /// Whether a zero stands where the next code byte does.
    zero_due: bool,
    damaged: bool,
    started: bool,
    /// The last answer lent the buffer's content; it goes with the next byte.
    lent: bool,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> SerialDecoder<B> {
    /// Takes bodies of up to four bytes less than the buffer.
    pub fn new(buffer: B) -> Self {
        Self { buffer, length: 0, left: 0, zero_due: false, damaged: false, started: false, lent: false }
    }

    /// Takes one byte off the line.
    pub fn push(&mut self, byte: u8) -> Received<'_> {
        if self.lent {
            self.restart();
        }
        if byte == DELIMITER {
            return self.end();
        }
        self.started = true;
        if self.left > 0 {
            self.left -= 1;
            self.put(byte);
        } else {
            if self.zero_due {
                self.put(0);
            }
            self.left = byte - 1;
            self.zero_due = byte != 0xff;
        }
        Received::More
    }

    fn put(&mut self, byte: u8) {
        match self.buffer.as_mut().get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length += 1;
            }
            None => self.damaged = true,
        }
    }

    fn end(&mut self) -> Received<'_> {
        // Zeros between packets are allowed: a sender may begin with one to end what noise has left.
        if !self.started {
            return Received::More;
        }
        let whole = !self.damaged && self.left == 0;
        self.lent = true;
        let packet = self.buffer.as_ref().get(..self.length).unwrap_or_default();
        match packet.split_last_chunk::<CRC_BYTES>() {
            Some((body, crc)) if whole && !body.is_empty() && crc32c(body) == u32::from_le_bytes(*crc) => {
                Received::Body(body)
            }
            _ => Received::Damaged,
        }
    }

    fn restart(&mut self) {
        self.length = 0;
        self.left = 0;
        self.zero_due = false;
        self.damaged = false;
        self.started = false;
        self.lent = false;
    }
}

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78; RFC 3720 appendix B.4), a bit at a time: a table would cost a
/// device 1 KiB, and a serial link is slower than this.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(line: &[u8], decoder: &mut SerialDecoder<[u8; 700]>) -> (Vec<Vec<u8>>, usize) {
        let (mut bodies, mut damaged) = (Vec::new(), 0);
        for byte in line {
            match decoder.push(*byte) {
                Received::More => {}
                Received::Body(body) => bodies.push(body.to_vec()),
                Received::Damaged => damaged += 1,
            }
        }
        (bodies, damaged)
    }

    #[test]
    fn the_check_value_is_the_published_one() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn bodies_around_the_block_length_come_back() {
        for length in [1, 2, 249, 250, 251, 252, 253, 254, 255, 256, 503, 504, 505, 600] {
            for fill in [0, 1] {
                let body = vec![fill; length];
                let mut out = vec![0; packet_bytes_max(length)];
                let packet = encode(&body, &mut out).unwrap();
                assert_eq!(packet.iter().filter(|byte| **byte == 0).count(), 1, "zero only at the end");
                assert_eq!(decode_all(packet, &mut SerialDecoder::new([0; 700])), (vec![body], 0), "{length} × {fill}");
            }
        }
    }

    #[test]
    fn noise_costs_one_packet() {
        let mut line = Vec::new();
        for body in [b"one".as_slice(), b"two", b"three"] {
            line.extend_from_slice(encode(body, &mut [0; 32]).unwrap());
        }
        line[10] ^= 0x40;
        let (bodies, damaged) = decode_all(&line, &mut SerialDecoder::new([0; 700]));
        assert_eq!((bodies, damaged), (vec![b"one".to_vec(), b"three".to_vec()], 1));
        let (_, damaged) = decode_all(&[vec![7; 2_000], vec![0]].concat(), &mut SerialDecoder::new([0; 700]));
        assert_eq!(damaged, 1, "too large for the buffer");
    }
}
