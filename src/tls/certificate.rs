//! What a certificate says (RFC 5280): whose it is, who issued it, from when until when. Whether that is to be believed is for
//! [`super::verify`] to say.
//!
//! Invariant: reading never panics; what can't be read is `None`, never a guess.

use std::net::IpAddr;

use super::der::{Element, Reader, tag};
use crate::calendar::parse_rfc3339;

/// Object identifiers, as their bytes.
pub(super) mod oid {
    pub(in crate::tls) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    pub(in crate::tls) const SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 14];
    pub(in crate::tls) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
    pub(in crate::tls) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub names: Names,
    /// The issuer's distinguished name, as [`Names::subject`].
    pub issuer: String,
    /// In hexadecimal.
    pub serial: String,
    /// Unix ms.
    pub not_before_ms: i64,
    /// Unix ms; at that moment it is still valid.
    pub not_after_ms: i64,
    /// The distinguished name of its owner as it stands there: what it issues must repeat it.
    pub(super) subject_der: Vec<u8>,
    /// The identifier of its key, which what it issues repeats too.
    pub(super) subject_key: Option<Vec<u8>>,
    /// Whether it may issue others.
    pub is_authority: bool,
}

/// Whose a certificate is, in all the ways that it says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The distinguished name as RFC 2253 writes it: `CN=pump-7,O=plant`. What Kafka calls a principal of TLS.
    pub subject: String,
    /// The last common name in it.
    pub common_name: Option<String>,
    /// Alternative names (RFC 5280, section 4.2.1.6).
    pub dns: Vec<String>,
    /// Addresses of IP.
    pub addresses: Vec<String>,
    pub emails: Vec<String>,
    pub uris: Vec<String>,
}

impl Certificate {
    /// Reads a certificate in DER.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let whole = Reader::new(der).next_if(tag::SEQUENCE)?;
        let mut fields = whole.inside().next_if(tag::SEQUENCE)?.inside();
        fields.next_if(tag::explicit(0));
        let serial = fields.next_if(tag::INTEGER)?;
        fields.next_if(tag::SEQUENCE)?;
        let issuer = fields.next_if(tag::SEQUENCE)?;
        let mut validity = fields.next_if(tag::SEQUENCE)?.inside();
        let (not_before_ms, not_after_ms) = (time(&validity.next()?)?, time(&validity.next()?)?);
        let subject = fields.next_if(tag::SEQUENCE)?;
        fields.next_if(tag::SEQUENCE)?;
        let (subject_text, common_name) = distinguished(&subject)?;
        let mut found = Self {
            names: Names { subject: subject_text, common_name, ..Names::default() },
            issuer: distinguished(&issuer)?.0,
            serial: hex(serial.content),
            not_before_ms,
            not_after_ms,
            subject_der: subject.whole.to_vec(),
            subject_key: None,
            is_authority: false,
        };
        while let Some(field) = fields.next() {
            if field.tag == tag::explicit(3) {
                extensions(&field).into_iter().for_each(|(kind, value)| found.extend(kind, value));
            }
        }
        Some(found)
    }

    /// Takes in what an extension says, if it is one of those that are looked at.
    fn extend(&mut self, kind: &[u8], value: &[u8]) {
        let mut value = Reader::new(value);
        match kind {
            oid::SUBJECT_KEY => self.subject_key = value.next_if(tag::OCTET_STRING).map(|key| key.content.to_vec()),
            oid::BASIC_CONSTRAINTS => {
                let constraints = value.next_if(tag::SEQUENCE);
                let is_authority = constraints.and_then(|of| of.inside().next_if(tag::BOOLEAN));
                self.is_authority = is_authority.is_some_and(|value| value.content == [0xff]);
            }
            oid::SUBJECT_ALT_NAME => alternatives(&mut value, &mut self.names),
            _ => {}
        }
    }
}

/// Extensions, by object identifier, as certificates and revocation lists have them; those that can't be read are left out.
pub(super) fn extensions<'a>(field: &Element<'a>) -> Vec<(&'a [u8], &'a [u8])> {
    let mut found = Vec::new();
    let mut list = field.inside().next_if(tag::SEQUENCE).map_or(Reader::new(&[]), |list| list.inside());
    while let Some(extension) = list.next_if(tag::SEQUENCE) {
        let mut fields = extension.inside();
        let kind = fields.next_if(tag::OID);
        // Whether it is critical.
        fields.next_if(tag::BOOLEAN);
        if let (Some(kind), Some(value)) = (kind, fields.next_if(tag::OCTET_STRING)) {
            found.push((kind.content, value.content));
        }
    }
    found
}

/// UTCTime or GeneralizedTime as Unix ms (RFC 5280, section 4.1.2.5: to the second, in UTC).
fn time(element: &Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(element.content).ok()?;
    let century = match element.tag {
        tag::UTC_TIME if text.get(..2)?.parse::<u8>().ok()? < 50 => "20",
        tag::UTC_TIME => "19",
        tag::GENERALIZED_TIME => "",
        _ => return None,
    };
    let text = format!("{century}{text}");
    let part = |from: usize, to: usize| text.get(from..to);
    if text.get(14..) != Some("Z") {
        return None;
    }
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    parse_rfc3339(&format!("{year}-{month}-{day}T{}:{}:{}Z", part(8, 10)?, part(10, 12)?, part(12, 14)?))
}

