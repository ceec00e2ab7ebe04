//! The MQTT listener: devices that publish and subscribe by MQTT 3.1.1 and 5.0 ([`crate::mqtt`]).
//!
//! | file | job |
//! |---|---|
//! | [`connection`] | one connection: greeting, then reading, answering, delivering and writing side by side |
//! | [`greeting`] | what CONNECT asks for, and what it gets |
//! | [`reading`], [`taking`] | packets in, one after the other, and what they ask for |
//! | [`answering`] | acknowledgements, in order |
//! | [`permits`] | what a client may do |
//! | [`publishing`] | messages into the broker |
//! | [`subscribing`] | subscriptions made and ended |
//! | [`delivery`] | messages out of the log, to one client |
//! | [`shares`], [`sharing`], [`given`] | subscriptions that several clients share: who takes part, and handing out |
//! | [`log`] | messages read from the log |
//! | [`hub`] | all clients together: one connection each, sessions that wait, wills |
//! | [`session`], [`inbound`], [`outbound`], [`share`], [`filter`], [`mapping`] | what decides; pure |
//! | [`message`], [`retained`] | messages as records; the last one of a topic |
//!
//! Invariants: PUBACK and PUBREC come after the commit; a subscription is a reader of the log and costs positions, not copies; what one
//! client does never ends another's connection.

mod answering;
mod connection;
mod delivery;
mod filter;
mod given;
mod greeting;
mod hub;
mod inbound;
mod log;
pub mod mapping;
mod message;
mod outbound;
mod permits;
mod publishing;
mod reading;
mod remapped;
mod retained;
mod session;
mod share;
mod shares;
mod sharing;
mod subscribing;
mod taking;

use std::sync::Arc;
use std::time::Duration;

use crate::executor::Executor;

use super::accept::{Acceptor, Door};
use super::arrival::Arrival;
use super::auth::Guard;
use super::budget::{Budgets, ByteBudget};
use super::stream::{Socket, Stream, count_slow};
use super::websocket::{self, Carrier};
use crate::broker::{Access, Broker, Caller, Lobby};
use crate::current::Current;
use crate::metrics::METRICS;
use crate::shutdown::Shutdown;
use crate::websocket::handshake::Offer;
use hub::Hub;
use mapping::Rules;
use remapped::Remapped;
use retained::Retained;
use shares::Shares;

/// Settings of the listener.
#[derive(Clone, Debug)]
pub struct MqttOptions {
    /// Which Kafka topic a message goes to.
    pub rules: Rules,
    /// Largest packet that is taken, bytes.
    pub packet_bytes_max: usize,
    /// Memory of packets of all connections on their way in, bytes; and as much for those on their way out.
    pub in_flight_bytes_max: usize,
    /// Messages of QoS 1 and 2 that a client may have open, each way.
    pub in_flight_max: u16,
    /// Longest that a session outlives its connection, seconds; `u32::MAX`: for ever.
    pub session_expiry_s_max: u32,
    /// Clients that are connected or have a session.
    pub sessions_max: usize,
    /// Subscriptions of a session.
    pub subscriptions_max: usize,
    /// Retained messages, and their bytes.
    pub retained_max: usize,
    pub retained_bytes_max: usize,
    /// Time for CONNECT to come, for a begun packet to come whole, and for what is sent to be taken.
    pub packet_time: Duration,
    /// The longest that a client of 5.0 may promise to be silent, seconds.
    pub keep_alive_s_max: Option<u16>,
    /// Sites whose pages may come by WebSocket, beside the gateway's own.
    pub origins: Vec<String>,
}

/// What all connections share.
#[derive(Debug)]
struct Context {
    broker: Lobby,
    guard: Current<Guard>,
    /// The broker for the listener itself: what goes to a member of a share is held against the member's rights when it is given.
    own: Access,
    options: Current<MqttOptions>,
    hub: Hub,
    retained: Retained,
    shares: Shares,
    remapped: Remapped,
    /// Memory of large packets on their way in.
    packets: ByteBudget,
    /// Memory of messages on their way out.
    deliveries: ByteBudget,
}

impl Context {
    fn options(&self) -> Arc<MqttOptions> {
        self.options.get()
    }
}

/// The MQTT listener.
#[derive(Clone, Debug)]
pub struct Mqtt {
    context: Arc<Context>,
}

