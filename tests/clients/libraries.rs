//! Members of different libraries in one group.

use crate::{
    common::gateway::Gateway,
    driver::Client,
    groups::{PARTITIONS, all_committed, processed, shared},
    truth,
};

/// librdkafka and Java: what most groups in the field are made of. An assignor that both know.
const LIBRARIES: [&str; 2] = ["confluent-kafka", "java"];
const STRATEGY: &str = "range";
const RECORDS: usize = 6_000;

#[test]
#[ignore = "started by scripts/interop.sh clients"]
fn two_libraries_share_a_group_over_a_kill() {
    let clients = Client::all();
    let [Some(one), Some(two)] = LIBRARIES.map(|name| clients.iter().find(|client| client.name == name)) else {
        println!("skipped: takes {}", LIBRARIES.join(" and "));
        return;
    };
    let mut gateway = Gateway::start("");
    truth::create(&gateway, "mixed", PARTITIONS);
    one.produce(&gateway, "mixed", 0, RECORDS / 3).unwrap();
    let mut first = one.join(&gateway, "mixed", "mixing", &[STRATEGY]);
    first.wait_for("all partitions", |first| (first.assigned().len() == PARTITIONS as usize).then_some(()));
    let mut second = two.join(&gateway, "mixed", "mixing", &[STRATEGY]);
    second.wait_for("both members' shares", |second| shared(&first, second));
    // They are in the middle of these when the gateway dies.
    one.produce(&gateway, "mixed", RECORDS / 3, 2 * RECORDS / 3).unwrap();
    gateway.kill();
    let told = [first.committed(), second.committed()];
    gateway.launch();
    let kept = truth::committed(&gateway, "mixed", "mixing");
    for (partition, offset) in told.iter().flatten() {
        assert!(kept.get(partition) >= Some(offset), "committed {partition} {offset} was told, kept is {kept:?}");
    }
    two.produce(&gateway, "mixed", 2 * RECORDS / 3, RECORDS).unwrap();
    second.wait_for("every record", |second| processed(&[&first, second], 0, RECORDS));
    second.wait_for("their commits", |_| all_committed(&gateway, "mixed", "mixing"));
    second.wait_for("both members' shares again", |second| shared(&first, second));
    first.leave().unwrap();
    second.wait_for("all partitions", |second| (second.assigned().len() == PARTITIONS as usize).then_some(()));
    second.leave().unwrap();
    assert_eq!(
        truth::committed(&gateway, "mixed", "mixing"),
        truth::ends(&gateway, "mixed"),
        "committed, and the ends"
    );
}
