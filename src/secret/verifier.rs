//! What a server keeps of a password.

use std::fmt;

use super::hash::{ScramHash, xor};
use super::{ITERATIONS_MAX, ITERATIONS_MIN, SALT_BYTES_MAX, same};

/// Fewest bytes of a salt.
const SALT_BYTES_MIN: usize = 8;
/// The first byte of an encoded verifier.
const SHA256: u8 = 1;
const SHA512: u8 = 2;

/// What a server keeps of a password (RFC 5802, section 3): it proves the password's knowledge, and does not give it away. Its keys are
/// secret all the same: with them one can play the server, and try passwords out.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    hash: ScramHash,
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("hash", &self.hash)
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// That of a password. As slow as there are iterations, which are held within their bounds.
    #[must_use]
    pub fn of_password(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let iterations = iterations.clamp(ITERATIONS_MIN, ITERATIONS_MAX);
        Self::of(hash, &hash.salted(password, salt, iterations), salt, iterations)
    }

    /// That of a password which somebody else has salted.
    ///
    /// # Errors
    /// What is out of its bounds: the iterations, or the length of salt or salted password.
    pub fn of_salted(hash: ScramHash, salted: &[u8], salt: &[u8], iterations: u32) -> Result<Self, String> {
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(format!("iterations are from {ITERATIONS_MIN} to {ITERATIONS_MAX}"));
        }
        if !(SALT_BYTES_MIN..=SALT_BYTES_MAX).contains(&salt.len()) {
            return Err(format!("a salt has {SALT_BYTES_MIN} to {SALT_BYTES_MAX} bytes"));
        }
        if salted.len() != hash.bytes() {
            return Err(format!("a salted password of {} has {} bytes", hash.mechanism(), hash.bytes()));
        }
        Ok(Self::of(hash, salted, salt, iterations))
    }

    fn of(hash: ScramHash, salted: &[u8], salt: &[u8], iterations: u32) -> Self {
        let stored_key = hash.digest(&hash.client_key(salted));
        Self { hash, iterations, salt: salt.to_vec(), stored_key, server_key: hash.server_key(salted) }
    }

    /// One that no password fits, and whose salt is always the same for a name: by the server's answers nobody can tell who is a user.
    #[must_use]
    pub fn of_nobody(hash: ScramHash, secret: &[u8], name: &str, iterations: u32) -> Self {
        let mut salt = hash.hmac(secret, name.as_bytes());
        salt.truncate(32);
        let keys = hash.hmac(secret, &[b"keys of nobody", name.as_bytes()].concat());
        Self { hash, iterations, salt, stored_key: keys.clone(), server_key: keys }
    }

    /// Whether a password fits. As slow as there are iterations, whether it does or not.
    #[must_use]
    pub fn fits(&self, password: &[u8]) -> bool {
        let salted = self.hash.salted(password, &self.salt, self.iterations);
        same(&self.hash.digest(&self.hash.client_key(&salted)), &self.stored_key)
    }

    /// Whether a client's proof shows the knowledge of the password.
    #[must_use]
    pub fn proves(&self, auth_message: &[u8], proof: &[u8]) -> bool {
        let signature = self.hash.hmac(&self.stored_key, auth_message);
        proof.len() == signature.len() && same(&self.hash.digest(&xor(proof, &signature)), &self.stored_key)
    }

    /// What shows to the client that this server knows the password.
    #[must_use]
    pub fn server_signature(&self, auth_message: &[u8]) -> Vec<u8> {
        self.hash.hmac(&self.server_key, auth_message)
    }

    /// The hash function it is made with.
    #[must_use]
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// How often it was hashed.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The salt, which clients are told.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Appends it in the form that [`Verifier::decode`] reads.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.hash == ScramHash::Sha256 { SHA256 } else { SHA512 });
        out.extend_from_slice(&self.iterations.to_be_bytes());
        // A salt is never longer than SALT_BYTES_MAX.
        out.extend_from_slice(&(self.salt.len() as u16).to_be_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.stored_key);
        out.extend_from_slice(&self.server_key);
    }

    /// Takes one off the front of `bytes`; `None` if there is none.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let hash = match *bytes.split_off_first()? {
            SHA256 => ScramHash::Sha256,
            SHA512 => ScramHash::Sha512,
            _ => return None,
        };
        let iterations = u32::from_be_bytes(*take(bytes, 4)?.first_chunk()?);
        let salt_bytes = usize::from(u16::from_be_bytes(*take(bytes, 2)?.first_chunk()?));
        let salt = take(bytes, salt_bytes)?.to_vec();
        let stored_key = take(bytes, hash.bytes())?.to_vec();
        let server_key = take(bytes, hash.bytes())?.to_vec();
        let known = salt_bytes <= SALT_BYTES_MAX && (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations);
        known.then_some(Self { hash, iterations, salt, stored_key, server_key })
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    bytes.split_off(..count)
}
