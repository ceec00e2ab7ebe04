//! DescribeAcls: rules of access, by a filter.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::acls::{Codes, FilterCodes, Refusal};
use super::errors::of_denied;
use super::request::{Failed, Later, Request, ready};
use crate::broker::rights::{Denied, Operation, Resource, Rule};
use crate::kafka::describe_acls::{AclDescription, DescribeAclsRequest, DescribeAclsResource, DescribeAclsResponse};

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DescribeAclsRequest<'_> = request.body()?;
        let found = find(&request, &body);
        let codes: Vec<Codes<'_>> = found.iter().flatten().map(Codes::of).collect();
        let response = match &found {
            Ok(_) => DescribeAclsResponse { resources: resources(&codes), ..Default::default() },
            Err((code, text)) => {
                DescribeAclsResponse { error_code: code.code(), error_message: Some(text), ..Default::default() }
            }
        };
        Ok(ready(request.answer(&response)?))
    })
}

fn find(request: &Request, body: &DescribeAclsRequest<'_>) -> Result<Vec<Rule>, Refusal> {
    let filter = FilterCodes {
        resource_type: body.resource_type_filter,
        resource_name: body.resource_name_filter,
        pattern_type: body.pattern_type_filter,
        principal: body.principal_filter,
        host: body.host_filter,
        operation: body.operation,
        permission_type: body.permission_type,
    };
    // Who may not see rules isn't told what is wrong with a filter either.
    let refused = |denied: Denied| (of_denied(&denied), denied.to_string());
    request.access.allow(Operation::Describe, Resource::CLUSTER).map_err(refused)?;
    let rules = |filter| request.access.rules(&filter).map_err(refused);
    filter.filter()?.map_or(Ok(Vec::new()), rules)
}

/// Rules come in the order of what they are about.
fn resources<'a>(codes: &'a [Codes<'a>]) -> Vec<DescribeAclsResource<'a>> {
    let same = |a: &Codes<'_>, b: &Codes<'_>| {
        (a.resource_type, a.resource_name, a.pattern_type) == (b.resource_type, b.resource_name, b.pattern_type)
    };
    let resource = |rules: &'a [Codes<'a>]| {
        let first = rules.first()?;
        Some(DescribeAclsResource {
            resource_type: first.resource_type,
            resource_name: first.resource_name,
            pattern_type: first.pattern_type,
            acls: rules.iter().map(description).collect(),
        })
    };
    codes.chunk_by(same).filter_map(resource).collect()
}

fn description<'a>(codes: &'a Codes<'a>) -> AclDescription<'a> {
    AclDescription {
        principal: &codes.principal,
        host: &codes.host,
        operation: codes.operation,
        permission_type: codes.permission_type,
    }
}
