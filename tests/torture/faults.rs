//! What can go wrong between gateway and cluster, and what is to go wrong next. Decisions only: `proxy.rs` carries them out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use brooklet::kafka::api::ApiKey;

/// A step of a transaction: a request at which something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    InitProducerId,
    AddPartitions,
    Produce,
    AddOffsets,
    TxnOffsetCommit,
    EndTxn,
}

impl Step {
    pub const ALL: [Step; 6] = [
        Step::InitProducerId,
        Step::AddPartitions,
        Step::Produce,
        Step::AddOffsets,
        Step::TxnOffsetCommit,
        Step::EndTxn,
    ];

    pub fn api(self) -> ApiKey {
        match self {
            Step::InitProducerId => ApiKey::InitProducerId,
            Step::AddPartitions => ApiKey::AddPartitionsToTxn,
            Step::Produce => ApiKey::Produce,
            Step::AddOffsets => ApiKey::AddOffsetsToTxn,
            Step::TxnOffsetCommit => ApiKey::TxnOffsetCommit,
            Step::EndTxn => ApiKey::EndTxn,
        }
    }
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It never arrives; the connection ends.
    RequestLost,
    /// It is done; the connection ends before the answer.
    ReplyLost,
    /// SIGKILL of the gateway when it has sent it (it never arrives), or when the answer is about to come; by turns.
    Killed,
    /// The broker that it goes to has just ceased to be the right one.
    Moved,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::RequestLost, Kind::ReplyLost, Kind::Killed, Kind::Moved];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub step: Step,
    pub kind: Kind,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.step, self.kind)
    }
}

/// What the proxy does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pass,
    LoseRequest,
    LoseReply,
    KillBefore,
    KillAfter,
    MoveBefore(Step),
}

/// What goes wrong with the link as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weather {
    /// Connections end and none can be made.
    Cut,
    /// Everything is late.
    Slow,
    /// The connections there are stay open, and nothing comes through them any more.
    HalfOpen,
    /// Every answer is a web page.
    Garbage,
}

impl Weather {
    pub const ALL: [Weather; 4] = [Weather::Cut, Weather::Slow, Weather::HalfOpen, Weather::Garbage];
}

/// What goes wrong now and next, and what has.
#[derive(Default)]
pub struct Control {
    armed: Option<Cell>,
    /// Rather than by turns.
    chosen: Option<Fate>,
    pub fired: BTreeMap<Cell, u32>,
    /// Whose turn it is to be killed after the request was done.
    after: bool,
    pub weather: Option<Weather>,
    pub delay: Duration,
    /// Connections of a number below this are dead to both sides.
    pub half_open_below: u64,
    /// Transactions that the cluster said were committed; without transactions: batches that it said it had.
    pub commits: u64,
    /// Every API that was asked for.
    pub seen: BTreeSet<ApiKey>,
    /// Whether the gateway uses transactions at all.
    pub transactional: bool,
}

impl Control {
    /// The next request of this step fares ill.
    pub fn arm(&mut self, cell: Cell) {
        self.armed = Some(cell);
    }

    /// The same, with a fate that is chosen.
    pub fn arm_fate(&mut self, cell: Cell, fate: Fate) {
        (self.armed, self.chosen) = (Some(cell), Some(fate));
    }

    pub fn disarm(&mut self) -> bool {
        self.armed.take().is_some()
    }

    pub fn is_armed(&self) -> bool {
        self.armed.is_some()
    }

    /// What becomes of a request of this API.
    pub fn fate(&mut self, api: ApiKey) -> Fate {
        self.seen.insert(api);
        let Some(cell) = self.armed.filter(|cell| cell.step.api() == api) else { return Fate::Pass };
        self.armed = None;
        *self.fired.entry(cell).or_default() += 1;
        if let Some(fate) = self.chosen.take() {
            return fate;
        }
        match cell.kind {
            Kind::RequestLost => Fate::LoseRequest,
            Kind::ReplyLost => Fate::LoseReply,
            Kind::Killed => {
                self.after = !self.after;
                if self.after { Fate::KillAfter } else { Fate::KillBefore }
            }
            Kind::Moved => Fate::MoveBefore(cell.step),
        }
    }

    pub fn progressed(&mut self) {
        self.commits += 1;
    }
}

/// The cells that can occur, in an order by chance, round after round.
pub struct Deck {
    cells: Vec<Cell>,
    left: Vec<Cell>,
    random: fastrand::Rng,
}

impl Deck {
    pub fn new(steps: &[Step], kinds: &[Kind], seed: u64) -> Self {
        let cells = steps.iter().flat_map(|step| kinds.iter().map(|kind| Cell { step: *step, kind: *kind })).collect();
        Self { cells, left: Vec::new(), random: fastrand::Rng::with_seed(seed) }
    }

    pub fn next(&mut self) -> Cell {
        if self.left.is_empty() {
            self.left.clone_from(&self.cells);
            self.random.shuffle(&mut self.left);
        }
        self.left.pop().unwrap()
    }
}
