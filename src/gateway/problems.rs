//! What of a gateway's status somebody should look at, in words: what is wrong, what it means, what to do.
//!
//! Pure, and the one place where that is said: the command line, the page and the JSON all have it from here.

use std::collections::BTreeMap;

use super::status::{CertificateFigures, ConfigFigures, GatewayStatus, Loss, StoreFigures, TopicFigures};
use crate::calendar::format_time;
use crate::human::{counted, human_bytes, human_count, human_seconds};
use crate::uplink::{DownlinkStatus, LastError, LinkChange, UplinkState, UplinkStatus};

/// Partitions that are named with a problem.
const NAMED_MAX: usize = 6;
/// A link that is down for less is about to be tried again.
const DOWN_MS_MIN: i64 = 60_000;
/// A store that is full sooner than that by what waits for an uplink is worth a word.
const FULL_S_MAX: u64 = 24 * 3_600;

/// Losses that are older are no news.
const LOST_MS_MAX: i64 = 24 * 3_600_000;

/// What someone should look at, what cannot wait first.
#[must_use]
pub fn of(status: &GatewayStatus) -> Vec<String> {
    let mut problems = Vec::new();
    of_store(&status.store, &mut problems);
    for uplink in &status.uplinks {
        problems.extend(link(uplink, status.time_ms));
        problems.extend(stalls(uplink));
        problems.extend(lost(uplink, status));
        problems.extend(untold(uplink));
    }
    for downlink in &status.downlinks {
        problems.extend(downlink_down(downlink, status.time_ms));
        problems.extend(downlink_stalls(downlink));
    }
    problems.extend(certificates(&status.certificates));
    of_config(&status.config, &mut problems);
    problems.extend(unfollowed(status));
    problems
}

/// Topics that no uplink takes, where there are uplinks.
fn unfollowed(status: &GatewayStatus) -> Option<String> {
    // What comes down is not meant to go up.
    let comes_down = |name: &str| {
        let partitions = status.downlinks.iter().flat_map(|downlink| &downlink.partitions);
        partitions.into_iter().any(|partition| partition.local_topic == name)
    };
    let is_left = |topic: &&TopicFigures| !topic.internal && topic.followed_by.is_empty() && !comes_down(&topic.name);
    let left: Vec<&str> = status.topics.iter().filter(is_left).map(|topic| topic.name.as_str()).collect();
    let is = !left.is_empty() && !status.uplinks.is_empty();
    is.then(|| format!("{} without an uplink that follows: {}", counted(left.len() as u64, "topic"), some(&left)))
}

/// The first of these names, and how many more there are.
fn some<T: AsRef<str>>(names: &[T]) -> String {
    let mut named = names.iter().take(NAMED_MAX).map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    if names.len() > NAMED_MAX {
        named.push_str(&format!(" and {} more", names.len() - NAMED_MAX));
    }
    named
}

fn of_store(store: &StoreFigures, problems: &mut Vec<String>) {
    if let Some(why) = &store.stopped {
        let again = store.not_reopened.as_ref().map(|why| format!(": {why}"));
        let again = again.unwrap_or_default();
        problems.push(format!("the store has stopped: {why}; it opens its files again as soon as that works{again}"));
    }
    if let Some(why) = &store.refused {
        problems.push(format!("new records are refused: {why}"));
    }
    if let Some(why) = &store.reserve_failure {
        problems.push(format!("store.preallocate has not claimed all the room there could be: {why}"));
    }
    if store.damaged_segments > 0 {
        let count = counted(store.damaged_segments, "segment");
        problems.push(format!("{count} cannot be read; stop the gateway and run `brooklet fsck`"));
    }
    if store.quarantined_segments > 0 {
        let count = counted(store.quarantined_segments, "damaged file");
        problems.push(format!(
            "{count} taken out of the store (.bad); what was lost is in the loss ledger, of state.bad in the log"
        ));
    }
    let flash = &store.flash;
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
}

fn of_config(config: &ConfigFigures, problems: &mut Vec<String>) {
    if let Some(since_ms) = config.refused_since_ms {
        let (since, why) = (format_time(since_ms), config.refused.join("; "));
        problems.push(format!("the configuration on disk is refused since {since}: {why}; the one before holds"));
    }
    if !config.waiting_for_restart.is_empty() {
        let keys = some(&config.waiting_for_restart);
        let adopt = match config.waiting_for_restart.iter().any(|key| key == "gateway.id") {
            true => "; a gateway of another name takes `brooklet adopt` first",
            false => "",
        };
        problems.push(format!("changes of the configuration wait for a restart: {keys}{adopt}"));
    }
}

