//! Looks at the clocks every second, and enters the time into the epoch's row once it is learned.

use super::draft::{self, Draft};
use super::error::StoreError;
use super::ring::lock;
use super::shared::Shared;
use super::types::{Committed, Operation, Refused};

/// Enters what was learned of time. It doesn't wait for company: uplinks may wait for it.
struct Learn;

impl Operation for Learn {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        draft.enter_time();
        Ok(())
    }

    fn done(self: Box<Self>, _outcome: Result<&Committed, &StoreError>) {}

    fn commits_at_once(&self) -> bool {
        true
    }
}

/// A look at the clocks, by which a jump is noticed. What it learns goes to the writer, or waits in memory for this
/// epoch's first commit. Whether it sent something.
pub(super) fn step(shared: &Shared) -> bool {
    let now = draft::now(&shared.env.clock);
    if !now.wall_trusted || lock(&shared.env.time).learned_ms.is_some() {
        return false;
    }
    let ordinal = shared.env.epoch.ordinal;
    let (begun, rows) = {
        let view = shared.view();
        (view.last_stamp.is_some_and(|(epoch, _)| epoch == ordinal), view.epochs())
    };
    if begun {
        return shared.queue.push_internal(Box::new(Learn)).is_ok();
    }
    let before: Vec<_> = rows.into_iter().filter(|row| row.epoch.ordinal < shared.env.same_clock_from).collect();
    lock(&shared.env.time).believe(&before, &now);
    false
}
