//! The requests behind each question, and what their answers say. Nothing here retries or decides.

use super::committed::Committed;
use super::cursor::{self, CURSORS};
use super::question::{Ask, Heard, Role};
use super::reading::{READ_BYTES, edge, read};
use super::trouble::Failure;
use crate::kafka::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use crate::kafka::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use crate::kafka::api::ApiKey;
use crate::kafka::end_txn::{EndTxnRequest, EndTxnResponse};
use crate::kafka::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::kafka::header::read_response;
use crate::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::kafka::list_offsets::EARLIEST;
use crate::kafka::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use crate::kafka::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
};
use crate::uplink::link::cluster::{ClusterError, Link};
use crate::uplink::link::versions::Protocol;
use crate::uplink::sending::producer::{Identity, LaneId};

/// All that a request may need.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// The transactional id, and the group.
    pub(super) id: String,
    pub(super) protocol: Protocol,
    pub(super) identity: Option<Identity>,
    pub(super) timeout_ms: i32,
    /// Of this transaction: its number, what is committed beside it, and the partition that it is an offset of.
    pub(super) number: u64,
    pub(super) metadata: String,
    pub(super) partition: i32,
    /// What the next records continue.
    pub(super) log: Option<Committed>,
}

impl Failure {
    pub(super) fn of(error: ClusterError) -> Self {
        match error {
            ClusterError::Link(error) => Self::silence(error),
            // A broker of another version than the one that was asked first: others may do.
            ClusterError::Version(error) | ClusterError::NoTransactions(error) => Self::silence(error),
            ClusterError::Refused { code, text, .. } => Self { code: Some(code), text },
        }
    }
}

pub(super) fn checked(code: i16) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(Failure::code(code)) }
}

/// Puts a question to the broker behind `link`, and waits for the answer. [`Ask::Record`] is not for brokers.
pub(super) async fn put(ask: Ask, link: Link, context: Context) -> Option<Heard> {
    Some(match ask {
        Ask::Coordinator(role) => Heard::Coordinator(role, coordinator(&link, &context, role).await),
        Ask::Producer { keep } => Heard::Producer(producer(&link, &context, keep).await),
        Ask::Witness => Heard::Witness(witness(&link, &context).await),
        Ask::First { partition } => Heard::First(edge(&link, (CURSORS, partition), EARLIEST).await),
        Ask::Read { from, all } => {
            // One batch comes whole, however little is asked for (KIP-74).
            let bytes_max = if all { READ_BYTES } else { 1 };
            let log = context.log.unwrap_or_else(|| Committed::from(from.offset));
            Heard::Read(read(&link, (CURSORS, from.partition), from.offset, log, bytes_max).await)
        }
        Ask::Partitions(lanes) => {
            let result = add_partitions(&link, &context, &lanes).await;
            Heard::Partitions(lanes, result)
        }
        Ask::Group => Heard::Group(add_group(&link, &context).await),
        Ask::CommitWitness => Heard::CommitWitness(commit_witness(&link, &context).await),
        Ask::End { commit } => Heard::End(end(&link, &context, commit).await),
        Ask::Record => return None,
    })
}

async fn coordinator(link: &Link, context: &Context, role: Role) -> Result<i32, Failure> {
    let key_type = match role {
        Role::Group => 0,
        Role::Transactions => 1,
    };
    let request = FindCoordinatorRequest { key: &context.id, key_type, ..Default::default() };
    let told = link.ask(&request, |version, frame| {
        let (_, told) = read_response::<FindCoordinatorResponse<'_>>(version, frame)?;
        Ok((told.error_code, told.error_message.unwrap_or_default().to_owned(), told.node_id))
    });
    let (code, text, node) = told.await.map_err(Failure::of)?;
    if code == 0 { Ok(node) } else { Err(Failure { code: Some(code), text }) }
}

async fn producer(link: &Link, context: &Context, keep: Option<Identity>) -> Result<Identity, Failure> {
    let request = InitProducerIdRequest {
        transactional_id: Some(&context.id),
        transaction_timeout_ms: context.timeout_ms,
        producer_id: keep.map_or(-1, |identity| identity.id),
        producer_epoch: keep.map_or(-1, |identity| identity.epoch),
    };
    let told = link.ask(&request, |version, frame| {
        let (_, told) = read_response::<InitProducerIdResponse>(version, frame)?;
        Ok((told.error_code, Identity { id: told.producer_id, epoch: told.producer_epoch }))
    });
    let (code, identity) = told.await.map_err(Failure::of)?;
    checked(code)?;
    Ok(identity)
}

