//! FindCoordinator: there is none, as neither consumer groups nor transactions are served yet.
//!
//! It is served all the same because librdkafka before 2.11 takes a broker without it for one that can't read lz4, and
//! sends uncompressed what it was told to compress. The codes are final for every client: one that says "not available"
//! is asked again for ever.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::request::{Failed, Later, Request, ready};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

/// `key_type` of a transactional id.
const TRANSACTION: i8 = 1;
const NOBODY: i32 = -1;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: FindCoordinatorRequest<'_> = request.body()?;
        let (code, message) = match body.key_type {
            TRANSACTION => (ErrorCode::TransactionalIdAuthorizationFailed, "transactions are not served yet"),
            _ => (ErrorCode::GroupAuthorizationFailed, "consumer groups are not served yet; assign partitions instead"),
        };
        let none = |key| Coordinator {
            key,
            node_id: NOBODY,
            host: "",
            port: NOBODY,
            error_code: code.code(),
            error_message: Some(message),
        };
        let response = FindCoordinatorResponse {
            error_code: code.code(),
            error_message: Some(message),
            node_id: NOBODY,
            port: NOBODY,
            coordinators: body.coordinator_keys.iter().map(|key| none(*key)).collect(),
            ..Default::default()
        };
        Ok(ready(request.answer(&response)?))
    })
}
