//! Accepting connections: bounded in number, each a task of its own, none able to stop the accepting.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_channel::Sender;
use smol::Executor;
use smol::net::unix::{UnixListener, UnixStream};
use smol::net::{TcpListener, TcpStream};

use crate::metrics::{Gauge, METRICS};
use crate::shutdown::Shutdown;

/// Pause after the kernel could not give a connection (out of files, mostly): the next try would fail as well.
const PAUSE: Duration = Duration::from_millis(100);

/// What every listener needs.
#[derive(Clone)]
pub struct Acceptor {
    /// Where sessions run.
    pub executor: Arc<Executor<'static>>,
    /// Ends the accepting and every session.
    pub shutdown: Shutdown,
    /// Held by every session: whoever has the other end sees when the last one is over.
    pub alive: Sender<()>,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Counts the connections of this listener.
    pub gauge: &'static Gauge,
}

impl Acceptor {
    /// Accepts by TCP until shutdown; `session` serves one connection and returns when it is over.
    pub async fn run<F>(self, listener: TcpListener, session: impl Fn(TcpStream, SocketAddr) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let session = |(stream, peer): (TcpStream, SocketAddr)| {
            // Answers are small and awaited: they must not wait for more to fill a segment.
            if let Err(error) = stream.set_nodelay(true) {
                log::debug!("{peer}: {error}");
            }
            session(stream, peer)
        };
        self.accept(|| listener.accept(), session).await;
    }

    /// Accepts by a Unix socket until shutdown.
    pub async fn run_local<F>(self, listener: UnixListener, session: impl Fn(UnixStream) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.accept(|| listener.accept(), |(stream, _)| session(stream)).await;
    }

    async fn accept<C, A, F>(self, accept: impl Fn() -> A, session: impl Fn(C) -> F)
    where
        A: Future<Output = io::Result<C>>,
        F: Future<Output = ()> + Send + 'static,
    {
        let open = Arc::new(AtomicUsize::new(0));
        while let Some(accepted) = self.shutdown.unless(accept()).await {
            let connection = match accepted {
                Ok(connection) => connection,
                Err(error) => {
                    log::warn!("could not accept a connection: {error}");
                    smol::Timer::after(PAUSE).await;
                    continue;
                }
            };
            let Some(place) = Place::take(&open, self.connections_max, self.gauge) else {
                METRICS.connections_refused.add(1);
                log::debug!("a connection is refused: all {} are taken", self.connections_max);
                continue;
            };
            METRICS.connections_accepted.add(1);
            let (session, alive) = (session(connection), self.alive.clone());
            let task = async move {
                session.await;
                drop((place, alive));
            };
            self.executor.spawn(task).detach();
        }
    }
}

/// One of the places for connections.
struct Place {
    open: Arc<AtomicUsize>,
    gauge: &'static Gauge,
}

impl Place {
    fn take(open: &Arc<AtomicUsize>, max: usize, gauge: &'static Gauge) -> Option<Self> {
        let one_more = |n: usize| (n < max).then_some(n + 1);
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        gauge.add(1);
        Some(Self { open: Arc::clone(open), gauge })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.gauge.add(-1);
    }
}

/// Binds a listener.
///
/// # Errors
/// A text that names the address, what is wrong and what to do.
pub async fn bind(addr: SocketAddr, key: &str) -> Result<TcpListener, String> {
    TcpListener::bind(addr).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{addr} is in use by another process; set {key} to a free address, or stop the other one")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{addr} is not an address of this machine; set {key} to one that is, or to 0.0.0.0")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{addr}: permission denied; ports below 1024 need a privilege, set {key} to a higher one")
        }
        _ => format!("cannot listen on {addr} ({key}): {error}"),
    })
}
