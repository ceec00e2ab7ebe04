//! What must not be seen: passwords, tokens, and what stands for them ([`Verifier`]).
//!
//! Invariants: no formatting shows what a [`Secret`] holds, and its memory is wiped when it goes; secrets are compared in constant time.

mod file;
mod hash;
mod verifier;

use std::fmt;

pub use file::{first_line, read_file};
pub use hash::{ScramHash, xor};
pub use verifier::Verifier;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Longest salt, bytes.
pub const SALT_BYTES_MAX: usize = 256;
/// Fewest rounds that a password is salted with (RFC 7677, section 4), and as many as it is where nobody says.
pub const ITERATIONS_MIN: u32 = 4_096;
/// Most rounds: four times what Kafka's brokers take, and about a second of the slowest gateway.
pub const ITERATIONS_MAX: u32 = 65_536;

/// Bytes that are shown nowhere. Whoever needs them says so: [`Secret::expose`].
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// What is kept from sight.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes, to be used and not to be shown.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// In a time that tells nothing about where they differ; their lengths are no secret.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for Secret {}

/// Whether two texts are the same, in a time that tells nothing about where they differ; their lengths are no secret.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        let secret = Secret::new("hunter2");
        let shown = format!("{secret:?} {:#?}", Some(&secret));
        assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        assert_eq!(secret.expose(), b"hunter2");
        assert!(secret == Secret::new("hunter2") && secret != Secret::new("hunter3") && secret != Secret::new(""));
    }
}
