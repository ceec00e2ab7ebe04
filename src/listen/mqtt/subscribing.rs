//! SUBSCRIBE and UNSUBSCRIBE.
//!
//! Invariant: a session that is kept is stored before its subscriptions are acknowledged.

use std::sync::Arc;
use std::time::Duration;

use super::connection::Sides;
use super::filter::{Filter, From};
use super::reading::End;
use super::session::Positions;
use super::shares::Shared;
use super::{log, permits, sharing};
use crate::broker::right;
use crate::mqtt::{FilterAck, Packet, Properties, ReasonCode, RetainHandling, Subscribe, Subscription, Unsubscribe};
use crate::store::PartitionId;

/// Makes subscriptions, and has the retained messages delivered that come with them.
pub(super) async fn subscribe(sides: &Arc<Sides>, subscribe: &Subscribe<'_>) -> Result<(), End> {
    let mut reasons = Vec::new();
    let mut retained = Vec::new();
    for asked in subscribe.filters.iter() {
        if asked.no_local && asked.filter.starts_with("$share/") {
            let text = format!("{}: a shared subscription can't be without one's own messages", asked.filter);
            return Err(End::Refused(ReasonCode::PROTOCOL_ERROR, text));
        }
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
    store(sides, &[]).await?;
    let ack = FilterAck { packet_id: subscribe.packet_id, properties: Properties::default(), reasons: &reasons };
    // If nobody reads it, reading finds out.
    let _ = sides.send(&Packet::SubAck(ack)).await;
    sharing::enter(sides);
    let now_ms = sides.context.broker.now().wall_ms;
    for (pattern, qos, id) in retained {
        let topics = sides.context.retained.matching(&sides.context.broker, pattern, now_ms).into_iter();
        let topics = topics.filter(|message| permits::may_have(&sides.context, &sides.terms.access, message));
        sides.session().owe_retained(topics.map(|message| message.topic), qos, id);
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
        if !is_known && session.subscriptions.len() >= sides.context.options().subscriptions_max {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
    }
    let (context, terms) = (&sides.context, &sides.terms);
    if let Err(denied) = permits::allow_subscription(context, &terms.access, &terms.client, filter.pattern()) {
        ::log::debug!("mqtt: {}: {denied}", terms.client);
        return Err(ReasonCode::NOT_AUTHORIZED);
    }
    match filter {
        Filter::Plain(pattern) => {
            let ends = log::ends(&sides.context, &sides.context.own, pattern);
            Ok(sides.session().subscribe(asked, id, &ends))
        }
        Filter::Replay { from, filter: pattern } => {
            let begins = begins(sides, pattern, from).await;
            Ok(sides.session().replay(asked, id, begins))
        }
        Filter::Shared { filter: pattern, .. } => {
            let ends = log::ends(&sides.context, &sides.context.own, pattern);
            let is_new = sides.session().share(asked, id);
            sharing::join(sides, asked.filter, &ends);
            Ok(is_new)
        }
    }
}

/// The partitions that may hold something for `pattern`, and where each has what was published since `from`.
async fn begins(sides: &Sides, pattern: &str, from: From) -> Positions {
    let access = &sides.terms.access;
    let mut positions = log::ends(&sides.context, &sides.context.own, pattern);
    let moment = from.moment_ms(sides.context.broker.now().wall_ms);
    for (partition, position) in &mut positions {
        let partition = PartitionId(*partition);
        // What is denied is not had later either.
        let Some((topic, _)) = access.topic_of::<right::Read>(partition) else { continue };
        let start = log::start(access, (topic.topic(), partition));
        *position = match moment {
            None => start,
            Some(at) => match access.offset_for_time(&topic, partition, at).await {
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
    let (mut reasons, mut left) = (Vec::new(), Vec::new());
    for filter in unsubscribe.filters.iter() {
        let mut session = sides.session();
        reasons.push(reason(session.unsubscribe(filter)).0);
        left.extend(sharing::part(sides, filter));
    }
    store(sides, &left).await?;
    let ack = FilterAck { packet_id: unsubscribe.packet_id, properties: Properties::default(), reasons: &reasons };
    // If nobody reads it, reading finds out.
    let _ = sides.send(&Packet::UnsubAck(ack)).await;
    sides.changed.notify(usize::MAX);
    Ok(())
}

async fn store(sides: &Sides, left: &[Arc<Shared>]) -> Result<(), End> {
    let stored = sides.store(Duration::ZERO, left).await;
    stored.map_err(|error| End::Refused(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, error.to_string()))
}
