//! What several callers may do with one broker: every operation that a listener has.

use super::*;
use crate::broker::groups::{Claim, GroupError, Membership};
use crate::broker::{
    AdminError, CommittedOffset, FetchError, Granted, NewTopic, OffsetError, ProduceError, SettingsChange, TopicError,
    right,
};
use crate::store::disk::RealDisk;

struct Scene {
    running: Running,
    _dir: tempfile::TempDir,
}

impl std::ops::Deref for Scene {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

/// A gateway with the topic "t", on whose listeners nobody may do anything without a rule.
fn scene(rights: RightsOptions) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(Arc::new(RealDisk::new()), dir.path(), rights);
    block_on(running.broker.create_topic(new("t"))).unwrap();
    Scene { running, _dir: dir }
}

fn closed() -> RightsOptions {
    RightsOptions { open: Vec::new(), ..RightsOptions::default() }
}

fn new(name: &str) -> NewTopic {
    NewTopic { name: name.to_owned(), ..NewTopic::default() }
}

fn membership() -> Membership {
    Membership { claim: Claim { member_id: "m".to_owned(), instance_id: None }, generation: 1 }
}

/// The operations that `access` is refused, each by its name and what was missing.
fn refused(access: &Access) -> Vec<String> {
    let mut refused = Vec::new();
    let mut note = |what: &str, denied: Option<Denied>| {
        let missing = denied.map(|d| format!("{what}: {} {} {}", d.operation, d.kind, d.name));
        refused.extend(missing);
    };
    fn topic<T>(result: Result<T, TopicError>) -> Option<Denied> {
        if let Err(TopicError::Denied(denied)) = result { Some(denied) } else { None }
    }
    fn group<T>(result: Result<T, GroupError>) -> Option<Denied> {
        if let Err(GroupError::Denied(denied)) = result { Some(denied) } else { None }
    }
    fn offset<T>(result: Result<T, OffsetError>) -> Option<Denied> {
        if let Err(OffsetError::Group(GroupError::Denied(denied))) = result { Some(denied) } else { None }
    }
    fn admin<T>(result: Result<T, AdminError>) -> Option<Denied> {
        if let Err(AdminError::Denied(denied)) = result { Some(denied) } else { None }
    }
    block_on(async {
        note("see", topic(access.topic::<right::Describe>("t")));
        note("read", topic(access.topic::<right::Read>("t")));
        note("write", topic(access.topic::<right::Write>("t")));
        note("delete", topic(access.topic::<right::Delete>("t")));
        note("alter", topic(access.topic::<right::Alter>("t")));
        note("create", topic(access.create_topic(new("t")).await));
        note("check create", topic(access.check_new_topic(&new("t"))));
        note("use unknown", topic(access.topic_or_create::<right::Write>("u").await));
        note("partitions", topic(access.add_partitions("t", 1).await));
        let nothing = || SettingsChange::Some(Vec::new());
        note("set", topic(access.change_settings("t", nothing()).await));
        note("check set", topic(access.check_settings("t", nothing()).await));
        note("settings", topic(access.settings("t")));
        note("gateway's settings", access.broker_settings().err());
        note("disk", access.disk().err());
        note("letters", admin(access.letters(0, 0).await));
        note("rules", access.rules(&RuleFilter::ALL).err());
        note("add rules", admin(access.add_rules(Vec::new()).await));
        note("remove rules", admin(access.remove_rules(Vec::new()).await));
        note("settle", admin(access.settle_letters(0, 0, crate::broker::dead_letter::Settle::Drop).await));
        let id = access.new_producer_id().await;
        note("producer id", if let Err(ProduceError::Denied(denied)) = id { Some(denied) } else { None });
        note("beat", group(access.heartbeat_group("g", membership())));
        note("leave", group(access.leave_group("g", Vec::new())));
        note("group", group(access.group("g")));
        note("delete group", group(access.delete_group("g").await));
        note("clear group", group(access.group_to_clear("g")));
        let id = access.unchecked().topic("t").unwrap().id;
        let committed = CommittedOffset { offset: 0, leader_epoch: -1, metadata: String::new() };
        note("commit", offset(access.commit_offsets("g", None, vec![(id, 0, committed)]).await));
        note("committed", access.committed_offsets("g").err());
        note("delete offsets", offset(access.delete_offsets("g", vec![(id, 0)]).await));
    });
    refused
}

#[test]
fn who_has_no_rights_can_do_nothing_and_sees_nothing() {
    let scene = scene(closed());
    let alice = scene.by("alice");
    let got = refused(&alice);
    assert_eq!(got.len(), 28, "every operation: {got:#?}");
    assert!(alice.topics::<right::Describe>().is_empty());
    let id = scene.broker.topic("t").unwrap().id;
    let by_id = alice.topic_by_id::<right::Describe>(id).unwrap_err().to_string();
    assert!(!by_id.contains("\"t\""), "its name is not told: {by_id}");
    assert!(scene.broker.topic("u").is_none());
}

