//! Transactions by hand, request by request over the codec, with a transcript: to hold clusters against each other, and to be
//! the other one on a topic.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brooklet::kafka::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use brooklet::kafka::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use brooklet::kafka::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use brooklet::kafka::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use brooklet::kafka::end_txn::{EndTxnRequest, EndTxnResponse};
use brooklet::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use brooklet::kafka::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use brooklet::kafka::header::{read_response, write_request};
use brooklet::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use brooklet::kafka::message::Request;
use brooklet::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use brooklet::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use brooklet::kafka::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use brooklet::kafka::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
};
use brooklet::record::{BatchBuilder, Compression, NO_HEADERS, Producer, header};

/// How long the real cluster may take for what it does beside its answers.
const PATIENCE: Duration = Duration::from_secs(20);
/// CONCURRENT_TRANSACTIONS, UNSTABLE_OFFSET_COMMIT: passing.
const WAIT: [i16; 2] = [51, 88];
/// What brokers that don't agree yet, or a coordinator on its way, say.
const NOT_YET: [i16; 5] = [3, 5, 14, 15, 16];

/// Someone who holds transactions by hand, and a transcript of it.
pub struct Hand {
    bootstrap: String,
    streams: BTreeMap<String, TcpStream>,
    pub topic: String,
    pub partition: i32,
    /// Transactional id and group.
    pub name: String,
    /// Transactions v2.
    pub second: bool,
    pub id: i64,
    pub epoch: i16,
    /// For each answer.
    pub patience: Duration,
    pub timeout_ms: i32,
    pub said: Vec<String>,
}

