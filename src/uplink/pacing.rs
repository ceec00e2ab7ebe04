//! A link's loop and its gate: what may go now, what that costs, and what keeps idle connections alive. Of uplinks and downlinks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gentle::{Flow, Gate, Open, Permit, Shut};
use super::link::meter::Meter;
use super::options::{SAVE_WITHIN, SCAN_PART};
use super::parts::Event;
use super::status::{BudgetStatus, LinkStatus, wall_ms};
use super::task::Forwarder;
use crate::broker::{Broker, CommitError};
use crate::config::{LinkConfig, format_size};
use crate::store::Stamp;

/// Under this name the broker keeps what is used of the budget.
const NOTE: &str = "budget";
/// A gate that is shut is asked again after this time at the latest: clocks are set, and settings of topics change.
const LOOK_WITHIN: Duration = Duration::from_secs(60);
/// Where there is a rate, no more is under way than leaves within that time, and no more is read at once than within a part of it.
const UNDER_WAY: u64 = 10;
const READ_PART: u64 = 5;
/// However slow: so much is read at least.
const READ_BYTES_MIN: usize = 16 * 1_024;

/// The gate, and what it said last.
#[derive(Debug)]
pub(super) struct Pacing {
    gate: Gate,
    meter: Arc<Meter>,
    flow: Flow,
    permit: Permit,
    /// When it is to be asked again, if nothing else happens.
    pub(super) until: Option<Instant>,
    /// When an idle connection is to be asked something next.
    pub(super) keepalive: Option<Instant>,
    saving: bool,
    /// Bytes of batches that were acknowledged since nothing was under way.
    carried: u64,
    /// `uplink` or `downlink`, and its name: the gate's notes are the follower's.
    who: (&'static str, Arc<str>),
    /// Of its budget, for the log.
    limit: u64,
}

impl Pacing {
    pub(super) fn new(
        broker: &Broker,
        (kind, name): (&'static str, &str),
        link: &LinkConfig,
        meter: Arc<Meter>,
    ) -> Self {
        let (now, saved) = (broker.store().now(), broker.follower_note(name, NOTE));
        let mut gate = Gate::new(link, saved.as_deref(), now);
        let permit = gate.ask(0, now);
        let limit = link.budget.map_or(0, |budget| budget.bytes);
        let who = (kind, name.into());
        let flow = Flow::default();
        Self { gate, meter, flow, permit, until: None, keepalive: None, saving: false, carried: 0, who, limit }
    }

    /// Asks the gate; tells where its answer is another one. Whether it is open for others than before.
    pub(super) fn ask(&mut self, now: Stamp) -> bool {
        let permit = self.gate.ask(self.meter.wire(), now);
        let before = std::mem::replace(&mut self.permit, permit);
        self.until = permit.holds.map(|holds| Instant::now() + holds.min(LOOK_WITHIN));
        if permit.shut != before.shut {
            self.tell(before);
        }
        permit.open != before.open
    }

    fn tell(&self, before: Permit) {
        let (kind, name) = &self.who;
        let left = self.permit.holds.unwrap_or_default().as_secs();
        match self.permit.shut {
            Some(Shut::Budget) => {
                let limit = format_size(self.limit);
                log::warn!("{kind} {name}: the budget of {limit} is used up: all but urgent topics wait {left} s");
            }
            Some(Shut::Schedule) => {
                log::info!("{kind} {name}: outside its schedule: all but urgent topics wait {left} s");
            }
            Some(Shut::SlowStart) => {
                log::info!("{kind} {name}: begins in {left} s, so that not all gateways come at once");
            }
            None if before.shut != Some(Shut::SlowStart) => log::info!("{kind} {name}: all topics go on"),
            None => {}
        }
    }

    /// Makes durable what is used of the budget, if it is time; then [`Pacing::saved`].
    pub(super) fn save(
        &mut self,
        broker: &Broker,
    ) -> Option<impl Future<Output = Result<(), CommitError>> + Send + 'static + use<>> {
        if self.saving {
            return None;
        }
        let row = self.gate.row_due()?;
        self.saving = true;
        let (broker, name) = (broker.clone(), Arc::clone(&self.who.1));
        Some(async move { broker.save_follower_note(&name, NOTE, row, SAVE_WITHIN).await })
    }

    /// The row was saved, or not: then why, for people.
    pub(super) fn saved(&mut self, result: Result<(), CommitError>) -> Result<(), String> {
        self.saving = false;
        result.map_err(|error| {
            self.gate.not_saved();
            format!("what is used of the budget was not saved: {error}")
        })
    }

    /// The exact row, at a clean end.
    pub(super) async fn save_at_end(&mut self, broker: &Broker) {
        self.gate.ask(self.meter.wire(), broker.store().now());
        if let Some(row) = self.gate.last_save() {
            // If it fails, the row before stands, which counts rather too much.
            let _ = broker.save_follower_note(&self.who.1, NOTE, row, Duration::ZERO).await;
        }
    }

    /// The link works again after an outage.
    pub(super) fn outage_ended(&mut self, lasted: Duration, now: Stamp) {
        self.gate.outage_ended(lasted, fastrand::f64(), now);
    }

