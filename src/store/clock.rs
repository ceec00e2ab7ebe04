//! Time as the store knows it: one monotonic clock, one wall clock, and whether the wall clock is believed.
//!
//! Everything that measures an age does so with [`Clock::mono_ms`]; the wall clock only labels records and, while it is
//! trusted, drives time-based retention. Boards without a battery clock start in the past and jump once the network is
//! there, so the wall clock is never believed merely because it ticks.
//!
//! Invariant: nothing here waits. Waiting belongs to the threads that drive the store, so that tests need no time.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The earliest wall time that can be true, Unix milliseconds: 2026-11-01, when this version did not exist yet.
pub const WALL_FLOOR_MS: i64 = 1_793_491_200_000;

/// A source of time. Shared by all threads of the store.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since an arbitrary moment (on Linux: since boot, suspension included). Never decreases within a
    /// boot of the machine; starts anew with it.
    fn mono_ms(&self) -> u64;

    /// Unix time in milliseconds; may jump in both directions.
    fn wall_ms(&self) -> i64;

    /// Whether [`Clock::wall_ms`] may be believed now.
    fn wall_trusted(&self) -> bool;
}

/// When the wall clock is believed; the setting of the same meaning in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WallTrust {
    /// While the kernel says that the clock is synchronised (by NTP, PTP or GPS: all daemons report it there) with an
    /// error of at most 10 s, and the time isn't before [`WALL_FLOOR_MS`].
    #[default]
    Auto,
    /// Whenever the time isn't before [`WALL_FLOOR_MS`]: for machines with a good battery clock and no network.
    Always,
    /// Never.
    Never,
}

impl FromStr for WallTrust {
    type Err = ();

    /// Parses `auto`, `always` or `never`.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(()),
        }
    }
}

impl fmt::Display for WallTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

/// How long the kernel's word on its clock holds, ms: it takes longer to ask than to read the clocks, and an hour passes
/// before a clock that nobody disciplines any more is off by a second.
const ASK_EVERY_MS: u64 = 100;

/// The machine's clocks.
#[derive(Debug, Default)]
pub struct RealClock {
    trust: WallTrust,
    /// What the kernel said, and when: ms of the monotonic clock, doubled, and one more if the clock is synchronised.
    asked: AtomicU64,
}

impl RealClock {
    /// The machine's clocks, the wall clock believed as `trust` says.
    pub fn new(trust: WallTrust) -> Self {
        Self { trust, asked: AtomicU64::new(0) }
    }

    fn synchronised(&self) -> bool {
        let (now, asked) = (self.mono_ms(), self.asked.load(Ordering::Relaxed));
        if asked != 0 && now.saturating_sub(asked / 2) < ASK_EVERY_MS {
            return asked % 2 == 1;
        }
        let synchronised = kernel_synchronised();
        self.asked.store(now * 2 + u64::from(synchronised), Ordering::Relaxed);
        synchronised
    }
}

impl Clock for RealClock {
    fn mono_ms(&self) -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
        seconds.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000)
    }

    fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    fn wall_trusted(&self) -> bool {
        let plausible = self.wall_ms() >= WALL_FLOOR_MS;
        match self.trust {
            WallTrust::Auto => plausible && self.synchronised(),
            WallTrust::Always => plausible,
            WallTrust::Never => false,
        }
    }
}

/// The largest error that a believed wall clock may have by the kernel's own bound, microseconds (`maxerror` of
/// adjtimex(2)). The kernel adds 500 µs a second since a time daemon last set it: five and a half hours.
const MAX_ERROR_US: libc::c_long = 10_000_000;

/// Whether some time daemon disciplines the kernel's clock and its error bound is still small (adjtimex(2)).
fn kernel_synchronised() -> bool {
    #[expect(
        unsafe_code,
        reason = "no safe wrapper of adjtimex exists; `timex` is plain integers, so zeroes are valid"
    )]
    let (state, status, error_us) = unsafe {
        // `modes` 0 only asks; it needs no privilege.
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status, timex.maxerror)
    };
    is_synchronised(state, status, error_us)
}

fn is_synchronised(state: libc::c_int, status: libc::c_int, error_us: libc::c_long) -> bool {
    let disciplined = state >= 0 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0;
    disciplined && (0..=MAX_ERROR_US).contains(&error_us)
}

/// A clock that stands still until it is told to move: for tests and for the simulator.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Now>,
}

#[derive(Clone, Copy, Debug)]
struct Now {
    mono_ms: u64,
    wall_ms: i64,
    wall_trusted: bool,
}

impl ManualClock {
    /// A clock at `mono_ms` and `wall_ms`, the wall clock trusted.
    pub fn new(mono_ms: u64, wall_ms: i64) -> Self {
        Self { now: Mutex::new(Now { mono_ms, wall_ms, wall_trusted: true }) }
    }

    /// Moves both clocks forward.
    pub fn advance_ms(&self, ms: u64) {
        let mut now = self.lock();
        now.mono_ms = now.mono_ms.saturating_add(ms);
        now.wall_ms = now.wall_ms.saturating_add_unsigned(ms);
    }

    /// Makes the wall clock jump.
    pub fn set_wall(&self, wall_ms: i64, trusted: bool) {
        let mut now = self.lock();
        now.wall_ms = wall_ms;
        now.wall_trusted = trusted;
    }

    /// Restarts the monotonic clock, as a boot of the machine does.
    pub fn reboot(&self) {
        self.lock().mono_ms = 0;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    /// One second after boot, at [`WALL_FLOOR_MS`].
    fn default() -> Self {
        Self::new(1_000, WALL_FLOOR_MS)
    }
}

impl Clock for ManualClock {
    fn mono_ms(&self) -> u64 {
        self.lock().mono_ms
    }

    fn wall_ms(&self) -> i64 {
        self.lock().wall_ms
    }

    fn wall_trusted(&self) -> bool {
        self.lock().wall_trusted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_clocks_run() {
        let clock = RealClock::new(WallTrust::Always);
        let (mono, wall) = (clock.mono_ms(), clock.wall_ms());
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(clock.mono_ms() > mono);
        assert!(clock.wall_ms() > wall);
        assert_eq!(clock.wall_trusted(), wall >= WALL_FLOOR_MS);
        assert!(!RealClock::new(WallTrust::Never).wall_trusted());
        // Whatever the kernel says here, asking must work without privilege.
        let _ = RealClock::default().wall_trusted();
    }

    #[test]
    fn the_kernel_must_know_its_error_to_be_small() {
        assert!(is_synchronised(libc::TIME_OK, 0, 20_000));
        assert!(!is_synchronised(libc::TIME_OK, 0, 10_000_001));
        assert!(!is_synchronised(libc::TIME_OK, libc::STA_UNSYNC, 20_000));
        assert!(!is_synchronised(libc::TIME_ERROR, 0, 20_000) && !is_synchronised(-1, 0, 0));
    }

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(5, 1_000);
        clock.advance_ms(7);
        assert_eq!((clock.mono_ms(), clock.wall_ms(), clock.wall_trusted()), (12, 1_007, true));
        clock.set_wall(3, false);
        clock.reboot();
        assert_eq!((clock.mono_ms(), clock.wall_ms(), clock.wall_trusted()), (0, 3, false));
    }
}