impl Hand {
    /// With a topic of its own.
    pub fn new(bootstrap: &str, second: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let name = format!("by-hand-{now}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut hand = Self::on(bootstrap, &name, &name, 0, second);
        hand.create_topic();
        hand
    }

    /// On a topic that is there.
    pub fn on(bootstrap: &str, name: &str, topic: &str, partition: i32, second: bool) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            streams: BTreeMap::new(),
            topic: topic.to_owned(),
            partition,
            name: name.to_owned(),
            second,
            id: -1,
            epoch: -1,
            patience: PATIENCE,
            timeout_ms: 60_000,
            said: Vec::new(),
        }
    }

    /// The one that was copied, with another's eyes: the same names, its own connections.
    pub fn rival(&self) -> Self {
        let (bootstrap, topic, name) = (self.bootstrap.clone(), self.topic.clone(), self.name.clone());
        Self { bootstrap, topic, name, streams: BTreeMap::new(), said: Vec::new(), ..*self }
    }

    pub fn call<'a, M: Request<'a>, T>(
        &mut self,
        address: &str,
        version: i16,
        request: &M,
        read: impl FnOnce(&[u8]) -> T,
    ) -> T {
        read(&self.try_call(address, version, request).unwrap())
    }

    pub fn try_call<'a, M: Request<'a>>(&mut self, address: &str, version: i16, request: &M) -> io::Result<Vec<u8>> {
        let mut stream = match self.streams.remove(address) {
            Some(stream) => stream,
            None => TcpStream::connect(address)?,
        };
        stream.set_read_timeout(Some(self.patience))?;
        let mut bytes = Vec::new();
        write_request(&mut bytes, version, 7, Some("by hand"), request).unwrap();
        stream.write_all(&bytes)?;
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut frame)?;
        self.streams.insert(address.to_owned(), stream);
        Ok(frame)
    }

    /// Asks until the answer is not one of `passing`.
    fn settle<T>(&mut self, passing: &[i16], mut ask: impl FnMut(&mut Self) -> (i16, T)) -> (i16, T) {
        let begin = Instant::now();
        loop {
            let (code, more) = ask(self);
            if !passing.contains(&code) {
                return (code, more);
            }
            assert!(begin.elapsed() < PATIENCE, "still {code}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn create_topic(&mut self) {
        let name = self.topic.clone();
        let topic = CreatableTopic { name: &name, num_partitions: 1, replication_factor: -1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let seed = self.bootstrap.clone();
        let code = self.call(&seed, 4, &request, |frame| {
            read_response::<CreateTopicsResponse<'_>>(4, frame).unwrap().1.topics[0].error_code
        });
        assert_eq!(code, 0);
        self.leader();
    }

    pub fn leader(&mut self) -> String {
        let (name, seed, index) = (self.topic.clone(), self.bootstrap.clone(), self.partition);
        let topics = Some(vec![MetadataRequestTopic { name: Some(&name), ..Default::default() }]);
        let request = MetadataRequest { topics, ..Default::default() };
        let ask = |hand: &mut Self| {
            hand.call(&seed, 9, &request, |frame| {
                let (_, told) = read_response::<MetadataResponse<'_>>(9, frame).unwrap();
                let code = told.topics[0].error_code;
                let mut partitions = told.topics[0].partitions.iter();
                let own = partitions.find(|partition| partition.partition_index == index);
                let leader = own.map_or(-1, |partition| partition.leader_id);
                let broker = told.brokers.iter().find(|broker| broker.node_id == leader);
                let code = if broker.is_none() && code == 0 { 5 } else { code };
                (code, broker.map(|broker| format!("{}:{}", broker.host, broker.port)))
            })
        };
        self.settle(&NOT_YET, ask).1.unwrap()
    }

    pub fn coordinator(&mut self, key_type: i8) -> String {
        let (name, seed) = (self.name.clone(), self.bootstrap.clone());
        let request = FindCoordinatorRequest { key: &name, key_type, ..Default::default() };
        let ask = |hand: &mut Self| {
            hand.call(&seed, 2, &request, |frame| {
                let (_, told) = read_response::<FindCoordinatorResponse<'_>>(2, frame).unwrap();
                (told.error_code, format!("{}:{}", told.host, told.port))
            })
        };
        self.settle(&NOT_YET, ask).1
    }

    /// InitProducerId while a transaction is open: the first answer is 51.
    pub fn init_while_open(&mut self, own: bool) {
        assert_eq!(self.init(own), Some(51));
    }

    /// InitProducerId until it isn't 51; with the producer id and epoch if `own`. The first answer.
    pub fn init(&mut self, own: bool) -> Option<i16> {
        let (name, address) = (self.name.clone(), self.coordinator(1));
        let (producer_id, producer_epoch) = if own { (self.id, self.epoch) } else { (-1, -1) };
        let request = InitProducerIdRequest {
            transactional_id: Some(&name),
            transaction_timeout_ms: self.timeout_ms,
            producer_id,
            producer_epoch,
        };
        let mut first = None;
        let ask = |hand: &mut Self| {
            let told = hand.call(&address, 4, &request, |frame| {
                let (_, told) = read_response::<InitProducerIdResponse>(4, frame).unwrap();
                (told.error_code, (told.producer_id, told.producer_epoch))
            });
            if !NOT_YET.contains(&told.0) {
                first.get_or_insert(told.0);
            }
            told
        };
        let (code, told) = self.settle(&[&NOT_YET[..], &WAIT].concat(), ask);
        if code == 0 {
            (self.id, self.epoch) = told;
        }
        let own = if own { " own" } else { "" };
        self.said.push(format!("init{own}: {code}, epoch {}", self.epoch));
        first
    }

    pub fn add(&mut self) {
        let (name, topic, address) = (self.name.clone(), self.topic.clone(), self.coordinator(1));
        let request = AddPartitionsToTxnRequest {
            transactional_id: &name,
            producer_id: self.id,
            producer_epoch: self.epoch,
            topics: vec![AddPartitionsToTxnTopic { name: &topic, partitions: vec![self.partition] }],
        };
        let ask = |hand: &mut Self| {
            hand.call(&address, 3, &request, |frame| {
                let (_, told) = read_response::<AddPartitionsToTxnResponse<'_>>(3, frame).unwrap();
                (told.results_by_topic[0].results_by_partition[0].partition_error_code, ())
            })
        };
        let (code, ()) = self.settle(&WAIT, ask);
        self.said.push(format!("add partition: {code}"));
    }

    /// A batch of these values.
    pub fn produce(&mut self, sequence: i32, values: &[&str]) {
        let (name, topic, address) = (self.name.clone(), self.topic.clone(), self.leader());
        let mut builder = BatchBuilder::new();
        // Not long ago: else the marker would begin a segment, and an answer to Fetch never holds two.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        for value in values {
            builder.push(now, None, Some(value.as_bytes()), NO_HEADERS).unwrap();
        }
        let mut batch = builder.finish(Compression::None);
        let producer = Producer { id: self.id, epoch: self.epoch, base_sequence: sequence };
        header::rewrite_for_forward(&mut batch, producer, true).unwrap();
        let partition_data = vec![PartitionProduceData { index: self.partition, records: Some(&batch) }];
        let request = ProduceRequest {
            transactional_id: Some(&name),
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![TopicProduceData { name: &topic, partition_data }],
        };
        let version = if self.second { 12 } else { 11 };
        let ask = |hand: &mut Self| {
            hand.call(&address, version, &request, |frame| {
                let (_, told) = read_response::<ProduceResponse<'_>>(version, frame).unwrap();
                let told = &told.responses[0].partition_responses[0];
                (told.error_code, told.base_offset)
            })
        };
        // Also a leader that doesn't know yet that it is one, or that asked the coordinator meanwhile (19).
        let (code, offset) = self.settle(&[3, 6, 19, 51], ask);
        self.said.push(format!("produce {sequence}: {code}, offset {offset}"));
    }

    pub fn add_offsets(&mut self) {
        let (name, address) = (self.name.clone(), self.coordinator(1));
        let request = AddOffsetsToTxnRequest {
            transactional_id: &name,
            producer_id: self.id,
            producer_epoch: self.epoch,
            group_id: &name,
        };
        let ask = |hand: &mut Self| {
            hand.call(&address, 3, &request, |frame| {
                (read_response::<AddOffsetsToTxnResponse>(3, frame).unwrap().1.error_code, ())
            })
        };
        let (code, ()) = self.settle(&WAIT, ask);
        self.said.push(format!("add group: {code}"));
    }

    pub fn commit_offset(&mut self, offset: i64) {
        let (name, topic, address) = (self.name.clone(), self.topic.clone(), self.coordinator(0));
        let partition = TxnOffsetCommitRequestPartition {
            partition_index: self.partition,
            committed_offset: offset,
            committed_metadata: Some("witness"),
            ..Default::default()
        };
        let request = TxnOffsetCommitRequest {
            transactional_id: &name,
            group_id: &name,
            producer_id: self.id,
            producer_epoch: self.epoch,
            topics: vec![TxnOffsetCommitRequestTopic { name: &topic, partitions: vec![partition] }],
            ..Default::default()
        };
        let version = if self.second { 5 } else { 4 };
        let ask = |hand: &mut Self| {
            hand.call(&address, version, &request, |frame| {
                let (_, told) = read_response::<TxnOffsetCommitResponse<'_>>(version, frame).unwrap();
                (told.topics[0].partitions[0].error_code, ())
            })
        };
        let (code, ()) = self.settle(&[&NOT_YET[..], &WAIT].concat(), ask);
        self.said.push(format!("offset {offset}: {code}"));
    }

    /// With `settled`, once it isn't 88 any more.
    pub fn offsets(&mut self, require_stable: bool, settled: bool) {
        let (name, topic, address) = (self.name.clone(), self.topic.clone(), self.coordinator(0));
        let topics = Some(vec![OffsetFetchRequestTopics { name: &topic, partition_indexes: vec![self.partition] }]);
        let groups = vec![OffsetFetchRequestGroup { group_id: &name, topics, ..Default::default() }];
        let request = OffsetFetchRequest { groups, require_stable, ..Default::default() };
        let ask = |hand: &mut Self| {
            hand.call(&address, 8, &request, |frame| {
                let (_, told) = read_response::<OffsetFetchResponse<'_>>(8, frame).unwrap();
                let partition = &told.groups[0].topics[0].partitions[0];
                let metadata = partition.metadata.unwrap_or_default();
                (partition.error_code, format!("{} {metadata:?}", partition.committed_offset))
            })
        };
        let (code, told) = self.settle(if settled { &WAIT } else { &[] }, ask);
        self.said.push(format!("group has: {code}, {told}"));
    }

    /// DeleteGroups: as if its offsets had expired.
    pub fn forget_group(&mut self) -> i16 {
        let (name, address) = (self.name.clone(), self.coordinator(0));
        let request = DeleteGroupsRequest { groups_names: vec![&name] };
        self.call(&address, 1, &request, |frame| {
            read_response::<DeleteGroupsResponse<'_>>(1, frame).unwrap().1.results[0].error_code
        })
    }

    pub fn end(&mut self, committed: bool) {
        let (name, address) = (self.name.clone(), self.coordinator(1));
        let request =
            EndTxnRequest { transactional_id: &name, producer_id: self.id, producer_epoch: self.epoch, committed };
        let version = if self.second { 5 } else { 4 };
        let ask = |hand: &mut Self| {
            hand.call(&address, version, &request, |frame| {
                let (_, told) = read_response::<EndTxnResponse>(version, frame).unwrap();
                (told.error_code, told.producer_epoch)
            })
        };
        let (code, epoch) = self.settle(&WAIT, ask);
        let what = if committed { "commit" } else { "abort" };
        self.said.push(format!("{what}: {code}, next epoch {epoch}"));
    }

    /// What the last EndTxn of transactions v2 gave.
    pub fn take_next_epoch(&mut self) {
        if self.second {
            self.epoch += 1;
        }
    }

    /// Until the end of the transaction is in the log: batches and aborted transactions that read_committed gives from the
    /// beginning, and the last stable offset.
    pub fn fetch(&mut self, stable_at: i64) {
        let (topic, address) = (self.topic.clone(), self.leader());
        let partitions =
            vec![FetchPartition { partition: self.partition, partition_max_bytes: 1 << 20, ..Default::default() }];
        let topics = vec![FetchTopic { topic: &topic, partitions }];
        let request = FetchRequest { isolation_level: 1, topics, max_wait_ms: 10, ..Default::default() };
        let ask = |hand: &mut Self| {
            hand.call(&address, 11, &request, |frame| {
                let (_, told) = read_response::<FetchResponse<'_>>(11, frame).unwrap();
                let told = &told.responses[0].partitions[0];
                let aborted: Vec<_> = told.aborted_transactions.iter().flatten().map(|a| a.first_offset).collect();
                let bytes = told.records.map_or(0, |records| records.bytes().len());
                let stable = told.last_stable_offset;
                (
                    if stable == stable_at { 0 } else { 51 },
                    format!("stable {stable}, {bytes} bytes, aborted {aborted:?}"),
                )
            })
        };
        let (_, told) = self.settle(&WAIT, ask);
        self.said.push(format!("read: {told}"));
    }

    pub fn open(&mut self, values: &[&str]) {
        if !self.second {
            self.add();
        }
        self.produce(0, values);
    }
}
