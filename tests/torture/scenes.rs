//! Single scenes, each with gateways of its own.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::by_hand::Hand;
use crate::common::peers::{Nodes, kafka_nodes};
use crate::common::wait_for;
use crate::common::wire::create_topic;
use crate::faults::{Cell, Fate, Kind, Step};
use crate::site::{PATIENCE, Site, assert_exactly, committed, unique, values};

const CURSORS: &str = "brooklet.cursors";

fn cluster() -> Nodes {
    kafka_nodes().expect("scripts/torture.sh starts the cluster")
}

/// A site with a topic of its own, and what it has forwarded first.
fn site(brokers: &str, name: &str) -> (Site, Vec<String>) {
    let (id, topic) = (unique(name), unique(&format!("{name}-topic")));
    create_topic(brokers, &topic, 3);
    let site = Site::start(brokers, &id, &topic);
    let first = values("first", 0..200);
    site.publish(&first);
    site.wait_caught_up();
    (site, first)
}

/// Kills the gateway at the end of a transaction, before or after it is done, with `more` in it.
fn kill_at_the_end(site: &mut Site, fate: Fate, more: &[String]) {
    site.proxy.control().arm_fate(Cell { step: Step::EndTxn, kind: Kind::Killed }, fate);
    site.publish(more);
    site.wait_killed();
}

/// The group's offsets are gone when the gateway comes back in doubt: one look at the place of its cursors tells.
#[test]
#[ignore = "started by scripts/torture.sh"]
fn offsets_expired_in_doubt() {
    let nodes = cluster();
    for fate in [Fate::KillAfter, Fate::KillBefore] {
        let (mut site, first) = site(&nodes.bootstrap, "expired");
        let doubtful = values("doubtful", 0..100);
        kill_at_the_end(&mut site, fate, &doubtful);
        forget_group(&nodes.bootstrap, &site);
        let before = site.proxy.bytes();
        site.launch();
        site.wait_caught_up();
        println!("{fate:?}: back and caught up with {} bytes on the wire", site.proxy.bytes() - before);
        let last = values("last", 0..100);
        site.publish(&last);
        site.wait_caught_up();
        assert_exactly(&nodes.bootstrap, &site.topic, &[&first, &doubtful, &last]);
    }
}

fn forget_group(brokers: &str, site: &Site) {
    let bootstrap = brokers.split(',').next().unwrap();
    let mut hand = Hand::on(bootstrap, &site.name(), CURSORS, 0, true);
    // Its open transaction holds an offset: until that is over the group can't go.
    wait_for(&format!("the group {} to be deleted", site.name()), PATIENCE, || {
        matches!(hand.forget_group(), 0 | 69).then_some(())
    });
}

/// Another gateway's open transaction hides what lies behind it on the partition of cursors.
#[test]
#[ignore = "started by scripts/torture.sh"]
fn another_holds_a_transaction_open() {
    let nodes = cluster();
    let bootstrap = nodes.bootstrap.split(',').next().unwrap().to_owned();
    for fate in [Fate::KillAfter, Fate::KillBefore] {
        let (mut site, first) = site(&nodes.bootstrap, "held");
        // On every partition of cursors: one of them is the site's.
        let mut others: Vec<Hand> = (0..6).map(|p| Hand::on(&bootstrap, &unique("other"), CURSORS, p, true)).collect();
        for other in &mut others {
            other.timeout_ms = 20_000;
            other.init(false);
            other.produce(0, &["what another one holds open"]);
        }
        let doubtful = values("doubtful", 0..100);
        kill_at_the_end(&mut site, fate, &doubtful);
        forget_group(&nodes.bootstrap, &site);
        site.launch();
        let last = values("last", 0..100);
        site.publish(&last);
        thread::sleep(Duration::from_secs(3));
        others.iter_mut().for_each(|other| other.end(true));
        site.wait_caught_up();
        assert_exactly(&nodes.bootstrap, &site.topic, &[&first, &doubtful, &last]);
    }
}

/// A copied store: both run on past the cursor, one after the other and then at once.
#[test]
#[ignore = "started by scripts/torture.sh"]
fn a_clone() {
    let nodes = cluster();
    let brokers = &nodes.bootstrap;
    let (mut original, first) = site(brokers, "clone");
    original.stop();
    let mut copy = Site::start(brokers, &original.id, &original.topic);
    copy.stop();
    copy.clone_store(&original);
    original.launch();
    let ours = values("original", 0..150);
    original.publish(&ours);
    original.wait_caught_up();
    original.stop();

    // The copy knows nothing of these: its history has gone another way since.
    copy.launch();
    let theirs = values("copy", 0..150);
    copy.publish(&theirs);
    copy.wait_caught_up();
    println!("the copy alone:\n{}", told(&copy));
    assert!(copy.gateway.log().contains("the last common point"), "that the histories differ is not told");
    assert_exactly(brokers, &copy.topic, &[&first, &ours, &theirs]);

    // Both at once.
    original.launch();
    let (more_ours, more_theirs) = (values("original-later", 0..150), values("copy-later", 0..150));
    original.publish(&more_ours);
    copy.publish(&more_theirs);
    wait_settled([&original, &copy]);
    println!("original: {}\n{}\ncopy: {}\n{}", original.state(), told(&original), copy.state(), told(&copy));
    assert_nothing_lost(brokers, &[(&original, &more_ours), (&copy, &more_theirs)]);
    assert!([&original, &copy].iter().any(|site| site.state() == "fenced"), "neither of two rivals is fenced");
}

