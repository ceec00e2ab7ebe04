//! The ledger: what was acknowledged to the devices against what arrived, record by record.
//!
//! A record is known by its device and its number, which stand in its value; nothing else is trusted to count.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

use super::centre::Arrival;
use crate::cli::table::Table;
use crate::cli::term::human_count;
use crate::json;

/// What identifies a record within its value.
#[derive(Deserialize)]
struct Identity {
    device: String,
    n: u64,
}

/// What one device was promised: records 1 to `acknowledged`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    pub(super) device: String,
    pub(super) acknowledged: u64,
}

/// How one device fared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    device: String,
    acknowledged: u64,
    delivered: u64,
    /// Arrivals beyond a record's first.
    duplicates: u64,
    /// First arrivals with a lower number than one before them.
    out_of_order: u64,
    /// Acknowledged, not at the centre.
    missing: BTreeSet<u64>,
}

/// The comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    accounts: Vec<Account>,
    /// Arrivals that belong to none of the devices.
    foreign: u64,
    /// Of the missing ones, those that still wait on the gateway to be forwarded.
    pending: u64,
}

impl Ledger {
    /// Compares. `arrivals` are partition by partition in the order of offsets.
    pub(super) fn compare(promises: &[Promise], arrivals: &[Arrival]) -> Ledger {
        let (numbers, foreign) = by_device(arrivals);
        let nothing = Vec::new();
        let account = |promise: &Promise| account(promise, numbers.get(&promise.device).unwrap_or(&nothing));
        Ledger { accounts: promises.iter().map(account).collect(), foreign, pending: 0 }
    }

    /// Looks for the missing ones among those that wait on the gateway to be forwarded.
    pub(super) fn find_pending(&mut self, waiting: &[Arrival]) {
        let (numbers, _) = by_device(waiting);
        let found = |account: &Account| {
            let waiting: BTreeSet<u64> = numbers.get(&account.device).into_iter().flatten().copied().collect();
            account.missing.intersection(&waiting).count() as u64
        };
        self.pending = self.accounts.iter().map(found).sum();
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accounts.iter().map(|account| account.acknowledged).sum()
    }

    pub(super) fn delivered(&self) -> u64 {
        self.accounts.iter().map(|account| account.delivered).sum()
    }

    pub(super) fn pending(&self) -> u64 {
        self.pending
    }

    /// Acknowledged, and neither at the centre nor waiting.
    pub(super) fn lost(&self) -> u64 {
        self.missing().saturating_sub(self.pending)
    }

    /// Acknowledged and not at the centre.
    pub(super) fn missing(&self) -> u64 {
        self.accounts.iter().map(|account| account.missing.len() as u64).sum()
    }

    pub(super) fn duplicates(&self) -> u64 {
        self.accounts.iter().map(|account| account.duplicates).sum()
    }

    pub(super) fn out_of_order(&self) -> u64 {
        self.accounts.iter().map(|account| account.out_of_order).sum()
    }

    /// The one line.
    pub(super) fn line(&self) -> String {
        let (accepted, delivered, pending) = (self.accepted(), self.delivered(), self.pending());
        let (lost, duplicates) = (self.lost(), self.duplicates());
        format!("accepted={accepted} delivered={delivered} pending={pending} lost={lost} duplicates={duplicates}")
    }

    /// A row a device.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new(&["DEVICE", ">ACKNOWLEDGED", ">ARRIVED", ">AGAIN", "ORDER"]);
        for account in &self.accounts {
            let order = match account.out_of_order {
                0 => "kept".to_owned(),
                count => format!("{count} out of order"),
            };
            let figures = [account.acknowledged, account.delivered, account.duplicates].map(human_count);
            table.row([account.device.clone()].into_iter().chain(figures).chain([order]));
        }
        table.render()
    }

    /// Arrivals that belong to none of the devices.
    pub(super) fn foreign(&self) -> u64 {
        self.foreign
    }
}

/// The numbers that arrived of each device, in their order; and how many records belong to none.
fn by_device(arrivals: &[Arrival]) -> (BTreeMap<String, Vec<u64>>, u64) {
    let (mut numbers, mut foreign) = (BTreeMap::<String, Vec<u64>>::new(), 0);
    for arrival in arrivals {
        match json::from_slice::<Identity>(&arrival.value) {
            Ok(identity) => numbers.entry(identity.device).or_default().push(identity.n),
            Err(_) => foreign += 1,
        }
    }
    (numbers, foreign)
}

fn account(promise: &Promise, arrived: &[u64]) -> Account {
    let (mut seen, mut newest) = (BTreeSet::new(), 0);
    let (mut duplicates, mut out_of_order) = (0, 0);
    for number in arrived {
        if !seen.insert(*number) {
            duplicates += 1;
        } else if *number < newest {
            out_of_order += 1;
        }
        newest = newest.max(*number);
    }
    let promised = 1..=promise.acknowledged;
    let missing: BTreeSet<u64> = promised.clone().filter(|number| !seen.contains(number)).collect();
    Account {
        device: promise.device.clone(),
        acknowledged: promise.acknowledged,
        delivered: promise.acknowledged - missing.len() as u64,
        duplicates,
        out_of_order,
        missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(records: &[(&str, u64)]) -> Vec<Arrival> {
        let value =
            |(device, n): &(&str, u64)| format!(r#"{{"device":"{device}","n":{n},"metric":"cpu"}}"#).into_bytes();
        let arrival = |(offset, record)| Arrival { partition: 0, offset: offset as i64, value: value(record) };
        records.iter().enumerate().map(arrival).collect()
    }

    fn promise(device: &str, acknowledged: u64) -> Promise {
        Promise { device: device.to_owned(), acknowledged }
    }

    #[test]
    fn every_record_is_accounted_for() {
        let records = [("a", 1), ("a", 2), ("b", 1), ("a", 1), ("a", 2), ("a", 3), ("b", 3), ("c", 1)];
        let mut ledger = Ledger::compare(&[promise("a", 3), promise("b", 4)], &arrivals(&records));
        assert_eq!(ledger.line(), "accepted=7 delivered=5 pending=0 lost=2 duplicates=2");
        ledger.find_pending(&arrivals(&[("b", 4), ("a", 9)]));
        assert_eq!(ledger.line(), "accepted=7 delivered=5 pending=1 lost=1 duplicates=2");
        assert_eq!((ledger.out_of_order(), ledger.foreign(), ledger.missing()), (0, 0, 2));
    }

    #[test]
    fn repeats_are_duplicates_and_not_disorder() {
        let ledger =
            Ledger::compare(&[promise("a", 3)], &arrivals(&[("a", 1), ("a", 2), ("a", 1), ("a", 2), ("a", 3)]));
        assert_eq!((ledger.out_of_order(), ledger.duplicates()), (0, 2));
        let swapped = Ledger::compare(&[promise("a", 3)], &arrivals(&[("a", 1), ("a", 3), ("a", 2)]));
        assert_eq!((swapped.out_of_order(), swapped.duplicates(), swapped.lost()), (1, 0, 0));
        assert!(swapped.table().contains("1 out of order"));
    }

    #[test]
    fn what_arrives_unacknowledged_or_from_elsewhere_counts_for_nothing() {
        let mut records = arrivals(&[("a", 1), ("a", 2)]);
        records.push(Arrival { partition: 0, offset: 9, value: b"not ours".to_vec() });
        let ledger = Ledger::compare(&[promise("a", 1)], &records);
        assert_eq!(ledger.line(), "accepted=1 delivered=1 pending=0 lost=0 duplicates=0");
        assert_eq!(ledger.foreign(), 1);
    }
}