/// How long a link is down, and why, if that is worth a word.
fn down(history: &[LinkChange], error: Option<&LastError>, now_ms: i64) -> Option<String> {
    let down = history.last().filter(|change| change.link == "down")?;
    let ms = now_ms.saturating_sub(down.at_ms);
    let why = error.map_or(String::new(), |error| format!(" ({})", error.text));
    (ms >= DOWN_MS_MIN).then(|| format!("{}{why}", human_seconds(ms.unsigned_abs() / 1_000)))
}

/// A downlink that has no link.
fn downlink_down(downlink: &DownlinkStatus, now_ms: i64) -> Option<String> {
    let down = down(&downlink.history, downlink.last_error.as_ref(), now_ms)?;
    Some(format!("downlink {} has had no link for {down}: nothing comes down", downlink.name))
}

/// An uplink that has no link, or may not use it, and what becomes of what waits.
fn link(uplink: &UplinkStatus, now_ms: i64) -> Option<String> {
    let name = &uplink.name;
    let down = down(&uplink.history, uplink.last_error.as_ref(), now_ms);
    let mut text = match uplink.state {
        _ if down.is_some() => {
            format!("uplink {name} has had no link for {}: records wait here", down.unwrap_or_default())
        }
        UplinkState::Paused => format!("uplink {name} is paused: `brooklet uplink resume {name}` lets it go on"),
        UplinkState::Fenced => format!(
            "uplink {name} has stopped: another gateway of the same id forwards; give each its own gateway.id, then \
             `brooklet uplink resume {name}`"
        ),
        UplinkState::Diverged => format!(
            "uplink {name} waits: the store and what upstream has of it differ; `brooklet uplink status {name}` says how"
        ),
        _ => return None,
    };
    if let Some(s) = uplink.full_s.filter(|s| uplink.lag_records > 0 && *s <= FULL_S_MAX) {
        text.push_str(&format!("; they fill the store in {} at this rate, then the oldest go", human_seconds(s)));
    }
    Some(text)
}

/// What stands in an uplink's way, each reason once with the partitions it holds up.
#[must_use]
pub fn stalls(uplink: &UplinkStatus) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for stall in &uplink.stalls {
        by_reason.entry(&stall.why).or_default().push(format!("{}/{}", stall.topic, stall.partition));
    }
    let one = |(why, partitions): (&str, Vec<String>)| {
        format!("uplink {} is held up: {}: {why}", uplink.name, some(&partitions))
    };
    by_reason.into_iter().map(one).collect()
}

/// Records that went before this uplink had forwarded them, for a day after the last of them.
fn lost(uplink: &UplinkStatus, status: &GatewayStatus) -> Option<String> {
    // What is kept apart, was passed over by an operator, or has a newer one in its place has not merely gone.
    let gone = |loss: &Loss| !matches!(loss.reason.as_str(), "dead-lettered" | "skipped" | "compacted");
    let is_new = |loss: &Loss| status.time_ms.saturating_sub(loss.time_ms) < LOST_MS_MAX;
    let fresh = |loss: &&Loss| loss.uplink == uplink.name && gone(loss) && is_new(loss);
    let lost = status.losses.iter().filter(fresh);
    let last_ms = lost.clone().map(|loss| loss.time_ms).max()?;
    let records = human_count(lost.map(|loss| loss.records).sum());
    let ago = human_seconds(status.time_ms.saturating_sub(last_ms).max(0).unsigned_abs() / 1_000);
    let name = &uplink.name;
    Some(format!(
        "uplink {name}: {records} records went before they were forwarded, the last {ago} ago (`brooklet losses`)"
    ))
}

/// The centre refuses to be told how this gateway is. A topic that is merely missing there is nobody's trouble.
fn untold(uplink: &UplinkStatus) -> Option<String> {
    let why = uplink.notices.refused.as_ref().filter(|_| uplink.notices.dropped > 0)?;
    Some(format!("uplink {}: the centre is not told how this gateway is: {why}", uplink.name))
}

