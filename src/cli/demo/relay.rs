//! The link between gateway and centre, in a form that can be cut: a relay of connections inside this process. To another gateway
//! it passes bytes as they are.
//!
//! A Kafka client asks any broker for the addresses of all, and connects to those: it would go around a plain relay.
//! So the answers to Metadata are rewritten: each broker's address becomes that of a relay of its own.
//!
//! Invariants: while the link is cut no byte passes and no connection lives; all else passes unchanged, frame by frame.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_lite::future::Boxed;
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use smol::net::{TcpListener, TcpStream};

use crate::config::HostPort;
use crate::executor::spawn_aside;
use crate::kafka::api::ApiKey;
use crate::kafka::frame;
use crate::kafka::header::{read_response, write_response};
use crate::kafka::metadata::MetadataResponse;
use crate::shutdown::Shutdown;

/// Largest frame that passes, bytes.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most brokers that get a relay each.
const BROKERS_MAX: usize = 64;

/// A link to one cluster. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Begun when the link is cut; a new one when it is restored.
    cut: Shutdown,
    /// Where the relay of each broker listens.
    relays: HashMap<HostPort, SocketAddr>,
}

/// What is at the other end of a relay.
#[derive(Clone, Debug)]
enum Kind {
    Kafka(HostPort),
    Plain(SocketAddr),
}

impl Link {
    /// Where to connect, on loopback, to reach this broker over the link.
    ///
    /// # Errors
    /// When no port can be had, or no thread.
    pub(super) fn relay_to(&self, broker: HostPort) -> Boxed<io::Result<SocketAddr>> {
        // Boxed: a relay may come to start another one.
        let link = self.clone();
        Box::pin(async move {
            if let Some(address) = link.known(&broker) {
                return Ok(address);
            }
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            link.lock().relays.insert(broker.clone(), address);
            spawn_aside(link.relay(listener, Kind::Kafka(broker)))?.detach();
            Ok(address)
        })
    }

    /// Where to connect, on loopback, to reach a gateway's native port over the link.
    ///
    /// # Errors
    /// When no port can be had, or no thread.
    pub(super) async fn plain_relay_to(&self, gateway: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        spawn_aside(self.clone().relay(listener, Kind::Plain(gateway)))?.detach();
        Ok(address)
    }

    fn known(&self, broker: &HostPort) -> Option<SocketAddr> {
        self.lock().relays.get(broker).copied()
    }

    /// Ends every connection; new ones end at once.
    pub(super) fn cut(&self) {
        self.lock().cut.begin();
    }

