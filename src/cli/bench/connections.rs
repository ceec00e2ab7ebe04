//! `brooklet bench connections`: what idle connections cost those that work.
//!
//! Kafka producers and consumers work at an even rate with a gateway that is a process of its own, for a while alone and
//! for a while beside connections that have asked once and then say nothing; in turns, so that what else the machine does
//! falls on both. A produce latency is from handing a record over to its acknowledgement; a delivery latency, to its
//! arrival at the consumer that waits for it. With `--tls` all of them come by TLS, with a certificate each.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;

use super::ConnectionsArgs;
use super::latencies::Latencies;
use crate::cli::error::CliError;
use crate::cli::nodes::{Node, Scratch};
use crate::cli::table::Table;
use crate::cli::term::{Progress, human_bytes, human_duration, print};
use crate::cli::{cert, process, signals, when};
use crate::client::Connection;
use crate::config::LinkTlsConfig;
use crate::executor::{block_on, spawn_aside};
use crate::json::{self, JsonObject};
use crate::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::kafka::error_code::Shown;
use crate::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use crate::kafka::frame;
use crate::kafka::header::{read_response, write_request};
use crate::kafka::message::Request;
use crate::kafka::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use crate::record::{self, BatchBuilder, BatchView, Compression, NO_HEADERS, VerifyLimits};
use crate::tls::issue::{HostName, Issuer, Key, Purpose, authority, pem};
use crate::tls::{self, CertClock, CertTime, ClientTls, Socket, TlsStream};

/// What the gateway's certificate is for.
const HOST: &str = "localhost";
const TOPIC: &str = "brooklet-bench";
const PARTITIONS: u32 = 8;
const API_VERSIONS_VERSION: i16 = 0;
const PRODUCE_VERSION: i16 = 7;
const FETCH_VERSION: i16 = 11;
/// How long a consumer lets the gateway wait for a record.
const FETCH_WAIT_MS: i32 = 500;
const FETCH_BYTES: i32 = 64 * 1024;
/// Largest answer taken, bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a record's value; its first eight say when it was handed over.
const VALUE_BYTES: usize = 100;
/// How often each of the two cases is measured.
const TURNS: usize = 3;
/// What is not measured at the beginning of a turn.
const WARM_UP: Duration = Duration::from_millis(500);

/// What came out of a case.
#[derive(Clone, Debug, Default)]
struct Outcome {
    idle: usize,
    produced: Latencies,
    delivered: Latencies,
    /// Highest so far, of the gateway's process, bytes.
    memory: u64,
}

/// Runs `bench connections`.
///
/// # Errors
/// [`CliError::Failed`] when the gateway refuses a connection or a request, or a signal ends it.
pub(super) fn run(args: &ConnectionsArgs) -> Result<(), CliError> {
    process::allow_open_files();
    let stop = signals::watch(|| {})?;
    let scratch = Scratch::new(args.dir.as_deref().unwrap_or(&std::env::temp_dir()))?;
    let mut gateway = Node::new("gateway", &scratch)?;
    let connections = args.idle + 2 * args.active + 16;
    let (tls, keys) = match args.tls {
        true => site(scratch.path()).map(|(tls, keys)| (Some(tls), keys))?,
        false => (None, String::new()),
    };
    gateway
        .configure(&format!("store.max_bytes = \"256MiB\"\nlisten.kafka.max_connections = {connections}\n{keys}"))?;
    let way = Way { address: gateway.kafka(), tls };
    let measured = block_on(stop.unless(Box::pin(measure(args, &mut gateway, &way))));
    let outcomes = measured.ok_or_else(|| CliError::Failed("interrupted".to_owned()))??;
    if args.json { print(&format!("{}\n", as_json(&outcomes))) } else { print(&as_table(args, &outcomes)) }
}

