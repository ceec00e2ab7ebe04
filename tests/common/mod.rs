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
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

/// A loopback address that nobody listens on at this moment, and that the kernel gives to no outgoing connection (its
/// ephemeral ports begin at 32,768): else one of these would take it at times before the gateway does.
pub fn free_addr() -> SocketAddr {
    let bind = || TcpListener::bind(("127.0.0.1", fastrand::u16(20_000..32_000))).ok();
    std::iter::repeat_with(bind).take(100).flatten().next().unwrap().local_addr().unwrap()
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
