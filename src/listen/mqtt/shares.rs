//! All shared subscriptions (`$share/NAME/FILTER`), and who takes part in which.
//!
//! A share is a reader of the log, as a subscription is, but one for all its members: [`share`](super::share) knows how far it is,
//! [`sharing`](super::sharing) hands its messages out. It lives as long as a session has it; with no member connected its position stays.
//! It is no consumer group of the broker's: those share partitions, this shares single messages, which are acknowledged one by one
//! and in any order, among as many members as there are.
//!
//! Invariants: what of a share and of a session depends on each other (what was handed out, and who has it) changes and is stored under the
//! session's lock, in one commit; locks are taken in the order session, all shares, one share. An older state of a share never
//! overwrites a newer one: the writer compares their versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::Event;

use super::connection::Sides;
use super::filter::Filter;
use super::outbound::Origin;
use super::session::{Positions, Stored};
use super::share::{At, Share, StoredShare};
use crate::broker::{GuardedChange, Lobby};

/// Rows of shares: this byte, then the whole filter.
const ROW: u8 = b'g';

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shares {
    by_filter: Mutex<BTreeMap<String, Arc<Shared>>>,
    versions: Arc<AtomicU64>,
}

/// One share.
pub(super) struct Shared {
    /// As clients write it, with `$share/`.
    pub(super) filter: String,
    state: Mutex<State>,
    /// There may be more to hand out, or more room for it.
    pub(super) changed: Event,
    versions: Arc<AtomicU64>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("filter", &self.filter).finish_non_exhaustive()
    }
}

struct State {
    share: Share,
    /// In turn: the first one is next.
    members: Vec<Member>,
    /// Somebody hands out.
    is_served: bool,
}

struct Member {
    client: String,
    /// Its session outlives its connection.
    is_kept: bool,
    online: Option<Arc<Sides>>,
}

impl Shares {
    /// What the store has, and `sessions` take part in.
    pub(super) fn load(broker: &Lobby, sessions: &[(String, Stored)]) -> Self {
        let mut stored: BTreeMap<String, StoredShare> = BTreeMap::new();
        let mut newest = 0;
        for (key, value) in broker.rows(&[ROW]) {
            let filter = key.get(1..).and_then(|filter| std::str::from_utf8(filter).ok());
            if let (Some(filter), Some(share)) = (filter, StoredShare::decode(&value)) {
                newest = share.version.max(newest);
                stored.insert(filter.to_owned(), share);
            }
        }
        let shares = Self { by_filter: Mutex::default(), versions: Arc::new(AtomicU64::new(newest)) };
        let mut members: BTreeMap<&str, Vec<Member>> = BTreeMap::new();
        let mut in_hand: BTreeMap<&str, BTreeSet<At>> = BTreeMap::new();
        for (client, session) in sessions {
            for filter in session.subscriptions.keys() {
                let member = Member { client: client.clone(), is_kept: true, online: None };
                members.entry(filter).or_default().push(member);
            }
            for (_, flight) in &session.flights {
                if let Origin::Shared { share, partition, offset } = &flight.origin {
                    in_hand.entry(share).or_default().insert((*partition, *offset));
                }
            }
        }
        let loaded = stored.into_iter().filter_map(|(filter, stored)| {
            let members = members.remove(&*filter)?;
            let share = Share::load(stored, in_hand.get(&*filter).unwrap_or(&BTreeSet::new()));
            Some((filter.clone(), shares.shared(filter, share, members)))
        });
        let loaded = loaded.collect();
        Self { by_filter: Mutex::new(loaded), ..shares }
    }

    fn shared(&self, filter: String, share: Share, members: Vec<Member>) -> Arc<Shared> {
        let state = Mutex::new(State { share, members, is_served: false });
        Arc::new(Shared { filter, state, changed: Event::new(), versions: Arc::clone(&self.versions) })
    }

    /// Deletes rows of shares that no session has any more: those that a crash has left.
    pub(super) async fn sweep(&self, broker: &Lobby) {
        let known = |key: &[u8]| {
            let filter = key.get(1..).and_then(|filter| std::str::from_utf8(filter).ok());
            filter.is_some_and(|filter| self.by_filter().contains_key(filter))
        };
        let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        let rows = broker.rows(&[ROW]).into_iter().filter(|(key, _)| !known(key));
        let rows: Vec<_> = rows.map(|(key, _)| guarded(key, None, version)).collect();
        if !rows.is_empty()
            && let Err(error) = broker.change_rows_guarded(rows, Duration::ZERO).await
        {
            log::warn!("mqtt: shares that nobody has any more could not be deleted: {error}");
        }
    }

