//! `brooklet adopt DIR`: this board takes a gateway's data over.

use std::path::PathBuf;

use super::{
    error::CliError,
    fsck::store_dir,
    parse::Parsed,
    spec::{Opt, Positional, Spec},
    term,
};
use crate::config::is_name_char;
use crate::gateway::{Hardware, adopt};
use crate::limits::CLIENT_ID_BYTES_MAX;

pub(super) static SPEC: Spec = Spec {
    name: "adopt",
    summary: "Let this board take over the data of another one, or rename a gateway",
    positionals: &[Positional { name: "DIR", required: true, help: "Data directory of a gateway that does not run" }],
    options: &[Opt::value("id", "ID", "Another gateway id from now on (default: the one that the data has)")],
    shared: &[],
    details: "For a card that was moved from a board that died: `serve` refuses data of another board. Records, the id and all\n\
              positions stay, so uplinks go on where they were. The other board must not run on a copy of the data any more;\n\
              what a copy needs is `brooklet reset`. Under another id the centre takes the gateway for a new one.",
};

/// Arguments of `adopt`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AdoptArgs {
    dir: PathBuf,
    id: Option<String>,
}

impl AdoptArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<AdoptArgs, CliError> {
        let dir = args.positional_path("DIR").ok_or_else(|| args.usage("missing argument DIR"))?;
        let name = |text: &str| match (1..=CLIENT_ID_BYTES_MAX).contains(&text.len()) && text.chars().all(is_name_char)
        {
            true => Ok(text.to_owned()),
            false => Err(format!("must be 1 to {CLIENT_ID_BYTES_MAX} letters, digits, '.', '_' or '-'")),
        };
        Ok(AdoptArgs { dir, id: args.read("id", name)? })
    }
}

/// Runs `adopt`.
///
/// # Errors
/// No store there, or a gateway runs on it.
pub(super) fn run(args: &AdoptArgs) -> Result<(), CliError> {
    let adopted = adopt(&store_dir(&args.dir)?, &Hardware::here(), args.id.as_deref());
    let adopted = adopted.map_err(|why| CliError::failed(args.dir.display(), why))?;
    let mut text = format!("gateway {}", adopted.id);
    if let Some(before) = adopted.id_before.filter(|before| *before != adopted.id) {
        text.push_str(&format!(", which was {before}"));
    }
    term::print(&format!("{text}, on {}; the next start goes on where the last one was\n", adopted.hardware))
}
