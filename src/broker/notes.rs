//! Small rows that a follower keeps for itself, such as what it has used of its budget: in `Space::Cursor` under its name, 0, and
//! the note's name, which is longer than a partition's number and begins with a letter, so no position has such a key.

use std::time::Duration;

use super::Broker;
use super::call::call_lazily;
use super::error::CommitError;
use crate::store::Space;

fn key(follower: &str, note: &str) -> Vec<u8> {
    [follower.as_bytes(), &[0], note.as_bytes()].concat()
}

impl Broker {
    /// What `follower` noted last under that name (five letters or more).
    pub fn follower_note(&self, follower: &str, note: &str) -> Option<Vec<u8>> {
        self.shared.store.get(Space::Cursor, &key(follower, note))
    }

    /// Makes a note durable: with the next commit, or after `within` with one of its own.
    ///
    /// # Errors
    /// Why it was not.
    pub async fn save_follower_note(
        &self,
        follower: &str,
        note: &str,
        value: Vec<u8>,
        within: Duration,
    ) -> Result<(), CommitError> {
        let key = key(follower, note);
        let put = move |draft: &mut crate::store::Draft<'_>| draft.put(Space::Cursor, &key, &value);
        call_lazily(&self.shared.store, within, put, |()| {}).await
    }
}
