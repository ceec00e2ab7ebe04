//! LeaveGroup: members go. Up to version 2 it is one, and its error the request's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_group;
use super::request::{Failed, Later, Request, ready};
use crate::broker::groups::{Claim, GroupError};
use crate::kafka::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};

/// From this version on, many may go at once.
const MANY: i16 = 3;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: LeaveGroupRequest<'_> = request.body()?;
        let one = MemberIdentity { member_id: body.member_id, ..Default::default() };
        let members = if request.version >= MANY { body.members } else { vec![one] };
        let claim = |member: &MemberIdentity<'_>| Claim {
            member_id: member.member_id.to_owned(),
            instance_id: member.group_instance_id.map(str::to_owned),
        };
        let outcomes = match request.access.leave_group(body.group_id, members.iter().map(claim).collect()) {
            // No such group has no such member.
            Err(GroupError::UnknownMember) => Ok(members.iter().map(|_| Err(GroupError::UnknownMember)).collect()),
            other => other,
        };
        let code = |outcome: &Result<(), GroupError>| outcome.as_ref().err().map_or(0, |error| of_group(error).code());
        let response = match &outcomes {
            Err(error) => LeaveGroupResponse { error_code: of_group(error).code(), ..Default::default() },
            Ok(outcomes) if request.version < MANY => {
                LeaveGroupResponse { error_code: outcomes.first().map_or(0, code), ..Default::default() }
            }
            Ok(outcomes) => LeaveGroupResponse {
                members: members
                    .iter()
                    .zip(outcomes)
                    .map(|(member, outcome)| MemberResponse {
                        member_id: member.member_id,
                        group_instance_id: member.group_instance_id,
                        error_code: code(outcome),
                    })
                    .collect(),
                ..Default::default()
            },
        };
        Ok(ready(request.answer(&response)?))
    })
}
