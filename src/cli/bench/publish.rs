//! `brooklet bench publish`: records a second and latency by the native protocol, case by case.
//!
//! Each device is a client of its own with its own connection. It keeps a window of records on the way: the next is
//! published when the oldest is acknowledged. A latency is from handing a record over to seeing its acknowledgement.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;

use super::PublishArgs;
use super::latencies::Latencies;
use crate::cli::connect;
use crate::cli::error::CliError;
use crate::cli::scratch::ScratchDir;
use crate::cli::table::Table;
use crate::cli::term::{Progress, human_count, human_duration, print};
use crate::cli::{process, signals};
use crate::client::{Address, ClientError, Publisher, PublisherOptions};
use crate::config::{Config, DiskBudget};
use crate::device::Reading;
use crate::executor::{block_on, spawn_aside};
use crate::frame::AckLevel;
use crate::gateway::Gateway;
use crate::json::{self, JsonObject};

/// Where records go. Made by the first run; nobody else's.
const TOPIC: &str = "brooklet-bench";
/// Bound of its own gateway's store.
const STORE_BYTES: u64 = 256 << 20;
/// How long an acknowledgement may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Room for a record's own overhead in a client's memory, bytes.
const RECORD_SLACK: usize = 256;

/// What came out of a case.
#[derive(Clone, Debug)]
struct Outcome {
    acks: AckLevel,
    devices: usize,
    latencies: Latencies,
    time: Duration,
}

impl Outcome {
    fn rate(&self) -> f64 {
        self.latencies.count() as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// A gateway of its own, gone with the value.
struct OwnGateway {
    gateway: Option<Gateway>,
    _dir: ScratchDir,
}

impl OwnGateway {
    fn start(args: &PublishArgs) -> Result<OwnGateway, CliError> {
        let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = ScratchDir::new(&parent, "brooklet-bench")?;
        let mut config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        config.store.max_bytes = DiskBudget::Bytes(STORE_BYTES);
        config.listen.native.addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.listen.native.max_connections = config.listen.native.max_connections.max(most_devices(args) + 16);
        config.listen.kafka.enabled = false;
        config.listen.mqtt.enabled = false;
        let gateway = Gateway::start(&config).map_err(CliError::Failed)?;
        Ok(OwnGateway { gateway: Some(gateway), _dir: dir })
    }

    fn address(&self) -> Option<Address> {
        Some(Address::Tcp(self.gateway.as_ref()?.native_addr()?.to_string()))
    }
}

impl Drop for OwnGateway {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop();
        }
    }
}

/// Runs `bench publish`.
///
/// # Errors
/// [`CliError::Usage`] for level `upstream` without a gateway that has an uplink; [`CliError::Failed`] when a device is
/// refused, or a signal ends it.
pub(super) fn run(args: &PublishArgs) -> Result<(), CliError> {
    if args.broker.is_none() && args.acks.contains(&AckLevel::Upstream) {
        let problem = "--acks upstream needs a gateway with an uplink: name it with --broker";
        return Err(CliError::usage(super::PUBLISH.name, problem));
    }
    process::allow_open_files();
    let stop = signals::watch(|| {})?;
    let own = if args.broker.is_none() { Some(OwnGateway::start(args)?) } else { None };
    let named = args.broker.as_ref().map(|broker| connect::by_network(broker, &args.tls));
    let address = named.or_else(|| own.as_ref()?.address());
    let address = address.ok_or_else(|| CliError::Failed("the gateway has no native listener".to_owned()))?;

    let cases: Vec<(AckLevel, usize)> =
        args.acks.iter().flat_map(|acks| args.devices.iter().map(move |devices| (*acks, *devices))).collect();
    let mut progress = Progress::new("measuring", Some(cases.len() as u64));
    let mut outcomes = Vec::new();
    for (acks, devices) in cases {
        let measured = stop.unless(Box::pin(measure(args, &address, acks, devices)));
        let outcome = block_on(measured).ok_or_else(|| CliError::Failed("interrupted".to_owned()))?;
        outcomes.push(outcome.map_err(|error| CliError::failed(format!("{devices} devices, {acks}"), error))?);
        progress.advance(1);
    }
    progress.finish();
    if args.json { print(&format!("{}\n", as_json(args, &outcomes))) } else { print(&as_table(args, &outcomes)) }
}

fn most_devices(args: &PublishArgs) -> usize {
    args.devices.iter().copied().max().unwrap_or(0)
}

/// One case: all devices connect, then publish at once.
async fn measure(
    args: &PublishArgs,
    address: &Address,
    acks: AckLevel,
    devices: usize,
) -> Result<Outcome, ClientError> {
    let mut publishers = Vec::new();
    for number in 0..devices {
        let mut options = PublisherOptions::new(format!("bench-{acks}-{number}"));
        options.level = acks;
        options.record_bytes_max = args.value_bytes + RECORD_SLACK;
        options.waiting_bytes_max = (options.record_bytes_max * (args.window + 1)).max(4 * 1024);
        options.in_flight_max = u16::try_from(args.window).unwrap_or(u16::MAX);
        publishers.push(Publisher::open(address, options).await?);
    }
    let value: Arc<[u8]> = std::iter::repeat_with(|| fastrand::u8(..)).take(args.value_bytes).collect();
    let begun = Instant::now();
    let end = begun + args.duration;
    let every = args.rate.map(|rate| Duration::from_secs_f64(devices as f64 / rate as f64));
    let window = args.window;
    let tasks: io::Result<Vec<_>> = publishers
        .into_iter()
        .map(|publisher| {
            let pace = Pace { next: begun + every.unwrap_or_default().mul_f64(fastrand::f64()), every, end };
            let value = Arc::clone(&value);
            spawn_aside(async move { publish(&publisher, acks, || value.to_vec(), window, pace).await })
        })
        .collect();
    let tasks = tasks.map_err(|error| ClientError::Lost(address.clone(), error.to_string()))?;
    let mut latencies = Latencies::default();
    for task in tasks {
        latencies.merge(&task.await?);
    }
    Ok(Outcome { acks, devices, latencies, time: begun.elapsed() })
}

