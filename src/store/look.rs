//! Looks at the view.
//!
//! Invariant: a thread has at most one at a time. A second one waits for a writer who came in between, and that one waits for the first: who takes
//! two stops the store, though only where a commit comes at that moment. A build for development stops at the second look, whatever comes.

use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::view::View;

/// What a thread has of the view, to read.
pub(super) type Look<'a> = Held<RwLockReadGuard<'a, View>>;
/// The same, to write.
pub(super) type Change<'a> = Held<RwLockWriteGuard<'a, View>>;

/// A guard, and the note that this thread has it.
#[derive(Debug)]
pub(super) struct Held<G> {
    guard: G,
    _note: Note,
}

/// To read. What is half changed no writer leaves behind: see [`super::shared::Shared::poison`].
pub(super) fn look(view: &RwLock<View>) -> Look<'_> {
    let note = Note::new(view);
    Held { guard: view.read().unwrap_or_else(PoisonError::into_inner), _note: note }
}

/// To write.
pub(super) fn change(view: &RwLock<View>) -> Change<'_> {
    let note = Note::new(view);
    Held { guard: view.write().unwrap_or_else(PoisonError::into_inner), _note: note }
}

impl<G: Deref<Target = View>> Deref for Held<G> {
    type Target = View;

    fn deref(&self) -> &View {
        &self.guard
    }
}

impl<G: DerefMut<Target = View>> DerefMut for Held<G> {
    fn deref_mut(&mut self) -> &mut View {
        &mut self.guard
    }
}

#[cfg(not(debug_assertions))]
#[derive(Debug)]
struct Note;

#[cfg(not(debug_assertions))]
impl Note {
    fn new(_: &RwLock<View>) -> Self {
        Self
    }
}

#[cfg(debug_assertions)]
use noted::Note;

#[cfg(debug_assertions)]
mod noted {
    use std::cell::RefCell;
    use std::sync::RwLock;

    use super::View;

    thread_local! {
        /// The views that this thread has, by their addresses: one of each store.
        static HAS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }

    #[derive(Debug)]
    pub(super) struct Note(usize);

    impl Note {
        pub(super) fn new(view: &RwLock<View>) -> Self {
            let address = std::ptr::from_ref(view).addr();
            HAS.with_borrow_mut(|has| {
                assert!(!has.contains(&address), "a second look at the view by a thread that still has the first");
                has.push(address);
            });
            Self(address)
        }
    }

    impl Drop for Note {
        fn drop(&mut self) {
            HAS.with_borrow_mut(|has| has.retain(|address| *address != self.0));
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_second_look_is_a_fault_and_one_after_the_other_is_none() {
        let (view, other) = (RwLock::new(View::new()), RwLock::new(View::new()));
        for _ in 0..2 {
            let first = look(&view);
            let _of_another_store = look(&other);
            assert!(catch_unwind(AssertUnwindSafe(|| drop(look(&view)))).is_err());
            assert!(catch_unwind(AssertUnwindSafe(|| drop(change(&view)))).is_err());
            drop(first);
            drop(change(&view));
        }
    }
}
