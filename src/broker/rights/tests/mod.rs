//! Rules against a naive reading of them, over power cuts, and what several callers may do with a broker.

mod access;
mod keeping;
mod model;

use std::sync::Arc;
use std::time::Duration;

use smol::block_on;

use super::*;
use crate::broker::{Access, Broker, BrokerOptions};
use crate::store::clock::{RealClock, WallTrust};
use crate::store::disk::Disk;
use crate::store::{EngineHandle, StoreOptions};

struct Running {
    broker: Broker,
    engine: EngineHandle,
}

impl Running {
    fn open(disk: Arc<dyn Disk>, dir: &std::path::Path, rights: RightsOptions) -> Self {
        let mut options = StoreOptions::new(dir);
        options.max_bytes = Some(16 << 20);
        options.commit_window = Duration::ZERO;
        let (store, engine) = Store::open(options, disk, Arc::new(RealClock::new(WallTrust::Always))).unwrap();
        let engine = engine.spawn().unwrap();
        Self { broker: Broker::new(store, BrokerOptions { rights, ..BrokerOptions::default() }).unwrap(), engine }
    }

    fn close(self) {
        self.broker.store().shutdown();
        self.engine.join();
    }

    fn add(&self, rules: &[&str]) {
        let outcomes = block_on(self.broker.add_rules(rules.iter().map(|text| rule(text)).collect())).unwrap();
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    }

    fn remove(&self, text: &str) {
        let Rule { kind, pattern, who, from, what, allows } = rule(text);
        let patterns = if pattern.is_prefixed() { PatternFilter::Prefixed } else { PatternFilter::Literal };
        let filter = RuleFilter {
            kind: Some(kind),
            name: Some(pattern.name().to_owned()),
            patterns,
            who: Some(who),
            from: Some(from),
            what: Some(what),
            allows: Some(allows),
        };
        let removed = block_on(self.broker.remove_rules(vec![filter])).unwrap();
        assert_eq!(removed[0].len(), 1, "{text}");
    }

    /// Somebody at 10.0.0.1, by the Kafka listener.
    fn by(&self, name: &str) -> Access {
        self.at(name, "10.0.0.1")
    }

    fn at(&self, name: &str, host: &str) -> Access {
        let principal = Principal::new(name).unwrap();
        self.broker.lobby().admit(Caller::peer(principal, Listener::Kafka, host.parse().unwrap()))
    }
}

/// `allow alice 10.0.0.1 Read Topic plant.*`: who and from where may be `*`; a name that ends in `*` (but `*` itself) is a prefix.
fn rule(text: &str) -> Rule {
    let words: Vec<&str> = text.split(' ').collect();
    let [allows, who, from, what, kind, name] = words[..] else { panic!("{text}") };
    let prefix = name.strip_suffix('*').filter(|prefix| !prefix.is_empty());
    Rule {
        kind: *ResourceKind::ALL.iter().find(|it| it.name() == kind).unwrap(),
        pattern: prefix.map_or_else(|| Pattern::new(name, false), |prefix| Pattern::new(prefix, true)),
        who: Who::parse(&format!("User:{who}")).unwrap(),
        from: Origin::parse(from).unwrap(),
        what: Operation::ALL.iter().find(|it| it.name() == what).map_or(What::All, |it| What::One(*it)),
        allows: allows == "allow",
    }
}
