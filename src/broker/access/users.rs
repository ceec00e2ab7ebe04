//! Users.

use std::sync::Arc;

use super::Access;
use crate::broker::rights::{Denied, Operation, Resource};
use crate::broker::users::{Changed, User, UserChange};
use crate::broker::{CommitError, Lobby};
use crate::secret::{ScramHash, Verifier};

/// Why users were not changed.
#[derive(Clone, Debug)]
pub enum UsersError {
    Denied(Denied),
    Commit(CommitError),
}

impl Lobby {
    /// As [`crate::broker::Broker::verifier`]: how somebody shows who it is comes before anybody is told apart.
    pub fn verifier(&self, hash: ScramHash, name: &str) -> Verifier {
        self.broker.verifier(hash, name)
    }

    /// As [`crate::broker::Broker::user`].
    pub fn user(&self, name: &str) -> Option<Arc<User>> {
        self.broker.user(name)
    }
}

impl Access {
    /// All users, by name, for who may see the gateway's.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn users(&self) -> Result<Vec<(String, Arc<User>)>, Denied> {
        self.allow(Operation::Describe, Resource::CLUSTER)?;
        Ok(self.broker().users())
    }

    /// As [`crate::broker::Broker::change_users`], for who may change the gateway.
    ///
    /// # Errors
    /// [`UsersError`].
    pub async fn change_users(&self, changes: Vec<UserChange>) -> Result<Changed, UsersError> {
        self.allow(Operation::Alter, Resource::CLUSTER).map_err(UsersError::Denied)?;
        self.broker().change_users(changes).await.map_err(UsersError::Commit)
    }
}
