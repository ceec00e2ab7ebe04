//! One partition upstream: where it is read on, and what stands in its way. Pure; driven by `course`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::backoff::{Backoff, Bounds, Outage};
use crate::broker::UpstreamPosition;
use crate::store::PartitionId;

/// A topic upstream and a partition of it.
pub(super) type Source = (Arc<str>, i32);

/// What is to be found out before it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seek {
    /// Never brought: where this time (Unix ms, or a special value of ListOffsets) is.
    Begin(i64),
    /// The broker says that the position is outside its log: first, where that begins; then, where it ends.
    Lost(UpstreamPosition, Lost),
}

/// See [`Seek::Lost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Metadata first: a topic that was made again looks like a log that was cut.
    AskTopic,
    AskStart,
    AskEnd,
    /// It lies before the start; by the configuration it goes on at the end.
    SkipToEnd,
}

/// Where an operator lets a partition go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipTo {
    /// At this offset upstream, which lies behind its position.
    Offset(i64),
    /// With what is not committed upstream yet.
    Latest,
}

impl SkipTo {
    /// Reads an offset or `latest`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        text.parse().ok().filter(|offset| *offset >= 0).map(Self::Offset)
    }
}

impl fmt::Display for SkipTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => offset.fmt(f),
            Self::Latest => f.write_str("latest"),
        }
    }
}

/// Where a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Seek(Seek),
    At(UpstreamPosition),
    /// By the configuration it waits for somebody's decision.
    Stopped(Arc<str>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) place: Place,
    /// The position that the store has, or will have when what is on its way to it is done.
    pub(super) known: Option<UpstreamPosition>,
    /// Where its records go.
    pub(super) local: PartitionId,
    /// The broker that leads it.
    pub(super) leader: Option<i32>,
    /// The broker that was asked for it and has not answered.
    pub(super) asked: Option<i32>,
    /// Its position is on the way to the store; `true`: nothing goes on before it is there.
    pub(super) saving: Option<bool>,
    /// End upstream, as last told.
    pub(super) end: Option<i64>,
    /// When it last brought something; the one that waited longest is asked for first.
    pub(super) turn: u64,
    /// An operator's word, until it is carried out.
    pub(super) skip: Option<SkipTo>,
    pub(super) trouble: Trouble,
}

impl Leg {
    pub(super) fn new(place: Place, known: Option<UpstreamPosition>, local: PartitionId) -> Self {
        Self {
            place,
            known,
            local,
            leader: None,
            asked: None,
            saving: None,
            end: None,
            turn: 0,
            skip: None,
            trouble: Trouble::default(),
        }
    }

    /// Offsets that are still upstream, as far as is known.
    pub(super) fn lag(&self) -> Option<u64> {
        let Place::At(position) = &self.place else { return None };
        Some(u64::try_from(self.end?.saturating_sub(position.next_offset)).unwrap_or(0))
    }

    /// Where it is read on, or would be if that were still there.
    pub(super) fn position(&self) -> Option<UpstreamPosition> {
        match &self.place {
            Place::At(position) | Place::Seek(Seek::Lost(position, _)) => Some(*position),
            Place::Seek(Seek::Begin(_)) | Place::Stopped(_) => self.known,
        }
    }

    /// Whether something of it is on the way that must come first.
    pub(super) fn is_busy(&self) -> bool {
        self.asked.is_some() || self.saving == Some(true)
    }

    /// Whether it may be asked for now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.is_busy() && !self.trouble.waits(now) && !matches!(self.place, Place::Stopped(_))
    }

    /// Why it does not go on, if it doesn't.
    pub(super) fn why(&self) -> Option<&str> {
        match &self.place {
            Place::Stopped(why) => Some(why),
            _ => self.trouble.why.as_deref(),
        }
    }
}

/// A condition that lasts: told when it begins, once an hour, and when it ends; tried again after pauses that double.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) why: Option<Arc<str>>,
    pub(super) until: Option<Instant>,
    backoff: Backoff,
    outage: Outage,
}

/// How often a condition that lasts is told.
const TELL_EVERY: Duration = Duration::from_secs(3_600);

impl Trouble {
    /// It failed (again). Whether that is to be told.
    pub(super) fn fail(&mut self, why: &str, now: Instant, bounds: Bounds, jitter: f64) -> bool {
        self.why = Some(why.into());
        self.until = Some(now + self.backoff.fail(bounds, jitter));
        self.outage.fail(now, TELL_EVERY)
    }

    /// It works. For how many seconds it hadn't, if it hadn't.
    pub(super) fn end(&mut self, now: Instant) -> Option<u64> {
        self.why = None;
        self.until = None;
        self.backoff.succeed();
        self.outage.recover(now).map(|recovery| recovery.lasted.as_secs())
    }

    pub(super) fn waits(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }
}
