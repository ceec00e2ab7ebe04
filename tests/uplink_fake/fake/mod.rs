//! A Kafka cluster of two brokers in this process, on loopback, that can be told to fail.
//!
//! It holds clients to what a real one does: CRC, sequences, epochs and fencing, transactions of both protocols, what a
//! read_committed consumer may see. `faithful.rs` holds it against Apache Kafka.
//!
//! | file | what it is |
//! |---|---|
//! | `log` | a partition with its producers and transactions |
//! | `transactions`, `offsets` | the coordinators |
//! | `serving`, `coordinating` | requests to these, and their answers |
//! | `faults` | what goes wrong |

mod coordinating;
mod faults;
mod log;
mod offsets;
mod serving;
mod transactions;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use brooklet::kafka::api::ApiKey;
use brooklet::record::{BatchView, VerifyLimits, decompress, records};

pub use faults::{Fault, Plan};
pub use log::Partition;
pub use offsets::{Committed, Group};
pub use transactions::{Coordinator, Phase, Place};

pub struct State {
    addresses: Vec<SocketAddr>,
    pub topics: BTreeMap<String, Vec<Partition>>,
    leader: usize,
    pub coordinator: Coordinator,
    transaction_coordinator: usize,
    pub groups: BTreeMap<String, Group>,
    pub group_coordinator: usize,
    pub faults: Plan,
    pub max_message_bytes: usize,
    /// Whether it tells.
    pub tells_limits: bool,
    /// Newest timestamp that is taken.
    pub newest_timestamp: i64,
    /// Records with these values are refused as invalid.
    pub invalid: Vec<String>,
    /// Whether refusals name the records at fault.
    pub names_records: bool,
    pub denied: Vec<String>,
    /// Settings of topics that were asked for when they were created.
    pub configs: BTreeMap<String, BTreeMap<String, String>>,
    /// How often each API was asked.
    pub requests: BTreeMap<ApiKey, usize>,
    /// Bytes of batches handed out.
    pub fetched_bytes: usize,
    /// A broker that metadata does not know (yet).
    pub hidden: Option<usize>,
    pub connections: usize,
    pub refuses: bool,
}

/// What a connection does after a request.
enum Then {
    Answer(Vec<u8>),
    Close,
    Mute,
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
            coordinator: Coordinator { version: 2, ..Coordinator::default() },
            transaction_coordinator: 0,
            groups: BTreeMap::new(),
            group_coordinator: 1,
            faults: Plan::default(),
            max_message_bytes: 1_048_588,
            tells_limits: true,
            newest_timestamp: i64::MAX,
            invalid: Vec::new(),
            names_records: true,
            denied: Vec::new(),
            configs: BTreeMap::new(),
            requests: BTreeMap::new(),
            fetched_bytes: 0,
            hidden: None,
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

    /// Its other broker.
    pub fn other_bootstrap(&self) -> SocketAddr {
        self.state().addresses[1]
    }

    /// Faults of the next Produce requests.
    pub fn fail(&self, faults: &[Fault]) {
        self.fail_api(ApiKey::Produce, faults);
    }

    /// Faults of the next requests of this API.
    pub fn fail_api(&self, api: ApiKey, faults: &[Fault]) {
        self.state().faults.push(api, faults);
    }

    pub fn requests(&self, api: ApiKey) -> usize {
        self.state().requests.get(&api).copied().unwrap_or(0)
    }

    /// The values that a read_committed consumer gets of a topic's partition, in order.
    pub fn values(&self, topic: &str, partition: usize) -> Vec<String> {
        let text =
            |_: Option<&[u8]>, value: &[u8], _: i64, _: Option<&[u8]>| String::from_utf8(value.to_vec()).unwrap();
        Partition::each(self.state().topics[topic][partition].committed(), text)
    }

    /// Of each record in a topic's partition: the largest timestamp of its batch, and its first header's name.
    pub fn times_and_headers(&self, topic: &str, partition: usize) -> Vec<(i64, Option<String>)> {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let take = |_: Option<&[u8]>, _: &[u8], time: i64, header: Option<&[u8]>| (time, header.map(text));
        Partition::each(self.state().topics[topic][partition].committed(), take)
    }

    /// The headers of each record in a topic's partition.
    pub fn headers(&self, topic: &str, partition: usize) -> Vec<BTreeMap<String, String>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut all = Vec::new();
        for entry in self.state().topics[topic][partition].committed() {
            let (view, _) = BatchView::parse(&entry.bytes).unwrap();
            let payload = decompress(&view, &VerifyLimits::default()).unwrap();
            for record in records(&view, &payload).map(Result::unwrap) {
                all.push(record.headers.map(|(name, value)| (text(name), text(value.unwrap_or_default()))).collect());
            }
        }
        all
    }

    fn serve(&self, node: usize, mut stream: TcpStream) -> io::Result<()> {
        if self.state().refuses {
            return Ok(());
        }
        let mut mute = false;
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size)?;
            let mut frame = vec![0; u32::from_be_bytes(size) as usize];
            stream.read_exact(&mut frame)?;
            if mute {
                continue;
            }
            match self.answer(node, &frame) {
                Then::Answer(answer) => stream.write_all(&answer)?,
                Then::Close => return Ok(()),
                Then::Mute => mute = true,
            }
        }
    }

    fn answer(&self, node: usize, frame: &[u8]) -> Then {
        let api = ApiKey::from_code(i16::from_be_bytes([frame[0], frame[1]])).unwrap();
        let mut state = self.state();
        *state.requests.entry(api).or_default() += 1;
        let fault = state.faults.take(api);
        match fault {
            Fault::Cut => return Then::Close,
            Fault::Silence => return Then::Mute,
            Fault::LeaderMoves => state.leader = 1 - node,
            Fault::CoordinatorMoves if matches!(api, ApiKey::TxnOffsetCommit | ApiKey::OffsetFetch) => {
                state.group_coordinator = 1 - node;
            }
            Fault::CoordinatorMoves => state.transaction_coordinator = 1 - node,
            Fault::ProducersForgotten => state.topics.values_mut().flatten().for_each(Partition::forget_producers),
            Fault::Slow(time) => {
                drop(state);
                thread::sleep(time);
                state = self.state();
            }
            _ => {}
        }
        // As a broker that has lost its producers and holds later batches against what it then learned.
        let code = match fault {
            Fault::Code(code) | Fault::DoneButCode(code) => Some(code),
            Fault::ProducersForgotten => Some(59),
            _ => None,
        };
        state.tick();
        let mut answer = if fault.is_done() && fault != Fault::ProducersForgotten {
            state.handle(node, frame, None)
        } else {
            Vec::new()
        };
        if let Some(code) = code {
            answer = state.handle(node, frame, Some(code));
        }
        if state.coordinator.markers_after == 0 {
            state.write_markers();
        }
        match fault {
            Fault::ReplyLost => Then::Close,
            Fault::DoneInSilence => Then::Mute,
            Fault::Garbled(seed) => {
                faults::garble(&mut answer, seed);
                Then::Answer(answer)
            }
            _ => Then::Answer(answer),
        }
    }
}
