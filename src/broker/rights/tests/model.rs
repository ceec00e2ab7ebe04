//! The set of rules against rules that are looked at one by one, as Kafka's documentation has them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use crate::broker::rights::set::{RuleSet, Verdict};
use crate::broker::rights::*;

fn applies(rule: &Rule, principal: &Principal, host: IpAddr) -> bool {
    let who = match &rule.who {
        Who::Everyone => true,
        Who::One(one) => one == principal,
    };
    let from = match rule.from {
        Origin::Anywhere => true,
        Origin::Host(address) => address == host,
    };
    who && from
}

fn covers(pattern: &Pattern, name: &str) -> bool {
    match pattern {
        Pattern::Any => true,
        Pattern::Literal(literal) => literal == name,
        Pattern::Prefixed(prefix) => name.starts_with(prefix.as_str()),
    }
}

/// The operations that allow `operation`.
fn allowing(operation: Operation) -> Vec<Operation> {
    use Operation::*;
    match operation {
        Describe => vec![Describe, Read, Write, Delete, Alter],
        DescribeConfigs => vec![DescribeConfigs, AlterConfigs],
        other => vec![other],
    }
}

fn naive(
    rules: &BTreeSet<Rule>,
    principal: &Principal,
    host: IpAddr,
    operation: Operation,
    resource: Resource<'_>,
) -> Verdict {
    let about = |rule: &&Rule| rule.kind == resource.kind && covers(&rule.pattern, resource.name);
    let names = |rule: &Rule, wanted: &[Operation]| match rule.what {
        What::All => true,
        What::One(operation) => wanted.contains(&operation),
    };
    let mut found = rules.iter().filter(about).peekable();
    if found.peek().is_none() {
        return Verdict::NoRule;
    }
    let mine: Vec<&Rule> = found.filter(|rule| applies(rule, principal, host)).collect();
    if mine.iter().any(|rule| !rule.allows && names(rule, &[operation])) {
        return Verdict::Denied;
    }
    match mine.iter().any(|rule| rule.allows && names(rule, &allowing(operation))) {
        true => Verdict::Allowed,
        false => Verdict::Denied,
    }
}

fn naive_somewhere(rules: &BTreeSet<Rule>, principal: &Principal, host: IpAddr, operation: Operation) -> bool {
    let names = |rule: &Rule| matches!(rule.what, What::All) || rule.what == What::One(operation);
    let mine = |allows: bool| {
        let fits = move |rule: &&Rule| {
            rule.kind == ResourceKind::Topic && rule.allows == allows && names(rule) && applies(rule, principal, host)
        };
        rules.iter().filter(fits).map(|rule| &rule.pattern).collect::<Vec<_>>()
    };
    let denied = mine(false);
    mine(true).into_iter().any(|allowed| {
        let dominated = |denied: &&Pattern| match (allowed, denied) {
            (_, Pattern::Any) => true,
            (Pattern::Any, _) => false,
            (Pattern::Literal(name), Pattern::Literal(denied)) => name == denied,
            (Pattern::Prefixed(_), Pattern::Literal(_)) => false,
            (Pattern::Literal(name) | Pattern::Prefixed(name), Pattern::Prefixed(denied)) => name.starts_with(denied),
        };
        !denied.iter().any(dominated)
    })
}

/// Few names, so that rules meet; with prefixes of each other, and one that is cut within a character.
const NAMES: [&str; 8] = ["a", "ab", "abc", "abd", "b", "plant.é", "plant.", "plant.ê"];
const USERS: [&str; 3] = ["alice", "bob", "ANONYMOUS"];
const HOSTS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "::1"];

fn rule() -> impl Strategy<Value = Rule> {
    let pattern = prop_oneof![
        1 => Just(Pattern::Any),
        3 => select(NAMES.to_vec()).prop_map(|name| Pattern::Literal(name.to_owned())),
        3 => select(NAMES.to_vec()).prop_map(|name| Pattern::Prefixed(name.to_owned())),
    ];
    let who = prop_oneof![
        1 => Just(Who::Everyone),
        3 => select(USERS.to_vec()).prop_map(|name| Who::One(Principal::new(name).unwrap())),
    ];
    let from = prop_oneof![
        2 => Just(Origin::Anywhere),
        1 => select(HOSTS.to_vec()).prop_map(|host| Origin::parse(host).unwrap()),
    ];
    let what = prop_oneof![1 => Just(What::All), 4 => select(Operation::ALL.to_vec()).prop_map(What::One)];
    let kind = select(ResourceKind::ALL[..2].to_vec());
    (kind, pattern, who, from, what, prop::bool::weighted(0.7))
        .prop_map(|(kind, pattern, who, from, what, allows)| Rule { kind, pattern, who, from, what, allows })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_set_says_what_rules_say_one_by_one(rules in prop::collection::btree_set(rule(), 0..25)) {
        let set = RuleSet::new(rules.clone());
        for user in USERS {
            let principal = Principal::new(user).unwrap();
            for host in HOSTS.map(|host| host.parse().unwrap()) {
                for operation in Operation::ALL {
                    for kind in &ResourceKind::ALL[..3] {
                        for name in NAMES.into_iter().chain(["abcd", "plant.x", "", "z"]) {
                            let resource = Resource { kind: *kind, name };
                            let got = set.verdict(&principal, host, operation, resource);
                            prop_assert_eq!(got, naive(&rules, &principal, host, operation, resource));
                        }
                    }
                    let got = set.allow_somewhere(&principal, host, operation, ResourceKind::Topic);
                    prop_assert_eq!(got, naive_somewhere(&rules, &principal, host, operation));
                }
            }
        }
    }
}
