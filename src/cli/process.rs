//! What a process that runs for months asks of its system.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Makes all threads share one heap. To be called before there are other threads.
///
/// glibc gives each thread a heap of its own, from which memory rarely returns to the system: with a dozen threads that pass
/// batches to each other, a third of what a loaded gateway takes. One heap for all costs nothing measurable here. Other C
/// libraries (musl, in static binaries) have one anyway.
pub(super) fn share_heap() {
    #[cfg(target_env = "gnu")]
    #[expect(
        unsafe_code,
        reason = "a number is set, and no other thread is there yet; if it is refused, nothing changes"
    )]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Lets this process have as many files open as it is allowed at all: by default a process may have 1,024, fewer than the
/// listeners' connections. Where that is refused, connections are.
pub(super) fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        log::warn!("the number of open files stays limited to {}: {error}", limit.current.unwrap_or_default());
    }
}
