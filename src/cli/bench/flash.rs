//! `brooklet bench flash`: what steady telemetry writes to the medium, and how long its acknowledgements take.
//!
//! The same load against a gateway of its own, case by case: as this machine's disk makes it by default, as on a flash
//! card, and on a card with a budget. Bytes are those that the store gave to its files, and those written to the device
//! below by everyone meanwhile, which is more than the gateway's where others write too.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::FlashArgs;
use super::latencies::Latencies;
use super::publish::{Pace, publish};
use crate::cli::error::CliError;
use crate::cli::scratch::ScratchDir;
use crate::cli::signals;
use crate::cli::table::Table;
use crate::cli::term::{Progress, human_bytes, human_count, human_duration, print};
use crate::client::{Address, ClientError, Publisher, PublisherOptions};
use crate::config::{Config, DiskBudget, StoreMedium};
use crate::executor::{block_on, spawn_aside};
use crate::frame::AckLevel;
use crate::gateway::Gateway;
use crate::json::{self, JsonObject};

/// Devices, each with a connection of its own.
const DEVICES: u32 = 50;
/// Readings a second, all devices together.
const RATE: u32 = 100;
/// Bytes of a reading.
const VALUE_BYTES: usize = 100;
/// Bound of the store.
const STORE_BYTES: u64 = 256 << 20;
/// The budget of the last case, bytes a day.
const BUDGET: u64 = 2_000_000_000;
/// Readings that a device keeps on the way: more than wait for one commit.
const WINDOW: usize = 64;
const DAY: Duration = Duration::from_secs(86_400);

/// A case: its name, the medium, the budget.
const CASES: [(&str, StoreMedium, Option<u64>); 3] = [
    ("default here", StoreMedium::Auto, None),
    ("on a card", StoreMedium::FlashCard, None),
    ("card, 2GB/day", StoreMedium::FlashCard, Some(BUDGET)),
];

struct Outcome {
    name: &'static str,
    latencies: Latencies,
    time: Duration,
    commits: u64,
    own_bytes: u64,
    device_bytes: u64,
}

impl Outcome {
    /// As much in a day.
    fn a_day(&self, figure: u64) -> u64 {
        (figure as f64 * DAY.as_secs_f64() / self.time.as_secs_f64().max(1e-9)) as u64
    }
}

/// Runs `bench flash`.
///
/// # Errors
/// [`CliError::Failed`] when a device is refused, or a signal ends it.
pub(super) fn run(args: &FlashArgs) -> Result<(), CliError> {
    let stop = signals::watch(|| {})?;
    let mut progress = Progress::new("measuring", Some(CASES.len() as u64));
    let mut outcomes = Vec::new();
    for (name, medium, budget) in CASES {
        let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = ScratchDir::new(&parent, "brooklet-bench")?;
        let mut config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        config.store.max_bytes = DiskBudget::Bytes(STORE_BYTES);
        config.store.medium = medium;
        config.store.flash_budget = budget;
        config.listen.native.addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.listen.kafka.enabled = false;
        config.listen.mqtt.enabled = false;
        let gateway = Gateway::start(&config).map_err(CliError::Failed)?;
        let measured = block_on(stop.unless(Box::pin(measure(name, &gateway, args.duration))));
        gateway.stop();
        let outcome = measured.ok_or_else(|| CliError::Failed("interrupted".to_owned()))?;
        outcomes.push(outcome.map_err(|error| CliError::failed(name, error))?);
        progress.advance(1);
    }
    progress.finish();
    if args.json { print(&format!("{}\n", as_json(&outcomes))) } else { print(&as_table(&outcomes)) }
}

async fn measure(name: &'static str, gateway: &Gateway, duration: Duration) -> Result<Outcome, ClientError> {
    let address = gateway.native_addr().map(|address| Address::Tcp(address.to_string()));
    let address = address.ok_or_else(|| ClientError::Invalid("the gateway has no native listener".to_owned()))?;
    let mut publishers = Vec::new();
    for number in 0..DEVICES {
        let mut options = PublisherOptions::new(format!("device-{number}"));
        options.level = AckLevel::Flash;
        options.in_flight_max = WINDOW as u16;
        publishers.push(Publisher::open(&address, options).await?);
    }
    let store = gateway.broker().store();
    let before = store.status();
    let begun = Instant::now();
    let every = Duration::from_secs(1) * DEVICES / RATE;
    let tasks: io::Result<Vec<_>> = (0..DEVICES)
        .zip(publishers)
        .map(|(number, publisher)| {
            let pace = Pace { next: begun + every.mul_f64(fastrand::f64()), every: Some(every), end: begun + duration };
            let value = move || reading(number, begun.elapsed());
            spawn_aside(async move { publish(&publisher, AckLevel::Flash, value, WINDOW, pace).await })
        })
        .collect();
    let tasks = tasks.map_err(|error| ClientError::Lost(address.clone(), error.to_string()))?;
    let mut latencies = Latencies::default();
    for task in tasks {
        latencies.merge(&task.await?);
    }
    let (after, time) = (store.status(), begun.elapsed());
    Ok(Outcome {
        name,
        latencies,
        time,
        commits: after.commits - before.commits,
        own_bytes: after.flash.day.own_bytes - before.flash.day.own_bytes,
        device_bytes: after.flash.day.device_bytes - before.flash.day.device_bytes,
    })
}

