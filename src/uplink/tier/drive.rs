//! Connecting to the gateway upstream, and finding out where this uplink stands there.
//!
//! Invariant: a divergence, and what upstream has lost, is always told: in the log, in the status, and in the topic of losses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Tier;
use super::kept;
use super::line::Line;
use super::places::Unsure;
use super::standing::{Held, Standing, judge};
use crate::broker::{Topic, TopicId};
use crate::config::OnDivergence;
use crate::frame::{ClientMessage, GatewayMessage, Ping, TierCursor, TierCursors, TierKnown};
use crate::uplink::exactly::{Divergence, Epoch, Histories};
use crate::uplink::gentle::Open;
use crate::uplink::link::cluster::ClusterError;
use crate::uplink::link::connection::LinkError;
use crate::uplink::task::Forwarder;

/// Looks at the cursors upstream in one go: of some, of all, and after the histories were found to differ.
const LOOKS_MAX: usize = 4;

/// An empty note under this name gives others a commit to ride with.
const HURRY: &str = "hurry";

/// More gateways than that are not one above the other.
const ABOVE_MAX: usize = 32;

/// What upstream has told.
struct Told {
    cursors: Vec<TierCursor>,
    incarnation: [u8; 16],
    others: u32,
}

impl Forwarder {
    /// Everything that can be done now: one step of each kind.
    ///
    /// # Errors
    /// [`ClusterError`], if the gateway upstream is out of reach or of no use.
    pub(in crate::uplink) async fn forward_to_gateway(&mut self) -> Result<(), ClusterError> {
        let open = self.ask_gate();
        let shut = open == Open::Nothing || open == Open::Urgent && !self.mirror.has_urgent();
        if shut || self.tier.as_ref().is_some_and(Tier::is_stopped) || !self.connect_line().await? {
            return Ok(());
        }
        for _ in 0..LOOKS_MAX {
            if !self.find_standing().await? {
                break;
            }
        }
        if self.tier.as_ref().is_some_and(|tier| tier.places.unsure().is_some()) {
            return Ok(());
        }
        self.refresh().await?;
        self.resume_due().await?;
        self.read_on().await;
        self.tell_centre().await;
        self.keep_alive();
        Ok(())
    }

    /// Whether there is a line; one is opened if there is something to do with it.
    async fn connect_line(&mut self) -> Result<bool, ClusterError> {
        let idle = self.is_idle();
        let Some(tier) = &mut self.tier else { return Ok(false) };
        if tier.line.as_ref().is_some_and(|line| line.closed().is_none()) {
            return Ok(true);
        }
        tier.line = None;
        // An idle line may be closed by the other side. What was under way fails by itself.
        if idle && tier.places.unsure().is_none() || !tier.is_at_rest() {
            return Ok(false);
        }
        let mut failed = LinkError::new("no address of a gateway is configured");
        for _ in 0..tier.addresses.len() {
            let Some(address) = tier.addresses.first().cloned() else { break };
            match Line::open(&tier.dialer, &address, &self.options.gateway).await {
                Ok(line) => {
                    tier.line = Some(Arc::new(line));
                    tier.places.doubt(&[]);
                    return Ok(true);
                }
                Err(error) => failed = error,
            }
            tier.addresses.rotate_left(1);
        }
        Err(failed.into())
    }

    /// Asks for cursors that are not known, if there are such and nothing is under way; goes on from there. Whether it is to be
    /// called again.
    async fn find_standing(&mut self) -> Result<bool, ClusterError> {
        let Some(tier) = &self.tier else { return Ok(false) };
        let Some(unsure) = tier.places.unsure().cloned().filter(|_| tier.is_at_rest()) else { return Ok(false) };
        if unsure != Unsure::Of([].into()) {
            // Whatever was gathered since the last good answer is gathered anew.
            self.mirror.abort(Instant::now());
            self.reading.start_anew();
        }
        let told = self.ask_cursors(self.asked_topic(&unsure)).await?;
        self.link_works();
        self.busy = true;
        if self.is_another_store(&told) {
            return Ok(true);
        }
        if self.is_another_history(&unsure, &told) {
            return Ok(false);
        }
        let standing = judge(&self.held(&told));
        if !standing.diverged.is_empty() && unsure != Unsure::All {
            if let Some(tier) = &mut self.tier {
                tier.places.doubt_all();
            }
            return Ok(true);
        }
        self.settle_in(standing, told.incarnation).await
    }

    /// The topic here whose cursors will do; `None`: all.
    fn asked_topic(&self, unsure: &Unsure) -> Option<TopicId> {
        let Unsure::Of(partitions) = unsure else { return None };
        let mut topics = partitions.iter().filter_map(|p| self.broker.topic_of(*p)).map(|(topic, _)| topic.id);
        // No topic has this id: only the greeting is wanted.
        let Some(first) = topics.next() else { return Some(TopicId([0; 16])) };
        topics.all(|topic| topic == first).then_some(first)
    }