/// A distinguished name as text (RFC 2253: the last part first), and the common name that comes first then.
fn distinguished(name: &Element<'_>) -> Option<(String, Option<String>)> {
    let (mut parts, mut common_name) = (Vec::new(), None);
    let mut sets = name.inside();
    while let Some(set) = sets.next_if(tag::SET) {
        let mut together = Vec::new();
        let mut attributes = set.inside();
        while let Some(attribute) = attributes.next_if(tag::SEQUENCE) {
            let mut fields = attribute.inside();
            let (kind, value) = (fields.next_if(tag::OID)?, fields.next()?);
            let text = string(&value);
            if kind.content == oid::COMMON_NAME {
                common_name = text.clone().or(common_name);
            }
            together.push(match (keyword(kind.content), text) {
                (Some(keyword), Some(text)) => format!("{keyword}={}", escaped(&text)),
                _ => format!("{}=#{}", dotted(kind.content), hex(value.whole)),
            });
        }
        parts.push(together.join("+"));
    }
    parts.reverse();
    sets.is_empty().then(|| (parts.join(","), common_name))
}

/// The keywords of RFC 2253, section 2.3.
fn keyword(kind: &[u8]) -> Option<&'static str> {
    Some(match kind {
        oid::COMMON_NAME => "CN",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        _ => return None,
    })
}

/// A string of any of the kinds that names have.
fn string(value: &Element<'_>) -> Option<String> {
    match value.tag {
        tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING => String::from_utf8(value.content.to_vec()).ok(),
        // Latin-1, as everyone takes it.
        tag::TELETEX_STRING => Some(value.content.iter().map(|byte| char::from(*byte)).collect()),
        tag::BMP_STRING => {
            let (pairs, rest) = value.content.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok()).flatten()
        }
        _ => None,
    }
}

/// RFC 2253, section 2.4.
fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
        let at_edge = (c == ' ' && (index == 0 || index == last)) || (c == '#' && index == 0);
        if special || at_edge {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An object identifier in numbers.
fn dotted(bytes: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    for byte in bytes {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first);
                arc -= first * 40;
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(v6).map(|address| address.to_string())
}

/// The alternative names; those that can't be read are left out.
fn alternatives(value: &mut Reader<'_>, names: &mut Names) {
    let mut general = value.next_if(tag::SEQUENCE).map_or(Reader::new(&[]), |list| list.inside());
    while let Some(name) = general.next() {
        if name.tag == tag::implicit(7) {
            names.addresses.extend(address(name.content));
            continue;
        }
        let into = match name.tag {
            of if of == tag::implicit(1) => &mut names.emails,
            of if of == tag::implicit(2) => &mut names.dns,
            of if of == tag::implicit(6) => &mut names.uris,
            _ => continue,
        };
        into.extend(String::from_utf8(name.content.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::der::{element, oid as oid_of, sequence};
    use super::*;

    fn attribute(kind: &[u8], string_tag: u8, text: &[u8]) -> Vec<u8> {
        element(tag::SET, &[&sequence(&[&oid_of(kind), &element(string_tag, &[text])])])
    }

    #[test]
    fn names_are_written_as_kafka_writes_them() {
        let name = sequence(&[
            &attribute(&[0x55, 4, 6], tag::PRINTABLE_STRING, b"DE"),
            &attribute(&[0x55, 4, 10], tag::UTF8_STRING, "Wärme, GmbH".as_bytes()),
            &attribute(&[0x55, 4, 5], tag::PRINTABLE_STRING, b"7"),
            &attribute(oid::COMMON_NAME, tag::BMP_STRING, &[0, b' ', 0, b'#', 0, b'1']),
        ]);
        let element = Reader::new(&name).next().unwrap();
        let (text, common) = distinguished(&element).unwrap();
        assert_eq!(text, "CN=\\ #1,2.5.4.5=#130137,O=Wärme\\, GmbH,C=DE");
        assert_eq!(common.as_deref(), Some(" #1"));
    }

    #[test]
    fn times_of_both_kinds_are_read() {
        let at = |tag: u8, text: &str| {
            let bytes = element(tag, &[text.as_bytes()]);
            time(&Reader::new(&bytes).next().unwrap())
        };
        assert_eq!(at(tag::UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(at(tag::UTC_TIME, "261121200000Z"), Some(1_795_291_200_000));
        assert_eq!(at(tag::GENERALIZED_TIME, "20261121200000Z"), Some(1_795_291_200_000));
        for (kind, text) in [
            (tag::UTC_TIME, ""),
            (tag::UTC_TIME, "2611212000Z"),
            (tag::GENERALIZED_TIME, "20261121200000"),
            (tag::GENERALIZED_TIME, "20261321200000Z"),
            (tag::GENERALIZED_TIME, "20261121200000.5Z"),
            (tag::INTEGER, "700101000000Z"),
        ] {
            assert_eq!(at(kind, text), None, "{text}");
        }
    }

    #[test]
    fn identifiers_are_numbers() {
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]), "1.2.840.113549.1.9.1");
        assert_eq!(dotted(&[0x88, 0x37]), "2.999");
    }
}
