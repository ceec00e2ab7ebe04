//! Decides what goes when room is needed, from figures alone: reads no file, changes nothing.
//!
//! What sealed segments still hold falls into *pieces*, one a segment and partition. A piece belongs to a level: first by
//! the topic's priority, within it by whether all who follow have read it. Levels go in ascending order, and within a
//! level the oldest goes first: the oldest segment whole if nothing of a higher level is in it, else by rewriting a run
//! of segments without what goes. What is not worth a rewrite (less than an eighth of every run) goes together with the
//! next level. Where the day's budget of rewriting is used up, the oldest segment goes whole, whatever its levels.
//!
//! Invariants: of each partition a prefix goes, never a hole; nothing goes of a topic that may not be evicted or that is
//! pinned; nothing within a topic's reserve, unless nothing else is left that could go.

use std::collections::{BTreeMap, BTreeSet};

use super::types::PartitionId;

/// A rewrite leaves out at least one part in so many of each segment that it reads.
pub(super) const GAIN_PARTS: u64 = 8;

/// What a sealed segment still holds of a partition, from its log start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub partition: PartitionId,
    /// First offset kept, and one past the last.
    pub first: i64,
    pub end: i64,
    pub bytes: u64,
}

/// A sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sealed {
    pub id: u32,
    /// Bytes of the batches in it, dead ones included.
    pub payload: u64,
    /// Whether its file can be read and rewritten.
    pub rewritable: bool,
    pub pieces: Vec<Piece>,
}

/// What decides about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Worth {
    /// Its topic, as an index of [`Terms::evictable`].
    pub topic: usize,
    pub priority: u8,
    /// Offsets from here on may not go at all: pinned, or all of a topic that refuses instead.
    pub held_from: i64,
    /// All who follow have read what lies before; `i64::MAX` if nobody follows.
    pub read_to: i64,
}

/// What a plan must keep to.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    pub worth: BTreeMap<PartitionId, Worth>,
    /// By topic: bytes beyond its reserve.
    pub evictable: Vec<u64>,
    /// Bytes that a rewrite should free.
    pub wanted: u64,
    /// Most bytes that one file takes.
    pub survivors_max: u64,
    /// Most bytes that may be rewritten now.
    pub budget: u64,
    /// Only what all have read may go.
    pub spare_unread: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing may go, or nothing can.
    Nothing,
    /// The oldest segment goes, with all that it holds.
    Oldest,
    /// The segments from one to another become one file; partitions begin at these offsets afterwards.
    Rewrite { from: u32, to: u32, starts: Vec<(PartitionId, i64)>, survivors: u64 },
}

/// Priority, then whether someone has not read it.
type Level = (u8, bool);

/// Decides. `segments` ascend; all below the first is gone.
pub(super) fn plan(segments: &[Sealed], terms: &Terms) -> Plan {
    let Some(oldest) = segments.first() else { return Plan::Nothing };
    let mut over_budget = None;
    for level in levels(segments, terms) {
        let swept = Swept::sweep(segments, terms, level);
        if swept.segments.first().is_some_and(|first| first.survivors == 0) {
            return Plan::Oldest;
        }
        if let Some(run) = swept.run(terms) {
            if run.survivors <= terms.budget {
                return swept.rewrite(&run);
            }
            over_budget = Some(swept.rewrite(&run));
            break;
        }
    }
    let whole = |piece: &Piece| terms.worth.get(&piece.partition).is_none_or(|worth| piece.end <= worth.held_from);
    let unread = |piece: &Piece| terms.worth.get(&piece.partition).is_some_and(|worth| piece.end > worth.read_to);
    if !oldest.pieces.iter().all(whole) || (terms.spare_unread && oldest.pieces.iter().any(unread)) {
        // A promise is worth more than the budget.
        return over_budget.unwrap_or(Plan::Nothing);
    }
    match over_budget {
        Some(rewrite) if breaks_a_reserve(oldest, terms) => rewrite,
        _ => Plan::Oldest,
    }
}

/// Whether the oldest of these goes whole before anything else could: all in it is of the lowest level that there is.
pub(super) fn goes_as_a_matter_of_course(segments: &[Sealed], terms: &Terms) -> bool {
    let Some(lowest) = terms.worth.values().map(|worth| worth.priority).min() else { return true };
    Swept::sweep(segments, terms, (lowest, false)).segments.first().is_some_and(|first| first.survivors == 0)
}

