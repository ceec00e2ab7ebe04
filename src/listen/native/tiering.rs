//! Gateways below: what of them is here, and the batches that they bring.
//!
//! Invariant: stretches of a connection enter the order of appends in the order in which they came; what they come to is told
//! beside the reading, in any order.

use super::errors::of_intake;
use super::requests::{Call, Failure, Told};
use crate::broker::{IntakeError, IntakeTicket, Principal, TierMove, TierSource, right};
use crate::frame::{ErrorCode, GatewayMessage, TierCursor, TierCursors, TierKnown, TierStretch};
use crate::limits::UPLINK_NAME_BYTES_MAX;

/// Who asks, if it may.
pub(super) fn source(call: &Call, gateway: &str, asked: &TierCursors<'_>) -> Result<TierSource, Failure> {
    if gateway == call.context.options.gateway_id {
        let text = format!("this gateway is called {gateway:?} too: give each gateway.id its own value");
        return Err(Failure::new(ErrorCode::InvalidArgument, text));
    }
    if asked.uplink.is_empty() || asked.uplink.len() > UPLINK_NAME_BYTES_MAX {
        let text = format!("an uplink's name has 1 to {UPLINK_NAME_BYTES_MAX} bytes");
        return Err(Failure::new(ErrorCode::InvalidArgument, text));
    }
    let user = Some(call.access.caller().principal().clone()).filter(|user| *user != Principal::anonymous());
    Ok(TierSource { gateway: gateway.to_owned(), uplink: asked.uplink.to_owned(), history: asked.history, user })
}

/// Serves TierCursors.
pub(super) async fn cursors(call: Call, source: TierSource, topic: Option<[u8; 16]>) -> Told {
    let (known, incarnation, above) = match call.access.tier_cursors(&source, topic).await {
        Ok(known) => known,
        Err(error) => return Ok(Err(failure(&error))),
    };
    for cursor in known.cursors {
        let (topic, partition, next) = (cursor.topic, cursor.partition, cursor.next);
        let epochs = cursor.epochs.into_iter().collect();
        let told = TierCursor { id: call.id, topic, partition, next, epochs };
        call.outbox.send(GatewayMessage::TierCursor(told)).await?;
    }
    let others = u32::try_from(known.others).unwrap_or(u32::MAX);
    let above = above.join("\n");
    let told = TierKnown { id: call.id, incarnation, others, above: &above };
    call.outbox.send(GatewayMessage::TierKnown(told)).await.map(Ok)
}

/// Puts a stretch into the order of appends.
pub(super) async fn begin(
    call: &Call,
    source: Option<&TierSource>,
    stretch: &TierStretch<'_>,
) -> Result<IntakeTicket, Failure> {
    let unasked =
        || Failure::new(ErrorCode::InvalidArgument, "a stretch comes after its gateway has asked for cursors");
    let source = source.ok_or_else(unasked)?;
    let mut batches = Vec::with_capacity(stretch.batches.len());
    for batch in stretch.batches.iter() {
        let topic = call.topic::<right::Write>(batch.topic)?;
        batches.push((topic, i32::try_from(batch.partition).unwrap_or(i32::MAX), batch.bytes.into()));
    }
    let moves = stretch.moves.iter().map(|moved| TierMove {
        topic: moved.topic,
        partition: moved.partition,
        from: moved.from,
        next: moved.next,
        epochs: moved.epochs.iter().copied().collect(),
    });
    call.access.take_stretch(source, moves.collect(), batches).await.map_err(|error| failure(&error))
}

/// Tells what a stretch has come to.
pub(super) async fn finish(call: Call, ticket: IntakeTicket) -> Told {
    match ticket.wait().await {
        Ok(()) => call.done().await.map(Ok),
        Err(error) => Ok(Err(failure(&error))),
    }
}

fn failure(error: &IntakeError) -> Failure {
    Failure::new(of_intake(error), error)
}
