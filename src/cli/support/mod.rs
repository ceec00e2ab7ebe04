//! `brooklet support-bundle FILE`: what somebody needs who is to find out from afar what is wrong with a gateway.
//!
//! Invariants: no secret is in it: the configuration is masked as `check` masks it, status and log hold none. No records. It works with a
//! gateway that runs, by its socket, and with one that doesn't. At most 1 MB.

mod tar;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::{Part, bundle};

use super::{
    connect,
    error::CliError,
    fsck,
    machine::{Mount, kernel_says, rtc},
    parse::Parsed,
    spec::{Opt, Positional, Spec},
    table::Table,
    term::{self, human_bytes},
    when,
};
use crate::client::Address;
use crate::config::{Config, Layers, load_last_good, report_text};
use crate::executor::block_on;
use crate::gateway::status::{GatewayStatus, StartFigures};
use crate::gateway::{Hardware, SOCKET_NAME, STORE_DIR, starts};
use crate::store::clock::{Clock, RealClock};
use crate::store::disk::{Disk, RealDisk};
use crate::store::{Device, LossEntry, Reader, Space};

pub(super) static SPEC: Spec = Spec {
    name: "support-bundle",
    summary: "Gather what support needs to know of a gateway in one file",
    positionals: &[Positional { name: "FILE", required: true, help: "Where to write it (.tar.gz); must not exist" }],
    options: &[Opt::value("data", "DIR", "Data directory (default: the configured one)").short('d')],
    shared: &[],
    details: "Configuration with masked secrets, status, losses, the last 20 starts and how the runs before them ended, the last\n\
              64 KiB of the log, the machine and its filesystem; of a gateway that doesn't run also what `fsck` finds, which reads the\n\
              whole store. No secrets, no records; less than 1 MB. Look at it before you send it: names of topics, clients and\n\
              hosts are in it.",
};

/// Arguments of `support-bundle`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SupportArgs {
    file: PathBuf,
    data: Option<PathBuf>,
}

impl SupportArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<SupportArgs, CliError> {
        let file = args.positional_path("FILE").ok_or_else(|| args.usage("missing argument FILE"))?;
        Ok(SupportArgs { file, data: args.path("data") })
    }
}

/// Runs `support-bundle`.
///
/// # Errors
/// The file exists or can't be written. What can't be gathered is told in the bundle.
pub(super) fn run(args: &SupportArgs) -> Result<(), CliError> {
    let configured = Config::load(&Layers::system());
    let dir = match (&args.data, &configured) {
        (Some(dir), _) => dir.clone(),
        (None, Ok(loaded)) => loaded.config.data_dir.clone(),
        (None, Err(errors)) => errors.data_dir.clone(),
    };
    let mut parts = vec![part("about.txt", about(&dir)), part("configuration.toml", configuration(&dir))];
    match block_on(running(&dir)) {
        Some(told) => parts.extend(told),
        None => parts.extend(stopped(&dir)),
    }
    let now_s = u64::try_from(when::now_ms() / 1_000).unwrap_or(0);
    let failed = |error: std::io::Error| CliError::failed(args.file.display(), error);
    let bytes = bundle(parts, now_s).map_err(failed)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file).map_err(failed)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    let size = human_bytes(bytes.len() as u64);
    term::print(&format!("{}: {size}; no secrets, but names of topics, clients and hosts\n", args.file.display()))
}

fn part(name: &'static str, text: String) -> Part {
    Part { name, text }
}