/// What to rewrite just to be rid of what is dead already: a run of which a quarter at least is.
pub(super) fn reclaim(segments: &[Sealed], terms: &Terms) -> Plan {
    let nothing_goes = Terms { evictable: vec![0; terms.evictable.len()], ..terms.clone() };
    let mut swept = Swept::sweep(segments, &nothing_goes, (0, false));
    if swept.segments.first().is_some_and(|first| first.survivors == 0) {
        return Plan::Oldest;
    }
    for segment in &mut swept.segments {
        segment.worthwhile &= (segment.payload - segment.survivors) * 4 >= segment.payload;
    }
    match swept.run(&nothing_goes) {
        Some(run) if run.survivors <= terms.budget => swept.rewrite(&run),
        _ => Plan::Nothing,
    }
}

fn breaks_a_reserve(oldest: &Sealed, terms: &Terms) -> bool {
    let mut left = terms.evictable.clone();
    !oldest.pieces.iter().all(|piece| {
        let Some(worth) = terms.worth.get(&piece.partition) else { return true };
        take(&mut left, worth.topic, piece.bytes)
    })
}

/// Takes bytes of a topic's evictable ones, if there are so many.
fn take(left: &mut [u64], topic: usize, bytes: u64) -> bool {
    let Some(left) = left.get_mut(topic) else { return false };
    let enough = *left >= bytes;
    *left -= if enough { bytes } else { 0 };
    enough
}

fn levels(segments: &[Sealed], terms: &Terms) -> BTreeSet<Level> {
    let mut levels = BTreeSet::new();
    for piece in segments.iter().flat_map(|segment| &segment.pieces) {
        let Some(worth) = terms.worth.get(&piece.partition) else { continue };
        if piece.first < worth.read_to {
            levels.insert((worth.priority, false));
        }
        if piece.end > worth.read_to && !terms.spare_unread {
            levels.insert((worth.priority, true));
        }
    }
    levels
}

/// What is left of each segment when all that may go up to a level has gone.
struct Swept {
    segments: Vec<SweptSegment>,
}

struct SweptSegment {
    id: u32,
    payload: u64,
    survivors: u64,
    /// A rewrite of it leaves enough out.
    worthwhile: bool,
    rewritable: bool,
    /// Where partitions begin once it has gone.
    starts: Vec<(PartitionId, i64)>,
}

/// Segments by their place, both included.
struct Run {
    from: usize,
    to: usize,
    survivors: u64,
}

impl Swept {
    fn sweep(segments: &[Sealed], terms: &Terms, level: Level) -> Self {
        let mut left = terms.evictable.clone();
        let mut kept: BTreeSet<PartitionId> = BTreeSet::new();
        let mut sweep = |segment: &Sealed| {
            let (mut survivors, mut starts) = (0, Vec::new());
            for piece in &segment.pieces {
                let to = if kept.contains(&piece.partition) { piece.first } else { goes_to(piece, terms, level) };
                let goes = share(piece, to);
                let to = if goes > 0 && take_of(&mut left, terms, piece, goes) { to } else { piece.first };
                if to > piece.first {
                    starts.push((piece.partition, to));
                }
                if to < piece.end {
                    kept.insert(piece.partition);
                    survivors += piece.bytes - share(piece, to);
                }
            }
            let payload = segment.payload.max(survivors);
            let worthwhile = payload > survivors && (payload - survivors) * GAIN_PARTS >= payload;
            SweptSegment { id: segment.id, payload, survivors, worthwhile, rewritable: segment.rewritable, starts }
        };
        Self { segments: segments.iter().map(&mut sweep).collect() }
    }

    /// The oldest run that is worth rewriting.
    fn run(&self, terms: &Terms) -> Option<Run> {
        let good = |segment: &SweptSegment| segment.rewritable && segment.worthwhile;
        let from = self.segments.iter().position(good)?;
        let mut run = Run { from, to: from, survivors: 0 };
        let mut freed = 0;
        for (at, segment) in self.segments.iter().enumerate().skip(from) {
            if !good(segment) || freed >= terms.wanted || run.survivors + segment.survivors > terms.survivors_max {
                break;
            }
            run.to = at;
            run.survivors += segment.survivors;
            freed += segment.payload - segment.survivors;
        }
        // Small ones before it come along, so that there are never many: each time a record moves, its file doubles.
        while let Some(before) = run.from.checked_sub(1).and_then(|at| self.segments.get(at)) {
            let fits = before.survivors <= run.survivors && run.survivors + before.survivors <= terms.survivors_max;
            if !before.rewritable || !fits {
                break;
            }
            run.from -= 1;
            run.survivors += before.survivors;
        }
        (freed > 0).then_some(run)
    }

