//! JoinGroup: a member enters a group; the answer is its next generation, and may take as long as a rebalance.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_lite::future;

use super::Context;
use super::errors::of_group;
use super::request::{Answer, Failed, Later, Request};
use crate::broker::groups::{self, Claim, JoinRefused, Joined, JoinedMember};
use crate::kafka::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};

/// From this version on a new member is given its id before it joins (KIP-394).
const ID_FIRST: i16 = 4;
/// From this version on a leader can be told to skip the assignment (KIP-814).
const CAN_SKIP: i16 = 9;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: JoinGroupRequest<'_> = request.body()?;
        let (group, join) = (body.group_id.to_owned(), wanted(&request, &body));
        let request = request.without_body();
        let access = request.access.clone();
        let mut joining = Box::pin(async move { access.join_group(&group, join).await });
        // It takes its place in the order of requests now; what it waits for comes later.
        let later: Later = match future::poll_once(&mut joining).await {
            Some(outcome) => Box::pin(async move { answer(&request, outcome) }),
            None => Box::pin(async move { answer(&request, joining.await) }),
        };
        Ok(later)
    })
}

fn wanted(request: &Request, body: &JoinGroupRequest<'_>) -> groups::JoinGroup {
    let ms = |ms: i32| u64::try_from(ms).unwrap_or(0);
    let rebalance_ms = if request.version == 0 { body.session_timeout_ms } else { body.rebalance_timeout_ms };
    groups::JoinGroup {
        claim: Claim { member_id: body.member_id.to_owned(), instance_id: body.group_instance_id.map(str::to_owned) },
        client_id: request.client_id.clone(),
        client_host: request.arrival.address().map_or_else(String::new, |address| format!("/{address}")),
        session_ms: ms(body.session_timeout_ms),
        rebalance_ms: ms(rebalance_ms),
        protocol_type: body.protocol_type.to_owned(),
        protocols: body.protocols.iter().map(|way| (way.name.to_owned(), way.metadata.into())).collect(),
        id_first: request.version >= ID_FIRST,
        can_skip: request.version >= CAN_SKIP,
    }
}

fn answer(request: &Request, outcome: Result<Joined, JoinRefused>) -> Answer {
    let bytes = match &outcome {
        Ok(joined) => request.answer(&JoinGroupResponse {
            generation_id: joined.generation,
            protocol_type: Some(&joined.protocol_type),
            protocol_name: Some(&joined.protocol),
            leader: &joined.leader,
            skip_assignment: joined.skip_assignment,
            member_id: &joined.member_id,
            members: joined.members.iter().map(member).collect(),
            ..Default::default()
        })?,
        Err(refused) => request.answer(&JoinGroupResponse {
            error_code: of_group(&refused.error).code(),
            protocol_name: Some(""),
            member_id: &refused.member_id,
            ..Default::default()
        })?,
    };
    Ok(Some(bytes.into()))
}

fn member(member: &JoinedMember) -> JoinGroupResponseMember<'_> {
    JoinGroupResponseMember {
        member_id: &member.member_id,
        group_instance_id: member.instance_id.as_deref(),
        metadata: &member.metadata,
    }
}