    async fn ask_cursors(&mut self, topic: Option<TopicId>) -> Result<Told, ClusterError> {
        let gone = || LinkError::new("the connection was given up");
        let Some(tier) = &mut self.tier else { return Err(gone().into()) };
        let id = tier.new_id();
        let line = tier.line.as_ref().ok_or_else(gone)?;
        let (uplink, history) = (self.options.name.as_str(), tier.kept.history);
        let asked = TierCursors { id, uplink, history, topic: topic.map(|topic| topic.0) };
        let bodies = line.ask(id, &ClientMessage::TierCursors(asked))?.bodies().await?;
        let mut cursors = Vec::new();
        for body in &bodies {
            match GatewayMessage::decode(body) {
                Ok(GatewayMessage::TierCursor(cursor)) => cursors.push(cursor),
                Ok(GatewayMessage::TierKnown(TierKnown { incarnation, others, above, .. })) => {
                    let above = above.lines().map(str::to_owned);
                    let above = [line.greeting().gateway.clone()].into_iter().chain(above).take(ABOVE_MAX).collect();
                    self.rise_to(above)?;
                    return Ok(Told { cursors, incarnation, others });
                }
                Ok(GatewayMessage::Failed(failed)) => {
                    return Err(LinkError::new(format_args!("{}: {}", failed.code, failed.text)).into());
                }
                _ => break,
            }
        }
        Err(LinkError::new("the answer to a request for cursors is none").into())
    }

    /// These are the gateways above now, the next one first.
    ///
    /// # Errors
    /// [`ClusterError`]: this gateway is among them, so that its records would come back.
    fn rise_to(&self, above: Vec<String>) -> Result<(), ClusterError> {
        let (name, own) = (&self.options.name, &self.options.gateway);
        if !above.contains(own) {
            self.broker.set_gateways_above(name, above);
            return Ok(());
        }
        // Others may rely on what this one forwards to, but not on a circle.
        self.broker.set_gateways_above(name, Vec::new());
        let text = format!(
            "gateways forward in a circle, {own} to {} and from there to {own} again: records would go round for ever; remove \
             one of these uplinks",
            above.first().map_or("", String::as_str)
        );
        Err(LinkError::new(text).into())
    }

    /// Whether upstream is another store than before: then nothing is known of it, and this uplink goes on from its own positions.
    fn is_another_store(&mut self, told: &Told) -> bool {
        let Some(tier) = &mut self.tier else { return false };
        if tier.kept.upstream.is_none_or(|known| known == told.incarnation) {
            return false;
        }
        tier.kept.upstream = Some(told.incarnation);
        tier.places.doubt_all();
        let text = "the gateway upstream has another store than before: what was forwarded to that one and not passed on is \
                    lost; forwarding goes on from the own positions";
        log::error!("uplink {}: {text}", self.options.name);
        self.failed(text.to_owned());
        true
    }

    /// Whether upstream knows this gateway from another store only, and an operator is to decide about that.
    fn is_another_history(&mut self, unsure: &Unsure, told: &Told) -> bool {
        let Some(tier) = &mut self.tier else { return false };
        let met = tier.kept.upstream.is_some();
        if met || *unsure != Unsure::All || !told.cursors.is_empty() || told.others == 0 {
            return false;
        }
        let stops = self.options.config.on_divergence == OnDivergence::Stop && !std::mem::take(&mut tier.go_on);
        tier.stopped = stops;
        self.tell_divergence(&Divergence { another_store: true, ..Divergence::default() }, stops);
        stops
    }

    /// Upstream's cursors beside the own partitions.
    fn held(&self, told: &Told) -> Vec<Held> {
        let (histories, topics) = (Histories::of(self.broker.store()), self.broker.topics());
        let partition = |cursor: &TierCursor| {
            let topic: &Arc<Topic> = topics.iter().find(|topic| topic.id.0 == cursor.topic)?;
            topic.partition(i32::try_from(cursor.partition).ok()?)
        };
        let held = |cursor: &TierCursor| {
            let partition = partition(cursor)?;
            let position = self.mirror.get(partition)?.position().first_gap();
            Some(Held {
                partition,
                position,
                log_start: self.broker.head(partition).ok()?.log_start,
                own: histories.ends(partition),
                next: cursor.next,
                epochs: cursor.epochs.iter().map(|(id, first)| Epoch { id: *id, first: *first }).collect(),
            })
        };
        told.cursors.iter().filter_map(held).collect()
    }

