//! Users: who may authenticate by a password, and what is kept of that.
//!
//! | key in `Space::User` | value |
//! |---|---|
//! | `u`, name | format (1), and a [`Verifier`] for each hash function |
//! | `s` | 32 random bytes: what users that don't exist are salted with |
//!
//! Invariants: no password is kept, only salted verifiers; a change is decided on the writer, in the order of commits, and seen here after
//! its commit; the number of users is bounded.

mod change;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

pub use change::{Changed, UserChange, UserError};

use serde::{Deserialize, Serialize};

use crate::metrics::METRICS;
use crate::secret::{ITERATIONS_MIN, ScramHash, Verifier};
use crate::store::{Space, Store};

/// First byte of the key of a user, and that of the secret's key.
const USER: u8 = b'u';
const SECRET: &[u8] = b"s";
/// First byte of a user's value.
const FORMAT: u8 = 1;
/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// One user: what is kept of the password, for each hash function that it was given for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    verifiers: Vec<Verifier>,
}

impl User {
    /// What fits this hash function.
    pub fn verifier(&self, hash: ScramHash) -> Option<&Verifier> {
        self.verifiers.iter().find(|verifier| verifier.hash() == hash)
    }

    /// All that is kept.
    pub fn verifiers(&self) -> &[Verifier] {
        &self.verifiers
    }

    fn put(&mut self, verifier: Verifier) {
        self.verifiers.retain(|known| known.hash() != verifier.hash());
        self.verifiers.push(verifier);
        self.verifiers.sort_by_key(Verifier::hash);
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = vec![FORMAT];
        self.verifiers.iter().for_each(|verifier| verifier.encode(&mut value));
        value
    }

    fn decode(mut value: &[u8]) -> Option<Self> {
        if *value.split_off_first()? != FORMAT {
            return None;
        }
        let mut user = Self::default();
        while !value.is_empty() {
            user.put(Verifier::decode(&mut value)?);
        }
        Some(user)
    }
}

/// A user as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    pub name: String,
    pub mechanisms: Vec<KeptFor>,
}

/// For which mechanism something is kept, and how well it is salted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFor {
    pub mechanism: String,
    pub iterations: u32,
}

impl UserInfo {
    /// What may be told of a user.
    pub fn new(name: String, user: &User) -> Self {
        let kept = user.verifiers.iter().map(|verifier| KeptFor {
            mechanism: verifier.hash().mechanism().to_owned(),
            iterations: verifier.iterations(),
        });
        Self { name, mechanisms: kept.collect() }
    }
}

/// The users as of the last commit.
pub(super) struct Users {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_name: BTreeMap<String, Arc<User>>,
    secret: Vec<u8>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}

fn count(users: &BTreeMap<String, Arc<User>>) {
    METRICS.users.set(i64::try_from(users.len()).unwrap_or(i64::MAX));
}

impl Users {
    /// Reads the users of a store.
    pub(super) fn load(store: &Store) -> Self {
        let users = Self { known: RwLock::default() };
        users.rebuild(store);
        users
    }

    /// Reads them again. A row that can't be read is no user: nobody gets in by it.
    pub(super) fn rebuild(&self, store: &Store) {
        let mut known = Known::default();
        for (key, value) in store.entries(Space::User, &[USER]) {
            let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
            match (name, User::decode(&value)) {
                (Some(name), Some(user)) => _ = known.by_name.insert(name.to_owned(), Arc::new(user)),
                _ => log::error!(
                    "a user's entry in the store can't be read and is passed over: set that user's password again"
                ),
            }
        }
        known.secret = store.get(Space::User, SECRET).unwrap_or_else(random_secret);
        count(&known.by_name);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// The user of this name.
    pub(super) fn get(&self, name: &str) -> Option<Arc<User>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    /// All users, by name.
    pub(super) fn all(&self) -> Vec<(String, Arc<User>)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_name.iter().map(|(name, user)| (name.clone(), Arc::clone(user))).collect()
    }

    /// What an exchange with `name` goes by: of a user what is kept, of nobody what looks the same and that no password fits.
    pub(super) fn verifier(&self, hash: ScramHash, name: &str) -> Verifier {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let kept = known.by_name.get(name).and_then(|user| user.verifier(hash).cloned());
        kept.unwrap_or_else(|| Verifier::of_nobody(hash, &known.secret, name, ITERATIONS_MIN))
    }

    fn publish(&self, name: &str, user: Option<Arc<User>>) {
        let by_name = &mut self.known.write().unwrap_or_else(PoisonError::into_inner).by_name;
        match user {
            Some(user) => _ = by_name.insert(name.to_owned(), user),
            None => _ = by_name.remove(name),
        }
        count(by_name);
    }

    fn secret(&self) -> Vec<u8> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).secret.clone()
    }
}

/// Where there is no randomness there are no secrets: the salts of nobody are known then, which tells no more than who is no user.
fn random_secret() -> Vec<u8> {
    let mut secret = vec![0; SECRET_BYTES];
    if let Err(error) = getrandom::fill(&mut secret) {
        log::error!("no randomness: {error}");
    }
    secret
}

fn key(name: &str) -> Vec<u8> {
    [&[USER], name.as_bytes()].concat()
}