#[test]
fn each_right_opens_what_it_stands_for_and_nothing_else() {
    for (rules, opened) in [
        (&["allow alice * Read Topic t"][..], &["see", "read"][..]),
        (&["allow alice * Write Topic t"], &["see", "write", "producer id"]),
        (&["allow alice * Describe Topic *"], &["see"]),
        (
            &["allow alice * Write Topic *", "allow alice * Create Topic u"],
            &["see", "write", "use unknown", "producer id"],
        ),
        (&["allow alice * Create Cluster kafka-cluster"], &["create", "check create"]),
        (&["allow alice * Delete Topic t"], &["see", "delete"]),
        (&["allow alice * Alter Topic t"], &["see", "alter", "partitions"]),
        (&["allow alice * AlterConfigs Topic t"], &["set", "check set", "settings"]),
        (&["allow alice * DescribeConfigs Topic t"], &["settings"]),
        (&["allow alice * DescribeConfigs Cluster kafka-cluster"], &["gateway's settings"]),
        (&["allow alice * Describe Cluster kafka-cluster"], &["disk", "rules"]),
        (&["allow alice * Alter Cluster kafka-cluster"], &["disk", "rules", "add rules", "remove rules", "settle"]),
        (&["allow alice * IdempotentWrite Cluster kafka-cluster"], &["producer id"]),
        (&["allow alice * Read Topic brooklet.*"], &["letters"]),
        (&["allow alice * Read Group g"], &["beat", "leave", "group", "committed"]),
        (
            &["allow alice * Read Group *", "allow alice * Read Topic t"],
            &["see", "read", "beat", "leave", "group", "commit", "committed"],
        ),
        (&["allow alice * Delete Group g"], &["group", "delete group", "clear group", "committed"]),
        (&["allow alice * Describe Group g"], &["group", "committed"]),
    ] {
        let scene = scene(closed());
        let before = refused(&scene.by("alice"));
        scene.add(rules);
        let after = refused(&scene.by("alice"));
        let is_open = |line: &&String| !after.iter().any(|other| other.split(':').next() == line.split(':').next());
        let got: Vec<_> = before.iter().filter(is_open).filter_map(|line| line.split(':').next()).collect();
        assert_eq!(got, opened, "{rules:?}");
        assert_eq!(refused(&scene.by("bob")).len(), 28, "{rules:?}: whom it isn't about");
        scene.running.close();
    }
}

#[test]
fn a_denial_wins_and_a_change_holds_at_once() {
    let scene = scene(closed());
    scene.add(&["allow * * Read Topic *", "deny * 10.0.0.2 Read Topic t"]);
    let (here, there) = (scene.by("alice"), scene.at("alice", "10.0.0.2"));
    let topic = here.topic::<right::Read>("t").unwrap();
    assert!(there.again::<right::Read>(topic.topic()).is_err());
    assert!(there.topic::<right::Describe>("t").is_ok(), "to read was denied, not to see");
    scene.remove("deny * 10.0.0.2 Read Topic t");
    assert!(there.again::<right::Read>(topic.topic()).is_ok());
    scene.add(&["deny alice * All Topic t*"]);
    let granted: Result<Granted<right::Read>, _> = here.again(topic.topic());
    assert!(granted.is_err() && scene.by("bob").topic::<right::Read>("t").is_ok());
    // What was granted before is for the request that it was granted to.
    let read = block_on(here.fetch(&topic, topic.partitions[0], 0, 1));
    assert!(!matches!(read, Err(FetchError::Denied(_))));
}

#[test]
fn super_users_the_local_socket_and_the_gateway_may_do_everything() {
    let super_users = [Principal::new("root").unwrap()].into();
    let scene = scene(RightsOptions { super_users, ..closed() });
    scene.add(&["deny * * All Topic *", "deny * * All Group *", "deny * * All Cluster kafka-cluster"]);
    assert_eq!(refused(&scene.by("root")), Vec::<String>::new());
    for caller in [Caller::local(), Caller::gateway()] {
        assert_eq!(refused(&scene.broker.lobby().admit(caller)), Vec::<String>::new());
    }
    assert_eq!(refused(&scene.by("alice")).len(), 28);
}

#[test]
fn on_an_open_listener_everything_is_allowed_that_no_rule_is_about() {
    let scene = scene(RightsOptions::default());
    assert_eq!(refused(&scene.by("ANONYMOUS")), Vec::<String>::new());
    // Once somebody is named for a resource, who isn't named has no rights to it.
    scene.add(&["allow alice * Read Topic secret*"]);
    let anonymous = scene.by("ANONYMOUS");
    assert!(anonymous.topic::<right::Read>("secrets").is_err());
    assert!(matches!(scene.by("alice").topic::<right::Read>("secrets"), Err(TopicError::Unknown(_))));
    assert!(anonymous.topic::<right::Read>("t").is_ok());
    assert!(block_on(anonymous.new_producer_id()).is_ok());
    scene.add(&["deny ANONYMOUS * Write Topic *"]);
    assert!(block_on(anonymous.new_producer_id()).is_ok(), "it may still use the cluster, of which no rule tells");
}

#[test]
fn a_dry_run_tells_and_refuses_nothing() {
    let before = crate::metrics::METRICS.denied_dry.get();
    let scene = scene(RightsOptions { enforce: false, ..closed() });
    assert_eq!(refused(&scene.by("alice")), Vec::<String>::new());
    assert_eq!(scene.by("alice").topics::<right::Read>().len(), 2);
    assert!(crate::metrics::METRICS.denied_dry.get() >= before + 20);
}
