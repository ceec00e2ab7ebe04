//! Users: who may authenticate by a password.

use super::errors::of_commit;
use super::requests::{Call, Failure, Told};
use crate::broker::UsersError;
use crate::broker::users::{UserChange, UserInfo};
use crate::frame::{ErrorCode, UserAction, Users};
use crate::json;
use crate::secret::Verifier;

/// What is asked, apart from its frame.
pub(super) struct Asked {
    action: UserAction,
    name: String,
    verifiers: Option<Vec<Verifier>>,
}

impl Asked {
    pub(super) fn new(users: &Users<'_>) -> Self {
        Self { action: users.action, name: users.name.to_owned(), verifiers: verifiers(users.verifiers) }
    }
}

fn verifiers(mut bytes: &[u8]) -> Option<Vec<Verifier>> {
    let mut verifiers = Vec::new();
    while !bytes.is_empty() {
        verifiers.push(Verifier::decode(&mut bytes)?);
    }
    Some(verifiers)
}

/// Serves Users.
pub(super) async fn serve(call: Call, asked: Asked) -> Told {
    match answer(&call, asked).await {
        Ok(text) => call.text(&text).await.map(Ok),
        Err(failure) => Ok(Err(failure)),
    }
}

async fn answer(call: &Call, asked: Asked) -> Result<String, Failure> {
    let Asked { action, name, verifiers } = asked;
    let users = call.access.users()?;
    let is_there = users.iter().any(|(known, _)| *known == name);
    let bad = |text: String| Failure::new(ErrorCode::InvalidArgument, text);
    let changes = match action {
        UserAction::List => {
            let infos: Vec<UserInfo> = users.into_iter().map(|(name, user)| UserInfo::new(name, &user)).collect();
            // Plain structs have nothing that can fail.
            return Ok(json::to_string(&infos));
        }
        UserAction::Add if is_there => return Err(bad(format!("there is a user {name} already"))),
        UserAction::Change | UserAction::Remove if !is_there => return Err(bad(format!("there is no user {name}"))),
        UserAction::Remove => vec![UserChange::Remove(name)],
        UserAction::Add | UserAction::Change => {
            let verifiers = verifiers.filter(|verifiers| !verifiers.is_empty());
            let verifiers =
                verifiers.ok_or_else(|| bad("what is to be kept of the password can't be read".to_owned()))?;
            verifiers.into_iter().map(|verifier| UserChange::Set(name.clone(), verifier)).collect()
        }
    };
    match call.access.change_users(changes).await {
        Ok(results) => match results.into_iter().find_map(Result::err) {
            None => Ok(String::new()),
            Some(error) => Err(bad(error.to_string())),
        },
        Err(UsersError::Denied(denied)) => Err(denied.into()),
        Err(UsersError::Commit(error)) => Err(Failure::new(of_commit(&error), error)),
    }
}
