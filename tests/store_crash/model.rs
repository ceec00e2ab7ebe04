//! What a store must hold: the obvious implementation.

use std::collections::BTreeMap;
use std::sync::Arc;

use brooklet::record::{BatchBuilder, Compression, NO_HEADERS};
use brooklet::store::{Class, Intervals, OnFull, PartitionId, Retention, Space, cursor_key};
use fastrand::Rng;

/// The reader that follows every partition.
pub const READER: &str = "centre";
/// Where each step leaves its number, so that a recovered store tells how many it holds.
pub const STEP_KEY: (Space, &[u8]) = (Space::Group, b"step");

/// Everything as of some number of steps.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub steps: u64,
    pub partitions: BTreeMap<u32, Partition>,
    pub state: BTreeMap<(Space, Vec<u8>), Vec<u8>>,
    /// The lowest partition id never used.
    pub unused: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Partition {
    pub items: Vec<Item>,
    pub next: i64,
    /// As set explicitly; evictions may advance it further.
    pub log_start: i64,
    /// The reader has read what lies before.
    pub cursor: i64,
}

#[derive(Clone, Debug)]
pub struct Item {
    pub offset: i64,
    pub next: i64,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Batch(Arc<[u8]>),
    Record { timestamp: Option<i64>, key: Option<Arc<[u8]>>, value: Option<Arc<[u8]>> },
}

/// A part of a step.
#[derive(Clone, Debug)]
pub enum Action {
    Create(u32),
    Drop(u32),
    /// A whole batch, or one record; and where it must land.
    Append {
        partition: u32,
        offset: i64,
        what: What,
    },
    Put(Space, Vec<u8>, Vec<u8>),
    Delete(Space, Vec<u8>),
    LogStart(u32, i64),
}

/// One operation of the store: all of it happens, or nothing.
#[derive(Clone, Debug)]
pub struct Step {
    pub number: u64,
    pub actions: Vec<Action>,
}

/// How large things get.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub partitions: usize,
    /// Most actions in a step, besides the last one.
    pub actions: usize,
    /// Largest batch, bytes of records.
    pub batch_bytes: usize,
    /// Largest value of the keyed state, bytes.
    pub value_bytes: usize,
    /// Different keys in a space of the keyed state.
    pub keys: u16,
    /// Whether records are deleted and partitions dropped.
    pub deletes: bool,
    /// Of every partition.
    pub retention: Option<Retention>,
    /// Whether partitions differ in priority and reserve.
    pub classes: bool,
}

impl Shape {
    /// What a partition is worth.
    pub fn class(&self, id: u32) -> Class {
        let (priority, reserve) =
            if self.classes { ((id * 7 % 10) as u8, u64::from(id % 3 / 2) * 300_000) } else { (5, 0) };
        Class { topic: [id as u8; 16], priority, reserve, on_full: OnFull::EvictOldest }
    }
}

impl Model {
    /// Invents the next step, and takes it.
    pub fn step(&mut self, rng: &mut Rng, shape: &Shape) -> Step {
        self.steps += 1;
        let mut actions = Vec::new();
        for _ in 0..1 + rng.usize(0..4).min(shape.actions - 1) * rng.usize(0..2) {
            let Some(action) = self.invent(rng, shape) else { continue };
            self.take(&action);
            let large = matches!(&action, Action::Append { what: What::Batch(bytes), .. } if bytes.len() > 40_000);
            actions.push(action);
            // A commit takes 256 KiB at the smallest segment size.
            if large {
                break;
            }
        }
        let (space, key) = STEP_KEY;
        let action = Action::Put(space, key.to_vec(), self.steps.to_le_bytes().to_vec());
        self.take(&action);
        actions.push(action);
        Step { number: self.steps, actions }
    }

    /// A step that deletes all records.
    pub fn clear(&mut self) -> Step {
        self.steps += 1;
        let mut actions: Vec<_> = self.partitions.iter().map(|(id, p)| Action::LogStart(*id, p.next)).collect();
        let (space, key) = STEP_KEY;
        actions.push(Action::Put(space, key.to_vec(), self.steps.to_le_bytes().to_vec()));
        actions.iter().for_each(|action| self.take(action));
        Step { number: self.steps, actions }
    }

