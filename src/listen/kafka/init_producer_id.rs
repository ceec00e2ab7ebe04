//! InitProducerId: an id for an idempotent producer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::{of_coordinator, of_produce};
use super::request::{Failed, Later, Request, ready};
use crate::broker::ProduceError;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

/// Id and epoch of a producer that has none yet.
const NONE: i64 = -1;
/// Kafka's default of `transaction.max.timeout.ms`.
const TRANSACTION_TIMEOUT_MS_MAX: i32 = 900_000;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(answer(request))
}

async fn answer(request: Request) -> Result<Later, Failed> {
    let body: InitProducerIdRequest<'_> = request.body()?;
    let response = match check(&body) {
        Err(code) => failed(code),
        // An idempotent producer that starts anew gets a new id, whatever it had: nobody can take over another's.
        Ok(()) => match request.access.new_producer_id().await {
            Ok(producer_id) => InitProducerIdResponse { producer_id, ..Default::default() },
            Err(error) => failed(match &error {
                ProduceError::Store(error) => of_coordinator(error),
                other => of_produce(other),
            }),
        },
    };
    Ok(ready(request.answer(&response)?))
}

/// # Errors
/// The first reason not to give an id, in the order in which Kafka looks for them.
fn check(body: &InitProducerIdRequest<'_>) -> Result<(), ErrorCode> {
    if (body.producer_id == NONE) != (i64::from(body.producer_epoch) == NONE) {
        return Err(ErrorCode::InvalidRequest);
    }
    match body.transactional_id {
        None => Ok(()),
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) if !(1..=TRANSACTION_TIMEOUT_MS_MAX).contains(&body.transaction_timeout_ms) => {
            Err(ErrorCode::InvalidTransactionTimeout)
        }
        // Transactions come with a later version; this code is final for every client, and no other fits better.
        Some(_) => Err(ErrorCode::TransactionalIdAuthorizationFailed),
    }
}

fn failed(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse { error_code: code.code(), producer_epoch: -1, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_checked_as_kafka_does() {
        let idempotent = InitProducerIdRequest { transaction_timeout_ms: -1, ..Default::default() };
        assert_eq!(check(&idempotent), Ok(()));
        let again = InitProducerIdRequest { producer_id: 5, producer_epoch: 0, ..idempotent.clone() };
        assert_eq!(check(&again), Ok(()));
        let half = InitProducerIdRequest { producer_id: 5, ..idempotent };
        assert_eq!(check(&half), Err(ErrorCode::InvalidRequest));
        let with = |transactional_id, transaction_timeout_ms| {
            let request = InitProducerIdRequest { transactional_id, transaction_timeout_ms, ..Default::default() };
            check(&request).unwrap_err()
        };
        assert_eq!(with(Some(""), 1), ErrorCode::InvalidRequest);
        assert_eq!(with(Some("t"), 0), ErrorCode::InvalidTransactionTimeout);
        assert_eq!(with(Some("t"), 900_001), ErrorCode::InvalidTransactionTimeout);
        assert_eq!(with(Some("t"), 60_000), ErrorCode::TransactionalIdAuthorizationFailed);
    }
}
