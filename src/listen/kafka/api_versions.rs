//! ApiVersions: what is served, from the routing table itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::request::{Failed, Later, Request, ready};
use super::routes::ROUTES;
use crate::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse, unsupported_version};

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let _: ApiVersionsRequest<'_> = request.body()?;
        let body = ApiVersionsResponse { api_keys: ROUTES.api_versions(), ..Default::default() };
        Ok(ready(request.answer(&body)?))
    })
}

/// The answer to a version that is not served: error 35 in the layout of version 0, with the versions that are (KIP-511).
pub(super) fn unsupported(request: &Request) -> Result<Later, Failed> {
    Ok(ready(request.answer_in(0, &unsupported_version(ROUTES.api_versions()))?))
}
