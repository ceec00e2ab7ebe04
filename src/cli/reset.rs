//! `brooklet reset DIR`: a gateway that begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    error::CliError,
    fsck::not_opened,
    parse::Parsed,
    spec::{Opt, Positional, Spec},
    term::{self, human_count},
};
use crate::broker::{Defaults, Topic, stored_topics};
use crate::gateway::STORE_DIR;
use crate::store::{Intervals, PartitionId, Reader, Space, disk::RealDisk};

/// What the store is called until it is gone.
const DOOMED: &str = "store.reset";

pub(super) static SPEC: Spec = Spec {
    name: "reset",
    summary: "Delete a gateway's records and identity: it begins anew",
    positionals: &[Positional { name: "DIR", required: true, help: "Data directory of a gateway that does not run" }],
    options: &[Opt::switch("yes", "Do not ask")],
    shared: &[],
    details: "Lists what was not forwarded, then asks. The next start makes a new store with a new incarnation: also what a copied\n\
              data directory or a cloned image needs. The configuration stays. `brooklet drain` or `brooklet forward` before it\n\
              saves what is listed.",
};

/// Arguments of `reset`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResetArgs {
    dir: PathBuf,
    yes: bool,
}

impl ResetArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ResetArgs, CliError> {
        let dir = args.positional_path("DIR").ok_or_else(|| args.usage("missing argument DIR"))?;
        Ok(ResetArgs { dir, yes: args.switch("yes") })
    }
}

/// Runs `reset`.
///
/// # Errors
/// No store there, a gateway runs on it, or nobody said yes.
pub(super) fn run(args: &ResetArgs) -> Result<(), CliError> {
    let (store, doomed) = (args.dir.join(STORE_DIR), args.dir.join(DOOMED));
    if !store.is_dir() && !doomed.is_dir() {
        let why = format!("no data directory of a gateway: there is no {STORE_DIR} in it");
        return Err(CliError::failed(args.dir.display(), why));
    }
    // Claimed until the end: no gateway begins on it meanwhile.
    let reader = match store.is_dir().then(|| Reader::open(&store, Arc::new(RealDisk::new()))) {
        Some(Ok(reader)) => Some(reader),
        Some(Err(error @ crate::store::OpenError::InUse(_))) => return Err(not_opened(&store, error)),
        Some(Err(error)) => {
            term::note(&format!("what is unsent can't be listed: {error}"));
            None
        }
        None => None,
    };
    if let Some(reader) = &reader {
        term::print(&unsent(reader)?)?;
    }
    if !args.yes && !confirmed(&args.dir)? {
        return Err(CliError::Failed("nothing was deleted".to_owned()));
    }
    let failed = |error: std::io::Error| CliError::failed(args.dir.display(), error);
    if doomed.is_dir() {
        // Left by a reset that was interrupted.
        std::fs::remove_dir_all(&doomed).map_err(failed)?;
    }
    if store.is_dir() {
        std::fs::rename(&store, &doomed).map_err(failed)?;
        std::fs::File::open(&args.dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        std::fs::remove_dir_all(&doomed).map_err(failed)?;
    }
    drop(reader);
    term::print("the store is gone; the next start makes a new one, with a new incarnation\n")
}

/// What the store holds that was not forwarded: a line for each uplink and topic, and the store's incarnation.
fn unsent(reader: &Reader) -> Result<String, CliError> {
    let topics = stored_topics(&reader.entries(Space::Topic, &[]), &Defaults::default()).map_err(CliError::Failed)?;
    let positions = positions(reader, &topics);
    let incarnation: String = reader.incarnation().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = format!("incarnation {incarnation}\n");
    let mut none = true;
    for topic in topics.iter().filter(|topic| !topic.is_internal()) {
        let uplinks: BTreeSet<&String> =
            topic.partitions.iter().filter_map(|partition| positions.get(partition)).flat_map(BTreeMap::keys).collect();
        for uplink in &uplinks {
            let records = count(reader, topic, |partition| positions.get(&partition).and_then(|all| all.get(*uplink)));
            if records > 0 {
                none = false;
                let name = &topic.name;
                text.push_str(&format!(
                    "{} records of {name} not forwarded by uplink {uplink}\n",
                    human_count(records)
                ));
            }
        }
        let records = count(reader, topic, |_| None);
        if uplinks.is_empty() && records > 0 {
            none = false;
            text.push_str(&format!("{} records of {} forwarded by no uplink\n", human_count(records), topic.name));
        }
    }
    if none {
        text.push_str("everything was forwarded\n");
    }
    Ok(text)
}

/// How many records of a topic lie outside these positions.
fn count<'p>(reader: &Reader, topic: &Topic, position: impl Fn(PartitionId) -> Option<&'p Intervals>) -> u64 {
    let of = |partition: &PartitionId| {
        let head = reader.head(*partition)?;
        let all = head.log_start..head.readable_end();
        let missing =
            position(*partition).map_or_else(|| vec![all.clone()], |position| position.missing_in(all.clone()));
        Some(missing.iter().map(|range| range.end.abs_diff(range.start)).sum::<u64>())
    };
    topic.partitions.iter().filter_map(of).sum()
}

/// The positions of uplinks, by partition and name.
fn positions(reader: &Reader, topics: &[Topic]) -> BTreeMap<PartitionId, BTreeMap<String, Intervals>> {
    let known: BTreeSet<PartitionId> = topics.iter().flat_map(|topic| topic.partitions.iter().copied()).collect();
    let mut positions: BTreeMap<PartitionId, BTreeMap<String, Intervals>> = BTreeMap::new();
    for (key, value) in reader.entries(Space::Cursor, &[]) {
        let Some((rest, partition)) = key.split_last_chunk::<4>() else { continue };
        let partition = PartitionId(u32::from_be_bytes(*partition));
        let Some((0, name)) = rest.split_last() else { continue };
        let (Ok(name), Ok(position)) = (std::str::from_utf8(name), Intervals::decode(&value)) else { continue };
        if !name.is_empty() && known.contains(&partition) {
            positions.entry(partition).or_default().insert(name.to_owned(), position);
        }
    }
    positions
}

fn confirmed(dir: &Path) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Failed("nobody to ask: --yes deletes without asking".to_owned()));
    }
    let mut err = std::io::stderr();
    // Where it can't be shown, it can't be answered either.
    let _ = write!(err, "Delete the store in {}? Type yes: ", dir.display()).and_then(|()| err.flush());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| CliError::Failed(error.to_string()))?;
    Ok(line.trim() == "yes")
}
