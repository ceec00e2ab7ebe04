//! Forgets native clients, idempotent producers and gateways below that are too many or too long gone, so that state stays bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Broker;
use super::call::call_lazily;
use super::{devices, producers, tiers};
use crate::limits;
use crate::store::Space;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long its deletions may wait for another commit.
const WITHIN: Duration = Duration::from_secs(60);
/// Most entries it deletes in one commit.
const DELETE_MAX: usize = 1_000;

impl Broker {
    /// Runs until dropped.
    pub async fn keep_tidy(&self) {
        loop {
            smol::Timer::after(INTERVAL).await;
            let now_ms = self.trusted_now_ms();
            let store = &self.shared.store;
            let clients = store.entries(Space::Device, &[]);
            let expired = devices::expired(clients.clone(), now_ms);
            self.forget(Space::Device, clients, expired).await;
            let producers = store.entries(Space::Producer, &[]);
            let expired = producers::expired(&producers, now_ms);
            self.forget(Space::Producer, producers, expired).await;
            let cursors = store.entries(Space::Cursor, tiers::PREFIX);
            let expired = tiers::expired(&cursors, now_ms);
            self.forget(Space::Cursor, cursors, expired).await;
        }
    }

    /// Deletes those of `entries` whose key is in `keys`, unless they have changed when it comes to that: who has come back
    /// meanwhile is not forgotten.
    async fn forget(&self, space: Space, mut entries: Vec<(Vec<u8>, Vec<u8>)>, keys: Vec<Vec<u8>>) {
        let keys: BTreeSet<Vec<u8>> = keys.into_iter().take(DELETE_MAX).collect();
        if keys.is_empty() {
            return;
        }
        entries.retain(|(key, _)| keys.contains(key));
        log::info!("forgetting {} entries of {space:?}: too many or too long unseen", entries.len());
        let deletion = call_lazily(
            &self.shared.store,
            WITHIN,
            move |draft| {
                let unchanged = |(key, row): &&(Vec<u8>, Vec<u8>)| draft.get(space, key) == Some(row.as_slice());
                let gone: Vec<_> = entries.iter().filter(unchanged).map(|(key, _)| key.as_slice()).collect();
                gone.into_iter().try_for_each(|key| draft.delete(space, key))
            },
            |()| {},
        );
        if let Err(error) = deletion.await {
            log::warn!("could not forget old entries of {space:?}: {error}");
        }
    }

    /// Wall time, if it is to be believed.
    fn trusted_now_ms(&self) -> Option<i64> {
        let now = self.shared.store.now();
        now.wall_trusted.then_some(now.wall_ms)
    }
}

/// Which keys of `states` (key, commit last seen in, wall time last seen at) are to be forgotten: the oldest beyond
/// `count_max`, and those not seen for `expiry_ms` by a trusted clock.
pub(super) fn expired(
    mut states: Vec<(Vec<u8>, u64, Option<i64>)>,
    now_ms: Option<i64>,
    count_max: usize,
    expiry_ms: i64,
) -> Vec<Vec<u8>> {
    states.sort_by_key(|(_, seen_commit, _)| *seen_commit);
    let surplus = states.len().saturating_sub(count_max);
    let too_old = |seen: Option<i64>| matches!((seen, now_ms), (Some(s), Some(n)) if n.saturating_sub(s) > expiry_ms);
    let states = states.into_iter().enumerate();
    states.filter(|(i, (_, _, seen))| *i < surplus || too_old(*seen)).map(|(_, (key, ..))| key).collect()
}

const _: () = assert!(limits::DEVICES_MAX > DELETE_MAX);
