//! Base64 (RFC 4648, section 4), with padding.

/// Encodes bytes, with padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let all = three.iter().chain([&0; 2]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = DIGITS.get(all >> (18 - 6 * place) & 63).copied().unwrap_or(b'=');
            out.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// Reads what [`encode`] has written; `None` for anything else: other characters, padding that is missing or out of place, bits that are
/// not zero behind the last byte.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for four in digits.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for digit in four {
            bits = bits << 6 | value(*digit)?;
        }
        bits <<= 6 * (4 - four.len());
        let bytes = four.len() - 1;
        let [_, all @ ..] = bits.to_be_bytes();
        let (kept, rest) = all.split_at_checked(bytes)?;
        if bytes == 0 || rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(kept);
    }
    Some(out)
}

fn value(digit: u8) -> Option<u32> {
    Some(match digit {
        b'A'..=b'Z' => u32::from(digit - b'A'),
        b'a'..=b'z' => u32::from(digit - b'a') + 26,
        b'0'..=b'9' => u32::from(digit - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(text.as_bytes()), coded);
            assert_eq!(decode(coded).as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(encode(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in [
            "Z", "Zg", "Zg=", "Zg===", "====", "Z===", "Zm9v====", "Zh==", "Zm9=", "Zm9v\n", "Zm 9", "-_==",
            "Zg==Zg==", "é===",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
        for length in 0..40 {
            let bytes: Vec<u8> = (0..length).map(|n: u8| n.wrapping_mul(37)).collect();
            assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
