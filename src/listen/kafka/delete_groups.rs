//! DeleteGroups: groups without members, with their offsets.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_group;
use super::request::{Failed, Later, Request, ready};
use crate::kafka::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DeleteGroupsRequest<'_> = request.body()?;
        let mut results = Vec::with_capacity(body.groups_names.len());
        for name in &body.groups_names {
            let outcome = request.access.delete_group(name).await;
            let error_code = outcome.map_or_else(|error| of_group(&error).code(), |()| 0);
            results.push(DeletableGroupResult { group_id: name, error_code });
        }
        Ok(ready(request.answer(&DeleteGroupsResponse { results, ..Default::default() })?))
    })
}