    /// Goes on from where upstream is; as another history, where the two differ. Whether to ask again.
    async fn settle_in(&mut self, standing: Standing, upstream: [u8; 16]) -> Result<bool, ClusterError> {
        let diverged = !standing.diverged.is_empty();
        let keeps = diverged || self.tier.as_ref().is_some_and(|tier| tier.kept.upstream != Some(upstream));
        if keeps && self.saving {
            // Positions on their way to the store must not come behind those that belong to the row.
            self.hurry_save();
            return Ok(false);
        }
        if diverged {
            let stops = self.options.config.on_divergence == OnDivergence::Stop
                && !self.tier.as_mut().is_some_and(|tier| std::mem::take(&mut tier.go_on));
            let told = standing.diverged.iter().map(|(p, goes_on, upstream)| (*p, *goes_on, *upstream)).collect();
            self.tell_divergence(&Divergence { partitions: told, ..Divergence::default() }, stops);
            if stops {
                if let Some(tier) = &mut self.tier {
                    tier.stopped = true;
                }
                return Ok(false);
            }
        }
        if !standing.lost.is_empty() {
            let partitions = standing.lost.iter().map(|(p, next)| (*p, *next, *next)).collect();
            self.tell_divergence(&Divergence { partitions, upstream_lost: true, ..Divergence::default() }, false);
        }
        for (partition, next) in &standing.advanced {
            self.mirror.advance(*partition, *next);
            self.publish(*partition);
        }
        let back = standing.diverged.iter().map(|(p, goes_on, _)| (*p, *goes_on));
        for (partition, next) in standing.lost.iter().copied().chain(back) {
            self.mirror.stand(partition, next);
            self.publish(partition);
        }
        self.take_letters_in_doubt();
        if keeps {
            self.keep(diverged, upstream).await?;
        }
        let Some(tier) = &mut self.tier else { return Ok(false) };
        if diverged {
            // The new history has no cursors upstream; that it has none is asked for once, as upstream must hear of it.
            tier.places.doubt_all();
        } else {
            tier.places.told(standing.places);
        }
        Ok(diverged)
    }

    /// Letters of stretches that have arrived, as is known now, become what they are; the others are met again.
    fn take_letters_in_doubt(&mut self) {
        let Some(tier) = &mut self.tier else { return };
        for letter in std::mem::take(&mut tier.in_doubt) {
            let followed = self.mirror.get(letter.partition);
            if followed.is_some_and(|followed| followed.position().contains(letter.offset)) {
                self.mirror.condemn(letter);
            }
        }
    }

    /// Makes the row durable, behind the positions that belong to it.
    async fn keep(&mut self, new_history: bool, upstream: [u8; 16]) -> Result<(), ClusterError> {
        while self.mirror.has_unsaved() {
            let unsaved = self.mirror.take_unsaved(self.broker.letters_bytes_max());
            let (positions, letters) = (unsaved.positions.clone(), unsaved.letters.clone());
            let name = &self.options.name;
            if let Err(error) = self.broker.save_with_letters(name, positions, letters, Duration::ZERO).await {
                self.mirror.mark_unsaved(unsaved);
                return Err(LinkError::new(format_args!("positions were not saved: {error}")).into());
            }
            self.letters_saved(&unsaved.letters);
        }
        let Some(tier) = &self.tier else { return Ok(()) };
        let mut kept = tier.kept.clone();
        kept.upstream = Some(upstream);
        kept.letters.clear();
        if new_history {
            kept.history = TopicId::random().0;
        }
        self.keep_row(kept).await
    }

    /// Positions that wait for a commit to ride with get one.
    pub(super) fn hurry_save(&self) {
        let (broker, name) = (self.broker.clone(), self.options.name.clone());
        let saved = async move {
            // If it can't be written, the positions wait as before.
            let _ = broker.save_follower_note(&name, HURRY, Vec::new(), Duration::ZERO).await;
        };
        self.executor.spawn(saved).detach();
    }

    /// Makes the row durable.
    pub(super) async fn keep_row(&mut self, kept: kept::Kept) -> Result<(), ClusterError> {
        let row = (kept::key(&self.options.name), kept.encode());
        let saved = self.broker.save_with_row(&self.options.name, Vec::new(), Vec::new(), row).await;
        saved.map_err(|error| LinkError::new(format_args!("the store did not take the uplink's row: {error}")))?;
        if let Some(tier) = &mut self.tier {
            tier.kept = kept;
        }
        Ok(())
    }

    /// Asks an idle line something small, so that a link that is down is noticed. When next.
    pub(in crate::uplink) fn keep_line_alive(&mut self, every: Duration) -> Option<Instant> {
        let tier = self.tier.as_mut()?;
        let id = tier.new_id();
        let now = Instant::now();
        let line = tier.line.as_ref().filter(|line| line.closed().is_none())?;
        let due = line.idle_since().unwrap_or(now) + every;
        if due > now {
            return Some(due);
        }
        if let Ok(reply) = line.ask(id, &ClientMessage::Ping(Ping { id })) {
            // Nobody reads the answer; its absence closes the line.
            self.executor.spawn(async { drop(reply.bodies().await) }).detach();
        }
        Some(now + every)
    }
}
