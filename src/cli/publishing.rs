//! What `produce` does: lines into a publisher, one eye on how far it is.
//!
//! Invariants: nothing counts as acknowledged that the gateway has not acknowledged; what waits is bounded by the
//! publisher's ring, so a slow gateway slows the reading of standard input.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io,
    pin::pin,
    time::{Duration, Instant},
};

use futures_lite::{
    AsyncRead, FutureExt,
    future::{or, poll_once},
};
use smol::{Timer, Unblock};

use super::{
    client_name::ClientName,
    connect,
    error::CliError,
    lines::{BadLine, Layout, Lines},
    produce::ProduceArgs,
    term::{self, human_count},
};
use crate::{
    client::{Address, ClientError, Publisher, PublisherOptions},
    device::{Reading, Stamp},
    frame::{AckLevel, ErrorCode, Headers},
    json::JsonObject,
};

/// How often to look how far it is while something is awaited.
const LOOK: Duration = Duration::from_millis(100);
/// How often to ask how far the uplinks are.
const ASK_UPSTREAM: Duration = Duration::from_secs(1);
const STDIN_BYTES: usize = 64 * 1024;

/// Publishes standard input.
pub(super) async fn publish(args: &ProduceArgs, address: &Address) -> Result<(), CliError> {
    let mut connection = connect::connect(address).await?;
    let gateway = connection.gateway().id.clone();
    if args.acks == AckLevel::Upstream
        && let Ok(status) = connect::status(&mut connection).await
        && status.topic(&args.topic).is_some_and(|topic| topic.followed_by.is_empty())
    {
        term::note(&format!("brooklet produce: no uplink follows topic {}", args.topic));
    }
    drop(connection);
    let name = ClientName::choose(args.client_id.as_deref(), address);
    let options = PublisherOptions { level: args.acks, ..PublisherOptions::new(name.id.as_str()) };
    let line_bytes_max = options.record_bytes_max;
    let publisher = Publisher::open(address, options).await?;
    let mut publishing = Publishing::new(args, address, &publisher);
    let input = Unblock::with_capacity(STDIN_BYTES, io::stdin());
    let mut outcome = publishing.take_lines(Lines::new(input, line_bytes_max)).await;
    if outcome.is_ok() {
        outcome = publishing.settle().await;
    }
    publishing.report(&gateway, outcome)
}

struct Publishing<'a> {
    args: &'a ProduceArgs,
    address: &'a Address,
    publisher: &'a Publisher,
    begun: Instant,
    bar: term::Progress,
    /// Lines that became no records.
    bad_lines: BTreeMap<BadLine, u64>,
    /// Records that all uplinks have, as asked for; shared with what asks.
    forwarded: Cell<u64>,
    /// Whether everything came upstream that was to.
    upstream: bool,
    /// What was there at the last look: acknowledged records, the sum of all progress, connections made, refusals.
    acknowledged: u64,
    progress: u64,
    progressed: Instant,
    connections: u64,
    refused: u64,
    /// The trouble told last.
    told: Option<String>,
    json: bool,
}

impl<'a> Publishing<'a> {
    fn new(args: &'a ProduceArgs, address: &'a Address, publisher: &'a Publisher) -> Self {
        Self {
            args,
            address,
            publisher,
            begun: Instant::now(),
            bar: term::Progress::new("acknowledged", None),
            bad_lines: BTreeMap::new(),
            forwarded: Cell::new(0),
            upstream: false,
            acknowledged: 0,
            progress: 0,
            progressed: Instant::now(),
            connections: publisher.progress().connections,
            refused: 0,
            told: None,
            json: args.json,
        }
    }

    /// Reads lines and hands them over, to the end of the input.
    async fn take_lines<R: AsyncRead + Unpin>(&mut self, mut lines: Lines<R>) -> Result<(), CliError> {
        let topic = self.publisher.topic(&self.args.topic)?;
        let key_separator = self.args.key_separator.as_deref().map(str::as_bytes);
        let layout = Layout { timestamps: self.args.timestamps, key_separator };
        loop {
            let line = match self.wait(lines.next()).await? {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(error) => return Err(CliError::failed("standard input", error)),
            };
            let parts = match line.and_then(|line| layout.split(line)) {
                Ok(parts) => parts,
                Err(bad) => {
                    self.bad_line(bad);
                    continue;
                }
            };
            let reading = Reading {
                topic,
                level: self.args.acks,
                stamp: parts.time.map_or(Stamp::Gateway, Stamp::Wall),
                key: parts.key,
                value: Some(parts.value),
                headers: Headers::NONE,
            };
            let publisher = self.publisher;
            match self.wait(publisher.publish(&reading)).await? {
                Ok(_) => {}
                Err(ClientError::Invalid(_)) => self.bad_line(BadLine::TooLong),
                Err(error) => return Err(self.ended(error)),
            }
        }
    }

