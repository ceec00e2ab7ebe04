//! Samples of topics, groups, sessions and the ledger.

use super::{OTHERS, Samples, TOPICS_MAX, sums};
use crate::gateway::status::{GatewayStatus, TopicFigures};

pub(super) fn mqtt_sessions(status: &GatewayStatus, out: &mut Samples<'_>) {
    out.add(&[("state", "connected")], status.mqtt_clients.connected as f64);
    out.add(&[("state", "waiting")], status.mqtt_clients.waiting as f64);
}

pub(super) fn groups(status: &GatewayStatus, out: &mut Samples<'_>) {
    for (state, count) in sums(status.groups.iter().map(|group| (group.state.as_str(), 1))) {
        out.add(&[("state", state)], count as f64);
    }
}

pub(super) fn segments(status: &GatewayStatus, out: &mut Samples<'_>) {
    let store = &status.store;
    for (state, count) in [
        ("whole", store.segments.saturating_sub(store.damaged_segments)),
        ("unreadable", store.damaged_segments),
        ("taken-out", store.quarantined_segments),
    ] {
        out.add(&[("state", state)], count as f64);
    }
}

pub(super) fn card_life(status: &GatewayStatus, out: &mut Samples<'_>) {
    for (part, used) in ["a", "b"].into_iter().zip(&status.store.flash.life_used_percent) {
        out.add(&[("part", part)], f64::from(*used) / 100.0);
    }
}

pub(super) fn ledger(status: &GatewayStatus, out: &mut Samples<'_>) {
    let mut by_uplink = std::collections::BTreeMap::<(&str, &str), u64>::new();
    for loss in status.losses.iter().filter(|loss| !loss.uplink.is_empty()) {
        *by_uplink.entry((&loss.uplink, &loss.reason)).or_default() += loss.records;
    }
    for ((uplink, reason), records) in by_uplink {
        out.add(&[("uplink", uplink), ("reason", reason)], records as f64);
    }
}

pub(super) fn accepted(status: &GatewayStatus, out: &mut Samples<'_>) {
    each(status, out, |topic| topic.accepted.records);
}

pub(super) fn retained_records(status: &GatewayStatus, out: &mut Samples<'_>) {
    each(status, out, |topic| topic.retained.records);
}

pub(super) fn retained_bytes(status: &GatewayStatus, out: &mut Samples<'_>) {
    each(status, out, |topic| topic.retained.bytes);
}

/// A sample a topic, in the order of their names.
fn each(status: &GatewayStatus, out: &mut Samples<'_>, figure: fn(&TopicFigures) -> u64) {
    let (named, others) = status.topics.split_at(status.topics.len().min(TOPICS_MAX));
    named.iter().for_each(|topic| out.add(&[("topic", &topic.name)], figure(topic) as f64));
    if !others.is_empty() {
        out.add(&[("topic", OTHERS)], others.iter().map(figure).sum::<u64>() as f64);
    }
}

pub(super) fn lost(status: &GatewayStatus, out: &mut Samples<'_>) {
    let (named, others) = status.topics.split_at(status.topics.len().min(TOPICS_MAX));
    let lost = |topics: &'_ [TopicFigures]| {
        let pairs =
            topics.iter().flat_map(|topic| &topic.lost).map(|(reason, amount)| (reason.clone(), amount.records));
        pairs.fold(std::collections::BTreeMap::<String, u64>::new(), |mut sums, (reason, records)| {
            *sums.entry(reason).or_default() += records;
            sums
        })
    };
    let mut told = |topic: &str, topics: &[TopicFigures]| {
        for (reason, records) in lost(topics) {
            out.add(&[("topic", topic), ("reason", &reason)], records as f64);
        }
    };
    named.iter().for_each(|topic| told(&topic.name, std::slice::from_ref(topic)));
    told(OTHERS, others);
}
