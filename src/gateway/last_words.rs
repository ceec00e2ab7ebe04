//! What a process that dies leaves behind: a small file in the data directory, `last-words`.
//!
//! | bytes | what |
//! |---|---|
//! | 0–15 | the mark: `watchdog`, `abort` or `panic`, filled up with blanks; written by a signal's handler or by the panic of the main thread |
//! | from 16 | the last panic's text, at most [`PANIC_BYTES_MAX`] |
//!
//! Invariants: nothing is synced: the kernel keeps what was written when the process dies, and a power cut is told by other means. A run that
//! ends in order writes nothing. Panics that are caught (a hostile frame, a damaged file) change the text only, and at most
//! [`PANICS_MAX`] times a run, so that nobody outside can wear the flash by them. What the handler calls is async-signal-safe.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

const NAME: &str = "last-words";
const MARK_BYTES: usize = 16;
/// Longest text of a panic that is kept.
const PANIC_BYTES_MAX: usize = 240;
/// Panics of a run that are written.
const PANICS_MAX: u32 = 16;

/// Why the process ended, as far as it could say so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// SIGABRT of another process.
    Watchdog,
    /// SIGABRT of its own.
    Abort,
    /// A panic of the main thread.
    Panic,
}

const MARKS: [(Mark, &[u8; MARK_BYTES]); 3] =
    [(Mark::Watchdog, b"watchdog        "), (Mark::Abort, b"abort           "), (Mark::Panic, b"panic           ")];

/// What the run before has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LastWords {
    pub(super) mark: Option<Mark>,
    /// The last panic, on one line; empty if there was none.
    pub(super) panic: String,
}

impl LastWords {
    /// Reads what is there, and leaves an empty file for this run. The directory must be claimed.
    ///
    /// # Errors
    /// The filesystem's.
    pub(super) fn take(data_dir: &Path) -> io::Result<Self> {
        let mut file = open(data_dir)?;
        let mut raw = Vec::new();
        file.by_ref().take((MARK_BYTES + PANIC_BYTES_MAX) as u64).read_to_end(&mut raw)?;
        if !raw.is_empty() {
            file.set_len(0)?;
        }
        Ok(Self::parse(&raw))
    }

    fn parse(raw: &[u8]) -> Self {
        let (mark, text) = raw.split_at_checked(MARK_BYTES).unwrap_or((raw, &[]));
        let mark = MARKS.iter().find(|(_, name)| mark == *name).map(|(mark, _)| *mark);
        let text = String::from_utf8_lossy(text);
        let line = |c: char| if c.is_control() { ' ' } else { c };
        Self { mark, panic: text.trim_matches(['\0', ' ', '\n']).chars().map(line).collect() }
    }
}

fn open(data_dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(data_dir.join(NAME))
}

/// The file, once this process is to leave last words; -1 before.
static FILE: AtomicI32 = AtomicI32::new(-1);
static PANICS: AtomicU32 = AtomicU32::new(0);

/// From now on this process says why it dies, into the file of this data directory. Panics are also told as before.
///
/// # Errors
/// The file can't be opened, or the handler not be set.
pub fn leave_last_words(data_dir: &Path) -> io::Result<()> {
    // Kept open until the end of the process.
    FILE.store(open(data_dir)?.into_raw_fd(), Ordering::Relaxed);
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if PANICS.fetch_add(1, Ordering::Relaxed) < PANICS_MAX {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a thread");
            let text: String =
                format!("{name}: {panic}").chars().filter(|c| *c != '\0').take(PANIC_BYTES_MAX).collect();
            let mut text = text.into_bytes();
            text.resize(PANIC_BYTES_MAX, b' ');
            write(&text, MARK_BYTES);
            if name == "main" {
                mark(Mark::Panic);
            }
        }
        told(panic);
    }));
    watch_abort()
}

fn mark(mark: Mark) {
    if let Some((_, name)) = MARKS.iter().find(|(other, _)| *other == mark) {
        write(*name, 0);
    }
}

/// Async-signal-safe: no allocation, no lock. What can't be written is not told.
fn write(bytes: &[u8], at: usize) {
    let file = FILE.load(Ordering::Relaxed);
    if file < 0 {
        return;
    }
    #[expect(unsafe_code, reason = "pwrite(2) of a live slice into a file that stays open until the process ends")]
    unsafe {
        libc::pwrite(file, bytes.as_ptr().cast(), bytes.len(), at as libc::off_t);
    }
}

fn watch_abort() -> io::Result<()> {
    #[expect(
        unsafe_code,
        reason = "a zeroed sigaction is a valid one; its handler calls async-signal-safe functions only"
    )]
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_abort;
        action.sa_sigaction = handler as libc::sighandler_t;
        // The second SIGABRT, which the handler sends itself, ends the process as if there had been no handler.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
        libc::sigaction(libc::SIGABRT, &raw const action, std::ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(
    unsafe_code,
    reason = "the kernel hands a valid siginfo to a handler with SA_SIGINFO; getpid and raise are async-signal-safe"
)]
extern "C" fn on_abort(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let is_own = unsafe { !info.is_null() && (*info).si_pid() == libc::getpid() };
    mark(if is_own { Mark::Abort } else { Mark::Watchdog });
    unsafe {
        libc::raise(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LastWords::take(dir.path()).unwrap(), LastWords::default());
        let left = [&b"watchdog        "[..], b"brooklet-io-1: panicked at x.rs\nout of luck   "].concat();
        std::fs::write(dir.path().join(NAME), left).unwrap();
        let words = LastWords::take(dir.path()).unwrap();
        assert_eq!(words.mark, Some(Mark::Watchdog));
        assert_eq!(words.panic, "brooklet-io-1: panicked at x.rs out of luck");
        assert_eq!(LastWords::take(dir.path()).unwrap(), LastWords::default());
    }

    #[test]
    fn a_caught_panic_alone_is_no_cause() {
        let raw = [&[0; MARK_BYTES][..], b"brooklet-io-0: a hostile frame"].concat();
        assert_eq!(
            LastWords::parse(&raw),
            LastWords { mark: None, panic: "brooklet-io-0: a hostile frame".to_owned() }
        );
        assert_eq!(LastWords::parse(b"panic"), LastWords::default());
    }
}
