//! What a client's packets ask for, one after the other.
//!
//! Invariant: what is taken has its place in the order of appends before the next packet is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::answering::Answer;
use super::connection::Sides;
use super::greeting;
use super::hub::packet_row;
use super::inbound::{Mark, Publishing, Releasing};
use super::message::Message;
use super::outbound::Acked;
use super::publishing;
use super::reading::{End, PacketReader};
use super::session::Session;
use super::subscribing;
use crate::broker::{GuardedChange, Stays};
use crate::channel::Sender;
use crate::listen::stream::{Stream, Turns};
use crate::metrics::METRICS;
use crate::mqtt::{Ack, Packet, PacketId, Properties, Property, Protocol, Publish, Qos, Reason, ReasonCode};

/// Packets of a client that never pauses that are taken before the answers to them, and what it has subscribed to, have their turn.
const PACKETS_AT_A_TIME: u32 = 16;

/// Reads packets and does what they ask for, until the connection ends.
pub(super) async fn read(sides: &Arc<Sides>, reader: &mut PacketReader<impl Stream>, answers: &Sender<Answer>) -> End {
    let mut aliases = HashMap::new();
    let mut turns = Turns::new(PACKETS_AT_A_TIME);
    loop {
        turns.next().await;
        let read = async {
            let whole = reader.next(sides.terms.silence).await?;
            METRICS.requests_mqtt.add(1);
            let packet = Packet::decode(whole.first, reader.body(&whole), sides.terms.protocol)?;
            sides.take(packet, &mut aliases, answers).await
        };
        match read.await {
            Ok(None) => {}
            Ok(Some(end)) | Err(end) => return end,
        }
    }
}

/// Topics by the numbers that the client has given them.
type Aliases = HashMap<u16, String>;