    /// For how long the gate's answer is certain, if anything ends it.
    pub(super) fn holds(&self) -> Option<Duration> {
        self.permit.holds
    }

    /// Bytes a second that may go. `None`: any.
    pub(super) fn rate(&self) -> Option<u64> {
        self.permit.rate
    }

    /// Bytes to ask for at once, of at most so many.
    pub(super) fn ask_bytes(&self, most: usize) -> usize {
        self.bounded(most, UNDER_WAY / READ_PART)
    }

    /// What may be sent, as of when it was last asked.
    pub(super) fn open(&self) -> Open {
        self.permit.open
    }

    /// Bytes that may be under way.
    pub(super) fn window(&self) -> usize {
        self.bounded(self.flow.window(self.round_trip()), UNDER_WAY)
    }

    /// Bytes to read at once.
    pub(super) fn scan_bytes(&self) -> usize {
        self.bounded(self.flow.window(self.round_trip()) / SCAN_PART, UNDER_WAY / READ_PART)
    }

    /// There is more to read, but as much is under way as may be.
    pub(super) fn hold_back(&mut self) {
        self.flow.hold_back();
    }

    /// How long the link takes to answer to something small.
    pub(super) fn round_trip(&self) -> Duration {
        self.meter.round_trip()
    }

    /// Batches of so many bytes were acknowledged.
    pub(super) fn carried(&mut self, bytes: u64) {
        self.carried += bytes;
        self.flow.acknowledged(bytes, self.meter.round_trip(), Instant::now());
    }

    /// A request was answered, so many are still under way. What went over the link until none is, is taken for one commit.
    pub(super) fn answered(&mut self, in_flight: usize, now: Stamp) {
        if in_flight == 0 {
            self.gate.ask(self.meter.wire(), now);
            self.gate.committed(std::mem::take(&mut self.carried), now);
        }
    }

    /// How far apart commits upstream are: `least`, or more where there is a rate or a budget.
    pub(super) fn commit_every(&self, least: Duration, now: Stamp) -> Duration {
        self.gate.commit_every(now).map_or(least, |every| every.max(least))
    }

    /// `most`, or what leaves within `seconds`, or what is left of the budget.
    fn bounded(&self, most: usize, seconds: u64) -> usize {
        let bounds = [self.permit.rate.map(|rate| rate.saturating_mul(seconds)), self.permit.bytes];
        let least = bounds.into_iter().flatten().min().and_then(|bytes| usize::try_from(bytes).ok());
        least.unwrap_or(most).clamp(READ_BYTES_MIN.min(most), most)
    }

    /// For the status.
    pub(super) fn status(&self, now: Stamp) -> LinkStatus {
        let (bytes_sent, bytes_received) = self.meter.counts();
        let at_ms = |ahead: Duration| wall_ms().saturating_add_unsigned(u64::try_from(ahead.as_millis()).unwrap_or(0));
        let budget = self.gate.budget(now).map(|budget| BudgetStatus {
            used_bytes: budget.used,
            limit_bytes: budget.bytes,
            renewed_at_ms: at_ms(budget.renews_in),
        });
        LinkStatus {
            bytes_sent,
            bytes_received,
            bytes_on_wire: self.meter.wire(),
            rate_limit: self.permit.rate,
            budget,
            shut: self.permit.shut.map(|shut| shut.word().to_owned()),
            shut_until_ms: self.permit.shut.and(self.permit.holds).map(at_ms),
        }
    }
}

impl Forwarder {
    /// Asks the gate; lets its answer take effect.
    pub(super) fn ask_gate(&mut self) -> Open {
        if self.pacing.ask(self.broker.store().now()) {
            self.reading.at_end = false;
        }
        self.pacing.meter.set_rate(self.pacing.permit.rate);
        if let Some(saving) = self.pacing.save(&self.broker) {
            let sender = self.sender.clone();
            let saved = async move {
                let _ = sender.send(Event::BudgetSaved(saving.await)).await;
            };
            self.executor.spawn(saved).detach();
        }
        self.pacing.permit.open
    }

    /// The row was saved, or not.
    pub(super) fn budget_saved(&mut self, result: Result<(), CommitError>) {
        if let Err(why) = self.pacing.saved(result) {
            self.failed(why);
        }
    }

    /// The link works again after an outage.
    pub(super) fn outage_ended(&mut self, lasted: Duration) {
        self.pacing.outage_ended(lasted, self.broker.store().now());
        self.busy = true;
    }

    /// Asks idle connections something small. If there is none, metadata will open one: a link that is down is to be noticed.
    pub(super) fn keep_alive(&mut self) {
        let Some(every) = self.options.config.link.keepalive else { return };
        let next = match self.tier {
            Some(_) => self.keep_line_alive(every),
            None => self.cluster.keep_alive(every),
        };
        if let Some(next) = next {
            self.pacing.keepalive = Some(next);
            return;
        }
        let due = self.metadata.at.map(|at| at + every);
        self.pacing.keepalive = due;
        if due.is_some_and(|at| at <= Instant::now()) && self.dialling.is_empty() {
            self.metadata.stale = true;
            self.busy = true;
        }
    }
}
