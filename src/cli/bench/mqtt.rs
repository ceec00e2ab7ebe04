//! `brooklet bench mqtt`: messages a second and latency of the acknowledgement by MQTT, against any broker.
//!
//! Each client has a connection of its own and keeps a window of messages on the way: with each acknowledgement the next goes out.
//! A latency is from writing a message to reading its PUBACK or PUBCOMP. What goes out is encoded once; its packet id and a payload of random bytes are put in.

use std::io;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use smol::net::TcpStream;

use super::MqttArgs;
use super::latencies::Latencies;
use crate::cli::error::CliError;
use crate::cli::signals;
use crate::cli::table::Table;
use crate::cli::term::{Progress, human_count, human_duration, print};
use crate::executor::{block_on, spawn_aside};
use crate::json::{self, JsonObject};
use crate::mqtt::{
    Ack, Connect, Packet, PacketId, Properties, Protocol, Publish, Qos, Reason, ReasonCode, RetainHandling, Split,
    Subscribe, Subscription, Subscriptions, put_subscription, split,
};

/// Topics are `bench/CLIENT`.
const TOPIC: &str = "bench";
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Acknowledgements are small.
const PACKET_BYTES_MAX: usize = 1024;
const BUFFER_BYTES: usize = 16 * 1024;

/// What came out of a case.
struct Outcome {
    clients: usize,
    latencies: Latencies,
    time: Duration,
}

impl Outcome {
    fn rate(&self) -> f64 {
        self.latencies.count() as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// Runs `bench mqtt`.
///
/// # Errors
/// [`CliError::Failed`] when a client is refused or not answered in time, or a signal ends it.
pub(super) fn run(args: &MqttArgs) -> Result<(), CliError> {
    let stop = signals::watch(|| {})?;
    let mut progress = Progress::new("measuring", Some(args.clients.len() as u64));
    let mut outcomes = Vec::new();
    for clients in &args.clients {
        let measured = stop.unless(Box::pin(measure(args, *clients)));
        let outcome = block_on(measured).ok_or_else(|| CliError::Failed("interrupted".to_owned()))?;
        outcomes.push(outcome.map_err(|error| CliError::Failed(format!("{clients} clients: {error}")))?);
        progress.advance(1);
    }
    progress.finish();
    if args.json { print(&format!("{}\n", as_json(args, &outcomes))) } else { print(&as_table(args, &outcomes)) }
}

/// One case: all clients connect, then publish at once.
async fn measure(args: &MqttArgs, clients: usize) -> Result<Outcome, String> {
    if let Some(id) = &args.session {
        leave_session(args, id).await?;
    }
    let mut publishers = Vec::new();
    for number in 0..clients {
        publishers.push(Client::connect(args, &format!("bench-{number}"), true).await?);
    }
    let begun = Instant::now();
    let end = begun + args.duration;
    let tasks: io::Result<Vec<_>> = publishers
        .into_iter()
        .enumerate()
        .map(|(number, client)| {
            let window = Window::new(args, number);
            spawn_aside(async move { window?.publish(client, end).await })
        })
        .collect();
    let mut latencies = Latencies::default();
    for task in tasks.map_err(|error| error.to_string())? {
        latencies.merge(&task.await?);
    }
    Ok(Outcome { clients, latencies, time: begun.elapsed() })
}

/// Makes a session that is kept, with a subscription to everything that is published, and goes.
async fn leave_session(args: &MqttArgs, id: &str) -> Result<(), String> {
    // What an earlier one has left there would come now.
    Client::connect(args, id, true).await?.send(&Packet::Disconnect(Reason::of(ReasonCode::SUCCESS))).await?;
    let mut client = Client::connect(args, id, false).await?;
    let mut filters = Vec::new();
    let subscription = Subscription {
        filter: &format!("{TOPIC}/#"),
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain: RetainHandling::Send,
    };
    put_subscription(&mut filters, &subscription).map_err(|error| error.to_string())?;
    let filters = Subscriptions::of(&filters);
    let packet_id = PacketId::MIN;
    client.send(&Packet::Subscribe(Subscribe { packet_id, properties: Properties::default(), filters })).await?;
    client.expect("SUBACK", |packet| matches!(packet, Packet::SubAck { .. })).await?;
    client.send(&Packet::Disconnect(Reason::of(ReasonCode::SUCCESS))).await
}

/// A connection.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(args: &MqttArgs, id: &str, clean_start: bool) -> Result<Self, String> {
        let stream = TcpStream::connect((args.broker.host.as_str(), args.broker.port)).await;
        let stream = stream.map_err(|error| format!("{}: {error}", args.broker))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut client = Self { stream, buffer: Vec::new() };
        let connect = Connect { level: 4, client_id: id, clean_start, ..Connect::default() };
        client.send(&Packet::Connect(connect)).await?;
        client.expect("CONNACK", |packet| matches!(packet, Packet::ConnAck(ack) if !ack.reason.is_error())).await?;
        Ok(client)
    }

