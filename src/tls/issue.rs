//! Making certificates (RFC 5280), for a first set-up without other tools: a CA, what it issues, and the list of what it revoked.
//!
//! Keys are of ECDSA over P-256, which everything that speaks TLS knows. What is written here is checked by others in the tests:
//! webpki, OpenSSL and Java.
//!
//! Invariant: what is issued names its issuer byte for byte as that names itself, so that CAs made elsewhere can be used too.

use std::fmt;
use std::net::IpAddr;

use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::PrivateKeyDer;

use super::certificate::{Certificate, oid};
use super::der::{Reader, bits, element, integer, oid as oid_of, sequence, tag};
use crate::calendar::format_time;

/// Algorithms, as their object identifiers.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// Extensions and what stands in them.
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 35];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
const TRUE: &[u8] = &[tag::BOOLEAN, 1, 0xff];
/// Bytes of a serial number; RFC 5280 allows 20.
const SERIAL_BYTES: usize = 16;

/// A private key.
pub struct Key {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
}

impl Key {
    /// A new key.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn generate() -> Result<Self, String> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        Self::read(document.map_err(|_| "no random numbers can be had".to_owned())?.as_ref())
    }

    /// A key that was made before.
    ///
    /// # Errors
    /// It is of another kind.
    pub fn from_der(key: &PrivateKeyDer<'_>) -> Result<Self, String> {
        match key {
            PrivateKeyDer::Pkcs8(key) => Self::read(key.secret_pkcs8_der()),
            _ => Err("the key must be in PKCS #8 (openssl pkcs8 -topk8 -nocrypt)".to_owned()),
        }
    }

    fn read(pkcs8: &[u8]) -> Result<Self, String> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new());
        let pair = pair.map_err(|_| "the key must be of ECDSA over P-256".to_owned())?;
        Ok(Self { pair, pkcs8: pkcs8.to_vec() })
    }

    /// In PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem("PRIVATE KEY", &self.pkcs8)
    }

    fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// RFC 7093, section 2, method 1.
    fn identifier(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, self.public()).as_ref().iter().take(20).copied().collect()
    }

    /// `what`, its algorithm and its signature.
    fn signed(&self, what: &[u8]) -> Result<Vec<u8>, String> {
        let signature = self.pair.sign(&SystemRandom::new(), what);
        let signature = signature.map_err(|_| "no random numbers can be had".to_owned())?;
        Ok(sequence(&[what, &algorithm(), &bits(signature.as_ref())]))
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Issuing others.
    Authority,
    /// A gateway: it is called, and calls others.
    Gateway,
    /// A device or program that calls.
    Client,
}

/// A name that a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    Dns(String),
    Ip(IpAddr),
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => name.fmt(f),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// What is to be certified.
#[derive(Clone, Debug)]
pub struct Order {
    pub common_name: String,
    pub hosts: Vec<HostName>,
    pub purpose: Purpose,
    /// Unix ms, both.
    pub not_before_ms: i64,
    pub not_after_ms: i64,
}

/// A CA: who issues.
pub struct Issuer {
    certificate: Certificate,
    key: Key,
}

impl Issuer {
    /// The CA of this certificate (DER), whose key this is.
    ///
    /// # Errors
    /// It is no CA.
    pub fn new(certificate: &[u8], key: Key) -> Result<Self, String> {
        let certificate = Certificate::parse(certificate).ok_or("the CA's certificate can't be read")?;
        if !certificate.is_authority {
            return Err(format!("{} is not a CA: it can't issue certificates", certificate.names.subject));
        }
        Ok(Self { certificate, key })
    }

    /// What the CA says of itself.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A certificate (DER) for the holder of `key`.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn issue(&self, order: &Order, key: &Key) -> Result<Vec<u8>, String> {
        certify(order, key, &self.certificate.subject_der, self.certificate.subject_key.as_deref(), &self.key)
    }

    /// A list (DER) of what is revoked: serial numbers, and when (Unix ms). `number` grows from list to list.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn revoke(&self, revoked: &[Revoked], number: u64, (now_ms, next_ms): (i64, i64)) -> Result<Vec<u8>, String> {
        let entries: Vec<u8> =
            revoked.iter().flat_map(|entry| sequence(&[&integer(&entry.serial), &entry.at])).collect();
        let entries = if entries.is_empty() { entries } else { sequence(&[&entries]) };
        let mut extensions = extension(CRL_NUMBER, false, &integer(&number.to_be_bytes()));
        extensions.extend(authority_key(self.certificate.subject_key.as_deref()));
        let list = sequence(&[
            &integer(&[1]),
            &algorithm(),
            &self.certificate.subject_der,
            &time(now_ms),
            &time(next_ms),
            &entries,
            &element(tag::explicit(0), &[&sequence(&[&extensions])]),
        ]);
        self.key.signed(&list)
    }
}

/// An entry of a revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    serial: Vec<u8>,
    /// As it stands there.
    at: Vec<u8>,
}

impl Revoked {
    /// The certificate of this serial number (hexadecimal), now (Unix ms).
    #[must_use]
    pub fn new(serial: &str, now_ms: i64) -> Self {
        let digits = |at: usize| serial.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
        Self { serial: (0..serial.len()).step_by(2).filter_map(digits).collect(), at: time(now_ms) }
    }

