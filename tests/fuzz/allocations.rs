//! What a thread holds of the heap, and the most it held: a global allocator that counts. For tests that bound what a decoder takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    // Neither cell has a destructor, so they can be had at any time of a thread's life.
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

#[expect(unsafe_code, reason = "a global allocator can't be safe; it hands all on to the system's and only counts")]
// SAFETY: every call goes to the system's allocator as it came; the counters don't allocate. Reallocation is by these two, so the old and
// the new piece count side by side, as they may stand.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What `work` gives, and the most bytes that this thread held at a time beyond what it held before. One may stand within another.
pub(crate) fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let (before, outer) = (HELD.get(), PEAK.get());
    PEAK.set(before);
    let result = work();
    let peak = PEAK.get();
    PEAK.set(peak.max(outer));
    (result, (peak - before) as usize)
}
