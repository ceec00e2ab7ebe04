//! Sessions of native clients: who may publish under a client id, and which sequence is durable.
//!
//! A client numbers its records from 1 within a *session epoch*. The last durable sequence of each client lies in
//! `Space::Device`, written in the same commit as the records, so a record that is sent again after any crash of
//! client, link or gateway is recognised.
//!
//! Invariants: a client id is its owner's only ([`super::owner`]); at most one live session a client id, the newest; what an older one queued before is settled before
//! the newer one learns the last durable sequence; opening a session writes nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use event_listener::{Event, EventListener};
use serde::{Deserialize, Serialize};

use super::Broker;
use super::call::call;
use super::caller::Caller;
use super::error::ProduceError;
use super::janitor;
use super::owner::{self, Owner};
use crate::limits;
use crate::metrics::METRICS;
use crate::store::{CommitSeq, PartitionId, Space};

/// Partitions of which is remembered, across connections, how far a client wants to see them upstream.
const UPSTREAM_PARTITIONS_MAX: usize = 16;

/// What is durable about a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeviceState {
    /// The session epoch it last published in.
    pub(super) epoch: u64,
    /// The last sequence of that epoch that is appended; 0 is none.
    pub(super) last_sequence: u64,
    /// The commit it last published in: the order in which clients are forgotten when there are too many.
    pub(super) seen_commit: CommitSeq,
    /// Wall time it last published at, ms since 1970; `None` while the clock was not to be trusted.
    pub(super) seen_wall_ms: Option<i64>,
    /// Where the records it wants to see upstream end: partition and next offset, the latest published last.
    pub(super) upstream: Vec<(u32, i64)>,
    /// Stands before all the others.
    #[serde(skip)]
    pub(super) owner: Owner,
}

impl DeviceState {
    pub(super) fn encode(&self) -> Vec<u8> {
        owner::encode_row(&self.owner, self)
    }

    /// Remembers that records up to `next_offset` of a partition are wanted upstream. A client that publishes to more
    /// partitions than are remembered is told by those it used last.
    pub(super) fn wants_upstream(&mut self, partition: PartitionId, next_offset: i64) {
        self.upstream.retain(|(known, _)| *known != partition.0);
        if self.upstream.len() >= UPSTREAM_PARTITIONS_MAX {
            self.upstream.remove(0);
        }
        self.upstream.push((partition.0, next_offset));
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        owner::decode_row::<Self>(value).map(|(owner, state)| Self { owner, ..state })
    }
}

/// The live sessions, by client id.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    live: Mutex<HashMap<Arc<str>, Arc<Live>>>,
}

/// What a session's owner and its successor share.
#[derive(Debug)]
struct Live {
    /// Whom the client id belongs to by this session.
    owner: Owner,
    /// The epoch granted; 0 while the session is being opened.
    epoch: AtomicU64,
    fenced: AtomicBool,
    fence: Event,
}

/// The right to publish under a client id, until a newer connection takes it.
#[derive(Debug)]
pub struct DeviceSession {
    client_id: Arc<str>,
    epoch: u64,
    last_durable: u64,
    resumed: bool,
    floor: u64,
    /// The last sequence acknowledged from memory on this connection; 0 is none.
    from_memory: AtomicU64,
    upstream: Vec<(PartitionId, i64)>,
    live: Arc<Live>,
    shared: Arc<super::Shared>,
}

impl DeviceSession {
    /// The client's id.
    pub fn client_id(&self) -> &Arc<str> {
        &self.client_id
    }

    /// Whom the client's id belongs to.
    pub(super) fn owner(&self) -> &Owner {
        &self.live.owner
    }

    /// The session epoch granted.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last sequence that was durable when the session was opened; 0 is none. Sequences continue after it.
    pub fn last_durable_sequence(&self) -> u64 {
        self.last_durable
    }

    /// Whether the client's own epoch goes on: what it has not had acknowledged it sends with the same sequences.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// The first sequence that is expected.
    pub fn next_sequence(&self) -> u64 {
        self.last_durable.saturating_add(1).max(self.floor)
    }

    /// The lowest sequence the client may still send: those below were acknowledged from memory, before this connection
    /// or on it. A failure of the store may have lost them.
    pub(super) fn floor(&self) -> u64 {
        match self.from_memory.load(Ordering::Acquire) {
            0 => self.floor,
            last => self.floor.max(last.saturating_add(1)),
        }
    }

    /// The client is told that everything up to `sequence` is acknowledged, though it may be in memory only.
    pub fn acknowledged_from_memory(&self, sequence: u64) {
        self.from_memory.fetch_max(sequence, Ordering::AcqRel);
    }

    /// Where the records end that the client wanted to see upstream when it was last here: partition and next offset.
    pub fn wanted_upstream(&self) -> &[(PartitionId, i64)] {
        &self.upstream
    }

    /// Whether a newer connection has taken over.
    pub fn is_fenced(&self) -> bool {
        self.live.fenced.load(Ordering::Acquire)
    }

    /// Resolves when a newer connection takes over. Take it, look at [`Self::is_fenced`], then await it.
    pub fn fenced(&self) -> EventListener {
        self.live.fence.listen()
    }
}

