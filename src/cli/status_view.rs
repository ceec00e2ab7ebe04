//! A gateway's status for people: what they look for first comes first, what is wrong is said in words.

use std::{collections::BTreeMap, time::Duration};

use super::{certificates, downlink, table::Table, topic::followers, when};
use crate::{
    gateway::{
        problems,
        status::{GatewayStatus, Loss, StoreFigures},
    },
    human::{counted, human_bytes, human_count, human_duration, human_seconds},
    uplink::{LinkChange, LinkStatus, UplinkState, UplinkStatus},
};

const BAR_CELLS: u64 = 20;
/// Changes of a link that are shown to who watches.
const CHANGES_MAX: usize = 4;
/// Longest text of an error in a table, characters.
const ERROR_CHARS_MAX: usize = 60;
/// Rows of a table; what is beyond is counted.
const ROWS_MAX: usize = 200;

/// Everything a person needs. `earlier` is an earlier status of the same gateway: then rates are of the time between.
pub(super) fn render(status: &GatewayStatus, earlier: Option<&GatewayStatus>) -> String {
    let up = human_seconds(status.uptime_s);
    let mut out = format!("gateway      {}, Brooklet {}, up {up}\n", status.gateway, status.version);
    for problem in problems::of(status) {
        out.push_str(&format!("problem      {problem}\n"));
    }
    out.push_str(&summary(status, earlier));
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

/// The same for who watches: and how far each uplink is, and what its link was.
pub(super) fn watched(status: &GatewayStatus, earlier: Option<&GatewayStatus>) -> String {
    let mut out = render(status, earlier);
    for uplink in &status.uplinks {
        out.push_str(&format!("\nuplink {}\n{}", uplink.name, backlog(uplink, status.time_ms)));
        out.push_str(&changes(&uplink.history, status.time_ms));
    }
    for downlink in &status.downlinks {
        out.push_str(&format!("\ndownlink {}\n{}", downlink.name, changes(&downlink.history, status.time_ms)));
    }
    out
}

/// What a link was, the latest first, a line each.
pub(super) fn changes(history: &[LinkChange], now_ms: i64) -> String {
    let line = |change: &LinkChange| {
        let why = change.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        let ago = human_seconds(now_ms.saturating_sub(change.at_ms).max(0).unsigned_abs() / 1_000);
        format!("link {} {ago} ago{why}\n", change.link)
    };
    history.iter().rev().take(CHANGES_MAX).map(line).collect()
}

/// The least in one line: rates, what waits, how full the store is, the links, and how much there is to look at.
pub(super) fn line(status: &GatewayStatus, earlier: Option<&GatewayStatus>) -> String {
    let rate = |names: &[&str]| {
        let figure = |status: &GatewayStatus| -> i64 {
            names.iter().filter_map(|name| status.metrics.get(*name)).fold(0, |sum, value| sum.saturating_add(*value))
        };
        let Some(earlier) = earlier else { return "-".to_owned() };
        let ms = status.time_ms.saturating_sub(earlier.time_ms).max(1);
        format!("{:.1}/s", figure(status).saturating_sub(figure(earlier)).max(0) as f64 * 1_000.0 / ms as f64)
    };
    let waits: u64 = status.uplinks.iter().map(|uplink| uplink.lag_records).sum();
    let oldest =
        status.uplinks.iter().filter(|uplink| uplink.lag_records > 0).filter_map(|uplink| uplink.oldest_unforwarded_ms);
    let age = oldest.min().map_or(String::new(), |at| {
        format!(" ({} old)", human_seconds(status.time_ms.saturating_sub(at).max(0).unsigned_abs() / 1_000))
    });
    let links: String =
        status.uplinks.iter().map(|uplink| format!(", {} {}", uplink.name, state(uplink, status.time_ms))).collect();
    let full = u128::from(status.store.disk_bytes) * 100 / u128::from(status.store.max_bytes.max(1));
    format!(
        "{} in {}, out {}, forwarded {}, {} wait{age}, store {full} %{links}, {}",
        when::format_time(status.time_ms),
        rate(&["records_in"]),
        rate(&["records_out_native", "records_out_kafka", "mqtt_delivered"]),
        rate(&["uplink_records"]),
        human_count(waits),
        counted(problems::of(status).len() as u64, "problem"),
    )
}

fn summary(status: &GatewayStatus, earlier: Option<&GatewayStatus>) -> String {
    let store = &status.store;
    let mut out = String::new();
    if !status.labels.is_empty() {
        let labels: Vec<_> = status.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        out.push_str(&format!("labels       {}\n", labels.join(", ")));
    }
    if status.draining {
        let pending: u64 = status.uplinks.iter().map(|uplink| uplink.lag_records).sum();
        let pending = human_count(pending);
        out.push_str(&format!(
            "draining     no new records are taken until `brooklet drain --end` or a restart; {pending} to forward\n"
        ));
    }
    let trust = if status.time_trusted { "trusted" } else { "not trusted: records it stamps may bear a wrong time" };
    out.push_str(&format!("clock        {}, {trust}\n", when::format_time(status.time_ms)));
    let [native, kafka, mqtt, http] = [
        (&status.native, &status.native_tls),
        (&status.kafka, &status.kafka_tls),
        (&status.mqtt, &status.mqtt_tls),
        (&status.http, &status.http_tls),
    ]
    .map(|(plain, tls)| match (plain, tls) {
        (Some(address), _) => address.as_str(),
        (None, Some(_)) => "by TLS",
        (None, None) => "off",
    });
    let websocket = status.websocket.as_ref().map(|at| format!(", WebSocket {at}")).unwrap_or_default();
    out.push_str(&format!("listens      native {native}, Kafka {kafka}, MQTT {mqtt}{websocket}, HTTP {http}\n"));
    out.push_str(&certificates::lines(status));
    let config = &status.config;
    if config.generation > 0 {
        let since = when::format_time(config.loaded_ms);
        let waiting = match config.waiting_for_restart.len() as u64 {
            0 => String::new(),
            count => format!("; waiting for a restart: {}", counted(count, "change")),
        };
        out.push_str(&format!("config       number {} of this run, since {since}{waiting}\n", config.generation));
    }
    let (used, most) = (human_bytes(store.disk_bytes), human_bytes(store.max_bytes));
    let segments = format!("{} of {}", counted(store.segments, "segment"), human_bytes(store.segment_bytes));
    out.push_str(&format!("disk         {} {used} of {most}, {segments}\n", bar(store.disk_bytes, store.max_bytes)));
    // Gateways of before told none.
    if store.format.newest > 0 {
        out.push_str(&format!("written in   {}\n", store.format.text()));
    }
    let figure = |name: &str| status.metrics.get(name).copied().unwrap_or(0).max(0).unsigned_abs();
    let before = |name: &str| earlier.and_then(|earlier| earlier.metrics.get(name)).copied().unwrap_or(0);
    // Without an earlier status all rates are means since the start.
    let ms = earlier.map_or(status.uptime_s.max(1) as i64 * 1_000, |earlier| status.time_ms - earlier.time_ms).max(1);
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
    out.push_str(&rights(&figure));
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

/// Who may do what, if that was ever said.
fn rights(figure: &dyn Fn(&str) -> u64) -> String {
    let (rules, users, denied) = (figure("acl_rules"), figure("users"), figure("denied"));
    let dry = match figure("acl_dry_run") {
        0 => String::new(),
        _ => format!("; not enforced (dry run): {} would have been refused", human_count(figure("denied_dry"))),
    };
    if rules + users + denied == 0 && dry.is_empty() {
        return String::new();
    }
    let (rules, users) = (counted(rules, "rule"), counted(users, "user"));
    format!("rights       {rules}, {users}; {} refused{dry}\n", human_count(denied))
}

/// What is written to the medium a day.
fn written(store: &StoreFigures) -> String {
    let flash = &store.flash;
    let counted = match flash.day_counted_s {
        86_000.. => "a day".to_owned(),
        less => human_seconds(less),
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
    const SHOWN: [&str; 15] = [
        "card_life_used_percent",
        "card_pre_eol",
        "connections_accepted",
        "connections_http",
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
        let ago = |ms: i64| human_seconds(now_ms.saturating_sub(ms).max(0).unsigned_abs() / 1_000);
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
    let ago = |ms: i64| human_seconds(now_ms.saturating_sub(ms).max(0).unsigned_abs() / 1_000);
    let mut out = uplink.since_ms.map_or(String::new(), |ms| format!("{} for {}\n", state(uplink, now_ms), ago(ms)));
    if uplink.lag_records > 0 {
        let (records, bytes) = (human_count(uplink.lag_records), human_bytes(uplink.lag_bytes));
        let oldest =
            uplink.oldest_unforwarded_ms.map_or(String::new(), |ms| format!(", the oldest from {} ago", ago(ms)));
        out.push_str(&format!("backlog: {records} records, {bytes}{oldest}\n"));
        let drain = match (uplink.drain_s, uplink.full_s) {
            (Some(s), _) => format!("through in {} at this rate", human_seconds(s)),
            (None, Some(s)) => format!("grows: it fills the store in {} at this rate", human_seconds(s)),
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
    fn that_it_is_drained_is_seen() {
        let mut drained = status();
        assert!(!render(&drained, None).contains("draining"));
        drained.draining = true;
        drained.uplinks.iter_mut().for_each(|uplink| uplink.lag_records = 12);
        assert!(render(&drained, None).contains("brooklet drain --end` or a restart; 12 to forward"));
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let earlier = status();
        let mut later = status();
        later.time_ms += 2_000;
        later.store.commits += 10;
        later.metrics.insert("records_in".to_owned(), 1_500);
        let text = render(&later, Some(&earlier));
        assert!(line(&later, Some(&earlier)).contains("in 250.0/s, out 0.0/s, forwarded 0.0/s, 0 wait"));
        assert!(line(&later, None).contains("in -, out -") && line(&later, None).contains("store 50 %, centre down"));
        assert!(watched(&later, None).contains("uplink centre\n"));
        assert!(text.contains("210 (5.0/s)") && text.contains("1,500 in (250.0/s)"), "{text}");
    }

    #[test]
    fn a_bar_never_overflows() {
        assert_eq!(bar(300, 100).matches('#').count(), BAR_CELLS as usize);
        assert!(bar(u64::MAX, 0).contains('%'));
    }
}
