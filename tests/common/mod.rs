//! What the tests with real processes share: a gateway as a child process, the Kafka protocol by hand, other people's
//! programs.
//!
//! Nothing here uses the library under test: a fault shared by both sides would hide itself.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod gateway;
pub mod link;
pub mod peers;
pub mod wire;

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A loopback address that nobody listens on at this moment, that the kernel gives to no outgoing connection (its ephemeral ports begin
/// at 32,768), and that is given to nobody else while this process lives: between now and when a gateway listens there, as well as
/// between two starts of it, another test could take it. A lock on a file of that number keeps others off.
pub fn free_addr() -> SocketAddr {
    static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let user = rustix::process::getuid().as_raw();
    let dir = std::env::temp_dir().join(format!("brooklet-test-ports-{user}"));
    fs::create_dir_all(&dir).unwrap();
    let reserve = || {
        let port = fastrand::u16(20_000..29_000);
        let file = File::create(dir.join(port.to_string())).ok()?;
        file.try_lock().ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok()?;
        Some((port, file))
    };
    let (port, file) = std::iter::repeat_with(reserve).take(1_000).flatten().next().unwrap();
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(file);
    ([127, 0, 0, 1], port).into()
}

/// Asks again until there is an answer.
///
/// # Panics
/// After `within`, naming `what`.
pub fn wait_for<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < within, "waited {within:?} in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
