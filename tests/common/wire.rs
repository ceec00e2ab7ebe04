//! A few requests of the Kafka protocol, written by hand over plain TCP: enough to look at a broker's raw batches.
//!
//! Versions before the flexible ones, so that a field is a field.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 64 << 20;
const FETCH_BYTES_MAX: i32 = 16 << 20;
const HEADER_BYTES: usize = 61;
/// UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER: the brokers don't agree yet.
const ELSEWHERE: [i16; 3] = [3, 5, 6];

/// What a connection runs over.
pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// One connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    correlation: i32,
}

impl Wire {
    /// # Errors
    /// What the operating system says.
    pub fn connect(addr: &str) -> io::Result<Wire> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Wire::over(stream))
    }

    /// Over a stream that is connected already.
    pub fn over(stream: impl Stream + 'static) -> Wire {
        Wire { stream: Box::new(stream), correlation: 0 }
    }

    /// The first of a bootstrap list that takes the connection.
    ///
    /// # Errors
    /// The last one's, if none does.
    pub fn connect_any(bootstrap: &str) -> io::Result<Wire> {
        let mut refused = io::Error::other("no address");
        for addr in bootstrap.split(',') {
            match Wire::connect(addr) {
                Ok(wire) => return Ok(wire),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// The controller: before KRaft it alone makes topics and moves leaders.
    pub fn connect_controller(bootstrap: &str) -> io::Result<Wire> {
        let mut any = Wire::connect_any(bootstrap)?;
        // Metadata v4 of no topic.
        let mut answer = any.call(3, 4, Body::default().i32(0).i8(0))?;
        answer.i32();
        let brokers = answer.array(|a| {
            let broker = (a.i32(), format!("{}:{}", a.string(), a.i32()));
            a.string();
            broker
        });
        answer.string();
        let controller = answer.i32();
        match brokers.into_iter().find(|(id, _)| *id == controller) {
            // What it tells clients may be a relay that isn't there yet.
            Some((_, address)) => Wire::connect(&address).or(Ok(any)),
            None => Ok(any),
        }
    }

    /// # Errors
    /// Where the peer doesn't answer, or not to this request.
    pub fn call(&mut self, api: i16, version: i16, body: Body) -> io::Result<Answer> {
        self.correlation += 1;
        let request = Body::default().i16(api).i16(version).i32(self.correlation).string("test").raw(&body.0);
        self.stream.write_all(&Body::default().bytes(&request.0).0)?;
        let length = usize::try_from(i32::from_be_bytes(self.read_array()?)).unwrap_or(usize::MAX);
        assert!((4..=ANSWER_BYTES_MAX).contains(&length), "an answer of {length} bytes");
        let correlation = i32::from_be_bytes(self.read_array()?);
        let mut bytes = vec![0; length - 4];
        self.stream.read_exact(&mut bytes)?;
        assert_eq!(correlation, self.correlation, "an answer to something else");
        Ok(Answer { bytes, at: 0 })
    }

    /// ApiVersions v0: key, lowest and highest version.
    ///
    /// # Errors
    /// As [`Wire::call`].
    pub fn api_versions(&mut self) -> io::Result<Vec<(i16, i16, i16)>> {
        let mut answer = self.call(18, 0, Body::default())?;
        assert_eq!(answer.i16(), 0, "ApiVersions");
        Ok(answer.array(|a| (a.i16(), a.i16(), a.i16())))
    }

    fn read_array(&mut self) -> io::Result<[u8; 4]> {
        let mut four = [0; 4];
        self.stream.read_exact(&mut four)?;
        Ok(four)
    }
}

/// A request being written.
#[derive(Default)]
pub struct Body(pub Vec<u8>);

impl Body {
    pub fn raw(mut self, bytes: &[u8]) -> Body {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn i8(self, value: i8) -> Body {
        self.raw(&value.to_be_bytes())
    }

    pub fn i16(self, value: i16) -> Body {
        self.raw(&value.to_be_bytes())
    }

    pub fn i32(self, value: i32) -> Body {
        self.raw(&value.to_be_bytes())
    }

    pub fn i64(self, value: i64) -> Body {
        self.raw(&value.to_be_bytes())
    }

    pub fn string(self, value: &str) -> Body {
        self.i16(value.len().try_into().unwrap()).raw(value.as_bytes())
    }

    pub fn bytes(self, value: &[u8]) -> Body {
        self.i32(value.len().try_into().unwrap()).raw(value)
    }
}

/// An answer being read.
pub struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    pub fn take(&mut self, count: usize) -> &[u8] {
        let from = self.at;
        self.at += count;
        &self.bytes[from..self.at]
    }

    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.take(1).try_into().unwrap())
    }

    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    /// Null reads as empty.
    pub fn string(&mut self) -> String {
        let length = self.i16().max(0);
        String::from_utf8(self.take(length.try_into().unwrap()).to_vec()).unwrap()
    }

    /// Null reads as empty.
    pub fn blob(&mut self) -> Vec<u8> {
        let length = self.i32().max(0);
        self.take(length.try_into().unwrap()).to_vec()
    }

    /// Null reads as empty.
    pub fn array<T>(&mut self, mut element: impl FnMut(&mut Answer) -> T) -> Vec<T> {
        let count = self.i32().max(0);
        (0..count).map(|_| element(self)).collect()
    }
}

