//! The transaction coordinator, as Apache Kafka 4 has it: transactions v1 (KIP-98, KIP-360) and v2 (KIP-890).
//!
//! Errors are Kafka's numbers: 47 INVALID_PRODUCER_EPOCH, 48 INVALID_TXN_STATE, 49 INVALID_PRODUCER_ID_MAPPING,
//! 50 INVALID_TRANSACTION_TIMEOUT, 51 CONCURRENT_TRANSACTIONS, 90 PRODUCER_FENCED, 120 TRANSACTION_ABORTABLE.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::State;

/// A partition of a topic.
pub type Place = (String, i32);

/// The largest epoch that a producer is given: one above is left for fencing it.
const EPOCH_LAST: i16 = i16::MAX - 1;
/// Kafka's default of `transaction.max.timeout.ms`.
const TIMEOUT_MAX_MS: i32 = 900_000;

/// INVALID_PRODUCER_ID_MAPPING.
const UNMAPPED: i16 = 49;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    Empty,
    Ongoing,
    /// Decided; markers are being written.
    Prepared {
        commit: bool,
    },
    Complete {
        commit: bool,
    },
}

#[derive(Debug)]
pub struct Transaction {
    pub id: i64,
    pub epoch: i16,
    /// −1 where whoever had the epoch before was fenced.
    last_epoch: i16,
    previous_id: i64,
    /// Takes the place of `id` when the markers are written.
    next_id: Option<i64>,
    pub phase: Phase,
    partitions: BTreeSet<Place>,
    groups: BTreeSet<String>,
    pub timeout_ms: i32,
    /// When it began to be ongoing.
    since: Instant,
    /// Requests to be told to wait before the markers are written.
    wait: u32,
}

#[derive(Default)]
pub struct Coordinator {
    pub transactions: BTreeMap<String, Transaction>,
    /// `transaction.version`.
    pub version: i16,
    /// For how many requests a decided transaction is told to wait; `u32::MAX`: until [`State::write_markers`].
    pub markers_after: u32,
    /// What the first epoch of a transactional id is, to come near its end.
    pub first_epoch: i16,
    pub ended: BTreeMap<bool, u32>,
    /// `transaction.max.timeout.ms`, if it is not the default.
    pub timeout_max_ms: Option<i32>,
    /// Transactions whose time was up.
    pub expired: u32,
    /// Last producer id given.
    pub last_id: i64,
}

impl Coordinator {
    pub fn new_id(&mut self) -> i64 {
        self.last_id = self.last_id.max(1_000) + 1;
        self.last_id
    }

    /// InitProducerId with a transactional id. `expected`: the id and epoch that the producer says it has (KIP-360).
    pub fn init(&mut self, name: &str, timeout_ms: i32, expected: Option<(i64, i16)>) -> Result<(i64, i16), i16> {
        if !(1..=self.timeout_max_ms.unwrap_or(TIMEOUT_MAX_MS)).contains(&timeout_ms) {
            return Err(50);
        }
        if !self.transactions.contains_key(name) {
            let new = Transaction {
                id: self.new_id(),
                epoch: self.first_epoch - 1,
                last_epoch: -1,
                previous_id: -1,
                next_id: None,
                phase: Phase::Empty,
                partitions: BTreeSet::new(),
                groups: BTreeSet::new(),
                timeout_ms,
                since: Instant::now(),
                wait: 0,
            };
            self.transactions.insert(name.to_owned(), new);
        }
        let spare_id = self.new_id();
        let (version, wait) = (self.version, self.markers_after);
        let txn = self.transactions.get_mut(name).unwrap();
        let is_new = txn.epoch < self.first_epoch;
        let is_known =
            |(id, epoch): (i64, i16)| is_new || id == txn.id || (id == txn.previous_id && epoch >= EPOCH_LAST);
        if !expected.is_none_or(is_known) {
            return Err(90);
        }
        match txn.phase {
            Phase::Prepared { .. } => return Err(51),
            Phase::Ongoing => {
                txn.fence(version, wait, spare_id);
                return Err(51);
            }
            Phase::Empty | Phase::Complete { .. } => {}
        }
        if txn.epoch >= EPOCH_LAST && expected.is_none_or(|(_, epoch)| epoch == txn.epoch) {
            txn.last_epoch = if expected.is_some() { txn.epoch } else { -1 };
            (txn.previous_id, txn.id, txn.epoch) = (txn.id, spare_id, 0);
        } else {
            match expected {
                None => (txn.last_epoch, txn.epoch) = (-1, txn.epoch + 1),
                Some((_, epoch)) if is_new || epoch == txn.epoch => {
                    (txn.last_epoch, txn.epoch) = (txn.epoch, txn.epoch + 1);
                }
                // A request that was done, come again.
                Some((_, epoch)) if epoch == txn.last_epoch => {}
                Some(_) => return Err(90),
            }
        }
        (txn.phase, txn.timeout_ms) = (Phase::Empty, timeout_ms);
        Ok((txn.id, txn.epoch))
    }

