//! Produce: every batch is queued for the store in the order of the requests, and answered when its acks are met.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::{of_produce, of_topic};
use super::request::{Answer, Failed, Later, Request};
use crate::broker::TimestampType;
use crate::broker::{Access, Acks, Appended, Granted, ProduceError, Ticket, right};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use crate::store::PartitionId;

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
    /// The same, in a partition whose batches the gateway stamps.
    Stamped(Ticket<Appended>, PartitionId),
    /// It was refused.
    Refused(Refusal),
}

/// Why a batch was not taken.
struct Refusal {
    code: ErrorCode,
    text: String,
    /// Places of the records that are at fault, where it is for single ones.
    records: Vec<u32>,
}

impl Refusal {
    fn new(code: ErrorCode, text: String) -> Self {
        Self { code, text, records: Vec::new() }
    }

    fn of(error: ProduceError) -> Self {
        let (code, text) = (of_produce(&error), error.to_string());
        match error {
            ProduceError::Timestamp { records, .. } => Self { code, text, records },
            ProduceError::TooLargeUpstream(told) => Self { code, text, records: told.record.into_iter().collect() },
            _ => Self::new(code, text),
        }
    }
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
        // One look for all partitions of it.
        let found = request.access.topic::<right::Write>(topic.name);
        for partition in &topic.partition_data {
            let outcome = match (acks, body.transactional_id) {
                (None, _) => {
                    let text = format!("acks is {}; it may be -1, 0 or 1", body.acks);
                    Queued::Refused(Refusal::new(ErrorCode::InvalidRequiredAcks, text))
                }
                (_, Some(_)) => {
                    let text = "transactions are not available in this version".to_owned();
                    Queued::Refused(Refusal::new(ErrorCode::InvalidTxnState, text))
                }
                (Some(acks), None) => match &found {
                    Ok(topic) => append(&request, topic, partition.index, partition.records, acks).await,
                    Err(error) => Queued::Refused(Refusal::new(of_topic(error), error.to_string())),
                },
            };
            queued.push(outcome);
        }
    }
    Ok(Box::pin(finish(request, queued, wants_answer)))
}

async fn append(
    request: &Request,
    topic: &Granted<right::Write>,
    index: i32,
    records: Option<&[u8]>,
    acks: Acks,
) -> Queued {
    let ticket = match request.access.produce(topic, index, request.keep(records), acks).await {
        Ok(ticket) => ticket,
        Err(error) => return Queued::Refused(Refusal::of(error)),
    };
    let is_stamped = topic.config.timestamp_type == TimestampType::LogAppendTime;
    match topic.partition(index).filter(|_| is_stamped) {
        Some(partition) => Queued::Stamped(ticket, partition),
        None => Queued::Ticket(ticket),
    }
}

/// What became of a batch, with the time of its first append where it is a resend.
async fn stamped(access: &Access, ticket: Ticket<Appended>, partition: PartitionId) -> Result<Appended, ProduceError> {
    let mut appended = ticket.wait().await?;
    if appended.duplicate {
        let before = access.append_time(partition, appended.base_offset).await;
        appended.log_append_time_ms = before.unwrap_or(appended.log_append_time_ms);
    }
    Ok(appended)
}

async fn finish(request: Request, queued: Vec<Queued>, wants_answer: bool) -> Answer {
    let mut outcomes = Vec::with_capacity(queued.len());
    // The last one is told last: whoever waits for it first is woken once for all of them.
    for outcome in queued.into_iter().rev() {
        outcomes.push(match outcome {
            Queued::Refused(refusal) => Err(refusal),
            Queued::Ticket(ticket) => ticket.wait().await.map_err(Refusal::of),
            Queued::Stamped(ticket, partition) => {
                stamped(&request.access, ticket, partition).await.map_err(Refusal::of)
            }
        });
    }
    outcomes.reverse();
    if !wants_answer {
        // Whoever doesn't read answers is told by the end of the connection, as Kafka does: it asks for metadata then.
        return match outcomes.into_iter().find_map(Result::err) {
            Some(Refusal { code, text, .. }) => {
                Err(Failed::Unanswerable(format!("produce with acks=0: {code}: {text}")))
            }
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

fn response<'a>(index: i32, outcome: &'a Result<Appended, Refusal>) -> PartitionProduceResponse<'a> {
    match outcome {
        Ok(appended) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start,
            ..Default::default()
        },
        Err(refusal) => PartitionProduceResponse {
            index,
            error_code: refusal.code.code(),
            base_offset: -1,
            record_errors: refusal.records.iter().map(|record| at_fault(*record)).collect(),
            error_message: Some(&refusal.text),
            ..Default::default()
        },
    }
}

/// What is wrong with it is what is said of the whole batch.
fn at_fault<'a>(record: u32) -> BatchIndexAndErrorMessage<'a> {
    BatchIndexAndErrorMessage { batch_index: record.try_into().unwrap_or(i32::MAX), batch_index_error_message: None }
}
