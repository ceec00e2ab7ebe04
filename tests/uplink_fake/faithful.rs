//! The fake cluster keeps the rules of the real one: the same conversations, word by word, with both.
//!
//! With the real one where `BROOKLET_TEST_KAFKA` says (scripts/interop.sh). What is said stands in `transactions-N.txt`, for
//! people to read; N is the cluster's `transaction.version`: 2 takes both protocols, 1 the old one only.

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
use brooklet::kafka::api::ApiKey;
use brooklet::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use brooklet::kafka::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
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

use crate::fake::{Fake, Fault};

/// How long the real cluster may take for what it does beside its answers.
const PATIENCE: Duration = Duration::from_secs(20);
/// CONCURRENT_TRANSACTIONS, UNSTABLE_OFFSET_COMMIT: passing.
const WAIT: [i16; 2] = [51, 88];
/// What brokers that don't agree yet, or a coordinator on its way, say.
const NOT_YET: [i16; 5] = [3, 5, 14, 15, 16];

/// Someone who holds transactions by hand, and a transcript of it.
struct Hand {
    bootstrap: String,
    streams: BTreeMap<String, TcpStream>,
    topic: String,
    /// Transactional id and group.
    name: String,
    /// Transactions v2.
    second: bool,
    id: i64,
    epoch: i16,
    /// For each answer.
    patience: Duration,
    timeout_ms: i32,
    said: Vec<String>,
}

