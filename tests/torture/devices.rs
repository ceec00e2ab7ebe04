//! Devices that publish readings over the native protocol and resend until they are acknowledged.
//!
//! A reading's value is `NUMBER TIME VALUE`: the number counts a device's readings from 0, so the centre can be asked for each.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brooklet::client::{Address, Publisher, PublisherOptions};
use brooklet::device::{Reading, Stamp};

/// How long a device tries to open a session, or waits for its last acknowledgement.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pauses between bursts: readings come in groups, as from machines that report several values at once.
const PAUSE_MS: std::ops::Range<u64> = 50..450;
const BURST: std::ops::Range<u64> = 1..16;

/// What devices measure.
pub enum Source {
    /// Lines `time,value` of files, a device each in turn, from the beginning again at the end.
    Files(Vec<Vec<String>>),
    /// A machine's temperature by a daily curve, noise and now and then a jump.
    Made,
}

impl Source {
    /// CSV files of a directory (a heading, then `time,value`); without one, readings are made.
    pub fn load(directory: Option<&Path>) -> Source {
        let Some(directory) = directory else { return Source::Made };
        let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "csv"));
        paths.sort();
        let lines = |path| fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned).collect();
        let files: Vec<Vec<String>> = paths.iter().map(lines).filter(|lines: &Vec<_>| !lines.is_empty()).collect();
        assert!(!files.is_empty(), "{}: no CSV files with readings", directory.display());
        Source::Files(files)
    }

    fn reading(&self, device: usize, number: u64, random: &mut fastrand::Rng) -> String {
        match self {
            Source::Files(files) => {
                let lines = &files[device % files.len()];
                format!("{number} {}", lines[number as usize % lines.len()])
            }
            Source::Made => {
                let day = number as f64 / 288.0 * std::f64::consts::TAU;
                let jump = if random.u32(..400) == 0 { 15.0 } else { 0.0 };
                let value = 68.0 + device as f64 + 6.0 * day.sin() + random.f64() + jump;
                let (hours, minutes) = (number / 12 % 24, number % 12 * 5);
                format!("{number} {hours:02}:{minutes:02}:00,{value:.6}")
            }
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A device's name: its client id, and the key of its readings.
pub fn name(device: usize) -> String {
    format!("machine-{device:03}")
}

/// What all devices share.
pub struct Fleet<'a> {
    pub gateway: SocketAddr,
    pub topic: &'a str,
    pub source: &'a Source,
    pub over: &'a AtomicBool,
    pub published: &'a AtomicU64,
    pub seed: u64,
}

impl Fleet<'_> {
    /// Runs devices `from..to` until it is over and all their readings are acknowledged; how many each published.
    pub fn run(&self, devices: std::ops::Range<usize>) -> Vec<u64> {
        let executor = smol::LocalExecutor::new();
        let tasks: Vec<_> = devices.map(|device| executor.spawn(self.device(device))).collect();
        smol::block_on(executor.run(async {
            let mut counts = Vec::new();
            for task in tasks {
                counts.push(task.await);
            }
            counts
        }))
    }

    async fn device(&self, device: usize) -> u64 {
        let mut random = fastrand::Rng::with_seed(self.seed ^ (device as u64) << 32);
        let publisher = self.open(device).await;
        let topic = publisher.topic(self.topic).unwrap();
        let key = name(device);
        let mut number = 0;
        while !self.over.load(Ordering::Relaxed) {
            for _ in 0..random.u64(BURST) {
                let value = self.source.reading(device, number, &mut random);
                let reading = Reading::new(topic, value.as_bytes());
                // Stamped by the device: what a gateway stamps that doesn't know the time would wait for it.
                let stamp = Stamp::Wall(now_ms());
                publisher.publish(&Reading { key: Some(key.as_bytes()), stamp, ..reading }).await.unwrap();
                number += 1;
                self.published.fetch_add(1, Ordering::Relaxed);
            }
            smol::Timer::after(Duration::from_millis(random.u64(PAUSE_MS))).await;
        }
        let flushed = async {
            publisher.flush().await.unwrap();
            true
        };
        let late = async {
            smol::Timer::after(PATIENCE).await;
            false
        };
        assert!(futures_lite::future::or(flushed, late).await, "{key} is not acknowledged: {:?}", publisher.progress());
        assert_eq!(publisher.progress().refused, 0, "{key}");
        number
    }

    async fn open(&self, device: usize) -> Publisher {
        let address: Address = self.gateway.to_string().parse().unwrap();
        let options = PublisherOptions { waiting_bytes_max: 256 << 10, ..PublisherOptions::new(name(device)) };
        let begin = Instant::now();
        loop {
            match Publisher::open(&address, options.clone()).await {
                Ok(publisher) => return publisher,
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{}: {error}", name(device)),
            }
            smol::Timer::after(Duration::from_millis(50)).await;
        }
    }
}