impl Drop for DeviceSession {
    fn drop(&mut self) {
        let mut live = self.shared.sessions.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.get(&self.client_id).is_some_and(|current| Arc::ptr_eq(current, &self.live)) {
            live.remove(&self.client_id);
        }
    }
}

impl Broker {
    /// Opens the session of `client_id`, fencing an older one. `resume` is the epoch the client remembers, if any: it
    /// goes on if the gateway knows it, else a new epoch begins at sequence 1. `next_sequence` is the lowest sequence
    /// that the client may still send in a resumed epoch, 0 if it does not know.
    ///
    /// # Errors
    /// [`ProduceError::Store`] when the store cannot tell what is durable.
    pub async fn open_session(
        &self,
        client_id: &str,
        resume: Option<u64>,
        next_sequence: u64,
    ) -> Result<DeviceSession, ProduceError> {
        self.open_session_for(&Caller::gateway(), client_id, resume, next_sequence).await
    }

    /// The same for `caller`.
    ///
    /// # Errors
    /// As there, and [`ProduceError::NotYours`].
    pub(super) async fn open_session_for(
        &self,
        caller: &Caller,
        client_id: &str,
        resume: Option<u64>,
        next_sequence: u64,
    ) -> Result<DeviceSession, ProduceError> {
        let client_id: Arc<str> = client_id.into();
        // Looked at before anybody is fenced, and again behind all that is queued.
        let stored = self.shared.store.get(Space::Device, client_id.as_bytes());
        let stored = stored.as_deref().and_then(DeviceState::decode).unwrap_or_default();
        let rights = &self.shared.rights;
        let owner = rights.claim(caller, &stored.owner)?;
        let live = Arc::new(Live { owner, epoch: 0.into(), fenced: AtomicBool::new(false), fence: Event::new() });
        let older = {
            let mut sessions = self.shared.sessions.live.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(older) = sessions.get(&client_id) {
                rights.claim(caller, &older.owner)?;
            }
            sessions.insert(Arc::clone(&client_id), Arc::clone(&live))
        };
        let mut granted_before = 0;
        if let Some(older) = older {
            older.fenced.store(true, Ordering::Release);
            older.fence.notify(usize::MAX);
            granted_before = older.epoch.load(Ordering::Acquire);
            METRICS.sessions_fenced.add(1);
        }
        // Made before the wait below, so that whoever gives up half way leaves no entry behind.
        let mut session = DeviceSession {
            client_id,
            epoch: 0,
            last_durable: 0,
            resumed: false,
            floor: 0,
            from_memory: AtomicU64::new(0),
            upstream: Vec::new(),
            live,
            shared: Arc::clone(&self.shared),
        };
        let key = session.client_id.as_bytes().to_vec();
        let known = call(
            &self.shared.store,
            move |draft| Ok(draft.get(Space::Device, &key).and_then(DeviceState::decode)),
            |_| {},
        )
        .await?
        .unwrap_or_default();
        rights.claim(caller, &known.owner)?;
        if resume == Some(known.epoch) && known.epoch != 0 {
            session.resumed = true;
            session.epoch = known.epoch;
            session.last_durable = known.last_sequence;
            session.floor = next_sequence;
            session.upstream = known.upstream.into_iter().map(|(p, offset)| (PartitionId(p), offset)).collect();
        } else {
            let newest = known.epoch.max(granted_before).max(resume.unwrap_or(0));
            session.epoch = newest.saturating_add(1);
        }
        session.live.epoch.store(session.epoch, Ordering::Release);
        Ok(session)
    }
}

/// The keys of those clients among `entries` of `Space::Device` that are to be forgotten.
pub(super) fn expired(entries: Vec<(Vec<u8>, Vec<u8>)>, now_ms: Option<i64>) -> Vec<Vec<u8>> {
    let seen = |(key, value): (Vec<u8>, Vec<u8>)| {
        let state = DeviceState::decode(&value).unwrap_or_default();
        (key, state.seen_commit, state.seen_wall_ms)
    };
    let states = entries.into_iter().map(seen).collect();
    janitor::expired(states, now_ms, limits::DEVICES_MAX, limits::DEVICE_EXPIRY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_and_a_cut_one_does_not() {
        let state = DeviceState {
            epoch: 7,
            last_sequence: 900,
            seen_commit: 12,
            seen_wall_ms: Some(5),
            upstream: vec![(1, 2)],
            owner: Owner::default(),
        };
        let value = state.encode();
        assert_eq!(DeviceState::decode(&value), Some(state));
        assert_eq!(DeviceState::decode(&value[..value.len() - 1]), None);
        assert_eq!(DeviceState::decode(&[]), None);
    }

    #[test]
    fn only_a_trusted_clock_makes_a_client_forgotten() {
        let state = |commit, wall| {
            let state = DeviceState { epoch: 1, seen_commit: commit, seen_wall_ms: wall, ..DeviceState::default() };
            (commit.to_be_bytes().to_vec(), state.encode())
        };
        let states = vec![state(1, Some(0)), state(2, None), state(3, Some(limits::DEVICE_EXPIRY_MS))];
        assert_eq!(expired(states.clone(), None), Vec::<Vec<u8>>::new());
        let gone = expired(states, Some(limits::DEVICE_EXPIRY_MS + 1));
        assert_eq!(gone, vec![1u64.to_be_bytes().to_vec()]);
    }
}