async fn measure(args: &ConnectionsArgs, gateway: &mut Node, way: &Way) -> Result<[Outcome; 2], CliError> {
    gateway.start().await?;
    let failed = |error: io::Error| CliError::failed("the gateway", error);
    let mut admin = Connection::open(&gateway.native(), TOPIC).await.map_err(|error| CliError::failed(TOPIC, error))?;
    let created = admin.create_topic(TOPIC, PARTITIONS, &[]).await;
    created.map_err(|error| CliError::failed(TOPIC, error))?;
    let mut progress = Progress::new("measuring", Some(2 * TURNS as u64));
    let mut outcomes = [Outcome::default(), Outcome { idle: args.idle, ..Outcome::default() }];
    for _ in 0..TURNS {
        for outcome in &mut outcomes {
            let mut idle = Vec::with_capacity(outcome.idle);
            for _ in 0..outcome.idle {
                idle.push(Line::idle(way).await.map_err(failed)?);
            }
            turn(args, way, outcome).await.map_err(failed)?;
            outcome.memory = outcome.memory.max(peak_bytes(gateway.process()).map_err(failed)?);
            drop(idle);
            progress.advance(1);
        }
    }
    progress.finish();
    Ok(outcomes)
}

/// All that work, for the time of a turn: as many consumers as producers, or one fewer.
async fn turn(args: &ConnectionsArgs, way: &Way, outcome: &mut Outcome) -> io::Result<()> {
    let begun = Instant::now();
    let end = begun + WARM_UP + args.duration;
    let producers = args.active.div_ceil(2);
    let every = Duration::from_secs(1).mul_f64(producers as f64 / args.rate as f64);
    let consumers: io::Result<Vec<_>> = (producers..args.active)
        .map(|number| spawn_aside(consume(way.clone(), (number - producers) as i32, begun, end)))
        .collect();
    let producers: io::Result<Vec<_>> =
        (0..producers).map(|number| spawn_aside(produce(way.clone(), number as i32, every, begun, end))).collect();
    for task in producers? {
        outcome.produced.merge(&task.await?);
    }
    for task in consumers? {
        outcome.delivered.merge(&task.await?);
    }
    Ok(())
}

/// Sends a record every so often, each when it is due, whatever became of the one before.
async fn produce(way: Way, number: i32, every: Duration, begun: Instant, end: Instant) -> io::Result<Latencies> {
    let mut line = Line::open(&way).await?;
    let mut latencies = Latencies::default();
    let mut due = begun + every.mul_f64(fastrand::f64());
    while due < end {
        smol::Timer::at(due).await;
        let mut value = vec![0; VALUE_BYTES];
        let at = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        value.iter_mut().zip(at.to_le_bytes()).for_each(|(place, byte)| *place = byte);
        let mut builder = BatchBuilder::new();
        builder.push(0, None, Some(&value), NO_HEADERS).map_err(invalid)?;
        let batch = builder.finish(Compression::None);
        let partition = PartitionProduceData { index: number % PARTITIONS as i32, records: Some(&batch) };
        let topic_data = vec![TopicProduceData { name: TOPIC, partition_data: vec![partition] }];
        let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..Default::default() };
        let answer = line.ask(PRODUCE_VERSION, &request).await?;
        let (_, produced) = read_response::<ProduceResponse<'_>>(PRODUCE_VERSION, &answer).map_err(invalid)?;
        let codes = produced.responses.iter().flat_map(|topic| &topic.partition_responses).map(|part| part.error_code);
        codes.into_iter().try_for_each(check)?;
        if due >= begun + WARM_UP {
            // From when it was due: a slow answer makes the next one late, and that counts.
            latencies.record(due.elapsed());
        }
        due += every;
    }
    Ok(latencies)
}

/// Waits for the records of one partition from its end on.
async fn consume(way: Way, number: i32, begun: Instant, end: Instant) -> io::Result<Latencies> {
    let mut line = Line::open(&way).await?;
    let mut latencies = Latencies::default();
    let partition = number % PARTITIONS as i32;
    let mut next = -1;
    while Instant::now() < end {
        let from = FetchPartition {
            partition,
            fetch_offset: next.max(0),
            partition_max_bytes: if next < 0 { 1 } else { FETCH_BYTES },
            ..Default::default()
        };
        let request = FetchRequest {
            max_wait_ms: if next < 0 { 0 } else { FETCH_WAIT_MS },
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            session_epoch: -1,
            topics: vec![FetchTopic { topic: TOPIC, partitions: vec![from] }],
            ..Default::default()
        };
        let answer = line.ask(FETCH_VERSION, &request).await?;
        let (_, fetched) = read_response::<FetchResponse<'_>>(FETCH_VERSION, &answer).map_err(invalid)?;
        for data in fetched.responses.iter().flat_map(|topic| &topic.partitions) {
            check(data.error_code)?;
            if next < 0 {
                next = data.high_watermark;
                continue;
            }
            let mut rest = data.records.unwrap_or_default().bytes();
            while let Ok((view, after)) = BatchView::parse(rest) {
                arrivals(&view, next, begun, &mut latencies)?;
                next = next.max(view.next_offset());
                rest = after;
            }
        }
    }
    Ok(latencies)
}

