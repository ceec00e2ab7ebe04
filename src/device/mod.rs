//! The device's side of the native protocol: `no_std`, no alloc.
//!
//! Records go into a bounded [`Storage`] first and leave it when the gateway has acknowledged them, so a link may break
//! and a gateway may restart at any moment: what was accepted arrives once. With a durable storage that holds for
//! restarts of the device too.
//!
//! | piece | what it does |
//! |---|---|
//! | [`Session`] | the protocol as a state machine: no I/O, no clock; for any transport and any executor |
//! | [`Link`] | drives a session over blocking [`embedded_io`] streams |
//! | [`Storage`], [`RamRing`] | where unacknowledged records are kept |
//!
//! ```no_run
//! use brooklet::device::{Buffers, Config, Event, Link, RamRing, Reading, Session};
//! # use embedded_io::{ErrorType, Read, ReadReady, Write};
//! # struct Socket;
//! # impl ErrorType for Socket { type Error = core::convert::Infallible; }
//! # impl Read for Socket { fn read(&mut self, _: &mut [u8]) -> Result<usize, Self::Error> { Ok(0) } }
//! # impl Write for Socket {
//! #     fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> { Ok(bytes.len()) }
//! #     fn flush(&mut self) -> Result<(), Self::Error> { Ok(()) }
//! # }
//! # impl ReadReady for Socket { fn read_ready(&mut self) -> Result<bool, Self::Error> { Ok(true) } }
//! # fn connect() -> Socket { Socket }
//! # fn uptime_ms() -> u64 { 0 }
//! let config = Config::new("pump-17", &["plant.readings"]);
//! let session = Session::new(config, RamRing::<4096>::new(), Buffers::new([0; 256], [0; 256]));
//! let mut link = Link::new(session, [0; 256]);
//! loop {
//!     let mut socket = connect();
//!     link.connected(uptime_ms());
//!     loop {
//!         // Full means that nothing was lost yet: wait, or leave readings out.
//!         if let Err(full) = link.session_mut().publish(&Reading::new(0, b"21.5")) { /* … */ }
//!         match link.pump(&mut socket, uptime_ms()) {
//!             Ok(Some(Event::Settled { total })) => { /* `total` readings are on the gateway's flash */ }
//!             Ok(_) => {}
//!             Err(error) => break, // connect again, after a pause
//!         }
//!     }
//! }
//! ```
//!
//! With an async stream (`embedded-io-async`, a network stack's own) the same three calls are awaited around:
//! [`Session::transmit`] for what to send, [`crate::frame::Decoder`] for what comes in, [`Session::handle`] for each
//! frame's body. On a serial link the body of what `transmit` gives goes through [`crate::frame::serial`].

mod answers;
mod entry;
mod error;
mod link;
mod session;
mod storage;

pub use error::{PublishError, SessionError};
pub use link::{Link, LinkError};
pub use session::{Buffers, Session};
pub use storage::{Numbering, RamRing, Ring, Storage};

use crate::frame::{AckLevel, ErrorCode, Headers};

/// Text that came with an error, cut to fit.
pub type ErrorText = heapless::String<96>;

/// Who the client is and what it publishes to.
pub trait Identity {
    /// 1 to 128 bytes; no two devices may share one.
    fn client_id(&self) -> &str;

    /// The name of a topic, `None` beyond the last. With a durable storage the order must stay: only add at the end.
    fn topic(&self, topic: u16) -> Option<&str>;

    /// For authentication (reserved).
    fn token(&self) -> Option<&[u8]> {
        None
    }

    /// Most records on the way at once, 1 to [`crate::frame::IN_FLIGHT_MAX`].
    fn in_flight_max(&self) -> u16 {
        64
    }

    /// How long to wait for an answer of the gateway's before the link counts as broken, ms.
    fn answer_ms_max(&self) -> u64 {
        15_000
    }
}

/// An [`Identity`] of constants.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    /// See [`Identity::client_id`].
    pub client_id: &'a str,
    /// The topics; a reading names one by its place.
    pub topics: &'a [&'a str],
    /// See [`Identity::in_flight_max`].
    pub in_flight_max: u16,
    /// See [`Identity::answer_ms_max`].
    pub answer_ms_max: u64,
}

impl<'a> Config<'a> {
    /// 64 records on the way, 15 s for an answer.
    pub const fn new(client_id: &'a str, topics: &'a [&'a str]) -> Self {
        Self { client_id, topics, in_flight_max: 64, answer_ms_max: 15_000 }
    }
}

impl Identity for Config<'_> {
    fn client_id(&self) -> &str {
        self.client_id
    }

    fn topic(&self, topic: u16) -> Option<&str> {
        self.topics.get(usize::from(topic)).copied()
    }

    fn in_flight_max(&self) -> u16 {
        self.in_flight_max
    }

    fn answer_ms_max(&self) -> u64 {
        self.answer_ms_max
    }
}

/// Which time a record gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stamp {
    /// The gateway's when it stores the record.
    #[default]
    Gateway,
    /// Ms since 1970 (UTC), from a clock of the device's.
    Wall(i64),
    /// Ms since the device started, as in the `now_ms` of the calls: turned into wall time by the gateway's clock when
    /// it is sent. If the gateway doesn't trust its own, or the device restarted meanwhile, the gateway stamps.
    Uptime(u64),
}

/// One record to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading<'a> {
    /// The topic's place in the [`Identity`].
    pub topic: u16,
    /// When it counts as settled.
    pub level: AckLevel,
    /// Its time.
    pub stamp: Stamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

impl<'a> Reading<'a> {
    /// A value without key and headers, acknowledged from flash, stamped by the gateway.
    pub const fn new(topic: u16, value: &'a [u8]) -> Self {
        let (level, stamp) = (AckLevel::Flash, Stamp::Gateway);
        Self { topic, level, stamp, key: None, value: Some(value), headers: Headers::NONE }
    }

    /// The same with a time.
    pub const fn at(mut self, stamp: Stamp) -> Self {
        self.stamp = stamp;
        self
    }
}

/// What the gateway's answers have led to. Records are counted by the order in which they were accepted since the
/// session was made, those that its storage held then first: the first is number 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The gateway has answered; publishing goes on.
    Connected {
        /// Whether it knows what was sent before. If not, records that were on the way may arrive twice.
        resumed: bool,
    },
    /// All records up to this number have come as far as they were to (`upstream`: to flash), or were refused.
    Settled {
        /// The number.
        total: u64,
    },
    /// All `upstream` records up to this number are in the central cluster.
    Upstream {
        /// The number.
        total: u64,
    },
    /// Records will never be accepted; they are dropped, and a [`Event::Settled`] will include them.
    Refused {
        /// The number of the first.
        first: u64,
        /// How many.
        count: u32,
        /// Why.
        code: ErrorCode,
        /// The same in words.
        text: ErrorText,
    },
    /// The gateway takes no records now; they are kept and sent again after a pause.
    Delayed {
        /// Why.
        code: ErrorCode,
        /// The pause, ms.
        retry_ms: u32,
        /// The same in words.
        text: ErrorText,
    },
    /// A topic can't be published to; its records will be refused.
    TopicRefused {
        /// The topic's place.
        topic: u16,
        /// Why.
        code: ErrorCode,
        /// The same in words.
        text: ErrorText,
    },
}
