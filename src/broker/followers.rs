//! Uplinks as the broker sees them: which topics each follows, how far each has come, and who waits for that.
//!
//! A follower's position in a partition is a set of offset intervals ([`Intervals`]), durable in `Space::Cursor` under
//! the partition's store-wide number, which belongs to one (topic UUID, index) for ever.
//!
//! Invariants: what is published here as forwarded has been acknowledged upstream; the durable copy may lag (then a
//! crash makes the follower send again), never lead. A durable copy that speaks of what is not there yet counts for nothing, and its follower
//! is told ([`Broker::take_distrusted`]): cut to what is there, it would let pass later what comes before the next look.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::{Event, EventListener};

use super::Broker;
use super::call::{call_at_once, call_lazily};
use super::dead_letter::Letter;
use super::error::CommitError;
use super::topic::Topic;
use crate::store::{Draft, DraftError, Intervals, PartitionId, Space, Store, cursor_key};

/// Chooses the topics that a follower follows.
pub type Follows = Arc<dyn Fn(&Topic) -> bool + Send + Sync>;

#[derive(Default)]
pub(super) struct Followers {
    inner: Mutex<Inner>,
    progress: Event,
}

#[derive(Default)]
struct Inner {
    follows: BTreeMap<String, Follows>,
    positions: HashMap<PartitionId, BTreeMap<String, Intervals>>,
    /// Of those who follow no more: the durable copy may still be on its way when they come back.
    left: HashMap<PartitionId, BTreeMap<String, Intervals>>,
    /// Where the durable copy could not be true.
    distrusted: BTreeMap<String, Vec<PartitionId>>,
}

impl std::fmt::Debug for Followers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followers").finish_non_exhaustive()
    }
}

impl Followers {
    /// Lets every follower that wants `topic` follow it from its durable position on.
    pub(super) fn topic_published(&self, store: &Store, topic: &Topic) {
        let mut inner = self.lock();
        let names: Vec<_> = inner.follows.iter().filter(|(_, f)| f(topic)).map(|(name, _)| name.clone()).collect();
        for name in names {
            for partition in &topic.partitions {
                inner.follow(store, &name, *partition);
            }
        }
        drop(inner);
        self.progress.notify(usize::MAX);
    }

    /// Forgets the partitions of a topic that is gone.
    pub(super) fn topic_withdrawn(&self, store: &Store, topic: &Topic) {
        let mut inner = self.lock();
        for partition in &topic.partitions {
            inner.left.remove(partition);
            for (name, _) in inner.positions.remove(partition).unwrap_or_default() {
                store.unfollow(&name, *partition);
            }
        }
        drop(inner);
        self.progress.notify(usize::MAX);
    }

