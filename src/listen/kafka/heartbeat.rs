//! Heartbeat: a member lives, and learns whether it must join again. It writes nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_group;
use super::request::{Failed, Later, Request, ready};
use crate::broker::groups::{Claim, Membership};
use crate::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: HeartbeatRequest<'_> = request.body()?;
        let claim =
            Claim { member_id: body.member_id.to_owned(), instance_id: body.group_instance_id.map(str::to_owned) };
        let membership = Membership { claim, generation: body.generation_id };
        let outcome = request.access.heartbeat_group(body.group_id, membership);
        let error_code = outcome.map_or_else(|error| of_group(&error).code(), |()| 0);
        Ok(ready(request.answer(&HeartbeatResponse { error_code, ..Default::default() })?))
    })
}
