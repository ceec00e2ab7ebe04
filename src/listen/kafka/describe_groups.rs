//! DescribeGroups: state and members of groups. One that isn't there is "Dead", and from version 6 on an error.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::errors::of_group;
use super::request::{Failed, Later, Request, ready};
use super::{Context, acls};
use crate::broker::groups::{GroupDescription, GroupError};
use crate::broker::rights::Resource;
use crate::kafka::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use crate::kafka::error_code::ErrorCode;

/// From this version on a group that isn't there is an error (KIP-1043).
const NOT_FOUND: i16 = 6;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DescribeGroupsRequest<'_> = request.body()?;
        let found: Vec<_> = body.groups.iter().map(|name| request.access.group(name)).collect();
        let operations =
            |name| acls::operations(&request.access, body.include_authorized_operations, Resource::group(name));
        let groups = body.groups.iter().zip(&found).map(|(name, found)| match found {
            Ok(group) => DescribedGroup { authorized_operations: operations(name), ..described(group) },
            Err(denied @ GroupError::Denied(_)) => {
                DescribedGroup { error_code: of_group(denied).code(), group_id: name, ..Default::default() }
            }
            Err(_) => {
                let is_error = request.version >= NOT_FOUND;
                DescribedGroup {
                    error_code: if is_error { ErrorCode::GroupIdNotFound.code() } else { 0 },
                    error_message: is_error.then_some("there is no such group"),
                    group_id: name,
                    group_state: "Dead",
                    ..Default::default()
                }
            }
        });
        Ok(ready(request.answer(&DescribeGroupsResponse { groups: groups.collect(), ..Default::default() })?))
    })
}

fn described(group: &GroupDescription) -> DescribedGroup<'_> {
    let is_stable = group.state == "Stable";
    // What members say and get is of no use to anyone while it changes.
    let settled = |bytes| if is_stable { bytes } else { &[][..] };
    DescribedGroup {
        group_id: &group.name,
        group_state: group.state,
        protocol_type: &group.protocol_type,
        protocol_data: if is_stable { &group.protocol } else { "" },
        members: group
            .members
            .iter()
            .map(|member| DescribedGroupMember {
                member_id: &member.member_id,
                group_instance_id: member.instance_id.as_deref(),
                client_id: &member.client_id,
                client_host: &member.client_host,
                member_metadata: settled(&member.metadata),
                member_assignment: settled(&member.assignment),
            })
            .collect(),
        ..Default::default()
    }
}
