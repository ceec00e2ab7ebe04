//! Requests under way: futures of the broker, polled by hand when they are woken.
//!
//! Invariant: the moment of an answer is when the store gave it, not when it was looked at: the waker notes how many
//! operations the disk had done by then. So a crash in between counts as one after the answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use brooklet::broker::{
    Appended, CommitError, DeviceSession, OffsetError, ProduceError, Published, Topic, TopicError, TopicId,
};
use brooklet::store::PartitionId;
use brooklet::store::sim::SimDisk;

use crate::members::{NoPlace, Place};
use crate::model::OffsetKey;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    Topic {
        ticket: u64,
        id: TopicId,
    },
    Deletion {
        ticket: u64,
        id: TopicId,
    },
    Trim {
        ticket: u64,
        partition: PartitionId,
    },
    ProducerId,
    Batch {
        lane: u32,
        number: usize,
    },
    Session {
        device: u32,
    },
    Publish {
        device: u32,
        number: usize,
    },
    Skip {
        device: u32,
        number: usize,
    },
    Offset {
        ticket: u64,
        key: OffsetKey,
    },
    Position {
        ticket: u64,
        partition: PartitionId,
    },
    /// Membership in the group.
    Place {
        member: usize,
    },
    /// A member's offset.
    Work {
        ticket: u64,
        key: OffsetKey,
        member: usize,
    },
    /// A round of the task that keeps groups.
    Round,
}

/// What came of it.
pub enum Answer {
    Topic(Result<Arc<Topic>, TopicError>),
    Deleted(Result<(), TopicError>),
    Trimmed(Result<i64, TopicError>),
    ProducerId(Result<i64, CommitError>),
    Stored(Result<Appended, ProduceError>),
    Session(Result<Box<DeviceSession>, ProduceError>),
    Published(Result<Published, ProduceError>),
    Offset(Result<(), OffsetError>),
    Position(Result<(), CommitError>),
    Place(Result<Place, NoPlace>),
    Round,
}

struct Task {
    asked: Asked,
    future: Pin<Box<dyn Future<Output = Answer>>>,
    alarm: Arc<Alarm>,
}

/// Notes when a task was woken.
struct Alarm {
    disk: SimDisk,
    woken: AtomicBool,
    disk_ops: AtomicU64,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.disk_ops.store(self.disk.ops(), Ordering::Relaxed);
        self.woken.store(true, Ordering::Relaxed);
    }
}

/// All requests under way, in the order in which they were made.
#[derive(Default)]
pub struct Tasks {
    tasks: Vec<Task>,
}

impl Tasks {
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether a round of keeping groups is under way.
    pub fn keeps_groups(&self) -> bool {
        self.tasks.iter().any(|task| matches!(task.asked, Asked::Round))
    }

    /// What is under way.
    pub fn asked(&self) -> Vec<Asked> {
        self.tasks.iter().map(|task| task.asked).collect()
    }

    /// Adds a request; it takes its place in the store's queue now.
    pub fn spawn(&mut self, disk: &SimDisk, asked: Asked, future: impl Future<Output = Answer> + 'static) {
        let disk_ops = AtomicU64::new(disk.ops());
        let alarm = Arc::new(Alarm { disk: disk.clone(), woken: AtomicBool::new(true), disk_ops });
        self.tasks.push(Task { asked, future: Box::pin(future), alarm });
    }

    /// Polls what was woken. Returns what was answered, with the operations of the disk done by then, in that order.
    pub fn poll(&mut self) -> Vec<(u64, Asked, Answer)> {
        let mut answered = Vec::new();
        self.tasks.retain_mut(|task| {
            if !task.alarm.woken.swap(false, Ordering::Relaxed) {
                return true;
            }
            let waker = Waker::from(Arc::clone(&task.alarm));
            match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => true,
                Poll::Ready(answer) => {
                    let mut disk_ops = task.alarm.disk_ops.load(Ordering::Relaxed);
                    if matches!(task.asked, Asked::Place { .. }) {
                        // Two calls, of which the second may have been answered at once, just now.
                        disk_ops = task.alarm.disk.ops();
                    }
                    answered.push((disk_ops, task.asked, answer));
                    false
                }
            }
        });
        answered.sort_by_key(|(disk_ops, ..)| *disk_ops);
        answered
    }
}
