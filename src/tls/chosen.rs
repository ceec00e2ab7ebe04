//! The certificates of a listener, one of which each client is shown: the one that it asks for by name (SNI, RFC 6066), else the first.
//!
//! A certificate is for the names that are in it; a star stands for the first label of a name and nothing else (RFC 9525).

use std::path::Path;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::{files, provider};

/// See the module.
#[derive(Debug)]
pub(super) struct Chosen {
    first: Arc<CertifiedKey>,
    /// The others with their names, in their order.
    others: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl Chosen {
    /// Reads pairs of certificate and key; what they say, in the same order.
    ///
    /// # Errors
    /// A text that names the file, what is wrong and what to do.
    pub(super) fn read(
        first: (&Path, &Path),
        others: &[(impl AsRef<Path>, impl AsRef<Path>)],
    ) -> Result<(Self, Vec<Certificate>), String> {
        let (first, certificate) = pair(first.0, first.1)?;
        let mut certificates = vec![certificate];
        let mut read = Vec::with_capacity(others.len());
        for (cert, key) in others {
            let (key, certificate) = pair(cert.as_ref(), key.as_ref())?;
            read.push((certificate.names.dns.iter().map(|name| name.to_ascii_lowercase()).collect(), key));
            certificates.push(certificate);
        }
        Ok((Self { first, others: read }, certificates))
    }

    fn of(&self, asked: Option<&str>) -> &Arc<CertifiedKey> {
        let asked = asked.map(str::to_ascii_lowercase);
        let fits = |name: &str| self.others.iter().find(|(names, _)| names.iter().any(|of| is_for(of, name)));
        asked.as_deref().and_then(fits).map_or(&self.first, |(_, key)| key)
    }
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.of(hello.server_name())))
    }
}

/// Whether a name in a certificate is for the name that is asked for; both in lower case.
fn is_for(name: &str, asked: &str) -> bool {
    match name.strip_prefix("*.") {
        None => name == asked,
        Some(parent) => asked.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
    }
}

fn pair(cert: &Path, key: &Path) -> Result<(Arc<CertifiedKey>, Certificate), String> {
    let chain = files::chain(cert)?;
    let certificate = chain.first().and_then(|der| Certificate::parse(der));
    let certificate =
        certificate.ok_or_else(|| format!("{}: holds a certificate that can't be read", cert.display()))?;
    let certified = CertifiedKey::from_der(chain, files::key(key)?, &provider());
    Ok((Arc::new(certified.map_err(|error| files::no_pair(cert, key, &error))?), certificate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_label() {
        for (name, asked, fits) in [
            ("a.example", "a.example", true),
            ("a.example", "b.example", false),
            ("*.example", "a.example", true),
            ("*.example", "example", false),
            ("*.example", "a.b.example", false),
            ("*.example", ".example", false),
        ] {
            assert_eq!(is_for(name, asked), fits, "{name} {asked}");
        }
    }
}