    /// Takes partitions and groups into a transaction: AddPartitionsToTxn, AddOffsetsToTxn.
    pub fn add(&mut self, name: &str, producer: (i64, i16), places: &[Place], group: Option<&str>) -> Result<(), i16> {
        let txn = self.transactions.get_mut(name).ok_or(UNMAPPED)?;
        if txn.id != producer.0 {
            return Err(49);
        }
        if txn.epoch != producer.1 {
            return Err(90);
        }
        if matches!(txn.phase, Phase::Prepared { .. }) {
            return Err(51);
        }
        if txn.phase != Phase::Ongoing {
            (txn.phase, txn.since) = (Phase::Ongoing, Instant::now());
        }
        txn.partitions.extend(places.iter().cloned());
        txn.groups.extend(group.map(str::to_owned));
        Ok(())
    }

    /// Whether Produce or TxnOffsetCommit may go on: v2 takes its target into the transaction by itself. `abortable`: the
    /// client knows error 120.
    pub fn admit(
        &mut self,
        name: &str,
        producer: (i64, i16),
        place: Result<&Place, &str>,
        (second, abortable): (bool, bool),
    ) -> Result<(), i16> {
        let (places, group) = match place {
            Ok(place) => (vec![place.clone()], None),
            Err(group) => (Vec::new(), Some(group)),
        };
        if second {
            assert!(self.version >= 2, "transactions v2 though the cluster has them not");
            // Leaders and group coordinators know no PRODUCER_FENCED.
            return self.add(name, producer, &places, group).map_err(|code| if code == 90 { 47 } else { code });
        }
        let txn = self.transactions.get(name).ok_or(UNMAPPED)?;
        match (txn.id == producer.0, txn.epoch == producer.1, txn.phase) {
            (false, ..) => Err(49),
            (_, false, _) => Err(47),
            // NOT_ENOUGH_REPLICAS, which every client tries again.
            (.., Phase::Prepared { .. }) => Err(19),
            _ if places.iter().all(|place| txn.partitions.contains(place))
                && group.is_none_or(|group| txn.groups.contains(group)) =>
            {
                Ok(())
            }
            _ => Err(if abortable { 120 } else { 48 }),
        }
    }

