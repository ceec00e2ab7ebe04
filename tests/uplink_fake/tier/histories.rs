//! Stores that are restored, copied or lost, on either side.

use brooklet::broker::{IntakeError, Principal, TierMove, TierSource};
use brooklet::config::OnDivergence;
use brooklet::uplink::UplinkState;
use smol::block_on;

use super::above::{Above, copy};
use super::{Edge, arrived, config, uplink, wait_caught_up, wait_until};

/// Another store with the same files.
fn copy_of(edge: &Edge) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(edge.dir.path(), dir.path());
    dir
}

/// Appends three batches of records whose values begin with `name`; these values.
fn append(edge: &Edge, name: &str) -> Vec<String> {
    let topic = edge.broker.topic("t").unwrap();
    let all: Vec<Vec<String>> = (0..3).map(|batch| (0..3).map(|i| format!("{name}-{batch}-{i}")).collect()).collect();
    all.iter().for_each(|values| edge.produce(&topic, 0, values, 1_700_000_000_000));
    all.concat()
}

fn assert_once(above: &Above, sent: &[(&str, &Vec<String>)]) {
    for (name, sent) in sent {
        assert_eq!(arrived(above, "t", 1, &format!("{name}-")), **sent);
    }
    assert_eq!(above.values("t", 0).len(), sent.iter().map(|(_, sent)| sent.len()).sum::<usize>());
}

#[test]
fn a_cursor_is_read_and_moved_by_the_user_who_moved_it_first_and_nobody_else() {
    let above = Above::start(&[("t", 1)]);
    let broker = above.gateway().broker();
    let by = |user: Option<&str>| TierSource {
        gateway: "gw-1".into(),
        uplink: "up".into(),
        history: [9; 16],
        user: user.map(|name| Principal::new(name).unwrap()),
    };
    let moved = |source: &TierSource, from: i64, next: i64| {
        let from_place = (from > 0).then_some((from, 7));
        let epochs = if from > 0 { Vec::new() } else { vec![(7, 0)] };
        let moves = vec![TierMove { topic: [5; 16], partition: 0, from: from_place, next, epochs }];
        block_on(async { broker.take_stretch(source, moves, Vec::new()).await?.wait().await })
    };
    let read = |source: &TierSource| block_on(broker.tier_cursors(source, None)).map(|known| known.cursors[0].next);
    // Whoever has no name leaves it to the first who has one.
    moved(&by(None), 0, 3).unwrap();
    assert_eq!(read(&by(Some("gw-1"))).unwrap(), 3);
    moved(&by(Some("gw-1")), 3, 5).unwrap();
    for other in [None, Some("gw-2")] {
        let other = by(other);
        assert!(matches!(read(&other), Err(IntakeError::NotOwner(_))));
        assert!(matches!(moved(&other, 5, 9), Err(IntakeError::NotOwner(_))));
        // Nor is it told that what it sends is here already.
        assert!(matches!(moved(&other, 3, 5), Err(IntakeError::NotOwner(_))));
    }
    moved(&by(Some("gw-1")), 5, 6).unwrap();
    assert_eq!(read(&by(Some("gw-1"))).unwrap(), 6);
}