/// CreateTopics v4.
pub fn create_topic(bootstrap: &str, topic: &str, partitions: i32) {
    create_topic_with(bootstrap, topic, partitions, &[]);
}

/// CreateTopics v4, with these settings.
pub fn create_topic_with(bootstrap: &str, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    try_create_topic(bootstrap, topic, partitions, configs).unwrap_or_else(|why| panic!("CreateTopics: {why}"));
}

/// The same, with the broker's words where it refuses.
pub fn try_create_topic(bootstrap: &str, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<(), String> {
    let body = Body::default().i32(1).string(topic).i32(partitions).i16(-1).i32(0).i32(configs.len() as i32);
    let body = configs.iter().fold(body, |body, (name, value)| body.string(name).string(value));
    let body = body.i32(15_000).i8(0);
    let mut answer = Wire::connect_controller(bootstrap).unwrap().call(19, 4, body).unwrap();
    answer.i32();
    let results = answer.array(|a| (a.string(), a.i16(), a.string()));
    if results.iter().any(|(_, error, _)| *error != 0) {
        return Err(format!("{results:?}"));
    }
    super::wait_for("the new topic's leaders", TIMEOUT, || {
        leaders(bootstrap, topic).filter(|l| l.len() == partitions as usize)
    });
    Ok(())
}

/// CreatePartitions v1: the topic has `partitions` from now on.
pub fn grow_topic(bootstrap: &str, topic: &str, partitions: i32) {
    let body = Body::default().i32(1).string(topic).i32(partitions).i32(-1).i32(15_000).i8(0);
    let mut answer = Wire::connect_controller(bootstrap).unwrap().call(37, 1, body).unwrap();
    answer.i32();
    let results = answer.array(|a| (a.string(), a.i16(), a.string()));
    assert!(results.iter().all(|(_, error, _)| *error == 0), "CreatePartitions: {results:?}");
    super::wait_for("the new leaders", TIMEOUT, || {
        leaders(bootstrap, topic).filter(|l| l.len() == partitions as usize)
    });
}

/// What a group has committed: topic, partition, offset, leader epoch, note.
pub type Committed = (String, i32, i64, i32, String);

/// OffsetFetch v5, of one partition or of all.
pub fn fetch_offsets(wire: &mut Wire, group: &str, of: Option<(&str, i32)>) -> Vec<Committed> {
    let body = Body::default().string(group);
    let body = match of {
        Some((topic, partition)) => body.i32(1).string(topic).i32(1).i32(partition),
        None => body.i32(-1),
    };
    let mut answer = wire.call(9, 5, body).unwrap();
    answer.i32();
    let topics = answer.array(|a| {
        let topic = a.string();
        let partitions = a.array(|a| (a.i32(), a.i64(), a.i32(), a.string(), a.i16()));
        partitions.into_iter().map(move |(i, offset, epoch, note, _)| (topic.clone(), i, offset, epoch, note))
    });
    assert_eq!(answer.i16(), 0);
    topics.into_iter().flatten().collect()
}

/// Metadata v4: the leader's address of each partition; `None` while the topic or a leader is missing.
pub fn leaders(bootstrap: &str, topic: &str) -> Option<Vec<String>> {
    let body = Body::default().i32(1).string(topic).i8(0);
    let mut answer = Wire::connect_any(bootstrap).ok()?.call(3, 4, body).ok()?;
    answer.i32();
    let brokers = answer.array(|a| {
        let broker = (a.i32(), format!("{}:{}", a.string(), a.i32()));
        a.string();
        broker
    });
    answer.string();
    answer.i32();
    let mut topics = answer.array(|a| {
        let error = a.i16();
        a.string();
        a.i8();
        let partitions = a.array(|a| {
            a.i16();
            let partition = (a.i32(), a.i32());
            a.array(Answer::i32);
            a.array(Answer::i32);
            partition
        });
        (error, partitions)
    });
    let (error, mut partitions) = topics.pop()?;
    if error != 0 || partitions.is_empty() {
        return None;
    }
    partitions.sort_unstable();
    let address = |leader| brokers.iter().find(|(id, _)| *id == leader).map(|(_, address)| address.clone());
    partitions.into_iter().map(|(_, leader)| address(leader)).collect()
}

/// One batch, as it came.
#[derive(Clone)]
pub struct Batch {
    pub raw: Vec<u8>,
}

impl Batch {
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.raw[..8].try_into().unwrap())
    }

    pub fn next_offset(&self) -> i64 {
        self.base_offset() + i64::from(i32::from_be_bytes(self.raw[23..27].try_into().unwrap())) + 1
    }

    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> u8 {
        self.raw[22] & 7
    }

    /// −1 where the producer isn't idempotent.
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.raw[43..51].try_into().unwrap())
    }

    /// Whether it is a transaction's marker.
    pub fn is_control(&self) -> bool {
        self.raw[22] & 0x20 != 0
    }

    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.raw[57..61].try_into().unwrap())
    }

    /// The records as they stand in the batch: compressed, if they are.
    pub fn payload(&self) -> &[u8] {
        &self.raw[HEADER_BYTES..]
    }
}

