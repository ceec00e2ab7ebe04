//! SyncGroup: the leader hands in the assignment, every member gets its own when that is durable.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_lite::future;

use super::Context;
use super::errors::of_group;
use super::request::{Answer, Failed, Later, Request};
use crate::broker::groups::{self, Claim, GroupError, Membership, Synced};
use crate::kafka::sync_group::{SyncGroupRequest, SyncGroupResponse};

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: SyncGroupRequest<'_> = request.body()?;
        let claim =
            Claim { member_id: body.member_id.to_owned(), instance_id: body.group_instance_id.map(str::to_owned) };
        let sync = groups::SyncGroup {
            membership: Membership { claim, generation: body.generation_id },
            protocol_type: body.protocol_type.map(str::to_owned),
            protocol: body.protocol_name.map(str::to_owned),
            assignments: body.assignments.iter().map(|of| (of.member_id.to_owned(), of.assignment.into())).collect(),
        };
        let group = body.group_id.to_owned();
        let request = request.without_body();
        let access = request.access.clone();
        let mut syncing = Box::pin(async move { access.sync_group(&group, sync).await });
        // It takes its place in the order of requests now; what it waits for comes later.
        let later: Later = match future::poll_once(&mut syncing).await {
            Some(outcome) => Box::pin(async move { answer(&request, outcome) }),
            None => Box::pin(async move { answer(&request, syncing.await) }),
        };
        Ok(later)
    })
}

fn answer(request: &Request, outcome: Result<Synced, GroupError>) -> Answer {
    let response = match &outcome {
        Ok(synced) => SyncGroupResponse {
            protocol_type: Some(&synced.protocol_type),
            protocol_name: Some(&synced.protocol),
            assignment: &synced.assignment,
            ..Default::default()
        },
        Err(error) => SyncGroupResponse { error_code: of_group(error).code(), ..Default::default() },
    };
    Ok(Some(request.answer(&response)?.into()))
}