/// Notes how long the records of a batch took.
fn arrivals(view: &BatchView<'_>, from: i64, begun: Instant, latencies: &mut Latencies) -> io::Result<()> {
    let now = begun.elapsed();
    let payload = record::decompress(view, &VerifyLimits::default()).map_err(invalid)?;
    for record in record::records(view, &payload) {
        let record = record.map_err(invalid)?;
        let Some(at) = record.value.and_then(|value| value.first_chunk()) else { continue };
        let at = Duration::from_nanos(u64::from_le_bytes(*at));
        if record.offset >= from && at >= WARM_UP {
            latencies.record(now.saturating_sub(at));
        }
    }
    Ok(())
}

/// How the gateway is called.
#[derive(Clone)]
struct Way {
    address: SocketAddr,
    tls: Option<Arc<ClientTls>>,
}

/// Makes a CA, a certificate of the gateway and one of its clients; what clients have, and the gateway's configuration.
fn site(dir: &Path) -> Result<(Arc<ClientTls>, String), CliError> {
    let failed = |why: String| CliError::failed("certificates", why);
    let put = |name: &str, label: &str, der: &[u8], key: &Key| {
        let (cert, secret) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        cert::write(&cert, &pem(label, der), 0o600)?;
        cert::write(&secret, &key.to_pem(), 0o600)?;
        Ok::<_, CliError>((cert, secret))
    };
    let order = |name: &str, hosts, purpose| cert::order(name, hosts, purpose, (1, i64::MAX));
    let authority_key = Key::generate().map_err(failed)?;
    let der = authority(&order("bench", Vec::new(), Purpose::Authority), &authority_key).map_err(failed)?;
    let (ca, _) = put("ca", "CERTIFICATE", &der, &authority_key)?;
    let issuer = Issuer::new(&der, authority_key).map_err(failed)?;
    let issue = |name: &str, hosts, purpose| {
        let key = Key::generate().map_err(failed)?;
        let der = issuer.issue(&order(name, hosts, purpose), &key).map_err(failed)?;
        put(name, "CERTIFICATE", &der, &key)
    };
    let (cert, key) = issue("gateway", vec![HostName::Dns(HOST.to_owned())], Purpose::Gateway)?;
    let keys = format!(
        "listen.kafka.if_no_rule = \"allow\"\n[listen.kafka.tls]\ncert = {cert:?}\nkey = {key:?}\nclient_ca = {ca:?}\n"
    );
    let (cert, key) = issue("client", Vec::new(), Purpose::Client)?;
    let (ca, cert, key) = (Some(ca), Some(cert), Some(key));
    let config = LinkTlsConfig { enabled: true, ca, cert, key, ..LinkTlsConfig::default() };
    let clock = CertClock::new(|| CertTime { ms: when::now_ms(), trusted: false });
    Ok((Arc::new(tls::client("bench", &config, &clock)), keys))
}

/// One connection.
struct Line {
    stream: Socket,
}

impl Line {
    async fn open(way: &Way) -> io::Result<Self> {
        let stream = TcpStream::connect(way.address).await?;
        stream.set_nodelay(true)?;
        let stream = match &way.tls {
            None => Socket::Tcp(Box::new(stream)),
            Some(tls) => {
                let connection = tls::connection(tls, HOST).map_err(io::Error::other)?;
                Socket::Tls(Box::new(TlsStream::handshake(connection, stream).await?))
            }
        };
        Ok(Self { stream })
    }

    /// One that has asked something, as all clients do, and is silent from then on.
    async fn idle(way: &Way) -> io::Result<Self> {
        let mut line = Self::open(way).await?;
        let answer = line.ask(API_VERSIONS_VERSION, &ApiVersionsRequest::default()).await?;
        read_response::<ApiVersionsResponse<'_>>(API_VERSIONS_VERSION, &answer).map_err(invalid)?;
        Ok(line)
    }