    async fn send(&mut self, packet: &Packet<'_>) -> Result<(), String> {
        let mut frame = Vec::new();
        packet.encode(&mut frame, Protocol::V3).map_err(|error| error.to_string())?;
        self.write(&frame).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).await.map_err(|error| error.to_string())
    }

    async fn expect(&mut self, what: &str, is_it: impl Fn(&Packet<'_>) -> bool) -> Result<(), String> {
        let mut good = None;
        while good.is_none() {
            self.read().await?;
            self.packets(|packet| good = Some(is_it(packet)))?;
        }
        if good == Some(true) { Ok(()) } else { Err(format!("the broker answers otherwise than by {what}")) }
    }

    /// Waits for more.
    async fn read(&mut self) -> Result<(), String> {
        let had = self.buffer.len();
        self.buffer.resize(had + BUFFER_BYTES, 0);
        let read = async {
            let read = self.stream.read(self.buffer.get_mut(had..).unwrap_or_default()).await;
            read.map_err(|error| error.to_string())
        };
        let late = async {
            smol::Timer::after(ANSWER_MAX).await;
            Err(format!("no answer within {} s", ANSWER_MAX.as_secs()))
        };
        let read = read.or(late).await?;
        self.buffer.truncate(had + read);
        if read == 0 { Err("the broker closed the connection".to_owned()) } else { Ok(()) }
    }

    /// Every packet that has come whole.
    fn packets(&mut self, mut each: impl FnMut(&Packet<'_>)) -> Result<(), String> {
        let mut from = 0;
        while let Split::Packet { first, body, taken } =
            split(self.buffer.get(from..).unwrap_or_default(), PACKET_BYTES_MAX).map_err(|error| error.to_string())?
        {
            each(&Packet::decode(first, body, Protocol::V3).map_err(|error| error.to_string())?);
            from += taken;
        }
        self.buffer.drain(..from);
        Ok(())
    }
}

/// What a client has under way: the packet ids 1 to its size, each with the time when its message went out.
struct Window {
    sent: Vec<Instant>,
    open: usize,
    /// A PUBLISH, and where its packet id stands.
    frame: Vec<u8>,
    id_at: usize,
    latencies: Latencies,
}

impl Window {
    fn new(args: &MqttArgs, number: usize) -> Result<Self, String> {
        let topic = format!("{TOPIC}/{number}");
        let payload = vec![0; args.payload_bytes];
        let publish = Publish {
            topic: &topic,
            payload: &payload,
            qos: args.qos,
            packet_id: Some(PacketId::MIN),
            ..Publish::default()
        };
        let mut frame = Vec::new();
        Packet::Publish(publish).encode(&mut frame, Protocol::V3).map_err(|error| error.to_string())?;
        let id_at = frame.len() - payload.len() - 2;
        let sent = vec![Instant::now(); args.window];
        Ok(Self { sent, open: 0, frame, id_at, latencies: Latencies::default() })
    }

    /// Publishes until `end`, and waits for what is then under way.
    async fn publish(mut self, mut client: Client, end: Instant) -> Result<Latencies, String> {
        let mut out = Vec::new();
        for id in 1..=u16::try_from(self.sent.len()).unwrap_or(u16::MAX) {
            self.put(&mut out, id, Instant::now());
        }
        while self.open > 0 {
            client.write(&out).await?;
            out.clear();
            client.read().await?;
            let now = Instant::now();
            client.packets(|packet| match packet {
                Packet::PubAck(ack) | Packet::PubComp(ack) => self.acknowledged(&mut out, ack, now, end),
                Packet::PubRec(ack) => drop(Packet::PubRel(Ack::of(ack.packet_id)).encode(&mut out, Protocol::V3)),
                _ => {}
            })?;
        }
        Ok(self.latencies)
    }

    fn acknowledged(&mut self, out: &mut Vec<u8>, ack: &Ack<'_>, now: Instant, end: Instant) {
        let id = ack.packet_id.get();
        let Some(sent) = self.sent.get(usize::from(id) - 1) else { return };
        self.latencies.record(now - *sent);
        self.open -= 1;
        if now < end {
            self.put(out, id, now);
        }
    }

    fn put(&mut self, out: &mut Vec<u8>, id: u16, now: Instant) {
        let at = out.len() + self.id_at;
        out.extend_from_slice(&self.frame);
        if let Some((place, payload)) = out.get_mut(at..).and_then(|rest| rest.split_at_mut_checked(2)) {
            place.copy_from_slice(&id.to_be_bytes());
            // Another one each time: nothing that a broker could fold into one.
            fastrand::fill(payload);
        }
        if let Some(sent) = self.sent.get_mut(usize::from(id) - 1) {
            *sent = now;
        }
        self.open += 1;
    }
}

fn as_table(args: &MqttArgs, outcomes: &[Outcome]) -> String {
    let mut table = Table::new(&[">CLIENTS", ">MESSAGES/S", ">P50", ">P95", ">P99", ">MAX"]);
    for outcome in outcomes {
        let percentile = |percent| human_duration(outcome.latencies.percentile(percent));
        table.row([
            human_count(outcome.clients as u64),
            human_count(outcome.rate() as u64),
            percentile(50.0),
            percentile(95.0),
            percentile(99.0),
            human_duration(outcome.latencies.max()),
        ]);
    }
    format!(
        "{}\nPayloads of {} B, QoS {}; each client keeps {} messages on the way. Latency: from writing a message to its last \
         acknowledgement.\n",
        table.render(),
        args.payload_bytes,
        args.qos as u8,
        args.window,
    )
}

fn as_json(args: &MqttArgs, outcomes: &[Outcome]) -> String {
    json::array(outcomes.iter().map(|outcome| {
        let micros = |latency: Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let percentile = |percent| micros(outcome.latencies.percentile(percent));
        let mut object = JsonObject::new();
        object.number("clients", outcome.clients as u64).number("qos", args.qos as u64);
        object.number("payload_bytes", args.payload_bytes as u64).number("window", args.window as u64);
        object.number("messages", outcome.latencies.count()).fraction("messages_per_s", outcome.rate());
        object.number("p50_us", percentile(50.0)).number("p95_us", percentile(95.0));
        object.number("p99_us", percentile(99.0)).number("max_us", micros(outcome.latencies.max()));
        object.finish()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DiskBudget};
    use crate::gateway::Gateway;

    #[test]
    fn a_gateway_is_measured_at_both_levels() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        config.store.max_bytes = DiskBudget::Bytes(64 << 20);
        config.listen.native.enabled = false;
        config.listen.kafka.enabled = false;
        config.listen.mqtt.addr = "127.0.0.1:0".parse().unwrap();
        let gateway = Gateway::start(&config).unwrap();
        let broker = crate::config::host_port(&gateway.mqtt_addr().unwrap().to_string()).unwrap();
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let args = MqttArgs {
                broker: broker.clone(),
                clients: vec![3],
                qos,
                payload_bytes: 100,
                window: 5,
                duration: Duration::from_millis(100),
                session: Some("away".to_owned()),
                json: true,
            };
            let outcome = block_on(measure(&args, 3)).unwrap();
            assert!(outcome.latencies.count() >= 15);
            assert!(as_json(&args, &[outcome]).contains("\"messages_per_s\":"));
        }
        gateway.stop();
    }
}
