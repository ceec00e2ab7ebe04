//! All MQTT clients together: who is connected, whose session waits for them, and whose will is due.
//!
//! Invariants: a client id is its owner's only; at most one connection a client id, the newest; the older one has ended, and what is to be kept of its session is durable,
//! before the newer one reads it. A session is forgotten when its time is over by this process's clock: a gateway without power
//! lets none expire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event;

use super::inbound::Mark;
use super::session::Stored;
use super::{Context, publishing};
use crate::broker::owner::{NotYours, Owner};
use crate::broker::{Access, GuardedChange, Lobby, RowChange, Stays};
use crate::metrics::METRICS;
use crate::mqtt::PacketId;
use crate::shutdown::Shutdown;

/// Rows of sessions: this byte, then the client id.
const SESSION_ROW: u8 = b's';
/// Rows of packet ids that wait for PUBREL: this byte, the client id, a zero byte, the id in network order.
const PACKET_ROW: u8 = b'q';
/// How often it looks whose time is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hub {
    clients: Mutex<HashMap<String, Client>>,
}

/// What is known of a client id.
#[derive(Debug, Default)]
struct Client {
    /// Whom the id belongs to, while there is anything of it.
    owner: Owner,
    connection: Option<Arc<Connection>>,
    /// When its stored session is over; `None`: there is none, or it has no end.
    expires: Option<Instant>,
    is_stored: bool,
    will: Option<(Instant, publishing::Will)>,
}

/// A connection as others see it.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// A newer one takes over, or an administrator ends it.
    pub(super) taken_over: Shutdown,
    ended: Event,
}

/// The right to be a client, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    context: Arc<Context>,
    client: String,
    /// Whom the client id belongs to.
    pub(super) owner: Owner,
    pub(super) connection: Arc<Connection>,
}

/// Why somebody can't be a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// There are too many sessions.
    Full,
    NotYours(NotYours),
}

/// How a connection leaves its session behind.
#[derive(Debug)]
pub(super) struct Leaving {
    /// How long the session stays, seconds; 0: it is gone.
    pub(super) expiry_s: u32,
    /// To be published after that many seconds, or with the end of the session; one that is due at once has been.
    pub(super) will: Option<(u32, publishing::Will)>,
}

impl Hub {
    /// What the store has; the time of each session begins anew.
    pub(super) fn load(sessions: &[(String, Stored)]) -> Self {
        let now = Instant::now();
        let client = |(id, stored): &(String, Stored)| {
            let expires = expiry(now, stored.expiry_s);
            (id.clone(), Client { owner: stored.owner.clone(), expires, is_stored: true, ..Client::default() })
        };
        Self { clients: Mutex::new(sessions.iter().map(client).collect()) }
    }

    /// Takes the place of a client id, ending whoever has it. With it comes the will that an earlier connection has left and that is not due
    /// yet.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub(super) async fn enter(
        context: &Arc<Context>,
        access: &Access,
        client: &str,
    ) -> Result<(Place, Option<publishing::Will>), NoPlace> {
        loop {
            let older = {
                let mut clients = context.hub.clients();
                if !clients.contains_key(client) && clients.len() >= context.options().sessions_max {
                    METRICS.kept_refused.add(1);
                    return Err(NoPlace::Full);
                }
                // Of one that is not there yet nobody is the owner: that is never refused.
                let entry = clients.entry(client.to_owned()).or_default();
                let owner = access.claim(&entry.owner).map_err(NoPlace::NotYours)?;
                match &entry.connection {
                    Some(older) => {
                        // The listener first: what ends in between is not missed.
                        let ended = older.ended.listen();
                        older.taken_over.begin();
                        ended
                    }
                    None => {
                        let connection = Arc::<Connection>::default();
                        entry.connection = Some(Arc::clone(&connection));
                        entry.owner = owner.clone();
                        let will = entry.will.take().map(|(_, will)| will);
                        let (context, client) = (Arc::clone(context), client.to_owned());
                        return Ok((Place { context, client, owner, connection }, will));
                    }
                }
            };
            METRICS.sessions_fenced.add(1);
            older.await;
        }
    }

    /// Publishes wills that are due, and forgets sessions whose time is over; until dropped.
    pub(super) async fn keep(context: &Arc<Context>) {
        loop {
            smol::Timer::after(LOOK_EVERY).await;
            let now = Instant::now();
            let (mut wills, mut over) = (Vec::new(), Vec::new());
            context.hub.clients().retain(|id, client| {
                let expired = client.connection.is_none() && client.expires.is_some_and(|at| at <= now);
                if expired || client.will.as_ref().is_some_and(|(at, _)| *at <= now) {
                    wills.extend(client.will.take().map(|(_, will)| will));
                }
                if expired {
                    over.push(id.clone());
                }
                !expired && (client.connection.is_some() || client.is_stored || client.will.is_some())
            });
            for will in wills {
                publishing::publish_will(context, will).await;
            }
            for client in over {
                forget(context, &client).await;
            }
        }
    }

    /// Connected clients, and sessions that wait for theirs.
    pub(super) fn counts(&self) -> (usize, usize) {
        let clients = self.clients();
        let connected = clients.values().filter(|client| client.connection.is_some()).count();
        (connected, clients.values().filter(|client| client.is_stored && client.connection.is_none()).count())
    }

    /// A panic elsewhere cannot leave the map half changed: every change is one call.
    fn clients(&self) -> MutexGuard<'_, HashMap<String, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The session that is stored for this client.
    pub(super) fn stored(&self) -> Option<Stored> {
        self.context.broker.row(&session_row(&self.client)).and_then(|value| Stored::decode(&value))
    }

    /// Packet ids that wait for PUBREL.
    pub(super) fn packet_ids(&self) -> Vec<(PacketId, Mark)> {
        packet_ids(&self.context, &self.client)
    }

    /// Gives the place back; the session is as it was stored.
    pub(super) fn leave(self, leaving: Leaving) {
        let now = Instant::now();
        let due = |(delay_s, will)| (now + Duration::from_secs(u64::from(leaving.expiry_s.min(delay_s))), will);
        let mut clients = self.context.hub.clients();
        if let Some(client) = clients.get_mut(&self.client) {
            client.is_stored = leaving.expiry_s > 0;
            client.expires = expiry(now, leaving.expiry_s);
            client.will = leaving.will.map(due);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self.context.hub.clients();
        if let Some(client) = clients.get_mut(&self.client) {
            client.connection = None;
            if !client.is_stored && client.will.is_none() {
                clients.remove(&self.client);
            }
        }
        drop(clients);
        self.connection.ended.notify(usize::MAX);
    }
}