fn about(dir: &Path) -> String {
    let mount = Mount::of(dir).map_or("unknown".to_owned(), |mount| mount.to_string());
    let space = RealDisk::new().space(dir);
    let space = space.map_or_else(
        |error| error.to_string(),
        |space| format!("{} free of {}", human_bytes(space.free), human_bytes(space.total)),
    );
    let device = Device::below(dir).map_or("unknown".to_owned(), |device| {
        let percent = |part: Option<u8>| part.map_or("unknown".to_owned(), |percent| format!("{percent} %"));
        let life = device
            .life()
            .map_or("unknown".to_owned(), |life| format!("used {}", life.used_percent.map(percent).join(" and ")));
        format!("{} ({:?}), life {life}", device.name(), device.medium())
    });
    let clock = if RealClock::default().wall_trusted() { "synchronised" } else { "not synchronised" };
    let lines = [
        ("brooklet", format!("{} {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)),
        ("time", format!("{}, {clock}", when::format_time(when::now_ms()))),
        ("battery-backed clock", rtc().unwrap_or_else(|| "none".to_owned())),
        ("kernel", kernel_says("/proc/version")),
        ("machine", kernel_says("/proc/device-tree/model").trim_end_matches('\0').to_owned()),
        ("hardware", Hardware::here().to_string()),
        ("uptime, s", kernel_says("/proc/uptime")),
        ("load", kernel_says("/proc/loadavg")),
        ("memory", kernel_says("/proc/meminfo")),
        ("data directory", dir.display().to_string()),
        ("filesystem", mount),
        ("room", space),
        ("device", device),
    ];
    lines.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

/// What the gateway last started with, masked; else what it would start with.
fn configuration(dir: &Path) -> String {
    let loaded = match load_last_good(dir) {
        Ok(Some(loaded)) => Ok(loaded),
        Ok(None) | Err(_) => Config::load(&Layers::system()),
    };
    match loaded {
        Ok(loaded) => report_text(&loaded),
        Err(errors) => format!("# refused\n{errors}\n").replace('\n', "\n# "),
    }
}

/// What a running gateway tells; `None` if there is none.
async fn running(dir: &Path) -> Option<Vec<Part>> {
    let socket = dir.join(SOCKET_NAME);
    if !socket.exists() {
        return None;
    }
    let mut connection = connect::connect(&Address::Unix(socket)).await.ok()?;
    let json = connection.status().await.ok()?;
    let log = connection.recent_log().await.unwrap_or_else(|error| format!("can't be had: {error}\n"));
    let status = GatewayStatus::parse(&json).unwrap_or_default();
    let mut ledger = Table::new(&LOSSES);
    for loss in &status.losses {
        let topic = loss.topic.as_deref().unwrap_or("(deleted)");
        let place = format!("{topic}/{}", loss.partition.unwrap_or_default());
        let range = format!("{}-{}", loss.first_offset, loss.last_offset);
        let time = when::format_time(loss.time_ms);
        ledger.row([loss.uplink.clone(), place, range, loss.records.to_string(), loss.reason.clone(), time]);
    }
    let health = format!(
        "The gateway runs, so its store was not verified.\ndamaged segments: {}\nquarantined segments: {}\nstopped: {}\nnot reopened: {}\n",
        status.store.damaged_segments,
        status.store.quarantined_segments,
        status.store.stopped.as_deref().unwrap_or("no"),
        status.store.not_reopened.as_deref().unwrap_or("no")
    );
    Some(vec![
        part("status.json", json),
        part("starts.txt", starts_text(status.starts)),
        part("ledger.txt", ledger.render()),
        part("log.txt", log),
        part("fsck.txt", health),
    ])
}

const LOSSES: [&str; 6] = ["UPLINK", "PLACE", "OFFSETS", ">RECORDS", "REASON", "TIME"];

/// What the data directory tells of a gateway that doesn't run.
fn stopped(dir: &Path) -> Vec<Part> {
    let store = dir.join(STORE_DIR);
    if !store.is_dir() {
        return vec![part("fsck.txt", format!("There is no store in {}.\n", dir.display()))];
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let mut parts = match Reader::open(&store, Arc::clone(&disk)) {
        Ok(reader) => {
            let all = starts(reader.entries(Space::Gateway, &[])).into_iter().map(StartFigures::from).collect();
            vec![part("starts.txt", starts_text(all)), part("ledger.txt", ledger_text(&reader.losses()))]
        }
        Err(error) => vec![part("starts.txt", format!("The store can't be read: {error}\n"))],
    };
    parts.push(part(
        "fsck.txt",
        match crate::store::fsck(&store, disk, &mut |_, _| {}) {
            Ok(report) => fsck::as_text(&report, &fsck::Names::new()),
            Err(error) => format!("{error}\n"),
        },
    ));
    parts
        .push(part("log.txt", "The gateway does not run: its log is where its service manager keeps it.\n".to_owned()));
    parts
}

fn ledger_text(losses: &[LossEntry]) -> String {
    let mut ledger = Table::new(&LOSSES);
    for loss in losses {
        let place = format!("partition {} of the store", loss.partition);
        let range = format!("{}-{}", loss.first_offset, loss.last_offset);
        let (records, time) = (loss.records.to_string(), when::format_time(loss.wall_ms));
        ledger.row([loss.reader.clone(), place, range, records, loss.reason.name().to_owned(), time]);
    }
    ledger.render()
}

fn starts_text(starts: Vec<StartFigures>) -> String {
    let mut table = Table::new(&["START", "CLOCK", "VERSION", "THE RUN BEFORE ENDED", "LAST PANIC"]);
    for start in starts {
        let clock = if start.time_trusted { "believed" } else { "not believed" }.to_owned();
        table.row([when::format_time(start.time_ms), clock, start.version, start.before, start.words]);
    }
    table.render()
}
