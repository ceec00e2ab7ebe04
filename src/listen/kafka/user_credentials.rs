//! DescribeUserScramCredentials and AlterUserScramCredentials: the users of this gateway (KIP-554).

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::errors::{of_commit, of_denied};
use super::request::{Failed, Later, Request, ready};
use super::{Context, repeated};
use crate::broker::UsersError;
use crate::broker::users::{User, UserChange, UserError};
use crate::kafka::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, AlterUserScramCredentialsResult,
};
use crate::kafka::describe_user_scram_credentials::{
    CredentialInfo, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};
use crate::kafka::error_code::ErrorCode;
use crate::secret::{ScramHash, Verifier};

/// The numbers of the mechanisms.
const SHA_256: i8 = 1;
const SHA_512: i8 = 2;

fn hash(mechanism: i8) -> Option<ScramHash> {
    match mechanism {
        SHA_256 => Some(ScramHash::Sha256),
        SHA_512 => Some(ScramHash::Sha512),
        _ => None,
    }
}

pub(super) fn describe(
    _: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DescribeUserScramCredentialsRequest<'_> = request.body()?;
        let users: BTreeMap<String, Arc<User>> = match request.access.users() {
            Ok(users) => users.into_iter().collect(),
            Err(denied) => {
                let (error_code, text) = (of_denied(&denied).code(), denied.to_string());
                let refused = DescribeUserScramCredentialsResponse {
                    error_code,
                    error_message: Some(&text),
                    ..Default::default()
                };
                return Ok(ready(request.answer(&refused)?));
            }
        };
        let wanted: Vec<&str> = match &body.users {
            Some(named) if !named.is_empty() => named.iter().map(|user| user.name).collect(),
            _ => users.keys().map(String::as_str).collect(),
        };
        let twice = repeated(wanted.iter().copied());
        let mut told = HashSet::new();
        let results = wanted
            .into_iter()
            .filter(|name| told.insert(*name))
            .map(|name| match users.get(name) {
                _ if twice.contains(name) => refused(name, ErrorCode::DuplicateResource, "the user is named twice"),
                None => refused(name, ErrorCode::ResourceNotFound, "there is no such user"),
                Some(user) => DescribeUserScramCredentialsResult {
                    user: name,
                    credential_infos: user.verifiers().iter().map(info).collect(),
                    ..Default::default()
                },
            })
            .collect();
        Ok(ready(request.answer(&DescribeUserScramCredentialsResponse { results, ..Default::default() })?))
    })
}

fn refused<'a>(user: &'a str, code: ErrorCode, text: &'a str) -> DescribeUserScramCredentialsResult<'a> {
    let (error_code, error_message) = (code.code(), Some(text));
    DescribeUserScramCredentialsResult { user, error_code, error_message, ..Default::default() }
}

fn info(verifier: &Verifier) -> CredentialInfo {
    let mechanism = match verifier.hash() {
        ScramHash::Sha256 => SHA_256,
        ScramHash::Sha512 => SHA_512,
    };
    CredentialInfo { mechanism, iterations: verifier.iterations() as i32 }
}

/// Why a user is not changed.
type Why = (ErrorCode, String);

pub(super) fn alter(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: AlterUserScramCredentialsRequest<'_> = request.body()?;
        let mut outcomes: BTreeMap<String, Result<(), Why>> = BTreeMap::new();
        let mut changes = Vec::new();
        for (name, change) in wanted(&body) {
            let outcome = outcomes.entry(name.to_owned()).or_insert(Ok(()));
            match change {
                Ok(change) => changes.push(change),
                Err(why) if outcome.is_ok() => *outcome = Err(why),
                Err(_) => {}
            }
        }
        // All that is asked of a user is done, or nothing.
        changes.retain(|change: &UserChange| outcomes.get(change.name()).is_some_and(Result::is_ok));
        let names: Vec<String> = changes.iter().map(|change| change.name().to_owned()).collect();
        let whole = |code: ErrorCode, text: String| names.iter().map(|_| Err((code, text.clone()))).collect();
        let results: Vec<Result<(), Why>> = match request.access.change_users(changes).await {
            Ok(results) => results.into_iter().map(|result| result.map_err(of_user)).collect(),
            Err(UsersError::Denied(denied)) => {
                outcomes.values_mut().for_each(|outcome| *outcome = Err((of_denied(&denied), denied.to_string())));
                Vec::new()
            }
            Err(UsersError::Commit(error)) => whole(of_commit(&error), error.to_string()),
        };
        for (name, result) in names.into_iter().zip(results) {
            if let (Err(why), Some(outcome)) = (result, outcomes.get_mut(&name)) {
                *outcome = Err(why);
            }
        }
        let results = outcomes.iter().map(|(user, outcome)| told(user, outcome)).collect();
        Ok(ready(request.answer(&AlterUserScramCredentialsResponse { results, ..Default::default() })?))
    })
}

fn told<'a>(user: &'a str, outcome: &'a Result<(), Why>) -> AlterUserScramCredentialsResult<'a> {
    match outcome {
        Ok(()) => AlterUserScramCredentialsResult { user, ..Default::default() },
        Err((code, text)) => {
            AlterUserScramCredentialsResult { user, error_code: code.code(), error_message: Some(text) }
        }
    }
}

fn of_user(error: UserError) -> Why {
    let code = match &error {
        UserError::Unknown(_) => ErrorCode::ResourceNotFound,
        UserError::Name(_) => ErrorCode::UnacceptableCredential,
        UserError::TooMany => ErrorCode::PolicyViolation,
    };
    (code, error.to_string())
}

/// The changes that a request asks for, in their order, or why one can't be made.
fn wanted<'a>(body: &AlterUserScramCredentialsRequest<'a>) -> Vec<(&'a str, Result<UserChange, Why>)> {
    let deleted = body.deletions.iter().map(|deletion| (deletion.name, deletion.mechanism));
    let set = body.upsertions.iter().map(|upsertion| (upsertion.name, upsertion.mechanism));
    let twice = repeated(deleted.chain(set));
    let known = |name: &str, mechanism: i8| {
        if twice.contains(&(name, mechanism)) {
            return Err((ErrorCode::DuplicateResource, "the same credential is changed twice".to_owned()));
        }
        hash(mechanism).ok_or_else(|| (ErrorCode::UnsupportedSaslMechanism, "there is no such mechanism".to_owned()))
    };
    let deletions = body.deletions.iter().map(|deletion| {
        let hash = known(deletion.name, deletion.mechanism);
        (deletion.name, hash.map(|hash| UserChange::Unset(deletion.name.to_owned(), hash)))
    });
    let upsertions = body.upsertions.iter().map(|upsertion| {
        let made = known(upsertion.name, upsertion.mechanism).and_then(|hash| {
            let iterations = u32::try_from(upsertion.iterations).unwrap_or(0);
            let verifier = Verifier::of_salted(hash, upsertion.salted_password.expose(), upsertion.salt, iterations);
            verifier.map_err(|why| (ErrorCode::UnacceptableCredential, why))
        });
        (upsertion.name, made.map(|verifier| UserChange::Set(upsertion.name.to_owned(), verifier)))
    });
    deletions.chain(upsertions).collect()
}
