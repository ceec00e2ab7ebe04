//! The exposition, read strictly; and everything that names metrics held against the table.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::gateway::status::*;
use crate::metrics::METRICS;
use crate::uplink::{BudgetStatus, DownlinkPartition, DownlinkStatus, LinkStatus, UplinkStatus};

/// A status that has one of everything, under names that want to be escaped.
fn full() -> GatewayStatus {
    let odd = "a\\b\"c\nd";
    let topic = |name: String| TopicFigures {
        name,
        accepted: Amount { records: 9, bytes: 90 },
        retained: Amount { records: 4, bytes: 40 },
        lost: BTreeMap::from([("evicted".to_owned(), Amount { records: 5, bytes: 50 })]),
        followed_by: vec![Follower { uplink: "centre".to_owned(), lag_records: 2, ..Follower::default() }],
        ..TopicFigures::default()
    };
    let flash = FlashFigures { day_budget_bytes: Some(5), life_used_percent: vec![10, 20], ..FlashFigures::default() };
    let budget = Some(BudgetStatus { used_bytes: 1, limit_bytes: 2, ..BudgetStatus::default() });
    let loss = Loss { uplink: "centre".to_owned(), reason: "evicted".to_owned(), records: 3, ..Loss::default() };
    GatewayStatus {
        gateway: odd.to_owned(),
        labels: BTreeMap::from([("site".to_owned(), odd.to_owned())]),
        time_ms: 5_000,
        topics: (0..TOPICS_MAX + 2).map(|n| topic(format!("t{n:03}"))).collect(),
        groups: vec![GroupFigures { name: odd.to_owned(), state: "Stable".to_owned(), members: 2 }],
        certificates: vec![CertificateFigures {
            of: "listen.kafka.tls".to_owned(),
            not_after_ms: Some(4_000),
            ..CertificateFigures::default()
        }],
        store: StoreFigures { flash, ..StoreFigures::default() },
        uplinks: vec![UplinkStatus {
            name: "centre".to_owned(),
            oldest_unforwarded_ms: Some(3_500),
            drain_s: Some(1),
            full_s: Some(2),
            link: LinkStatus { budget, shut: Some("schedule".to_owned()), ..LinkStatus::default() },
            ..UplinkStatus::default()
        }],
        downlinks: vec![DownlinkStatus {
            name: "down".to_owned(),
            partitions: vec![DownlinkPartition { lag: Some(4), ..DownlinkPartition::default() }],
            ..DownlinkStatus::default()
        }],
        losses: vec![loss.clone(), loss, Loss { reason: "evicted".to_owned(), records: 7, ..Loss::default() }],
        metrics: METRICS.readings().iter().map(|reading| (reading.name.to_owned(), reading.value)).collect(),
        ..GatewayStatus::default()
    }
}

/// A sample: labels and value.
type Sample = (BTreeMap<String, String>, f64);

/// Reads the format as its documentation has it, and panics at anything else.
fn read(text: &str) -> BTreeMap<String, (String, Vec<Sample>)> {
    let mut families: BTreeMap<String, (String, Vec<Sample>)> = BTreeMap::new();
    let mut lines = text.lines().peekable();
    assert!(text.ends_with('\n'));
    while let Some(help) = lines.next() {
        let (name, said) = help.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
        assert!(said.ends_with('.'), "{help}");
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
        assert!(matches!(kind, "counter" | "gauge"));
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (labels, value) = labels(line.strip_prefix(name).unwrap().strip_prefix('{').unwrap());
            samples.push((labels, value.strip_prefix(' ').unwrap().parse().unwrap()));
        }
        let all: BTreeSet<_> = samples.iter().map(|(labels, _)| labels.clone()).collect();
        assert!(!samples.is_empty() && all.len() == samples.len(), "{name}: twice the same labels, or none");
        assert!(families.insert(name.to_owned(), (kind.to_owned(), samples)).is_none(), "{name} twice");
    }
    families
}

fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut found = BTreeMap::new();
    let mut rest = text;
    loop {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        );
        let (mut out, mut chars) = (String::new(), value.char_indices());
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => out.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c => {
                        assert!(matches!(c, '\\' | '"'));
                        c
                    }
                }),
                (_, c) => out.push(c),
            }
        };
        assert!(found.insert(name.to_owned(), out).is_none());
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (found, rest.strip_prefix('}').unwrap()),
        }
    }
}

#[test]
fn it_is_what_prometheus_reads() {
    let status = full();
    let families = read(&text(&status));
    assert_eq!(families.len(), FAMILIES.len(), "a full status has a sample of each");
    for (name, (_, samples)) in &families {
        for (labels, _) in samples {
            assert_eq!(labels["gateway"], status.gateway, "{name}");
        }
    }
    let value = |name: &str, label: &str, value: &str| {
        let mut found = families[name].1.iter().filter(|(labels, _)| labels.get(label).is_some_and(|is| is == value));
        let (_, figure) = found.next().unwrap();
        assert!(found.next().is_none());
        *figure
    };
    assert_eq!(families["brooklet_gateway_label"].1[0].0["value"], status.gateway);
    assert_eq!(value("brooklet_topic_accepted_records_total", "topic", "t000"), 9.0);
    assert_eq!(value("brooklet_topic_accepted_records_total", "topic", OTHERS), 18.0);
    assert_eq!(families["brooklet_topic_lost_records_total"].1.len(), TOPICS_MAX + 1);
    assert_eq!(value("brooklet_ledger_records", "uplink", "centre"), 6.0);
    assert_eq!(value("brooklet_uplink_oldest_age_seconds", "uplink", "centre"), 1.5);
    assert_eq!(value("brooklet_certificate_remaining_seconds", "of", "listen.kafka.tls"), -1.0);
    assert_eq!(value("brooklet_card_life_used_ratio", "part", "b"), 0.2);
    assert_eq!(value("brooklet_uplink_state", "state", "connecting"), 1.0);
    assert_eq!(value("brooklet_downlink_lag_records", "downlink", "down"), 4.0);
}

#[test]
fn names_are_as_prometheus_wants_them() {
    for family in FAMILIES {
        let name = family.name;
        assert!(name.starts_with("brooklet_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
        for unit in ["_ms", "_s", "_kib", "_percent", "_minutes", "_kb"] {
            assert!(!name.ends_with(unit) && !name.contains(&format!("{unit}_")), "{name}: base units only");
        }
    }
}

#[test]
fn whatever_is_counted_is_exported() {
    // The first is the sum of its protocols; certificates and life are told one by one.
    let otherwise = ["records_in", "tls_expires_in_s", "card_life_used_percent"];
    let mut exported: Vec<&str> = otherwise.to_vec();
    for family in FAMILIES {
        match &family.source {
            Source::One(figure) => exported.push(figure),
            Source::By(_, figures) => exported.extend(figures.iter().map(|(_, figure)| figure)),
            Source::Of(..) => {}
        }
    }
    for reading in METRICS.readings() {
        assert_eq!(exported.iter().filter(|figure| **figure == reading.name).count(), 1, "{}", reading.name);
    }
    assert_eq!(exported.len(), METRICS.readings().len(), "one is not counted at all");
}

#[test]
fn whatever_is_exported_is_documented() {
    let mut list = String::new();
    for family in FAMILIES {
        let labels = match &family.source {
            Source::One(_) => String::new(),
            Source::By(label, figures) => {
                format!("`{label}` ({})", figures.iter().map(|(value, _)| *value).collect::<Vec<_>>().join(", "))
            }
            Source::Of(labels, _) => labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", "),
        };
        let kind = if family.kind == Kind::Counter { "counter" } else { "gauge" };
        list.push_str(&format!("| `{}` | {kind} | {labels} | {} |\n", family.name, family.help));
    }
    let document = include_str!("../../../METRICS.md");
    let (_, rows) = document.split_once("|---|---|---|---|\n").unwrap();
    if !rows.starts_with(&list) || rows[list.len()..].starts_with('|') {
        let fresh = std::env::temp_dir().join("brooklet-metrics-table.md");
        std::fs::write(&fresh, &list).unwrap();
        panic!("the table in METRICS.md is not this one: {}", fresh.display());
    }
}

/// Names of metrics in a text that uses them.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("brooklet_")).collect()
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let dashboard = include_str!("../../../package/grafana/brooklet.json");
    let json: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    assert!(json["panels"].as_array().is_some_and(|panels| panels.len() > 10));
    let known: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    let used = named(dashboard);
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(used.len() > 25);
    // A counter is asked for by its rate or increase, a gauge is not.
    for target in json["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        let ask = target["expr"].as_str().unwrap();
        for name in named(ask) {
            assert_eq!(
                name.ends_with("_total"),
                ask.contains(&format!("rate({name}")) || ask.contains(&format!("increase({name}")),
                "{ask}"
            );
        }
    }
}

