//! A Kafka cluster of two brokers in this process, on loopback, that can be told to fail.
//!
//! It checks what a real one checks of an idempotent producer: CRC, sequences without gap, the last five batches of each
//! producer recognised.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use brooklet::kafka::api::ApiKey;
use brooklet::kafka::api_versions::{ApiVersion, ApiVersionsResponse};
use brooklet::kafka::create_topics::{CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse};
use brooklet::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
};
use brooklet::kafka::header::{RequestHeader, write_response};
use brooklet::kafka::init_producer_id::InitProducerIdResponse;
use brooklet::kafka::message::Message;
use brooklet::kafka::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use brooklet::kafka::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse};
use brooklet::kafka::wire::Reader;
use brooklet::record::{BatchView, VerifyLimits, decompress, records, verify};

/// What goes wrong with the next Produce request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It is appended, the connection ends before the answer.
    ReplyLost,
    /// The connection ends, nothing is appended.
    Cut,
    /// Nothing is appended, every partition gets this error.
    Code(i16),
    /// Leadership moves to the other broker, and this one says so.
    LeaderMoves,
    /// All that is known of producers is forgotten.
    ProducersForgotten,
    /// It takes a while.
    Slow(Duration),
    None,
}

#[derive(Default)]
pub struct Partition {
    pub batches: Vec<Vec<u8>>,
    producers: HashMap<i64, VecDeque<(i32, u32)>>,
}

pub struct State {
    addresses: Vec<SocketAddr>,
    pub topics: BTreeMap<String, Vec<Partition>>,
    leader: usize,
    pub faults: VecDeque<Fault>,
    pub max_message_bytes: usize,
    /// Whether it tells.
    pub tells_limits: bool,
    /// Newest timestamp that is taken.
    pub newest_timestamp: i64,
    next_producer_id: i64,
    pub denied: Vec<String>,
    pub produce_requests: usize,
    pub connections: usize,
    pub refuses: bool,
}

