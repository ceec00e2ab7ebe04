//! InitProducerId: an id for an idempotent producer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_coordinator;
use super::request::{Failed, Later, Request, ready};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(answer(context, request))
}

async fn answer(context: Arc<Context>, request: Request) -> Result<Later, Failed> {
    let body: InitProducerIdRequest<'_> = request.body()?;
    let response = if body.transactional_id.is_some() {
        // Transactions come with a later version; this code is final for every client, and no other fits better.
        failed(ErrorCode::TransactionalIdAuthorizationFailed)
    } else {
        match body.producer_epoch.checked_add(1) {
            // An idempotent producer that starts anew after an error it could not place (KIP-360).
            Some(epoch) if body.producer_id >= 0 && epoch > 0 => {
                InitProducerIdResponse { producer_id: body.producer_id, producer_epoch: epoch, ..Default::default() }
            }
            _ => match context.broker.new_producer_id().await {
                Ok(producer_id) => InitProducerIdResponse { producer_id, ..Default::default() },
                Err(error) => failed(of_coordinator(&error)),
            },
        }
    };
    Ok(ready(request.answer(&response)?))
}

fn failed(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse { error_code: code.code(), producer_epoch: -1, ..Default::default() }
}
