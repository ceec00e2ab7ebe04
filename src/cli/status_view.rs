//! A gateway's status for people: what they look for first comes first, what is wrong is said in words.

use std::{collections::BTreeMap, time::Duration};

use super::{
    certificates, downlink,
    table::Table,
    term::{human_bytes, human_count, human_duration},
    topic::followers,
    when,
};
use crate::{
    gateway::status::{GatewayStatus, Loss, StoreFigures, TopicFigures},
    uplink::{LinkStatus, UplinkState, UplinkStatus},
};

const BAR_CELLS: u64 = 20;
/// Longest text of an error in a table, characters.
const ERROR_CHARS_MAX: usize = 60;
/// Rows of a table; what is beyond is counted.
const ROWS_MAX: usize = 200;
/// Partitions that are named with a problem.
const NAMED_MAX: usize = 6;

/// Everything a person needs. `earlier` is an earlier status of the same gateway: then rates are of the time between.
pub(super) fn render(status: &GatewayStatus, earlier: Option<&GatewayStatus>) -> String {
    let mut out = summary(status, earlier);
    for problem in problems(status) {
        out.push_str(&format!("problem      {problem}\n"));
    }
    out.push('\n');
    out.push_str(&topics(status));
    if !status.uplinks.is_empty() {
        out.push('\n');
        out.push_str(&uplinks(&status.uplinks, status.time_ms));
    }
    if !status.downlinks.is_empty() {
        out.push('\n');
        out.push_str(&downlink::table(&status.downlinks, status.time_ms));
    }
    let unforwarded: Vec<&Loss> = status.losses.iter().filter(|loss| !loss.uplink.is_empty()).collect();
    if !unforwarded.is_empty() {
        out.push('\n');
        out.push_str(&losses(&unforwarded));
    }
    out
}

fn summary(status: &GatewayStatus, earlier: Option<&GatewayStatus>) -> String {
    let store = &status.store;
    let up = seconds(status.uptime_s);
    let mut out = format!("gateway      {}, Brooklet {}, up {up}\n", status.gateway, status.version);
    if !status.labels.is_empty() {
        let labels: Vec<_> = status.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        out.push_str(&format!("labels       {}\n", labels.join(", ")));
    }
    let trust = if status.time_trusted { "trusted" } else { "not trusted: records it stamps may bear a wrong time" };
    out.push_str(&format!("clock        {}, {trust}\n", when::format_time(status.time_ms)));
    let address = |address: &Option<String>| address.clone().unwrap_or_else(|| "off".to_owned());
    let [native, kafka, mqtt] = [&status.native, &status.kafka, &status.mqtt].map(address);
    let websocket = status.websocket.as_ref().map(|at| format!(", WebSocket {at}")).unwrap_or_default();
    out.push_str(&format!("listens      native {native}, Kafka {kafka}, MQTT {mqtt}{websocket}\n"));
    out.push_str(&certificates::lines(status));
    let (used, most) = (human_bytes(store.disk_bytes), human_bytes(store.max_bytes));
    let segments = format!("{} of {}", counted(store.segments, "segment"), human_bytes(store.segment_bytes));
    out.push_str(&format!("disk         {} {used} of {most}, {segments}\n", bar(store.disk_bytes, store.max_bytes)));
    let figure = |name: &str| status.metrics.get(name).copied().unwrap_or(0).max(0).unsigned_abs();
    let before = |name: &str| earlier.and_then(|earlier| earlier.metrics.get(name)).copied().unwrap_or(0);
    // Without an earlier status all rates are means since the start.
    let ms = earlier.map_or(status.uptime_s as i64 * 1_000, |earlier| status.time_ms - earlier.time_ms).max(1);
    let rate = |now: u64, before: u64| format!("{:.1}/s", now.saturating_sub(before) as f64 * 1_000.0 / ms as f64);
    let counter_rate = |name: &str| rate(figure(name), before(name).unsigned_abs());
    let commits = rate(store.commits, earlier.map_or(0, |earlier| earlier.store.commits));
    out.push_str(&format!("commits      {} ({commits}), ", human_count(store.commits)));
    out.push_str(&format!("{} of batches, {} waiting\n", human_bytes(store.payload_bytes), store.queued_operations));
    out.push_str(&format!("written      {}\n", written(store)));
    let (records, forwarded) = (figure("records_in"), figure("uplink_records"));
    out.push_str(&format!("records      {} in ({}), ", human_count(records), counter_rate("records_in")));
    out.push_str(&format!("{} forwarded ({})\n", human_count(forwarded), counter_rate("uplink_records")));
    out.push_str(&format!(
        "connections  {} native, {} Kafka, {} MQTT; {} accepted, {} refused\n",
        figure("connections_native"),
        figure("connections_kafka"),
        figure("connections_mqtt"),
        human_count(figure("connections_accepted")),
        human_count(figure("connections_refused"))
    ));
    let mqtt = &status.mqtt_clients;
    if mqtt.waiting + mqtt.retained + mqtt.shares > 0 {
        let (sessions, retained) = (counted(mqtt.waiting, "session"), counted(mqtt.retained, "retained message"));
        let (shares, bytes) = (counted(mqtt.shares, "shared subscription"), human_bytes(mqtt.retained_bytes));
        out.push_str(&format!("MQTT         {sessions} waiting for their clients, {shares}, {retained} ({bytes})\n"));
    }
    let rest = others(&status.metrics);
    if !rest.is_empty() {
        out.push_str(&format!("counters     {rest}\n"));
    }
    out
}

