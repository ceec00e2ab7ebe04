//! Finds the way to make room: gathers what a plan needs (see [`super::plan`]), and what of it is possible now.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::classes::Class;
use super::holdings;
use super::ledger;
use super::options::OnFull;
use super::plan::{self, Plan, Sealed, Terms, Worth};
use super::read::Attempt;
use super::rewrite;
use super::ring::{Segment, lock};
use super::shared::Shared;
use super::types::{PartitionId, Space};
use super::view::View;
use crate::limits::{PRIORITY_DEFAULT, reserve_sum_max};
use crate::store::Intervals;

/// Pieces that are looked at in one go: beyond, newer segments wait for the next one.
const PIECES_MAX: usize = 131_072;
/// Segments that the ring needs to turn over in, and that can't be promised: active, spare, being sealed, being rewritten.
const FREE_SEGMENTS: u64 = 4;

impl Shared {
    /// Bytes that can be promised to topics: reserves, and what may not be evicted.
    pub(super) fn promised_max(&self) -> u64 {
        reserve_sum_max(self.max_bytes).min(self.max_bytes.saturating_sub(FREE_SEGMENTS * self.ring.segment_bytes))
    }

    /// Whether partitions differ in what they are worth, so that rewrites are to be expected.
    pub(super) fn classes_differ(&self) -> bool {
        let classes = lock(&self.classes);
        let mut classes = classes.iter().map(|(_, class)| class);
        let Some(first) = classes.next() else { return false };
        let plain = |class: &Class| class.reserve == 0 && class.on_full == OnFull::EvictOldest;
        !plain(first) || classes.any(|class| class.priority != first.priority || !plain(class))
    }

    /// Whether topics that may not be evicted hold all that can be promised: no more is taken for them then.
    pub(super) fn promises_are_used_up(&self) -> bool {
        let classes = lock(&self.classes);
        if !classes.any_refuses() {
            return false;
        }
        let view = self.view();
        let held = classes.iter().filter(|(_, class)| class.on_full == OnFull::Refuse);
        let held: u64 = held.filter_map(|(id, _)| Some(view.partitions.get(&id)?.retained().bytes)).sum();
        let others: HashMap<[u8; 16], u64> = classes
            .iter()
            .map(|(_, class)| class)
            .filter(|class| class.on_full == OnFull::EvictOldest)
            .map(|class| (class.topic, class.reserve))
            .collect();
        let reserved = others.values().fold(0u64, |sum, reserve| sum.saturating_add(*reserve));
        let most = self.promised_max();
        held >= most.saturating_sub(reserved.min(most / 2))
    }
}

/// The plan for some room: by eviction, or just by leaving out what is dead. `file_bytes` is what a new file may take.
pub(super) fn plan(shared: &Shared, reclaim: bool, file_bytes: u64) -> Result<Plan, Attempt> {
    let sealed = sealed(shared);
    let Some(oldest) = sealed.first() else { return Ok(Plan::Nothing) };
    // What can't be read has no value to compare.
    if oldest.is_damaged() {
        return Ok(if reclaim { Plan::Nothing } else { Plan::Oldest });
    }
    let terms = terms(shared, file_bytes);
    let newest_rewritable = shared.view().active().map_or(0, |active| active.id).saturating_sub(2);
    let (mut segments, mut pieces) = (Vec::new(), 0);
    for segment in sealed.iter().take_while(|segment| !segment.is_damaged()) {
        let held = holdings::pieces(shared, segment)?;
        pieces += held.len();
        let payload = shared.view().row(segment.id).map_or(0, |row| row.totals.payload_bytes);
        let rewritable = segment.id <= newest_rewritable;
        segments.push(Sealed { id: segment.id, payload, rewritable, pieces: held });
        if !reclaim && segments.len() == 1 && plan::goes_as_a_matter_of_course(&segments, &terms) {
            return Ok(Plan::Oldest);
        }
        if pieces > PIECES_MAX {
            break;
        }
    }
    Ok(if reclaim { plan::reclaim(&segments, &terms) } else { plan::plan(&segments, &terms) })
}

/// The sealed segments, oldest first.
fn sealed(shared: &Shared) -> Vec<Arc<Segment>> {
    let through = shared.sealed_through.load(Ordering::Acquire);
    let view = shared.view();
    let active = view.active().map_or(0, |active| active.id);
    view.segments.iter().filter(|segment| segment.id <= through && segment.id < active).cloned().collect()
}

fn terms(shared: &Shared, file_bytes: u64) -> Terms {
    // It looks at the view itself: under a view that is held, that would wait for a writer who waits for this one.
    let budget = shared.rewrite.budget_left(shared);
    let classes = lock(&shared.classes);
    let followers = lock(&shared.env.followers);
    let pins = lock(&shared.env.pins);
    let view = shared.view();
    let mut topics: HashMap<[u8; 16], usize> = HashMap::new();
    let (mut retained, mut reserves, mut worth) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (&id, partition) in &view.partitions {
        let class = classes.get(id).copied().unwrap_or_else(|| unknown(id));
        let topic = *topics.entry(class.topic).or_insert_with(|| {
            retained.push(0u64);
            reserves.push(class.reserve);
            retained.len() - 1
        });
        if let Some(retained) = retained.get_mut(topic) {
            *retained += partition.retained().bytes;
        }
        let read = ledger::read_by_all(followers.of(id), id, |key| position(&view, key));
        let held_from = match class.on_full {
            OnFull::Refuse => i64::MIN,
            OnFull::EvictOldest => pins.first_of(id).unwrap_or(i64::MAX),
        };
        worth.insert(id, Worth { topic, priority: class.priority, held_from, read_to: read.unwrap_or(i64::MAX) });
    }
    let (sum, most) = (reserves.iter().fold(0u64, |sum, reserve| sum.saturating_add(*reserve)), shared.promised_max());
    let cut = |reserve: u64| (u128::from(reserve) * u128::from(most.min(sum)) / u128::from(sum.max(1))) as u64;
    let evictable = retained.iter().zip(&reserves).map(|(all, reserve)| all.saturating_sub(cut(*reserve))).collect();
    Terms {
        worth,
        evictable,
        wanted: shared.ring.segment_bytes,
        survivors_max: rewrite::survivors_max(file_bytes.min(shared.ring.segment_bytes)),
        budget,
        spare_unread: false,
    }
}

fn position(view: &View, key: &[u8]) -> Option<Intervals> {
    view.state.get(Space::Cursor, key).and_then(|value| Intervals::decode(value).ok())
}

/// The class of a partition of which nobody has said any.
fn unknown(partition: PartitionId) -> Class {
    let mut topic = [0; 16];
    topic.iter_mut().zip(partition.0.to_be_bytes()).for_each(|(to, from)| *to = from);
    Class { topic, priority: PRIORITY_DEFAULT, reserve: 0, on_full: OnFull::EvictOldest }
}
