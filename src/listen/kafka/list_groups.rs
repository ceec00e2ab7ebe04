//! ListGroups: all groups, by state and type if asked. Both are compared without regard to case, as Kafka does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::request::{Failed, Later, Request, ready};
use crate::kafka::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

/// The only type of groups here.
const CLASSIC: &str = "classic";

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: ListGroupsRequest<'_> = request.body()?;
        let passes = |filter: &[&str], value: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let groups = request.access.groups();
        let listed = groups
            .iter()
            .filter(|group| passes(&body.states_filter, group.state) && passes(&body.types_filter, CLASSIC))
            .map(|group| ListedGroup {
                group_id: &group.name,
                protocol_type: &group.protocol_type,
                group_state: group.state,
                group_type: CLASSIC,
            });
        Ok(ready(request.answer(&ListGroupsResponse { groups: listed.collect(), ..Default::default() })?))
    })
}
