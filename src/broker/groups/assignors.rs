//! Two of Kafka's assignors, so that the gateway can lead a group on behalf of a native member. Members are ordered as
//! Kafka orders them: static ones by name first, then the others by id.

use std::collections::{BTreeMap, BTreeSet};

/// What a member wants: its name for the order, and topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    /// Of the member.
    pub member_id: &'a str,
    /// Of a static member.
    pub instance_id: Option<&'a str>,
    /// Topics it subscribes to.
    pub topics: Vec<&'a str>,
}

/// By member id: the partitions of each topic. Every member is in it, and each partition of a topic that anyone wants is
/// given to one.
pub type Assigned<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<i32>>>;

/// `RangeAssignor`: of each topic, every subscribed member gets a run of partitions, the first ones one more where they
/// don't divide evenly.
pub fn range<'a>(wishes: &[Wish<'a>], partition_count: impl Fn(&str) -> u32) -> Assigned<'a> {
    let mut assigned = nothing(wishes);
    let mut members_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for wish in ordered(wishes) {
        for topic in wish.topics.iter().collect::<BTreeSet<_>>() {
            members_of.entry(topic).or_default().push(wish.member_id);
        }
    }
    for (topic, members) in members_of {
        let count = partition_count(topic) as usize;
        let (each, more) = (count / members.len(), count % members.len());
        let mut next = 0;
        for (i, member) in members.into_iter().enumerate() {
            let end = next + each + usize::from(i < more);
            if end > next {
                let partitions = (next..end).map(|index| index as i32).collect();
                assigned.entry(member).or_default().insert(topic, partitions);
            }
            next = end;
        }
    }
    assigned
}

/// `RoundRobinAssignor`: all partitions of all topics in their order, dealt out to the members in theirs, past those
/// that don't want the topic.
pub fn round_robin<'a>(wishes: &[Wish<'a>], partition_count: impl Fn(&str) -> u32) -> Assigned<'a> {
    let mut assigned = nothing(wishes);
    let members = ordered(wishes);
    let topics: BTreeSet<&str> = wishes.iter().flat_map(|wish| wish.topics.iter().copied()).collect();
    let mut turn = members.iter().cycle();
    for topic in topics {
        for index in 0..partition_count(topic) {
            // Somebody wants it: one round finds who is next.
            let next = turn.by_ref().take(members.len()).find(|wish| wish.topics.contains(&topic));
            if let Some(wish) = next {
                assigned.entry(wish.member_id).or_default().entry(topic).or_default().push(index as i32);
            }
        }
    }
    assigned
}

fn nothing<'a>(wishes: &[Wish<'a>]) -> Assigned<'a> {
    wishes.iter().map(|wish| (wish.member_id, BTreeMap::new())).collect()
}

fn ordered<'w, 'a>(wishes: &'w [Wish<'a>]) -> Vec<&'w Wish<'a>> {
    let mut ordered: Vec<&Wish<'a>> = wishes.iter().collect();
    ordered.sort_by_key(|wish| (wish.instance_id.is_none(), wish.instance_id.unwrap_or(wish.member_id)));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wish<'a>(member_id: &'a str, topics: &[&'a str]) -> Wish<'a> {
        Wish { member_id, instance_id: None, topics: topics.to_vec() }
    }

    /// The examples of Kafka's own documentation of `RangeAssignor` and `RoundRobinAssignor`.
    #[test]
    fn as_kafka_does_it() {
        let wishes = [wish("C1", &["t0", "t1"]), wish("C0", &["t0", "t1"])];
        let assigned = range(&wishes, |_| 3);
        assert_eq!(assigned["C0"], BTreeMap::from([("t0", vec![0, 1]), ("t1", vec![0, 1])]));
        assert_eq!(assigned["C1"], BTreeMap::from([("t0", vec![2]), ("t1", vec![2])]));
        let assigned = round_robin(&wishes, |_| 3);
        assert_eq!(assigned["C0"], BTreeMap::from([("t0", vec![0, 2]), ("t1", vec![1])]));
        assert_eq!(assigned["C1"], BTreeMap::from([("t0", vec![1]), ("t1", vec![0, 2])]));
        let wishes = [wish("C0", &["t0"]), wish("C1", &["t0", "t1"]), wish("C2", &["t0", "t1", "t2"])];
        let count = |topic: &str| topic[1..].parse::<u32>().unwrap() + 1;
        let assigned = round_robin(&wishes, count);
        assert_eq!(assigned["C0"], BTreeMap::from([("t0", vec![0])]));
        assert_eq!(assigned["C1"], BTreeMap::from([("t1", vec![0])]));
        assert_eq!(assigned["C2"], BTreeMap::from([("t1", vec![1]), ("t2", vec![0, 1, 2])]));
    }

    #[test]
    fn topics_nobody_knows_and_members_without_a_share() {
        let wishes = [wish("a", &["gone"]), wish("b", &["one", "one"]), wish("c", &["one"])];
        let count = |topic: &str| u32::from(topic == "one");
        for assigned in [range(&wishes, count), round_robin(&wishes, count)] {
            assert_eq!(assigned["b"], BTreeMap::from([("one", vec![0])]));
            assert!(assigned["a"].is_empty() && assigned["c"].is_empty());
        }
    }

    proptest! {
        #[test]
        fn every_partition_has_one_owner(
            counts in prop::collection::vec(0u32..20, 3),
            wants in prop::collection::vec(0u8..8, 1..6),
        ) {
            let names = ["x", "y", "z"];
            let ids: Vec<String> = (0..wants.len()).map(|i| format!("m{i}")).collect();
            let wishes: Vec<Wish<'_>> = wants.iter().zip(&ids).map(|(bits, id)| {
                let topics = (0..3).filter(|bit| bits & (1 << bit) != 0).map(|bit| names[bit]).collect();
                Wish { member_id: id, instance_id: None, topics }
            }).collect();
            let count = |topic: &str| counts[names.iter().position(|name| *name == topic).unwrap()];
            for assigned in [range(&wishes, count), round_robin(&wishes, count)] {
                for (i, name) in names.iter().enumerate() {
                    let of = assigned.values().flat_map(|of| of.get(name).cloned().unwrap_or_default());
                    let mut given: Vec<i32> = of.collect();
                    given.sort_unstable();
                    let wanted = wants.iter().any(|bits| bits & (1 << i) != 0);
                    prop_assert_eq!(given, (0..if wanted { counts[i] as i32 } else { 0 }).collect::<Vec<_>>());
                }
            }
        }
    }
}
