//! CreateAcls: adds rules of access, all that are right in one commit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::acls::{Codes, Refusal};
use super::errors::{of_admin, of_rule};
use super::request::{Failed, Later, Request, ready};
use crate::kafka::create_acls::{AclCreation, AclCreationResult, CreateAclsRequest, CreateAclsResponse};

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: CreateAclsRequest<'_> = request.body()?;
        let outcomes = create(&request, &body).await;
        let results = outcomes.iter().map(result).collect();
        Ok(ready(request.answer(&CreateAclsResponse { results, ..Default::default() })?))
    })
}

fn result(outcome: &Result<(), Refusal>) -> AclCreationResult<'_> {
    match outcome {
        Ok(()) => AclCreationResult::default(),
        Err((code, text)) => AclCreationResult { error_code: code.code(), error_message: Some(text) },
    }
}

/// An outcome a rule, in their order.
async fn create(request: &Request, body: &CreateAclsRequest<'_>) -> Vec<Result<(), Refusal>> {
    let read: Vec<Result<_, Refusal>> = body.creations.iter().map(|creation| codes(creation).rule()).collect();
    let rules = read.iter().filter_map(|rule| rule.as_ref().ok().cloned()).collect();
    match request.access.add_rules(rules).await {
        Err(error) => read.iter().map(|_| Err(of_admin(&error))).collect(),
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            // One for each that could be read, in the same order.
            let each = |rule: Result<_, Refusal>| {
                rule.and_then(|_| outcomes.next().unwrap_or(Ok(())).map_err(|error| of_rule(&error)))
            };
            read.into_iter().map(each).collect()
        }
    }
}

fn codes<'a>(creation: &AclCreation<'a>) -> Codes<'a> {
    Codes {
        resource_type: creation.resource_type,
        resource_name: creation.resource_name,
        pattern_type: creation.resource_pattern_type,
        principal: creation.principal.into(),
        host: creation.host.into(),
        operation: creation.operation,
        permission_type: creation.permission_type,
    }
}
