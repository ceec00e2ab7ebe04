//! Accepting connections: bounded in number, each a task of its own, none able to stop the accepting.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::executor::Executor;
use async_channel::Sender;
use smol::net::unix::{UnixListener, UnixStream};
use smol::net::{TcpListener, TcpStream};

use super::arrival::Arrival;
use super::handshake::Handshakes;
use super::places::Places;
use super::stream::Socket;
use crate::metrics::METRICS;
use crate::shutdown::Shutdown;
use crate::tls::ServerTls;

/// Pause after the kernel could not give a connection (out of files, mostly): the next try would fail as well.
const PAUSE: Duration = Duration::from_millis(100);

/// What every listener needs.
#[derive(Clone)]
pub struct Acceptor {
    /// Where sessions run.
    pub executor: Arc<Executor>,
    /// Ends the accepting and every session.
    pub shutdown: Shutdown,
    /// Held by every session: whoever has the other end sees when the last one is over.
    pub alive: Sender<()>,
    /// Bounds the connections of this listener.
    pub places: Places,
    /// Bounds the handshakes of all listeners.
    pub handshakes: Handshakes,
}

/// A socket that is listened on, and what is spoken on it.
pub struct Door {
    /// Where connections come in.
    pub listener: TcpListener,
    /// TLS; `None`: in the clear.
    pub tls: Option<Arc<ServerTls>>,
}

impl Acceptor {
    /// Accepts at a door until shutdown; `session` serves one connection, whose client has shaken hands, and returns when it is over.
    pub async fn run<F>(self, door: &Door, session: impl Fn(Socket, Arc<Arrival>) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let session = Arc::new(session);
        let serve = |(stream, peer): (TcpStream, SocketAddr)| {
            // Answers are small and awaited: they must not wait for more to fill a segment.
            if let Err(error) = stream.set_nodelay(true) {
                log::debug!("{peer}: {error}");
            }
            let (session, tls, handshakes) = (Arc::clone(&session), door.tls.clone(), self.handshakes.clone());
            async move {
                let mut arrival = Arrival::by_network(peer, stream.local_addr().ok());
                let socket = match tls {
                    None => Socket::Tcp(Box::new(stream)),
                    Some(tls) => {
                        // Boxed: it is over soon, and the room for it would be held as long as the session.
                        let shaken = Box::pin(async move { handshakes.shake(&tls, stream, peer).await });
                        let Some(stream) = shaken.await else { return };
                        arrival = arrival.with_tls(stream.peer_certificate());
                        Socket::Tls(Box::new(stream))
                    }
                };
                session(socket, Arc::new(arrival)).await;
            }
        };
        let address = |(_, peer): &(TcpStream, SocketAddr)| Some(peer.ip());
        self.accept(|| door.listener.accept(), address, serve).await;
    }

    /// Accepts by a Unix socket until shutdown.
    pub async fn run_local<F>(self, listener: UnixListener, session: impl Fn(UnixStream) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.accept(|| listener.accept(), |_| None, |(stream, _)| session(stream)).await;
    }

    async fn accept<C, A, F>(
        &self,
        accept: impl Fn() -> A,
        address: impl Fn(&C) -> Option<IpAddr>,
        serve: impl Fn(C) -> F,
    ) where
        A: Future<Output = io::Result<C>>,
        F: Future<Output = ()> + Send + 'static,
    {
        while let Some(accepted) = self.shutdown.unless(accept()).await {
            let connection = match accepted {
                Ok(connection) => connection,
                Err(error) => {
                    log::warn!("could not accept a connection: {error}");
                    smol::Timer::after(PAUSE).await;
                    continue;
                }
            };
            let from = address(&connection);
            let Some(place) = self.places.take(from) else {
                log::debug!("a connection from {from:?} is refused: all places are taken");
                continue;
            };
            METRICS.connections_accepted.add(1);
            // Boxed: a future that another one takes by value lies in it twice.
            let session: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(serve(connection));
            let alive = self.alive.clone();
            let task = async move {
                session.await;
                drop((place, alive));
            };
            self.executor.spawn(task).detach();
        }
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
