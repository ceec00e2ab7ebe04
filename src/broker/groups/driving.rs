//! What makes groups go: time, saves on their way to the store, and forgetting what nobody has used for long.
//!
//! Invariants: saves reach the writer in the order in which they were made; a group is forgotten only while nobody is
//! in it, by powered time (this machine's uptime, summed over its restarts), never by a wall clock.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt;
use smol::Timer;

use super::registry::{Groups, Save};
use crate::broker::Broker;
use crate::broker::call::{call, unless_full};
use crate::broker::error::CommitError;
use crate::broker::offsets;
use crate::limits;
use crate::store::{Committed, Draft, DraftError, Operation, Refused, Space, Store, StoreError};

/// How often it looks for what can be forgotten, and notes the powered time.
pub(super) const TIDY: Duration = Duration::from_secs(600);
/// How long a save that nobody waits for may wait for another commit.
const WITHIN: Duration = Duration::from_secs(300);
/// When a group has been used is noted so exactly, ms of powered time.
const USED_PRECISION_MS: u64 = 24 * 3_600_000;

impl Broker {
    /// Lets time pass for groups, and stores them. Runs until dropped; without it no group gets anywhere.
    pub async fn keep_groups(&self) {
        let tidying = async {
            loop {
                Timer::after(TIDY).await;
                self.tidy_groups().await;
            }
        };
        // Apart: tidying waits for commits, and time-outs must not.
        self.drive_groups().or(tidying).await;
    }

    async fn drive_groups(&self) {
        let groups = &self.shared.groups;
        loop {
            let work = groups.work();
            let pause = self.step_groups().await;
            let time = async {
                match pause {
                    Some(pause) => drop(Timer::after(pause).await),
                    None => std::future::pending().await,
                }
            };
            work.or(time).await;
        }
    }

    /// One round of [`Broker::keep_groups`]: what is due happens, and is handed to the store. When the next round is
    /// due; `None`: when somebody has come.
    pub async fn step_groups(&self) -> Option<Duration> {
        let groups = &self.shared.groups;
        let due = groups.tick();
        if self.store_groups().await {
            return Some(Duration::ZERO);
        }
        due.map(|due| Duration::from_millis(due.saturating_sub(groups.now())))
    }

    /// Refuses all who wait for a group, and all who come: the gateway stops.
    pub fn close_groups(&self) {
        self.shared.groups.close();
    }

    /// Hands all saves to the store; whether there were any.
    async fn store_groups(&self) -> bool {
        let saves = std::mem::take(&mut self.shared.groups.lock().saves);
        let is_work = !saves.is_empty();
        for save in saves {
            let (key, number) = (save.key.clone(), save.number);
            let op = Box::new(StoreGroup { groups: Arc::clone(&self.shared.groups), save, outcome: None });
            let store: &Store = &self.shared.store;
            let submitted = match number {
                Some(_) => store.submit(op).await.is_ok(),
                None => store.submit_lazy(op, WITHIN).await.is_ok(),
            };
            if let (false, Some(number)) = (submitted, number) {
                self.shared.groups.saved(&key, number, false);
            }
        }
        is_work
    }

    /// Forgets groups that have been without members for longer than their offsets are kept, and those without
    /// offsets; has the times noted.
    pub(in crate::broker) async fn tidy_groups(&self) {
        let groups = &self.shared.groups;
        let powered_ms = groups.powered_ms();
        let retention_ms = u64::try_from(self.shared.options().offsets_retention.as_millis()).unwrap_or(u64::MAX);
        for (name, used_ms) in groups.deserted() {
            let is_old = powered_ms.saturating_sub(used_ms) > retention_ms;
            let which = match is_old {
                true => Which::Deserted,
                false if self.committed_offsets(&name).is_empty() => Which::WithoutOffsets,
                false => continue,
            };
            match self.forget_group(&name, which).await {
                Ok(true) if is_old => log::info!("group {name}: nobody has used it for long; its offsets are gone"),
                Ok(_) => {}
                Err(error) => log::warn!("group {name} could not be forgotten: {error}"),
            }
        }
        groups.note_times(USED_PRECISION_MS);
    }

    /// Deletes a group with its offsets, if it is as `which` says when the writer looks. Whether it was.
    pub(super) async fn forget_group(&self, name: &str, which: Which) -> Result<bool, CommitError> {
        let (groups, after) = (Arc::clone(&self.shared.groups), Arc::clone(&self.shared.groups));
        let (key, name, gone) = (offsets::group_key(name), name.to_owned(), name.to_owned());
        let apply = move |draft: &mut Draft<'_>| {
            if groups.lock().is_deserted(&name) != Some(true) {
                return Ok(false);
            }
            let rows = draft.entries(Space::Group, &key);
            let has_offsets = rows.iter().any(|(row, _)| *row != key);
            if which == Which::WithoutOffsets && has_offsets {
                return Ok(false);
            }
            rows.iter().try_for_each(|(row, _)| draft.delete(Space::Group, row))?;
            Ok(true)
        };
        let forget = move |deleted: &bool| {
            let mut inner = after.lock();
            // Somebody may have come since the writer looked.
            if *deleted && inner.is_deserted(&gone) == Some(true) {
                inner.groups.remove(&gone);
            }
        };
        call(&self.shared.store, apply, forget).await
    }
}

/// Which groups are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Without members.
    Deserted,
    /// Without members and offsets.
    WithoutOffsets,
}

/// Stores a row.
struct StoreGroup {
    groups: Arc<Groups>,
    save: Save,
    outcome: Option<Result<(), DraftError>>,
}

impl Operation for StoreGroup {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        self.outcome = Some(unless_full(draft.put(Space::Group, &self.save.key, &self.save.row))?);
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        if let Some(Err(error)) = &self.outcome {
            // Trying again would not help; the members go on, and join anew after a restart.
            let group = offsets::group_of(&self.save.key).map_or("", |(name, _)| name);
            log::warn!("the members of group {group} could not be stored: {error}");
        }
        if let Some(number) = self.save.number {
            self.groups.saved(&self.save.key, number, outcome.is_ok());
        }
    }

    fn queued_bytes(&self) -> usize {
        256 + self.save.row.len()
    }
}

const _: () = assert!(limits::GROUP_BYTES_MAX < limits::BATCH_BYTES_MAX);
