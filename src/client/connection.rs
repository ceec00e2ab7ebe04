//! One connection for requests, made one after the other: hello, sending, and taking the answers apart.
//!
//! Pushes of subscriptions that come while an answer is awaited are kept; their credit bounds them.

use std::collections::VecDeque;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use smol::Timer;

use super::address::Stream;
use super::{Address, ClientError};
use crate::frame::{
    ClientMessage, Decoder, FRAME_BYTES_MAX, GatewayMessage, HANDSHAKE_BYTES_MAX, Hello, MAGIC, Next, Ping,
    VERSION_MAX, VERSION_MIN,
};
use crate::secret::Secret;

/// How long a gateway may take to answer, besides what a request allows it to wait.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The receive buffer starts with this and is cut back to it.
const RECEIVE_BYTES: usize = 16 * 1024;
/// Pings between pushes have an id of their own.
const PING_ID: u32 = u32::MAX;

/// What the gateway has told of itself in the Welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its id.
    pub id: String,
    /// Its clock at the Welcome, ms since 1970 (UTC).
    pub time_ms: i64,
    /// Whether it believes that.
    pub time_trusted: bool,
    /// Largest frame body it takes, bytes.
    pub frame_bytes_max: usize,
    idle_max: Option<Duration>,
}

/// A connection for requests. It doesn't publish, so it fences nobody.
#[derive(Debug)]
pub struct Connection {
    address: Address,
    stream: Stream,
    decoder: Decoder<Vec<u8>>,
    gateway: Gateway,
    next_id: u32,
    /// Bodies of pushes that came while something else was awaited.
    pushed: VecDeque<Vec<u8>>,
}

impl Connection {
    /// Connects and says hello as `client_id` (1 to 128 bytes).
    pub async fn open(address: &Address, client_id: &str) -> Result<Self, ClientError> {
        let stream = address.connect().await?;
        let mut connection = Self {
            address: address.clone(),
            stream,
            decoder: Decoder::growing(RECEIVE_BYTES, HANDSHAKE_BYTES_MAX),
            gateway: Gateway {
                id: String::new(),
                time_ms: 0,
                time_trusted: false,
                frame_bytes_max: HANDSHAKE_BYTES_MAX,
                idle_max: None,
            },
            next_id: 1,
            pushed: VecDeque::new(),
        };
        let token = address.token();
        let hello = Hello {
            magic: MAGIC,
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            client_id,
            epoch: 0,
            next_sequence: 0,
            frame_bytes_max: FRAME_BYTES_MAX as u32,
            in_flight_max: 0,
            token: token.as_ref().map(Secret::expose),
        };
        connection.send(&ClientMessage::Hello(hello)).await?;
        let body = connection.body_within(ANSWER_MAX).await.map_err(|error| match error {
            // A gateway that just ends does that too; but mostly it is another service.
            ClientError::Lost(address, why) => {
                ClientError::Lost(address, format!("{why} before its welcome; is it a native listener's port?"))
            }
            error => error,
        })?;
        connection.gateway = match connection.decode(&body)? {
            GatewayMessage::Welcome(welcome) => Gateway {
                id: welcome.gateway_id.to_owned(),
                time_ms: welcome.time_ms,
                time_trusted: welcome.time_trusted,
                frame_bytes_max: usize::try_from(welcome.frame_bytes_max).unwrap_or(usize::MAX),
                idle_max: (welcome.idle_seconds_max > 0)
                    .then(|| Duration::from_secs(u64::from(welcome.idle_seconds_max))),
            },
            GatewayMessage::Failed(failed) => return Err(ClientError::Refused(failed.code, failed.text.to_owned())),
            other => return Err(connection.unexpected(&other)),
        };
        connection.decoder.set_limit(FRAME_BYTES_MAX);
        Ok(connection)
    }

