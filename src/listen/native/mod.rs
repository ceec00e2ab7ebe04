//! The native listener: devices, the CLI, and programs that use the compact protocol ([`crate::frame`]).
//!
//! | file | job |
//! |---|---|
//! | [`session`] | one connection: greeting, then three sides at once: reading, acknowledging, writing |
//! | [`reading`] | frames in, one after the other; begins what they ask for |
//! | [`publishing`] | publishes into the broker, in order |
//! | [`acking`] | their outcomes back, cumulative, in order; then what has come upstream |
//! | [`requests`] | everything that is asked with an id, each beside the others |
//! | [`consuming`] | fetches and subscriptions |
//! | [`grouping`] | consumer groups |
//! | [`tiering`] | gateways below this one |
//! | [`topics`], [`ruling`] | administration of topics, and of rights |
//! | [`outbox`] | frames out, from all sides |

mod acking;
mod consuming;
mod errors;
mod grouping;
mod lettering;
mod outbox;
mod publishing;
mod reading;
mod requests;
mod ruling;
mod session;
mod tiering;
mod topics;
mod users;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use smol::net::unix::UnixStream;

use super::accept::{Acceptor, Door};
use super::arrival::Arrival;
use super::auth::Guard;
use super::budget::{Budgets, ByteBudget};
use super::stream::Socket;
use crate::broker::{Broker, Lobby};
use crate::current::Current;
use crate::frame::{DrainAction, UplinkAction};

/// Settings of the listener.
#[derive(Clone, Debug)]
pub struct NativeOptions {
    /// Which gateway this is.
    pub gateway_id: String,
    /// Largest frame body that is taken, bytes.
    pub frame_bytes_max: usize,
    /// Memory of frames of all connections on their way in, bytes; and as much for answers.
    pub in_flight_bytes_max: usize,
    /// A connection on which nothing is received for this long is closed; `None`: never.
    pub idle: Option<Duration>,
    /// Time for a begun frame to come whole, and for what is sent to be taken.
    pub frame_time: Duration,
}

impl Default for NativeOptions {
    fn default() -> Self {
        Self {
            gateway_id: "gateway".to_owned(),
            frame_bytes_max: 1024 * 1024,
            in_flight_bytes_max: 8 * 1024 * 1024,
            idle: Some(Duration::from_secs(600)),
            frame_time: Duration::from_secs(30),
        }
    }
}

/// What the gateway can be asked beside records: told by whoever wires the rooms together.
pub trait Administration: Send + Sync {
    /// Everything there is to know, as one JSON object.
    fn status_json(&self) -> String;

    /// Looks at or steers uplinks ("" is all); the text is JSON for `Status`, lines for the others.
    ///
    /// # Errors
    /// A text for people: there is no such uplink, or it could not be done.
    fn uplink<'a>(
        &'a self,
        action: UplinkAction,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

    /// Refuses new records and forwards what is here, for at most `wait`; or ends that. What is left, as JSON.
    ///
    /// # Errors
    /// A text for people.
    fn drain<'a>(
        &'a self,
        action: DrainAction,
        wait: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

    /// Reads the configuration again and applies what can change now; or, without `apply`, only says what that would be. What came of it,
    /// as JSON.
    ///
    /// # Errors
    /// A text for people: it could not be tried.
    fn reload(&self, apply: bool) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>>;

    /// In which format the store is written, as JSON; `finalize` lets it be the newest first.
    ///
    /// # Errors
    /// A text for people: the store takes nothing.
    fn store_format(&self, finalize: bool) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>>;
}

/// What all sessions share.
struct Context {
    broker: Lobby,
    guard: Guard,
    options: NativeOptions,
    /// Memory of large frames on their way in.
    frames: ByteBudget,
    /// Memory of records on their way to consumers.
    answers: ByteBudget,
    administration: Arc<dyn Administration>,
}

/// The native listener, on as many sockets as wanted.
#[derive(Clone)]
pub struct Native {
    /// That of connections which come from now on.
    context: Arc<Current<Context>>,
}

impl Native {
    /// A listener that serves `broker` to whom `guard` lets in.
    pub fn new(
        broker: Broker,
        guard: Guard,
        options: NativeOptions,
        administration: Arc<dyn Administration>,
        memory: &Budgets,
    ) -> Self {
        let (frames, answers) = memory.parts(options.in_flight_bytes_max);
        let context = Context { broker: broker.lobby(), guard, options, frames, answers, administration };
        Self { context: Arc::new(Current::new(context)) }
    }

    /// Serves whoever connects from now on by these settings; `in_flight_bytes_max` stays.
    pub fn reconfigure(&self, guard: Guard, options: NativeOptions) {
        let now = self.context.get();
        let (frames, answers) = (now.frames.clone(), now.answers.clone());
        let (broker, administration) = (now.broker.clone(), Arc::clone(&now.administration));
        self.context.set(Context { broker, guard, options, frames, answers, administration });
    }

    /// Serves clients that come by TCP, until shutdown.
    pub async fn serve_tcp(&self, door: Door, acceptor: Acceptor) {
        let (executor, shutdown) = (Arc::clone(&acceptor.executor), acceptor.shutdown.clone());
        let context = Arc::clone(&self.context);
        let session = move |socket, arrival: Arc<Arrival>| {
            session::run(context.get(), Arc::clone(&executor), shutdown.clone(), socket, arrival)
        };
        acceptor.run(&door, session).await;
    }

    /// Serves one client that came by the local socket.
    pub async fn serve_local(&self, acceptor: &Acceptor, stream: UnixStream, user: u32) {
        let (context, executor) = (self.context.get(), Arc::clone(&acceptor.executor));
        let (socket, arrival) = (Socket::Unix(Box::new(stream)), Arc::new(Arrival::of_local_user(user)));
        session::run(context, executor, acceptor.shutdown.clone(), socket, arrival).await;
    }
}