    fn invent(&self, rng: &mut Rng, shape: &Shape) -> Option<Action> {
        if self.partitions.is_empty() || self.partitions.len() < shape.partitions && rng.u8(..) < 40 {
            return Some(Action::Create(self.unused + u32::from(rng.u8(..) < 20)));
        }
        let (&id, partition) = self.partitions.iter().nth(rng.usize(0..self.partitions.len()))?;
        let space = *rng.choice(&[Space::Topic, Space::Device, Space::Producer])?;
        let key = format!("key {}", rng.u16(0..shape.keys)).into_bytes();
        Some(match rng.u8(0..100) {
            0..45 => Action::Append { partition: id, offset: partition.next, what: batch(rng, shape.batch_bytes) },
            45..75 => Action::Append { partition: id, offset: partition.next, what: record(rng) },
            75..85 => Action::Put(space, key, bytes(rng, shape.value_bytes)),
            85..90 => Action::Delete(space, key),
            90..97 => {
                let cursor = rng.i64(partition.cursor..=partition.next);
                Action::Put(Space::Cursor, cursor_key(READER, PartitionId(id)), Intervals::up_to(cursor).encode())
            }
            97..99 if shape.deletes => {
                let kept = partition.next - partition.log_start;
                Action::LogStart(id, partition.log_start + rng.i64(0..=kept / 2))
            }
            99.. if shape.deletes && self.partitions.len() > 1 && rng.u8(0..3) == 0 => Action::Drop(id),
            _ => return None,
        })
    }

    fn take(&mut self, action: &Action) {
        match action {
            Action::Create(id) => {
                self.partitions.insert(*id, Partition::default());
                self.unused = id + 1;
            }
            Action::Drop(id) => {
                self.partitions.remove(id);
            }
            Action::Append { partition, offset, what } => {
                let Some(partition) = self.partitions.get_mut(partition) else { return };
                let next = offset + what.records();
                partition.items.push(Item { offset: *offset, next, what: what.clone() });
                partition.next = next;
            }
            Action::Put(space, key, value) => {
                if *space == Space::Cursor {
                    self.take_cursor(key, value);
                }
                self.state.insert((*space, key.clone()), value.clone());
            }
            Action::Delete(space, key) => {
                self.state.remove(&(*space, key.clone()));
            }
            Action::LogStart(id, offset) => {
                if let Some(partition) = self.partitions.get_mut(id) {
                    partition.log_start = partition.log_start.max(*offset);
                }
            }
        }
    }

    fn take_cursor(&mut self, key: &[u8], value: &[u8]) {
        for (id, partition) in &mut self.partitions {
            if cursor_key(READER, PartitionId(*id)) == key {
                partition.cursor = Intervals::decode(value).unwrap().first_gap();
            }
        }
    }
}

impl What {
    pub fn records(&self) -> i64 {
        match self {
            Self::Batch(bytes) => i64::from(u32::from_be_bytes(bytes[57..61].try_into().unwrap())),
            Self::Record { .. } => 1,
        }
    }
}

fn batch(rng: &mut Rng, bytes_max: usize) -> What {
    let mut builder = BatchBuilder::new();
    let mut left = size(rng, bytes_max);
    for number in 0..1 + rng.i64(0..5) {
        let value = bytes(rng, left.max(1));
        left -= value.len().min(left);
        builder.push(1_700_000_000_000 + number, None, Some(&value), NO_HEADERS).unwrap();
    }
    What::Batch(builder.finish(Compression::None).into())
}

fn record(rng: &mut Rng) -> What {
    What::Record {
        timestamp: rng.bool().then(|| 1_600_000_000_000 + rng.i64(0..1_000)),
        key: rng.bool().then(|| bytes(rng, 10).into()),
        value: (rng.u8(..) > 20).then(|| bytes(rng, 200).into()),
    }
}

/// Of every order of magnitude up to the bound, the larger ones more often.
fn size(rng: &mut Rng, max: usize) -> usize {
    let bits_max = rng.u32(0..=max.ilog2());
    let bits = rng.u32(0..=bits_max);
    rng.usize(0..=(max >> bits))
}

fn bytes(rng: &mut Rng, max: usize) -> Vec<u8> {
    let mut bytes = vec![0; size(rng, max)];
    rng.fill(&mut bytes);
    bytes
}
