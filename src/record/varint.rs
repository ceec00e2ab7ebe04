//! Kafka's variable-length integers inside records: zigzag, then seven bits a byte, low bits first
//! (as Protocol Buffers' `sint32` and `sint64`).

/// Bytes of the longest encoding of 64 bits.
const BYTES_MAX: usize = 10;

/// Bytes that `value` takes. A 32-bit value takes the same as the 64-bit one of equal worth.
pub(super) fn size(value: i64) -> usize {
    let bits = 64 - zigzag(value).leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

/// Appends `value`.
pub(super) fn put(value: i64, out: &mut Vec<u8>) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Takes a value of 64 bits, byte by byte from `next`. `Ok(None)`: more bits than fit.
pub(super) fn take_i64<E>(mut next: impl FnMut() -> Result<u8, E>) -> Result<Option<i64>, E> {
    let mut value = 0_u64;
    for index in 0..BYTES_MAX {
        let byte = next()?;
        // The tenth byte has room for one bit.
        if index == BYTES_MAX - 1 && byte > 1 {
            return Ok(None);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some(unzigzag(value)));
        }
    }
    Ok(None)
}

/// Takes a value of 32 bits, byte by byte from `next`. `Ok(None)`: more bits or bytes than 32 bits have.
pub(super) fn take_i32<E>(mut next: impl FnMut() -> Result<u8, E>) -> Result<Option<i32>, E> {
    let mut value = 0_u64;
    for index in 0..5 {
        let byte = next()?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(u32::try_from(value).ok().map(|value| unzigzag(u64::from(value)) as i32));
        }
    }
    Ok(None)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_slice<T>(
        bytes: &[u8],
        take: impl Fn(&mut dyn FnMut() -> Result<u8, ()>) -> Result<Option<T>, ()>,
    ) -> Result<Option<T>, ()> {
        let mut bytes = bytes.iter();
        take(&mut || bytes.next().copied().ok_or(()))
    }

    #[test]
    fn known_bytes() {
        for (value, bytes) in [
            (0_i64, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (8_192, &[0x80, 0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            put(value, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(size(value), bytes.len());
            assert_eq!(from_slice(bytes, |next| take_i64(next)), Ok(Some(value)));
            if let Ok(value) = i32::try_from(value) {
                assert_eq!(from_slice(bytes, |next| take_i32(next)), Ok(Some(value)));
            }
        }
    }

    #[test]
    fn too_many_bits_are_refused() {
        assert_eq!(from_slice(&[0xff, 0xff, 0xff, 0xff, 0x1f], |next| take_i32(next)), Ok(None));
        assert_eq!(from_slice(&[0x80; 6], |next| take_i32(next)), Ok(None));
        assert_eq!(
            from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], |next| take_i64(next)),
            Ok(None)
        );
        assert_eq!(from_slice(&[0x80; 11], |next| take_i64(next)), Ok(None));
        assert_eq!(from_slice(&[0x80], |next| take_i64(next)), Err(()));
    }
}
