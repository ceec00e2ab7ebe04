//! The devices: each a client of its own with its own sequences, sending real readings of this machine.
//!
//! Invariant: a record's number, which stands in its value, is its number with the publisher; so what is acknowledged
//! is known record by record.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::StreamExt;
use smol::{Task, Timer};

use super::ledger::Promise;
use crate::cli::error::CliError;
use crate::cli::when;
use crate::client::{Address, ClientError, Publisher, PublisherOptions};
use crate::device::{Reading, Stamp};
use crate::executor::spawn_aside;
use crate::json::JsonObject;
use crate::shutdown::Shutdown;
use crate::source::host::HostReader;

/// What a device keeps while the gateway is away, bytes: minutes of readings.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// Largest reading, bytes: one of a machine with many processors.
const RECORD_BYTES_MAX: usize = 8 * 1024;

/// All devices of the demo.
#[derive(Debug)]
pub(super) struct Devices {
    devices: Vec<Device>,
}

#[derive(Debug)]
struct Device {
    name: String,
    publisher: Arc<Publisher>,
}

/// What the devices do.
#[derive(Debug)]
pub(super) struct Publishing {
    stop: Shutdown,
    tasks: Vec<Task<Result<(), ClientError>>>,
}

/// All devices together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Records made.
    pub(super) made: u64,
    /// Of those, acknowledged from flash.
    pub(super) acknowledged: u64,
    /// Refused for good.
    pub(super) refused: u64,
}

impl Devices {
    /// Connects `count` devices.
    ///
    /// # Errors
    /// [`CliError::Failed`] when the gateway takes one of them not.
    pub(super) async fn connect(gateway: &Address, count: usize) -> Result<Devices, CliError> {
        let mut devices = Vec::new();
        for number in 1..=count {
            let name = format!("device-{number}");
            let mut options = PublisherOptions::new(&name);
            (options.waiting_bytes_max, options.record_bytes_max) = (WAITING_BYTES_MAX, RECORD_BYTES_MAX);
            let publisher = Publisher::open(gateway, options).await.map_err(|error| CliError::failed(&name, error))?;
            devices.push(Device { name, publisher: Arc::new(publisher) });
        }
        Ok(Devices { devices })
    }

    /// Begins to publish: each device a record every `interval`, until [`Publishing::stop`].
    ///
    /// # Errors
    /// [`CliError::Failed`]: the topic can't be named.
    pub(super) fn publish(&self, topic: &str, interval: Duration) -> Result<Publishing, CliError> {
        let stop = Shutdown::default();
        let task = |device: &Device| {
            let (name, publisher, stop) = (device.name.clone(), Arc::clone(&device.publisher), stop.clone());
            let topic = publisher.topic(topic).map_err(|error| CliError::Failed(error.to_string()))?;
            let publishing = async move { publish(&publisher, &name, topic, interval, &stop).await };
            spawn_aside(publishing).map_err(|error| CliError::Failed(error.to_string()))
        };
        let tasks: Result<Vec<_>, CliError> = self.devices.iter().map(task).collect();
        Ok(Publishing { tasks: tasks?, stop })
    }

    pub(super) fn totals(&self) -> Totals {
        self.devices.iter().fold(Totals::default(), |totals, device| {
            let progress = device.publisher.progress();
            Totals {
                made: totals.made + progress.accepted,
                acknowledged: totals.acknowledged + progress.settled,
                refused: totals.refused + progress.refused,
            }
        })
    }

    /// Waits until everything made is acknowledged.
    ///
    /// # Errors
    /// [`CliError::Failed`] when a device was ended, or records were refused: then it isn't known which.
    pub(super) async fn flush(&self) -> Result<(), CliError> {
        for device in &self.devices {
            device.publisher.flush().await.map_err(|error| CliError::failed(&device.name, error))?;
            if device.publisher.progress().refused > 0 {
                let why = device.publisher.take_trouble().unwrap_or_else(|| "records were refused".to_owned());
                return Err(CliError::failed(&device.name, why));
            }
        }
        Ok(())
    }

    /// What each device was promised so far.
    pub(super) fn promises(&self) -> Vec<Promise> {
        let promise = |device: &Device| Promise {
            device: device.name.clone(),
            acknowledged: device.publisher.progress().settled,
        };
        self.devices.iter().map(promise).collect()
    }
}

impl Publishing {
    /// Ends it: no more records are made.
    ///
    /// # Errors
    /// [`CliError::Failed`] when a device could not go on.
    pub(super) async fn stop(self) -> Result<(), CliError> {
        self.stop.begin();
        for task in self.tasks {
            task.await.map_err(|error| CliError::Failed(error.to_string()))?;
        }
        Ok(())
    }
}

async fn publish(
    publisher: &Publisher,
    name: &str,
    topic: u16,
    interval: Duration,
    stop: &Shutdown,
) -> Result<(), ClientError> {
    let mut reader = HostReader::new();
    let mut readings = Vec::new().into_iter();
    let mut ticks = Timer::interval(interval);
    let mut number = publisher.progress().accepted;
    while stop.unless(ticks.next()).await.is_some() {
        // One group of figures a record; when all are sent, the machine is read again.
        let reading = readings.next().or_else(|| {
            readings = reader.read().into_iter();
            readings.next()
        });
        number += 1;
        let mut value = JsonObject::new();
        value.text("device", name).number("n", number);
        if let Some(reading) = reading {
            reading.write_to(&mut value);
        }
        let value = value.finish();
        let reading = Reading::new(topic, value.as_bytes()).at(Stamp::Wall(when::now_ms()));
        if stop.unless(publisher.publish(&reading)).await.transpose()?.is_none() {
            break;
        }
    }
    Ok(())
}
