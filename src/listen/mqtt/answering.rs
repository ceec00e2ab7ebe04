//! Answers to what a client publishes, in the order of what they answer.
//!
//! Answers that are there at the same time go out together: one commit has those to all that a client has under way, and sent one by one
//! they would leave no room for what is delivered to the same client.
//!
//! Invariant: an answer goes out after the commit it speaks of.

use std::pin::pin;

use futures_lite::future::poll_once;
use smol::Task;

use super::connection::{FRAME_BYTES, Gone, Sides};
use super::publishing::NotTaken;
use super::reading::End;
use crate::broker::{CommitError, Noted, Ticket};
use crate::channel::Receiver;
use crate::metrics::METRICS;
use crate::mqtt::{Ack, Packet, PacketId, Properties, Protocol, Qos, ReasonCode};

/// An answer that is to come.
pub(super) enum Answer {
    Stored {
        id: PacketId,
        qos: Qos,
        ticket: Ticket<Noted>,
    },
    /// PUBREC once more: the message is stored.
    Again(PacketId),
    Refused {
        id: PacketId,
        qos: Qos,
        why: NotTaken,
    },
    /// Acknowledged, and not kept.
    Dropped {
        id: PacketId,
        qos: Qos,
    },
    Released {
        id: PacketId,
        deletion: Task<Result<(), CommitError>>,
    },
    /// PUBCOMP for what nothing is known of.
    Unknown(PacketId),
}

/// Sends the answers, in order.
pub(super) async fn answer(sides: &Sides, due: &Receiver<Answer>) -> Result<(), End> {
    let mut frame = Vec::new();
    loop {
        let answer = match due.try_recv() {
            Ok(answer) => answer,
            Err(_) => {
                if sides.send_frame(&mut frame).await.is_err() {
                    return Ok(());
                }
                match due.recv().await {
                    Ok(answer) => answer,
                    Err(_) => return Ok(()),
                }
            }
        };
        if put(sides, answer, &mut frame).await?.is_err() {
            return Ok(());
        }
    }
}

/// Puts an answer behind those that wait to be sent, which go out first if there is something to wait for.
async fn put(sides: &Sides, answer: Answer, frame: &mut Vec<u8>) -> Result<Result<(), Gone>, End> {
    let mut settling = pin!(settle(sides, answer));
    let packet = match poll_once(settling.as_mut()).await {
        Some(packet) => packet,
        None => {
            if let Err(gone) = sides.send_frame(frame).await {
                return Ok(Err(gone));
            }
            settling.await
        }
    };
    let packet = match packet {
        Ok(packet) => packet,
        Err(end) => {
            // What was answered before is told all the same; if nobody reads it, that is his end as well.
            let _ = sides.send_frame(frame).await;
            return Err(end);
        }
    };
    sides.put(&packet, frame);
    Ok(if frame.len() < FRAME_BYTES { Ok(()) } else { sides.send_frame(frame).await })
}

/// The packet that an answer is, once what it speaks of is done.
async fn settle(sides: &Sides, answer: Answer) -> Result<Packet<'static>, End> {
    Ok(match answer {
        Answer::Stored { id, qos, ticket } => match ticket.wait().await {
            Ok(_) => {
                sides.inbound().stored(qos, id);
                acknowledgement(qos, Ack::of(id))
            }
            Err(error) => sides.refusal(qos, id, &error.into())?,
        },
        Answer::Refused { id, qos, why } => sides.refusal(qos, id, &why)?,
        Answer::Dropped { id, qos } => {
            sides.inbound().refused(qos, id);
            acknowledgement(qos, Ack::of(id))
        }
        Answer::Again(id) => Packet::PubRec(Ack::of(id)),
        Answer::Released { id, deletion } => {
            if let Err(error) = deletion.await {
                // The client asks again on its next connection.
                return Err(End::Refused(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, error.to_string()));
            }
            sides.inbound().released(id);
            Packet::PubComp(Ack::of(id))
        }
        Answer::Unknown(id) => Packet::PubComp(Ack::of(id)),
    })
}

fn acknowledgement<'a>(qos: Qos, ack: Ack<'a>) -> Packet<'a> {
    if qos == Qos::ExactlyOnce { Packet::PubRec(ack) } else { Packet::PubAck(ack) }
}

impl Sides {
    /// What a client is told whose message is not taken. 3.1.1 has no words for it: the connection ends, and the client still has the
    /// message.
    fn refusal(&self, qos: Qos, id: PacketId, why: &NotTaken) -> Result<Packet<'static>, End> {
        METRICS.batches_refused.add(1);
        self.inbound().refused(qos, id);
        // A refusal settles a message for a client of 5.0; one that may be taken later ends the connection instead.
        if self.terms.protocol == Protocol::V3 || why.reason == ReasonCode::SERVER_SHUTTING_DOWN {
            return Err(End::Refused(why.reason, why.text.clone()));
        }
        log::debug!("mqtt: {}: a message is not taken: {}", self.terms.client, why.text);
        Ok(acknowledgement(qos, Ack { packet_id: id, reason: why.reason, properties: Properties::default() }))
    }
}