    fn bad_line(&mut self, bad: BadLine) {
        *self.bad_lines.entry(bad).or_default() += 1;
    }

    /// Waits until everything is as far as it is to come.
    async fn settle(&mut self) -> Result<(), CliError> {
        let publisher = self.publisher;
        if let Err(error) = self.wait(publisher.flush()).await? {
            return Err(self.ended(error));
        }
        self.look()?;
        if self.args.acks == AckLevel::Upstream && self.acknowledged > 0 {
            self.settle_upstream().await?;
            self.upstream = true;
        }
        Ok(())
    }

    /// Waits until all uplinks have everything. The gateway's notices tell that at once; but those of a connection that
    /// broke are lost, so the uplinks' positions are asked for too.
    async fn settle_upstream(&mut self) -> Result<(), CliError> {
        let (publisher, address, topic, forwarded) = (self.publisher, self.address, &self.args.topic, Cell::new(0));
        let accepted = publisher.progress().accepted;
        let noticed = async { publisher.upstream(accepted).await.map_err(CliError::from) };
        let asked = positions_reached(address, topic, &forwarded);
        let mut both = pin!(or(noticed, asked));
        loop {
            if let Some(done) = self.wait_once(both.as_mut()).await? {
                return done;
            }
            self.forwarded.set(forwarded.get());
        }
    }

    /// Awaits, and looks meanwhile how far it is.
    async fn wait<T>(&mut self, future: impl Future<Output = T>) -> Result<T, CliError> {
        let mut future = pin!(future);
        // Mostly there is nothing to wait for; then looking would be most of the work.
        if let Some(done) = poll_once(future.as_mut()).await {
            return Ok(done);
        }
        loop {
            if let Some(done) = self.wait_once(future.as_mut()).await? {
                return Ok(done);
            }
        }
    }

    /// Awaits until the next look.
    async fn wait_once<T>(&mut self, future: impl Future<Output = T>) -> Result<Option<T>, CliError> {
        let pause = async {
            Timer::after(LOOK).await;
            None
        };
        let done = async { Some(future.await) }.or(pause).await;
        self.look()?;
        Ok(done)
    }

    /// Tells how far it is, and what stands in the way.
    fn look(&mut self) -> Result<(), CliError> {
        let now = self.publisher.progress();
        let acknowledged = now.settled.saturating_sub(now.refused);
        self.bar.advance(acknowledged.saturating_sub(self.acknowledged));
        if acknowledged > self.acknowledged {
            self.acknowledged = acknowledged;
            self.print_json();
        }
        self.tell_trouble(now.connections, now.refused, now.accepted - now.settled);
        // While standard input is awaited nobody else would notice.
        if let Some(error) = self.publisher.ended() {
            return Err(self.ended(error));
        }
        if let Some((code, _, text)) = self.publisher.refusals().into_iter().find(|(code, ..)| is_final(*code)) {
            return Err(CliError::Failed(if text.is_empty() { code.to_string() } else { text }));
        }
        let progress = now.settled + now.upstream + self.forwarded.get();
        let waits = now.settled < now.accepted || (self.args.acks == AckLevel::Upstream && now.accepted > 0);
        if progress > self.progress || !waits {
            (self.progress, self.progressed) = (progress, Instant::now());
        }
        match self.args.timeout {
            Some(timeout) if self.progressed.elapsed() > timeout => {
                let missed = if now.settled < now.accepted { "was acknowledged" } else { "came upstream" };
                let seconds = timeout.as_secs_f64();
                Err(CliError::Failed(format!("nothing {missed} for {seconds} s (--timeout); given up")))
            }
            _ => Ok(()),
        }
    }