    /// A client takes part in a share, which begins at `begins` if it is new.
    pub(super) fn join(&self, filter: &str, client: &str, is_kept: bool, begins: &Positions) -> Arc<Shared> {
        let mut by_filter = self.by_filter();
        let new = || self.shared(filter.to_owned(), Share::new(begins.clone()), Vec::new());
        let shared = Arc::clone(by_filter.entry(filter.to_owned()).or_insert_with(new));
        let mut state = shared.state();
        match state.members.iter_mut().find(|member| member.client == client) {
            Some(member) => member.is_kept = is_kept,
            None => state.members.push(Member { client: client.to_owned(), is_kept, online: None }),
        }
        drop(state);
        shared
    }

    /// A client takes part no longer. The last one to go ends the share; what is to become of its row [`Shared::row`] says.
    pub(super) fn leave(&self, filter: &str, client: &str) -> Option<Arc<Shared>> {
        let mut by_filter = self.by_filter();
        let shared = Arc::clone(by_filter.get(filter)?);
        let mut state = shared.state();
        let had = state.members.len();
        state.members.retain(|member| member.client != client);
        let was_member = state.members.len() < had;
        if state.members.is_empty() {
            by_filter.remove(filter);
        }
        drop(state);
        shared.changed.notify(usize::MAX);
        was_member.then_some(shared)
    }

    /// A client takes part in nothing any more.
    pub(super) fn leave_all(&self, client: &str) -> Vec<Arc<Shared>> {
        let filters: Vec<String> = self.by_filter().keys().cloned().collect();
        filters.iter().filter_map(|filter| self.leave(filter, client)).collect()
    }

    /// The share of this filter.
    pub(super) fn get(&self, filter: &str) -> Option<Arc<Shared>> {
        self.by_filter().get(filter).cloned()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.by_filter().len()
    }

    /// A panic elsewhere cannot leave the map half changed: every change is one call.
    fn by_filter(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Shared>>> {
        self.by_filter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn guarded(key: Vec<u8>, value: Option<Vec<u8>>, version: u64) -> GuardedChange {
    let newer = move |stored: &[u8]| StoredShare::version_of(stored).is_some_and(|stored| stored > version);
    GuardedChange { row: (key, value), unless: Some(Box::new(newer)) }
}

impl Shared {
    /// What topics are held against.
    pub(super) fn pattern(&self) -> &str {
        Filter::parse(&self.filter).map_or("", |filter| filter.pattern())
    }

    /// Every change of the state is one call, so a panic elsewhere does not leave it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with what it is at.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Share) -> T) -> T {
        act(&mut self.state().share)
    }

    /// A member can be given messages from now on. Whether somebody must begin to hand them out.
    pub(super) fn online(&self, client: &str, sides: &Arc<Sides>) -> bool {
        let mut state = self.state();
        if let Some(member) = state.members.iter_mut().find(|member| member.client == client) {
            member.online = Some(Arc::clone(sides));
        }
        self.changed.notify(usize::MAX);
        !std::mem::replace(&mut state.is_served, true)
    }

    /// A member can't be given messages any more. `is_kept`: whether its session stays.
    pub(super) fn offline(&self, client: &str, is_kept: bool) {
        let mut state = self.state();
        if let Some(member) = state.members.iter_mut().find(|member| member.client == client) {
            member.online = None;
            member.is_kept = is_kept;
        }
        self.changed.notify(usize::MAX);
    }

    /// Whoever hands out asks whether there is still somebody to hand out to; if not, it is no longer served.
    pub(super) fn stays_served(&self) -> bool {
        let mut state = self.state();
        state.is_served = state.members.iter().any(|member| member.online.is_some());
        state.is_served
    }

    /// Members that are connected, in turn.
    pub(super) fn in_turn(&self) -> Vec<Arc<Sides>> {
        self.state().members.iter().filter_map(|member| member.online.clone()).collect()
    }

    /// A message goes to a member; `false` if that is not connected any more. To be called under the lock of the member's session.
    pub(super) fn hand_to(&self, client: &str, at: At, settled: bool) -> bool {
        let mut state = self.state();
        let found = state.members.iter().position(|member| member.client == client && member.online.is_some());
        let Some(index) = found else { return false };
        // It has had its turn.
        let member = state.members.remove(index);
        state.members.push(member);
        state.share.hand_out(at);
        if settled {
            state.share.settle(at);
        }
        true
    }

    /// The row that stores it as it is now; `None` if there is nothing to store: no member's session outlives its connection.
    /// To be called under the lock of the session that it is stored with.
    pub(super) fn row(&self) -> Option<GuardedChange> {
        let mut state = self.state();
        let key = [&[ROW], self.filter.as_bytes()].concat();
        let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        if state.members.is_empty() {
            return Some(guarded(key, None, version));
        }
        if !state.members.iter().any(|member| member.is_kept) {
            return None;
        }
        state.share.is_dirty = false;
        Some(guarded(key, Some(state.share.to_stored(version).encode()), version))
    }

    /// Whether something of it is to be stored.
    pub(super) fn is_dirty(&self) -> bool {
        let state = self.state();
        state.share.is_dirty && state.members.iter().any(|member| member.is_kept)
    }
}
