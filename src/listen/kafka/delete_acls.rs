//! DeleteAcls: removes the rules of access that pass filters, in one commit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::acls::{Codes, FilterCodes, Refusal};
use super::errors::of_admin;
use super::request::{Failed, Later, Request, ready};
use crate::broker::rights::Rule;
use crate::kafka::delete_acls::{
    DeleteAclsFilter, DeleteAclsFilterResult, DeleteAclsMatchingAcl, DeleteAclsRequest, DeleteAclsResponse,
};

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DeleteAclsRequest<'_> = request.body()?;
        let outcomes = delete(&request, &body).await;
        let codes: Vec<Result<Vec<Codes<'_>>, &Refusal>> = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().map(|rules| rules.iter().map(Codes::of).collect()))
            .collect();
        let filter_results = codes.iter().map(filter_result).collect();
        Ok(ready(request.answer(&DeleteAclsResponse { filter_results, ..Default::default() })?))
    })
}

/// An outcome a filter, in their order.
async fn delete(request: &Request, body: &DeleteAclsRequest<'_>) -> Vec<Result<Vec<Rule>, Refusal>> {
    let read: Vec<Result<_, Refusal>> = body.filters.iter().map(|filter| codes(filter).filter()).collect();
    let filters = read.iter().filter_map(|filter| filter.clone().ok().flatten()).collect();
    match request.access.remove_rules(filters).await {
        Err(error) => read.iter().map(|_| Err(of_admin(&error))).collect(),
        Ok(removed) => {
            let mut removed = removed.into_iter();
            // One for each filter that rules can pass, in the same order.
            read.into_iter()
                .map(|filter| filter.map(|filter| filter.and_then(|_| removed.next()).unwrap_or_default()))
                .collect()
        }
    }
}

fn codes<'a>(filter: &DeleteAclsFilter<'a>) -> FilterCodes<'a> {
    FilterCodes {
        resource_type: filter.resource_type_filter,
        resource_name: filter.resource_name_filter,
        pattern_type: filter.pattern_type_filter,
        principal: filter.principal_filter,
        host: filter.host_filter,
        operation: filter.operation,
        permission_type: filter.permission_type,
    }
}

fn filter_result<'a>(outcome: &'a Result<Vec<Codes<'a>>, &'a Refusal>) -> DeleteAclsFilterResult<'a> {
    match outcome {
        Err((code, text)) => {
            DeleteAclsFilterResult { error_code: code.code(), error_message: Some(text), ..Default::default() }
        }
        Ok(rules) => {
            DeleteAclsFilterResult { matching_acls: rules.iter().map(matching).collect(), ..Default::default() }
        }
    }
}

fn matching<'a>(codes: &'a Codes<'a>) -> DeleteAclsMatchingAcl<'a> {
    DeleteAclsMatchingAcl {
        resource_type: codes.resource_type,
        resource_name: codes.resource_name,
        pattern_type: codes.pattern_type,
        principal: &codes.principal,
        host: &codes.host,
        operation: codes.operation,
        permission_type: codes.permission_type,
        ..Default::default()
    }
}