    fn tell_trouble(&mut self, connections: u64, refused: u64, waiting: u64) {
        if connections > self.connections {
            (self.connections, self.told) = (connections, None);
            self.note(&format!("connected again; {} records go on", human_count(waiting)));
        }
        let first_refusal = refused > 0 && self.refused == 0;
        let more_refused = refused > self.refused && !first_refusal;
        self.refused = refused;
        // Refused records are counted; only the first is told at once.
        if let Some(trouble) = self.publisher.take_trouble().filter(|_| !more_refused)
            && self.told.as_ref() != Some(&trouble)
        {
            self.note(&trouble);
            self.told = Some(trouble);
        }
    }

    /// A line on standard error, in place of the bar.
    fn note(&mut self, text: &str) {
        self.bar.finish();
        term::note(&format!("brooklet produce: {text}"));
    }

    fn print_json(&mut self) {
        if self.json {
            let mut line = JsonObject::new();
            line.number("acknowledged", self.acknowledged);
            // Whoever read it may go: that is no reason to stop publishing.
            self.json = term::print(&format!("{}\n", line.finish())).is_ok();
        }
    }

    /// Why the publisher has ended.
    fn ended(&self, error: ClientError) -> CliError {
        match error {
            ClientError::Refused(ErrorCode::Fenced, _) => CliError::Failed(
                "another publisher with the same client id has taken over; give each its own --client-id".to_owned(),
            ),
            error => error.into(),
        }
    }

    /// Says what has become of the records.
    fn report(mut self, gateway: &str, outcome: Result<(), CliError>) -> Result<(), CliError> {
        self.bar.finish();
        let now = self.publisher.progress();
        let acknowledged = now.settled.saturating_sub(now.refused);
        if acknowledged > self.acknowledged || acknowledged == 0 {
            self.acknowledged = acknowledged;
            self.print_json();
        }
        let level = match self.args.acks {
            AckLevel::Upstream if !self.upstream => AckLevel::Flash,
            level => level,
        };
        let seconds = self.begun.elapsed().as_secs_f64();
        let acknowledged = human_count(self.acknowledged);
        let records = if self.acknowledged == 1 { "record" } else { "records" };
        term::note(&format!("{acknowledged} {records} acknowledged ({level}) by gateway {gateway} in {seconds:.2} s"));
        let waiting = now.accepted - now.settled;
        if waiting > 0 {
            let waiting = human_count(waiting);
            term::note(&format!("{waiting} not acknowledged: the gateway may have stored them or not"));
        }
        for (bad, count) in &self.bad_lines {
            term::note(&format!("{} refused: {bad}", human_count(*count)));
        }
        for (code, count, text) in self.publisher.refusals() {
            term::note(&format!("{} refused: {code}: {text}", human_count(count)));
        }
        outcome?;
        if now.refused > 0 || !self.bad_lines.is_empty() { Err(CliError::FailedAsShown) } else { Ok(()) }
    }
}

/// Refusals that meet every further record too.
fn is_final(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UnknownTopic | ErrorCode::InvalidTopic | ErrorCode::NotAuthorized)
}

/// Resolves when every uplink has forwarded what the topic held at the first answer. Tells in `forwarded` how far they
/// are.
async fn positions_reached(address: &Address, topic: &str, forwarded: &Cell<u64>) -> Result<(), CliError> {
    let mut wanted: Option<Vec<i64>> = None;
    loop {
        // While the gateway cannot be asked there is nothing to tell; the publisher says why.
        if let Ok(mut connection) = connect::connect(address).await
            && let Ok(status) = connect::status(&mut connection).await
            && let Some(topic) = status.topic(topic)
        {
            if topic.followed_by.is_empty() {
                let why = format!("the records are on flash, but no uplink follows topic {}", topic.name);
                return Err(CliError::Failed(format!("{why}: nothing brings them upstream (uplink.NAME.topics)")));
            }
            let ends = || topic.partitions.iter().map(|partition| partition.high_watermark).collect();
            let wanted = wanted.get_or_insert_with(ends);
            let upstream = || topic.partitions.iter().map(|partition| partition.upstream.unwrap_or(0));
            forwarded.set(upstream().map(i64::unsigned_abs).sum());
            if upstream().zip(wanted).all(|(upstream, wanted)| upstream >= *wanted) {
                return Ok(());
            }
        }
        Timer::after(ASK_UPSTREAM).await;
    }
}