impl Hand {
    fn new(bootstrap: &str, second: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let name = format!("by-hand-{now}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (streams, said) = (BTreeMap::new(), Vec::new());
        let mut hand = Self {
            bootstrap: bootstrap.to_owned(),
            streams,
            topic: name.clone(),
            name,
            second,
            id: -1,
            epoch: -1,
            patience: PATIENCE,
            timeout_ms: 60_000,
            said,
        };
        hand.create_topic();
        hand
    }

    /// The one that was copied, with another's eyes: the same names, its own connections.
    fn rival(&self) -> Self {
        let (bootstrap, topic, name) = (self.bootstrap.clone(), self.topic.clone(), self.name.clone());
        Self { bootstrap, topic, name, streams: BTreeMap::new(), said: Vec::new(), ..*self }
    }

    fn call<'a, M: Request<'a>, T>(
        &mut self,
        address: &str,
        version: i16,
        request: &M,
        read: impl FnOnce(&[u8]) -> T,
    ) -> T {
        read(&self.try_call(address, version, request).unwrap())
    }

    fn try_call<'a, M: Request<'a>>(&mut self, address: &str, version: i16, request: &M) -> io::Result<Vec<u8>> {
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

    fn leader(&mut self) -> String {
        let (name, seed) = (self.topic.clone(), self.bootstrap.clone());
        let topics = Some(vec![MetadataRequestTopic { name: Some(&name), ..Default::default() }]);
        let request = MetadataRequest { topics, ..Default::default() };
        let ask = |hand: &mut Self| {
            hand.call(&seed, 9, &request, |frame| {
                let (_, told) = read_response::<MetadataResponse<'_>>(9, frame).unwrap();
                let code = told.topics[0].error_code;
                let leader = told.topics[0].partitions.first().map_or(-1, |partition| partition.leader_id);
                let broker = told.brokers.iter().find(|broker| broker.node_id == leader);
                let code = if broker.is_none() && code == 0 { 5 } else { code };
                (code, broker.map(|broker| format!("{}:{}", broker.host, broker.port)))
            })
        };
        self.settle(&NOT_YET, ask).1.unwrap()
    }

    fn coordinator(&mut self, key_type: i8) -> String {
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
    fn init_while_open(&mut self, own: bool) {
        assert_eq!(self.init(own), Some(51));
    }

    /// InitProducerId until it isn't 51; with the producer id and epoch if `own`. The first answer.
    fn init(&mut self, own: bool) -> Option<i16> {
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

    fn add(&mut self) {
        let (name, topic, address) = (self.name.clone(), self.topic.clone(), self.coordinator(1));
        let request = AddPartitionsToTxnRequest {
            transactional_id: &name,
            producer_id: self.id,
            producer_epoch: self.epoch,
            topics: vec![AddPartitionsToTxnTopic { name: &topic, partitions: vec![0] }],
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
    fn produce(&mut self, sequence: i32, values: &[&str]) {
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
        let partition_data = vec![PartitionProduceData { index: 0, records: Some(&batch) }];
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

    fn add_offsets(&mut self) {
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

    fn commit_offset(&mut self, offset: i64) {
        let (name, topic, address) = (self.name.clone(), self.topic.clone(), self.coordinator(0));
        let partition = TxnOffsetCommitRequestPartition {
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
    fn offsets(&mut self, require_stable: bool, settled: bool) {
        let (name, topic, address) = (self.name.clone(), self.topic.clone(), self.coordinator(0));
        let topics = Some(vec![OffsetFetchRequestTopics { name: &topic, partition_indexes: vec![0] }]);
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

    fn end(&mut self, committed: bool) {
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
    fn take_next_epoch(&mut self) {
        if self.second {
            self.epoch += 1;
        }
    }

    /// Until the end of the transaction is in the log: batches and aborted transactions that read_committed gives from the
    /// beginning, and the last stable offset.
    fn fetch(&mut self, stable_at: i64) {
        let (topic, address) = (self.topic.clone(), self.leader());
        let partitions = vec![FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }];
        let topics = vec![FetchTopic { topic: &topic, partitions }];
        let request = FetchRequest { isolation_level: 1, topics, max_wait_ms: 10, ..Default::default() };
        let ask = |hand: &mut Self| {
            hand.call(&address, 11, &request, |frame| {
                let (_, told) = read_response::<FetchResponse<'_>>(11, frame).unwrap();
                let told = &told.responses[0].partitions[0];
                let aborted: Vec<_> = told.aborted_transactions.iter().flatten().map(|a| a.first_offset).collect();
                let bytes = told.records.map_or(0, <[u8]>::len);
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

    fn open(&mut self, values: &[&str]) {
        if !self.second {
            self.add();
        }
        self.produce(0, values);
    }
}

/// A transaction from its beginning to its commit, with repetitions.
fn commit(hand: &mut Hand) {
    hand.init(false);
    hand.open(&["one", "two"]);
    hand.produce(0, &["one", "two"]);
    hand.produce(5, &["too early"]);
    hand.produce(2, &["three"]);
    if !hand.second {
        hand.commit_offset(1);
        hand.add_offsets();
    }
    hand.commit_offset(1);
    hand.offsets(true, false);
    hand.offsets(false, false);
    hand.fetch(0);
    hand.end(true);
    hand.fetch(4);
    hand.offsets(true, true);
    hand.end(true);
    hand.end(false);
    hand.produce(3, &["late"]);
    hand.take_next_epoch();
    hand.offsets(true, true);
}

/// Aborted ones; ends of what isn't there.
fn abort(hand: &mut Hand) {
    hand.init(false);
    hand.end(true);
    hand.open(&["one"]);
    if !hand.second {
        hand.add_offsets();
    }
    hand.commit_offset(9);
    hand.end(false);
    hand.fetch(2);
    hand.offsets(true, true);
    hand.end(true);
    hand.take_next_epoch();
    if hand.second {
        hand.end(false);
        hand.take_next_epoch();
    } else {
        hand.end(false);
    }
    hand.init(true);
}

/// Another of the same name, while a transaction is open and while none is.
fn rival(hand: &mut Hand) {
    hand.init(false);
    hand.open(&["one"]);
    let mut rival = hand.rival();
    rival.init_while_open(false);
    hand.produce(1, &["two"]);
    hand.end(true);
    hand.init(true);
    rival.open(&["other"]);
    rival.end(true);
    hand.init(true);
    hand.said.append(&mut rival.said);
    hand.init(false);
}

/// Its own epoch raised by itself: idle, again, and while its transaction is open.
fn own(hand: &mut Hand) {
    hand.init(false);
    let before = hand.epoch;
    hand.init(true);
    hand.epoch = before;
    hand.init(true);
    hand.open(&["one"]);
    hand.init_while_open(true);
    hand.produce(0, &["after"]);
}

/// A transaction that its coordinator gave up.
fn expired(hand: &mut Hand, wait: &dyn Fn(&str)) {
    hand.timeout_ms = 500;
    hand.init(false);
    hand.open(&["one"]);
    wait(&hand.name);
    hand.fetch(2);
    hand.produce(1, &["two"]);
    hand.end(true);
    hand.init(true);
    hand.init(false);
}

/// What was said in each scene, with each protocol that the cluster has.
fn hold(bootstrap: &str, level: i16, wait: &dyn Fn(&str)) -> String {
    let mut all = String::new();
    for second in [false, true].into_iter().take(level as usize) {
        let mut play = |name: &str, scene: &dyn Fn(&mut Hand)| {
            let mut hand = Hand::new(bootstrap, second);
            scene(&mut hand);
            let version = if second { 2 } else { 1 };
            all.push_str(&format!("# {name}, transactions v{version}\n{}\n\n", hand.said.join("\n")));
        };
        play("commit", &commit);
        play("abort", &abort);
        play("rival", &rival);
        play("own epoch", &own);
        play("expired", &|hand| expired(hand, wait));
    }
    all
}

/// By `transaction.version`, from 1. With 1 an own transaction that expired, or that an own InitProducerId ended, can't be told
/// from a rival's doing.
const EXPECTED: [&str; 2] = [include_str!("transactions-1.txt"), include_str!("transactions-2.txt")];

fn compare(whose: &str, level: i16, said: &str) {
    let expected = EXPECTED[level as usize - 1];
    assert_eq!(said.trim_end(), expected.trim_end(), "{whose}, transaction.version {level}:\n{said}");
}

#[test]
fn the_fake_cluster_says_what_a_real_one_says() {
    for level in [1, 2] {
        let fake = Fake::start(&[]);
        fake.state().coordinator.version = level;
        let expire = |name: &str| fake.state().coordinator.expire(name);
        compare("fake", level, &hold(&fake.bootstrap().to_string(), level, &expire));
    }
}

#[test]
fn a_real_cluster_says_what_the_fake_one_says() {
    let Some(kafka) = std::env::var("BROOKLET_TEST_KAFKA").ok().filter(|value| !value.is_empty()) else {
        println!("skipped: BROOKLET_TEST_KAFKA isn't set (scripts/interop.sh sets it where it can)");
        return;
    };
    let bootstrap = kafka.split(',').next().unwrap().to_owned();
    let mut hand = Hand::new(&bootstrap, true);
    let asked = ApiVersionsRequest { client_software_name: "by-hand", client_software_version: "1" };
    let level = hand.call(&bootstrap, 3, &asked, |frame| {
        let (_, told) = read_response::<ApiVersionsResponse<'_>>(3, frame).unwrap();
        told.finalized_features.iter().find(|f| f.name == "transaction.version").map_or(1, |f| f.max_version_level)
    });
    // The coordinator ends expired transactions by itself.
    compare("Apache Kafka", level, &hold(&bootstrap, level, &|_| ()));
}

#[test]
fn faults_are_what_they_say() {
    let ends = [
        (Fault::Cut, None, false),
        (Fault::ReplyLost, None, true),
        (Fault::Silence, None, false),
        (Fault::DoneInSilence, None, true),
        (Fault::Code(7), Some(7), false),
        (Fault::DoneButCode(7), Some(7), true),
        (Fault::CoordinatorMoves, Some(16), false),
        (Fault::None, Some(0), true),
    ];
    for (fault, code, done) in ends {
        let fake = Fake::start(&[]);
        let mut hand = Hand::new(&fake.bootstrap().to_string(), true);
        hand.init(false);
        hand.open(&["one"]);
        fake.fail_api(ApiKey::EndTxn, &[fault]);
        let (name, address) = (hand.name.clone(), hand.coordinator(1));
        let request = EndTxnRequest {
            transactional_id: &name,
            producer_id: hand.id,
            producer_epoch: hand.epoch,
            committed: true,
        };
        hand.patience = Duration::from_millis(100);
        let frame = hand.try_call(&address, 5, &request).ok();
        let told = frame.map(|frame| read_response::<EndTxnResponse>(5, &frame).unwrap().1.error_code);
        assert_eq!((told, fake.values(&name, 0).len() == 1), (code, done), "{fault:?}");
        assert_eq!((fake.requests(ApiKey::EndTxn), hand.coordinator(1) != address), (1, code == Some(16)), "{fault:?}");
    }
}
