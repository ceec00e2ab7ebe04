//! SIGKILL of the gateway in the middle of what a client does, which goes on by itself after the restart.

use crate::{
    common::{gateway::Gateway, wait_for},
    driver::{CALL, Client, Lacks, Played, Running},
    groups::{PARTITIONS, all_committed, processed, shared},
    records::{assert_all, assert_once, assert_ordered},
    truth,
};

/// Many enough for several commits of [`SLOW`]; more, if a client has stored them all in the first.
const MANY: [usize; 3] = [60_000, 240_000, 960_000];
const SOME: usize = 4_000;
/// Requests wait for their commit for so long, so that a kill finds some under way, however quick the client is.
const SLOW: &str = "[store]\ncommit_window = \"200ms\"\n";

/// An idempotent producer stores every record once and in order; another one, at least once.
pub fn produce(client: &Client, gateway: &mut Gateway) -> Played<String> {
    gateway.configure(SLOW);
    gateway.kill();
    gateway.launch();
    match play(client, gateway, &["idempotent"]) {
        Ok((stored, count)) => {
            assert_once(&stored, 0..count);
            assert_ordered(&stored);
            Ok(String::new())
        }
        Err(Lacks(why)) => {
            let (stored, count) = play(client, gateway, &[])?;
            assert_all(&stored, 0..count);
            Ok(format!("at least once: {why}"))
        }
    }
}

/// What is stored in the end, and how many records were produced.
fn play(client: &Client, gateway: &mut Gateway, mode: &[&str]) -> Played<(Vec<truth::Record>, usize)> {
    for count in MANY {
        let topic = format!("interrupted-{count}{}", mode.concat());
        truth::create(gateway, &topic, PARTITIONS);
        let many = count.to_string();
        let mut producing = client.begin(gateway, "produce", &[&[&*topic, "0", &many, "none"], mode].concat());
        let in_time = kill_in_the_middle(gateway, &topic, count, &mut producing);
        producing.end_in_time()?;
        if in_time {
            return Ok((truth::records(gateway, &topic), count));
        }
    }
    panic!("{MANY:?} records were stored before a kill");
}

/// Kills the gateway once the topic has some of the records that are being produced, and starts it again. Whether some
/// were still missing.
pub fn kill_in_the_middle(gateway: &mut Gateway, topic: &str, count: usize, producing: &mut Running) -> bool {
    let mut goes_on = true;
    wait_for(&format!("some records in {topic}"), CALL, || {
        goes_on = producing.goes_on();
        let stored: i64 = truth::ends(gateway, topic).values().sum();
        (stored > 0 || !goes_on).then_some(())
    });
    let stored: i64 = truth::ends(gateway, topic).values().sum();
    gateway.kill();
    gateway.launch();
    stored < count as i64
}

/// Two members, a producer, and a kill in the middle: every record is processed, and no acknowledged commit is lost.
pub fn group(client: &Client, gateway: &mut Gateway) -> Played<String> {
    truth::create(gateway, "outliving", PARTITIONS);
    client.produce(gateway, "outliving", 0, SOME / 4)?;
    let mut one = client.join(gateway, "outliving", "living", &[]);
    one.wait_for("all partitions", |one| (one.assigned().len() == PARTITIONS as usize).then_some(()));
    let mut two = client.join(gateway, "outliving", "living", &[]);
    two.wait_for("both members' shares", |two| shared(&one, two));
    client.produce(gateway, "outliving", SOME / 4, SOME / 2)?;
    // They are in the middle of these.
    gateway.kill();
    let told = [one.committed(), two.committed()];
    gateway.launch();
    let kept = truth::committed(gateway, "outliving", "living");
    for (partition, offset) in told.iter().flatten() {
        assert!(kept.get(partition) >= Some(offset), "committed {partition} {offset} was told, kept is {kept:?}");
    }
    client.produce(gateway, "outliving", SOME / 2, SOME)?;
    two.wait_for("every record", |two| processed(&[&one, two], 0, SOME));
    two.wait_for("their commits", |_| all_committed(gateway, "outliving", "living"));
    one.leave()?;
    two.leave()?;
    assert_eq!(
        truth::committed(gateway, "outliving", "living"),
        truth::ends(gateway, "outliving"),
        "committed, and the ends"
    );
    Ok(String::new())
}
