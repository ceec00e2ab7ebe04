//! `brooklet selftest DIR`: is this board fit for its work? For the factory, and before a gateway is put up.
//!
//! Judging (`judge_…`) is pure: a figure against the thresholds below.

mod disk;

use std::path::PathBuf;
use std::time::Duration;

use disk::{BYTES_WRITTEN_MAX, DiskFigures, measure};

use super::{
    error::CliError,
    machine::{Mount, kernel_says, rtc},
    parse::Parsed,
    spec::{JSON, Opt, Positional, Spec},
    term::{self, human_bytes},
    uplink::check_all,
};
use crate::config::{Config, Layers};
use crate::executor::block_on;
use crate::gateway::Hardware;
use crate::json::{self, JsonObject};
use crate::store::clock::{Clock, RealClock};
use crate::store::disk::{Disk, RealDisk};
use crate::store::{CardLife, Device};
use crate::uplink::{Finding, Severity};

/// A sync that 1 of 100 exceed: from here on acknowledgements are slow, from here on the board is of no use.
const SYNC_SLOW: Duration = Duration::from_millis(1_000);
const SYNC_BAD: Duration = Duration::from_millis(5_000);
/// Bytes a second.
const RATE_SLOW: u64 = 2 << 20;
const RATE_BAD: u64 = 256 << 10;
/// Free on the filesystem: the least store has 16 MiB.
const ROOM_SMALL: u64 = 256 << 20;
const ROOM_BAD: u64 = 32 << 20;
/// Of an eMMC's life, percent.
const LIFE_OLD: u8 = 80;
const LIFE_OVER: u8 = 100;

pub(super) static SPEC: Spec = Spec {
    name: "selftest",
    summary: "Test whether this board is fit: disk, flash, clock, room, link",
    positionals: &[Positional { name: "DIR", required: true, help: "Where the data will lie; an existing directory" }],
    options: &[
        Opt::value("config", "FILE", "Configuration whose uplinks are tried (default: the machine's)").short('c')
    ],
    shared: &[JSON],
    details: "Writes at most 9,207,808 bytes to DIR, in a file that is gone afterwards, and nothing else. Fails where a sync takes\n\
              more than 5 s (99 of 100 are faster), less than 256 KiB/s are written, less than 32 MiB are free, the eMMC has\n\
              used up its life, the filesystem is read-only, or an uplink would not work; warns from 1 s, 2 MiB/s, 256 MiB\n\
              and 80 % of the life on, and of what a gateway can live with.\n\n\
              Exit code 0: fit; 1: something failed; 2: usage or configuration.",
};

/// Arguments of `selftest`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SelftestArgs {
    dir: PathBuf,
    config: Option<PathBuf>,
    json: bool,
}

impl SelftestArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<SelftestArgs, CliError> {
        let dir = args.positional_path("DIR").ok_or_else(|| args.usage("missing argument DIR"))?;
        Ok(SelftestArgs { dir, config: args.path("config"), json: args.switch("json") })
    }
}

/// Runs `selftest`.
///
/// # Errors
/// Something failed, there is no such directory, or the configuration is wrong.
pub(super) fn run(args: &SelftestArgs) -> Result<(), CliError> {
    let config = Config::load(&Layers { file: args.config.clone(), ..Layers::system() })?.config;
    if !args.dir.is_dir() {
        return Err(CliError::failed(args.dir.display(), "no such directory"));
    }
    let mut findings = Vec::new();
    judge_mount(&mut findings, Mount::of(&args.dir).as_ref());
    let free = RealDisk::new().space(&args.dir).map(|space| space.free);
    judge_room(&mut findings, free.as_ref().ok().copied());
    let figures = measure(&args.dir);
    match &figures {
        Ok(figures) => judge_disk(&mut findings, *figures),
        Err(error) => add(&mut findings, Severity::Fail, "disk", format!("can't be written: {error}")),
    }
    judge_life(&mut findings, Device::below(&args.dir).and_then(|device| device.life()));
    judge_clock(&mut findings, RealClock::default().wall_trusted(), rtc());
    judge_hardware(&mut findings, &Hardware::here());
    judge_links(&mut findings, block_on(check_all(&config, None)));
    let failed = findings.iter().any(|finding| finding.severity == Severity::Fail);
    if args.json {
        term::print(&format!("{}\n", as_json(&findings, figures.ok().unwrap_or_default(), free.unwrap_or(0))))?;
    } else {
        let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        term::print(&format!("{lines}{}\n", if failed { "not fit" } else { "fit" }))?;
    }
    if failed { Err(CliError::FailedAsShown) } else { Ok(()) }
}

fn add(findings: &mut Vec<Finding>, severity: Severity, what: &'static str, text: impl Into<String>) {
    findings.push(Finding { severity, what, text: text.into() });
}

