//! A thin link: a relay to one address whose bytes take their time, both ways, and are counted.
//!
//! Bytes pass one after the other at the link's rate (each way has its own), then lie for the delay. What can't enter yet stays
//! with the sender. Nothing is lost and nothing is looked at.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

/// What a link is like.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Bytes a second, each way.
    pub bytes_a_second: u64,
    /// From one end to the other.
    pub delay: Duration,
}

/// See the module.
pub struct ThinLink {
    pub addr: SocketAddr,
    passed: Arc<[AtomicU64; 2]>,
    over: Arc<AtomicBool>,
}

impl ThinLink {
    /// A relay to `target`, on loopback. Its address is free again when it is dropped.
    pub fn start(addr: SocketAddr, target: SocketAddr, shape: Shape) -> ThinLink {
        let listener = TcpListener::bind(addr).unwrap();
        let passed: Arc<[AtomicU64; 2]> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let (counters, ended) = (Arc::clone(&passed), Arc::clone(&over));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(server) = TcpStream::connect(target) else { continue };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let up = Arc::clone(&counters);
                thread::spawn(move || one_way(client_too, server_too, shape, move |n| count(&up[0], n)));
                let down = Arc::clone(&counters);
                thread::spawn(move || one_way(server, client, shape, move |n| count(&down[1], n)));
            }
        });
        ThinLink { addr, passed, over }
    }

    /// Bytes that have entered the link since the start: to the target, and from it.
    pub fn passed(&self) -> (u64, u64) {
        (self.passed[0].load(Ordering::Relaxed), self.passed[1].load(Ordering::Relaxed))
    }
}

impl Drop for ThinLink {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes who waits for the next one.
        let _ = TcpStream::connect(self.addr);
    }
}

fn count(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(bytes as u64, Ordering::Relaxed);
}

fn one_way(mut from: TcpStream, to: TcpStream, shape: Shape, count: impl Fn(usize)) {
    let (sender, receiver) = mpsc::channel();
    let end = to.try_clone().unwrap();
    let deliver = thread::spawn(move || deliver(&receiver, to));
    let mut buf = vec![0; 8 * 1024];
    let mut free = Instant::now();
    while let Ok(read) = from.read(&mut buf) {
        if read == 0 {
            break;
        }
        let takes = Duration::from_secs_f64(read as f64 / shape.bytes_a_second as f64);
        free = free.max(Instant::now()) + takes;
        thread::sleep(free.saturating_duration_since(Instant::now()));
        count(read);
        if sender.send((free + shape.delay, buf[..read].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = deliver.join();
    let _ = (end.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}

fn deliver(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) -> io::Result<()> {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    while let Some((at, bytes)) = waiting.pop_front().or_else(|| pieces.recv().ok()) {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        to.write_all(&bytes)?;
        waiting.extend(pieces.try_iter());
    }
    Ok(())
}
