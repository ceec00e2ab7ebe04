//! Passwords that were found right: who comes back with one is not made to wait for it to be salted again.
//!
//! Invariants: no password is kept, only its fingerprint under a key of this process; what was found right counts only while the user is
//! what it was then; bounded in number.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};

use ring::hmac;

use crate::broker::users::User;

/// Passwords that are remembered; those found right first are forgotten first.
const VERIFIED_MAX: usize = 1_024;

type Fingerprint = [u8; 32];

/// See the module.
pub(super) struct Verified {
    key: hmac::Key,
    users: HashMap<Fingerprint, Weak<User>>,
    order: VecDeque<Fingerprint>,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

impl Verified {
    /// None yet; `secret` is random.
    pub(super) fn new(secret: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), users: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether this password was found right for this very `user`.
    pub(super) fn knows(&self, name: &str, password: &[u8], user: &Arc<User>) -> bool {
        let known = self.users.get(&self.fingerprint(name, password)).and_then(Weak::upgrade);
        known.is_some_and(|known| Arc::ptr_eq(&known, user))
    }

    /// This password was found right for `user`.
    pub(super) fn learn(&mut self, name: &str, password: &[u8], user: &Arc<User>) {
        let fingerprint = self.fingerprint(name, password);
        if self.users.insert(fingerprint, Arc::downgrade(user)).is_none() {
            self.order.push_back(fingerprint);
        }
        if self.order.len() > VERIFIED_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.users.remove(&first);
        }
    }

    fn fingerprint(&self, name: &str, password: &[u8]) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        // Its length first, so that no other name and password make the same.
        context.update(&name.len().to_be_bytes());
        context.update(name.as_bytes());
        context.update(password);
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_counts_while_the_user_is_what_it_was() {
        let mut verified = Verified::new(b"k");
        let (user, other) = (Arc::new(User::default()), Arc::new(User::default()));
        assert!(!verified.knows("u", b"p", &user));
        verified.learn("u", b"p", &user);
        assert!(verified.knows("u", b"p", &user));
        assert!(!verified.knows("u", b"q", &user) && !verified.knows("v", b"p", &user));
        assert!(!verified.knows("up", b"", &user) && !verified.knows("", b"up", &user));
        assert!(!verified.knows("u", b"p", &other), "a changed user is another one");
        verified.learn("u", b"p", &other);
        assert!(verified.knows("u", b"p", &other) && verified.order.len() == 1);
        assert!(!format!("{verified:?}").contains("112"));
    }

    #[test]
    fn those_found_right_first_are_forgotten_first() {
        let mut verified = Verified::new(b"k");
        let user = Arc::new(User::default());
        for n in 0..VERIFIED_MAX + 3 {
            verified.learn("u", &n.to_be_bytes(), &user);
        }
        assert_eq!((verified.order.len(), verified.users.len()), (VERIFIED_MAX, VERIFIED_MAX));
        assert!(
            !verified.knows("u", &2_usize.to_be_bytes(), &user) && verified.knows("u", &3_usize.to_be_bytes(), &user)
        );
    }
}