/// What a device measures: no two are the same.
fn reading(device: u32, at: Duration) -> Vec<u8> {
    let (celsius, bar, volts) = (20.0 + 5.0 * fastrand::f64(), 1.0 + fastrand::f64(), 3.0 + 0.3 * fastrand::f64());
    let mut text = format!(
        "{{\"d\":\"pump-{device:02}\",\"up_ms\":{},\"celsius\":{celsius:.3},\"bar\":{bar:.4},\"volts\":{volts:.3},\"pad\":\"",
        at.as_millis()
    );
    while text.len() + 2 < VALUE_BYTES {
        text.push(char::from(fastrand::alphanumeric() as u8));
    }
    text.push_str("\"}");
    text.into_bytes()
}

fn as_table(outcomes: &[Outcome]) -> String {
    let mut table =
        Table::new(&["CASE", ">COMMITS/S", ">WRITTEN/HOUR", ">A DAY", ">DEVICE/HOUR", ">A DAY", ">P50", ">P99"]);
    for outcome in outcomes {
        let written = |bytes: u64| human_bytes(outcome.a_day(bytes));
        let an_hour = |bytes: u64| human_bytes(outcome.a_day(bytes) / 24);
        table.row([
            outcome.name.to_owned(),
            format!("{:.2}", outcome.commits as f64 / outcome.time.as_secs_f64().max(1e-9)),
            an_hour(outcome.own_bytes),
            written(outcome.own_bytes),
            an_hour(outcome.device_bytes),
            written(outcome.device_bytes),
            human_duration(outcome.latencies.percentile(50.0)),
            human_duration(outcome.latencies.percentile(99.0)),
        ]);
    }
    let records: u64 = outcomes.iter().map(|outcome| outcome.latencies.count()).sum();
    format!(
        "{}\n{DEVICES} devices, {RATE} readings of {VALUE_BYTES} B a second in all, {} measured; projected from the time \
         measured. The device's figures are of everyone who writes to it.\n",
        table.render(),
        human_count(records),
    )
}

fn as_json(outcomes: &[Outcome]) -> String {
    json::array(outcomes.iter().map(|outcome| {
        let micros = |percent| u64::try_from(outcome.latencies.percentile(percent).as_micros()).unwrap_or(u64::MAX);
        let mut object = JsonObject::new();
        object.text("case", outcome.name).number("records", outcome.latencies.count());
        object.fraction("seconds", outcome.time.as_secs_f64()).number("commits", outcome.commits);
        object.number("own_bytes", outcome.own_bytes).number("own_bytes_a_day", outcome.a_day(outcome.own_bytes));
        object.number("device_bytes", outcome.device_bytes);
        object.number("device_bytes_a_day", outcome.a_day(outcome.device_bytes));
        object.number("p50_us", micros(50.0)).number("p99_us", micros(99.0));
        object.finish()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_have_their_size_and_differ() {
        let (one, other) = (reading(1, Duration::from_secs(1)), reading(1, Duration::from_secs(100_000)));
        assert_eq!((one.len(), other.len()), (VALUE_BYTES, VALUE_BYTES));
        assert_ne!(one, other);
        assert!(serde_json::from_slice::<serde_json::Value>(&one).is_ok());
    }

    #[test]
    fn figures_are_projected_to_a_day() {
        let outcome = Outcome {
            name: "x",
            latencies: Latencies::default(),
            time: Duration::from_secs(864),
            commits: 864,
            own_bytes: 5_000,
            device_bytes: 7_000,
        };
        assert_eq!(outcome.a_day(outcome.own_bytes), 500_000);
        let table = as_table(std::slice::from_ref(&outcome));
        assert!(table.contains("1.00"), "{table}");
        assert!(as_json(&[outcome]).contains("\"device_bytes_a_day\":700000"));
    }
}