/// Until one of two rivals is fenced, and the other has forwarded what it holds or is fenced as well.
fn wait_settled(sites: [&Site; 2]) {
    wait_for("one of two rivals to be fenced, the other to go on", PATIENCE, || {
        let found = sites.map(Site::status);
        let fenced = |status: &Value| status["state"] == "fenced";
        let done = |status: &Value| fenced(status) || (status["state"] == "caught-up" && status["lag_records"] == 0);
        (found.iter().any(fenced) && found.iter().all(done)).then_some(())
    });
}

/// What is not at the centre is still with the one who holds it, and counted there.
fn assert_nothing_lost(brokers: &str, sites: &[(&Site, &Vec<String>)]) {
    for (site, published) in sites {
        // Before the centre is looked at: what goes there meanwhile is missed by neither.
        let lag = site.status()["lag_records"].as_u64().unwrap();
        let found = committed(brokers, &site.topic);
        let missing = published.iter().filter(|value| found.binary_search(value).is_err()).count() as u64;
        println!("{}: {missing} of {} not at the centre, {lag} held back", site.state(), published.len());
        assert!(missing <= lag, "{missing} records are neither at the centre nor waiting");
    }
}

/// What a gateway said of divergence, rivals and resuming.
fn told(site: &Site) -> String {
    let log = site.gateway.log();
    let tells = |line: &&str| line.contains("uplink");
    let lines: Vec<&str> = log.lines().filter(tells).filter(|line| !line.contains("closed the connection")).collect();
    lines.join("\n")
}

/// Two stores that have nothing in common but the gateway's id.
#[test]
#[ignore = "started by scripts/torture.sh"]
fn two_of_one_name() {
    let nodes = cluster();
    let brokers = &nodes.bootstrap;
    let (one, first) = site(brokers, "rival");
    let other = Site::start(brokers, &one.id, &one.topic);
    let (ours, theirs) = (values("one", 0..150), values("other", 0..150));
    one.publish(&ours);
    other.publish(&theirs);
    wait_settled([&one, &other]);
    println!("one: {}\n{}\nother: {}\n{}", one.state(), told(&one), other.state(), told(&other));
    assert_nothing_lost(brokers, &[(&one, &first), (&one, &ours), (&other, &theirs)]);
    assert!([&one, &other].iter().any(|site| site.state() == "fenced"), "neither of two rivals is fenced");
}

/// 3,000 gateways have left their cursors; one of them comes back, in doubt and its offsets expired.
#[test]
#[ignore = "started by scripts/torture.sh"]
fn one_of_three_thousand() {
    let nodes = cluster();
    let bootstrap = nodes.bootstrap.split(',').next().unwrap().to_owned();
    for fate in [Fate::KillAfter, Fate::KillBefore] {
        let (mut site, first) = site(&nodes.bootstrap, "fleet");
        // Each of them ten times, before and after what is in doubt.
        (0..5).for_each(|_| leave_cursors(&bootstrap));
        let doubtful = values("doubtful", 0..100);
        kill_at_the_end(&mut site, fate, &doubtful);
        (0..5).for_each(|_| leave_cursors(&bootstrap));
        forget_group(&nodes.bootstrap, &site);
        let before = site.proxy.bytes();
        site.launch();
        site.wait_caught_up();
        let bytes = site.proxy.bytes() - before;
        println!(
            "{fate:?}: back in doubt among 3,000 gateways, 30,000 transactions' cursors: {bytes} bytes on the wire"
        );
        assert!(bytes < 100_000, "{bytes} bytes");
        assert_exactly(&nodes.bootstrap, &site.topic, &[&first, &doubtful]);
    }
}

/// Cursors of 3,000 gateways, spread over all partitions.
fn leave_cursors(bootstrap: &str) {
    for partition in 0..6 {
        let mut hand = Hand::on(bootstrap, &unique("fleet-others"), CURSORS, partition, true);
        hand.init(false);
        for (sequence, gateway) in (0..3_000 / 6 / 50).enumerate() {
            let cursors: Vec<String> = (0..50).map(|n| cursor(gateway * 50 + n)).collect();
            let cursors: Vec<&str> = cursors.iter().map(String::as_str).collect();
            hand.produce(sequence as i32 * 50, &cursors);
        }
        hand.end(true);
    }
}

/// As long as a real one is.
fn cursor(gateway: usize) -> String {
    let epochs: Vec<String> = (0..5).map(|n| format!("[\"{:016x}\",{}]", gateway * 31 + n, n * 1_000)).collect();
    format!(
        "{{\"v\":1,\"topic\":\"plant.line-{gateway}\",\"next\":{gateway}0000,\"incarnation\":\"{gateway:032x}\",\
         \"transaction\":{gateway}000,\"epochs\":[{}]}}",
        epochs.join(",")
    )
}