impl Sides {
    /// Does what a packet asks for; an end, if it ends the connection.
    async fn take(
        self: &Arc<Self>,
        packet: Packet<'_>,
        aliases: &mut Aliases,
        answers: &Sender<Answer>,
    ) -> Result<Option<End>, End> {
        match packet {
            Packet::Publish(publish) => self.publish(&publish, aliases, answers).await?,
            Packet::PubRel(ack) => self.release(ack.packet_id, answers).await,
            Packet::PubAck(ack) => self.acked(|session| session.outbound.acknowledged(ack.packet_id)),
            Packet::PubComp(ack) => self.acked(|session| session.outbound.completed(ack.packet_id)),
            Packet::PubRec(ack) => self.received(&ack).await,
            Packet::Subscribe(subscribe) => subscribing::subscribe(self, &subscribe).await?,
            Packet::Unsubscribe(unsubscribe) => subscribing::unsubscribe(self, &unsubscribe).await?,
            // If nobody reads the answer, reading finds out.
            Packet::PingReq => drop(self.send(&Packet::PingResp).await),
            Packet::Disconnect(reason) => return self.disconnect(&reason).map(Some),
            Packet::Auth(_) => return Err(protocol_error("AUTH without an authentication method")),
            Packet::Connect(_) => return Err(protocol_error("a second CONNECT on one connection")),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(protocol_error("a packet that only servers send"));
            }
        }
        Ok(None)
    }

    fn disconnect(&self, reason: &Reason<'_>) -> Result<End, End> {
        let asked = |property| if let Property::SessionExpiry(seconds) = property { Some(seconds) } else { None };
        if let Some(expiry_s) = reason.properties.find(asked) {
            let mut session = self.session();
            if session.expiry_s == 0 && expiry_s > 0 {
                return Err(protocol_error("DISCONNECT keeps a session that CONNECT said was to end"));
            }
            session.expiry_s = expiry_s.min(self.context.options().session_expiry_s_max);
            session.is_dirty = true;
        }
        Ok(End::Disconnected { with_will: reason.reason == ReasonCode::DISCONNECT_WITH_WILL })
    }

    async fn publish(&self, publish: &Publish<'_>, aliases: &mut Aliases, answers: &Sender<Answer>) -> Result<(), End> {
        let topic = resolve(publish, aliases)?;
        let Publish { qos, packet_id, .. } = *publish;
        let mark = Mark::of(&topic, publish.payload);
        let verdict = self.inbound().publish(qos, publish.dup, packet_id, mark);
        match (verdict, packet_id) {
            (Publishing::End(reason), _) => return Err(End::Refused(reason, format!("PUBLISH to {topic}"))),
            (Publishing::Wait, _) => return Ok(()),
            (Publishing::Stored, Some(id)) => {
                // The answering side ends after this one.
                let _ = answers.send(Answer::Again(id)).await;
                return Ok(());
            }
            _ => {}
        }
        // 3.1.1 has no words for a refusal, and to end the connection would shut out Mosquitto's bridges, which tell their state so.
        if let Some(id) = packet_id.filter(|_| topic.starts_with('$') && self.terms.protocol == Protocol::V3) {
            // The answering side ends after this one.
            let _ = answers.send(Answer::Dropped { id, qos }).await;
            return Ok(());
        }
        let now_ms = self.context.broker.now().wall_ms;
        let message = Message::published(publish, &topic, &self.terms.client, now_ms);
        let kept = qos == Qos::ExactlyOnce && self.session().is_kept();
        let kept_id = packet_id.filter(|_| kept).map(|id| (id, mark));
        let taken = publishing::publish(&self.context, &self.terms.access, &self.terms.client, message, kept_id).await;
        let answer = match (taken, packet_id) {
            (Ok(ticket), Some(id)) => Answer::Stored { id, qos, ticket },
            (Err(why), Some(id)) => Answer::Refused { id, qos, why },
            (Ok(_), None) => return Ok(()),
            (Err(why), None) => {
                METRICS.batches_refused.add(1);
                log::debug!("mqtt: {}: a message to {topic} is not taken: {}", self.terms.client, why.text);
                return Ok(());
            }
        };
        // The answering side ends after this one.
        let _ = answers.send(answer).await;
        Ok(())
    }

    async fn release(self: &Arc<Self>, id: PacketId, answers: &Sender<Answer>) {
        let verdict = self.inbound().release(id);
        let answer = match verdict {
            Releasing::Wait => return,
            Releasing::Unknown => Answer::Unknown(id),
            Releasing::Release(mark) => {
                let kept = self.session().is_kept();
                let (broker, row) = (self.context.broker.clone(), (packet_row(&self.terms.client, id), None));
                let others = move |value: &[u8]| Mark::of_row(value) != mark;
                let deletion = async move {
                    if !kept {
                        return Ok(());
                    }
                    let unless: Option<Stays> = Some(Box::new(others));
                    broker.change_rows_guarded(vec![GuardedChange { row, unless }], Duration::ZERO).await
                };
                Answer::Released { id, deletion: self.executor.spawn(deletion) }
            }
        };
        // The answering side ends after this one.
        let _ = answers.send(answer).await;
    }

    fn acked(&self, ack: impl FnOnce(&mut Session) -> Acked) {
        let mut session = self.session();
        if let Acked::Done(origin) = ack(&mut session) {
            session.is_dirty = true;
            self.settled(&origin);
        }
        let has_room = session.outbound.has_much_room();
        drop(session);
        self.changed.notify(usize::MAX);
        if has_room {
            for share in self.shares().iter() {
                share.changed.notify(usize::MAX);
            }
        }
    }

    async fn received(&self, ack: &Ack<'_>) {
        let acked = {
            let mut session = self.session();
            session.is_dirty = true;
            let acked = session.outbound.received(ack.packet_id, ack.reason.is_error());
            if acked == Acked::Release {
                // PUBREL goes out once the stage is stored: the delivering side sees to that.
                session.released.push(ack.packet_id);
            }
            if let Acked::Done(origin) = &acked {
                self.settled(origin);
            }
            acked
        };
        match acked {
            Acked::Release | Acked::Done(_) => drop(self.changed.notify(usize::MAX)),
            Acked::Unknown => {
                let reason = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
                let ack = Ack { packet_id: ack.packet_id, reason, properties: Properties::default() };
                // If nobody reads it, reading finds out.
                let _ = self.send(&Packet::PubRel(ack)).await;
            }
        }
    }
}

fn protocol_error(text: &str) -> End {
    End::Refused(ReasonCode::PROTOCOL_ERROR, text.to_owned())
}

/// The topic of a PUBLISH, by name or by alias.
fn resolve(publish: &Publish<'_>, aliases: &mut Aliases) -> Result<String, End> {
    let Some(alias) = publish.alias() else { return Ok(publish.topic.to_owned()) };
    if !(1..=greeting::ALIASES_MAX).contains(&alias) {
        let text = format!("topic alias {alias}; 1 to {} are allowed", greeting::ALIASES_MAX);
        return Err(End::Refused(ReasonCode::TOPIC_ALIAS_INVALID, text));
    }
    if !publish.topic.is_empty() {
        aliases.insert(alias, publish.topic.to_owned());
    }
    aliases.get(&alias).cloned().ok_or_else(|| protocol_error("a topic alias that was not made before"))
}