/// What is written to the medium a day.
fn written(store: &StoreFigures) -> String {
    let flash = &store.flash;
    let counted = match flash.day_counted_s {
        86_000.. => "a day".to_owned(),
        less => seconds(less),
    };
    let mut out = format!("{} in {counted}", human_bytes(flash.day_bytes));
    if let Some(budget) = flash.day_budget_bytes {
        let percent = flash.day_bytes.saturating_mul(100) / budget.max(1);
        out.push_str(&format!(" ({percent}% of {}/day)", human_bytes(budget)));
    }
    if !flash.device.is_empty() {
        let kind = if flash.is_card { "card" } else { "device" };
        out.push_str(&format!(", {kind} {}: {} by all", flash.device, human_bytes(flash.day_device_bytes)));
    }
    if let Some(used) = flash.life_used_percent.iter().max() {
        out.push_str(&format!(", {used}% of its life used"));
    }
    if flash.commit_interval_ms > 0 {
        let interval = human_duration(Duration::from_millis(flash.commit_interval_ms));
        out.push_str(&format!(", a commit every {interval} at most"));
    }
    out
}

/// The counters that have no line of their own and are not zero.
fn others(metrics: &BTreeMap<String, i64>) -> String {
    const SHOWN: [&str; 14] = [
        "card_life_used_percent",
        "card_pre_eol",
        "connections_accepted",
        "connections_kafka",
        "connections_mqtt",
        "connections_native",
        "connections_refused",
        "device_bytes_written",
        "device_day_bytes",
        "flash_budget_unmet",
        "records_in",
        "store_bytes_written",
        "store_day_bytes",
        "uplink_records",
    ];
    let rest = metrics.iter().filter(|(name, value)| **value != 0 && !SHOWN.contains(&name.as_str()));
    let one =
        |(name, value): (&String, &i64)| format!("{} {}", name.replace('_', " "), human_count(value.unsigned_abs()));
    rest.map(one).collect::<Vec<_>>().join(", ")
}

