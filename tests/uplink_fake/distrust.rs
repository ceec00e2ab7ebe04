//! Rows of an uplink that can't be true: a position, or the positions of a transaction in doubt, beyond the end of the log. What comes later
//! is forwarded all the same, also where the log has grown past such a position before the next look.

use std::time::Duration;

use brooklet::config::{Delivery, UplinkConfig};
use brooklet::kafka::api::ApiKey;
use brooklet::metrics::METRICS;
use brooklet::store::{Intervals, cursor_key};
use brooklet::uplink::Uplink;
use smol::block_on;

use crate::fake::{Fake, Fault};
use crate::{Edge, SOON, first_arrivals, wait_caught_up, wait_until};

const CURSORS: &str = "brooklet.cursors";

fn exactly(config: &mut UplinkConfig) {
    config.delivery = Delivery::ExactlyOnce;
    (config.commit_every, config.request_timeout) = (Duration::ZERO, SOON);
}

/// Lets the uplink's row say that it is done with all before `next` of the first partition of `t`.
fn claim(edge: &Edge, next: i64) {
    let partition = edge.broker.topic("t").unwrap().partitions[0];
    let position = vec![(partition, Intervals::up_to(next))];
    block_on(edge.broker.save_positions("centre", position, Duration::ZERO)).unwrap();
}

fn kept(edge: &Edge) -> Option<Vec<u8>> {
    let partition = edge.broker.topic("t").unwrap().partitions[0];
    edge.broker.follower_row(&cursor_key("centre", partition))
}

/// An uplink that reaches nobody, until it has looked at what is kept.
fn look_in_vain(edge: &Edge, change: impl FnOnce(&mut UplinkConfig)) {
    let nobody = Fake::start(&[]);
    let uplink = edge.uplink(&nobody, |config| {
        change(config);
        config.bootstrap[0].port = 1;
    });
    wait_until(&uplink, |_| kept(edge) == Some(Vec::new()));
    let status = uplink.status();
    assert_eq!(status.partitions[0].position, 0, "{}", status.to_json());
    drop(uplink);
}

#[test]
fn a_position_beyond_the_end_is_replaced_before_the_log_grows_past_it() {
    let distrusted = METRICS.uplink_distrusted.get();
    let fake = Fake::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let mut sent = edge.fill(&topic, 0..2).remove(0);
    claim(&edge, 10);
    let edge = edge.restart();
    look_in_vain(&edge, |_| {});
    assert!(METRICS.uplink_distrusted.get() > distrusted);
    let topic = edge.broker.topic("t").unwrap();
    sent.extend(edge.fill(&topic, 2..6).remove(0));
    let edge = edge.restart();
    let uplink = edge.uplink(&fake, |_| {});
    wait_caught_up(&uplink);
    assert_eq!(first_arrivals(&fake, "t", 1, &sent), (sent, 0));
    block_on(uplink.stop());
}

/// A position that ends with the log is what it says.
#[test]
fn a_position_at_the_end_is_kept() {
    let fake = Fake::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let passed = edge.fill(&topic, 0..2).remove(0);
    claim(&edge, 6);
    let edge = edge.restart();
    let uplink = edge.uplink(&fake, |_| {});
    let topic = edge.broker.topic("t").unwrap();
    let sent = edge.fill(&topic, 2..3).remove(0);
    wait_caught_up(&uplink);
    assert_eq!(first_arrivals(&fake, "t", 1, &sent), (sent, 0));
    assert_eq!(first_arrivals(&fake, "t", 1, &passed).0.len(), 0);
    block_on(uplink.stop());
}

/// Forwards six records exactly once, three of them by a transaction whose end it hears nothing of.
fn in_doubt(fake: &Fake, edge: &Edge) -> Vec<String> {
    let topic = edge.topic("t", 1);
    let mut sent = edge.fill(&topic, 0..1).remove(0);
    let uplink = edge.uplink(fake, exactly);
    wait_caught_up(&uplink);
    let asked = fake.requests(ApiKey::EndTxn);
    fake.fail_api(ApiKey::EndTxn, &[Fault::DoneInSilence]);
    sent.extend(edge.fill(&topic, 1..2).remove(0));
    wait_until(&uplink, |_| fake.requests(ApiKey::EndTxn) > asked);
    drop(uplink);
    sent
}

/// Whatever comes now arrives once, and nothing that was there already does again.
fn go_on_once(fake: &Fake, edge: &Edge, mut sent: Vec<String>) {
    let topic = edge.broker.topic("t").unwrap();
    let uplink: Uplink = edge.uplink(fake, exactly);
    wait_caught_up(&uplink);
    sent.extend(edge.fill(&topic, 2..4).remove(0));
    wait_caught_up(&uplink);
    assert_eq!(first_arrivals(fake, "t", 1, &sent), (sent, 0));
    block_on(uplink.stop());
}

#[test]
fn upstream_tells_where_a_position_cannot_be_true() {
    let fake = Fake::start(&[("t", 1), (CURSORS, 1)]);
    let edge = Edge::start();
    let sent = in_doubt(&fake, &edge);
    claim(&edge, 100);
    go_on_once(&fake, &edge.restart(), sent);
}

#[test]
fn upstream_tells_where_a_transaction_in_doubt_cannot_be_true() {
    for grows in [false, true] {
        let fake = Fake::start(&[("t", 1), (CURSORS, 1)]);
        let edge = Edge::start();
        let sent = in_doubt(&fake, &edge);
        let key = b"centre\0exactly-once".to_vec();
        let mut row = edge.broker.follower_row(&key).unwrap();
        // Its end: one position (partition, next offset), no letters. Numbers with a sign are doubled.
        let [.., 1, _, next, 0] = &mut row[..] else { panic!("{row:?}") };
        assert_eq!(*next, 6 * 2);
        *next = 8 * 2;
        block_on(edge.broker.save_with_row("centre", Vec::new(), Vec::new(), (key.clone(), row.clone()))).unwrap();
        let (mut edge, mut sent) = (edge.restart(), sent);
        if grows {
            let nobody = Fake::start(&[]);
            let uplink = edge.uplink(&nobody, |config| {
                exactly(config);
                config.bootstrap[0].port = 1;
            });
            wait_until(&uplink, |_| edge.broker.follower_row(&key).unwrap() != row);
            drop(uplink);
            let topic = edge.broker.topic("t").unwrap();
            sent.extend(edge.fill(&topic, 4..5).remove(0));
            edge = edge.restart();
        }
        go_on_once(&fake, &edge, sent);
    }
}
