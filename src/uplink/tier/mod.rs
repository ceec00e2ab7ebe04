//! Another gateway as upstream: whole batches as they lie here, exactly once by what the gateway above keeps of each partition.
//!
//! | file | what it is |
//! |---|---|
//! | `line` | one connection in the native protocol |
//! | `places` | stretches on their way, and where each cursor upstream will be (pure) |
//! | `standing` | what follows from where upstream's cursors are (pure) |
//! | `kept` | what is kept here |
//! | `drive` | connecting, and finding out where the uplink stands |
//! | `topics` | what the topics upstream are |
//! | `sending` | from what was gathered to stretches, and what their answers mean |
//! | `check` | `uplink check` |
//!
//! A *stretch* is what was gathered at a time for one topic upstream: its batches, and for each local partition how far it is
//! forwarded with them. Upstream appends the batches and moves its cursors in one commit, and only where the cursors are as the
//! stretch says; so there is nothing to resolve: after any failure the cursors tell what has arrived. Several stretches are under
//! way at a time, each moving cursors from where the one before puts them.
//!
//! Invariants: a local position never leads a cursor upstream that was told, or acknowledged; after any answer but a good one
//! nothing is sent until the cursors concerned were asked for; records that stretches leave out are written down here before.

mod check;
mod drive;
mod kept;
mod line;
mod places;
mod sending;
mod standing;
mod topics;

use std::sync::Arc;

use super::link::connection::LinkError;
use super::link::dial::Dialer;
use super::options::UplinkOptions;
use crate::broker::Broker;
use crate::broker::dead_letter::Letter;
use crate::config::HostPort;
use kept::Kept;
use line::Line;
use places::Places;

pub(super) use check::examine;

/// Stretches under way. The gateway above serves so many requests of a connection beside each other, and more.
const UNDER_WAY_MAX: usize = 8;
/// Stored batches that go into a stretch, at most: each may be of another partition.
const BATCHES_MAX: usize = 512;
/// What a frame needs beside the batches, at most: names, and moves of all partitions.
const AROUND_BYTES: usize = 192 * BATCHES_MAX;

/// What an uplink to another gateway knows besides.
#[derive(Debug)]
pub(super) struct Tier {
    dialer: Dialer,
    /// Addresses of the gateway upstream, the one that answered last first.
    addresses: Vec<HostPort>,
    line: Option<Arc<Line>>,
    /// Of the last request; never used twice, so that no answer is taken for another line's.
    id: u32,
    places: Places,
    kept: Kept,
    /// Letters of stretches of which nobody knew before the start whether they had arrived.
    in_doubt: Vec<Letter>,
    /// Cursors that were elsewhere, in a row.
    surprises: u32,
    /// An operator must decide before it goes on.
    stopped: bool,
    /// An operator has said that it goes on although the histories differ.
    go_on: bool,
}

/// A stretch was answered.
#[derive(Debug)]
pub(super) struct Heard {
    id: u32,
    answer: Result<Vec<Vec<u8>>, LinkError>,
}

impl Tier {
    pub(super) fn new(broker: &Broker, options: &UplinkOptions, dialer: Dialer) -> Self {
        let kept = broker.follower_row(&kept::key(&options.name)).and_then(|row| Kept::decode(&row));
        let kept = kept.unwrap_or_else(|| Kept::new(broker.store().incarnation()));
        let is_saved = |letter: &&Letter| broker.position(&options.name, letter.partition).contains(letter.offset);
        Self {
            dialer,
            addresses: options.config.bootstrap.clone(),
            line: None,
            id: 0,
            places: Places::default(),
            in_doubt: kept.letters.iter().filter(|letter| !is_saved(letter)).cloned().collect(),
            kept,
            surprises: 0,
            stopped: false,
            go_on: false,
        }
    }

    /// Bytes of the batches under way.
    pub(super) fn bytes(&self) -> usize {
        self.places.bytes()
    }

    /// Whether nothing is under way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.places.under_way().is_empty()
    }

    /// Whether no more may be read now.
    pub(super) fn is_full(&self) -> bool {
        self.places.unsure().is_some() || self.places.under_way().len() >= UNDER_WAY_MAX
    }

    /// Stored batches that may go into one stretch.
    pub(super) fn batches_max(&self) -> usize {
        BATCHES_MAX
    }

    /// Bytes of batches that fit into a frame.
    pub(super) fn frame_room(&self) -> usize {
        let frame =
            self.line.as_ref().map_or(crate::frame::HANDSHAKE_BYTES_MAX, |line| line.greeting().frame_bytes_max);
        frame.saturating_sub(AROUND_BYTES).max(frame / 2)
    }

    /// Whether an operator must decide before it goes on.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// An operator lets it go on.
    pub(super) fn let_go_on(&mut self) {
        self.go_on = std::mem::take(&mut self.stopped);
    }

    /// What is spoken with whom.
    pub(super) fn versions(&self) -> Option<String> {
        let greeting = self.line.as_ref()?.greeting();
        Some(format!("native protocol {} with gateway {}", greeting.version, greeting.gateway))
    }

    fn new_id(&mut self) -> u32 {
        self.id = self.id.wrapping_add(1).max(1);
        self.id
    }
}
