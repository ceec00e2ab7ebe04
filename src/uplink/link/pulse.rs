//! Whether a connection is alive, by what moves on it.
//!
//! While an answer is awaited, bytes leave (into the peer's hands: the kernel has its acknowledgement) or come in. As long as they do,
//! the link is slow, not dead. Once all has left, the answer is due within the time-out, and what the slowest link takes for the
//! bytes that may still wait in something in between (a proxy, a modem) that takes them in the peer's stead.
//!
//! Invariant: no connection is given up that has moved a byte within its time-out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use smol::net::TcpStream;

/// How often it is looked at, in a part of the time-out.
const LOOKS: u32 = 8;
/// TCP's own keepalive while an answer is awaited: after this part of the time-out, and again after half of that.
const PROBE_PART: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(in crate::uplink) struct Pulse {
    /// `None`: what has left can't be told.
    socket: Option<TcpStream>,
    /// Bytes that wait here to be written.
    unwritten: AtomicU64,
    seen: Mutex<Seen>,
}

/// What was last seen.
#[derive(Debug)]
struct Seen {
    /// Bytes that had not left.
    left: u64,
    moved: Instant,
    /// Whether TCP's keepalive is on.
    probing: bool,
}

impl Pulse {
    pub(in crate::uplink) fn of(socket: Option<TcpStream>) -> Self {
        let seen = Seen { left: 0, moved: Instant::now(), probing: false };
        Self { socket, unwritten: AtomicU64::new(0), seen: Mutex::new(seen) }
    }

    /// So many bytes are to be written.
    pub(in crate::uplink) fn queued(&self, bytes: u64) {
        let before = self.unwritten.fetch_add(bytes, Ordering::Relaxed);
        let mut seen = self.seen();
        seen.left = seen.left.max(before) + bytes;
    }

    /// So many of them were.
    pub(in crate::uplink) fn written(&self, bytes: usize) {
        self.unwritten.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes have come in.
    pub(in crate::uplink) fn received(&self) {
        self.seen().moved = Instant::now();
    }

    /// When something last moved, as far as is known; and the bytes that have not left.
    pub(in crate::uplink) fn look(&self, now: Instant) -> (Instant, u64) {
        let left = self.unwritten.load(Ordering::Relaxed) + self.socket.as_ref().map_or(0, unacknowledged);
        let mut seen = self.seen();
        if left < seen.left {
            seen.moved = now;
        }
        seen.left = left;
        (seen.moved, left)
    }

    /// Lets TCP ask by itself whether the peer is there, while an answer is awaited: an idle link is not to be paid for.
    pub(in crate::uplink) fn probe(&self, on: bool, timeout: Duration) {
        let mut seen = self.seen();
        if seen.probing == on {
            return;
        }
        seen.probing = on;
        let Some(socket) = &self.socket else { return };
        #[cfg(target_os = "linux")]
        {
            use rustix::net::sockopt;
            let seconds = |part: Duration| Duration::from_secs(part.as_secs().max(1));
            // Best effort: without it a silent peer is found out a little later.
            let _ = sockopt::set_socket_keepalive(socket, on);
            if on {
                let _ = sockopt::set_tcp_keepidle(socket, seconds(timeout / PROBE_PART));
                let _ = sockopt::set_tcp_keepintvl(socket, seconds(timeout / PROBE_PART / 2));
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (socket, timeout);
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves when the deadline, which moves on as bytes do, has passed; it is looked at several times in a time-out.
pub(in crate::uplink) async fn expired(timeout: Duration, deadline: impl Fn(Instant) -> Instant) {
    let look_after = (timeout / LOOKS).max(Duration::from_millis(1));
    loop {
        let now = Instant::now();
        let until = deadline(now);
        if until <= now {
            return;
        }
        smol::Timer::at(until.min(now + look_after)).await;
    }
}

/// Bytes in the socket that the peer has not acknowledged.
#[cfg(target_os = "linux")]
fn unacknowledged(socket: &TcpStream) -> u64 {
    use std::os::fd::AsRawFd;

    let mut bytes: libc::c_int = 0;
    #[expect(
        unsafe_code,
        reason = "SIOCOUTQ has no wrapper; it writes one int, into `bytes`, and the descriptor is open as long as `socket` lives"
    )]
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}

#[cfg(not(target_os = "linux"))]
fn unacknowledged(_: &TcpStream) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_and_what_comes_is_a_sign_of_life() {
        let pulse = Pulse::of(None);
        let begin = pulse.look(Instant::now()).0;
        let at = |seconds| begin + Duration::from_secs(seconds);
        pulse.queued(100);
        assert_eq!(pulse.look(at(1)), (begin, 100), "waiting is none");
        pulse.written(40);
        assert_eq!(pulse.look(at(2)), (at(2), 60));
        assert_eq!(pulse.look(at(3)), (at(2), 60));
        // More to write is no step back.
        pulse.queued(50);
        pulse.written(10);
        assert_eq!(pulse.look(at(4)), (at(4), 100));
        pulse.received();
        assert!(pulse.look(at(5)).0 > begin);
    }
}