    /// Lets connections through again.
    pub(super) fn restore(&self) {
        self.lock().cut = Shutdown::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn relay(self, listener: TcpListener, kind: Kind) {
        loop {
            let Ok((client, _)) = listener.accept().await else { return };
            let (link, kind, cut) = (self.clone(), kind.clone(), self.lock().cut.clone());
            let connection = async move {
                // Whoever loses the connection notices and tries again: that is what is to be shown.
                let _ = match kind {
                    Kind::Kafka(broker) => cut.unless(link.connection(client, &broker)).await,
                    Kind::Plain(gateway) => cut.unless(pass(client, gateway)).await,
                };
            };
            let Ok(task) = spawn_aside(connection) else { return };
            task.detach();
        }
    }

    async fn connection(&self, client: TcpStream, broker: &HostPort) -> io::Result<()> {
        let server = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        // What was asked, in order: answers come in the same order.
        let asked = Mutex::new(VecDeque::new());
        let up = async {
            let (mut from, mut to) = (client.clone(), server.clone());
            loop {
                let request = read_frame(&mut from).await?;
                asked.lock().unwrap_or_else(PoisonError::into_inner).push_back(api_of(&request));
                write_frame(&mut to, &request).await?;
            }
        };
        let down = async {
            let (mut from, mut to) = (server.clone(), client.clone());
            loop {
                let answer = read_frame(&mut from).await?;
                let api = asked.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten();
                match api {
                    Some((ApiKey::Metadata, version)) => to.write_all(&self.rewritten(version, &answer).await?).await?,
                    _ => write_frame(&mut to, &answer).await?,
                }
            }
        };
        up.or(down).await
    }

    /// An answer to Metadata, framed, in which the brokers' addresses are those of their relays.
    async fn rewritten(&self, version: i16, answer: &[u8]) -> io::Result<Vec<u8>> {
        let (correlation_id, mut metadata) = read_response::<MetadataResponse<'_>>(version, answer).map_err(invalid)?;
        metadata.brokers.truncate(BROKERS_MAX);
        for broker in &mut metadata.brokers {
            let port = u16::try_from(broker.port).map_err(invalid)?;
            let relay = self.relay_to(HostPort { host: broker.host.to_owned(), port }).await?;
            broker.host = "127.0.0.1";
            broker.port = i32::from(relay.port());
        }
        let mut out = Vec::new();
        write_response(&mut out, version, correlation_id, &metadata).map_err(invalid)?;
        Ok(out)
    }
}

/// Passes bytes both ways.
async fn pass(client: TcpStream, gateway: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(gateway).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let up = smol::io::copy(client.clone(), server.clone());
    let down = smol::io::copy(server, client);
    up.or(down).await.map(drop)
}

/// Which API a request is of, and its version.
fn api_of(request: &[u8]) -> Option<(ApiKey, i16)> {
    let (key, rest) = request.split_first_chunk::<2>()?;
    let version = rest.first_chunk::<2>()?;
    Some((ApiKey::from_code(i16::from_be_bytes(*key))?, i16::from_be_bytes(*version)))
}

async fn read_frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut prefix = [0; frame::SIZE_BYTES];
    from.read_exact(&mut prefix).await?;
    let size = frame::size(prefix, FRAME_BYTES_MAX).map_err(invalid)?;
    let mut content = Vec::new();
    // Grows as bytes arrive, not as they are claimed.
    from.take(size as u64).read_to_end(&mut content).await?;
    if content.len() == size { Ok(content) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

async fn write_frame(to: &mut TcpStream, content: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(frame::SIZE_BYTES + content.len());
    frame::write(&mut framed, |out| {
        out.extend_from_slice(content);
        Ok(())
    })
    .map_err(invalid)?;
    to.write_all(&framed).await
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::header::{RequestHeader, write_request};
    use crate::kafka::metadata::{MetadataRequest, MetadataResponseBroker};
    use crate::kafka::wire::Reader;
    use futures_lite::future::block_on;

    /// A broker that tells two addresses: its own and another one.
    async fn broker(listener: TcpListener) {
        let port = i32::from(listener.local_addr().unwrap().port());
        while let Ok((mut stream, _)) = listener.accept().await {
            let serving = async move {
                while let Ok(request) = read_frame(&mut stream).await {
                    let header = RequestHeader::decode(&mut Reader::new(&request)).unwrap();
                    let broker =
                        |node_id, port| MetadataResponseBroker { node_id, host: "127.0.0.1", port, rack: None };
                    let brokers = vec![broker(1, port), broker(2, 9)];
                    let response = MetadataResponse { brokers, ..Default::default() };
                    let mut out = Vec::new();
                    write_response(&mut out, header.api_version, header.correlation_id, &response).unwrap();
                    stream.write_all(&out).await.unwrap();
                }
            };
            spawn_aside(serving).unwrap().detach();
        }
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<Vec<u16>> {
        let mut request = Vec::new();
        write_request(&mut request, 9, 7, None, &MetadataRequest::default()).unwrap();
        stream.write_all(&request).await?;
        let answer = read_frame(stream).await?;
        let (id, metadata) = read_response::<MetadataResponse<'_>>(9, &answer).unwrap();
        assert_eq!(id, 7);
        Ok(metadata.brokers.iter().map(|broker| broker.port as u16).collect())
    }

    #[test]
    fn nobody_goes_around_the_relay_and_a_cut_ends_it() {
        block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let real = HostPort { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
            spawn_aside(broker(listener)).unwrap().detach();
            let link = Link::default();
            let relay = link.relay_to(real.clone()).await.unwrap();

            let mut stream = TcpStream::connect(relay).await.unwrap();
            let ports = ask(&mut stream).await.unwrap();
            assert_eq!(ports[0], relay.port(), "the same broker has one relay");
            assert!(ports[1] != 9 && ports[1] != relay.port(), "another broker has its own");
            assert_eq!(ask(&mut stream).await.unwrap(), ports);

            link.cut();
            assert!(ask(&mut stream).await.is_err());
            let mut while_cut = TcpStream::connect(relay).await.unwrap();
            assert!(ask(&mut while_cut).await.is_err());

            link.restore();
            let mut again = TcpStream::connect(relay).await.unwrap();
            assert_eq!(ask(&mut again).await.unwrap(), ports);
        });
    }

    #[test]
    fn what_is_no_request_is_passed_without_a_thought() {
        assert_eq!(api_of(&[]), None);
        assert_eq!(api_of(&[0, 3, 0]), None);
        assert_eq!(api_of(&[0, 3, 0, 9, 1]), Some((ApiKey::Metadata, 9)));
        assert_eq!(api_of(&[0x7f, 0, 0, 0]), None);
    }
}
