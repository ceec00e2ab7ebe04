use super::*;
use futures_lite::future::{block_on, poll_once};
use std::pin::pin;

#[test]
fn what_is_charged_is_there_at_once_and_others_wait_for_it() {
    block_on(async {
        let memory = Memory::new(10);
        let (answers, frames) = (memory.part(10), memory.part(10));
        let charged = answers.charge(14);
        assert_eq!((answers.free(), frames.free()), (0, 0));
        let mut waits = pin!(frames.take(6));
        assert!(poll_once(&mut waits).await.is_none());
        drop(charged);
        assert!(poll_once(&mut waits).await.is_some());
        assert_eq!(answers.free(), 10);
    });
}

#[test]
fn the_line_is_kept_and_everything_comes_back() {
    block_on(async {
        let budget = ByteBudget::new(10);
        let first = budget.take(8).await;
        let mut large = pin!(budget.take(10));
        assert!(poll_once(&mut large).await.is_none());
        let mut small = pin!(budget.take(1));
        assert!(poll_once(&mut small).await.is_none(), "the large one was first");
        drop(first);
        let held = poll_once(&mut large).await.expect("all is free");
        assert!(poll_once(&mut small).await.is_none());
        drop(held);
        drop(poll_once(&mut small).await.expect("its turn"));
        assert_eq!(budget.free(), 10);
    });
}

#[test]
fn whoever_gives_up_leaves_the_line() {
    block_on(async {
        let budget = ByteBudget::new(4);
        let held = budget.take(4).await;
        {
            let mut gone = pin!(budget.take(4));
            assert!(poll_once(&mut gone).await.is_none());
        }
        let mut next = pin!(budget.take(2));
        assert!(poll_once(&mut next).await.is_none());
        drop(held);
        assert!(poll_once(&mut next).await.is_some());
    });
}

#[test]
fn what_is_not_kept_comes_back_at_once() {
    let budget = ByteBudget::new(10);
    let mut held = block_on(budget.take(8));
    held.keep(3);
    assert_eq!(budget.free(), 7);
    held.keep(5);
    assert_eq!(budget.free(), 7, "a permit does not grow");
    drop(held);
    assert_eq!(budget.free(), 10);
}

#[test]
fn more_than_all_is_all() {
    let budget = ByteBudget::new(4);
    let held = block_on(budget.take(100));
    assert_eq!(budget.free(), 0);
    drop(held);
    assert_eq!(budget.free(), 4);
}

#[test]
fn parts_hold_to_their_own_bound_and_to_that_of_all() {
    block_on(async {
        let memory = Memory::new(10);
        let (one, other) = (memory.part(8), memory.part(8));
        let held = one.take(8).await;
        assert_eq!((one.free(), other.free()), (0, 2));
        let mut waits = pin!(other.take(5));
        assert!(poll_once(&mut waits).await.is_none());
        let mut own = pin!(one.take(1));
        assert!(poll_once(&mut own).await.is_none());
        drop(held);
        let (taken, more) = (poll_once(&mut waits).await, poll_once(&mut own).await);
        assert!(taken.is_some() && more.is_some());
        drop((taken, more));
        assert_eq!((one.free(), other.free()), (8, 8));
    });
}

/// Frames that have each come in part, and together hold all there is, still all come whole: one after the other.
#[test]
fn frames_that_grow_do_not_wait_for_each_other_for_ever() {
    block_on(async {
        let budget = ByteBudget::new(8);
        let mut frames: Vec<_> = (0..4).map(|_| budget.arriving()).collect();
        for frame in &mut frames {
            frame.grow(2).await;
        }
        let mut last = frames.pop().unwrap();
        let mut first = frames.pop().unwrap();
        first.grow(6).await;
        let mut waits = pin!(last.grow(6));
        assert!(poll_once(&mut waits).await.is_none(), "one at a time is beyond the bound");
        first.grow(9).await;
        let whole = first.whole();
        assert!(poll_once(&mut waits).await.is_none(), "until what it was for is done");
        drop(whole);
        assert!(poll_once(&mut waits).await.is_some());
        drop(frames);
    });
}

#[test]
fn who_holds_memory_and_sends_nothing_goes_when_others_need_it() {
    block_on(async {
        let budget = ByteBudget::new(8);
        let (mut slow, mut quick, mut idle) = (budget.arriving(), budget.arriving(), budget.arriving());
        for frame in [&mut slow, &mut quick, &mut idle] {
            frame.grow(2).await;
        }
        let come = quick.unless_too_slow(async { Ok(10 << 20) }).await;
        assert_eq!(come.unwrap(), 10 << 20);
        let (displaced, _) = futures_lite::future::zip(slow.unless_too_slow(std::future::pending()), async {
            drop(
                budget
                    .take(8)
                    .or(async {
                        smol::Timer::after(2 * GRACE).await;
                        budget.nothing()
                    })
                    .await,
            )
        })
        .await;
        assert_eq!(displaced.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let still = quick.unless_too_slow(async { Ok(1) }).await;
        assert_eq!(still.unwrap(), 1, "it was quick enough");
        // Without anybody waiting nobody is too slow.
        drop((slow, quick, idle));
        assert_eq!(budget.free(), 8);
        assert_eq!(budget.inner.state().arriving.len(), 0);
    });
}