#[derive(Clone)]
pub struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub fn start(topics: &[(&str, usize)]) -> Self {
        let listeners: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let state = State {
            addresses: listeners.iter().map(|listener| listener.local_addr().unwrap()).collect(),
            topics: topics
                .iter()
                .map(|(name, n)| ((*name).to_owned(), (0..*n).map(|_| Partition::default()).collect()))
                .collect(),
            leader: 0,
            faults: VecDeque::new(),
            max_message_bytes: 1_048_588,
            tells_limits: true,
            newest_timestamp: i64::MAX,
            next_producer_id: 1_000,
            denied: Vec::new(),
            produce_requests: 0,
            connections: 0,
            refuses: false,
        };
        let fake = Self(Arc::new(Mutex::new(state)));
        for (node, listener) in listeners.into_iter().enumerate() {
            let fake = fake.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let fake = fake.clone();
                    fake.state().connections += 1;
                    thread::spawn(move || fake.serve(node, stream));
                }
            });
        }
        fake
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn bootstrap(&self) -> SocketAddr {
        self.state().addresses[0]
    }

    pub fn fail(&self, faults: &[Fault]) {
        self.state().faults.extend(faults);
    }

    /// The values in a topic's partition, in order.
    pub fn values(&self, topic: &str, partition: usize) -> Vec<String> {
        let state = self.state();
        let mut values = Vec::new();
        for batch in &state.topics[topic][partition].batches {
            let (view, _) = BatchView::parse(batch).unwrap();
            let payload = decompress(&view, &VerifyLimits::default()).unwrap();
            values.extend(
                records(&view, &payload).map(|r| String::from_utf8(r.unwrap().value.unwrap().to_vec()).unwrap()),
            );
        }
        values
    }

    /// Of each record in a topic's partition: the largest timestamp of its batch, and its first header's name.
    pub fn times_and_headers(&self, topic: &str, partition: usize) -> Vec<(i64, Option<String>)> {
        let state = self.state();
        let mut found = Vec::new();
        for batch in &state.topics[topic][partition].batches {
            let (view, _) = BatchView::parse(batch).unwrap();
            let payload = decompress(&view, &VerifyLimits::default()).unwrap();
            found.extend(records(&view, &payload).map(|record| {
                let header = record.unwrap().headers.next().map(|(name, _)| String::from_utf8_lossy(name).into_owned());
                (view.max_timestamp(), header)
            }));
        }
        found
    }

    fn serve(&self, node: usize, mut stream: TcpStream) -> io::Result<()> {
        if self.state().refuses {
            return Ok(());
        }
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size)?;
            let mut frame = vec![0; u32::from_be_bytes(size) as usize];
            stream.read_exact(&mut frame)?;
            let Some(answer) = self.answer(node, &frame) else { return Ok(()) };
            stream.write_all(&answer)?;
        }
    }

    fn answer(&self, node: usize, frame: &[u8]) -> Option<Vec<u8>> {
        let mut reader = Reader::new(frame);
        let header = RequestHeader::decode(&mut reader).unwrap();
        let (version, id) = (header.api_version, header.correlation_id);
        let mut out = Vec::new();
        match ApiKey::from_code(header.api_key).unwrap() {
            ApiKey::ApiVersions => write_response(&mut out, version, id, &api_versions()),
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(version, &mut reader).unwrap();
                let state = self.state();
                write_response(&mut out, version, id, &state.metadata(&request))
            }
            ApiKey::InitProducerId => {
                let mut state = self.state();
                state.next_producer_id += 1;
                let response = InitProducerIdResponse { producer_id: state.next_producer_id, ..Default::default() };
                write_response(&mut out, version, id, &response)
            }
            ApiKey::DescribeConfigs => {
                let request = DescribeConfigsRequest::decode(version, &mut reader).unwrap();
                let state = self.state();
                let max = state.max_message_bytes.to_string();
                write_response(&mut out, version, id, &state.configs(&request, &max))
            }
            ApiKey::CreateTopics => {
                let request = CreateTopicsRequest::decode(version, &mut reader).unwrap();
                write_response(&mut out, version, id, &self.state().create(&request))
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(version, &mut reader).unwrap();
                assert_eq!(request.acks, -1);
                return self.produce(node, version, id, &request);
            }
            other => panic!("{}", other.name()),
        }
        .unwrap();
        Some(out)
    }

    fn produce(&self, node: usize, version: i16, id: i32, request: &ProduceRequest<'_>) -> Option<Vec<u8>> {
        let mut state = self.state();
        state.produce_requests += 1;
        let fault = state.faults.pop_front().unwrap_or(Fault::None);
        match fault {
            Fault::Cut => return None,
            Fault::LeaderMoves => state.leader = 1 - node,
            Fault::ProducersForgotten => {
                state.topics.values_mut().flatten().for_each(|partition| partition.producers.clear());
                // As a broker that lost them and holds later batches against them.
                return Some(respond(version, id, request, |_, _, _| 59));
            }
            Fault::Slow(time) => {
                drop(state);
                thread::sleep(time);
                state = self.state();
            }
            _ => {}
        }
        let code = if let Fault::Code(code) = fault { Some(code) } else { None };
        let answer = respond(version, id, request, |topic, partition, batch| {
            code.unwrap_or_else(|| state.append(node, topic, partition, batch))
        });
        (fault != Fault::ReplyLost).then_some(answer)
    }
}

fn respond(
    version: i16,
    id: i32,
    request: &ProduceRequest<'_>,
    mut append: impl FnMut(&str, i32, &[u8]) -> i16,
) -> Vec<u8> {
    let mut response = ProduceResponse::default();
    for topic in &request.topic_data {
        let mut told = TopicProduceResponse { name: topic.name, ..Default::default() };
        for data in &topic.partition_data {
            let error_code = append(topic.name, data.index, data.records.unwrap());
            told.partition_responses.push(PartitionProduceResponse {
                index: data.index,
                error_code,
                ..Default::default()
            });
        }
        response.responses.push(told);
    }
    let mut out = Vec::new();
    write_response(&mut out, version, id, &response).unwrap();
    out
}