    /// EndTxn. The producer id and epoch of the next transaction (of meaning with v2 only).
    pub fn end(&mut self, name: &str, producer: (i64, i16), commit: bool, second: bool) -> Result<(i64, i16), i16> {
        assert!(!second || self.version >= 2, "transactions v2 though the cluster has them not");
        let (spare_id, wait) = (self.new_id(), self.markers_after);
        let txn = self.transactions.get_mut(name).ok_or(UNMAPPED)?;
        let rotated = second && txn.previous_id == producer.0 && producer.1 == EPOCH_LAST && txn.epoch == 0;
        if txn.id != producer.0 && !rotated {
            return Err(49);
        }
        let again = second && (rotated || txn.epoch == producer.1 + 1);
        let is_valid = match txn.phase {
            Phase::Prepared { .. } if second => again,
            Phase::Complete { .. } if second => again || txn.epoch == producer.1,
            _ => txn.epoch == producer.1,
        };
        if !is_valid {
            return Err(90);
        }
        match txn.phase {
            Phase::Ongoing => {}
            Phase::Prepared { commit: decided } => return Err(if decided == commit { 51 } else { 48 }),
            Phase::Complete { commit: decided } if (!second || again) && decided == commit => {
                return Ok((txn.id, txn.epoch));
            }
            // With v2 an abort of nothing raises the epoch.
            Phase::Empty | Phase::Complete { .. } if second && !commit && !again => {}
            Phase::Empty | Phase::Complete { .. } => return Err(48),
        }
        txn.prepare(commit, second, wait, spare_id);
        Ok(txn.next_id.map_or((txn.id, txn.epoch), |id| (id, 0)))
    }

    /// As the coordinator does it when the transaction's time is up.
    pub fn expire(&mut self, name: &str) {
        let (version, wait, spare_id) = (self.version, self.markers_after, self.new_id());
        let txn = self.transactions.get_mut(name).unwrap();
        assert_eq!(txn.phase, Phase::Ongoing);
        txn.fence(version, wait, spare_id);
    }

    /// Ends the transactions whose time is up.
    fn expire_due(&mut self) {
        let is_up =
            |txn: &Transaction| txn.phase == Phase::Ongoing && txn.since.elapsed().as_millis() as i32 >= txn.timeout_ms;
        let due: Vec<String> =
            self.transactions.iter().filter(|(_, txn)| is_up(txn)).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.expired += 1;
            self.expire(&name);
        }
    }
}

impl Transaction {
    /// Aborts on another's behalf. With v1 whoever had the epoch can't have it raised any more: that looks like a rival's doing.
    fn fence(&mut self, version: i16, wait: u32, spare_id: i64) {
        if version < 2 {
            (self.last_epoch, self.epoch) = (-1, self.epoch + 1);
        }
        self.prepare(false, version >= 2, wait, spare_id);
    }

    fn prepare(&mut self, commit: bool, second: bool, wait: u32, spare_id: i64) {
        if second {
            self.next_id = (self.epoch >= EPOCH_LAST).then_some(spare_id);
            (self.last_epoch, self.epoch) = (self.epoch, self.epoch + 1);
        }
        (self.phase, self.wait) = (Phase::Prepared { commit }, wait);
    }
}

impl State {
    /// A request has come: decided transactions are a step nearer to their end.
    pub fn tick(&mut self) {
        self.coordinator.expire_due();
        self.complete(|txn| {
            let is_due = txn.wait == 0;
            if txn.wait < u32::MAX {
                txn.wait = txn.wait.saturating_sub(1);
            }
            is_due
        });
    }

    /// Writes the markers of all decided transactions now.
    pub fn write_markers(&mut self) {
        self.complete(|_| true);
    }

    fn complete(&mut self, is_due: impl Fn(&mut Transaction) -> bool) {
        for txn in self.coordinator.transactions.values_mut() {
            let Phase::Prepared { commit } = txn.phase else { continue };
            if !is_due(txn) {
                continue;
            }
            for (topic, index) in std::mem::take(&mut txn.partitions) {
                if let Some(partitions) = self.topics.get_mut(&topic) {
                    partitions[index as usize].mark(txn.id, txn.epoch, commit);
                }
            }
            for group in std::mem::take(&mut txn.groups) {
                self.groups.entry(group).or_default().mark(txn.id, commit);
            }
            if let Some(next) = txn.next_id.take() {
                (txn.previous_id, txn.id, txn.epoch) = (txn.id, next, 0);
            }
            txn.phase = Phase::Complete { commit };
            *self.coordinator.ended.entry(commit).or_default() += 1;
        }
    }
}