/// When a device publishes: as fast as it may, or at an even rate.
pub(super) struct Pace {
    pub next: Instant,
    pub every: Option<Duration>,
    pub end: Instant,
}

impl Pace {
    /// Whether the next record is due; waits for it where nothing else is to be done.
    async fn is_due(&mut self, nothing_else: bool) -> bool {
        let now = Instant::now();
        let Some(every) = self.every else { return now < self.end };
        if self.next >= self.end || (self.next > now && !nothing_else) {
            return false;
        }
        smol::Timer::at(self.next).await;
        self.next += every;
        true
    }
}

/// One device, until the time is up and everything is acknowledged.
pub(super) async fn publish(
    publisher: &Publisher,
    acks: AckLevel,
    value: impl Fn() -> Vec<u8>,
    window: usize,
    mut pace: Pace,
) -> Result<Latencies, ClientError> {
    let topic = publisher.topic(TOPIC)?;
    let mut latencies = Latencies::default();
    let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
    loop {
        while waiting.len() < window && pace.is_due(waiting.is_empty()).await {
            let handed_over = Instant::now();
            waiting.push_back((publisher.publish(&Reading::new(topic, &value())).await?, handed_over));
        }
        let Some((oldest, _)) = waiting.front() else { break };
        let acknowledged = async {
            match acks {
                AckLevel::Upstream => publisher.upstream(*oldest).await,
                AckLevel::Memory | AckLevel::Flash => publisher.settled(*oldest).await,
            }
        };
        // A publisher waits for its gateway for ever; a measurement doesn't.
        let late = async {
            smol::Timer::after(ANSWER_MAX).await;
            let why = publisher.take_trouble().unwrap_or_else(|| "is the uplink up?".to_owned());
            Err(ClientError::Invalid(format!("no acknowledgement within {} s: {why}", ANSWER_MAX.as_secs())))
        };
        // At an even rate, the next one doesn't wait for the one before.
        let (next, may_publish) = (pace.next, pace.every.is_some() && pace.next < pace.end && waiting.len() < window);
        let due = async {
            if !may_publish {
                std::future::pending::<()>().await;
            }
            smol::Timer::at(next).await;
            Ok(())
        };
        acknowledged.or(due).or(late).await?;
        let (progress, now) = (publisher.progress(), Instant::now());
        if progress.refused > 0 {
            let why = publisher.take_trouble().unwrap_or_else(|| "records were refused".to_owned());
            return Err(ClientError::Invalid(why));
        }
        let reached = if acks == AckLevel::Upstream { progress.upstream } else { progress.settled };
        while let Some((_, handed_over)) = waiting.front().filter(|(number, _)| *number <= reached) {
            latencies.record(now - *handed_over);
            waiting.pop_front();
        }
    }
    Ok(latencies)
}

fn as_table(args: &PublishArgs, outcomes: &[Outcome]) -> String {
    let mut table = Table::new(&["ACKS", ">DEVICES", ">RECORDS/S", ">P50", ">P95", ">P99", ">MAX"]);
    for outcome in outcomes {
        let percentile = |percent| human_duration(outcome.latencies.percentile(percent));
        table.row([
            outcome.acks.to_string(),
            human_count(outcome.devices as u64),
            human_count(outcome.rate() as u64),
            percentile(50.0),
            percentile(95.0),
            percentile(99.0),
            human_duration(outcome.latencies.max()),
        ]);
    }
    format!(
        "{}\nValues of {} B; each device keeps {} records on the way. Latency: from handing a record over to its \
         acknowledgement.\n",
        table.render(),
        args.value_bytes,
        args.window,
    )
}

fn as_json(args: &PublishArgs, outcomes: &[Outcome]) -> String {
    json::array(outcomes.iter().map(|outcome| {
        let micros = |latency: Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let percentile = |percent| micros(outcome.latencies.percentile(percent));
        let mut object = JsonObject::new();
        object.text("acks", &outcome.acks.to_string()).number("devices", outcome.devices as u64);
        object.number("value_bytes", args.value_bytes as u64).number("window", args.window as u64);
        object.number("records", outcome.latencies.count()).fraction("records_per_s", outcome.rate());
        object.number("p50_us", percentile(50.0)).number("p95_us", percentile(95.0));
        object.number("p99_us", percentile(99.0)).number("max_us", micros(outcome.latencies.max()));
        object.finish()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LinkTlsConfig;

    #[test]
    fn its_own_gateway_is_measured_and_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let args = PublishArgs {
            broker: None,
            tls: LinkTlsConfig::default(),
            devices: vec![3],
            acks: vec![AckLevel::Flash],
            value_bytes: 50,
            window: 4,
            rate: None,
            duration: Duration::from_millis(100),
            dir: Some(dir.path().to_owned()),
            json: false,
        };
        let own = OwnGateway::start(&args).unwrap();
        let address = own.address().unwrap();
        let outcome = block_on(measure(&args, &address, AckLevel::Flash, 3)).unwrap();
        assert!(outcome.latencies.count() >= 3 && outcome.rate() > 0.0);
        assert!(as_table(&args, std::slice::from_ref(&outcome)).contains("flash"));
        assert!(as_json(&args, &[outcome]).contains("\"devices\":3"));
        drop(own);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
