//! `brooklet user`: who may authenticate by a password.

use std::path::PathBuf;

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    password,
    spec::{JSON, Opt, Positional, Spec},
    table::Table,
    term,
};
use crate::executor::block_on;
use crate::{
    broker::users::UserInfo,
    frame::UserAction,
    json,
    sasl::check_password,
    secret::{ITERATIONS_MAX, ITERATIONS_MIN, ScramHash, Secret, Verifier},
};

/// Random bytes of a salt.
const SALT_BYTES: usize = 24;

const NAME: Positional = Positional { name: "NAME", required: true, help: "The user's name" };
const PASSWORD: &[Opt] = &[
    Opt::value("password-file", "FILE", "Take the password from the first line of FILE, which only its owner may read"),
    Opt::value("iterations", "N", "Rounds that the password is salted with, 4096 (default) to 65536"),
];
const DETAILS: &str = "The password is asked for, or read from standard input if that is no terminal. What is kept is salted, for\n\
     SCRAM-SHA-256 and SCRAM-SHA-512; the password itself leaves this command in no way. What a user may do is for\n\
     rights to say: `brooklet acl`.";

pub(super) static ADD: Spec = Spec {
    name: "user add",
    summary: "Add a user",
    positionals: &[NAME],
    options: PASSWORD,
    shared: &[connect::PLACE],
    details: DETAILS,
};

pub(super) static PASSWD: Spec = Spec {
    name: "user passwd",
    summary: "Change a user's password",
    positionals: &[NAME],
    options: PASSWORD,
    shared: &[connect::PLACE],
    details: DETAILS,
};

pub(super) static LIST: Spec = Spec {
    name: "user list",
    summary: "List users",
    positionals: &[],
    options: &[],
    shared: &[connect::PLACE, JSON],
    details: "",
};

pub(super) static REMOVE: Spec = Spec {
    name: "user remove",
    summary: "Remove a user",
    positionals: &[NAME],
    options: &[],
    shared: &[connect::PLACE],
    details: "Connections on which the user has authenticated go on until they end; rights that are taken away hold at once.",
};

/// Arguments of `user add` and `user passwd`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SetArgs {
    name: String,
    file: Option<PathBuf>,
    iterations: u32,
    target: Target,
}

impl SetArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<SetArgs, CliError> {
        let iterations = args.number("iterations", ITERATIONS_MIN.into(), ITERATIONS_MAX.into())?;
        Ok(SetArgs {
            name: args.positional("NAME")?,
            file: args.path("password-file"),
            iterations: iterations.and_then(|n| u32::try_from(n).ok()).unwrap_or(ITERATIONS_MIN),
            target: Target::parse_place(args)?,
        })
    }
}

/// Arguments of `user list`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListArgs {
    target: Target,
    json: bool,
}

impl ListArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ListArgs, CliError> {
        Ok(ListArgs { target: Target::parse_place(args)?, json: args.switch("json") })
    }
}

/// Arguments of `user remove`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RemoveArgs {
    name: String,
    target: Target,
}

impl RemoveArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<RemoveArgs, CliError> {
        Ok(RemoveArgs { name: args.positional("NAME")?, target: Target::parse_place(args)? })
    }
}

/// Runs `user add`.
///
/// # Errors
/// No gateway, no password, or there is such a user already.
pub(super) fn add(args: &SetArgs) -> Result<(), CliError> {
    set(args, UserAction::Add)?;
    term::note(&format!("user {} is added", args.name));
    Ok(())
}

/// Runs `user passwd`.
///
/// # Errors
/// No gateway, no password, or no such user.
pub(super) fn passwd(args: &SetArgs) -> Result<(), CliError> {
    set(args, UserAction::Change)?;
    term::note(&format!("the password of user {} is changed", args.name));
    Ok(())
}

fn set(args: &SetArgs, action: UserAction) -> Result<(), CliError> {
    let password = password::read(&args.name, args.file.as_deref(), true)?;
    check_password(password.expose()).map_err(CliError::Failed)?;
    let verifiers = verifiers(&password, args.iterations)?;
    block_on(async { Ok(args.target.connect().await?.users(action, &args.name, &verifiers).await.map(drop)?) })
}

/// What is kept of a password, for each mechanism, with a salt of its own.
fn verifiers(password: &Secret, iterations: u32) -> Result<Vec<u8>, CliError> {
    let mut encoded = Vec::new();
    for hash in ScramHash::ALL {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| CliError::failed("no randomness", error))?;
        Verifier::of_password(hash, password.expose(), &salt, iterations).encode(&mut encoded);
    }
    Ok(encoded)
}

/// Runs `user list`.
///
/// # Errors
/// No gateway.
pub(super) fn list(args: &ListArgs) -> Result<(), CliError> {
    let json =
        block_on(async { Ok::<_, CliError>(args.target.connect().await?.users(UserAction::List, "", &[]).await?) })?;
    if args.json {
        return term::print(&format!("{json}\n"));
    }
    let users: Vec<UserInfo> =
        json::from_str(&json).map_err(|error| CliError::Failed(format!("the gateway's answer: {error}")))?;
    if users.is_empty() {
        term::note("no users: `brooklet user add NAME` adds one");
        return Ok(());
    }
    let mut table = Table::new(&["USER", "MECHANISMS"]);
    for user in users {
        let kept = user.mechanisms.iter().map(|kept| format!("{} ({} iterations)", kept.mechanism, kept.iterations));
        table.row([user.name, kept.collect::<Vec<_>>().join(", ")]);
    }
    term::print(&table.render())
}

/// Runs `user remove`.
///
/// # Errors
/// No gateway, or no such user.
pub(super) fn remove(args: &RemoveArgs) -> Result<(), CliError> {
    block_on(async {
        Ok::<_, CliError>(args.target.connect().await?.users(UserAction::Remove, &args.name, &[]).await.map(drop)?)
    })?;
    term::note(&format!("user {} is removed", args.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_salted_for_both_mechanisms() {
        let password = Secret::new("hunter2");
        let (one, two) = (verifiers(&password, 4_096).unwrap(), verifiers(&password, 4_096).unwrap());
        assert!(one != two, "salts are random");
        let mut bytes = one.as_slice();
        for hash in ScramHash::ALL {
            let verifier = Verifier::decode(&mut bytes).unwrap();
            assert!(verifier.hash() == hash && verifier.fits(b"hunter2") && !verifier.fits(b"hunter3"));
        }
        assert!(bytes.is_empty());
    }
}
