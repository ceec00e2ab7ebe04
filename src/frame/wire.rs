//! The primitives of the wire, the same as postcard's: LEB128 varints, zigzag for signed numbers, length-prefixed bytes.
//!
//! Record lists are written and read with these by hand, so that a list can be iterated in place without memory of
//! its own. A [`Reader`] never believes a length: what isn't there is [`Short`].

/// Longest varint of a 64-bit number, bytes.
pub const VARINT64_BYTES_MAX: usize = 10;

/// The input ended inside a value, or a varint doesn't fit its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short;

/// The output buffer has no room for the value. What was written before it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Takes values off the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What isn't read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Short> {
        let (first, rest) = self.rest.split_first().ok_or(Short)?;
        self.rest = rest;
        Ok(*first)
    }

    /// An unsigned LEB128 varint of at most 64 bits.
    pub fn varint(&mut self) -> Result<u64, Short> {
        let mut value = 0u64;
        for shift in (0..VARINT64_BYTES_MAX as u32).map(|i| i * 7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Short);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Short)
    }

    /// A zigzag varint.
    pub fn zigzag(&mut self) -> Result<i64, Short> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A varint length and as many bytes, borrowed.
    pub fn bytes(&mut self) -> Result<&'a [u8], Short> {
        let length = self.varint()?;
        self.take(length)
    }

    /// A varint, 0 for none, else 1 + length, and as many bytes, borrowed.
    pub fn optional_bytes(&mut self) -> Result<Option<&'a [u8]>, Short> {
        match self.varint()? {
            0 => Ok(None),
            length => self.take(length - 1).map(Some),
        }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Short> {
        let length = usize::try_from(length).map_err(|_| Short)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Short)?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// Appends values to a slice of fixed length.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    written: usize,
}

impl<'b> Writer<'b> {
    /// Writes from the start of `buffer`.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, written: 0 }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.written
    }

    /// Whether nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Goes back to an earlier length, dropping what was written since.
    pub fn truncate(&mut self, length: usize) {
        self.written = self.written.min(length);
    }

    /// The room that is left; what is put there counts after [`Writer::advance`].
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.written..).unwrap_or_default()
    }

    /// Counts `length` bytes of [`Writer::room`] as written.
    pub fn advance(&mut self, length: usize) -> Result<(), NoRoom> {
        let end = self.written.checked_add(length).filter(|end| *end <= self.buffer.len()).ok_or(NoRoom)?;
        self.written = end;
        Ok(())
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.room().get_mut(..bytes.len()).ok_or(NoRoom)?.copy_from_slice(bytes);
        self.advance(bytes.len())
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) -> Result<(), NoRoom> {
        self.raw(&[byte])
    }

    /// An unsigned LEB128 varint.
    pub fn varint(&mut self, mut value: u64) -> Result<(), NoRoom> {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80)?;
            value >>= 7;
        }
        self.byte(value as u8)
    }

    /// A zigzag varint.
    pub fn zigzag(&mut self, value: i64) -> Result<(), NoRoom> {
        self.varint(((value << 1) ^ (value >> 63)) as u64)
    }

    /// A varint length and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.varint(bytes.len() as u64)?;
        self.raw(bytes)
    }

    /// A varint, 0 for none, else 1 + length, and the bytes.
    pub fn optional_bytes(&mut self, bytes: Option<&[u8]>) -> Result<(), NoRoom> {
        match bytes {
            None => self.byte(0),
            Some(bytes) => {
                self.varint(bytes.len() as u64 + 1)?;
                self.raw(bytes)
            }
        }
    }

    /// What was written.
    pub fn written(&self) -> &[u8] {
        self.buffer.get(..self.written).unwrap_or_default()
    }

    /// What was written, for the life of the buffer.
    pub fn finish(self) -> &'b mut [u8] {
        self.buffer.get_mut(..self.written).unwrap_or_default()
    }
}

/// Bytes that the varint of `value` takes.
pub const fn varint_bytes(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut buffer = [0; VARINT64_BYTES_MAX];
            let mut writer = Writer::new(&mut buffer);
            writer.varint(value).unwrap();
            assert_eq!(writer.len(), varint_bytes(value));
            let mut reader = Reader::new(writer.written());
            assert_eq!(reader.varint(), Ok(value));
            assert!(reader.rest().is_empty());
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut buffer = [0; VARINT64_BYTES_MAX];
            let mut writer = Writer::new(&mut buffer);
            writer.zigzag(value).unwrap();
            assert_eq!(Reader::new(writer.written()).zigzag(), Ok(value));
        }
    }

    #[test]
    fn what_is_not_there_is_short() {
        assert_eq!(Reader::new(&[0x80; 11]).varint(), Err(Short), "a varint without end");
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).varint(), Err(Short));
        assert_eq!(Reader::new(&[5, 1, 2]).bytes(), Err(Short), "a length beyond the input");
        assert_eq!(Reader::new(&[]).optional_bytes(), Err(Short));
        assert_eq!(Writer::new(&mut [0; 2]).bytes(&[1, 2]), Err(NoRoom));
    }
}
