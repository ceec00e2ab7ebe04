//! Certificates, keys and lists of revoked ones: in DER as peers show them, in PEM as files have them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use brooklet::config::{ClientAuth, ListenTlsConfig};
use brooklet::tls::issue::Revoked;
use brooklet::tls::{CertClock, CertTime, Certificate, server};
use fastrand::Rng;

use crate::harness::Target;
use crate::mutate::mutate;

/// In the corpus, in the order of their names: `ca.pem`, `dev.crl` (the CA's), `gw.key`, `gw.pem`. Made by `brooklet cert`; nobody trusts them.
const FILES: [&str; 4] = ["ca.pem", "ca.crl", "gw.key", "gw.pem"];

fn file(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/certificates").join(name);
    fs::read(path).unwrap()
}

fn der(pem: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(pem).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    brooklet::base64::decode(&body).unwrap()
}

pub(crate) fn targets() -> [Target; 2] {
    let files = FILES.map(file);
    let ders = [der(&files[0]), der(&files[1]), der(&files[3])];
    let directory = tempfile::tempdir().unwrap();
    let paths = FILES.map(|name| directory.path().join(name));
    for (path, content) in paths.iter().zip(&files) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let [ca, crl, key, cert] = paths.clone().map(Some);
    let config = ListenTlsConfig {
        cert,
        key,
        client_ca: ca,
        crl,
        client_auth: ClientAuth::Required,
        ..ListenTlsConfig::default()
    };
    let clock = CertClock::new(|| CertTime { ms: 1_900_000_000_000, trusted: false });
    let original = files.clone();
    [
        Target {
            name: "certificate-der",
            quick: 4_000,
            memory: |bytes| 8_192 + 64 * bytes,
            corpus: Vec::new(),
            make: Box::new(move |rng: &mut Rng| {
                let (input, other) = (rng.choice(&ders).unwrap().clone(), rng.choice(&ders).unwrap());
                mutate(rng, input, other, 20)
            }),
            run: Box::new(|input| {
                if let Some(certificate) = Certificate::parse(input) {
                    assert!(certificate.serial.len() <= 2 * input.len());
                    let _ = format!("{certificate:?}");
                }
                let _ = Revoked::read(input);
            }),
        },
        Target {
            name: "certificate-pem",
            quick: 400,
            memory: |bytes| (1 << 20) + 64 * bytes,
            corpus: Vec::new(),
            make: Box::new(move |rng: &mut Rng| {
                let which = rng.usize(..FILES.len());
                let other = rng.choice(&files).unwrap();
                let damaged = mutate(rng, files[which].clone(), other, 20);
                [vec![which as u8], damaged].concat()
            }),
            run: Box::new(move |input| {
                let _held = &directory;
                let [which, content @ ..] = input else { return };
                let which = usize::from(*which) % FILES.len();
                fs::write(&paths[which], content).unwrap();
                match server("listen.kafka.tls", &config, &[], &clock) {
                    Ok(held) => drop(held.report()),
                    Err(text) => assert!(text.contains("tls"), "{text}"),
                }
                fs::write(&paths[which], &original[which]).unwrap();
            }),
        },
    ]
}
