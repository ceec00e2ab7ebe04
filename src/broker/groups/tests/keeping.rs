//! Groups over a real store: what is kept over a restart, and what is forgotten.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt;
use smol::block_on;

use super::transcript::claim;
use crate::broker::groups::{JoinGroup, Joined, Membership, Opaque, SyncGroup};
use crate::broker::{Broker, BrokerOptions, CommittedOffset, NewTopic, OffsetError, Topic};
use crate::store::clock::{RealClock, WallTrust};
use crate::store::disk::{Disk, RealDisk};
use crate::store::sim::SimDisk;
use crate::store::{EngineHandle, Space, Store, StoreOptions};

struct Running {
    broker: Broker,
    engine: EngineHandle,
}

impl Running {
    fn open(dir: &Path, offsets_retention: Duration) -> Self {
        Self::open_on(Arc::new(RealDisk::new()), dir, offsets_retention)
    }

    fn open_on(disk: Arc<dyn Disk>, dir: &Path, offsets_retention: Duration) -> Self {
        let mut options = StoreOptions::new(dir);
        options.max_bytes = Some(16 << 20);
        options.commit_window = Duration::from_millis(1);
        let clock = Arc::new(RealClock::new(WallTrust::Never));
        let (store, engine) = Store::open(options, disk, clock).unwrap();
        let engine = engine.spawn().unwrap();
        let options =
            BrokerOptions { offsets_retention, initial_rebalance_delay: Duration::ZERO, ..BrokerOptions::default() };
        Self { broker: Broker::new(store, options).unwrap(), engine }
    }

    /// With time passing for groups meanwhile.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let keeping = async {
            self.broker.keep_groups().await;
            std::future::pending().await
        };
        block_on(work.or(keeping))
    }

    fn close(self) {
        self.broker.store().shutdown();
        self.engine.join();
    }

    fn topic(&self) -> Arc<Topic> {
        let new = NewTopic { name: "t".to_owned(), partitions: Some(2), ..NewTopic::default() };
        block_on(self.broker.create_topic(new)).unwrap()
    }

    fn rows(&self) -> usize {
        self.broker.store().entries(Space::Group, &[]).len()
    }
}

const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn at(offset: i64) -> CommittedOffset {
    CommittedOffset { offset, leader_epoch: -1, metadata: String::new() }
}

async fn member(broker: &Broker, group: &str) -> Joined {
    let join = JoinGroup {
        claim: claim("new"),
        client_id: "test".to_owned(),
        client_host: String::new(),
        session_ms: 10_000,
        rebalance_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Opaque::from([]))],
        id_first: false,
        can_skip: false,
    };
    let joined = broker.join_group(group, join).await.unwrap();
    let sync = SyncGroup {
        membership: Membership { claim: claim(&joined.member_id), generation: joined.generation },
        protocol_type: None,
        protocol: None,
        assignments: vec![(joined.member_id.clone(), Opaque::from(*b"all"))],
    };
    assert_eq!(&*broker.sync_group(group, sync).await.unwrap().assignment, b"all");
    joined
}

#[test]
fn a_group_without_members_is_forgotten_after_its_time_and_one_with_members_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), WEEK);
    let topic = running.topic();
    running.run(async {
        let broker = &running.broker;
        let joined = member(broker, "active").await;
        let membership = Membership { claim: claim(&joined.member_id), generation: joined.generation };
        let offsets = vec![(topic.id, 0, at(3))];
        broker.commit_group_offsets("active", Some(membership), offsets.clone()).await.unwrap();
        broker.commit_offsets("simple", offsets).await.unwrap();
        assert!(matches!(
            broker.commit_offsets("active", vec![(topic.id, 0, at(4))]).await,
            Err(OffsetError::Group(_))
        ));
        broker.tidy_groups().await;
        assert_eq!(broker.groups().len(), 2);
    });
    running.close();

    // An hour of powered time is over when none is kept.
    let running = Running::open(dir.path(), Duration::ZERO);
    assert_eq!(running.broker.group("active").unwrap().members.len(), 1);
    std::thread::sleep(Duration::from_millis(5));
    running.run(running.broker.tidy_groups());
    assert!(running.broker.group("simple").is_none());
    assert_eq!(running.broker.committed_offset("simple", &topic, 0), None);
    assert_eq!(running.broker.committed_offset("active", &topic, 0), Some(at(3)));
    running.close();

    let running = Running::open(dir.path(), WEEK);
    assert_eq!(running.broker.groups().iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["active"]);
    running.close();
}

