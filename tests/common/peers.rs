//! Other people's programs: kcat, and the Apache Kafka that `scripts/kafka.sh` runs.
//!
//! `scripts/interop.sh` says by environment variables which of them there are; a test whose peer is missing says so and
//! passes.

use std::{
    env,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::Deref,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
};

use super::gateway::{expect_ok, run};

/// What runs out after two minutes is a failure, not a hang.
const KCAT_SECONDS: &str = "120";

/// Whether to run kcat.
pub fn have_kcat() -> bool {
    given("BROOKLET_TEST_KCAT").is_some()
}

/// The bootstrap address of a running Apache Kafka. While this is held, no test stops any of its nodes.
pub struct Cluster {
    bootstrap: String,
    _whole: RwLockReadGuard<'static, ()>,
}

static WHOLE: RwLock<()> = RwLock::new(());

pub fn kafka() -> Option<Cluster> {
    let bootstrap = given("BROOKLET_TEST_KAFKA")?;
    Some(Cluster { bootstrap, _whole: WHOLE.read().unwrap_or_else(PoisonError::into_inner) })
}

impl Deref for Cluster {
    type Target = str;

    fn deref(&self) -> &str {
        &self.bootstrap
    }
}

/// An Apache Kafka of three nodes, of which this test, and no other meanwhile, may stop one.
pub struct Nodes {
    pub bootstrap: String,
    dir: String,
    stopped: Option<String>,
    _whole: RwLockWriteGuard<'static, ()>,
}

pub fn kafka_nodes() -> Option<Nodes> {
    let (bootstrap, dir) = (given("BROOKLET_TEST_KAFKA")?, given("BROOKLET_TEST_KAFKA_DIR")?);
    if bootstrap.split(',').count() != 3 {
        println!("skipped: the Apache Kafka hasn't three nodes");
        return None;
    }
    Some(Nodes { bootstrap, dir, stopped: None, _whole: WHOLE.write().unwrap_or_else(PoisonError::into_inner) })
}

impl Nodes {
    /// Ends the node that listens here without warning.
    pub fn kill(&mut self, addr: &str) {
        let node = 1 + self.bootstrap.split(',').position(|other| other == addr).unwrap();
        self.script(&["stop", "--kill", "--node", &node.to_string()]);
        self.stopped = Some(node.to_string());
    }

    pub fn restore(&mut self) {
        if let Some(node) = self.stopped.take() {
            self.script(&["start", "--node", &node]);
        }
    }

    fn script(&self, args: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka.sh");
        // Not waited for by its output: the node that it leaves behind must not hold this test.
        let status = Command::new(script).args(args).args(["--dir", &self.dir]).stdout(Stdio::null()).status();
        let done = status.is_ok_and(|status| status.success());
        // Within a drop after a failure, that failure is the one to show.
        assert!(done || thread::panicking(), "kafka.sh {} failed", args.join(" "));
    }
}

impl Drop for Nodes {
    /// The other tests need all of them, also where this one failed.
    fn drop(&mut self) {
        self.restore();
    }
}

pub fn given(variable: &str) -> Option<String> {
    let value = env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        println!("skipped: {variable} isn't set (scripts/interop.sh sets it where it can)");
    }
    value
}

pub fn kcat(args: &[&str], stdin: &[u8]) -> Output {
    run(Command::new("timeout").args([KCAT_SECONDS, "kcat"]).args(args), stdin)
}

pub fn kcat_ok(args: &[&str], stdin: &[u8]) -> String {
    expect_ok(&format!("kcat {}", args.join(" ")), &kcat(args, stdin))
}

/// A record as kcat shows it. Keys, values and headers of the tests are text without tabs and line ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: String,
    pub headers: String,
    pub value: String,
}

impl Seen {
    /// What must be the same wherever the record is.
    pub fn content(&self) -> (i64, &str, &str, &str) {
        (self.timestamp, &self.key, &self.headers, &self.value)
    }
}

/// Everything in a topic, in order within each partition. `more`: further arguments of kcat.
pub fn consume(bootstrap: &str, topic: &str, more: &[&str]) -> Vec<Seen> {
    let format = "%p\t%o\t%T\t%k\t%h\t%s\n";
    let from = if more.contains(&"-o") { [].as_slice() } else { &["-o", "beginning"] };
    let args = [&["-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-f", format], from, more].concat();
    kcat_ok(&args, b"").lines().map(parse).collect()
}

fn parse(line: &str) -> Seen {
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!(fields.len(), 6, "kcat printed {line:?}");
    Seen {
        partition: fields[0].parse().unwrap(),
        offset: fields[1].parse().unwrap(),
        timestamp: fields[2].parse().unwrap(),
        key: fields[3].to_owned(),
        headers: fields[4].to_owned(),
        value: fields[5].to_owned(),
    }
}

/// A relay that keeps what clients send, to compare with what arrives elsewhere.
pub struct Recorder {
    pub addr: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// Listens at once; connections are relayed to `target`.
    pub fn start(target: SocketAddr) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let sink = sent.clone();
        // Ends with the test program; connections end with their peers.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(target) else { continue };
                let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let sink = sink.clone();
                thread::spawn(move || relay(client, server, |bytes| sink.lock().unwrap().extend_from_slice(bytes)));
                thread::spawn(move || relay(server_too, client_too, |_| ()));
            }
        });
        Recorder { addr, sent }
    }

    /// Whether a client sent these bytes in one piece.
    pub fn saw(&self, bytes: &[u8]) -> bool {
        let sent = self.sent.lock().unwrap();
        // Compressed bytes begin variously enough for the first few to single out the place.
        let head = &bytes[..bytes.len().min(16)];
        sent.windows(head.len()).enumerate().any(|(at, window)| window == head && sent[at..].starts_with(bytes))
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, mut saw: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        saw(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
