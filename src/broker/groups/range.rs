//! The range assignment of Kafka (`RangeAssignor`): of each topic, every subscribed member gets a run of partitions, the
//! first ones one more where they don't divide evenly. Members are ordered by the name of a static one, else by id.

use std::collections::BTreeMap;

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
pub fn assign<'a>(
    wishes: &[Wish<'a>],
    partition_count: impl Fn(&str) -> u32,
) -> BTreeMap<&'a str, BTreeMap<&'a str, Vec<i32>>> {
    let mut assigned: BTreeMap<&str, BTreeMap<&str, Vec<i32>>> =
        wishes.iter().map(|wish| (wish.member_id, BTreeMap::new())).collect();
    let mut ordered: Vec<&Wish<'a>> = wishes.iter().collect();
    // As Kafka compares them: two static members by name, else by id.
    ordered.sort_by_key(|wish| (wish.instance_id.is_none(), wish.instance_id.unwrap_or(wish.member_id)));
    let mut members_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for wish in ordered {
        for topic in &wish.topics {
            let members = members_of.entry(topic).or_default();
            if !members.contains(&wish.member_id) {
                members.push(wish.member_id);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wish<'a>(member_id: &'a str, topics: &[&'a str]) -> Wish<'a> {
        Wish { member_id, instance_id: None, topics: topics.to_vec() }
    }

    /// The example of Kafka's own documentation of `RangeAssignor`.
    #[test]
    fn as_kafka_does_it() {
        let assigned = assign(&[wish("C1", &["t0", "t1"]), wish("C0", &["t0", "t1"])], |_| 3);
        assert_eq!(assigned["C0"], BTreeMap::from([("t0", vec![0, 1]), ("t1", vec![0, 1])]));
        assert_eq!(assigned["C1"], BTreeMap::from([("t0", vec![2]), ("t1", vec![2])]));
    }

    #[test]
    fn topics_nobody_knows_and_members_without_a_share() {
        let assigned = assign(&[wish("a", &["gone"]), wish("b", &["one"]), wish("c", &["one"])], |topic| {
            u32::from(topic == "one")
        });
        assert_eq!(assigned["b"], BTreeMap::from([("one", vec![0])]));
        assert!(assigned["a"].is_empty() && assigned["c"].is_empty());
    }

    proptest! {
        #[test]
        fn every_partition_has_one_owner(counts in prop::collection::vec(0u32..20, 3), wants in prop::collection::vec(0u8..8, 1..6)) {
            let names = ["x", "y", "z"];
            let ids: Vec<String> = (0..wants.len()).map(|i| format!("m{i}")).collect();
            let wishes: Vec<Wish<'_>> = wants.iter().zip(&ids).map(|(bits, id)| {
                let topics = (0..3).filter(|bit| bits & (1 << bit) != 0).map(|bit| names[bit]).collect();
                Wish { member_id: id, instance_id: None, topics }
            }).collect();
            let assigned = assign(&wishes, |topic| counts[names.iter().position(|name| *name == topic).unwrap()]);
            for (i, name) in names.iter().enumerate() {
                let mut given: Vec<i32> = assigned.values().flat_map(|of| of.get(name).cloned().unwrap_or_default()).collect();
                given.sort_unstable();
                let wanted = wants.iter().any(|bits| bits & (1 << i) != 0);
                prop_assert_eq!(given, (0..if wanted { counts[i] as i32 } else { 0 }).collect::<Vec<_>>());
            }
        }
    }
}