fn judge_mount(findings: &mut Vec<Finding>, mount: Option<&Mount>) {
    let (severity, text) = match mount {
        None => (Severity::Warn, "the kernel does not tell what the directory lies on".to_owned()),
        Some(mount) if mount.is_read_only() => (Severity::Fail, format!("{mount}: read-only")),
        Some(mount) if mount.is_volatile() => (Severity::Warn, format!("{mount}: gone with the power")),
        Some(mount) if mount.is_remote() => {
            (Severity::Warn, format!("{mount}: a sync is what the other machine makes of it"))
        }
        Some(mount) => (Severity::Ok, mount.to_string()),
    };
    add(findings, severity, "mount", text);
}

fn judge_room(findings: &mut Vec<Finding>, free: Option<u64>) {
    let Some(free) = free else { return add(findings, Severity::Fail, "room", "the free room can't be told") };
    let severity = grade(free < ROOM_SMALL, free < ROOM_BAD);
    add(findings, severity, "room", format!("{} free", human_bytes(free)));
}

fn judge_disk(findings: &mut Vec<Finding>, figures: DiskFigures) {
    let (p50, p99) = (figures.sync_p50, figures.sync_p99);
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
    let text = format!("p50 {}, p99 {} of {} syncs", ms(p50), ms(p99), figures.syncs);
    add(findings, grade(p99 > SYNC_SLOW, p99 > SYNC_BAD), "sync", text);
    let rate = figures.bytes_per_second;
    add(findings, grade(rate < RATE_SLOW, rate < RATE_BAD), "write", format!("{}/s", human_bytes(rate)));
}

fn judge_life(findings: &mut Vec<Finding>, life: Option<CardLife>) {
    let Some(life) = life else { return add(findings, Severity::Ok, "life", "no eMMC here that tells its life") };
    let used = life.used_percent.into_iter().flatten().max().unwrap_or(0);
    let eol = life.pre_eol.unwrap_or(1);
    let severity = grade(used >= LIFE_OLD || eol >= 2, used > LIFE_OVER || eol >= 3);
    add(
        findings,
        severity,
        "life",
        format!(
            "eMMC: {used} % used, reserve {}",
            ["normal", "80 % used", "90 % used"].get(usize::from(eol.saturating_sub(1))).unwrap_or(&"unknown")
        ),
    );
}

fn judge_clock(findings: &mut Vec<Finding>, synchronised: bool, rtc: Option<String>) {
    let source = kernel_says("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let rtc = rtc.map_or("no battery-backed clock".to_owned(), |name| format!("battery-backed clock {name}"));
    let (severity, word) =
        if synchronised { (Severity::Ok, "synchronised") } else { (Severity::Warn, "not synchronised") };
    add(findings, severity, "clock", format!("{word}; {rtc}; clock source {source}"));
}

fn judge_hardware(findings: &mut Vec<Finding>, hardware: &Hardware) {
    match hardware.id() {
        Some(id) => add(findings, Severity::Ok, "identity", format!("{hardware}; gateway.id = \"auto\" is {id}")),
        None => add(
            findings,
            Severity::Warn,
            "identity",
            "no serial number; gateway.id = \"auto\" is random, kept with the data",
        ),
    }
}

fn judge_links(findings: &mut Vec<Finding>, uplinks: Vec<(String, Vec<Finding>)>) {
    if uplinks.is_empty() {
        add(findings, Severity::Ok, "link", "no uplink is configured");
    }
    for (name, found) in uplinks {
        findings.extend(
            found.into_iter().map(|finding| Finding { text: format!("uplink {name}: {}", finding.text), ..finding }),
        );
    }
}

fn grade(warns: bool, fails: bool) -> Severity {
    match (warns, fails) {
        (_, true) => Severity::Fail,
        (true, false) => Severity::Warn,
        (false, false) => Severity::Ok,
    }
}

fn as_json(findings: &[Finding], figures: DiskFigures, free: u64) -> String {
    let each = findings.iter().map(|finding| {
        let severity = match finding.severity {
            Severity::Ok => "ok",
            Severity::Warn => "warn",
            Severity::Fail => "fail",
        };
        let mut object = JsonObject::new();
        object.text("severity", severity).text("what", finding.what).text("text", &finding.text);
        object.finish()
    });
    let us = |time: Duration| i128::try_from(time.as_micros()).unwrap_or(i128::MAX);
    let mut out = JsonObject::new();
    out.number("v", 1).boolean("ok", findings.iter().all(|finding| finding.severity != Severity::Fail));
    out.number("sync_p50_us", us(figures.sync_p50)).number("sync_p99_us", us(figures.sync_p99));
    out.number("write_bytes_per_s", figures.bytes_per_second).number("written_bytes", figures.bytes_written);
    out.number("written_bytes_max", BYTES_WRITTEN_MAX).number("free_bytes", free);
    out.raw("findings", &json::array(each));
    out.finish()
}

#[cfg(test)]
mod tests;
