//! FindCoordinator: this broker, for every group. There is none for transactions, which are not served yet; that code is
//! final for every client, as one that says "not available" is asked again for ever.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::request::{Failed, Later, Request, ready};
use super::{Context, NODE_ID};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

/// `key_type` of a group and of a transactional id.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const NOBODY: i32 = -1;

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: FindCoordinatorRequest<'_> = request.body()?;
        let refused = match body.key_type {
            GROUP => None,
            TRANSACTION => Some((ErrorCode::TransactionalIdAuthorizationFailed, "transactions are not served yet")),
            _ => Some((ErrorCode::InvalidRequest, "there are coordinators of groups (key type 0) only")),
        };
        let (host, port) = context.address(&request);
        let (code, error_message) = refused.map_or((ErrorCode::None, None), |(code, text)| (code, Some(text)));
        let (node_id, host, port) = match refused {
            None => (NODE_ID, host.as_str(), port.into()),
            Some(_) => (NOBODY, "", NOBODY),
        };
        let error_code = code.code();
        let one = |key| Coordinator { key, node_id, host, port, error_code, error_message };
        let response = FindCoordinatorResponse {
            error_code,
            error_message,
            node_id,
            host,
            port,
            coordinators: body.coordinator_keys.iter().map(|key| one(*key)).collect(),
            ..Default::default()
        };
        Ok(ready(request.answer(&response)?))
    })
}
