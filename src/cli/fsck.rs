//! `brooklet fsck DIR`: is a data directory whole?

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Positional, Spec},
    term::{self, counted, human_bytes, human_count},
};
use crate::{
    broker::{Defaults, Topic, stored_topics},
    gateway::STORE_DIR,
    json::{self, JsonObject},
    store::{
        Finding, FsckReport, OpenError, PartitionId, Reader, RepairReport, Space,
        disk::{Disk, RealDisk},
        fsck, repair,
    },
};

const DIR: &[Positional] = &[Positional {
    name: "DIR",
    required: true,
    help: "Data directory of a gateway that does not run, or the store in it",
}];

pub(super) static SPEC: Spec = Spec {
    name: "fsck",
    summary: "Verify every segment and batch of a data directory",
    positionals: DIR,
    options: &[Opt::switch(
        "repair",
        "Mend: take damaged segments out, keep what is intact of the newest, finish what a crash interrupted",
    )],
    shared: &[JSON],
    details: "Reads everything and changes nothing; says what is wrong and where. A gateway that runs on the directory must be\n\
              stopped first. With --repair it finishes what a crash interrupted, and takes each damaged segment out that is\n\
              not written any more: what it held is entered into the loss ledger, the file is kept as NNNNNNNNNN.bad until its\n\
              room is needed. Of a damaged newest segment, without which the store does not open, all batches are kept that are\n\
              intact; the partitions go on behind all offsets that may have been acknowledged in it, so that none is given twice.\n\
              The damaged file itself is replaced: copy the directory first if you want to keep it. A damaged state.redb begins\n\
              anew: all records stay, what it held besides is given up and named; unless rules of access were in it. It is kept as\n\
              state.bad until its room is needed. (A gateway that starts does this by itself.)\n\n\
              Exit code 0: nothing is wrong, or all that was is repaired; 1: something is wrong; 2: usage.",
};

/// Arguments of `fsck`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FsckArgs {
    pub dir: PathBuf,
    pub repair: bool,
    pub json: bool,
}

impl FsckArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<FsckArgs, CliError> {
        let dir = args.positional_path("DIR").ok_or_else(|| args.usage("missing argument DIR"))?;
        Ok(FsckArgs { dir, repair: args.switch("repair"), json: args.switch("json") })
    }
}

/// Runs `fsck`.
///
/// # Errors
/// Something is wrong, a gateway runs on the directory, or there is no store.
pub(super) fn run(args: &FsckArgs) -> Result<(), CliError> {
    let dir = store_dir(&args.dir)?;
    let mut bar: Option<term::Progress> = None;
    let mut progress = |_done: u64, total: u64| {
        bar.get_or_insert_with(|| term::Progress::new("verifying", Some(total))).advance(1);
    };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let opened = |error| not_opened(&args.dir, error);
    let (report, done) = if args.repair {
        let done = repair(&dir, &disk, &mut progress).map_err(opened)?;
        (done.after.clone(), Some(done))
    } else {
        (fsck(&dir, disk, &mut progress).map_err(opened)?, None)
    };
    drop(bar);
    if let Some(done) = done.filter(|_| !args.json) {
        term::print(&repaired(&done))?;
    }
    if args.json {
        term::print(&format!("{}\n", as_json(&report)))?;
    } else {
        term::print(&as_text(&report, &names(&dir, &report)))?;
    }
    if report.findings_total > 0 { Err(CliError::FailedAsShown) } else { Ok(()) }
}

/// What a repair did, in lines.
fn repaired(done: &RepairReport) -> String {
    let mut out = String::new();
    for cut in &done.cuts {
        out.push_str(&format!(
            "{}: damaged; {} commits kept whole, {} in part, {} were gone\n",
            cut.file.display(),
            human_count(cut.whole),
            human_count(cut.parts),
            human_count(cut.missing)
        ));
        for (partition, range) in &cut.lost {
            let (from, to) = (range.start, range.end - 1);
            out.push_str(&format!("partition {partition} of the store: offsets {from} to {to} lost, in the ledger\n"));
        }
        for (partition, range) in &cut.given_up {
            let (end, next) = (range.start, range.end);
            out.push_str(&format!(
                "partition {partition} of the store: ends at offset {end} and goes on at {next}; what stood behind {end} is lost\n"
            ));
        }
    }
    if let Some(renewed) = &done.renewed {
        let held = renewed.given_up.join("; ");
        let kept =
            renewed.kept.as_ref().map_or(String::new(), |kept| format!(", the damaged one is {} now", kept.display()));
        out.push_str(&format!("state.redb: damaged, and begun anew{kept}; given up: {held}\n"));
    }
    for file in &done.quarantined {
        out.push_str(&format!("{}: damaged, taken out of the store (now .bad)\n", file.display()));
    }
    for (partition, what) in &done.lost {
        let (records, bytes) = (human_count(what.records), human_bytes(what.bytes));
        out.push_str(&format!("partition {partition} of the store: {records} records ({bytes}) lost, in the ledger\n"));
    }
    if done.quarantined.is_empty() && done.cuts.is_empty() && done.renewed.is_none() {
        out.push_str("nothing was taken out\n");
    }
    out
}

