//! The fake cluster keeps the rules of the real one: the same conversations, word by word, with both.
//!
//! With the real one where `BROOKLET_TEST_KAFKA` says (scripts/interop.sh). What is said stands in `transactions-N.txt`, for
//! people to read; N is the cluster's `transaction.version`: 2 takes both protocols, 1 the old one only.

use std::time::Duration;

use brooklet::kafka::api::ApiKey;
use brooklet::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use brooklet::kafka::end_txn::{EndTxnRequest, EndTxnResponse};
use brooklet::kafka::header::read_response;

use crate::by_hand::Hand;
use crate::fake::{Fake, Fault};

/// A transaction from its beginning to its commit, with repetitions.
fn commit(hand: &mut Hand) {
    hand.init(false);
    hand.open(&["one", "two"]);
    hand.produce(0, &["one", "two"]);
    hand.produce(5, &["too early"]);
    hand.produce(2, &["three"]);
    if !hand.second {
        hand.commit_offset(1);
        hand.add_offsets();
    }
    hand.commit_offset(1);
    hand.offsets(true, false);
    hand.offsets(false, false);
    hand.fetch(0);
    hand.end(true);
    hand.fetch(4);
    hand.offsets(true, true);
    hand.end(true);
    hand.end(false);
    hand.produce(3, &["late"]);
    hand.take_next_epoch();
    hand.offsets(true, true);
}

/// Aborted ones; ends of what isn't there.
fn abort(hand: &mut Hand) {
    hand.init(false);
    hand.end(true);
    hand.open(&["one"]);
    if !hand.second {
        hand.add_offsets();
    }
    hand.commit_offset(9);
    hand.end(false);
    hand.fetch(2);
    hand.offsets(true, true);
    hand.end(true);
    hand.take_next_epoch();
    if hand.second {
        hand.end(false);
        hand.take_next_epoch();
    } else {
        hand.end(false);
    }
    hand.init(true);
}

/// Another of the same name, while a transaction is open and while none is.
fn rival(hand: &mut Hand) {
    hand.init(false);
    hand.open(&["one"]);
    let mut rival = hand.rival();
    rival.init_while_open(false);
    hand.produce(1, &["two"]);
    hand.end(true);
    hand.init(true);
    rival.open(&["other"]);
    rival.end(true);
    hand.init(true);
    hand.said.append(&mut rival.said);
    hand.init(false);
}

/// Its own epoch raised by itself: idle, again, and while its transaction is open.
fn own(hand: &mut Hand) {
    hand.init(false);
    let before = hand.epoch;
    hand.init(true);
    hand.epoch = before;
    hand.init(true);
    hand.open(&["one"]);
    hand.init_while_open(true);
    hand.produce(0, &["after"]);
}

/// A transaction that its coordinator gave up.
fn expired(hand: &mut Hand, wait: &dyn Fn(&str)) {
    hand.timeout_ms = 500;
    hand.init(false);
    hand.open(&["one"]);
    wait(&hand.name);
    hand.fetch(2);
    hand.produce(1, &["two"]);
    hand.end(true);
    hand.init(true);
    hand.init(false);
}

/// What was said in each scene, with each protocol that the cluster has.
fn hold(bootstrap: &str, level: i16, wait: &dyn Fn(&str)) -> String {
    let mut all = String::new();
    for second in [false, true].into_iter().take(level as usize) {
        let mut play = |name: &str, scene: &dyn Fn(&mut Hand)| {
            let mut hand = Hand::new(bootstrap, second);
            scene(&mut hand);
            let version = if second { 2 } else { 1 };
            all.push_str(&format!("# {name}, transactions v{version}\n{}\n\n", hand.said.join("\n")));
        };
        play("commit", &commit);
        play("abort", &abort);
        play("rival", &rival);
        play("own epoch", &own);
        play("expired", &|hand| expired(hand, wait));
    }
    all
}

/// By `transaction.version`, from 1. With 1 an own transaction that expired, or that an own InitProducerId ended, can't be told
/// from a rival's doing.
const EXPECTED: [&str; 2] = [include_str!("transactions-1.txt"), include_str!("transactions-2.txt")];

fn compare(whose: &str, level: i16, said: &str) {
    let expected = EXPECTED[level as usize - 1];
    assert_eq!(said.trim_end(), expected.trim_end(), "{whose}, transaction.version {level}:\n{said}");
}

#[test]
fn the_fake_cluster_says_what_a_real_one_says() {
    for level in [1, 2] {
        let fake = Fake::start(&[]);
        fake.state().coordinator.version = level;
        let expire = |name: &str| fake.state().coordinator.expire(name);
        compare("fake", level, &hold(&fake.bootstrap().to_string(), level, &expire));
    }
}

#[test]
fn a_real_cluster_says_what_the_fake_one_says() {
    let Some(kafka) = std::env::var("BROOKLET_TEST_KAFKA").ok().filter(|value| !value.is_empty()) else {
        println!("skipped: BROOKLET_TEST_KAFKA isn't set (scripts/interop.sh sets it where it can)");
        return;
    };
    let bootstrap = kafka.split(',').next().unwrap().to_owned();
    let mut hand = Hand::new(&bootstrap, true);
    let asked = ApiVersionsRequest { client_software_name: "by-hand", client_software_version: "1" };
    let level = hand.call(&bootstrap, 3, &asked, |frame| {
        let (_, told) = read_response::<ApiVersionsResponse<'_>>(3, frame).unwrap();
        told.finalized_features.iter().find(|f| f.name == "transaction.version").map_or(1, |f| f.max_version_level)
    });
    // The coordinator ends expired transactions by itself.
    compare("Apache Kafka", level, &hold(&bootstrap, level, &|_| ()));
}

#[test]
fn faults_are_what_they_say() {
    let ends = [
        (Fault::Cut, None, false),
        (Fault::ReplyLost, None, true),
        (Fault::Silence, None, false),
        (Fault::DoneInSilence, None, true),
        (Fault::Code(7), Some(7), false),
        (Fault::DoneButCode(7), Some(7), true),
        (Fault::CoordinatorMoves, Some(16), false),
        (Fault::None, Some(0), true),
    ];
    for (fault, code, done) in ends {
        let fake = Fake::start(&[]);
        let mut hand = Hand::new(&fake.bootstrap().to_string(), true);
        hand.init(false);
        hand.open(&["one"]);
        fake.fail_api(ApiKey::EndTxn, &[fault]);
        let (name, address) = (hand.name.clone(), hand.coordinator(1));
        let request = EndTxnRequest {
            transactional_id: &name,
            producer_id: hand.id,
            producer_epoch: hand.epoch,
            committed: true,
        };
        // Nobody answers silence: that it was heard is looked up.
        let patience = hand.patience;
        if matches!(fault, Fault::Silence | Fault::DoneInSilence) {
            hand.patience = Duration::from_millis(100);
        }
        let frame = hand.try_call(&address, 5, &request).ok();
        hand.patience = patience;
        while fake.requests(ApiKey::EndTxn) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let told = frame.map(|frame| read_response::<EndTxnResponse>(5, &frame).unwrap().1.error_code);
        assert_eq!((told, fake.values(&name, 0).len() == 1), (code, done), "{fault:?}");
        assert_eq!((fake.requests(ApiKey::EndTxn), hand.coordinator(1) != address), (1, code == Some(16)), "{fault:?}");
    }
}