/// What someone should look at.
fn problems(status: &GatewayStatus) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(why) = &status.store.stopped {
        let again = status.store.not_reopened.as_ref().map(|why| format!(": {why}"));
        let again = again.unwrap_or_default();
        problems.push(format!("the store has stopped: {why}; it opens its files again as soon as that works{again}"));
    }
    if let Some(why) = &status.store.reserve_failure {
        problems.push(format!("store.preallocate has not claimed all the room there could be: {why}"));
    }
    if status.store.damaged_segments > 0 {
        let count = counted(status.store.damaged_segments, "segment");
        problems.push(format!("{count} cannot be read; stop the gateway and run `brooklet fsck`"));
    }
    if status.store.quarantined_segments > 0 {
        let count = counted(status.store.quarantined_segments, "damaged segment");
        problems.push(format!("{count} taken out of the store (files .bad); what was lost is in the loss ledger"));
    }
    let flash = &status.store.flash;
    if let (true, Some(budget)) = (flash.budget_unmet, flash.day_budget_bytes) {
        problems.push(format!(
            "store.flash_budget of {}/day cannot be met: {} were written, and nothing is refused; raise \
             store.commit_interval_max or the budget",
            human_bytes(budget),
            human_bytes(flash.day_bytes)
        ));
    }
    if flash.pre_eol.is_some_and(|level| level > 1) || flash.life_used_percent.iter().any(|used| *used >= 100) {
        problems.push(format!("{} says that its life is nearly used up: replace it", flash.device));
    }
    problems.extend(certificates::problems(status));
    status.uplinks.iter().for_each(|uplink| problems.extend(stalls(uplink)));
    status.downlinks.iter().for_each(|downlink| problems.extend(downlink::stalls(downlink)));
    // What comes down is not meant to go up.
    let comes_down = |name: &str| {
        let partitions = status.downlinks.iter().flat_map(|downlink| &downlink.partitions);
        partitions.into_iter().any(|partition| partition.local_topic == name)
    };
    let is_left = |topic: &&TopicFigures| !topic.internal && topic.followed_by.is_empty() && !comes_down(&topic.name);
    let unfollowed = status.topics.iter().filter(is_left).count();
    if unfollowed > 0 && !status.uplinks.is_empty() {
        problems.push(format!("{} without an uplink that follows (see below)", counted(unfollowed as u64, "topic")));
    }
    problems
}

/// What stands in an uplink's way, each reason once with the partitions it holds up.
pub(super) fn stalls(uplink: &UplinkStatus) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for stall in &uplink.stalls {
        by_reason.entry(&stall.why).or_default().push(format!("{}/{}", stall.topic, stall.partition));
    }
    let one = |(why, partitions): (&str, Vec<String>)| {
        let mut named = partitions.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        if partitions.len() > NAMED_MAX {
            named.push_str(&format!(" and {} more", partitions.len() - NAMED_MAX));
        }
        format!("uplink {} is held up: {named}: {why}", uplink.name)
    };
    by_reason.into_iter().map(one).collect()
}

fn topics(status: &GatewayStatus) -> String {
    if status.topics.is_empty() {
        return "no topics yet\n".to_owned();
    }
    let mut table = Table::new(&["TOPIC", ">PARTITIONS", ">RECORDS", ">KEPT", "END", "FOLLOWED BY"]);
    for topic in status.topics.iter().take(ROWS_MAX) {
        // Heads one by one while they are few, else their sum.
        let ends: Vec<i64> = topic.partitions.iter().map(|partition| partition.high_watermark).collect();
        let end = match ends.as_slice() {
            few if few.len() <= 4 => few.iter().map(i64::to_string).collect::<Vec<_>>().join(" "),
            many => format!("{} in all", many.iter().sum::<i64>()),
        };
        table.row([
            topic.name.clone(),
            topic.partitions.len().to_string(),
            human_count(topic.records()),
            human_bytes(topic.bytes()),
            end,
            followers(topic),
        ]);
    }
    with_rest(table.render(), status.topics.len())
}

/// The uplinks, a row each.
pub(super) fn uplinks(uplinks: &[UplinkStatus], now_ms: i64) -> String {
    let mut table = Table::new(&["UPLINK", "STATE", ">BEHIND", ">OLDEST", ">FORWARDED", ">FAILURES", "LAST ERROR"]);
    for uplink in uplinks.iter().take(ROWS_MAX) {
        let ago = |ms: i64| seconds(now_ms.saturating_sub(ms).max(0).unsigned_abs() / 1_000);
        let error = uplink.last_error.as_ref().map_or(String::new(), |error| {
            let text: String = error.text.chars().take(ERROR_CHARS_MAX).collect();
            format!("{} ago: {text}", ago(error.at_ms))
        });
        table.row([
            uplink.name.clone(),
            state(uplink, now_ms),
            human_count(uplink.lag_records),
            uplink.oldest_unforwarded_ms.map_or("-".to_owned(), ago),
            human_count(uplink.counts.records),
            human_count(uplink.counts.failures),
            error,
        ]);
    }
    with_rest(table.render(), uplinks.len())
}

