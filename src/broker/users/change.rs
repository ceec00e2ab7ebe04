//! Changes of users: decided on the writer, all of one call in one commit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{SECRET, USER, User, key};
use crate::broker::call::call_at_once;
use crate::broker::{Broker, CommitError, Principal};
use crate::limits::USERS_MAX;
use crate::metrics::METRICS;
use crate::secret::{ScramHash, Verifier};
use crate::store::{Draft, DraftError, Space};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// Adds the user, if there is none of that name, and sets what is kept for one hash function.
    Set(String, Verifier),
    /// Forgets what is kept for one hash function; with the last one the user is gone.
    Unset(String, ScramHash),
    /// Removes the user.
    Remove(String),
}

impl UserChange {
    /// Whom it changes.
    pub fn name(&self) -> &str {
        match self {
            Self::Set(name, _) | Self::Unset(name, _) | Self::Remove(name) => name,
        }
    }
}

/// Why a user was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserError {
    /// No such user, or nothing is kept of it for that hash function.
    Unknown(String),
    /// The name is none.
    Name(String),
    /// There are as many as may be.
    TooMany,
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no user {name}, or none with that mechanism"),
            Self::Name(why) => f.write_str(why),
            Self::TooMany => write!(f, "there are {USERS_MAX} users, which is the most: remove one first"),
        }
    }
}

impl std::error::Error for UserError {}

/// What came of each change, in their order.
pub type Changed = Vec<Result<(), UserError>>;

impl Broker {
    /// Changes users; durable when this returns. A change that fails is left out; the others are made.
    ///
    /// # Errors
    /// Why nothing was committed.
    pub async fn change_users(&self, changes: Vec<UserChange>) -> Result<Changed, CommitError> {
        let after = Arc::clone(&self.shared);
        let secret = self.shared.users.secret();
        let apply = move |draft: &mut Draft<'_>| apply(draft, &changes, &secret);
        let (results, _) = call_at_once(&self.shared.store, apply, move |(_, changed): &(Changed, Touched)| {
            for (name, user) in changed {
                after.users.publish(name, user.clone());
            }
        })
        .await?;
        Ok(results)
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<Arc<User>> {
        self.shared.users.get(name)
    }

    /// All users, by name.
    pub fn users(&self) -> Vec<(String, Arc<User>)> {
        self.shared.users.all()
    }

    /// What an exchange with `name` goes by, whether there is such a user or not.
    pub fn verifier(&self, hash: ScramHash, name: &str) -> Verifier {
        self.shared.users.verifier(hash, name)
    }
}

/// The users that a call has changed, as they are now.
type Touched = BTreeMap<String, Option<Arc<User>>>;

fn apply(draft: &mut Draft<'_>, changes: &[UserChange], secret: &[u8]) -> Result<(Changed, Touched), DraftError> {
    let mut touched = Touched::new();
    let mut results = Changed::new();
    let mut count = draft.entries(Space::User, &[USER]).len();
    for change in changes {
        let name = change.name();
        let before = match touched.get(name) {
            Some(user) => user.clone(),
            None => draft.get(Space::User, &key(name)).and_then(User::decode).map(Arc::new),
        };
        match changed(before.as_deref(), change, count) {
            Ok(user) => {
                count = count + usize::from(user.is_some()) - usize::from(before.is_some());
                touched.insert(name.to_owned(), user.map(Arc::new));
                results.push(Ok(()));
            }
            Err(error) => results.push(Err(error)),
        }
    }
    for (name, user) in &touched {
        match user {
            Some(user) => draft.put(Space::User, &key(name), &user.encode())?,
            None if draft.get(Space::User, &key(name)).is_some() => draft.delete(Space::User, &key(name))?,
            None => {}
        }
    }
    if !touched.is_empty() && draft.get(Space::User, SECRET).is_none() {
        draft.put(Space::User, SECRET, secret)?;
    }
    Ok((results, touched))
}

/// The user after a change; `None`: gone.
fn changed(before: Option<&User>, change: &UserChange, count: usize) -> Result<Option<User>, UserError> {
    match change {
        UserChange::Set(name, verifier) => {
            Principal::new(name).map_err(UserError::Name)?;
            if before.is_none() && count >= USERS_MAX {
                METRICS.kept_refused.add(1);
                return Err(UserError::TooMany);
            }
            let mut user = before.cloned().unwrap_or_default();
            user.put(verifier.clone());
            Ok(Some(user))
        }
        UserChange::Unset(name, hash) => {
            let mut user = before.cloned().unwrap_or_default();
            if user.verifier(*hash).is_none() {
                return Err(UserError::Unknown(name.clone()));
            }
            user.verifiers.retain(|verifier| verifier.hash() != *hash);
            Ok((!user.verifiers.is_empty()).then_some(user))
        }
        UserChange::Remove(name) if before.is_none() => Err(UserError::Unknown(name.clone())),
        UserChange::Remove(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ITERATIONS_MIN;

    fn set(name: &str, hash: ScramHash, salted: u8) -> UserChange {
        let salted = vec![salted; hash.bytes()];
        UserChange::Set(name.to_owned(), Verifier::of_salted(hash, &salted, b"salt salt", ITERATIONS_MIN).unwrap())
    }

    /// The users after changes, each applied to what the one before has left.
    fn after(changes: &[UserChange]) -> (Changed, Option<User>) {
        let mut user: Option<User> = None;
        let mut results = Changed::new();
        for change in changes {
            match changed(user.as_ref(), change, 0) {
                Ok(now) => {
                    user = now;
                    results.push(Ok(()));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        (results, user)
    }

    #[test]
    fn a_user_goes_with_its_last_credential() {
        let (a, b) = (ScramHash::Sha256, ScramHash::Sha512);
        let unset = |hash| UserChange::Unset("u".to_owned(), hash);
        let (results, user) = after(&[set("u", a, 1), set("u", b, 2), set("u", a, 3), unset(b), unset(b)]);
        assert_eq!(results, [Ok(()), Ok(()), Ok(()), Ok(()), Err(UserError::Unknown("u".to_owned()))]);
        let user = user.unwrap();
        assert_eq!(user.verifiers().len(), 1);
        assert_eq!(User::decode(&user.encode()), Some(user.clone()));
        assert_eq!(changed(Some(&user), &unset(a), 1), Ok(None));
        assert_eq!(changed(Some(&user), &UserChange::Remove("u".to_owned()), 1), Ok(None));
        assert!(changed(None, &UserChange::Remove("u".to_owned()), 1).is_err());
        assert!(User::decode(&user.encode()[..20]).is_none() && User::decode(&[]).is_none());
    }

    #[test]
    fn names_and_their_number_are_bounded() {
        let hash = ScramHash::Sha256;
        assert_eq!(changed(None, &set("u", hash, 1), USERS_MAX), Err(UserError::TooMany));
        assert!(changed(Some(&User::default()), &set("u", hash, 1), USERS_MAX).is_ok());
        for name in ["", "*", "a\nb"] {
            assert!(matches!(changed(None, &set(name, hash, 1), 0), Err(UserError::Name(_))), "{name:?}");
        }
    }
}
