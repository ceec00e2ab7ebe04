//! The command line: `brooklet COMMAND`, one file a command.
//!
//! | file | job |
//! |---|---|
//! | `spec`, `parse` | what a command takes, declared once; arguments, help and suggestions come from it |
//! | `error` | the three exit codes |
//! | `connect` | which gateway a command speaks to |
//! | `term`, `table`, `when`, `format` | progress, figures and tables for people, times, records |
//! | `logging` | the log on standard error |
//! | `machine` | what the kernel tells of filesystems and clocks |
//! | `password` | passwords from files, standard input, the terminal |
//! | `signals`, `scratch` | SIGTERM and SIGINT; directories for a while |
//! | the rest | one command each: its declaration, its arguments as a struct, and what it does |
//!
//! Invariants: standard output carries only what was asked for; everything else goes to standard error. A command
//! never panics on a closed pipe. Exit codes: 0 done, 1 failed, 2 usage or configuration.

mod check;
mod check_files;
pub mod connect;
pub mod error;
pub mod format;
pub mod logging;
pub mod parse;
pub mod spec;
mod store;
pub mod table;
pub mod term;
pub mod when;

mod acl;
mod adopt;
#[cfg(feature = "bench")]
mod bench;
mod cert;
mod certificates;
mod client_name;
mod consume;
mod dead_letter;
mod demo;
mod downlink;
mod drain;
mod export;
mod fleet;
mod forward;
mod fsck;
mod group;
mod help;
mod introduce;
mod lines;
mod links;
mod losses;
mod machine;
mod nodes;
mod notify;
mod password;
mod process;
mod produce;
mod provision;
mod publishing;
mod reload;
mod reset;
mod scratch;
mod selftest;
mod serve;
mod signals;
mod status;
mod status_view;
mod support;
mod topic;
mod uplink;
mod user;
mod watch;

use std::{ffi::OsString, process::ExitCode};

use crate::tls::issue::Purpose;
pub use error::CliError;
use parse::Parsed;
use spec::Spec;

/// A command: what it takes, and what it does with it.
pub(crate) struct Command {
    pub(crate) spec: &'static Spec,
    run: fn(&mut Parsed) -> Result<(), CliError>,
}

