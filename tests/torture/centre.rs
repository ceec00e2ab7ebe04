//! What arrived at the centre, by a stock read_committed consumer (kcat, librdkafka), held against what was acknowledged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::devices;

/// At most so many faults are told one by one.
const TOLD_MAX: usize = 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub records: u64,
    pub lost: u64,
    pub twice: u64,
    pub disordered: u64,
    pub unknown: u64,
    /// The first of these, in words.
    pub told: Vec<String>,
}

/// A device's readings as they arrived.
#[derive(Default)]
struct Arrived {
    /// Place of each number; `None` until it is seen.
    places: Vec<Option<(i32, i64)>>,
    /// The highest number by partition.
    highest: BTreeMap<i32, u64>,
}

impl Verdict {
    fn tell(&mut self, text: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(text);
        }
    }

    fn note(&mut self, arrived: &mut Arrived, key: &str, number: u64, place: (i32, i64)) {
        let at = number as usize;
        if let Some(Some(first)) = arrived.places.get(at) {
            self.twice += 1;
            return self.tell(format!("{key} {number} twice: at partition, offset {first:?} and {place:?}"));
        }
        if arrived.places.len() <= at {
            arrived.places.resize(at + 1, None);
        }
        arrived.places[at] = Some(place);
        let highest = arrived.highest.entry(place.0).or_default();
        if number < *highest {
            self.disordered += 1;
            self.tell(format!("{key} {number} at {place:?} comes after {highest}"));
        }
        *highest = number.max(*highest);
    }
}

/// Reads the whole topic. `published`: how many readings each device published, all of which were acknowledged.
pub fn compare(bootstrap: &str, topic: &str, published: &[u64]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut arrived: BTreeMap<String, Arrived> = BTreeMap::new();
    let format = "%p\t%o\t%k\t%s\n";
    let mut kcat = Command::new("kcat")
        .args(["-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-o", "beginning", "-f", format])
        .args(["-X", "isolation.level=read_committed"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(kcat.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields.len(), 4, "kcat printed {line:?}");
        verdict.records += 1;
        let number = fields[3].split(' ').next().and_then(|number| number.parse().ok());
        let place = (fields[0].parse().unwrap(), fields[1].parse().unwrap());
        match number {
            Some(number) => verdict.note(arrived.entry(fields[2].to_owned()).or_default(), fields[2], number, place),
            None => verdict.unknown += 1,
        }
    }
    let status = kcat.wait().unwrap();
    assert!(status.success(), "kcat: {status}");
    for (device, published) in published.iter().enumerate() {
        let key = devices::name(device);
        let places = arrived.remove(&key).unwrap_or_default().places;
        verdict.unknown += (places.len() as u64).saturating_sub(*published);
        let missing = (0..*published).filter(|number| !matches!(places.get(*number as usize), Some(Some(_))));
        let missing: Vec<u64> = missing.collect();
        if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
            verdict.lost += missing.len() as u64;
            verdict.tell(format!(
                "{key}: {} of {published} are missing, the first {first}, the last {last}",
                missing.len()
            ));
        }
    }
    verdict.unknown += arrived.values().map(|arrived| arrived.places.len() as u64).sum::<u64>();
    verdict
}
