//! What the service manager is told: the protocol of sd_notify(3), datagrams to the socket named in `NOTIFY_SOCKET`.
//!
//! Invariants: without that variable nothing happens; telling never blocks, and never fails the gateway. The watchdog is
//! fed only while [`Vital`] finds that the process gets on.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::executor::start_thread;
use crate::gateway::Vital;

/// While starting: how often more time is asked for, and how much.
const EXTEND_EVERY: Duration = Duration::from_secs(20);
const EXTEND_BY: Duration = Duration::from_secs(90);
/// For how long, in all: a store of many gigabytes on a worn card is read within this.
const START_MAX: Duration = Duration::from_secs(1_800);

/// The service manager, if there is one.
#[derive(Debug)]
pub(super) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment names it.
    pub(super) fn from_environment() -> Self {
        let own = std::process::id();
        // The interval is meant for one process; a child inherits the variables.
        let is_meant = |value: Option<String>| value.is_none_or(|pid| pid.parse() == Ok(own));
        let variable = |name| std::env::var(name).ok();
        let watchdog = variable("WATCHDOG_USEC").filter(|_| is_meant(variable("WATCHDOG_PID")));
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").and_then(|path| connect(path.as_bytes())),
            // None, where it is 0 or no number.
            watchdog: watchdog.and_then(|text| text.parse().ok()).filter(|usec| *usec > 0).map(Duration::from_micros),
        }
    }

    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.socket {
            // A manager that can't be told has gone, or is busy; there is nobody to tell that.
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }

    /// Asks for more time from now on, until the returned [`Starting`] is dropped or made ready. Recovery reads what the power cut left.
    pub(super) fn start(self) -> Starting {
        let stop = Stop::default();
        if self.socket.is_none() {
            return Starting { manager: self, stop };
        }
        let extend = self.clone_socket();
        let text = format!("EXTEND_TIMEOUT_USEC={}\nSTATUS=opening the store", EXTEND_BY.as_micros());
        // The first one from here: on a busy machine the thread may come late.
        self.tell(&text);
        let pause = Arc::clone(&stop.0);
        let ask = move || {
            let begun = Instant::now();
            while begun.elapsed() < START_MAX && !pause.is_over_after(EXTEND_EVERY) {
                extend.tell(&text);
            }
        };
        // Without a thread, what was asked for has to do.
        let _ = start_thread("brooklet-start", ask);
        Starting { manager: self, stop }
    }

    fn clone_socket(&self) -> Self {
        let socket = self.socket.as_ref().and_then(|(socket, to)| Some((socket.try_clone().ok()?, to.clone())));
        Self { socket, watchdog: self.watchdog }
    }
}

/// Dropped, it ends the pauses of a thread.
#[derive(Debug, Default)]
struct Stop(Arc<Pause>);

#[derive(Debug, Default)]
struct Pause {
    over: Mutex<bool>,
    changed: Condvar,
}

impl Drop for Stop {
    fn drop(&mut self) {
        *self.0.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}

impl Pause {
    /// Waits for this time, or until it is over; says whether it is.
    fn is_over_after(&self, time: Duration) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(over, time, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// How often it is looked whether all gets on, at the least: what stands still is found so much later than it may.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A gateway on its way up.
#[derive(Debug)]
pub(super) struct Starting {
    manager: Manager,
    stop: Stop,
}

impl Starting {
    /// Tells that the gateway serves; feeds the watchdog from now on, until what is returned is dropped.
    pub(super) fn ready(self, vital: Vital) -> Serving {
        let Self { manager, stop } = self;
        drop(stop);
        manager.tell("READY=1\nSTATUS=serving");
        let stop = Stop::default();
        if let (Some(within), Some(_)) = (manager.watchdog, &manager.socket) {
            let mut vital = vital;
            let feeder = manager.clone_socket();
            let every = (within / 4).min(LOOK_EVERY);
            let pause = Arc::clone(&stop.0);
            let feed = move || feed(&feeder, || vital.check(), || pause.is_over_after(every));
            if let Err(error) = start_thread("brooklet-watchdog", feed) {
                log::error!("the watchdog of the service manager can't be fed: {error}");
            }
        }
        Serving { manager, _stop: stop }
    }
}

/// Feeds the watchdog while `check` finds that all gets on; `pause` waits for the next time, and says whether it is over.
fn feed(manager: &Manager, mut check: impl FnMut() -> Result<(), String>, pause: impl Fn() -> bool) {
    let mut was_told = false;
    loop {
        match check() {
            Ok(()) => {
                manager.tell("WATCHDOG=1");
                was_told = false;
            }
            Err(what) if !was_told => {
                log::error!("{what}: the watchdog of the service manager is no longer fed, which ends this process");
                manager.tell(&format!("STATUS=hangs: {what}"));
                was_told = true;
            }
            Err(_) => {}
        }
        if pause() {
            return;
        }
    }
}

/// A gateway that serves.
#[derive(Debug)]
pub(super) struct Serving {
    manager: Manager,
    _stop: Stop,
}

impl Serving {
    /// Tells that the gateway ends.
    pub(super) fn stopping(self) {
        self.manager.tell("STOPPING=1\nSTATUS=ending");
    }
}

/// A socket, and the address that `path` means; one that begins with `@` is in Linux's abstract namespace.
fn connect(path: &[u8]) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match path {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address.ok()?))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::thread;

    use super::*;

    #[test]
    fn a_pause_is_over_when_its_stop_is_dropped() {
        let stop = Stop::default();
        let pause = Arc::clone(&stop.0);
        assert!(!pause.is_over_after(Duration::ZERO));
        let paused = thread::spawn(move || (pause.is_over_after(Duration::MAX), pause.is_over_after(Duration::MAX)));
        drop(stop);
        assert_eq!(paused.join().unwrap(), (true, true));
    }

    #[test]
    fn what_hangs_is_not_fed_and_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        let manager = Manager { socket: connect(path.as_os_str().as_bytes()), watchdog: None };
        let hangs = || Err("the store stands still".to_owned());
        let answers = RefCell::new(vec![Ok(()), hangs(), hangs(), hangs(), Ok(())]);
        feed(&manager, || answers.borrow_mut().pop().unwrap(), || answers.borrow().is_empty());
        let mut buffer = [0; 4_096];
        let mut next = || {
            let bytes = heard.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..bytes]).into_owned())
        };
        let all: Vec<_> = std::iter::from_fn(&mut next).collect();
        assert_eq!(all, ["WATCHDOG=1", "STATUS=hangs: the store stands still", "WATCHDOG=1"]);
    }
}