    /// What the gateway has told of itself.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The gateway's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// An id that isn't in use.
    pub(super) fn new_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = if id + 1 < PING_ID { id + 1 } else { 1 };
        id
    }

    /// Sends a message. If this is given up half way the connection is of no use.
    pub(super) async fn send(&mut self, message: &ClientMessage<'_>) -> Result<(), ClientError> {
        let mut frame = Vec::new();
        let too_large = || ClientError::Invalid("the request is larger than the gateway's frames".to_owned());
        message.append_to(&mut frame).map_err(|_| too_large())?;
        if frame.len() > self.gateway.frame_bytes_max {
            return Err(too_large());
        }
        self.stream.write_all(&frame).await.map_err(|error| self.lost(&error.to_string()))
    }

    /// Waits for the next answer to request `id`, which may itself wait for `wait`; pushes are kept for
    /// [`Connection::next_push`].
    pub(super) async fn answer(&mut self, id: u32, wait: Duration) -> Result<Vec<u8>, ClientError> {
        loop {
            let body = self.body_within(wait.saturating_add(ANSWER_MAX)).await?;
            match self.kind(&body, Some(id))? {
                Kind::Answer => return Ok(body),
                Kind::Push => self.pushed.push_back(body),
                Kind::Pong => {}
            }
        }
    }

    /// Waits for the next body that belongs to a subscription: a push, or its failure. May be given up at any time.
    pub(super) async fn next_push(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            if let Some(body) = self.pushed.pop_front() {
                return Ok(body);
            }
            let body = match self.gateway.idle_max {
                None => self.body().await?,
                // A third of what the gateway allows: one ping may be late.
                Some(idle_max) => match self.body_or_silence(idle_max / 3).await? {
                    Some(body) => body,
                    None => {
                        self.send(&ClientMessage::Ping(Ping { id: PING_ID })).await?;
                        self.body_within(ANSWER_MAX).await?
                    }
                },
            };
            match self.kind(&body, None)? {
                Kind::Push => return Ok(body),
                Kind::Answer | Kind::Pong => {}
            }
        }
    }

    /// As [`Connection::next_push`], but for at most `wait`, and without pings: for who sends something so often anyway.
    pub(super) async fn push_within(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, ClientError> {
        if let Some(body) = self.pushed.pop_front() {
            return Ok(Some(body));
        }
        let Some(body) = self.body_or_silence(wait).await? else { return Ok(None) };
        match self.kind(&body, None)? {
            Kind::Push => Ok(Some(body)),
            Kind::Answer | Kind::Pong => Ok(None),
        }
    }

    /// What a received body is, while `id` is the request that is answered next. That request's failure and the
    /// connection's are errors.
    fn kind(&self, body: &[u8], id: Option<u32>) -> Result<Kind, ClientError> {
        match self.decode(body)? {
            GatewayMessage::Failed(failed) if failed.id == 0 || Some(failed.id) == id => {
                Err(ClientError::Refused(failed.code, failed.text.to_owned()))
            }
            GatewayMessage::Push(_) | GatewayMessage::Failed(_) => Ok(Kind::Push),
            GatewayMessage::Pong(_) => Ok(Kind::Pong),
            message if id.is_some() && id_of(&message) == id => Ok(Kind::Answer),
            other => Err(self.unexpected(&other)),
        }
    }

    pub(super) fn decode<'a>(&self, body: &'a [u8]) -> Result<GatewayMessage<'a>, ClientError> {
        GatewayMessage::decode(body).map_err(|error| ClientError::Protocol(self.address.clone(), error.to_string()))
    }

    /// A message that no request of this connection's has asked for.
    pub(super) fn unexpected(&self, message: &GatewayMessage<'_>) -> ClientError {
        ClientError::Protocol(self.address.clone(), format!("an unexpected message of type {:#04x}", message.kind()))
    }

    fn lost(&self, why: &str) -> ClientError {
        ClientError::Lost(self.address.clone(), why.to_owned())
    }

    async fn body_within(&mut self, wait: Duration) -> Result<Vec<u8>, ClientError> {
        match self.body_or_silence(wait).await? {
            Some(body) => Ok(body),
            None => Err(self.lost(&format!("no answer within {} s", wait.as_secs()))),
        }
    }

    async fn body_or_silence(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, ClientError> {
        let silence = async {
            Timer::after(wait).await;
            Ok(None)
        };
        async { self.body().await.map(Some) }.or(silence).await
    }

    /// The next frame's body. May be given up at any time: what has come in is kept.
    async fn body(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            match self.decoder.next() {
                Ok(Next::Frame(body)) => {
                    let body = body.to_vec();
                    self.decoder.shrink_to(RECEIVE_BYTES);
                    return Ok(body);
                }
                Ok(Next::Need(_)) => {}
                Err(error) => return Err(ClientError::Protocol(self.address.clone(), error.to_string())),
            }
            match self.stream.read(self.decoder.room()).await {
                Ok(0) => return Err(self.lost("the gateway closed it")),
                Ok(length) => self.decoder.received(length),
                Err(error) => return Err(self.lost(&error.to_string())),
            }
        }
    }
}

/// What a received body is.
enum Kind {
    /// The answer awaited.
    Answer,
    /// A subscription's: records or its failure.
    Push,
    /// To a ping between pushes.
    Pong,
}

/// The request that a message answers.
fn id_of(message: &GatewayMessage<'_>) -> Option<u32> {
    match message {
        GatewayMessage::Records(answer) => Some(answer.id),
        GatewayMessage::Offsets(answer) => Some(answer.id),
        GatewayMessage::Done(answer) => Some(answer.id),
        GatewayMessage::ReaderOffset(answer) => Some(answer.id),
        GatewayMessage::Topic(answer) => Some(answer.id),
        GatewayMessage::Text(answer) => Some(answer.id),
        GatewayMessage::GroupJoined(answer) => Some(answer.id),
        _ => None,
    }
}