/// All batches of a topic by partition that a read_committed consumer gets, from the beginning to the last stable offset. Asks
/// again while leaders change.
pub fn batches(bootstrap: &str, topic: &str) -> Vec<Vec<Batch>> {
    batches_and_markers(bootstrap, topic).into_iter().map(|(batches, _)| batches).collect()
}

/// As [`batches`], each partition's with the number of its markers: the ends of transactions.
pub fn batches_and_markers(bootstrap: &str, topic: &str) -> Vec<(Vec<Batch>, u32)> {
    super::wait_for(&format!("a leader for every partition of {topic}"), TIMEOUT, || {
        let leaders = leaders(bootstrap, topic)?;
        let each = leaders.iter().enumerate();
        each.map(|(partition, leader)| partition_batches(leader, topic, partition.try_into().unwrap()).ok()).collect()
    })
}

fn partition_batches(leader: &str, topic: &str, partition: i32) -> io::Result<(Vec<Batch>, u32)> {
    let mut wire = Wire::connect(leader)?;
    let (mut batches, mut aborted) = (Vec::new(), Vec::new());
    let (mut next, mut markers) = (0, 0);
    loop {
        let mut told = fetch_isolated(&mut wire, topic, partition, next, READ_COMMITTED)?;
        aborted.append(&mut told.aborted);
        let before = next;
        for batch in split(&told.bytes) {
            next = batch.next_offset();
            if batch.is_control() {
                markers += 1;
                // It ends the transaction of its producer.
                aborted.retain(|(producer, first)| *producer != batch.producer_id() || *first >= next);
            } else if !aborted.iter().any(|(producer, first)| *producer == batch.producer_id() && *first < next) {
                batches.push(batch);
            }
        }
        if next >= told.last_stable || next == before {
            return Ok((batches, markers));
        }
    }
}

/// Fetch v4: the high watermark and the raw batches.
///
/// # Errors
/// As [`Wire::call`], and where this broker can't answer for the partition at this moment.
pub fn fetch(wire: &mut Wire, topic: &str, partition: i32, offset: i64) -> io::Result<(i64, Vec<u8>)> {
    let answer = fetch_isolated(wire, topic, partition, offset, READ_UNCOMMITTED)?;
    Ok((answer.high_watermark, answer.bytes))
}

const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;

/// An answer to Fetch. Aborted transactions by producer and first offset.
struct Fetched {
    error: i16,
    high_watermark: i64,
    last_stable: i64,
    aborted: Vec<(i64, i64)>,
    bytes: Vec<u8>,
}

fn fetch_isolated(wire: &mut Wire, topic: &str, partition: i32, offset: i64, isolation: i8) -> io::Result<Fetched> {
    let limits = Body::default().i32(-1).i32(100).i32(0).i32(FETCH_BYTES_MAX).i8(isolation);
    let body = limits.i32(1).string(topic).i32(1).i32(partition).i64(offset).i32(FETCH_BYTES_MAX);
    let mut answer = wire.call(1, 4, body)?;
    answer.i32();
    let mut topics = answer.array(|a| {
        a.string();
        a.array(|a| {
            a.i32();
            let (error, high_watermark, last_stable) = (a.i16(), a.i64(), a.i64());
            let aborted = a.array(|a| (a.i64(), a.i64()));
            Fetched { error, high_watermark, last_stable, aborted, bytes: a.blob() }
        })
    });
    let fetched = topics.pop().unwrap().pop().unwrap();
    if ELSEWHERE.contains(&fetched.error) {
        return Err(io::Error::other(format!("error {}", fetched.error)));
    }
    assert_eq!(fetched.error, 0, "Fetch of {topic}-{partition} from {offset}");
    Ok(fetched)
}

fn split(mut bytes: &[u8]) -> Vec<Batch> {
    let mut batches = Vec::new();
    while bytes.len() >= HEADER_BYTES {
        let length = 12 + i32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        // Kafka may cut the last one.
        if bytes.len() < length {
            break;
        }
        batches.push(Batch { raw: bytes[..length].to_vec() });
        bytes = &bytes[length..];
    }
    batches
}
