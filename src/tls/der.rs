//! The little of DER (ITU-T X.690) that certificates are made of: elements one after the other, read and written.
//!
//! Invariants: reading never panics and never looks beyond what it was given; lengths that aren't in their shortest form are refused,
//! as DER demands.

/// Tags (X.690, section 8.1.2).
pub(super) mod tag {
    pub(in crate::tls) const BOOLEAN: u8 = 0x01;
    pub(in crate::tls) const INTEGER: u8 = 0x02;
    pub(in crate::tls) const BIT_STRING: u8 = 0x03;
    pub(in crate::tls) const OCTET_STRING: u8 = 0x04;
    pub(in crate::tls) const OID: u8 = 0x06;
    pub(in crate::tls) const UTF8_STRING: u8 = 0x0c;
    pub(in crate::tls) const PRINTABLE_STRING: u8 = 0x13;
    pub(in crate::tls) const TELETEX_STRING: u8 = 0x14;
    pub(in crate::tls) const IA5_STRING: u8 = 0x16;
    pub(in crate::tls) const UTC_TIME: u8 = 0x17;
    pub(in crate::tls) const GENERALIZED_TIME: u8 = 0x18;
    pub(in crate::tls) const BMP_STRING: u8 = 0x1e;
    pub(in crate::tls) const SEQUENCE: u8 = 0x30;
    pub(in crate::tls) const SET: u8 = 0x31;
    /// `[n]`, constructed, as in explicit tags.
    pub(in crate::tls) const fn explicit(n: u8) -> u8 {
        0xa0 | n
    }
    /// `[n]`, primitive, as in implicit tags of strings.
    pub(in crate::tls) const fn implicit(n: u8) -> u8 {
        0x80 | n
    }
}

/// Elements, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

/// An element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With tag and length.
    pub(super) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements within.
    pub(super) fn inside(&self) -> Reader<'a> {
        Reader(self.content)
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element; `None` if there is none that is whole.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let (tag, length, header) = match *self.0 {
            // Tags beyond 30 take more bytes; nothing in a certificate has one.
            [tag, ..] if tag & 0x1f == 0x1f => return None,
            [tag, length @ ..=0x7f, ..] => (tag, usize::from(length), 2),
            [tag, 0x81, length @ 0x80..=0xff, ..] => (tag, usize::from(length), 3),
            [tag, 0x82, high @ 1..=0xff, low, ..] => (tag, usize::from(high) << 8 | usize::from(low), 4),
            [tag, 0x83, high @ 1..=0xff, middle, low, ..] => {
                (tag, usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low), 5)
            }
            _ => return None,
        };
        let (whole, rest) = self.0.split_at_checked(header + length)?;
        self.0 = rest;
        Some(Element { tag, content: whole.get(header..)?, whole })
    }

    /// The next element, if it has this tag; else nothing is taken.
    pub(super) fn next_if(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.next().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }
}

/// An element of these parts, one behind the other.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 5);
    out.push(tag);
    let bytes = length.to_be_bytes();
    let significant = bytes.iter().position(|byte| *byte != 0).and_then(|first| bytes.get(first..)).unwrap_or_default();
    match significant {
        [] => out.push(0),
        [short @ ..=0x7f] => out.push(*short),
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A sequence of these parts.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(tag::SEQUENCE, parts)
}

/// A whole number that isn't negative, from its bytes, highest first.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let bytes = bytes.get(first..).unwrap_or_default();
    // A leading bit would make it negative; none at all is zero.
    let pad: &[u8] = if bytes.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    element(tag::INTEGER, &[pad, bytes])
}

/// An object identifier by its bytes.
pub(super) fn oid(bytes: &[u8]) -> Vec<u8> {
    element(tag::OID, &[bytes])
}

/// Bits that fill whole bytes.
pub(super) fn bits(bytes: &[u8]) -> Vec<u8> {
    element(tag::BIT_STRING, &[&[0], bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let content = vec![7; length];
            let bytes = element(tag::OCTET_STRING, &[&content]);
            let mut reader = Reader::new(&bytes);
            let element = reader.next().unwrap();
            assert_eq!((element.tag, element.content, element.whole), (tag::OCTET_STRING, &content[..], &bytes[..]));
            assert!(reader.is_empty() && reader.next().is_none());
        }
    }

    #[test]
    fn numbers_are_as_short_as_can_be_and_never_negative() {
        for (bytes, expected) in
            [(&[][..], &[2, 1, 0][..]), (&[0, 0], &[2, 1, 0]), (&[0, 5], &[2, 1, 5]), (&[0x80], &[2, 2, 0, 0x80])]
        {
            assert_eq!(integer(bytes), expected);
        }
    }

    #[test]
    fn what_is_cut_off_or_longer_than_needed_is_refused() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 1],
            &[0x30, 0x80],
            &[0x30, 0x81, 0x7f],
            &[0x30, 0x82, 0, 0x80],
            &[0x30, 0x84, 0, 0, 0, 1, 0],
            &[0x1f, 0x20, 0],
        ] {
            assert!(Reader::new(bytes).next().is_none(), "{bytes:?}");
        }
    }
}