fn api_versions() -> ApiVersionsResponse<'static> {
    let api = |key: ApiKey, min_version, max_version| ApiVersion { api_key: key.code(), min_version, max_version };
    let api_keys = vec![
        api(ApiKey::Produce, 0, 12),
        api(ApiKey::Metadata, 0, 12),
        api(ApiKey::ApiVersions, 0, 4),
        api(ApiKey::InitProducerId, 0, 4),
        api(ApiKey::DescribeConfigs, 1, 4),
        api(ApiKey::CreateTopics, 2, 7),
    ];
    ApiVersionsResponse { api_keys, ..Default::default() }
}

impl State {
    fn metadata<'a>(&'a self, request: &MetadataRequest<'a>) -> MetadataResponse<'a> {
        let broker = |(node, address): (usize, &SocketAddr)| MetadataResponseBroker {
            node_id: node as i32,
            host: "127.0.0.1",
            port: i32::from(address.port()),
            ..Default::default()
        };
        let topic = |name: &'a str| {
            let mut told = MetadataResponseTopic { name: Some(name), ..Default::default() };
            let Some(partitions) = self.topics.get(name) else {
                told.error_code = 3;
                return told;
            };
            if self.denied.iter().any(|denied| denied == name) {
                told.error_code = 29;
                return told;
            }
            told.partitions = (0..partitions.len() as i32)
                .map(|index| MetadataResponsePartition {
                    partition_index: index,
                    leader_id: self.leader as i32,
                    ..Default::default()
                })
                .collect();
            told
        };
        MetadataResponse {
            brokers: self.addresses.iter().enumerate().map(broker).collect(),
            controller_id: 0,
            topics: request.topics.iter().flatten().filter_map(|asked| asked.name).map(topic).collect(),
            ..Default::default()
        }
    }

    fn configs<'a>(&self, request: &DescribeConfigsRequest<'a>, max: &'a str) -> DescribeConfigsResponse<'a> {
        let result = |name| DescribeConfigsResult {
            error_code: if self.tells_limits { 0 } else { 29 },
            resource_type: 2,
            resource_name: name,
            configs: vec![DescribeConfigsResourceResult {
                name: "max.message.bytes",
                value: Some(max),
                ..Default::default()
            }],
            ..Default::default()
        };
        let results = request.resources.iter().map(|resource| result(resource.resource_name)).collect();
        DescribeConfigsResponse { results, ..Default::default() }
    }

    fn create<'a>(&mut self, request: &CreateTopicsRequest<'a>) -> CreateTopicsResponse<'a> {
        let mut response = CreateTopicsResponse::default();
        for topic in &request.topics {
            let partitions = (0..topic.num_partitions.max(1)).map(|_| Partition::default()).collect();
            self.topics.insert(topic.name.to_owned(), partitions);
            response.topics.push(CreatableTopicResult { name: topic.name, ..Default::default() });
        }
        response
    }

    fn append(&mut self, node: usize, topic: &str, partition: i32, batch: &[u8]) -> i16 {
        if node != self.leader {
            return 6;
        }
        if self.denied.iter().any(|denied| denied == topic) {
            return 29;
        }
        if batch.len() > self.max_message_bytes {
            return 10;
        }
        let (view, rest) = BatchView::parse(batch).unwrap();
        assert!(rest.is_empty() && view.base_offset() == 0 && view.producer_id() > 1_000 && view.producer_epoch() == 0);
        let facts = verify(&view, &VerifyLimits::default()).unwrap();
        if facts.max_timestamp > self.newest_timestamp {
            return 32;
        }
        let partition = &mut self.topics.get_mut(topic).unwrap()[partition as usize];
        let known = partition.producers.entry(view.producer_id()).or_default();
        if known.iter().any(|(first, count)| (*first, *count) == (view.base_sequence(), view.record_count())) {
            return 46;
        }
        let expected = known.back().map(|(first, count)| first + *count as i32);
        if expected.unwrap_or(0) != view.base_sequence() {
            return 45;
        }
        known.push_back((view.base_sequence(), view.record_count()));
        if known.len() > 5 {
            known.pop_front();
        }
        partition.batches.push(batch.to_vec());
        0
    }
}