/// The group's offset with the highest number: of one partition, unless their count was changed once.
async fn witness(link: &Link, context: &Context) -> Result<Option<cursor::Witness>, Failure> {
    let request =
        OffsetFetchRequest { group_id: &context.id, topics: None, require_stable: true, ..Default::default() };
    let told = link.ask(&request, |version, frame| {
        let (_, told) = read_response::<OffsetFetchResponse<'_>>(version, frame)?;
        let of_cursors = told.topics.iter().filter(|topic| topic.name == CURSORS).flat_map(|topic| &topic.partitions);
        let of_cursors: Vec<_> = of_cursors.collect();
        if let Some(code) = of_cursors.iter().map(|p| p.error_code).chain([told.error_code]).find(|code| *code != 0) {
            return Ok(Err(Failure::code(code)));
        }
        let witness = |p: &crate::kafka::offset_fetch::OffsetFetchResponsePartition<'_>| {
            let number = u64::try_from(p.committed_offset).ok()?;
            let of = p.metadata.and_then(cursor::read_metadata);
            Some(cursor::Witness { partition: p.partition_index, number, of })
        };
        Ok(Ok(of_cursors.into_iter().filter_map(witness).max_by_key(|witness| witness.number)))
    });
    told.await.map_err(Failure::of)?
}

async fn add_partitions(link: &Link, context: &Context, lanes: &[LaneId]) -> Result<Vec<(LaneId, Failure)>, Failure> {
    let identity = owner(context)?;
    let mut topics: Vec<AddPartitionsToTxnTopic<'_>> = Vec::new();
    for (topic, partition) in lanes {
        match topics.last_mut().filter(|last| *last.name == **topic) {
            Some(last) => last.partitions.push(*partition),
            None => topics.push(AddPartitionsToTxnTopic { name: topic, partitions: vec![*partition] }),
        }
    }
    let request = AddPartitionsToTxnRequest {
        transactional_id: &context.id,
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        topics,
    };
    let told = link.ask(&request, |version, frame| {
        let (_, told) = read_response::<AddPartitionsToTxnResponse<'_>>(version, frame)?;
        let mut refused = Vec::new();
        for topic in &told.results_by_topic {
            let failed = topic.results_by_partition.iter().filter(|partition| partition.partition_error_code != 0);
            refused.extend(failed.map(|partition| {
                let lane = (topic.name.into(), partition.partition_index);
                (lane, Failure::code(partition.partition_error_code))
            }));
        }
        Ok(refused)
    });
    told.await.map_err(Failure::of)
}

async fn add_group(link: &Link, context: &Context) -> Result<(), Failure> {
    let identity = owner(context)?;
    let request = AddOffsetsToTxnRequest {
        transactional_id: &context.id,
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        group_id: &context.id,
    };
    let told =
        link.ask(&request, |version, frame| Ok(read_response::<AddOffsetsToTxnResponse>(version, frame)?.1.error_code));
    checked(told.await.map_err(Failure::of)?)
}

async fn commit_witness(link: &Link, context: &Context) -> Result<(), Failure> {
    let identity = owner(context)?;
    let partition = TxnOffsetCommitRequestPartition {
        partition_index: context.partition,
        committed_offset: i64::try_from(context.number).unwrap_or(i64::MAX),
        committed_metadata: Some(&context.metadata),
        ..Default::default()
    };
    let request = TxnOffsetCommitRequest {
        transactional_id: &context.id,
        group_id: &context.id,
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        generation_id: -1,
        topics: vec![TxnOffsetCommitRequestTopic { name: CURSORS, partitions: vec![partition] }],
        ..Default::default()
    };
    let told = link.ask_below(context.protocol.version_max(ApiKey::TxnOffsetCommit), &request, |version, frame| {
        let (_, told) = read_response::<TxnOffsetCommitResponse<'_>>(version, frame)?;
        Ok(told.topics.first().and_then(|topic| topic.partitions.first()).map_or(-1, |partition| partition.error_code))
    });
    checked(told.await.map_err(Failure::of)?)
}

async fn end(link: &Link, context: &Context, committed: bool) -> Result<Option<Identity>, Failure> {
    let identity = owner(context)?;
    let request = EndTxnRequest {
        transactional_id: &context.id,
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        committed,
    };
    let told = link.ask_below(context.protocol.version_max(ApiKey::EndTxn), &request, |version, frame| {
        let (_, told) = read_response::<EndTxnResponse>(version, frame)?;
        let next = Identity { id: told.producer_id, epoch: told.producer_epoch };
        Ok((told.error_code, (next.id >= 0).then_some(next)))
    });
    let (code, next) = told.await.map_err(Failure::of)?;
    checked(code)?;
    Ok(next)
}

fn owner(context: &Context) -> Result<Identity, Failure> {
    context.identity.ok_or_else(|| Failure::silence("there is no producer id yet"))
}
