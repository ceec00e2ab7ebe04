//! Certificates, keys and lists in files, in PEM.
//!
//! Invariant: an error names the file, what is wrong and what to do; nothing of a key is ever in one.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::certificate::Certificate;

/// Largest file that is read, bytes. A system's bundle of CAs has some 250 KiB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where systems keep the CAs that they trust.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What shows that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    /// Others may have been let at it.
    mode: u32,
}

impl Stamp {
    /// The stamp of a file; `None` if it isn't there.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Some(Self { inode: metadata.ino(), bytes: metadata.len(), modified, mode: metadata.mode() })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{}: larger than {FILE_BYTES_MAX} bytes", path.display()));
    }
    Ok(bytes)
}

/// All PEM sections of one kind.
fn sections<T: PemObject>(path: &Path, bytes: &[u8], what: &str) -> Result<Vec<T>, String> {
    let found: Result<Vec<T>, _> = T::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{}: holds no {what} in PEM", path.display())),
        Err(error) => Err(format!("{}: is not whole: {error}", path.display())),
    }
}

/// A certificate and those between it and its CA.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    sections(path, &read(path)?, "certificate")
}

/// Whether a file's certificates are in the order in which clients look for them: each issued by the next one. `None`: they are, or can't
/// be read at all.
pub fn chain_problem(path: &Path) -> Option<String> {
    let chain: Vec<_> = chain(path).ok()?.iter().filter_map(|der| Certificate::parse(der)).collect();
    let (of, next) = chain.iter().zip(chain.get(1..)?).find(|(of, next)| of.issuer != next.names.subject)?;
    Some(format!(
        "{}: {} is issued by {}, but what follows it is {}: put the certificates in order, each before its issuer",
        path.display(),
        of.names.subject,
        of.issuer,
        next.names.subject
    ))
}

/// A private key, which nobody else may read.
///
/// # Errors
/// A text that names the file, what is wrong and what to do, and nothing of what is in it.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let shown = path.display();
    let mode = fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.permissions().mode() & 0o777;
    // A group that reads is how systems share a key with a service.
    if mode & 0o027 != 0 {
        return Err(format!(
            "{shown}: everyone on this machine may get at this key (mode {mode:03o}): chmod 600 {shown}"
        ));
    }
    let bytes = read(path)?;
    if bytes.windows(9).any(|window| window == b"ENCRYPTED") {
        return Err(format!(
            "{shown}: the key has a password; store it without (openssl pkey -in KEY -out KEY2), mode 600"
        ));
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(_) => Err(format!("{shown}: holds no private key in PEM")),
    }
}

/// Why a certificate and a key can't be used together.
pub(super) fn no_pair(cert: &Path, key: &Path, error: &rustls::Error) -> String {
    let (cert, key) = (cert.display(), key.display());
    match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("{key} is not the key of {cert}: they belong to different pairs")
        }
        other => format!("{cert}, {key}: {other}"),
    }
}

/// The CAs in a file.
pub(super) fn authorities(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for der in chain(path)? {
        roots
            .add(der)
            .map_err(|error| format!("{}: holds a certificate that can't be a CA: {error}", path.display()))?;
    }
    Ok(Arc::new(roots))
}

/// The file with the CAs that this system trusts.
pub(super) fn system_bundle() -> Result<PathBuf, String> {
    let found = BUNDLES.iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or_else(|| {
        format!("this system has no CAs ({}): install ca-certificates, or set tls.ca", BUNDLES.join(", "))
    })
}

/// The CAs in a system's bundle; what of it can't be read is left out.
pub(super) fn bundle(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain(path)?);
    if roots.is_empty() { Err(format!("{}: holds no CA", path.display())) } else { Ok(Arc::new(roots)) }
}

/// The revocation lists in a file.
pub(super) fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    sections(path, &read(path)?, "revocation list (X509 CRL)")
}