fn expiry(now: Instant, expiry_s: u32) -> Option<Instant> {
    (expiry_s < u32::MAX).then(|| now + Duration::from_secs(u64::from(expiry_s)))
}

/// All sessions that are stored, by client id.
pub(super) fn stored_sessions(broker: &Lobby) -> Vec<(String, Stored)> {
    broker.rows(&[SESSION_ROW]).iter().filter_map(session).collect()
}

fn session((key, value): &(Vec<u8>, Vec<u8>)) -> Option<(String, Stored)> {
    Some((String::from_utf8(key.get(1..)?.to_vec()).ok()?, Stored::decode(value)?))
}

/// Deletes sessions that can't be read: nobody would come for them.
pub(super) async fn drop_unreadable(broker: &Lobby) {
    let rows = broker.rows(&[SESSION_ROW]).into_iter().filter(|row| session(row).is_none());
    // Unless its client comes at this moment.
    let readable: fn() -> Option<Stays> = || Some(Box::new(|value: &[u8]| Stored::decode(value).is_some()));
    let rows: Vec<GuardedChange> =
        rows.map(|(key, _)| GuardedChange { row: (key, None), unless: readable() }).collect();
    if rows.is_empty() {
        return;
    }
    log::error!("mqtt: {} stored sessions can't be read; they are deleted, and their clients begin anew", rows.len());
    if let Err(error) = broker.change_rows_guarded(rows, Duration::ZERO).await {
        log::warn!("mqtt: sessions could not be deleted: {error}");
    }
}

/// Deletes all that is stored of a client.
pub(super) async fn forget(context: &Context, client: &str) {
    let ids = packet_ids(context, client);
    let mut rows: Vec<RowChange> = ids.into_iter().map(|(id, _)| (packet_row(client, id), None)).collect();
    let session = session_row(client);
    rows.extend(context.broker.row(&session).map(|_| (session, None)));
    let mut rows: Vec<GuardedChange> = rows.into_iter().map(Into::into).collect();
    rows.extend(context.shares.leave_all(client).iter().filter_map(|share| share.row()));
    if rows.is_empty() {
        return;
    }
    if let Err(error) = context.broker.change_rows_guarded(rows, Duration::ZERO).await {
        log::warn!("mqtt: the session of {client:?} could not be deleted: {error}");
    }
}

fn packet_ids(context: &Context, client: &str) -> Vec<(PacketId, Mark)> {
    let rows = context.broker.rows(&packet_prefix(client));
    let id = |(key, value): (Vec<u8>, Vec<u8>)| {
        Some((PacketId::new(u16::from_be_bytes(*key.last_chunk::<2>()?))?, Mark::of_row(&value)))
    };
    rows.into_iter().filter_map(id).collect()
}

/// The key of a session.
pub(super) fn session_row(client: &str) -> Vec<u8> {
    [&[SESSION_ROW], client.as_bytes()].concat()
}

fn packet_prefix(client: &str) -> Vec<u8> {
    [&[PACKET_ROW], client.as_bytes(), &[0]].concat()
}

/// The key of a packet id that waits for PUBREL.
pub(super) fn packet_row(client: &str, id: PacketId) -> Vec<u8> {
    let mut key = packet_prefix(client);
    key.extend_from_slice(&id.get().to_be_bytes());
    key
}