/// Every command, in the order of the help text. A command of two words is one entry.
pub(crate) static COMMANDS: &[Command] = &[
    Command { spec: &serve::SPEC, run: |args| serve::run(&serve::ServeArgs::parse(args)?) },
    Command { spec: &demo::SPEC, run: |args| demo::run(&demo::DemoArgs::parse(args)?) },
    Command { spec: &produce::SPEC, run: |args| produce::run(&produce::ProduceArgs::parse(args)?) },
    Command { spec: &consume::SPEC, run: |args| consume::run(&consume::ConsumeArgs::parse(args)?) },
    Command { spec: &topic::CREATE, run: |args| topic::create(&topic::CreateArgs::parse(args)?) },
    Command { spec: &topic::LIST, run: |args| topic::list(&topic::ListArgs::parse(args)?) },
    Command { spec: &topic::DESCRIBE, run: |args| topic::describe(&topic::DescribeArgs::parse(args)?) },
    Command { spec: &topic::ALTER, run: |args| topic::alter(&topic::AlterArgs::parse(args)?) },
    Command { spec: &topic::DELETE, run: |args| topic::delete(&topic::DeleteArgs::parse(args)?) },
    Command { spec: &group::LIST, run: |args| group::list(&group::ListArgs::parse(args)?) },
    Command { spec: &group::DESCRIBE, run: |args| group::describe(&group::DescribeArgs::parse(args)?) },
    Command { spec: &group::RESET, run: |args| group::reset(&group::ResetArgs::parse(args)?) },
    Command { spec: &group::DELETE, run: |args| group::delete(&group::DeleteArgs::parse(args)?) },
    Command { spec: &uplink::STATUS, run: |args| uplink::status(&uplink::StatusArgs::parse(args)?) },
    Command { spec: &uplink::CHECK, run: |args| uplink::check(&uplink::CheckArgs::parse(args)?) },
    Command { spec: &uplink::PAUSE, run: |args| uplink::pause(&uplink::NameArgs::parse(args)?) },
    Command { spec: &uplink::RESUME, run: |args| uplink::resume(&uplink::NameArgs::parse(args)?) },
    Command { spec: &downlink::STATUS, run: |args| downlink::status(&downlink::StatusArgs::parse(args)?) },
    Command { spec: &downlink::CHECK, run: |args| downlink::check(&downlink::CheckArgs::parse(args)?) },
    Command { spec: &downlink::PAUSE, run: |args| downlink::pause(&downlink::NameArgs::parse(args)?) },
    Command { spec: &downlink::RESUME, run: |args| downlink::resume(&downlink::NameArgs::parse(args)?) },
    Command { spec: &downlink::SKIP, run: |args| downlink::skip(&downlink::SkipArgs::parse(args)?) },
    Command { spec: &dead_letter::LIST, run: |args| dead_letter::list(&dead_letter::LetterArgs::parse(args, false)?) },
    Command { spec: &dead_letter::RETRY, run: |args| dead_letter::retry(&dead_letter::LetterArgs::parse(args, true)?) },
    Command {
        spec: &dead_letter::DROP,
        run: |args| dead_letter::drop_letters(&dead_letter::LetterArgs::parse(args, true)?),
    },
    Command { spec: &acl::ADD, run: |args| acl::add(&acl::AddArgs::parse(args)?) },
    Command { spec: &acl::LIST, run: |args| acl::list(&acl::FilterArgs::parse(args, false)?) },
    Command { spec: &acl::REMOVE, run: |args| acl::remove(&acl::FilterArgs::parse(args, true)?) },
    Command { spec: &user::ADD, run: |args| user::add(&user::SetArgs::parse(args)?) },
    Command { spec: &user::LIST, run: |args| user::list(&user::ListArgs::parse(args)?) },
    Command { spec: &user::PASSWD, run: |args| user::passwd(&user::SetArgs::parse(args)?) },
    Command { spec: &user::REMOVE, run: |args| user::remove(&user::RemoveArgs::parse(args)?) },
    Command { spec: &status::SPEC, run: |args| status::run(&status::StatusArgs::parse(args)?) },
    Command { spec: &fleet::SPEC, run: |args| fleet::run(&fleet::FleetArgs::parse(args)?) },
    Command { spec: &losses::SPEC, run: |args| losses::run(&losses::LossesArgs::parse(args)?) },
    Command { spec: &check::SPEC, run: |args| check::run(&check::CheckArgs::parse(args)?) },
    Command { spec: &store::FORMAT, run: |args| store::run(&store::StoreArgs::parse(args, false)?) },
    Command { spec: &store::FINALIZE, run: |args| store::run(&store::StoreArgs::parse(args, true)?) },
    Command { spec: &reload::SPEC, run: |args| reload::run(&reload::ReloadArgs::parse(args)?) },
    Command { spec: &provision::SPEC, run: |args| provision::run(&provision::ProvisionArgs::parse(args)?) },
    Command { spec: &selftest::SPEC, run: |args| selftest::run(&selftest::SelftestArgs::parse(args)?) },
    Command { spec: &support::SPEC, run: |args| support::run(&support::SupportArgs::parse(args)?) },
    Command { spec: &cert::CA, run: |args| cert::ca(&cert::CaArgs::parse(args)?) },
    Command {
        spec: &cert::GATEWAY,
        run: |args| cert::issue(&cert::NamedArgs::parse(args, Some(Purpose::Gateway))?, Purpose::Gateway),
    },
    Command {
        spec: &cert::DEVICE,
        run: |args| cert::issue(&cert::NamedArgs::parse(args, Some(Purpose::Client))?, Purpose::Client),
    },
    Command { spec: &cert::REVOKE, run: |args| cert::revoke(&cert::NamedArgs::parse(args, None)?) },
    Command { spec: &cert::SHOW, run: |args| cert::show(&cert::ShowArgs::parse(args)?) },
    Command { spec: &fsck::SPEC, run: |args| fsck::run(&fsck::FsckArgs::parse(args)?) },
    Command { spec: &drain::SPEC, run: |args| drain::run(&drain::DrainArgs::parse(args)?) },
    Command { spec: &forward::SPEC, run: |args| forward::run(&forward::ForwardArgs::parse(args)?) },
    Command { spec: &adopt::SPEC, run: |args| adopt::run(&adopt::AdoptArgs::parse(args)?) },
    Command { spec: &reset::SPEC, run: |args| reset::run(&reset::ResetArgs::parse(args)?) },
    Command { spec: &export::SPEC, run: |args| export::run(&export::ExportArgs::parse(args)?) },
    #[cfg(feature = "bench")]
    Command { spec: &bench::STORE, run: |args| bench::run_store(&bench::StoreArgs::parse(args)?) },
    #[cfg(feature = "bench")]
    Command { spec: &bench::SCALE, run: |args| bench::run_scale(&bench::ScaleArgs::parse(args)?) },
    #[cfg(feature = "bench")]
    Command { spec: &bench::ROOM, run: |args| bench::run_room(&bench::RoomArgs::parse(args)?) },
    #[cfg(feature = "bench")]
    Command { spec: &bench::FLASH, run: |args| bench::run_flash(&bench::FlashArgs::parse(args)?) },
    #[cfg(feature = "bench")]
    Command { spec: &bench::CONNECTIONS, run: |args| bench::run_connections(&bench::ConnectionsArgs::parse(args)?) },
    #[cfg(feature = "bench")]
    Command { spec: &bench::MQTT, run: |args| bench::run_mqtt(&bench::MqttArgs::parse(args)?) },
    #[cfg(feature = "bench")]
    Command { spec: &bench::PUBLISH, run: |args| bench::run_publish(&bench::PublishArgs::parse(args)?) },
];

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = run(&args);
    if let Err(error) = &outcome {
        error.print();
    }
    error::exit_code(&outcome)
}

fn run(args: &[OsString]) -> Result<(), CliError> {
    let words: Vec<&str> = args.iter().map_while(|arg| arg.to_str()).collect();
    match words.as_slice() {
        ["-h" | "--help", ..] | ["help"] => return term::print(&help::overview()),
        ["-V" | "--version", ..] | ["version"] => return term::print(&help::version()),
        ["help", topic @ ..] => return term::print(&help::of(topic)?),
        _ => {}
    }
    let Some((command, used)) = help::find(&words) else {
        return match words.as_slice() {
            [first, "-h" | "--help", ..] => term::print(&help::of(&[first])?),
            _ => Err(help::no_such_command(&words)),
        };
    };
    let rest = args.get(used..).unwrap_or_default();
    match parse::parse(command.spec, rest)? {
        parse::Outcome::Help => term::print(&help::of_command(command.spec)),
        parse::Outcome::Run(mut parsed) => (command.run)(&mut parsed),
    }
}

#[cfg(test)]
mod tests;
