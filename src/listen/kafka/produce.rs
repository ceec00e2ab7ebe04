//! Produce: every batch is queued for the store in the order of the requests, and answered when its acks are met.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_produce;
use super::request::{Answer, Failed, Later, Request};
use crate::broker::{Acks, Appended, ProduceError, Ticket};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse};

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(begin(context, request))
}

/// What became of one partition's batch so far.
enum Queued {
    /// It is in the order of appends; the ticket will tell.
    Ticket(Ticket<Appended>),
    /// It was refused.
    Refused(ErrorCode, String),
}

async fn begin(context: Arc<Context>, request: Request) -> Result<Later, Failed> {
    let body: ProduceRequest<'_> = request.body()?;
    let acks = match body.acks {
        -1 => Some(Acks::Flash),
        0 => Some(Acks::Memory),
        1 => Some(context.options.acks_1),
        _ => None,
    };
    let wants_answer = body.acks != 0;
    let mut queued = Vec::new();
    for topic in &body.topic_data {
        for partition in &topic.partition_data {
            let outcome = match (acks, body.transactional_id) {
                (None, _) => {
                    let text = format!("acks is {}; it may be -1, 0 or 1", body.acks);
                    Queued::Refused(ErrorCode::InvalidRequiredAcks, text)
                }
                (_, Some(_)) => {
                    let text = "transactions are not available in this version".to_owned();
                    Queued::Refused(ErrorCode::InvalidTxnState, text)
                }
                (Some(acks), None) => {
                    match append(&context, topic.name, partition.index, partition.records, acks).await {
                        Ok(ticket) => Queued::Ticket(ticket),
                        Err(error) => Queued::Refused(of_produce(&error), error.to_string()),
                    }
                }
            };
            queued.push(outcome);
        }
    }
    Ok(Box::pin(finish(request, queued, wants_answer)))
}

async fn append(
    context: &Context,
    topic: &str,
    index: i32,
    records: Option<&[u8]>,
    acks: Acks,
) -> Result<Ticket<Appended>, ProduceError> {
    let topic = context.broker.topic(topic).ok_or(ProduceError::UnknownPartition)?;
    context.broker.produce(&topic, index, records.unwrap_or_default().to_vec(), acks).await
}

async fn finish(request: Request, queued: Vec<Queued>, wants_answer: bool) -> Answer {
    let mut outcomes = Vec::with_capacity(queued.len());
    for outcome in queued {
        outcomes.push(match outcome {
            Queued::Refused(code, text) => Err((code, text)),
            Queued::Ticket(ticket) => ticket.wait().await.map_err(|error| (of_produce(&error), error.to_string())),
        });
    }
    if !wants_answer {
        // Whoever doesn't read answers is told by the end of the connection, as Kafka does: it asks for metadata then.
        return match outcomes.into_iter().find_map(Result::err) {
            Some((code, text)) => Err(Failed::Unanswerable(format!("produce with acks=0: {code}: {text}"))),
            None => Ok(None),
        };
    }
    let body: ProduceRequest<'_> = request.body()?;
    let mut outcomes = outcomes.iter();
    let responses = body
        .topic_data
        .iter()
        .map(|topic| TopicProduceResponse {
            name: topic.name,
            // One outcome a partition, in the same order.
            partition_responses: topic
                .partition_data
                .iter()
                .zip(&mut outcomes)
                .map(|(partition, outcome)| response(partition.index, outcome))
                .collect(),
        })
        .collect();
    Ok(Some(request.answer(&ProduceResponse { responses, ..Default::default() })?.into()))
}

fn response<'a>(index: i32, outcome: &'a Result<Appended, (ErrorCode, String)>) -> PartitionProduceResponse<'a> {
    match outcome {
        Ok(appended) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start,
            ..Default::default()
        },
        Err((code, text)) => PartitionProduceResponse {
            index,
            error_code: code.code(),
            base_offset: -1,
            error_message: Some(text),
            ..Default::default()
        },
    }
}
