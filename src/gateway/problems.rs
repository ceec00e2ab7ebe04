//! What of a gateway's status somebody should look at, in words: what is wrong, what it means, what to do.
//!
//! Pure, and the one place where that is said: the command line, the page and the JSON all have it from here.

use std::collections::BTreeMap;

use super::status::{CertificateFigures, ConfigFigures, GatewayStatus, StoreFigures, TopicFigures};
use crate::calendar::format_time;
use crate::human::{counted, human_bytes, human_seconds};
use crate::uplink::{DownlinkStatus, UplinkState, UplinkStatus};

/// Partitions that are named with a problem.
const NAMED_MAX: usize = 6;
/// A link that is down for less is about to be tried again.
const DOWN_MS_MIN: i64 = 60_000;
/// A store that is full sooner than that by what waits for an uplink is worth a word.
const FULL_S_MAX: u64 = 24 * 3_600;

/// What someone should look at, what cannot wait first.
#[must_use]
pub fn of(status: &GatewayStatus) -> Vec<String> {
    let mut problems = Vec::new();
    of_store(&status.store, &mut problems);
    problems.extend(certificates(&status.certificates));
    of_config(&status.config, &mut problems);
    for uplink in &status.uplinks {
        problems.extend(link(uplink, status.time_ms));
        problems.extend(stalls(uplink));
        problems.extend(untold(uplink));
    }
    status.downlinks.iter().for_each(|downlink| problems.extend(downlink_stalls(downlink)));
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

fn of_store(store: &StoreFigures, problems: &mut Vec<String>) {
    if let Some(why) = &store.stopped {
        let again = store.not_reopened.as_ref().map(|why| format!(": {why}"));
        let again = again.unwrap_or_default();
        problems.push(format!("the store has stopped: {why}; it opens its files again as soon as that works{again}"));
    }
    if let Some(why) = &store.reserve_failure {
        problems.push(format!("store.preallocate has not claimed all the room there could be: {why}"));
    }
    if store.damaged_segments > 0 {
        let count = counted(store.damaged_segments, "segment");
        problems.push(format!("{count} cannot be read; stop the gateway and run `brooklet fsck`"));
    }
    if store.quarantined_segments > 0 {
        let count = counted(store.quarantined_segments, "damaged segment");
        problems.push(format!("{count} taken out of the store (files .bad); what was lost is in the loss ledger"));
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
        let mut keys = config.waiting_for_restart.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = config.waiting_for_restart.len().saturating_sub(NAMED_MAX);
        if more > 0 {
            keys.push_str(&format!(" and {more} more"));
        }
        let adopt = match config.waiting_for_restart.iter().any(|key| key == "gateway.id") {
            true => "; a gateway of another name takes `brooklet adopt` first",
            false => "",
        };
        problems.push(format!("changes of the configuration wait for a restart: {keys}{adopt}"));
    }
}

/// An uplink that has no link, or may not use it, and what becomes of what waits.
fn link(uplink: &UplinkStatus, now_ms: i64) -> Option<String> {
    let name = &uplink.name;
    let down = uplink.history.last().filter(|change| change.link == "down");
    let down_ms = down.map_or(0, |change| now_ms.saturating_sub(change.at_ms));
    let mut text = match uplink.state {
        _ if down_ms >= DOWN_MS_MIN => {
            let why = uplink.last_error.as_ref().map_or(String::new(), |error| format!(" ({})", error.text));
            let time = human_seconds(down_ms.unsigned_abs() / 1_000);
            format!("uplink {name} has had no link for {time}{why}: records wait here")
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
        let mut named = partitions.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        if partitions.len() > NAMED_MAX {
            named.push_str(&format!(" and {} more", partitions.len() - NAMED_MAX));
        }
        format!("uplink {} is held up: {named}: {why}", uplink.name)
    };
    by_reason.into_iter().map(one).collect()
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
            let days = figures.days_left.unwrap_or(0);
            problems
                .push(format!("{of}: the certificate expires in {days} days: replace its files, no restart is needed"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::{LastError, LinkChange};

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
    }
}