#[test]
fn what_nobody_uses_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), WEEK);
    let topic = running.topic();
    running.run(async {
        let broker = &running.broker;
        // An id that is never joined with lapses; a member that leaves without offsets leaves no group.
        let joined = member(broker, "left").await;
        broker.leave_group("left", vec![claim(&joined.member_id)]).unwrap();
        broker.commit_offsets("g", vec![(topic.id, 0, at(1)), (topic.id, 1, at(2))]).await.unwrap();
        broker.delete_offsets("g", vec![(topic.id, 0)]).await.unwrap();
        assert_eq!(broker.committed_offsets("g"), [(topic.id, 1, at(2))]);
        broker.tidy_groups().await;
        assert!(broker.group("left").is_none() && broker.group("g").is_some());
        // The rows of groups, and the time, go with another commit.
        smol::Timer::after(Duration::from_millis(20)).await;
        broker.delete_group("g").await.unwrap();
        assert!(broker.groups().is_empty());
        assert_eq!(running.rows(), 1, "but for the time");
    });
    running.close();
}

#[test]
fn heartbeats_and_what_is_committed_already_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), WEEK);
    let topic = running.topic();
    running.run(async {
        let broker = &running.broker;
        let joined = member(broker, "g").await;
        let membership = Membership { claim: claim(&joined.member_id), generation: joined.generation };
        let commit = || broker.commit_group_offsets("g", Some(membership.clone()), vec![(topic.id, 0, at(3))]);
        commit().await.unwrap();
        let commits = broker.store().status().commits;
        for _ in 0..20 {
            broker.heartbeat_group("g", membership.clone()).unwrap();
            commit().await.unwrap();
        }
        assert_eq!(broker.store().status().commits, commits);
    });
    running.close();
}

/// A power cut at any moment: the generation whose assignment a member has got, and what it has committed, are there.
#[test]
fn a_power_cut_takes_nothing_that_a_member_was_told() {
    let (disk, dir) = (SimDisk::new(7), Path::new("/store"));
    let running = Running::open_on(Arc::new(disk.clone()), dir, WEEK);
    let topic = running.topic();
    disk.watch(0.05);
    // What was told, and how many operations the disk had done by then.
    let mut told: Vec<(u64, Membership, i64)> = Vec::new();
    running.run(async {
        for generation in 0..4 {
            let joined = member(&running.broker, "g").await;
            let membership = Membership { claim: claim(&joined.member_id), generation: joined.generation };
            let last = told.last().map_or(0, |(_, _, offset)| *offset);
            told.push((disk.ops(), membership.clone(), last));
            for offset in generation * 10 + 1..generation * 10 + 9 {
                let offsets = vec![(topic.id, 0, at(offset))];
                running.broker.commit_group_offsets("g", Some(membership.clone()), offsets).await.unwrap();
                told.push((disk.ops(), membership.clone(), offset));
            }
            running.broker.leave_group("g", vec![membership.claim]).unwrap();
        }
    });
    let moments = disk.unwatch();
    running.close();
    assert!(moments.len() > 20, "{} moments", moments.len());
    for (seed, moment) in moments.iter().enumerate().filter(|(i, _)| i % (moments.len() / 20) == 0) {
        let Some((_, membership, offset)) = told.iter().rev().find(|(ops, ..)| *ops <= moment.op) else { continue };
        let running = Running::open_on(Arc::new(moment.power_cut(seed as u64)), dir, WEEK);
        let committed = running.broker.committed_offset("g", &topic, 0).map_or(0, |committed| committed.offset);
        assert!(committed >= *offset, "moment {}: {committed} of {offset}", moment.op);
        let group = running.broker.group("g").unwrap();
        assert!(group.generation >= membership.generation, "moment {}: {group:?}", moment.op);
        // Unless it had begun to leave, it goes on.
        if group.generation == membership.generation && !group.members.is_empty() {
            running.broker.heartbeat_group("g", membership.clone()).unwrap();
            assert_eq!(&*group.members[0].assignment, b"all");
        }
        running.close();
    }
}
