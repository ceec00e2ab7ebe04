use super::super::{
    Config, Layers,
    keys::{DOWNLINK, GLOBAL, Key, TOPIC, UPLINK},
};
use super::*;

fn load(text: &str) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("brooklet.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(&Layers::only(&file)).unwrap()
}

fn told(before: &str, after: &str) -> Vec<String> {
    let show = |of: &Option<String>| of.clone().unwrap_or_else(|| "-".to_owned());
    let line = |of: Change| format!("{}: {} → {} ({:?})", of.key, show(&of.before), show(&of.after), of.takes);
    changes(&load(before), &load(after)).into_iter().map(line).collect()
}

/// A new key waits for a restart until somebody has thought about it: this list is where that shows.
#[test]
fn what_takes_a_restart_is_a_list_that_somebody_has_read() {
    fn waiting<T>(scope: &[Key<T>]) -> Vec<&'static str> {
        scope.iter().filter(|key| key.takes.waits()).map(|key| key.name).collect()
    }
    assert_eq!(waiting(TOPIC), [""; 0]);
    assert_eq!(waiting(UPLINK), [""; 0]);
    assert_eq!(waiting(DOWNLINK), [""; 0]);
    let socket = |name: &&&str| {
        let last = ["enabled", "addr", "websocket", "max_inflight_bytes"];
        let below = name.strip_prefix("listen.").unwrap_or_default();
        !(below.contains(".tls.") || !below.is_empty() && last.iter().any(|last| below.ends_with(last)))
    };
    let rest: Vec<&str> = waiting(GLOBAL).iter().filter(socket).copied().collect();
    assert_eq!(
        rest,
        [
            "data_dir",
            "gateway.id",
            "store.max_bytes",
            "store.segment_bytes",
            "store.rewrite_budget",
            "store.medium",
            "store.compression",
            "store.cache_bytes",
            "store.tail_bytes",
            "store.on_full",
            "store.preallocate",
            "group.initial_rebalance_delay",
            "source.host.enabled",
            "source.host.interval",
            "source.host.topic",
            "clock.trust",
        ]
    );
}

#[test]
fn a_difference_is_told_once_and_only_where_the_value_differs() {
    assert_eq!(told("log.level = \"info\"", "# the default\n"), [""; 0]);
    assert_eq!(
        told("store.max_bytes = \"64MiB\"\n", "log.level = \"debug\"\nstore.max_bytes = \"128MiB\"\n"),
        ["store.max_bytes: \"64MiB\" → \"128MiB\" (Restart)", "log.level: \"info\" → \"debug\" (AtOnce)",]
    );
    let uplink = "[uplink.a]\nbootstrap = [\"h:1\"]\n";
    let gone = told(uplink, "");
    assert_eq!(gone, ["uplink.a.bootstrap: [\"h:1\"] → - (AtOnce)"], "not what it had by default");
    assert_eq!(told("", uplink), ["uplink.a.bootstrap: - → [\"h:1\"] (AtOnce)"]);
    assert_eq!(
        told(uplink, &format!("{uplink}rate_limit = \"20KiB/s\"")),
        ["uplink.a.rate_limit: \"unlimited\" → \"20KiB/s\" (AtOnce)"]
    );
    assert_eq!(
        told("topic.a.partitions = 2", "gateway.labels.site = \"x\""),
        ["gateway.labels.site: - → \"x\" (AtOnce)", "topic.a.partitions: 2 → - (AtOnce)"]
    );
    assert_eq!(told("", "gateway.id = \"b\""), ["gateway.id: \"auto\" → \"b\" (Adoption)"]);
}

/// No key is one today; a later one is not to be shown by its change.
#[test]
fn secrets_are_masked() {
    let with = |value: &str| {
        let mut loaded = load("");
        let one = loaded.effective.iter_mut().find(|one| one.key == "log.level").unwrap();
        (one.secret, one.value) = (true, value.to_owned());
        loaded
    };
    let told = format!("{:?}", changes(&with("\"hunter2\""), &with("\"hunter3\"")));
    assert!(told.contains("***") && !told.contains("hunter"), "{told}");
}

#[test]
fn what_waits_is_undone_and_the_rest_holds() {
    let before = load("store.max_bytes = \"64MiB\"\ngateway.id = \"a\"\n[uplink.a]\nbootstrap = [\"h:1\"]\n");
    let text = "store.max_bytes = \"128MiB\"\nlisten.kafka.max_connections = 7\nlisten.kafka.addr = \"127.0.0.1:1\"\n\
                [uplink.b]\nbootstrap = [\"h:1\"]\n[topic.\"x.y\"]\npriority = 7\n";
    let after = load(text);
    let all = changes(&before, &after);
    let now = without_restart(&before, &after, &all).unwrap();
    assert_eq!(now.config.store, before.config.store);
    assert_eq!(now.config.gateway, before.config.gateway);
    assert_eq!(now.config.listen.kafka.addr, before.config.listen.kafka.addr);
    assert_eq!(now.config.listen.kafka.max_connections, 7);
    assert_eq!(now.config.topics.of("x.y").priority, 7);
    assert_eq!(now.config.uplinks.keys().collect::<Vec<_>>(), ["b"]);
    // What still waits is what differs from now on.
    let left: Vec<String> = changes(&now, &after).into_iter().map(|change| change.key).collect();
    let waiting: Vec<String> = all.into_iter().filter(|of| of.takes.waits()).map(|of| of.key).collect();
    assert_eq!(left, waiting);
    // And as text it is the same.
    let again = load(&what_was_set(now.effective.iter()));
    assert_eq!(again.config, now.config);
}

#[test]
fn what_contradicts_what_waits_is_not_applied_alone() {
    let before = load("store.max_bytes = \"64MiB\"");
    let after = load("store.max_bytes = \"256MiB\"\ntopic.a.reserve = \"100MiB\"");
    let refused = without_restart(&before, &after, &changes(&before, &after)).unwrap_err();
    assert!(refused.to_string().contains("reserve"), "{refused}");
}