fn state(uplink: &UplinkStatus, now_ms: i64) -> String {
    match uplink.state {
        UplinkState::Connecting => "connecting".to_owned(),
        UplinkState::Forwarding => "forwarding".to_owned(),
        UplinkState::CaughtUp => "caught up".to_owned(),
        UplinkState::Paused => "paused".to_owned(),
        UplinkState::Backoff => match uplink.retry_at_ms.map(|at| at - now_ms).filter(|ms| *ms > 0) {
            Some(ms) => format!("down, again in {} s", (ms + 999) / 1_000),
            None => "down".to_owned(),
        },
        UplinkState::Stalled => format!("stalled ({})", uplink.stalls.len()),
        UplinkState::Fenced => "fenced".to_owned(),
        UplinkState::Diverged => "diverged".to_owned(),
        UplinkState::Stopped => "stopped".to_owned(),
    }
}

/// What waits, how fast it goes, when it will be through, and what the link takes: a line each.
pub(super) fn backlog(uplink: &UplinkStatus, now_ms: i64) -> String {
    let ago = |ms: i64| seconds(now_ms.saturating_sub(ms).max(0).unsigned_abs() / 1_000);
    let mut out = uplink.since_ms.map_or(String::new(), |ms| format!("{} for {}\n", state(uplink, now_ms), ago(ms)));
    if uplink.lag_records > 0 {
        let (records, bytes) = (human_count(uplink.lag_records), human_bytes(uplink.lag_bytes));
        let oldest =
            uplink.oldest_unforwarded_ms.map_or(String::new(), |ms| format!(", the oldest from {} ago", ago(ms)));
        out.push_str(&format!("backlog: {records} records, {bytes}{oldest}\n"));
        let drain = match (uplink.drain_s, uplink.full_s) {
            (Some(s), _) => format!("through in {} at this rate", seconds(s)),
            (None, Some(s)) => format!("grows: it fills the store in {} at this rate", seconds(s)),
            (None, None) => "not shrinking".to_owned(),
        };
        out.push_str(&format!("         {drain}\n"));
    }
    let a_second = |a_minute: u64| format!("{:.1}/s", a_minute as f64 / 60.0);
    out.push_str(&format!(
        "rate: {} records forwarded, {} come in; {} of batches a minute\n",
        a_second(uplink.forwarded_a_minute),
        a_second(uplink.committed_a_minute),
        human_bytes(uplink.forwarded_bytes_a_minute)
    ));
    out.push_str(&link(&uplink.link));
    out
}

/// What a link has taken, and what holds it back: a line or two.
pub(super) fn link(link: &LinkStatus) -> String {
    let (sent, received) = (human_bytes(link.bytes_sent), human_bytes(link.bytes_received));
    let mut out = format!("link: {sent} sent, {received} received");
    if let Some(rate) = link.rate_limit {
        out.push_str(&format!(", at most {}/s", human_bytes(rate)));
    }
    if let Some(budget) = &link.budget {
        let (used, limit) = (human_bytes(budget.used_bytes), human_bytes(budget.limit_bytes));
        out.push_str(&format!("; {used} of the budget of {limit} until {}", when::format_time(budget.renewed_at_ms)));
    }
    out.push('\n');
    if let Some(shut) = &link.shut {
        let why = match shut.as_str() {
            "budget" => "the budget is used up: all but urgent topics wait",
            "schedule" => "outside its schedule: all but urgent topics wait",
            "slow-start" => "after an outage, not all gateways begin at once: all wait",
            other => other,
        };
        let until = link.shut_until_ms.map_or(String::new(), |ms| format!(" until {}", when::format_time(ms)));
        out.push_str(&format!("{why}{until}\n"));
    }
    out
}

