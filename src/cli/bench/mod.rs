//! `brooklet bench …`: what this machine and its disk give.

mod connections;
mod flash;
mod latencies;
mod mqtt;
mod publish;
mod room;
mod scale;
mod store;

use std::{path::PathBuf, time::Duration};

use super::{
    connect,
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Spec},
};
use crate::{
    config::{HostPort, LinkTlsConfig, host_port, parse_duration, parse_size},
    frame::AckLevel,
    limits::{BATCH_BYTES_MAX, PARTITIONS_MAX},
    mqtt::Qos,
};

pub(super) static STORE: Spec = Spec {
    name: "bench store",
    summary: "Measure the store against raw append + fdatasync, in one run",
    positionals: &[],
    options: &[
        Opt::value(
            "dir",
            "DIR",
            "Where to write, on the disk to measure (default: here); a directory there, removed afterwards",
        ),
        Opt::value("seconds", "N", "Time for each case (default 3)"),
        Opt::value("state", "SIZE", "Keyed state besides: small, or full, up to its bound (default small)"),
        Opt::value("flush", "TIME", "Let each sync, of both sides, take this much longer, as a card would (default 0)"),
        Opt::switch("sweep", "Also sweep the batch size, 4,096, 16,384 and 65,536 among them"),
    ],
    shared: &[JSON],
    details: "Prints commit rate, its ratio to the raw one, and bytes written for each byte of payload.",
};

pub(super) static SCALE: Spec = Spec {
    name: "bench scale",
    summary: "Measure a store with much in it: commits, memory, start after a crash, drain",
    positionals: &[],
    options: &[
        Opt::value("dir", "DIR", "Where to write (default: here); a directory there, removed afterwards"),
        Opt::value("partitions", "N", "How many partitions share what is stored (default 1000)"),
        Opt::value("bytes", "SIZE", "How much is stored (default 1GiB); it takes a third more"),
    ],
    shared: &[JSON],
    details: "Commits of 64 batches of 1,000 bytes, each to another partition. The memory is that of this process.",
};

pub(super) static ROOM: Spec = Spec {
    name: "bench room",
    summary: "Measure how much payload a store of a size holds, just after a segment was begun",
    positionals: &[],
    options: &[
        Opt::value("dir", "DIR", "Where to write (default: here); a directory there, removed afterwards"),
        Opt::value("bytes", "SIZE", "store.max_bytes (default 256MiB)"),
        Opt::value("state", "SIZE", "Keyed state besides: small, or full, up to its bound (default small)"),
    ],
    shared: &[JSON],
    details: "Writes the store full twice, in commits of 16 batches of 4,000 bytes.",
};

pub(super) static PUBLISH: Spec = Spec {
    name: "bench publish",
    summary: "Measure publishing by the native protocol: records a second and latency",
    positionals: &[],
    options: &[
        Opt::value("broker", "ADDR", "A running gateway (default: one of its own in a temporary directory)").short('b'),
        Opt::value("devices", "N,N,…", "How many devices publish at once, case by case (default 1,10,100)"),
        Opt::value("acks", "LEVEL,…", "Acknowledgement levels, case by case (default memory,flash)"),
        Opt::value("bytes", "N", "Size of a record's value (default 100)"),
        Opt::value("window", "N", "Records that each device keeps on the way, 1 to 4096 (default 32)"),
        Opt::value("rate", "N", "Records a second, all devices together (default: as fast as they are acknowledged)"),
        Opt::value("duration", "TIME", "Time for each case (default 5s)"),
        Opt::value("dir", "DIR", "Where its own gateway writes (default: the system's temporary directory)"),
    ],
    shared: &[connect::TLS, JSON],
    details: "With --broker, records go to the topic brooklet-bench there. The level upstream needs an uplink.",
};

pub(super) static MQTT: Spec = Spec {
    name: "bench mqtt",
    summary: "Measure publishing by MQTT to any broker: messages a second and latency",
    positionals: &[],
    options: &[
        Opt::value("broker", "ADDR", "The broker (default 127.0.0.1:1883)").short('b'),
        Opt::value("clients", "N,N,…", "How many clients publish at once, case by case (default 100)"),
        Opt::value("qos", "1|2", "What is waited for: PUBACK, or PUBCOMP (default 1)"),
        Opt::value("bytes", "N", "Size of a payload (default 100)"),
        Opt::value("window", "N", "Messages that each client keeps on the way, 1 to 65535 (default 20)"),
        Opt::value("duration", "TIME", "Time for each case (default 5s)"),
        Opt::value("session", "ID", "First leave a session of this name, which has to get it all when it is back"),
    ],
    shared: &[JSON],
    details: "MQTT 3.1.1. Messages go to topics bench/0, bench/1, …: one for each client.",
};

/// Arguments of `bench mqtt`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MqttArgs {
    pub broker: HostPort,
    /// Not empty; each 1 to 10,000.
    pub clients: Vec<usize>,
    /// At least once, or exactly once.
    pub qos: Qos,
    pub payload_bytes: usize,
    /// Messages that each client keeps on the way, 1 to 65,535.
    pub window: usize,
    pub duration: Duration,
    pub session: Option<String>,
    pub json: bool,
}

