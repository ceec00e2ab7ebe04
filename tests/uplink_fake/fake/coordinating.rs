//! Requests to the coordinators of transactions and groups, and the answers.

use std::collections::BTreeMap;

use brooklet::kafka::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use brooklet::kafka::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopicResult,
};
use brooklet::kafka::end_txn::{EndTxnRequest, EndTxnResponse};
use brooklet::kafka::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use brooklet::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use brooklet::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use brooklet::kafka::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

use super::serving::{Ask, code};
use super::{Committed, Place, State};

const NOT_COORDINATOR: i16 = 16;

impl State {
    pub(super) fn find_coordinator<'a>(&self, ask: &Ask, request: &FindCoordinatorRequest<'a>) -> Vec<u8> {
        let node = if request.key_type == 1 { self.transaction_coordinator } else { self.group_coordinator };
        let outcome = ask.unless_refused(|| Ok((node as i32, i32::from(self.addresses[node].port()))));
        let (error_code, (node_id, port)) = (code(&outcome), outcome.unwrap_or((-1, -1)));
        let host = if node_id < 0 { "" } else { "127.0.0.1" };
        let found = |key: &&'a str| Coordinator { key, node_id, host, port, error_code, error_message: None };
        let coordinators = request.coordinator_keys.iter().map(found).collect();
        ask.answer(&FindCoordinatorResponse { error_code, node_id, host, port, coordinators, ..Default::default() })
    }

    pub(super) fn init_producer_id(&mut self, ask: &Ask, node: usize, request: &InitProducerIdRequest<'_>) -> Vec<u8> {
        let outcome = ask.unless_refused(|| {
            let Some(name) = request.transactional_id else { return Ok((self.coordinator.new_id(), 0)) };
            self.coordinates_transactions(node)?;
            let expected = (request.producer_id >= 0).then_some((request.producer_id, request.producer_epoch));
            self.coordinator.init(name, request.transaction_timeout_ms, expected)
        });
        let error_code = ask.fenced(code(&outcome), 4);
        let (producer_id, producer_epoch) = outcome.unwrap_or((-1, -1));
        ask.answer(&InitProducerIdResponse { error_code, producer_id, producer_epoch, ..Default::default() })
    }

    fn coordinates_transactions(&self, node: usize) -> Result<(), i16> {
        if node == self.transaction_coordinator { Ok(()) } else { Err(NOT_COORDINATOR) }
    }

    fn coordinates_groups(&self, node: usize) -> Result<(), i16> {
        if node == self.group_coordinator { Ok(()) } else { Err(NOT_COORDINATOR) }
    }

    pub(super) fn add_partitions(
        &mut self,
        ask: &Ask,
        node: usize,
        request: &AddPartitionsToTxnRequest<'_>,
    ) -> Vec<u8> {
        let named = request.topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name.to_owned(), *p)));
        let places: Vec<Place> = named.collect();
        let missing = |place: &Place| self.led(self.leader, &place.0, place.1).err();
        let refusals: Vec<Option<i16>> = places.iter().map(missing).collect();
        let outcome = ask.unless_refused(|| {
            self.coordinates_transactions(node)?;
            if refusals.iter().any(Option::is_some) {
                // None is added where one can't be.
                return Err(55);
            }
            let producer = (request.producer_id, request.producer_epoch);
            self.coordinator.add(request.transactional_id, producer, &places, None)
        });
        let common = ask.fenced(code(&outcome), 2);
        let mut each = refusals.into_iter().map(|refusal| if common == 55 { refusal.unwrap_or(55) } else { common });
        let mut response = AddPartitionsToTxnResponse::default();
        for topic in &request.topics {
            let result = |(index, code)| AddPartitionsToTxnPartitionResult {
                partition_index: index,
                partition_error_code: code,
            };
            response.results_by_topic.push(AddPartitionsToTxnTopicResult {
                name: topic.name,
                results_by_partition: topic.partitions.iter().copied().zip(each.by_ref()).map(result).collect(),
            });
        }
        ask.answer(&response)
    }

    pub(super) fn add_offsets(&mut self, ask: &Ask, node: usize, request: &AddOffsetsToTxnRequest<'_>) -> Vec<u8> {
        let outcome = ask.unless_refused(|| {
            self.coordinates_transactions(node)?;
            let producer = (request.producer_id, request.producer_epoch);
            self.coordinator.add(request.transactional_id, producer, &[], Some(request.group_id))
        });
        ask.answer(&AddOffsetsToTxnResponse { error_code: ask.fenced(code(&outcome), 2), ..Default::default() })
    }

    pub(super) fn txn_offset_commit(
        &mut self,
        ask: &Ask,
        node: usize,
        request: &TxnOffsetCommitRequest<'_>,
    ) -> Vec<u8> {
        let producer = (request.producer_id, request.producer_epoch);
        let admitted = ask.unless_refused(|| {
            self.coordinates_groups(node)?;
            let kind = (ask.version >= 5, ask.version >= 4);
            self.coordinator.admit(request.transactional_id, producer, Err(request.group_id), kind)
        });
        let mut response = TxnOffsetCommitResponse::default();
        for topic in &request.topics {
            let mut told = TxnOffsetCommitResponseTopic { name: topic.name, ..Default::default() };
            for asked in &topic.partitions {
                let outcome = admitted.and_then(|()| {
                    let place = (topic.name.to_owned(), asked.partition_index);
                    self.led(self.leader, &place.0, place.1)?;
                    let committed: Committed =
                        (asked.committed_offset, asked.committed_metadata.unwrap_or_default().to_owned());
                    self.groups.entry(request.group_id.to_owned()).or_default().hold(producer.0, place, committed);
                    Ok(())
                });
                let (partition_index, error_code) = (asked.partition_index, code(&outcome));
                told.partitions.push(TxnOffsetCommitResponsePartition { partition_index, error_code });
            }
            response.topics.push(told);
        }
        ask.answer(&response)
    }

    pub(super) fn end_txn(&mut self, ask: &Ask, node: usize, request: &EndTxnRequest<'_>) -> Vec<u8> {
        let outcome = ask.unless_refused(|| {
            self.coordinates_transactions(node)?;
            let producer = (request.producer_id, request.producer_epoch);
            self.coordinator.end(request.transactional_id, producer, request.committed, ask.version >= 5)
        });
        let error_code = ask.fenced(code(&outcome), 2);
        let (producer_id, producer_epoch) = outcome.unwrap_or((-1, -1));
        ask.answer(&EndTxnResponse { error_code, producer_id, producer_epoch, ..Default::default() })
    }

    pub(super) fn offset_fetch(&self, ask: &Ask, node: usize, request: &OffsetFetchRequest<'_>) -> Vec<u8> {
        let refused = ask.unless_refused(|| self.coordinates_groups(node)).err().unwrap_or(0);
        let look = |group: &str, topic: &str, index: i32| -> Result<Committed, i16> {
            let place = (topic.to_owned(), index);
            let none = Ok((-1, String::new()));
            self.groups.get(group).map_or(none, |group| group.fetch(&place, request.require_stable))
        };
        let mut found: BTreeMap<(&str, &str, i32), Result<Committed, i16>> = BTreeMap::new();
        let topics = request.topics.as_deref().unwrap_or_default();
        for (topic, index) in topics.iter().flat_map(|t| t.partition_indexes.iter().map(move |p| (t.name, *p))) {
            found.insert((request.group_id, topic, index), look(request.group_id, topic, index));
        }
        if request.topics.is_none()
            && let Some(group) = self.groups.get(request.group_id)
        {
            for place in group.places() {
                found.insert((request.group_id, &place.0, place.1), look(request.group_id, &place.0, place.1));
            }
        }
        for group in &request.groups {
            let topics = group.topics.as_ref().expect("the client names the partitions");
            for (topic, index) in topics.iter().flat_map(|t| t.partition_indexes.iter().map(move |p| (t.name, *p))) {
                found.insert((group.group_id, topic, index), look(group.group_id, topic, index));
            }
        }
        let parts = |key| match &found[&key] {
            Ok((offset, metadata)) => (*offset, Some(metadata.as_str()), 0),
            Err(code) => (-1, Some(""), *code),
        };
        let old = |group, topic, index| {
            let (committed_offset, metadata, error_code) = parts((group, topic, index));
            let committed_leader_epoch = -1;
            let partition_index = index;
            OffsetFetchResponsePartition {
                partition_index,
                committed_offset,
                committed_leader_epoch,
                metadata,
                error_code,
            }
        };
        let new = |group, topic, index| {
            let (committed_offset, metadata, error_code) = parts((group, topic, index));
            let committed_leader_epoch = -1;
            let partition_index = index;
            OffsetFetchResponsePartitions {
                partition_index,
                committed_offset,
                committed_leader_epoch,
                metadata,
                error_code,
            }
        };
        let mut response = OffsetFetchResponse { error_code: refused, ..Default::default() };
        if refused == 0 {
            for topic in topics {
                let partitions =
                    topic.partition_indexes.iter().map(|p| old(request.group_id, topic.name, *p)).collect();
                response.topics.push(OffsetFetchResponseTopic { name: topic.name, partitions });
            }
            if request.topics.is_none() {
                let each = found.keys().filter(|(group, _, _)| *group == request.group_id);
                response.topics.extend(each.map(|(group, name, index)| OffsetFetchResponseTopic {
                    name,
                    partitions: vec![old(group, name, *index)],
                }));
            }
        }
        for group in &request.groups {
            let mut told =
                OffsetFetchResponseGroup { group_id: group.group_id, error_code: refused, ..Default::default() };
            for topic in group.topics.iter().flatten().filter(|_| refused == 0) {
                let partitions = topic.partition_indexes.iter().map(|p| new(group.group_id, topic.name, *p)).collect();
                told.topics.push(OffsetFetchResponseTopics { name: topic.name, partitions });
            }
            response.groups.push(told);
        }
        ask.answer(&response)
    }
}
