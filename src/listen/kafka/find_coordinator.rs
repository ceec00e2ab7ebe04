//! FindCoordinator: this broker, for every group. There is none for transactions, which are not served yet; that code is
//! final for every client, as one that says "not available" is asked again for ever.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::request::{Failed, Later, Request, ready};
use super::{Context, NODE_ID};
use crate::broker::Access;
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
        let (host, port) = context.address(&request);
        let here = (host.as_str(), i32::from(port));
        let find = |key| {
            let refused = refused(&request.access, body.key_type, key);
            refused.map_or_else(|| found(key, here), |code| not_found(key, code))
        };
        // In older versions there is one, at the top level.
        let first = find(body.key);
        let response = FindCoordinatorResponse {
            error_code: first.error_code,
            error_message: first.error_message,
            node_id: first.node_id,
            host: first.host,
            port: first.port,
            coordinators: body.coordinator_keys.iter().map(|key| find(key)).collect(),
            ..Default::default()
        };
        Ok(ready(request.answer(&response)?))
    })
}

/// Why a key has no coordinator here.
fn refused(access: &Access, key_type: i8, key: &str) -> Option<(ErrorCode, &'static str)> {
    match key_type {
        GROUP if access.allow_see_group(key).is_err() => {
            Some((ErrorCode::GroupAuthorizationFailed, "there is no right to see this group"))
        }
        GROUP => None,
        TRANSACTION => Some((ErrorCode::TransactionalIdAuthorizationFailed, "transactions are not served yet")),
        _ => Some((ErrorCode::InvalidRequest, "there are coordinators of groups (key type 0) only")),
    }
}

fn found<'a>(key: &'a str, (host, port): (&'a str, i32)) -> Coordinator<'a> {
    Coordinator { key, node_id: NODE_ID, host, port, ..Default::default() }
}

fn not_found<'a>(key: &'a str, (code, text): (ErrorCode, &'a str)) -> Coordinator<'a> {
    Coordinator { key, node_id: NOBODY, host: "", port: NOBODY, error_code: code.code(), error_message: Some(text) }
}
