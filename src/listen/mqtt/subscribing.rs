//! SUBSCRIBE and UNSUBSCRIBE.
//!
//! Invariant: a session that is kept is stored before its subscriptions are acknowledged.

use std::time::Duration;

use super::Context;
use super::connection::Sides;
use super::filter::{Filter, From};
use super::reading::End;
use super::session::Positions;
use crate::mqtt::{
    FilterAck, Packet, Properties, Protocol, ReasonCode, RetainHandling, Subscribe, Subscription, Unsubscribe,
};
use crate::store::PartitionId;

/// Makes subscriptions, and has the retained messages delivered that come with them.
pub(super) async fn subscribe(sides: &Sides, subscribe: &Subscribe<'_>) -> Result<(), End> {
    let mut reasons = Vec::new();
    let mut retained = Vec::new();
    for asked in subscribe.filters.iter() {
        match one(sides, &asked, subscribe.identifier()).await {
            Ok(is_new) => {
                reasons.push(asked.qos as u8);
                let wanted = match asked.retain {
                    RetainHandling::Send => true,
                    RetainHandling::SendIfNew => is_new,
                    RetainHandling::No => false,
                };
                if let Ok(Filter::Plain(pattern)) = Filter::parse(asked.filter)
                    && wanted
                {
                    retained.push((pattern, asked.qos, subscribe.identifier()));
                }
            }
            Err(reason) => reasons.push(reason.0),
        }
    }
    store(sides).await?;
    let ack = FilterAck { packet_id: subscribe.packet_id, properties: Properties::default(), reasons: &reasons };
    // If nobody reads it, reading finds out.
    let _ = sides.send(&Packet::SubAck(ack)).await;
    let now_ms = sides.context.broker.store().now().wall_ms;
    for (pattern, qos, id) in retained {
        let topics = sides.context.retained.matching(&sides.context.broker, pattern, now_ms);
        sides.session().owe_retained(topics.into_iter().map(|message| message.topic), qos, id);
    }
    sides.changed.notify(usize::MAX);
    Ok(())
}

/// Whether the subscription is new.
async fn one(sides: &Sides, asked: &Subscription<'_>, id: Option<u32>) -> Result<bool, ReasonCode> {
    let filter = Filter::parse(asked.filter)?;
    {
        let session = sides.session();
        let is_known = session.subscriptions.contains_key(asked.filter);
        if !is_known && session.subscriptions.len() >= sides.context.options.subscriptions_max {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
    }
    match filter {
        Filter::Plain(pattern) => {
            let ends = ends(&sides.context, pattern);
            Ok(sides.session().subscribe(asked, id, &ends))
        }
        Filter::Replay { from, filter: pattern } => {
            let begins = begins(sides, pattern, from).await;
            Ok(sides.session().replay(asked, id, begins))
        }
        Filter::Shared { .. } if sides.terms.protocol == Protocol::V3 => Err(ReasonCode::UNSPECIFIED_ERROR),
        Filter::Shared { .. } => Err(ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
    }
}

/// The partitions that may hold something for `pattern`, and where each ends.
pub(super) fn ends(context: &Context, pattern: &str) -> Positions {
    let (broker, rules) = (&context.broker, &context.options.rules);
    let topics = broker.topics();
    let wanted = topics.iter().filter(|topic| !topic.is_internal() && rules.may_hold(pattern, &topic.name));
    let partitions = wanted.flat_map(|topic| &topic.partitions);
    partitions.filter_map(|p| Some((p.0, broker.head(*p).ok()?.readable_end()))).collect()
}

/// The partitions that may hold something for `pattern`, and where each has what was published since `from`.
async fn begins(sides: &Sides, pattern: &str, from: From) -> Positions {
    let broker = &sides.context.broker;
    let mut positions = ends(&sides.context, pattern);
    let moment = from.moment_ms(broker.store().now().wall_ms);
    for (partition, position) in &mut positions {
        let start = broker.head(PartitionId(*partition)).map_or(0, |head| head.log_start);
        *position = match moment {
            None => start,
            Some(at) => match broker.offset_for_time(PartitionId(*partition), at).await {
                Ok(Some((offset, _))) => offset,
                Ok(None) => *position,
                // What can't be looked up is read from the start: more than was asked for, not less.
                Err(_) => start,
            },
        };
    }
    positions
}

/// Ends subscriptions.
pub(super) async fn unsubscribe(sides: &Sides, unsubscribe: &Unsubscribe<'_>) -> Result<(), End> {
    let reason = |existed| if existed { ReasonCode::SUCCESS } else { ReasonCode::NO_SUBSCRIPTION_EXISTED };
    let reasons: Vec<u8> = {
        let mut session = sides.session();
        unsubscribe.filters.iter().map(|filter| reason(session.unsubscribe(filter)).0).collect()
    };
    store(sides).await?;
    let ack = FilterAck { packet_id: unsubscribe.packet_id, properties: Properties::default(), reasons: &reasons };
    // If nobody reads it, reading finds out.
    let _ = sides.send(&Packet::UnsubAck(ack)).await;
    sides.changed.notify(usize::MAX);
    Ok(())
}

async fn store(sides: &Sides) -> Result<(), End> {
    let stored = sides.store(Duration::ZERO).await;
    stored.map_err(|error| End::Refused(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, error.to_string()))
}