    fn rewrite(&self, run: &Run) -> Plan {
        let ids = |at: usize| self.segments.get(at).map_or(0, |segment| segment.id);
        let mut starts = BTreeMap::new();
        for segment in self.segments.iter().take(run.to + 1) {
            starts.extend(segment.starts.iter().copied());
        }
        Plan::Rewrite {
            from: ids(run.from),
            to: ids(run.to),
            starts: starts.into_iter().collect(),
            survivors: run.survivors,
        }
    }
}

/// Up to where a piece goes, within a level and those below; its first offset if not at all.
fn goes_to(piece: &Piece, terms: &Terms, (priority, unread): Level) -> i64 {
    let Some(worth) = terms.worth.get(&piece.partition) else { return piece.end };
    let to = match worth.priority.cmp(&priority) {
        std::cmp::Ordering::Less => piece.end,
        std::cmp::Ordering::Equal if unread => piece.end,
        std::cmp::Ordering::Equal => worth.read_to,
        std::cmp::Ordering::Greater => return piece.first,
    };
    let to = if terms.spare_unread { to.min(worth.read_to) } else { to };
    to.min(worth.held_from).clamp(piece.first, piece.end)
}

fn take_of(left: &mut [u64], terms: &Terms, piece: &Piece, bytes: u64) -> bool {
    terms.worth.get(&piece.partition).is_none_or(|worth| take(left, worth.topic, bytes))
}