    /// Lets everyone who waits for progress look again.
    pub(super) fn wake_all(&self) {
        self.progress.notify(usize::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn follow(&mut self, store: &Store, name: &str, partition: PartitionId) {
        let positions = self.positions.entry(partition).or_default();
        if positions.contains_key(name) {
            return;
        }
        let left = self.left.get_mut(&partition).and_then(|left| left.remove(name));
        let position = left.or_else(|| durable(store, name, partition)).unwrap_or_else(|| {
            self.distrusted.entry(name.to_owned()).or_default().push(partition);
            Intervals::new()
        });
        positions.insert(name.to_owned(), position);
        store.follow(name, partition);
    }

    fn unfollow(&mut self, store: &Store, name: &str, partition: PartitionId) {
        if let Some(positions) = self.positions.get_mut(&partition)
            && let Some(position) = positions.remove(name)
        {
            self.left.entry(partition).or_default().insert(name.to_owned(), position);
            store.unfollow(name, partition);
        }
    }
}

impl Broker {
    /// Registers the follower `name` for all topics, present and to come, that `follows` chooses, and for no others if it is one already.
    /// What it has not forwarded is protected: its loss is recorded in the ledger.
    pub fn add_follower(&self, name: &str, follows: Follows) {
        let shared = &self.shared;
        let mut inner = shared.followers.lock();
        inner.follows.insert(name.to_owned(), Arc::clone(&follows));
        for topic in shared.catalog.all() {
            let is_chosen = follows(&topic);
            for partition in &topic.partitions {
                match is_chosen {
                    true => inner.follow(&shared.store, name, *partition),
                    false => inner.unfollow(&shared.store, name, *partition),
                }
            }
        }
    }

    /// The follower `name` is one no more: nothing is protected for it, and nobody waits for it. Its durable positions stay, so that it
    /// goes on from there should it come back.
    pub fn remove_follower(&self, name: &str) {
        let shared = &self.shared;
        let mut inner = shared.followers.lock();
        inner.follows.remove(name);
        for partition in shared.catalog.all().iter().flat_map(|topic| &topic.partitions) {
            inner.unfollow(&shared.store, name, *partition);
        }
        drop(inner);
        self.set_gateways_above(name, Vec::new());
        self.forget_upstream_limits(name);
        shared.followers.wake_all();
    }

    /// The followers of `topic`, by name.
    pub fn followers_of(&self, topic: &Topic) -> Vec<String> {
        let inner = self.shared.followers.lock();
        inner.follows.iter().filter(|(_, follows)| follows(topic)).map(|(name, _)| name.clone()).collect()
    }

    /// What `follower` is done with in a partition; nothing if it does not follow it.
    pub fn position(&self, follower: &str, partition: PartitionId) -> Intervals {
        let inner = self.shared.followers.lock();
        inner.positions.get(&partition).and_then(|all| all.get(follower)).cloned().unwrap_or_default()
    }

    /// Publishes how far `follower` has come. Not durable yet: [`Broker::save_positions`].
    pub fn advance_position(&self, follower: &str, partition: PartitionId, position: Intervals) {
        let mut inner = self.shared.followers.lock();
        if let Some(all) = inner.positions.get_mut(&partition) {
            all.insert(follower.to_owned(), position);
        }
        drop(inner);
        self.shared.followers.progress.notify(usize::MAX);
    }

    /// The partitions of `follower` whose durable position could not be true, since the last call: it begins them anew, and saves that.
    pub fn take_distrusted(&self, follower: &str) -> Vec<PartitionId> {
        self.shared.followers.lock().distrusted.remove(follower).unwrap_or_default()
    }

    /// `follower` turns out to be done with all before `next` of a partition that it may follow no more: should it come back, it goes on there. Nothing, if
    /// that is not there.
    ///
    /// # Errors
    /// It was not made durable; it holds until the gateway ends.
    pub async fn advance_left(&self, follower: &str, partition: PartitionId, next: i64) -> Result<(), CommitError> {
        let store = &self.shared.store;
        if store.head(partition).is_none_or(|head| next > head.readable_end()) {
            return Ok(());
        }
        let position = {
            let mut inner = self.shared.followers.lock();
            let Inner { positions, left, .. } = &mut *inner;
            let now = positions.get_mut(&partition).and_then(|all| all.get_mut(follower));
            let now = now.unwrap_or_else(|| {
                let left = left.entry(partition).or_default().entry(follower.to_owned());
                left.or_insert_with(|| durable(store, follower, partition).unwrap_or_default())
            });
            // Where there is no room for it, it is forwarded again.
            let _ = now.insert(0..next);
            now.clone()
        };
        self.save_positions(follower, vec![(partition, position)], Duration::ZERO).await
    }

    /// Makes positions of `follower` durable: with the next commit, or after `within` with one of their own.
    ///
    /// # Errors
    /// Why they were not; they are to be saved again then.
    pub async fn save_positions(
        &self,
        follower: &str,
        positions: Vec<(PartitionId, Intervals)>,
        within: Duration,
    ) -> Result<(), CommitError> {
        let entries = entries(follower, &positions);
        call_lazily(&self.shared.store, within, move |draft| put_positions(draft, &entries), |_| {}).await
    }

    /// Makes positions of `follower` durable at once, with the letters of records that they pass, in one commit with a row of its
    /// own under `key`, which no partition's position has (see [`cursor_key`]).
    ///
    /// # Errors
    /// Why nothing was saved.
    pub async fn save_with_row(
        &self,
        follower: &str,
        positions: Vec<(PartitionId, Intervals)>,
        letters: Vec<Letter>,
        (key, value): (Vec<u8>, Vec<u8>),
    ) -> Result<(), CommitError> {
        let entries = entries(follower, &positions);
        let prepared = match letters.is_empty() {
            true => None,
            false => Some(Arc::new(self.prepare_letters(follower, letters).await)),
        };
        let writing = prepared.clone();
        let apply = move |draft: &mut Draft<'_>| {
            if let Some(letters) = &writing {
                letters.write(draft)?;
            }
            put_positions(draft, &entries)?;
            draft.put(Space::Cursor, &key, &value)
        };
        call_at_once(&self.shared.store, apply, move |()| prepared.iter().for_each(|letters| letters.written())).await
    }

    /// The row that was last saved by [`Broker::save_with_row`].
    pub fn follower_row(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.shared.store.get(Space::Cursor, key)
    }

    /// The offset up to which every follower of the partition has forwarded it; `None` if nobody follows it.
    pub fn upstream_offset(&self, partition: PartitionId) -> Option<i64> {
        let inner = self.shared.followers.lock();
        inner.positions.get(&partition)?.values().map(Intervals::first_gap).min()
    }

    /// Resolves at the next progress of any follower. Take it, look at [`Broker::upstream_offset`], then await it.
    pub fn upstream_progress(&self) -> EventListener {
        self.shared.followers.progress.listen()
    }
}

/// The position as the store has it; `None` if that can't be true. What followers read ends where every fetch does: so do positions.
fn durable(store: &Store, name: &str, partition: PartitionId) -> Option<Intervals> {
    let Some(value) = store.get(Space::Cursor, &cursor_key(name, partition)) else { return Some(Intervals::new()) };
    // After the row: the log only grows.
    let end = store.head(partition).map_or(0, |head| head.readable_end());
    Intervals::decode_within(&value, end)
}

/// Partition, key and value of each position.
type Entries = Vec<(PartitionId, Vec<u8>, Vec<u8>)>;

fn entries(follower: &str, positions: &[(PartitionId, Intervals)]) -> Entries {
    positions.iter().map(|(p, position)| (*p, cursor_key(follower, *p), position.encode())).collect()
}

fn put_positions(draft: &mut Draft<'_>, entries: &Entries) -> Result<(), DraftError> {
    for (partition, key, value) in entries {
        // A partition that was dropped meanwhile keeps no position.
        if draft.head(*partition).is_some() {
            draft.put(Space::Cursor, key, value)?;
        }
    }
    Ok(())
}