/// Every field that the page reads is one of the status.
#[test]
fn the_page_reads_what_there_is() {
    let page = include_str!("../../web/page.html");
    let json = |status: GatewayStatus| serde_json::from_str::<serde_json::Value>(&status.to_json()).unwrap();
    let mut status = full();
    status.left_off.insert("topics".to_owned(), 1);
    status.uplinks[0].history.push(Default::default());
    let status = json(status);
    let roots = [
        ("s", status.clone()),
        ("u", status["uplinks"][0].clone()),
        ("d", status["downlinks"][0].clone()),
        ("t", status["topics"][0].clone()),
        ("l", status["losses"][0].clone()),
        ("g", status["groups"][0].clone()),
        ("c", status["certificates"][0].clone()),
        ("h", status["uplinks"][0]["history"][0].clone()),
        ("f", {
            let mut both = status["store"]["flash"].clone();
            both.as_object_mut().unwrap().extend(status["topics"][0]["followed_by"][0].as_object().unwrap().clone());
            both
        }),
        ("q", status["mqtt_clients"].clone()),
        ("link", status["uplinks"][0]["link"].clone()),
        ("budget", status["uplinks"][0]["link"]["budget"].clone()),
    ];
    let script = page.split_once("<script>").unwrap().1;
    let mut checked = 0;
    for (root, value) in &roots {
        for (at, _) in script.match_indices(&format!("{root}.")) {
            let before = script[..at].chars().next_back().unwrap();
            if before.is_ascii_alphanumeric() || matches!(before, '_' | '.' | '$' | '"') {
                continue;
            }
            let path =
                script[at + root.len() + 1..].split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.'));
            let mut inside = value;
            for field in path.take(1).flat_map(|path| path.split('.')) {
                // Methods of JavaScript's own lists end a path.
                if matches!(field, "" | "length" | "filter" | "map" | "join" | "slice") || !inside.is_object() {
                    break;
                }
                let place = || script[at..].chars().take(40).collect::<String>();
                inside = inside.get(field).unwrap_or_else(|| panic!("{field} is no field of the status: {}", place()));
                checked += 1;
            }
        }
    }
    assert!(checked > 80, "{checked}: is the page written otherwise?");
    let figures: BTreeSet<&str> = METRICS.readings().iter().map(|reading| reading.name).collect();
    for ask in ["m(\"", "speed(\""] {
        for (at, _) in script.match_indices(ask) {
            let name = script[at + ask.len()..].split('"').next().unwrap();
            let is_whole = !name.ends_with('_');
            assert!(!is_whole || name == "commits" || figures.contains(name), "{name} is not counted");
        }
    }
    for name in ["lost_evicted", "records_out_native", "records_in_native", "bytes_out_mqtt"] {
        assert!(figures.contains(name), "{name}");
    }
}
