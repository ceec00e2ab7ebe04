//! A small gateway on the codec alone: one partition's records in memory, pushes within the credit, one thread a
//! connection. It breaks connections when told to.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use brooklet::client::Address;
use brooklet::frame::{
    self, Ack, AckLevel, AliasFailed, AliasOk, Base, ClientMessage, Decoder, Done, ErrorCode, Failed, GatewayMessage,
    Headers, Next, Offsets, Pong, Position, Publish, PublishError, ReaderOffset, Record, RecordSet, RecordsWriter,
    Text, Topic, TopicRef, Upstream, Welcome, sequence,
};

/// A connection that says nothing for so long is closed, seconds; a client on a busy machine may be late with its pings.
const IDLE_S: u16 = 3;

#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) topics: BTreeMap<String, Vec<Stored>>,
    pub(crate) configs: Vec<(String, String)>,
    pub(crate) offsets: HashMap<(String, String), i64>,
    /// By client id: epoch and last sequence.
    sessions: HashMap<String, (u64, u64)>,
    publishers: HashMap<String, TcpStream>,
    /// How often to break the connection still, each time after some publishes, before or after keeping the records.
    pub(crate) breaks: u32,
    publishes: u32,
    pub(crate) hellos: u32,
    pub(crate) open: Vec<TcpStream>,
}