    /// Whether it is about the same certificate.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        self.serial == other.serial
    }

    /// The entries of a list (DER), and its number.
    #[must_use]
    pub fn read(list: &[u8]) -> Option<(Vec<Self>, u64)> {
        let mut fields = Reader::new(list).next_if(tag::SEQUENCE)?.inside().next_if(tag::SEQUENCE)?.inside();
        // Version, algorithm, issuer, this update, next update.
        for _ in 0..5 {
            fields.next()?;
        }
        let (mut revoked, mut number) = (Vec::new(), 0);
        if let Some(entries) = fields.next_if(tag::SEQUENCE) {
            let mut entries = entries.inside();
            while let Some(entry) = entries.next_if(tag::SEQUENCE) {
                let mut entry = entry.inside();
                let (serial, at) = (entry.next_if(tag::INTEGER)?, entry.next()?);
                revoked.push(Self { serial: serial.content.to_vec(), at: at.whole.to_vec() });
            }
        }
        for (kind, value) in super::certificate::extensions(&fields.next_if(tag::explicit(0))?) {
            if kind == CRL_NUMBER {
                let value = Reader::new(value).next_if(tag::INTEGER)?.content;
                number = value.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
            }
        }
        Some((revoked, number))
    }
}

/// A CA's own certificate (DER).
///
/// # Errors
/// The system has no random numbers.
pub fn authority(order: &Order, key: &Key) -> Result<Vec<u8>, String> {
    certify(order, key, &distinguished(order), None, key)
}

fn certify(
    order: &Order,
    key: &Key,
    issuer: &[u8],
    issuer_key: Option<&[u8]>,
    signer: &Key,
) -> Result<Vec<u8>, String> {
    let mut serial = [0; SERIAL_BYTES];
    getrandom::fill(&mut serial).map_err(|error| format!("no random numbers can be had: {error}"))?;
    // Positive, and never shorter.
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    let public = sequence(&[&sequence(&[&oid_of(EC_PUBLIC_KEY), &oid_of(PRIME256V1)]), &bits(key.public())]);
    let mut extensions = purpose(order.purpose);
    extensions.extend(extension(oid::SUBJECT_KEY, false, &element(tag::OCTET_STRING, &[&key.identifier()])));
    extensions.extend(authority_key(issuer_key));
    if !order.hosts.is_empty() {
        let hosts: Vec<u8> = order.hosts.iter().flat_map(general_name).collect();
        extensions.extend(extension(oid::SUBJECT_ALT_NAME, false, &sequence(&[&hosts])));
    }
    let certificate = sequence(&[
        &element(tag::explicit(0), &[&integer(&[2])]),
        &integer(&serial),
        &algorithm(),
        issuer,
        &sequence(&[&time(order.not_before_ms), &time(order.not_after_ms)]),
        &distinguished(order),
        &public,
        &element(tag::explicit(3), &[&sequence(&[&extensions])]),
    ]);
    signer.signed(&certificate)
}

fn algorithm() -> Vec<u8> {
    sequence(&[&oid_of(ECDSA_WITH_SHA256)])
}

fn distinguished(order: &Order) -> Vec<u8> {
    let text = element(tag::UTF8_STRING, &[order.common_name.as_bytes()]);
    sequence(&[&element(tag::SET, &[&sequence(&[&oid_of(oid::COMMON_NAME), &text])])])
}

fn extension(kind: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { TRUE } else { &[] };
    sequence(&[&oid_of(kind), critical, &element(tag::OCTET_STRING, &[value])])
}

fn authority_key(identifier: Option<&[u8]>) -> Vec<u8> {
    let value = |identifier: &[u8]| sequence(&[&element(tag::implicit(0), &[identifier])]);
    identifier.map(|identifier| extension(AUTHORITY_KEY, false, &value(identifier))).unwrap_or_default()
}

/// Basic constraints and usages.
fn purpose(purpose: Purpose) -> Vec<u8> {
    let (constraints, usage, extended): (Vec<u8>, &[u8], &[&[u8]]) = match purpose {
        // It issues no further CAs. Usages: keyCertSign, cRLSign.
        Purpose::Authority => ([TRUE, &integer(&[0])].concat(), &[1, 0x06], &[]),
        // digitalSignature.
        Purpose::Gateway => (Vec::new(), &[7, 0x80], &[SERVER_AUTH, CLIENT_AUTH]),
        Purpose::Client => (Vec::new(), &[7, 0x80], &[CLIENT_AUTH]),
    };
    let mut all = extension(oid::BASIC_CONSTRAINTS, true, &sequence(&[&constraints]));
    all.extend(extension(KEY_USAGE, true, &element(tag::BIT_STRING, &[usage])));
    if !extended.is_empty() {
        let extended: Vec<u8> = extended.iter().flat_map(|usage| oid_of(usage)).collect();
        all.extend(extension(EXTENDED_KEY_USAGE, false, &sequence(&[&extended])));
    }
    all
}

fn general_name(host: &HostName) -> Vec<u8> {
    match host {
        HostName::Dns(name) => element(tag::implicit(2), &[name.as_bytes()]),
        HostName::Ip(IpAddr::V4(address)) => element(tag::implicit(7), &[&address.octets()]),
        HostName::Ip(IpAddr::V6(address)) => element(tag::implicit(7), &[&address.octets()]),
    }
}

/// A moment as RFC 5280, section 4.1.2.5, wants it: in two digits of the year until 2049.
fn time(unix_ms: i64) -> Vec<u8> {
    let digits: String = format_time(unix_ms).chars().take(19).filter(char::is_ascii_digit).collect();
    match digits.strip_prefix("20") {
        Some(rest) if rest < "50" => element(tag::UTC_TIME, &[rest.as_bytes(), b"Z"]),
        _ => element(tag::GENERALIZED_TIME, &[digits.as_bytes(), b"Z"]),
    }
}

/// DER as PEM (RFC 7468).
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    let mut out = format!("-----BEGIN {label}-----\n");
    let coded = crate::base64::encode(der);
    let mut rest = coded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}
