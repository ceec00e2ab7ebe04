//! Requests to the leaders of partitions, and the answers. `refused`: nothing is done, this is the error.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use brooklet::kafka::add_offsets_to_txn::AddOffsetsToTxnRequest;
use brooklet::kafka::add_partitions_to_txn::AddPartitionsToTxnRequest;
use brooklet::kafka::api::ApiKey;
use brooklet::kafka::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use brooklet::kafka::create_topics::{CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse};
use brooklet::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
};
use brooklet::kafka::end_txn::EndTxnRequest;
use brooklet::kafka::fetch::{AbortedTransaction, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use brooklet::kafka::find_coordinator::FindCoordinatorRequest;
use brooklet::kafka::header::{RequestHeader, write_response};
use brooklet::kafka::init_producer_id::InitProducerIdRequest;
use brooklet::kafka::list_offsets::{
    EARLIEST, LATEST, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use brooklet::kafka::message::{Message, Response};
use brooklet::kafka::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use brooklet::kafka::offset_fetch::OffsetFetchRequest;
use brooklet::kafka::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use brooklet::kafka::txn_offset_commit::TxnOffsetCommitRequest;
use brooklet::kafka::wire::Reader;
use brooklet::record::{BatchView, RecordRef, VerifyLimits, decompress, records, verify};

use super::{Partition, Place, State};

/// UNKNOWN_TOPIC_OR_PARTITION.
const UNKNOWN: i16 = 3;

/// Version, correlation id and error of the request that is being answered.
pub(super) struct Ask {
    pub(super) version: i16,
    id: i32,
    refused: Option<i16>,
}

impl Ask {
    pub(super) fn answer<'a>(&self, response: &impl Response<'a>) -> Vec<u8> {
        let mut out = Vec::new();
        write_response(&mut out, self.version, self.id, response).unwrap();
        out
    }

    /// The outcome of `done`, unless the request is refused.
    pub(super) fn unless_refused<T>(&self, done: impl FnOnce() -> Result<T, i16>) -> Result<T, i16> {
        self.refused.map_or_else(done, Err)
    }

    /// Before this version clients know no PRODUCER_FENCED (KIP-588).
    pub(super) fn fenced(&self, code: i16, known_from: i16) -> i16 {
        if code == 90 && self.version < known_from { 47 } else { code }
    }
}

pub(super) fn code<T>(outcome: &Result<T, i16>) -> i16 {
    outcome.as_ref().err().copied().unwrap_or(0)
}

impl State {
    pub fn handle(&mut self, node: usize, frame: &[u8], refused: Option<i16>) -> Vec<u8> {
        let mut reader = Reader::new(frame);
        let header = RequestHeader::decode(&mut reader).unwrap();
        let (version, reader) = (header.api_version, &mut reader);
        let ask = Ask { version, id: header.correlation_id, refused };
        match ApiKey::from_code(header.api_key).unwrap() {
            ApiKey::ApiVersions => {
                ApiVersionsRequest::decode(version, reader).unwrap();
                self.api_versions(&ask)
            }
            ApiKey::Metadata => self.metadata(&ask, &MetadataRequest::decode(version, reader).unwrap()),
            ApiKey::DescribeConfigs => {
                self.describe_configs(&ask, &DescribeConfigsRequest::decode(version, reader).unwrap())
            }
            ApiKey::CreateTopics => self.create_topics(&ask, &CreateTopicsRequest::decode(version, reader).unwrap()),
            ApiKey::Produce => self.produce(&ask, node, &ProduceRequest::decode(version, reader).unwrap()),
            ApiKey::Fetch => self.fetch(&ask, node, &FetchRequest::decode(version, reader).unwrap()),
            ApiKey::ListOffsets => self.list_offsets(&ask, node, &ListOffsetsRequest::decode(version, reader).unwrap()),
            ApiKey::FindCoordinator => {
                self.find_coordinator(&ask, &FindCoordinatorRequest::decode(version, reader).unwrap())
            }
            ApiKey::InitProducerId => {
                self.init_producer_id(&ask, node, &InitProducerIdRequest::decode(version, reader).unwrap())
            }
            ApiKey::AddPartitionsToTxn => {
                self.add_partitions(&ask, node, &AddPartitionsToTxnRequest::decode(version, reader).unwrap())
            }
            ApiKey::AddOffsetsToTxn => {
                self.add_offsets(&ask, node, &AddOffsetsToTxnRequest::decode(version, reader).unwrap())
            }
            ApiKey::TxnOffsetCommit => {
                self.txn_offset_commit(&ask, node, &TxnOffsetCommitRequest::decode(version, reader).unwrap())
            }
            ApiKey::EndTxn => self.end_txn(&ask, node, &EndTxnRequest::decode(version, reader).unwrap()),
            ApiKey::OffsetFetch => self.offset_fetch(&ask, node, &OffsetFetchRequest::decode(version, reader).unwrap()),
            other => panic!("{}", other.name()),
        }
    }

    fn api_versions(&self, ask: &Ask) -> Vec<u8> {
        let api = |key: ApiKey, min_version, max_version| ApiVersion { api_key: key.code(), min_version, max_version };
        let mut api_keys = vec![
            api(ApiKey::Produce, 0, 12),
            api(ApiKey::Fetch, 4, 12),
            api(ApiKey::ListOffsets, 1, 9),
            api(ApiKey::Metadata, 0, 12),
            api(ApiKey::OffsetFetch, 1, 9),
            api(ApiKey::FindCoordinator, 0, 6),
            api(ApiKey::ApiVersions, 0, 4),
            api(ApiKey::CreateTopics, 2, 7),
            api(ApiKey::InitProducerId, 0, 5),
            api(ApiKey::DescribeConfigs, 1, 4),
        ];
        let (mut finalized_features, mut supported_features) = (Vec::new(), Vec::new());
        // 0: a broker without transactions.
        if self.coordinator.version > 0 {
            let name = "transaction.version";
            api_keys.extend([
                api(ApiKey::AddPartitionsToTxn, 0, 5),
                api(ApiKey::AddOffsetsToTxn, 0, 4),
                api(ApiKey::EndTxn, 0, 5),
                api(ApiKey::TxnOffsetCommit, 0, 5),
            ]);
            let level = self.coordinator.version;
            finalized_features.push(FinalizedFeatureKey { name, max_version_level: level, min_version_level: level });
            supported_features.push(SupportedFeatureKey { name, min_version: 0, max_version: 2 });
        }
        let finalized_features_epoch = 1;
        ask.answer(&ApiVersionsResponse {
            api_keys,
            supported_features,
            finalized_features_epoch,
            finalized_features,
            ..Default::default()
        })
    }

    fn metadata(&self, ask: &Ask, request: &MetadataRequest<'_>) -> Vec<u8> {
        let broker = |(node, address): (usize, &SocketAddr)| MetadataResponseBroker {
            node_id: node as i32,
            host: "127.0.0.1",
            port: i32::from(address.port()),
            ..Default::default()
        };
        let partition = |index| MetadataResponsePartition {
            partition_index: index,
            leader_id: self.leader as i32,
            ..Default::default()
        };
        let mut topics = Vec::new();
        for name in request.topics.iter().flatten().filter_map(|asked| asked.name) {
            let mut told = MetadataResponseTopic { name: Some(name), ..Default::default() };
            match self.topics.get(name) {
                None => told.error_code = 3,
                Some(_) if self.is_denied(name) => told.error_code = 29,
                Some(partitions) => told.partitions = (0..partitions.len() as i32).map(partition).collect(),
            }
            topics.push(told);
        }
        let known = |(node, _): &(usize, &SocketAddr)| self.hidden != Some(*node);
        let brokers = self.addresses.iter().enumerate().filter(known).map(broker).collect();
        ask.answer(&MetadataResponse { brokers, controller_id: 0, topics, ..Default::default() })
    }

    fn is_denied(&self, topic: &str) -> bool {
        self.denied.iter().any(|denied| denied == topic)
    }

    fn describe_configs(&self, ask: &Ask, request: &DescribeConfigsRequest<'_>) -> Vec<u8> {
        let max = self.max_message_bytes.to_string();
        let none = BTreeMap::new();
        let mut results = Vec::new();
        for asked in &request.resources {
            let own = self.configs.get(asked.resource_name).unwrap_or(&none);
            let each = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let setting =
                |(name, value)| DescribeConfigsResourceResult { name, value: Some(value), ..Default::default() };
            results.push(DescribeConfigsResult {
                error_code: if self.tells_limits { 0 } else { 29 },
                resource_type: 2,
                resource_name: asked.resource_name,
                configs: each.chain([("max.message.bytes", max.as_str())]).map(setting).collect(),
                ..Default::default()
            });
        }
        ask.answer(&DescribeConfigsResponse { results, ..Default::default() })
    }

    fn create_topics(&mut self, ask: &Ask, request: &CreateTopicsRequest<'_>) -> Vec<u8> {
        let mut response = CreateTopicsResponse::default();
        for topic in &request.topics {
            let outcome = ask.unless_refused(|| {
                if self.topics.contains_key(topic.name) {
                    return Err(36);
                }
                let partitions = (0..topic.num_partitions.max(1)).map(|_| Partition::default()).collect();
                self.topics.insert(topic.name.to_owned(), partitions);
                let owned = topic.configs.iter().map(|c| (c.name.to_owned(), c.value.unwrap_or_default().to_owned()));
                self.configs.insert(topic.name.to_owned(), owned.collect());
                Ok(())
            });
            let error_code = code(&outcome);
            response.topics.push(CreatableTopicResult { name: topic.name, error_code, ..Default::default() });
        }
        ask.answer(&response)
    }

    fn produce(&mut self, ask: &Ask, node: usize, request: &ProduceRequest<'_>) -> Vec<u8> {
        assert_eq!(request.acks, -1);
        let mut response = ProduceResponse::default();
        for topic in &request.topic_data {
            let mut told = TopicProduceResponse { name: topic.name, ..Default::default() };
            for data in &topic.partition_data {
                let place = (topic.name.to_owned(), data.index);
                let outcome = ask.unless_refused(|| {
                    self.append(ask.version, node, request.transactional_id, &place, data.records.unwrap())
                });
                let offenders = match outcome {
                    Err(32 | 87) if self.names_records => self.offenders(&place.0, data.records.unwrap()),
                    _ => Vec::new(),
                };
                let blame = |(batch_index, _)| BatchIndexAndErrorMessage { batch_index, ..Default::default() };
                told.partition_responses.push(PartitionProduceResponse {
                    index: data.index,
                    record_errors: offenders.into_iter().map(blame).collect(),
                    error_code: code(&outcome),
                    base_offset: outcome.unwrap_or(-1),
                    ..Default::default()
                });
            }
            response.responses.push(told);
        }
        ask.answer(&response)
    }

    /// The records of a batch that a topic doesn't take, by their place, and the code for each.
    fn offenders(&self, topic: &str, batch: &[u8]) -> Vec<(i32, i16)> {
        let (view, _) = BatchView::parse(batch).unwrap();
        let payload = decompress(&view, &VerifyLimits::default()).unwrap();
        let policy = self.configs.get(topic).and_then(|own| own.get("cleanup.policy"));
        let compacted = policy.is_some_and(|policy| policy.contains("compact"));
        let fault = |record: &RecordRef<'_>| {
            let value = String::from_utf8_lossy(record.value.unwrap_or_default());
            let invalid = self.invalid.iter().any(|bad| *bad == value) || compacted && record.key.is_none();
            if record.timestamp > self.newest_timestamp { Some(32) } else { invalid.then_some(87) }
        };
        let all = records(&view, &payload).map(Result::unwrap);
        (0..).zip(all).filter_map(|(at, record)| Some((at, fault(&record)?))).collect()
    }

    fn append(
        &mut self,
        version: i16,
        node: usize,
        name: Option<&str>,
        place: &Place,
        batch: &[u8],
    ) -> Result<i64, i16> {
        if node != self.leader {
            return Err(6);
        }
        if self.is_denied(&place.0) {
            return Err(29);
        }
        if batch.len() > self.max_message_bytes {
            return Err(10);
        }
        let (view, rest) = BatchView::parse(batch).unwrap();
        // A gateway's own notices are no part of what an idempotent producer sends; all else is.
        let may_be_notice = place.0 == "brooklet.status" && view.producer_id() == -1;
        let producer_wanted = may_be_notice || view.producer_id() > 1_000;
        assert!(rest.is_empty() && view.base_offset() == 0 && producer_wanted);
        verify(&view, &VerifyLimits::default()).unwrap();
        // As in Kafka, one bad timestamp gives the whole its code.
        if let Some(code) = self.offenders(&place.0, batch).into_iter().map(|(_, code)| code).min() {
            return Err(code);
        }
        let producer = (view.producer_id(), view.producer_epoch());
        let partition = self.topics.get_mut(&place.0).and_then(|all| all.get_mut(place.1 as usize)).ok_or(UNKNOWN)?;
        assert_eq!(view.attributes().is_transactional(), name.is_some(), "transactional id and batches disagree");
        if let Some(name) = name.filter(|_| !partition.has_open(producer.0, producer.1)) {
            let kind = (version >= 12, version >= 11);
            self.coordinator.admit(name, producer, Ok(place), kind)?;
        }
        partition.append(&view)
    }

    fn fetch(&mut self, ask: &Ask, node: usize, request: &FetchRequest<'_>) -> Vec<u8> {
        let mut blobs = Vec::new();
        for topic in &request.topics {
            for asked in &topic.partitions {
                let most = asked.partition_max_bytes.min(request.max_bytes).max(0) as usize;
                let committed = request.isolation_level == 1;
                let outcome = ask.unless_refused(|| {
                    let partition = self.led(node, topic.topic, asked.partition)?;
                    partition.read(asked.fetch_offset, committed, most)
                });
                blobs.push(outcome);
            }
        }
        self.fetched_bytes += blobs.iter().flatten().map(|(bytes, ..)| bytes.len()).sum::<usize>();
        let mut outcomes = blobs.iter();
        let mut response = FetchResponse::default();
        for topic in &request.topics {
            let mut told = FetchableTopicResponse { topic: topic.topic, ..Default::default() };
            for asked in &topic.partitions {
                let mut data = PartitionData { partition_index: asked.partition, ..Default::default() };
                match outcomes.next().unwrap() {
                    Ok((bytes, aborted, end, stable)) => {
                        (data.records, data.high_watermark, data.last_stable_offset) =
                            (Some(bytes.as_slice().into()), *end, *stable);
                        data.log_start_offset = 0;
                        data.aborted_transactions = aborted.clone();
                    }
                    Err(code) => data.error_code = *code,
                }
                told.partitions.push(data);
            }
            response.responses.push(told);
        }
        ask.answer(&response)
    }

    pub(super) fn led(&self, node: usize, topic: &str, index: i32) -> Result<&Partition, i16> {
        if node != self.leader {
            return Err(6);
        }
        if self.is_denied(topic) {
            return Err(29);
        }
        self.topics.get(topic).and_then(|all| all.get(index as usize)).ok_or(UNKNOWN)
    }

    fn list_offsets(&self, ask: &Ask, node: usize, request: &ListOffsetsRequest<'_>) -> Vec<u8> {
        let mut response = ListOffsetsResponse::default();
        for topic in &request.topics {
            let mut told = ListOffsetsTopicResponse { name: topic.name, ..Default::default() };
            for asked in &topic.partitions {
                let outcome = ask.unless_refused(|| {
                    let partition = self.led(node, topic.name, asked.partition_index)?;
                    Ok(match asked.timestamp {
                        LATEST if request.isolation_level == 1 => partition.last_stable(),
                        LATEST => partition.end(),
                        EARLIEST => 0,
                        other => panic!("offset for time {other}"),
                    })
                });
                told.partitions.push(ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: code(&outcome),
                    offset: outcome.unwrap_or(-1),
                    ..Default::default()
                });
            }
            response.topics.push(told);
        }
        ask.answer(&response)
    }
}

/// Batches, aborted transactions (with isolation), high watermark, last stable offset.
type Read = (Vec<u8>, Option<Vec<AbortedTransaction>>, i64, i64);

impl Partition {
    /// Whole batches from the one with `from` on; the first comes even if it is larger than `most`.
    fn read(&self, from: i64, committed: bool, most: usize) -> Result<Read, i16> {
        let (end, stable) = (self.end(), self.last_stable());
        if !(0..=end).contains(&from) {
            return Err(1);
        }
        let bound = if committed { stable } else { end };
        let mut bytes = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.next() > from && entry.next() <= bound) {
            if !bytes.is_empty() && bytes.len() + entry.bytes.len() > most {
                break;
            }
            bytes.extend_from_slice(&entry.bytes);
        }
        let concerns = |a: &&super::log::Aborted| a.marker >= from && a.first < bound;
        let told = |a: &super::log::Aborted| AbortedTransaction { producer_id: a.producer, first_offset: a.first };
        let aborted = committed.then(|| self.aborted.iter().filter(concerns).map(told).collect());
        Ok((bytes, aborted, end, stable))
    }
}