pub(crate) struct Gateway {
    pub(crate) kept: Arc<Mutex<Kept>>,
    pub(crate) address: Address,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let shared = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, stream) = (Arc::clone(&shared), stream.unwrap());
                kept.lock().unwrap().open.push(stream.try_clone().unwrap());
                std::thread::spawn(move || serve(Served::new(kept, stream)));
            }
        });
        Self { kept, address }
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    pub(crate) fn values(&self, topic: &str) -> Vec<String> {
        self.kept().topics[topic].iter().map(|record| String::from_utf8(record.value.clone()).unwrap()).collect()
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        for stream in self.kept().open.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

struct Served {
    kept: Arc<Mutex<Kept>>,
    stream: TcpStream,
    client_id: String,
    time_ms: i64,
    aliases: HashMap<u16, String>,
    subscriptions: BTreeMap<u32, Subscription>,
}

struct Subscription {
    topic: String,
    next: i64,
    credit: i64,
}

impl Served {
    fn new(kept: Arc<Mutex<Kept>>, stream: TcpStream) -> Self {
        let (client_id, aliases, subscriptions) = (String::new(), HashMap::new(), BTreeMap::new());
        Self { kept, stream, client_id, time_ms: 1_795_000_000_000, aliases, subscriptions }
    }

    fn send(&mut self, message: &GatewayMessage<'_>) {
        let mut frame = Vec::new();
        message.append_to(&mut frame).unwrap();
        // The client may be gone; reading will tell.
        let _ = self.stream.write_all(&frame);
    }

    fn name(&self, topic: &TopicRef<'_>) -> String {
        match topic {
            TopicRef::Alias(alias) => self.aliases[alias].clone(),
            TopicRef::Name(name) => (*name).to_owned(),
        }
    }

    fn done(&mut self, id: u32) {
        self.send(&GatewayMessage::Done(Done { id }));
    }

    fn failed(&mut self, id: u32, code: ErrorCode, text: &str) {
        self.send(&GatewayMessage::Failed(Failed { id, code, text }));
    }
}

/// Serves until the client goes or the connection is to be broken.
fn serve(mut served: Served) {
    let mut decoder = Decoder::growing(64, frame::FRAME_BYTES_MAX);
    served.stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut heard = Instant::now();
    loop {
        match served.stream.read(decoder.room()) {
            Ok(0) => return,
            Ok(length) => {
                decoder.received(length);
                heard = Instant::now();
            }
            // As the Welcome says.
            Err(_) if heard.elapsed() > Duration::from_secs(IDLE_S.into()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        while let Next::Frame(body) = decoder.next().unwrap() {
            let body = body.to_vec();
            if !served.message(ClientMessage::decode(&body).unwrap()) {
                let _ = served.stream.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
        served.push();
    }
}

impl Served {
    /// Answers a message; `false` to break the connection.
    fn message(&mut self, message: ClientMessage<'_>) -> bool {
        match message {
            ClientMessage::Hello(hello) => self.hello(&hello),
            ClientMessage::Ping(ping) => {
                self.send(&GatewayMessage::Pong(Pong { id: ping.id, time_ms: self.time_ms, time_trusted: true }));
            }
            ClientMessage::Alias(frame::Alias { alias, topic: "forbidden" }) => {
                let (code, text) = (ErrorCode::NotAuthorized, "not yours");
                self.send(&GatewayMessage::AliasFailed(AliasFailed { alias, code, text }));
            }
            ClientMessage::Alias(alias) => {
                self.kept.lock().unwrap().topics.entry(alias.topic.to_owned()).or_default();
                self.aliases.insert(alias.alias, alias.topic.to_owned());
                self.send(&GatewayMessage::AliasOk(AliasOk { alias: alias.alias, partitions: 1 }));
            }
            ClientMessage::Publish(publish) => return self.publish(&publish),
            ClientMessage::Subscribe(subscribe) => {
                let Position::Offset(next) = subscribe.from else { panic!("resolved before") };
                let (topic, credit) = (self.name(&subscribe.topic), i64::from(subscribe.credit_bytes));
                self.subscriptions.insert(subscribe.id, Subscription { topic, next, credit });
            }
            ClientMessage::Credit(credit) => {
                if let Some(subscription) = self.subscriptions.get_mut(&credit.id) {
                    subscription.credit += i64::from(credit.bytes);
                }
            }
            ClientMessage::Unsubscribe(unsubscribe) => {
                self.subscriptions.remove(&unsubscribe.id).unwrap();
                self.done(unsubscribe.id);
            }
            request => self.request(request),
        }
        true
    }

    fn hello(&mut self, hello: &frame::Hello<'_>) {
        self.client_id = hello.client_id.to_owned();
        let mut welcome = Welcome {
            version: 1,
            gateway_id: "fake",
            epoch: 0,
            resumed: false,
            last_sequence: 0,
            time_ms: self.time_ms,
            time_trusted: true,
            frame_bytes_max: 4_096,
            in_flight_max: hello.in_flight_max,
            idle_seconds_max: IDLE_S,
        };
        let mut kept = self.kept.lock().unwrap();
        kept.hellos += 1;
        let mut older = None;
        if hello.in_flight_max > 0 {
            older = kept.publishers.insert(self.client_id.clone(), self.stream.try_clone().unwrap());
            let session = kept.sessions.entry(self.client_id.clone()).or_default();
            welcome.resumed = session.0 != 0 && session.0 == hello.epoch;
            if !welcome.resumed {
                *session = (session.0 + 1, 0);
            }
            (welcome.epoch, welcome.last_sequence) = *session;
        }
        drop(kept);
        if let Some(stream) = older {
            let mut fenced = Served::new(Arc::clone(&self.kept), stream);
            fenced.failed(0, ErrorCode::Fenced, "a newer connection uses this client id");
        }
        self.send(&GatewayMessage::Welcome(welcome));
    }

    fn publish(&mut self, publish: &Publish<'_>) -> bool {
        let mut kept = self.kept.lock().unwrap();
        kept.publishes += 1;
        let breaks = kept.breaks > 0 && kept.publishes.is_multiple_of(5);
        if breaks {
            kept.breaks -= 1;
            if kept.breaks.is_multiple_of(2) {
                return false;
            }
        }
        let (_, last) = kept.sessions[&self.client_id];
        let first = sequence::expand(publish.sequence, last + 1);
        assert!(first <= last + 1, "a gap");
        let newest = last.max(first + publish.records.len() as u64 - 1);
        kept.sessions.get_mut(&self.client_id).unwrap().1 = newest;
        let refused = match self.aliases.get(&publish.alias) {
            None => true,
            Some(topic) => {
                let base = Base { timestamp: self.time_ms, offset: 0 };
                let fresh = publish.records.iter(base).skip((last + 1 - first) as usize).map(|record| Stored {
                    timestamp: record.timestamp,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.unwrap().to_vec(),
                });
                kept.topics.get_mut(topic).unwrap().extend(fresh);
                false
            }
        };
        drop(kept);
        if breaks {
            return false;
        }
        if refused {
            let (count, code) = (publish.records.len() as u32, ErrorCode::NotAuthorized);
            let error = PublishError { sequence: first, count, code, retry_ms: 0, text: "not yours" };
            self.send(&GatewayMessage::PublishError(error));
        }
        self.send(&GatewayMessage::Ack(Ack { level: AckLevel::Flash, up_to: sequence::truncate(newest) }));
        if publish.level == AckLevel::Upstream {
            self.send(&GatewayMessage::Upstream(Upstream { up_to: newest }));
        }
        true
    }

    fn request(&mut self, request: ClientMessage<'_>) {
        match request {
            ClientMessage::Fetch(fetch) => {
                let Position::Offset(from) = fetch.from else { panic!("by offset in these tests") };
                let topic = self.name(&fetch.topic);
                self.records(fetch.id, &topic, from, fetch.bytes_max as usize, false);
            }
            ClientMessage::ListOffsets(list) => {
                let topic = self.name(&list.topic);
                let end = self.kept.lock().unwrap().topics[&topic].len() as i64;
                let offset = match list.at {
                    Position::Offset(offset) => offset,
                    Position::Beginning | Position::Time(_) => 0,
                    Position::End => end,
                };
                let offsets = Offsets { id: list.id, log_start: 0, high_watermark: end, offset };
                self.send(&GatewayMessage::Offsets(offsets));
            }
            ClientMessage::CommitOffset(commit) => {
                let key = (commit.reader.to_owned(), self.name(&commit.topic));
                self.kept.lock().unwrap().offsets.insert(key, commit.offset);
                self.done(commit.id);
            }
            ClientMessage::ReadOffset(read) => {
                let key = (read.reader.to_owned(), self.name(&read.topic));
                let offset = self.kept.lock().unwrap().offsets.get(&key).copied();
                self.send(&GatewayMessage::ReaderOffset(ReaderOffset { id: read.id, offset, metadata: "" }));
            }
            ClientMessage::Status(status) => {
                for (last, text) in [(false, "{\"a\":"), (false, "1"), (true, "}")] {
                    self.send(&GatewayMessage::Text(Text { id: status.id, last, text }));
                }
            }
            ClientMessage::Uplink(uplink) => {
                let text = format!("{:?} {}", uplink.action, uplink.name);
                self.send(&GatewayMessage::Text(Text { id: uplink.id, last: true, text: &text }));
            }
            admin => self.admin(admin),
        }
    }

    fn admin(&mut self, request: ClientMessage<'_>) {
        let (id, names, configs) = match request {
            ClientMessage::CreateTopic(create) => {
                let mut kept = self.kept.lock().unwrap();
                kept.configs = create.configs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
                let exists = kept.topics.insert(create.name.to_owned(), Vec::new()).is_some();
                drop(kept);
                return match exists {
                    true => self.failed(create.id, ErrorCode::TopicExists, "topic exists"),
                    false => self.done(create.id),
                };
            }
            ClientMessage::AlterTopic(alter) => {
                self.kept
                    .lock()
                    .unwrap()
                    .configs
                    .extend(alter.configs.iter().map(|(k, v)| (k.to_string(), v.to_string())));
                return self.done(alter.id);
            }
            ClientMessage::DeleteTopic(delete) => {
                self.kept.lock().unwrap().topics.remove(delete.name);
                return self.done(delete.id);
            }
            ClientMessage::ListTopics(list) => {
                (list.id, self.kept.lock().unwrap().topics.keys().cloned().collect(), vec![])
            }
            ClientMessage::DescribeTopic(describe) => {
                let kept = self.kept.lock().unwrap();
                let (known, configs) = (kept.topics.contains_key(describe.name), kept.configs.clone());
                drop(kept);
                if !known {
                    return self.failed(describe.id, ErrorCode::UnknownTopic, "no such topic; create it");
                }
                (describe.id, vec![describe.name.to_owned()], configs)
            }
            other => panic!("{other:?}"),
        };
        for name in names {
            let configs = configs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            self.send(&GatewayMessage::Topic(Topic { id, name: &name, uuid: [1; 16], partitions: 1, configs }));
        }
        self.done(id);
    }

    /// Sends records from `from` on, at least one if there are any; how many bytes and where to read on.
    fn records(&mut self, id: u32, topic: &str, from: i64, bytes_max: usize, push: bool) -> (usize, i64) {
        let records = self.kept.lock().unwrap().topics[topic].clone();
        let mut buffer = vec![0; bytes_max.clamp(256, 65_536)];
        let mut writer = RecordsWriter::for_fetch(&mut buffer, from);
        let mut next_offset = from;
        for (record, offset) in records.iter().zip(0..).skip(from as usize) {
            let (timestamp, key, value) = (record.timestamp, record.key.as_deref(), Some(record.value.as_slice()));
            if writer.push(&Record { offset, timestamp, key, value, headers: Headers::NONE }).is_err() {
                break;
            }
            next_offset = offset + 1;
        }
        let (records, end) = (writer.finish(), records.len() as i64);
        let set = RecordSet { id, log_start: 0, high_watermark: end, next_offset, base_offset: from, records };
        let bytes = records.bytes().len();
        if push {
            self.send(&GatewayMessage::Push(set));
        } else {
            self.send(&GatewayMessage::Records(set));
        }
        (bytes, next_offset)
    }

    fn push(&mut self) {
        let wanted: Vec<(u32, String, i64)> = self
            .subscriptions
            .iter()
            .filter(|(_, subscription)| subscription.credit > 0)
            .map(|(id, subscription)| (*id, subscription.topic.clone(), subscription.next))
            .collect();
        for (id, topic, from) in wanted {
            if (self.kept.lock().unwrap().topics[&topic].len() as i64) > from {
                let (bytes, next) = self.records(id, &topic, from, 512, true);
                let subscription = self.subscriptions.get_mut(&id).unwrap();
                subscription.credit -= bytes as i64;
                subscription.next = next;
            }
        }
    }
}