fn losses(losses: &[&Loss]) -> String {
    let mut table = Table::new(&["LOST TO", "TOPIC", ">PARTITION", ">RECORDS", "OFFSETS", "REASON", "WHEN"]);
    for loss in losses.iter().take(ROWS_MAX) {
        table.row([
            loss.uplink.clone(),
            loss.topic.clone().unwrap_or_else(|| "(deleted)".to_owned()),
            loss.partition.map_or("-".to_owned(), |partition| partition.to_string()),
            human_count(loss.records),
            format!("{}-{}", loss.first_offset, loss.last_offset),
            loss.reason.clone(),
            when::format_time(loss.time_ms),
        ]);
    }
    with_rest(table.render(), losses.len())
}

fn with_rest(mut table: String, rows: usize) -> String {
    if rows > ROWS_MAX {
        table.push_str(&format!("… and {} more; --json shows all\n", rows - ROWS_MAX));
    }
    table
}

/// Whole seconds and more, for people.
fn seconds(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds} s") } else { human_duration(Duration::from_secs(seconds)) }
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", human_count(count), if count == 1 { "" } else { "s" })
}

/// `[####····]  42 %`
fn bar(used: u64, most: u64) -> String {
    let percent = (u128::from(used) * 100 / u128::from(most.max(1))) as u64;
    let full = (percent.min(100) * BAR_CELLS).div_ceil(100) as usize;
    format!("[{}{}] {percent} %", "#".repeat(full), "·".repeat(BAR_CELLS as usize - full))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::status::{Follower, PartitionFigures, StoreFigures, TopicFigures};
    use crate::uplink::{LastError, StallStatus};

    fn status() -> GatewayStatus {
        let topic = |name: &str, followed_by: Vec<Follower>| TopicFigures {
            name: name.to_owned(),
            followed_by,
            partitions: vec![PartitionFigures { high_watermark: 1_200, ..PartitionFigures::default() }],
            ..TopicFigures::default()
        };
        GatewayStatus {
            gateway: "gw-1".to_owned(),
            uptime_s: 100,
            time_ms: 1_000_000,
            store: StoreFigures { disk_bytes: 50, max_bytes: 100, commits: 200, ..StoreFigures::default() },
            topics: vec![
                topic("humidity", vec![]),
                topic("temp", vec![Follower { uplink: "centre".to_owned(), lag_records: 7, ..Follower::default() }]),
            ],
            uplinks: vec![UplinkStatus {
                name: "centre".to_owned(),
                state: UplinkState::Backoff,
                retry_at_ms: Some(1_004_200),
                last_error: Some(LastError { text: "no route".to_owned(), at_ms: 940_000 }),
                stalls: vec![StallStatus {
                    topic: "temp".to_owned(),
                    why: "too large".to_owned(),
                    ..Default::default()
                }],
                ..UplinkStatus::default()
            }],
            losses: vec![Loss { uplink: "centre".to_owned(), records: 5, last_offset: 4, ..Loss::default() }],
            metrics: BTreeMap::from([("records_in".to_owned(), 1_000), ("protocol_errors".to_owned(), 3)]),
            ..GatewayStatus::default()
        }
    }

    #[test]
    fn a_person_finds_what_they_look_for() {
        let text = render(&status(), None);
        for expected in [
            "[##########··········] 50 %",
            "200 (2.0/s)",
            "1,000 in (10.0/s)",
            "protocol errors 3",
            "no uplink",
            "centre (7 behind)",
            "down, again in 5 s",
            "1 min 0 s ago: no route",
            "uplink centre is held up: temp/0: too large",
            "1 topic without an uplink that follows",
            "not trusted",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let earlier = status();
        let mut later = status();
        later.time_ms += 2_000;
        later.store.commits += 10;
        later.metrics.insert("records_in".to_owned(), 1_500);
        let text = render(&later, Some(&earlier));
        assert!(text.contains("210 (5.0/s)") && text.contains("1,500 in (250.0/s)"), "{text}");
    }

    #[test]
    fn a_bar_never_overflows() {
        assert_eq!(bar(300, 100).matches('#').count(), BAR_CELLS as usize);
        assert!(bar(u64::MAX, 0).contains('%'));
    }
}
