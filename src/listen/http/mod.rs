//! The HTTP listener: the gateway shows how it is, to browsers, to Prometheus, to whoever restarts what hangs. Read-only.
//!
//! | file | job |
//! |---|---|
//! | [`session`] | one connection: requests in, answers out |
//! | [`door`] | who may read; pure but for the token's file |
//! | [`routes`] | what a path answers |
//! | [`events`] | the status as it changes, to a few watchers |
//! | [`page`] | the page |
//!
//! Invariants: nothing can be changed by HTTP; nobody reads who may not; an idle connection holds no buffer; how many answers are made at
//! a time, and how many watch, is bounded; while nobody watches no status is made.

mod door;
mod events;
mod page;
mod routes;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use super::accept::{Acceptor, Door};
use super::arrival::Arrival;
use super::budget::{Budgets, ByteBudget};
use super::stream::Socket;
use crate::current::Current;
use crate::shutdown::Shutdown;

/// Large answers that are made and sent at a time: a status of thousands of partitions is a large text.
const ANSWERS_MAX: usize = 2;

/// Settings of the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// The file with the token; `None`: none is asked for.
    pub token_file: Option<PathBuf>,
    /// Names by which browsers may call the gateway where none is asked for.
    pub names: Vec<String>,
}

/// What is shown: told by whoever wires the rooms together.
pub trait View: Send + Sync {
    /// Everything there is to know, as one JSON object.
    fn status_json(&self) -> String;

    /// What a person looks at, as one JSON object of bounded size, of the same fields.
    fn glance_json(&self) -> String;

    /// The exposition for Prometheus.
    fn metrics(&self) -> String;

    /// Whether the gateway gets on.
    ///
    /// # Errors
    /// What hangs, where a restart would help.
    fn health(&self) -> Result<(), String>;

    /// Whether records are taken.
    ///
    /// # Errors
    /// Why not.
    fn readiness(&self) -> Result<(), String>;
}

/// What all connections share.
struct Context {
    view: Arc<dyn View>,
    doorkeeper: Current<door::Doorkeeper>,
    events: events::Events,
    /// Turns of large answers.
    turns: ByteBudget,
    /// The memory of answers: that of all listeners'.
    answers: ByteBudget,
}

/// The HTTP listener.
#[derive(Clone)]
pub struct Http {
    context: Arc<Context>,
}

impl HttpOptions {
    /// Whether the token can be read.
    ///
    /// # Errors
    /// A text that names the key: it can't, or is none.
    pub fn check(&self) -> Result<(), String> {
        door::Doorkeeper::new(self.clone()).map(drop)
    }
}

impl Http {
    /// A listener that shows `view`.
    ///
    /// # Errors
    /// A text that names the key: the token can't be read, or is none.
    pub fn new(view: Arc<dyn View>, options: HttpOptions, memory: &Budgets) -> Result<Self, String> {
        let doorkeeper = Current::new(door::Doorkeeper::new(options)?);
        let (events, turns) = (events::Events::default(), ByteBudget::new(ANSWERS_MAX));
        // What it may have is bounded by the turns.
        let (_, answers) = memory.parts(usize::MAX);
        Ok(Self { context: Arc::new(Context { view, doorkeeper, events, turns, answers }) })
    }

    /// Lets in by these settings from now on, if they are others. A token that can't be read lets nobody in, until it can.
    pub fn reconfigure(&self, options: HttpOptions) {
        let now = self.context.doorkeeper.get();
        if now.options() != &options {
            self.context.doorkeeper.set(door::Doorkeeper::of(options));
        }
    }

    /// Serves clients until shutdown.
    pub async fn serve_tcp(&self, door: Door, acceptor: Acceptor) {
        let (context, shutdown) = (Arc::clone(&self.context), acceptor.shutdown.clone());
        let session = move |socket: Socket, arrival: Arc<Arrival>| {
            session::run(Arc::clone(&context), shutdown.clone(), socket, arrival)
        };
        acceptor.run(&door, session).await;
    }

    /// Tells watchers what changes, until shutdown.
    pub async fn keep(&self, shutdown: &Shutdown) {
        shutdown.unless(self.context.events.keep(&*self.context.view)).await;
        self.context.events.end();
    }
}