impl MqttArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<MqttArgs, CliError> {
        let local = || HostPort { host: "127.0.0.1".to_owned(), port: 1883 };
        let qos = args.number("qos", 1, 2)?.unwrap_or(1);
        Ok(MqttArgs {
            broker: args.read("broker", host_port)?.unwrap_or_else(local),
            clients: args.read("clients", counts)?.unwrap_or_else(|| vec![100]),
            qos: if qos == 1 { Qos::AtLeastOnce } else { Qos::ExactlyOnce },
            payload_bytes: args.number("bytes", 0, BATCH_BYTES_MAX as u64 / 2)?.unwrap_or(100) as usize,
            window: args.number("window", 1, 65_535)?.unwrap_or(20) as usize,
            duration: args.read("duration", parse_duration)?.unwrap_or(Duration::from_secs(5)),
            session: args.text("session")?,
            json: args.switch("json"),
        })
    }
}

fn counts(text: &str) -> Result<Vec<usize>, String> {
    let one = |text: &str| text.parse().ok().filter(|count| (1..=10_000).contains(count));
    list(text, one, "must be numbers from 1 to 10000, as in 1,10,100")
}

/// Runs `bench mqtt`.
///
/// # Errors
/// As [`mqtt::run`].
pub(super) fn run_mqtt(args: &MqttArgs) -> Result<(), CliError> {
    mqtt::run(args)
}

pub(super) static CONNECTIONS: Spec = Spec {
    name: "bench connections",
    summary: "Measure what idle Kafka connections cost those that work: latency and memory",
    positionals: &[],
    options: &[
        Opt::value("idle", "N", "Connections that say nothing (default 1000)"),
        Opt::value("active", "N", "Connections that produce or consume, half of each (default 100)"),
        Opt::value("rate", "N", "Records a second, all producers together (default 500)"),
        Opt::value("duration", "TIME", "Time for each of the six turns (default 5s)"),
        Opt::value("dir", "DIR", "Where its own gateway writes (default: the system's temporary directory)"),
        Opt::switch("tls", "All by TLS, with certificates of clients"),
    ],
    shared: &[JSON],
    details: "The gateway is a process of its own. Turns without and with the idle connections follow each other.",
};

/// Arguments of `bench connections`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConnectionsArgs {
    pub idle: usize,
    /// At least 2.
    pub active: usize,
    /// Records a second, at least 1.
    pub rate: u64,
    pub duration: Duration,
    pub dir: Option<PathBuf>,
    pub tls: bool,
    pub json: bool,
}

impl ConnectionsArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ConnectionsArgs, CliError> {
        Ok(ConnectionsArgs {
            idle: args.number("idle", 0, 20_000)?.unwrap_or(1_000) as usize,
            active: args.number("active", 2, 10_000)?.unwrap_or(100) as usize,
            rate: args.number("rate", 1, 1_000_000)?.unwrap_or(500),
            duration: args.read("duration", parse_duration)?.unwrap_or(Duration::from_secs(5)),
            dir: args.path("dir"),
            tls: args.switch("tls"),
            json: args.switch("json"),
        })
    }
}

/// Runs `bench connections`.
///
/// # Errors
/// As [`connections::run`].
pub(super) fn run_connections(args: &ConnectionsArgs) -> Result<(), CliError> {
    connections::run(args)
}

pub(super) static FLASH: Spec = Spec {
    name: "bench flash",
    summary: "Measure what steady telemetry writes to the medium: by default, as on a card, with a budget",
    positionals: &[],
    options: &[
        Opt::value("duration", "TIME", "Time for each case, from 10s (default 2m)"),
        Opt::value(
            "dir",
            "DIR",
            "Where its gateways write, on the disk to measure (default: the system's temporary one)",
        ),
    ],
    shared: &[JSON],
    details: "50 devices publish 100 readings of 100 bytes a second, all together, with acknowledgements from flash.",
};

/// Arguments of `bench flash`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FlashArgs {
    pub duration: Duration,
    pub dir: Option<PathBuf>,
    pub json: bool,
}

impl FlashArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<FlashArgs, CliError> {
        let duration = args.read("duration", |text| {
            let time = parse_duration(text)?;
            if time >= Duration::from_secs(10) { Ok(time) } else { Err("must be at least 10s".to_owned()) }
        })?;
        let duration = duration.unwrap_or(Duration::from_secs(120));
        Ok(FlashArgs { duration, dir: args.path("dir"), json: args.switch("json") })
    }
}

/// Runs `bench flash`.
///
/// # Errors
/// As [`flash::run`].
pub(super) fn run_flash(args: &FlashArgs) -> Result<(), CliError> {
    flash::run(args)
}

/// Arguments of `bench store`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoreArgs {
    pub dir: Option<PathBuf>,
    pub seconds: u64,
    pub state: StateSize,
    /// At most a second.
    pub flush: Duration,
    pub sweep: bool,
    pub json: bool,
}