#[test]
fn who_would_close_a_circle_of_gateways_is_told_and_forwards_nothing() {
    let named = |id: &'static str, upstream: Option<&Above>| {
        let uplink = upstream.map(|upstream| config(upstream.relay, |config| config.create_topics = true));
        Above::start_with(&[("t", 1)], move |config| {
            config.gateway.id = Some(id.into());
            config.uplinks.extend(uplink.map(|uplink| ("up".to_owned(), uplink)));
        })
    };
    let (a, b, c);
    a = named("a", None);
    b = named("b", Some(&a));
    let knows = |gateway: &Above, above: &[&str]| {
        let begin = std::time::Instant::now();
        while gateway.gateway().broker().gateways_above() != above {
            assert!(begin.elapsed() < crate::SOON, "{above:?}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    knows(&b, &["a"]);
    c = named("c", Some(&b));
    knows(&c, &["a", "b"]);
    let edge = Edge::start();
    edge.topic("t", 1);
    append(&edge, "x");
    for (upstream, id) in [(&b, "b"), (&c, "c")] {
        let circle = edge.uplink_as("a", config(upstream.relay, |_| {}));
        let status = wait_until(&circle, |status| status.last_error.is_some());
        let why = status.last_error.unwrap().text;
        assert!(why.contains(&format!("in a circle, a to {id}")) && status.counts.records == 0, "{why}");
        assert!(edge.broker.gateways_above().is_empty());
        block_on(circle.stop());
    }
    // Any other gateway goes the same way.
    let other = edge.uplink_as("d", config(c.relay, |_| {}));
    wait_caught_up(&other);
    assert_eq!(edge.broker.gateways_above(), ["a", "b", "c"]);
}

#[test]
fn two_copies_of_one_store_are_both_forwarded() {
    let above = Above::start(&[("t", 1)]);
    let mut edge = Edge::start();
    edge.topic("t", 1);
    let common = append(&edge, "common");
    let first = uplink(&edge, &above, |_| {});
    wait_caught_up(&first);
    block_on(first.stop());
    edge = edge.restart();
    let later = append(&edge, "later");
    edge.close();
    let copied = copy_of(&edge);
    let (one, other) = (edge.restart(), Edge::on(copied));
    let of_one = append(&one, "one");
    let ups = (uplink(&one, &above, |_| {}), uplink(&other, &above, |_| {}));
    wait_caught_up(&ups.0);
    let of_other = append(&other, "other");
    let status = wait_caught_up(&ups.1);
    assert!(status.last_error.is_some_and(|error| error.text.contains("copied")));
    // Both go on, at the same time.
    let more = (append(&one, "more"), append(&other, "some"));
    wait_caught_up(&ups.0);
    wait_caught_up(&ups.1);
    // What both had and one had forwarded is not forwarded again.
    let sent = [("common", &common), ("later", &later), ("one", &of_one), ("other", &of_other), ("more", &more.0)];
    assert_once(&above, &[&sent[..], &[("some", &more.1)]].concat());
    assert!(one.broker.topic("brooklet.losses").is_some() || other.broker.topic("brooklet.losses").is_some());
    block_on(ups.0.stop());
    block_on(ups.1.stop());
}

#[test]
fn a_restored_store_forwards_what_is_behind_the_last_common_point_once() {
    let above = Above::start(&[("t", 1)]);
    let mut edge = Edge::start();
    edge.topic("t", 1);
    let first = append(&edge, "first");
    edge.close();
    let backup = copy_of(&edge);
    edge = edge.restart();
    let second = append(&edge, "second");
    let running = uplink(&edge, &above, |_| {});
    wait_caught_up(&running);
    block_on(running.stop());
    drop(edge);

    let edge = Edge::on(backup);
    let third = append(&edge, "third");
    let stopping = uplink(&edge, &above, |config| config.on_divergence = OnDivergence::Stop);
    wait_until(&stopping, |status| status.state == UplinkState::Diverged);
    assert_eq!(above.values("t", 0).len(), 18);
    stopping.resume();
    wait_caught_up(&stopping);
    assert_once(&above, &[("first", &first), ("second", &second), ("third", &third)]);
    block_on(stopping.stop());
    // The new history is a history like any other.
    let edge = edge.restart();
    let fourth = append(&edge, "fourth");
    let running = uplink(&edge, &above, |config| config.on_divergence = OnDivergence::Stop);
    wait_caught_up(&running);
    assert_once(&above, &[("first", &first), ("second", &second), ("third", &third), ("fourth", &fourth)]);
    block_on(running.stop());
}

#[test]
fn what_upstream_has_lost_is_forwarded_again_and_a_new_store_there_gets_what_is_new() {
    let mut above = Above::start(&[("t", 1)]);
    let edge = Edge::start();
    edge.topic("t", 1);
    let first = append(&edge, "first");
    let running = uplink(&edge, &above, |_| {});
    wait_caught_up(&running);
    above.stop();
    copy(above.data_dir(), &above.spare_dir());
    above.launch();
    let second = append(&edge, "second");
    wait_caught_up(&running);
    // Restored from a backup.
    above.stop();
    copy(&above.spare_dir(), above.data_dir());
    above.launch();
    let third = append(&edge, "third");
    wait_until(&running, |status| status.counts.records == 36);
    wait_caught_up(&running);
    assert_once(&above, &[("first", &first), ("second", &second), ("third", &third)]);
    block_on(running.stop());
    // Another store altogether.
    above.stop();
    std::fs::remove_dir_all(above.data_dir()).unwrap();
    above.launch();
    above.topic("t", 1, &[]);
    let edge = edge.restart();
    let fourth = append(&edge, "fourth");
    let running = uplink(&edge, &above, |_| {});
    let status = wait_caught_up(&running);
    assert!(status.last_error.is_some_and(|error| error.text.contains("another store")));
    assert_once(&above, &[("fourth", &fourth)]);
    block_on(running.stop());
}

#[test]
fn another_store_of_the_same_name_is_told_apart() {
    let above = Above::start(&[("t", 1)]);
    let (one, other) = (Edge::start(), Edge::start());
    one.topic("t", 1);
    other.topic("t", 1);
    let (of_one, of_other) = (append(&one, "one"), append(&other, "other"));
    let first = uplink(&one, &above, |_| {});
    wait_caught_up(&first);
    let second = uplink(&other, &above, |config| config.on_divergence = OnDivergence::Stop);
    wait_until(&second, |status| status.state == UplinkState::Diverged);
    second.resume();
    wait_caught_up(&second);
    assert_once(&above, &[("one", &of_one), ("other", &of_other)]);
    block_on(first.stop());
    block_on(second.stop());
}
