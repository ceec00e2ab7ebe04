//! `brooklet forward DIR`: the records of a gateway that is dead, to where they were to go.

use std::path::PathBuf;
use std::time::Duration;

use super::{
    drain::{Waiting, done, remains},
    error::CliError,
    logging,
    parse::Parsed,
    process, signals,
    spec::{Opt, Positional, Spec},
    term,
};
use crate::config::{Config, DiskBudget, Layers, load_last_good, parse_duration};
use crate::executor::block_on;
use crate::gateway::{Gateway, Place, STORE_DIR};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Room beside what the store has: positions, and what turns over.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;

pub(super) static SPEC: Spec = Spec {
    name: "forward",
    summary: "Empty the data directory of a dead gateway, under its identity",
    positionals: &[Positional {
        name: "DIR",
        required: true,
        help: "Data directory, from the gateway's card or a copy of it; it is written to",
    }],
    options: &[
        Opt::value(
            "config",
            "FILE",
            "Configuration with the uplinks (default: the last one that the gateway started with)",
        )
        .short('c'),
        Opt::value("timeout", "TIME", "Give up after this time (default: wait for ever)"),
        Opt::value("log-level", "LEVEL", "off, error, warn, info, debug or trace (default warn)"),
    ],
    shared: &[],
    details: "Opens no listener and evicts nothing; ends with exit code 0 once pending=0. Its identity is that of the\n\
              directory: the store's and the id that is kept in it, whatever FILE says. So what had been\n\
              forwarded before is not forwarded again. It must run nowhere else meanwhile.",
};

/// Arguments of `forward`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForwardArgs {
    dir: PathBuf,
    config: Option<PathBuf>,
    timeout: Option<Duration>,
    log_level: Option<log::LevelFilter>,
}

impl ForwardArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ForwardArgs, CliError> {
        let level = |text: &str| text.parse().map_err(|_| "must be off, error, warn, info, debug or trace".to_owned());
        Ok(ForwardArgs {
            dir: args.positional_path("DIR").ok_or_else(|| args.usage("missing argument DIR"))?,
            config: args.path("config"),
            timeout: args.read("timeout", parse_duration)?,
            log_level: args.read("log-level", level)?,
        })
    }
}

/// Runs `forward`.
///
/// # Errors
/// No store there, no uplink, or something remains when the time is up.
pub(super) fn run(args: &ForwardArgs) -> Result<(), CliError> {
    process::allow_open_files();
    let config = configure(args)?;
    logging::set_up(args.log_level.unwrap_or(log::LevelFilter::Warn));
    let stop = signals::watch(|| {})?;
    let gateway = Gateway::start_at(&config, &Place::StandIn).map_err(CliError::Failed)?;
    gateway.broker().refuse_records(None);
    term::note(&format!("forwarding as gateway {}", gateway.id()));
    let outcome = block_on(async {
        let mut waiting = Waiting::new(args.timeout);
        loop {
            let status = gateway.pending();
            if status.pending == 0 {
                return Ok(status);
            }
            if waiting.is_over() {
                return Err(remains(&status, "the time is up"));
            }
            waiting.tell(&status);
            if stop.unless(smol::Timer::after(waiting.next(LOOK_EVERY))).await.is_none() {
                return Err(remains(&status, "interrupted"));
            }
        }
    });
    // The last positions are durable afterwards.
    gateway.stop();
    term::print(&done(&outcome?))
}

/// The gateway's own identity, the uplinks of the file, and nothing that takes or drops records.
fn configure(args: &ForwardArgs) -> Result<Config, CliError> {
    let store = args.dir.join(STORE_DIR);
    if !store.is_dir() {
        let why = format!("no data directory of a gateway: there is no {STORE_DIR} in it");
        return Err(CliError::failed(args.dir.display(), why));
    }
    let last_good = load_last_good(&args.dir);
    let mut config = match (&args.config, &last_good) {
        (Some(file), _) => Config::load(&Layers::only(file))?.config,
        (None, Ok(Some(loaded))) => loaded.config.clone(),
        (None, _) => {
            let why = "it keeps no configuration that this version takes: name one with --config";
            return Err(CliError::failed(args.dir.display(), why));
        }
    };
    if let Ok(Some(loaded)) = last_good {
        config.gateway.id = loaded.config.gateway.id;
    }
    if !config.uplinks.values().any(|uplink| uplink.enabled) {
        return Err(CliError::Failed("the configuration has no uplink: nothing to forward to".to_owned()));
    }
    args.dir.clone_into(&mut config.data_dir);
    config.listen.native.enabled = false;
    config.listen.kafka.enabled = false;
    config.listen.mqtt.enabled = false;
    config.listen.http.enabled = false;
    config.source.host.enabled = false;
    config.downlinks.clear();
    let needed = size(&store).saturating_mul(5) / 4 + SPARE_BYTES;
    let enough = matches!(config.store.max_bytes, DiskBudget::Bytes(bytes) if bytes >= needed);
    if !enough {
        config.store.max_bytes = DiskBudget::Bytes(needed);
    }
    config.store.preallocate = false;
    Ok(config)
}

/// Bytes of the files in a directory.
fn size(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}
