//! Groups: two members joining and leaving, commits and going on from them, administration.

use std::collections::BTreeSet;

use crate::{
    common::{gateway::Gateway, wait_for},
    driver::{CALL, Client, Member, Played},
    truth,
};

pub const PARTITIONS: i32 = 4;

/// Two members share the topic; one leaves, the other has it all. Every record is processed, and committed.
pub fn two_members(client: &Client, gateway: &Gateway) -> Played<String> {
    truth::create(gateway, "shared", PARTITIONS);
    client.produce(gateway, "shared", 0, 200)?;
    let mut one = client.join(gateway, "shared", "sharing", &[]);
    one.wait_for("the first 200 records", |one| processed(&[one], 0, 200));
    let mut two = client.join(gateway, "shared", "sharing", &[]);
    two.wait_for("both members' shares", |two| shared(&one, two));
    client.produce(gateway, "shared", 200, 600)?;
    two.wait_for("both members' records", |two| processed(&[&one, two], 200, 600));
    assert!(!two.values().is_empty(), "the second member got no record");
    one.leave()?;
    two.wait_for("all partitions", |two| (two.assigned().len() == PARTITIONS as usize).then_some(()));
    client.produce(gateway, "shared", 600, 800)?;
    two.wait_for("the last 200 records", |two| processed(&[two], 600, 800));
    two.wait_for("its commits", |_| all_committed(gateway, "shared", "sharing"));
    two.leave()?;
    assert_eq!(
        truth::committed(gateway, "shared", "sharing"),
        truth::ends(gateway, "shared"),
        "committed, and the ends"
    );
    Ok(String::new())
}

/// What was committed is not read again, and what came since is.
pub fn resume(client: &Client, gateway: &Gateway) -> Played<String> {
    truth::create(gateway, "resumed", PARTITIONS);
    client.produce(gateway, "resumed", 0, 200)?;
    let mut before = client.join(gateway, "resumed", "resuming", &[]);
    before.wait_for("200 records", |member| processed(&[member], 0, 200));
    before.wait_for("its commits", |_| all_committed(gateway, "resumed", "resuming"));
    before.leave()?;
    let committed = truth::committed(gateway, "resumed", "resuming");
    assert_eq!(committed, truth::ends(gateway, "resumed"), "committed, and the ends");
    let note = match client.call(gateway, "committed", &["resumed", "resuming"]) {
        Ok(printed) => {
            let lines: BTreeSet<String> = printed.lines().map(str::to_owned).collect();
            let wanted = committed.iter().map(|(partition, offset)| format!("{partition} {offset}"));
            assert_eq!(lines, wanted.collect(), "committed offsets as the client reads them");
            String::new()
        }
        Err(lacks) => lacks.0,
    };
    client.produce(gateway, "resumed", 200, 300)?;
    let mut after = client.join(gateway, "resumed", "resuming", &[]);
    after.wait_for("100 more records", |member| processed(&[member], 200, 300));
    let read = after.values();
    let again: Vec<&String> = read.iter().filter(|value| value[1..].parse::<usize>().unwrap() < 200).collect();
    assert!(again.is_empty(), "what was committed was read again: {again:?}");
    after.leave()?;
    Ok(note)
}

pub fn administer(client: &Client, gateway: &Gateway) -> Played<String> {
    truth::create(gateway, "administered", 1);
    client.produce(gateway, "administered", 0, 10)?;
    let mut member = client.join(gateway, "administered", "known", &[]);
    member.wait_for("10 records", |member| processed(&[member], 0, 10));
    let mut lacking = Vec::new();
    match client.call(gateway, "list-groups", &[]) {
        Ok(printed) => assert!(printed.lines().any(|line| line == "known"), "list-groups printed {printed:?}"),
        Err(lacks) => lacking.push(lacks.0),
    }
    match client.call(gateway, "describe-group", &["known"]) {
        Ok(printed) => assert_eq!(printed.trim().to_lowercase(), "stable 1", "describe-group"),
        Err(lacks) => lacking.push(lacks.0),
    }
    member.leave()?;
    // Not every library waits for the answer to its leaving.
    wait_for("the group to be empty", CALL, || (truth::state(gateway, "known") == "Empty").then_some(()));
    match client.call(gateway, "delete-group", &["known"]) {
        Ok(_) => assert!(!truth::groups(gateway).contains(&"known".to_owned()), "the group is still there"),
        Err(lacks) => lacking.push(lacks.0),
    }
    if lacking.len() == 3 { Err(crate::driver::Lacks(lacking.remove(0))) } else { Ok(lacking.join("; ")) }
}

/// Whether these members together have processed the records `from..to`.
pub fn processed(members: &[&Member], from: usize, to: usize) -> Option<()> {
    let values: BTreeSet<String> = members.iter().flat_map(|member| member.values()).collect();
    (from..to).all(|number| values.contains(&format!("v{number}"))).then_some(())
}

/// Whether the group has committed everything that is in the topic. A member commits what it has processed a moment later, and again
/// where a rebalance came between.
pub fn all_committed(gateway: &Gateway, topic: &str, group: &str) -> Option<()> {
    (truth::committed(gateway, topic, group) == truth::ends(gateway, topic)).then_some(())
}

/// Whether both have partitions, and together each one once.
pub fn shared(one: &Member, two: &Member) -> Option<()> {
    let (ours, theirs) = (one.assigned(), two.assigned());
    let mut all = [&ours[..], &theirs[..]].concat();
    all.sort_unstable();
    (!ours.is_empty() && !theirs.is_empty() && all.into_iter().eq(0..PARTITIONS)).then_some(())
}
