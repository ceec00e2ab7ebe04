//! The gateway upstream, in this process, behind a relay that fails as it is told to.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use brooklet::broker::{NewTopic, Topic};
use brooklet::client::{Address, Connection};
use brooklet::config::{Config, DiskBudget};
use brooklet::frame::{FRAME_BYTES_MAX, Split, split};
use brooklet::gateway::Gateway;
use brooklet::record::{BatchView, VerifyLimits, decompress, records};
use smol::block_on;

/// What befalls a stretch on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    None,
    /// It is lost, and the connection.
    Lost,
    /// It arrives; its answer is lost, and the connection.
    AnswerLost,
    /// The connection is lost; it arrives later all the same.
    Late(u64),
    /// It arrives twice.
    Twice,
    /// It arrives, and nothing comes back any more, for as long as the client waits.
    Silence,
    /// A portal answers in its place.
    Portal,
}

type Mishaps = Arc<Mutex<VecDeque<Mishap>>>;

/// See the module.
pub struct Above {
    dir: tempfile::TempDir,
    config: Config,
    gateway: Option<Gateway>,
    pub relay: SocketAddr,
    mishaps: Mishaps,
}

impl Above {
    pub fn start(topics: &[(&str, u32)]) -> Self {
        Self::start_with(topics, |_| {})
    }

    pub fn start_with(topics: &[(&str, u32)], change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: dir.path().join("data"), ..Config::default() };
        config.gateway.id = Some("above".into());
        config.store.max_bytes = DiskBudget::Bytes(64 << 20);
        config.listen.native.addr = "127.0.0.1:0".parse().unwrap();
        config.listen.kafka.addr = "127.0.0.1:0".parse().unwrap();
        config.listen.mqtt.enabled = false;
        change(&mut config);
        let gateway = Gateway::start(&config).unwrap();
        config.listen.native.addr = gateway.native_addr().unwrap();
        let mishaps = Mishaps::default();
        let relay = relay(config.listen.native.addr, Arc::clone(&mishaps));
        let above = Self { dir, config, gateway: Some(gateway), relay, mishaps };
        topics.iter().for_each(|(name, partitions)| above.topic(name, *partitions, &[]));
        above
    }

    pub fn topic(&self, name: &str, partitions: u32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let new = NewTopic { name: name.to_owned(), partitions: Some(partitions), configs, ..NewTopic::default() };
        block_on(self.gateway().broker().create_topic(new)).unwrap();
    }

    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    /// As `brooklet status --json` prints it.
    pub fn status(&self) -> String {
        let address = Address::Tcp(self.config.listen.native.addr.to_string());
        block_on(async { Connection::open(&address, "test").await.unwrap().status().await.unwrap() })
    }

    pub fn stop(&mut self) {
        self.gateway.take().unwrap().stop();
    }

    pub fn launch(&mut self) {
        self.gateway = Some(Gateway::start(&self.config).unwrap());
    }

    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    pub fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    pub fn spare_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("spare")
    }

    /// From now on these befall one stretch after the other.
    pub fn befall(&self, mishaps: &[Mishap]) {
        self.mishaps.lock().unwrap().extend(mishaps);
    }

    pub fn calm(&self) {
        self.mishaps.lock().unwrap().clear();
    }

    pub fn is_calm(&self) -> bool {
        self.mishaps.lock().unwrap().is_empty()
    }

    /// The values of a topic's partition, with the names of each record's headers.
    pub fn records(&self, topic: &str, partition: usize) -> Vec<(String, Vec<String>)> {
        let broker = self.gateway().broker();
        let topic: Arc<Topic> = broker.topic(topic).unwrap();
        let (mut found, mut from) = (Vec::new(), 0);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        loop {
            let read = block_on(broker.fetch(topic.partitions[partition], from, 1 << 20)).unwrap();
            let mut rest = &read.bytes[..];
            if rest.is_empty() {
                return found;
            }
            while !rest.is_empty() {
                let (view, behind) = BatchView::parse(rest).unwrap();
                (rest, from) = (behind, view.next_offset());
                let payload = decompress(&view, &VerifyLimits::default()).unwrap();
                for record in records(&view, &payload).map(Result::unwrap) {
                    let headers = record.headers.clone().map(|(name, _)| text(name)).collect();
                    found.push((text(record.value.unwrap_or_default()), headers));
                }
            }
        }
    }

    pub fn values(&self, topic: &str, partition: usize) -> Vec<String> {
        self.records(topic, partition).into_iter().map(|(value, _)| value).collect()
    }
}

/// Copies a directory's files (those of a store that is closed).
pub fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// It ends with the test program.
fn relay(target: SocketAddr, mishaps: Mishaps) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(target) else { continue };
            let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let mute = Arc::new(AtomicBool::new(false));
            let (muted, mishaps) = (Arc::clone(&mute), Arc::clone(&mishaps));
            thread::spawn(move || down(server_too, client_too, &muted));
            thread::spawn(move || up(client, server, &mute, &mishaps));
        }
    });
    addr
}

fn down(mut server: TcpStream, mut client: TcpStream, mute: &AtomicBool) {
    let mut buffer = [0; 4_096];
    while let Ok(read) = server.read(&mut buffer) {
        if read == 0 || !mute.load(Ordering::SeqCst) && client.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    if !mute.load(Ordering::SeqCst) {
        let _ = client.shutdown(Shutdown::Both);
    }
}

const STRETCH: u8 = 0x1c;

fn up(mut client: TcpStream, mut server: TcpStream, mute: &AtomicBool, mishaps: &Mishaps) {
    let (mut pending, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let end = |streams: [&TcpStream; 2]| streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    while let Ok(read) = client.read(&mut buffer) {
        if read == 0 {
            break;
        }
        pending.extend_from_slice(&buffer[..read]);
        while let Ok(Split::Frame { body, taken }) = split(&pending, FRAME_BYTES_MAX) {
            let stretch = body.first() == Some(&STRETCH);
            let frame: Vec<u8> = pending.drain(..taken).collect();
            let mishap = if stretch { mishaps.lock().unwrap().pop_front() } else { None }.unwrap_or(Mishap::None);
            mute.fetch_or(matches!(mishap, Mishap::AnswerLost | Mishap::Silence), Ordering::SeqCst);
            match mishap {
                Mishap::Lost => return end([&client, &server]),
                Mishap::Portal => {
                    let _ = client.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n");
                    return end([&client, &server]);
                }
                Mishap::Late(ms) => {
                    let _ = client.shutdown(Shutdown::Both);
                    thread::sleep(Duration::from_millis(ms));
                    let _ = server.write_all(&frame);
                    thread::sleep(Duration::from_millis(30));
                    return end([&client, &server]);
                }
                Mishap::Twice => drop(server.write_all(&frame)),
                Mishap::None | Mishap::AnswerLost | Mishap::Silence => {}
            }
            if server.write_all(&frame).is_err() {
                return end([&client, &server]);
            }
            if mishap == Mishap::AnswerLost {
                thread::sleep(Duration::from_millis(20));
                return end([&client, &server]);
            }
        }
    }
    end([&client, &server]);
}
