//! Rules over restarts and power cuts: what was acknowledged is there, and what is asked is what the store has.

use std::path::Path;

use super::*;
use crate::limits;
use crate::store::disk::RealDisk;
use crate::store::sim::SimDisk;

#[test]
fn rules_are_there_after_any_power_cut_once_they_are_acknowledged() {
    let (disk, dir) = (SimDisk::new(11), Path::new("/d"));
    let running = Running::open(Arc::new(disk.clone()), dir, RightsOptions::default());
    disk.watch(0.05);
    // How many operations the disk had done, and the rules that stood then.
    let mut told: Vec<(u64, Vec<Rule>)> = Vec::new();
    for step in 0..40 {
        let text = format!("allow u{step} * Read Topic t{step}*");
        running.add(&[&text, &format!("deny u{step} 10.0.0.9 All Group g{step}")]);
        if step % 3 == 2 {
            running.remove(&text);
        }
        told.push((disk.ops(), running.broker.rules(&RuleFilter::ALL)));
    }
    let moments = disk.unwatch();
    running.close();
    assert!(moments.len() > 20, "{} moments", moments.len());
    for (seed, moment) in moments.iter().enumerate().filter(|(i, _)| i % (moments.len() / 20) == 0) {
        let Some(at) = told.iter().rposition(|(ops, _)| *ops <= moment.op) else { continue };
        let running = Running::open(Arc::new(moment.power_cut(seed as u64)), dir, RightsOptions::default());
        let found = running.broker.rules(&RuleFilter::ALL);
        let gone = at.saturating_add(1);
        let missing: Vec<_> = told[at].1.iter().filter(|rule| !found.contains(rule)).collect();
        // What the next step removes may be gone already.
        assert!(missing.len() <= usize::from(gone % 3 == 2), "moment {}: {missing:?}", moment.op);
        assert!(found.len() <= told[at].1.len() + 2, "moment {}: what was never asked for is there", moment.op);
        running.close();
    }
}

#[test]
fn they_are_bounded_and_a_wrong_one_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(Arc::new(RealDisk::new()), dir.path(), RightsOptions::default());
    let many = (0..limits::ACL_RULES_MAX).map(|i| rule(&format!("allow u{i} * Read Topic t"))).collect();
    assert!(block_on(running.broker.add_rules(many)).unwrap().iter().all(Result::is_ok));
    let again = rule("allow u7 * Read Topic t");
    let wrong = Rule { kind: ResourceKind::Cluster, ..again.clone() };
    let more = rule("allow more * Read Topic t");
    let outcomes = block_on(running.broker.add_rules(vec![wrong, again, more.clone()])).unwrap();
    assert!(matches!(&outcomes[0], Err(RuleError::Invalid(text)) if text.contains("kafka-cluster")), "{outcomes:?}");
    assert!(outcomes[1].is_ok(), "it is there already");
    assert!(matches!(outcomes[2], Err(RuleError::TooMany)));
    running.remove("allow u7 * Read Topic t");
    assert!(block_on(running.broker.add_rules(vec![more])).unwrap()[0].is_ok());
    running.close();
    let running = Running::open(Arc::new(RealDisk::new()), dir.path(), RightsOptions::default());
    assert_eq!(running.broker.rules(&RuleFilter::ALL).len(), limits::ACL_RULES_MAX);
    running.close();
}