/// Arguments of `bench scale`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ScaleArgs {
    pub dir: Option<PathBuf>,
    pub partitions: usize,
    pub bytes: u64,
    pub json: bool,
}

impl ScaleArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ScaleArgs, CliError> {
        Ok(ScaleArgs {
            dir: args.path("dir"),
            partitions: args.number("partitions", 1, PARTITIONS_MAX as u64)?.unwrap_or(1_000) as usize,
            bytes: args.read("bytes", stored_size)?.unwrap_or(1 << 30),
            json: args.switch("json"),
        })
    }
}

/// Arguments of `bench room`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RoomArgs {
    pub dir: Option<PathBuf>,
    pub bytes: u64,
    pub state: StateSize,
    pub json: bool,
}

impl RoomArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<RoomArgs, CliError> {
        Ok(RoomArgs {
            dir: args.path("dir"),
            bytes: args.read("bytes", stored_size)?.unwrap_or(256 << 20),
            state: args.read("state", state_size)?.unwrap_or_default(),
            json: args.switch("json"),
        })
    }
}

fn stored_size(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if (16 << 20..=1 << 36).contains(&bytes) { Ok(bytes) } else { Err("must be from 16MiB to 64GiB".to_owned()) }
}

/// How much keyed state the store has besides what is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StateSize {
    #[default]
    Small,
    /// Nearly at its bound.
    Full,
}

/// Arguments of `bench publish`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PublishArgs {
    pub broker: Option<HostPort>,
    /// How that is spoken to.
    pub tls: LinkTlsConfig,
    /// Not empty; each 1 to 10,000.
    pub devices: Vec<usize>,
    /// Not empty.
    pub acks: Vec<AckLevel>,
    pub value_bytes: usize,
    /// Records that each device keeps on the way, 1 to 4,096.
    pub window: usize,
    /// Records a second, all devices together, 1 to 1,000,000.
    pub rate: Option<u64>,
    pub duration: Duration,
    pub dir: Option<PathBuf>,
    pub json: bool,
}

impl StoreArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<StoreArgs, CliError> {
        Ok(StoreArgs {
            dir: args.path("dir"),
            seconds: args.number("seconds", 1, 3_600)?.unwrap_or(3),
            state: args.read("state", state_size)?.unwrap_or_default(),
            flush: args.read("flush", flush_time)?.unwrap_or_default(),
            sweep: args.switch("sweep"),
            json: args.switch("json"),
        })
    }
}

impl PublishArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<PublishArgs, CliError> {
        let acks = |text: &str| text.parse().ok();
        let broker = args.read("broker", host_port)?;
        Ok(PublishArgs {
            tls: connect::parse_tls(args, broker.is_some())?,
            broker,
            devices: args.read("devices", counts)?.unwrap_or_else(|| vec![1, 10, 100]),
            acks: args
                .read("acks", |text| list(text, acks, "must be of memory, flash and upstream, as in memory,flash"))?
                .unwrap_or_else(|| vec![AckLevel::Memory, AckLevel::Flash]),
            value_bytes: args.number("bytes", 0, BATCH_BYTES_MAX as u64 / 2)?.unwrap_or(100) as usize,
            window: args.number("window", 1, 4_096)?.unwrap_or(32) as usize,
            rate: args.number("rate", 1, 1_000_000)?,
            duration: args.read("duration", parse_duration)?.unwrap_or(Duration::from_secs(5)),
            dir: args.path("dir"),
            json: args.switch("json"),
        })
    }
}

fn state_size(text: &str) -> Result<StateSize, String> {
    match text {
        "small" => Ok(StateSize::Small),
        "full" => Ok(StateSize::Full),
        _ => Err("must be small or full".to_owned()),
    }
}

fn flush_time(text: &str) -> Result<Duration, String> {
    let time = if text == "0" { Duration::ZERO } else { parse_duration(text)? };
    if time <= Duration::from_secs(1) { Ok(time) } else { Err("must be at most 1s".to_owned()) }
}

fn list<V>(text: &str, read: impl Fn(&str) -> Option<V>, allowed: &str) -> Result<Vec<V>, String> {
    text.split(',').map(|item| read(item.trim()).ok_or_else(|| allowed.to_owned())).collect()
}

/// Runs `bench store`.
///
/// # Errors
/// As [`store::run`].
pub(super) fn run_store(args: &StoreArgs) -> Result<(), CliError> {
    store::run(args)
}

/// Runs `bench scale`.
///
/// # Errors
/// As [`scale::run`].
pub(super) fn run_scale(args: &ScaleArgs) -> Result<(), CliError> {
    scale::run(args)
}

/// Runs `bench room`.
///
/// # Errors
/// As [`room::run`].
pub(super) fn run_room(args: &RoomArgs) -> Result<(), CliError> {
    room::run(args)
}

/// Runs `bench publish`.
///
/// # Errors
/// As [`publish::run`].
pub(super) fn run_publish(args: &PublishArgs) -> Result<(), CliError> {
    publish::run(args)
}