/// How many there are of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MqttCounts {
    pub connected: usize,
    /// Sessions that wait for their client.
    pub waiting: usize,
    /// Shared subscriptions.
    pub shares: usize,
    pub retained: usize,
    pub retained_bytes: usize,
}

impl Mqtt {
    /// A listener that serves `broker` to whom `guard` lets in.
    pub fn new(broker: Broker, guard: Guard, options: MqttOptions, memory: &Budgets) -> Self {
        let (packets, deliveries) = memory.parts(options.in_flight_bytes_max);
        let broker = broker.lobby();
        let retained = Retained::load(&broker);
        let sessions = hub::stored_sessions(&broker);
        let context = Context {
            hub: Hub::load(&sessions),
            shares: Shares::load(&broker, &sessions),
            retained,
            remapped: Remapped::default(),
            packets,
            deliveries,
            own: broker.admit(Caller::gateway()),
            broker,
            guard: Current::new(guard),
            options: Current::new(options),
        };
        Self { context: Arc::new(context) }
    }

    /// Goes by these settings from now on; what a connection agrees on when it begins, it keeps, and `in_flight_bytes_max` stays.
    pub fn reconfigure(&self, guard: Guard, options: MqttOptions) {
        self.context.remapped.changed(&self.context.options().rules, &options.rules, &self.context.own);
        self.context.guard.set(guard);
        self.context.options.set(options);
    }

    /// Serves clients that come by TCP, until shutdown.
    pub async fn serve_tcp(&self, door: Door, acceptor: Acceptor) {
        let (executor, shutdown) = (Arc::clone(&acceptor.executor), acceptor.shutdown.clone());
        let mqtt = self.clone();
        let session =
            move |socket, arrival| mqtt.serve(Arc::clone(&executor), shutdown.clone(), Carrier::Plain(socket), arrival);
        acceptor.run(&door, session).await;
    }

    /// Serves clients that come by WebSocket, until shutdown.
    pub async fn serve_websocket(&self, door: Door, acceptor: Acceptor) {
        let (executor, shutdown) = (Arc::clone(&acceptor.executor), acceptor.shutdown.clone());
        let mqtt = self.clone();
        let session = move |socket, arrival: Arc<Arrival>| {
            let (mqtt, executor, shutdown) = (mqtt.clone(), Arc::clone(&executor), shutdown.clone());
            async move {
                // Boxed, for the same reason as a TLS handshake; and the session is the one of other connections.
                let carrier = Box::pin(mqtt.shake(socket, &shutdown, &arrival)).await;
                let Some(carrier) = carrier else { return };
                mqtt.serve(executor, shutdown, carrier, arrival).await;
            }
        };
        acceptor.run(&door, session).await;
    }

    async fn shake(&self, socket: Socket, shutdown: &Shutdown, arrival: &Arrival) -> Option<Carrier> {
        let options = self.context.options();
        let offer = Offer { path: "/mqtt", protocol: "mqtt", origins: &options.origins };
        match shutdown.unless(websocket::accept(socket, &offer, options.packet_time)).await? {
            Ok(socket) => Some(Carrier::WebSocket(socket)),
            Err(error) => {
                count_slow(&error);
                METRICS.protocol_errors.add(u64::from(error.kind() == std::io::ErrorKind::InvalidData));
                ::log::debug!("mqtt: {arrival}: {error}");
                None
            }
        }
    }

    /// Ends what is over of sessions and wills, until shutdown.
    pub async fn keep(&self, shutdown: &Shutdown) {
        let keeping = async {
            hub::drop_unreadable(&self.context.broker).await;
            self.context.shares.sweep(&self.context.broker).await;
            Hub::keep(&self.context).await;
        };
        shutdown.unless(keeping).await;
    }

    /// Serves one client until its connection ends, whatever carries its bytes.
    pub fn serve<S: Stream>(
        &self,
        executor: Arc<Executor>,
        shutdown: Shutdown,
        stream: S,
        arrival: Arc<Arrival>,
    ) -> impl Future<Output = ()> + Send + use<S> {
        connection::run(Arc::clone(&self.context), executor, shutdown, stream, arrival)
    }

    /// How many there are of each.
    pub fn counts(&self) -> MqttCounts {
        let (connected, waiting) = self.context.hub.counts();
        let (retained, retained_bytes) = self.context.retained.counts(&self.context.broker);
        MqttCounts { connected, waiting, shares: self.context.shares.count(), retained, retained_bytes }
    }
}
