//! A gateway in this process, and a client that sends one request after the other.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use brooklet::config::Config;
use brooklet::gateway::Gateway;
use brooklet::kafka::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse};
use brooklet::kafka::header::{read_response, write_request};
use brooklet::kafka::message::{Request, Response};
use brooklet::kafka::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use brooklet::record::{BatchBuilder, Compression, NO_HEADERS, Producer};
use tempfile::TempDir;

/// A gateway in a directory of its own.
pub(crate) struct Server {
    gateway: Option<Gateway>,
    config: Config,
    _dir: TempDir,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        config.listen.native.enabled = false;
        config.listen.kafka.addr = ([127, 0, 0, 1], 0).into();
        config.listen.mqtt.enabled = false;
        change(&mut config);
        let gateway = Some(Gateway::start(&config).unwrap());
        Server { gateway, config, _dir: dir }
    }

    pub(crate) fn restart(&mut self) {
        self.gateway.take().unwrap().stop();
        self.gateway = Some(Gateway::start(&self.config).unwrap());
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.gateway.as_ref().unwrap().kafka_addr().unwrap()
    }

    pub(crate) fn broker(&self) -> &brooklet::broker::Broker {
        self.gateway.as_ref().unwrap().broker()
    }

    pub(crate) fn client(&self) -> Client {
        let stream = TcpStream::connect(self.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Client { stream, correlation: 0 }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop();
        }
    }
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    correlation: i32,
}

/// The frame of an answer: what is read from it borrows from it.
pub(crate) struct Answer {
    frame: Vec<u8>,
    version: i16,
    correlation: i32,
}

impl Answer {
    pub(crate) fn read<'a, R: Response<'a>>(&'a self) -> R {
        let (correlation, body) = read_response(self.version, &self.frame).unwrap();
        assert_eq!(correlation, self.correlation, "an answer to something else");
        body
    }
}

impl Client {
    pub(crate) fn send<'a, Q: Request<'a>>(&mut self, version: i16, body: &Q) {
        self.correlation += 1;
        let mut request = Vec::new();
        write_request(&mut request, version, self.correlation, Some("test"), body).unwrap();
        self.stream.write_all(&request).unwrap();
    }

    /// A request as it stands here, behind its size; the correlation id in it is the one that the answer must have.
    pub(crate) fn send_raw(&mut self, correlation: i32, frame: &[u8]) {
        self.correlation = correlation;
        let size = u32::try_from(frame.len()).unwrap();
        self.stream.write_all(&[&size.to_be_bytes(), frame].concat()).unwrap();
    }

    pub(crate) fn receive(&mut self, version: i16) -> io::Result<Answer> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(Answer { frame, version, correlation: self.correlation })
    }

    pub(crate) fn call<'a, Q: Request<'a>>(&mut self, version: i16, body: &Q) -> Answer {
        self.send(version, body);
        self.receive(version).unwrap()
    }

    /// Creates a topic with these settings; its error code.
    pub(crate) fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> i16 {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig { name, value: Some(value) }).collect();
        let topic =
            CreatableTopic { name, num_partitions: partitions, replication_factor: 1, configs, ..Default::default() };
        let answer = self.call(7, &CreateTopicsRequest { topics: vec![topic], ..Default::default() });
        answer.read::<CreateTopicsResponse<'_>>().topics[0].error_code
    }

    /// Produces one batch with acks=all: error code, base offset, append time.
    pub(crate) fn produce(&mut self, topic: &str, index: i32, batch: &[u8]) -> (i16, i64, i64) {
        let answer = self.call(9, &produce_request(topic, index, batch, -1));
        let response = answer.read::<ProduceResponse<'_>>();
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset, partition.log_append_time_ms)
    }
}

pub(crate) fn produce_request<'a>(topic: &'a str, index: i32, batch: &'a [u8], acks: i16) -> ProduceRequest<'a> {
    let partition_data = vec![PartitionProduceData { index, records: Some(batch) }];
    let topic_data = vec![TopicProduceData { name: topic, partition_data }];
    ProduceRequest { acks, timeout_ms: 1_000, topic_data, ..Default::default() }
}

/// A batch of one record each of these timestamps, of `bytes` bytes of value.
pub(crate) fn batch(timestamps: &[i64], bytes: usize, producer: Producer) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for timestamp in timestamps {
        builder.push(*timestamp, Some(b"key"), Some(&vec![b'v'; bytes]), NO_HEADERS).unwrap();
    }
    builder.finish_with(Compression::None, producer)
}

pub(crate) fn plain(timestamps: &[i64]) -> Vec<u8> {
    batch(timestamps, 10, Producer::NONE)
}