/// The same of a downlink.
#[must_use]
pub fn downlink_stalls(downlink: &DownlinkStatus) -> Vec<String> {
    let topics = downlink.stalled.iter().map(|(topic, why)| format!("{topic}: {why}"));
    let partitions = downlink.partitions.iter().filter_map(|partition| {
        Some(format!("{}/{}: {}", partition.topic, partition.partition, partition.stalled.as_ref()?))
    });
    topics.chain(partitions).map(|what| format!("downlink {} is held up: {what}", downlink.name)).collect()
}

/// What has to be done about certificates.
#[must_use]
pub fn certificates(all: &[CertificateFigures]) -> Vec<String> {
    let mut problems = Vec::new();
    for figures in all {
        let of = &figures.of;
        if let Some(why) = &figures.failure {
            problems.push(format!("{of}: {why}; what was read before stays in use"));
        }
        if figures.expired {
            problems.push(format!("{of}: the certificate has expired: replace its files, no restart is needed"));
        } else if figures.expires_soon {
            let when = match figures.days_left.unwrap_or(0) {
                0 => "within a day".to_owned(),
                days => format!("in {}", counted(days.unsigned_abs(), "day")),
            };
            problems.push(format!("{of}: the certificate expires {when}: replace its files, no restart is needed"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_down_is_told_with_what_comes_of_it() {
        let mut uplink = UplinkStatus {
            name: "centre".to_owned(),
            state: UplinkState::Backoff,
            history: vec![LinkChange { at_ms: 1_000, link: "down".to_owned(), why: None }],
            lag_records: 7,
            full_s: Some(7_200),
            last_error: Some(LastError { text: "no route".to_owned(), at_ms: 0 }),
            ..UplinkStatus::default()
        };
        assert_eq!(link(&uplink, 60_999), None, "it may come back at once");
        let said = link(&uplink, 3_601_000).unwrap();
        assert!(said.contains("no link for 1 h 0 min (no route)") && said.contains("fill the store in 2 h"), "{said}");
        // One try of many is under way.
        uplink.state = UplinkState::Connecting;
        uplink.full_s = None;
        assert!(!link(&uplink, 3_601_000).unwrap().contains("fill"));
        uplink.history.clear();
        for (state, words) in [
            (UplinkState::Paused, "uplink resume centre"),
            (UplinkState::Fenced, "gateway.id"),
            (UplinkState::Diverged, "uplink status centre"),
        ] {
            uplink.state = state;
            assert!(link(&uplink, 0).unwrap().contains(words));
        }
        uplink.state = UplinkState::Forwarding;
        assert_eq!(link(&uplink, 1 << 40), None);
        let downlink = DownlinkStatus {
            name: "orders".to_owned(),
            history: vec![LinkChange { at_ms: 0, link: "down".to_owned(), why: None }],
            ..DownlinkStatus::default()
        };
        assert_eq!(downlink_down(&downlink, 59_999), None);
        let said = downlink_down(&downlink, 60_000).unwrap();
        assert_eq!(said, "downlink orders has had no link for 1 min 0 s: nothing comes down");
    }

    #[test]
    fn what_went_unforwarded_is_told_for_a_day() {
        let loss =
            |uplink: &str, time_ms, records| Loss { uplink: uplink.to_owned(), time_ms, records, ..Loss::default() };
        let losses =
            vec![loss("", 90_000_000, 1), loss("a", 80_000_000, 1_000), loss("b", 90_000_000, 1), loss("a", 0, 5)];
        let status = GatewayStatus { losses, time_ms: 90_060_000, ..GatewayStatus::default() };
        let uplink = |name: &str| UplinkStatus { name: name.to_owned(), ..UplinkStatus::default() };
        let said = lost(&uplink("a"), &status).unwrap();
        assert!(
            said.starts_with("uplink a: 1,000 records went before they were forwarded, the last 2 h 47 min"),
            "{said}"
        );
        assert_eq!(lost(&uplink("c"), &status), None);
    }

    #[test]
    fn topics_that_nobody_follows_are_named() {
        let topic = |n: u32| TopicFigures { name: format!("t{n}"), ..TopicFigures::default() };
        let mut status = GatewayStatus { topics: (0..8).map(topic).collect(), ..GatewayStatus::default() };
        assert_eq!(unfollowed(&status), None, "there is no uplink at all");
        status.uplinks.push(UplinkStatus::default());
        let said = unfollowed(&status).unwrap();
        assert_eq!(said, "8 topics without an uplink that follows: t0, t1, t2, t3, t4, t5 and 2 more");
    }
}