/// The store that a person means by a directory: the one within it if it is a data directory, else itself.
pub(super) fn store_dir(dir: &Path) -> Result<PathBuf, CliError> {
    let within = dir.join(STORE_DIR);
    if within.is_dir() {
        return Ok(within);
    }
    // Claiming a directory leaves a lock file: not in one that was never a store.
    let entries = std::fs::read_dir(dir).map_err(|error| CliError::failed(dir.display(), error))?;
    let is_segment = |path: PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    if entries.filter_map(Result::ok).any(|entry| is_segment(entry.path())) {
        Ok(dir.to_owned())
    } else {
        Err(CliError::failed(dir.display(), "there is no store here"))
    }
}

/// Why a store cannot be looked at.
pub(super) fn not_opened(dir: &Path, error: OpenError) -> CliError {
    match error {
        OpenError::InUse(_) => CliError::failed(dir.display(), "a gateway runs on this directory; stop it first"),
        error => CliError::Failed(error.to_string()),
    }
}

/// What people call the partitions, if something is wrong with one and the store can tell.
fn names(dir: &Path, report: &FsckReport) -> Names {
    if report.findings.iter().all(|finding| finding.batch.is_none()) {
        return Names::new();
    }
    let Ok(reader) = Reader::open(dir, Arc::new(RealDisk::new())) else { return Names::new() };
    let topics = stored_topics(&reader.entries(Space::Topic, &[]), &Defaults::default()).unwrap_or_default();
    let of_topic = |topic: &Topic| {
        let name = topic.name.clone();
        let each = topic.partitions.iter().enumerate();
        each.map(|(index, id)| (*id, format!("topic {name} partition {index}"))).collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

pub(super) type Names = HashMap<PartitionId, String>;

/// What was found, in lines.
pub(super) fn as_text(report: &FsckReport, names: &Names) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        out.push_str(&format!("{}: {}\n", finding.file.display(), describe(finding, names)));
    }
    let told = report.findings.len() as u64;
    if report.findings_total > told {
        out.push_str(&format!("… and {} more\n", human_count(report.findings_total - told)));
    }
    out.push_str(&format!(
        "{}, {}, {}, {}, {}: ",
        counted(report.segments, "segment"),
        counted(report.commits, "commit"),
        counted(report.batches, "batch"),
        counted(report.records, "record"),
        human_bytes(report.batch_bytes)
    ));
    out.push_str(&match report.findings_total {
        0 => "nothing is wrong\n".to_owned(),
        count => format!("{}\n", counted(count, "finding")),
    });
    out
}

fn describe(finding: &Finding, names: &Names) -> String {
    let mut place = String::new();
    if let Some(commit) = finding.commit {
        place.push_str(&format!("commit {commit}: "));
    }
    if let Some((partition, offset)) = finding.batch {
        let name = names.get(&partition).cloned().unwrap_or_else(|| format!("partition {partition} of the store"));
        place.push_str(&format!("{name}, batch at offset {offset}: "));
    }
    place + &finding.what
}

fn as_json(report: &FsckReport) -> String {
    let findings = report.findings.iter().map(|finding| {
        let mut object = JsonObject::new();
        object.text("file", &finding.file.display().to_string());
        match finding.commit {
            Some(commit) => object.number("commit", commit),
            None => object.null("commit"),
        };
        match finding.batch {
            Some((partition, offset)) => object.number("partition", partition.0).number("base_offset", offset),
            None => object.null("partition").null("base_offset"),
        };
        object.text("what", &finding.what);
        object.finish()
    });
    let mut out = JsonObject::new();
    out.boolean("ok", report.findings_total == 0);
    out.number("segments", report.segments).number("blank_files", report.blank_files);
    out.number("commits", report.commits).number("batches", report.batches).number("records", report.records);
    out.number("batch_bytes", report.batch_bytes).number("findings_total", report.findings_total);
    out.raw("findings", &json::array(findings));
    out.finish()
}
