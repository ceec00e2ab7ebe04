//! The gateway as a whole: its disk and its letters.

use std::fmt;
use std::path::PathBuf;

use super::Access;
use crate::broker::CommitError;
use crate::broker::dead_letter::{LetterList, LettersSettled, Settle};
use crate::broker::rights::{Denied, Operation, Resource, Rule, RuleError, RuleFilter};
use crate::limits::DEAD_LETTER_TOPIC;
use crate::store::StoreStatus;

/// Why an administrator was not served.
#[derive(Clone, Debug)]
pub enum AdminError {
    Denied(Denied),
    /// It could not be done; the text says why.
    Failed(String),
    /// The store did not take it.
    Store(CommitError),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::Failed(text) => f.write_str(text),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AdminError {}

impl From<Denied> for AdminError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<CommitError> for AdminError {
    fn from(error: CommitError) -> Self {
        Self::Store(error)
    }
}

impl Access {
    /// The rules of access that `filter` chooses.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn rules(&self, filter: &RuleFilter) -> Result<Vec<Rule>, Denied> {
        self.allow(Operation::Describe, Resource::CLUSTER)?;
        Ok(self.broker().rules(filter))
    }

    /// As [`crate::broker::Broker::add_rules`].
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn add_rules(&self, rules: Vec<Rule>) -> Result<Vec<Result<(), RuleError>>, AdminError> {
        self.allow(Operation::Alter, Resource::CLUSTER)?;
        Ok(self.broker().add_rules(rules).await?)
    }

    /// As [`crate::broker::Broker::remove_rules`].
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn remove_rules(&self, filters: Vec<RuleFilter>) -> Result<Vec<Vec<Rule>>, AdminError> {
        self.allow(Operation::Alter, Resource::CLUSTER)?;
        Ok(self.broker().remove_rules(filters).await?)
    }

    /// The directory of the store, and its figures.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn disk(&self) -> Result<(PathBuf, StoreStatus), Denied> {
        self.allow(Operation::Describe, Resource::CLUSTER)?;
        Ok((self.broker().store().dir(), self.broker().store().status()))
    }

    /// As [`crate::broker::Broker::letters`], for who may read their topic.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn letters(&self, first: i64, last: i64) -> Result<LetterList, AdminError> {
        self.allow(Operation::Read, Resource::topic(DEAD_LETTER_TOPIC))?;
        self.broker().letters(first, last).await.map_err(AdminError::Failed)
    }

    /// As [`crate::broker::Broker::settle_letters`], for who may change the gateway: a letter is of any topic.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn settle_letters(&self, first: i64, last: i64, how: Settle) -> Result<LettersSettled, AdminError> {
        self.allow(Operation::Alter, Resource::CLUSTER)?;
        self.broker().settle_letters(first, last, how).await.map_err(AdminError::Failed)
    }
}