    fn ask<'a, M: Request<'a>>(&mut self, version: i16, request: &M) -> impl Future<Output = io::Result<Vec<u8>>> {
        let mut out = Vec::new();
        let written = write_request(&mut out, version, 1, Some(TOPIC), request).map_err(invalid);
        async move {
            written?;
            self.stream.write_all(&out).await?;
            let mut prefix = [0; frame::SIZE_BYTES];
            self.stream.read_exact(&mut prefix).await?;
            let mut answer = vec![0; frame::size(prefix, ANSWER_BYTES_MAX).map_err(invalid)?];
            self.stream.read_exact(&mut answer).await?;
            Ok(answer)
        }
    }
}

fn check(code: i16) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::other(Shown(code).to_string())) }
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// The most memory that a process ever had resident.
fn peak_bytes(process: Option<u32>) -> io::Result<u64> {
    let id = process.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.map(|kib: u64| kib * 1024).ok_or_else(|| invalid("the kernel does not tell the gateway's memory"))
}

fn as_table(args: &ConnectionsArgs, outcomes: &[Outcome; 2]) -> String {
    let mut table =
        Table::new(&["IDLE", ">PRODUCED", ">P50", ">P99", ">DELIVERED", ">P50", ">P99", ">MEMORY OF THE GATEWAY"]);
    for outcome in outcomes {
        table.row([
            outcome.idle.to_string(),
            outcome.produced.count().to_string(),
            human_duration(outcome.produced.percentile(50.0)),
            human_duration(outcome.produced.percentile(99.0)),
            outcome.delivered.count().to_string(),
            human_duration(outcome.delivered.percentile(50.0)),
            human_duration(outcome.delivered.percentile(99.0)),
            human_bytes(outcome.memory),
        ]);
    }
    let [alone, beside] = outcomes;
    format!(
        "{}\n{} Kafka producers and consumers{}, {} records of {VALUE_BYTES} B a second. With the idle ones p99 is {:.2} times as \
         long for producers, {:.2} times for consumers.\nMemory: the most so far, of the process.\n",
        table.render(),
        args.active,
        if args.tls { ", all by TLS" } else { "" },
        args.rate,
        ratio(&beside.produced, &alone.produced),
        ratio(&beside.delivered, &alone.delivered),
    )
}

fn ratio(of: &Latencies, to: &Latencies) -> f64 {
    of.percentile(99.0).as_secs_f64() / to.percentile(99.0).as_secs_f64().max(1e-9)
}

fn as_json(outcomes: &[Outcome]) -> String {
    json::array(outcomes.iter().map(|outcome| {
        let micros = |of: &Latencies, percent| u64::try_from(of.percentile(percent).as_micros()).unwrap_or(u64::MAX);
        let mut object = JsonObject::new();
        object.number("idle", outcome.idle as u64).number("memory_bytes", outcome.memory);
        for (name, of) in [("produced", &outcome.produced), ("delivered", &outcome.delivered)] {
            object.number(name, of.count());
            object.number(&format!("{name}_p50_us"), micros(of, 50.0));
            object.number(&format!("{name}_p99_us"), micros(of, 99.0));
        }
        object.finish()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_tells_how_long_its_records_took() {
        let mut builder = BatchBuilder::new();
        for at_ms in [0u64, 600, 700] {
            let value = [&(at_ms * 1_000_000).to_le_bytes()[..], &[0; 92]].concat();
            builder.push(0, None, Some(&value), NO_HEADERS).unwrap();
        }
        let batch = builder.finish(Compression::None);
        let (view, _) = BatchView::parse(&batch).unwrap();
        let begun = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let mut latencies = Latencies::default();
        arrivals(&view, 2, begun, &mut latencies).unwrap();
        assert_eq!(latencies.count(), 1, "of the others, one is from before, one was read before");
        assert!(latencies.max() >= Duration::from_millis(300));
    }

    #[test]
    fn the_figures_name_both_cases() {
        let mut outcomes = [Outcome::default(), Outcome { idle: 1_000, memory: 20 << 20, ..Outcome::default() }];
        outcomes[0].produced.record(Duration::from_millis(2));
        outcomes[1].produced.record(Duration::from_millis(3));
        assert!((1.4..1.6).contains(&ratio(&outcomes[1].produced, &outcomes[0].produced)));
        assert!(as_json(&outcomes).contains("\"idle\":1000,\"memory_bytes\":20971520"));
    }

    #[test]
    fn the_kernel_tells_this_process_memory() {
        assert!(peak_bytes(Some(std::process::id())).unwrap() > 1 << 20);
        assert!(peak_bytes(None).is_err());
    }
}