/// Bytes of a piece before an offset, in proportion.
fn share(piece: &Piece, to: i64) -> u64 {
    if to >= piece.end {
        return piece.bytes;
    }
    let (part, all) = (to.abs_diff(piece.first), piece.end.abs_diff(piece.first).max(1));
    (u128::from(piece.bytes) * u128::from(part) / u128::from(all)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAP: u64 = 1_000;

    fn piece(partition: u32, first: i64, end: i64, bytes: u64) -> Piece {
        Piece { partition: PartitionId(partition), first, end, bytes }
    }

    fn worth(topic: usize, priority: u8) -> Worth {
        Worth { topic, priority, held_from: i64::MAX, read_to: i64::MAX }
    }

    fn terms(worth: &[(u32, Worth)], evictable: &[u64]) -> Terms {
        Terms {
            worth: worth.iter().map(|(partition, worth)| (PartitionId(*partition), *worth)).collect(),
            evictable: evictable.to_vec(),
            wanted: CAP,
            survivors_max: CAP * 7 / 8,
            budget: u64::MAX,
            spare_unread: false,
        }
    }

    /// Two topics side by side, half each, a hundred offsets a segment.
    fn halves(count: u32) -> Vec<Sealed> {
        let segment = |id: u32| {
            let (first, end) = (i64::from(id) * 100, i64::from(id) * 100 + 100);
            let pieces = vec![piece(0, first, end, CAP / 2), piece(1, first, end, CAP / 2)];
            Sealed { id, payload: CAP, rewritable: true, pieces }
        };
        (0..count).map(segment).collect()
    }

    #[test]
    fn of_equals_the_oldest_goes_whole() {
        let terms = terms(&[(0, worth(0, 5)), (1, worth(1, 5))], &[u64::MAX; 2]);
        assert_eq!(plan(&halves(4), &terms), Plan::Oldest);
        assert_eq!(plan(&[], &terms), Plan::Nothing);
    }

    #[test]
    fn a_lower_priority_goes_first_and_the_higher_is_rewritten() {
        let mut terms = terms(&[(0, worth(0, 9)), (1, worth(1, 1))], &[u64::MAX; 2]);
        let expected = Plan::Rewrite { from: 0, to: 0, starts: vec![(PartitionId(1), 100)], survivors: CAP / 2 };
        assert_eq!(plan(&halves(4), &terms), expected);
        terms.survivors_max = CAP;
        let both = Plan::Rewrite { from: 0, to: 1, starts: vec![(PartitionId(1), 200)], survivors: CAP };
        assert_eq!(plan(&halves(4), &terms), both);
        // Beyond the budget the oldest goes whole, unless that would break a promise.
        terms.budget = 10;
        assert_eq!(plan(&halves(4), &terms), Plan::Oldest);
        terms.evictable[0] = 100;
        assert_eq!(plan(&halves(4), &terms), both);
    }

    #[test]
    fn what_all_have_read_goes_before_what_someone_has_not() {
        let unread = Worth { read_to: 150, ..worth(0, 5) };
        let mut terms = terms(&[(0, unread), (1, worth(1, 5))], &[u64::MAX; 2]);
        assert_eq!(plan(&halves(3), &terms), Plan::Oldest);
        let later = &halves(3)[1..];
        let starts = vec![(PartitionId(0), 150), (PartitionId(1), 300)];
        // A fourth of the second segment and a half of the third are left.
        let expected = Plan::Rewrite { from: 1, to: 2, starts, survivors: CAP / 4 + CAP / 2 };
        assert_eq!(plan(later, &terms), expected);
        let alone =
            |first| vec![Sealed { id: 1, payload: CAP, rewritable: true, pieces: vec![piece(0, first, 200, CAP)] }];
        assert_eq!(plan(&alone(150), &terms), Plan::Oldest, "then the rest");
        terms.spare_unread = true;
        assert_eq!(plan(&alone(150), &terms), Plan::Nothing);
    }

    #[test]
    fn what_is_held_never_goes_and_small_files_melt() {
        let held = Worth { held_from: i64::MIN, ..worth(0, 0) };
        let terms = terms(&[(0, held), (1, worth(1, 9))], &[u64::MAX; 2]);
        let mut segments = halves(3);
        segments[0].pieces.pop();
        // What the first one lost earlier counts as well: it comes along.
        let Plan::Rewrite { from, to, starts, survivors } = plan(&segments, &terms) else { panic!() };
        assert_eq!((from, to, starts, survivors), (0, 0, vec![], CAP / 2));
        segments[0].payload = CAP / 2;
        let Plan::Rewrite { from, to, starts, .. } = plan(&segments, &terms) else { panic!() };
        assert_eq!((from, to, starts), (1, 1, vec![(PartitionId(1), 200)]));
        segments[0].pieces[0].bytes = 300;
        segments[0].payload = 300;
        let Plan::Rewrite { from, to, survivors, .. } = plan(&segments, &terms) else { panic!() };
        assert_eq!((from, to, survivors), (0, 1, 800));
        segments.iter_mut().for_each(|segment| segment.pieces.truncate(1));
        segments.iter_mut().for_each(|segment| segment.payload = segment.pieces[0].bytes);
        assert_eq!(plan(&segments, &terms), Plan::Nothing);
    }

    #[test]
    fn a_quarter_dead_is_worth_a_rewrite_without_need() {
        let terms = terms(&[(0, worth(0, 5)), (1, worth(1, 5))], &[u64::MAX; 2]);
        assert_eq!(reclaim(&halves(3), &terms), Plan::Nothing);
        let mut segments = halves(3);
        segments[1].pieces.pop();
        let expected = Plan::Rewrite { from: 1, to: 1, starts: vec![], survivors: CAP / 2 };
        assert_eq!(reclaim(&segments, &terms), expected);
        assert_eq!(reclaim(&segments, &Terms { budget: 1, ..terms }), Plan::Nothing);
    }

    /// Partitions with a topic, priority, and what is held and read; segments with what they hold of each.
    fn rings() -> impl Strategy<Value = (Vec<Sealed>, Terms)> {
        let partition =
            (0usize..3, 0u8..4, prop_oneof![Just(i64::MAX), 0i64..900], prop_oneof![Just(i64::MAX), 0i64..900]);
        let segment = (prop::collection::vec((0u64..300, 0i64..60), 6), any::<bool>(), 0u64..200);
        let sizes = (prop::collection::vec(0u64..4_000, 3), 1u64..1_500, 0u64..2_000, any::<bool>());
        (prop::collection::vec(partition, 6), prop::collection::vec(segment, 1..10), sizes).prop_map(
            |(partitions, segments, (evictable, wanted, budget, spare_unread))| {
                let mut ends = [0i64; 6];
                let segments = (0..).zip(segments).map(|(id, (shares, rewritable, dead))| {
                    let pieces =
                        (0u32..).zip(shares).zip(&mut ends).filter_map(|((partition, (bytes, records)), end)| {
                            let first = *end;
                            *end += records;
                            (records > 0 && bytes > 0).then(|| piece(partition, first, *end, bytes))
                        });
                    let pieces: Vec<_> = pieces.collect();
                    let payload = dead + pieces.iter().map(|piece| piece.bytes).sum::<u64>();
                    Sealed { id, payload, rewritable, pieces }
                });
                let worth =
                    (0..).map(PartitionId).zip(partitions).map(|(id, (topic, priority, held_from, read_to))| {
                        (id, Worth { topic, priority, held_from, read_to })
                    });
                let terms =
                    Terms { worth: worth.collect(), evictable, wanted, survivors_max: CAP, budget, spare_unread };
                (segments.collect(), terms)
            },
        )
    }

    /// Bytes that go by topic, and the highest level of any.
    fn going(segments: &[Sealed], terms: &Terms, starts: &BTreeMap<PartitionId, i64>) -> (Vec<u64>, Option<Level>) {
        let (mut bytes, mut highest) = (vec![0; terms.evictable.len()], None);
        for piece in segments.iter().flat_map(|segment| &segment.pieces) {
            let to = starts.get(&piece.partition).copied().unwrap_or(i64::MIN).clamp(piece.first, piece.end);
            if to > piece.first {
                let worth = terms.worth[&piece.partition];
                bytes[worth.topic] += share(piece, to);
                highest = highest.max(Some((worth.priority, to > worth.read_to)));
            }
        }
        (bytes, highest)
    }

    proptest! {
        #[test]
        fn plans_keep_to_their_terms((segments, terms) in rings()) {
            let starts: BTreeMap<PartitionId, i64> = match plan(&segments, &terms) {
                Plan::Nothing => return Ok(()),
                Plan::Oldest => segments[0].pieces.iter().map(|piece| (piece.partition, piece.end)).collect(),
                Plan::Rewrite { from, to, starts, survivors } => {
                    prop_assert!(from <= to && (to as usize) < segments.len());
                    let run = &segments[from as usize..=to as usize];
                    prop_assert!(run.iter().all(|segment| segment.rewritable));
                    let starts: BTreeMap<_, _> = starts.into_iter().collect();
                    let live = run.iter().flat_map(|segment| &segment.pieces);
                    let left: u64 = live.map(|piece| {
                        let to = starts.get(&piece.partition).copied().unwrap_or(i64::MIN).clamp(piece.first, piece.end);
                        piece.bytes - share(piece, to)
                    }).sum();
                    // In proportion, so it may differ by one a piece.
                    prop_assert!(left.abs_diff(survivors) <= 60, "{} {}", left, survivors);
                    prop_assert!(survivors <= terms.survivors_max || from == to);
                    let payload: u64 = run.iter().map(|segment| segment.payload).sum();
                    prop_assert!(payload > survivors);
                    let (bytes, _) = going(&segments, &terms, &starts);
                    prop_assert!(bytes.iter().zip(&terms.evictable).all(|(goes, most)| goes <= most));
                    starts
                }
            };
            for (partition, start) in &starts {
                let worth = terms.worth[partition];
                prop_assert!(*start <= worth.held_from, "{:?}", partition);
                prop_assert!(!terms.spare_unread || *start <= worth.read_to);
            }
            // Nothing goes while something of a lower level makes a run that is worth it and within the budget.
            let Some(highest) = going(&segments, &terms, &starts).1 else { return Ok(()) };
            for lower in levels(&segments, &terms).into_iter().filter(|lower| *lower < highest) {
                let swept = Swept::sweep(&segments, &terms, lower);
                let run = swept.run(&terms).is_some_and(|run| run.survivors <= terms.budget);
                let out_of_budget = levels(&segments, &terms).into_iter().take_while(|other| other <= &lower)
                    .any(|other| Swept::sweep(&segments, &terms, other).run(&terms).is_some_and(|run| run.survivors > terms.budget));
                prop_assert!(!run || out_of_budget, "{:?} goes before {:?}", highest, lower);
            }
        }

        /// As long as the oldest segment holds nothing that must not go, there is a way on.
        #[test]
        fn there_is_a_way_on((segments, mut terms) in rings()) {
            terms.spare_unread = false;
            let held = segments[0].pieces.iter().any(|piece| piece.end > terms.worth[&piece.partition].held_from);
            prop_assert!(held || plan(&segments, &terms) != Plan::Nothing);
        }
    }
}
