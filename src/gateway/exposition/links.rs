//! Samples of uplinks and downlinks.

use super::Samples;
use crate::gateway::status::GatewayStatus;
use crate::uplink::{DownlinkState, DownlinkStatus, UplinkState, UplinkStatus};

/// A sample an uplink; none where the figure isn't known.
macro_rules! uplinks {
    ($($name:ident: $figure:expr;)*) => {
        $(pub(super) fn $name(status: &GatewayStatus, out: &mut Samples<'_>) {
            let figure: fn(&UplinkStatus) -> Option<u64> = $figure;
            uplinks(status, out, figure);
        })*
    };
}

macro_rules! downlinks {
    ($($name:ident: $figure:expr;)*) => {
        $(pub(super) fn $name(status: &GatewayStatus, out: &mut Samples<'_>) {
            let figure: fn(&DownlinkStatus) -> u64 = $figure;
            status.downlinks.iter().for_each(|link| out.add(&[("downlink", &link.name)], figure(link) as f64));
        })*
    };
}

uplinks! {
    up: |link| Some(u64::from(is_up(link.state)));
    lag_records: |link| Some(link.lag_records);
    lag_bytes: |link| Some(link.lag_bytes);
    drain: |link| link.drain_s;
    full: |link| link.full_s;
    stalled: |link| Some(link.stalls.len() as u64);
    records: |link| Some(link.counts.records);
    bytes: |link| Some(link.counts.bytes);
    batches: |link| Some(link.counts.batches);
    resends: |link| Some(link.counts.resends);
    producers_lost: |link| Some(link.counts.producers_lost);
    failures: |link| Some(link.counts.failures);
    wire_bytes: |link| Some(link.link.bytes_on_wire);
}

downlinks! {
    down_up: |link| u64::from(matches!(link.state, DownlinkState::CatchingUp | DownlinkState::CaughtUp | DownlinkState::Stalled));
    down_lag: |link| link.partitions.iter().filter_map(|partition| partition.lag).sum();
    down_records: |link| link.counts.records;
    down_bytes: |link| link.counts.bytes;
    down_failures: |link| link.counts.failures;
}

fn uplinks(status: &GatewayStatus, out: &mut Samples<'_>, figure: fn(&UplinkStatus) -> Option<u64>) {
    for link in &status.uplinks {
        out.maybe(&[("uplink", &link.name)], figure(link).map(|value| value as f64));
    }
}

fn is_up(state: UplinkState) -> bool {
    matches!(state, UplinkState::Forwarding | UplinkState::CaughtUp | UplinkState::Stalled)
}

pub(super) fn state(status: &GatewayStatus, out: &mut Samples<'_>) {
    const STATES: [(UplinkState, &str); 9] = [
        (UplinkState::Connecting, "connecting"),
        (UplinkState::Forwarding, "forwarding"),
        (UplinkState::CaughtUp, "caught-up"),
        (UplinkState::Paused, "paused"),
        (UplinkState::Backoff, "backoff"),
        (UplinkState::Stalled, "stalled"),
        (UplinkState::Fenced, "fenced"),
        (UplinkState::Diverged, "diverged"),
        (UplinkState::Stopped, "stopped"),
    ];
    for link in &status.uplinks {
        for (state, word) in STATES {
            out.add(&[("uplink", &link.name), ("state", word)], f64::from(u8::from(link.state == state)));
        }
    }
}

pub(super) fn oldest_age(status: &GatewayStatus, out: &mut Samples<'_>) {
    for link in &status.uplinks {
        let age = link.oldest_unforwarded_ms.map_or(0, |at| status.time_ms.saturating_sub(at).max(0));
        out.add(&[("uplink", &link.name)], age as f64 / 1_000.0);
    }
}

/// Two figures of an uplink, each with what a second label calls it.
type Pair = [(&'static str, Option<u64>); 2];

/// Samples that a second label tells apart.
fn apart(status: &GatewayStatus, out: &mut Samples<'_>, label: &str, figures: fn(&UplinkStatus) -> Pair) {
    for link in &status.uplinks {
        for (value, figure) in figures(link) {
            out.maybe(&[("uplink", &link.name), (label, value)], figure.map(|value| value as f64));
        }
    }
}

pub(super) fn adapted(status: &GatewayStatus, out: &mut Samples<'_>) {
    apart(status, out, "how", |link| {
        [("cut", Some(link.counts.cuts)), ("shifted", Some(link.counts.timestamps_shifted))]
    });
}

pub(super) fn lost(status: &GatewayStatus, out: &mut Samples<'_>) {
    apart(status, out, "reason", |link| {
        [("evicted", Some(link.counts.evicted)), ("dead-lettered", Some(link.counts.dead_lettered))]
    });
}

pub(super) fn notices(status: &GatewayStatus, out: &mut Samples<'_>) {
    apart(status, out, "result", |link| [("sent", Some(link.notices.sent)), ("dropped", Some(link.notices.dropped))]);
}

pub(super) fn link_bytes(status: &GatewayStatus, out: &mut Samples<'_>) {
    apart(status, out, "direction", |link| {
        [("sent", Some(link.link.bytes_sent)), ("received", Some(link.link.bytes_received))]
    });
}

pub(super) fn budget(status: &GatewayStatus, out: &mut Samples<'_>) {
    apart(status, out, "part", |link| {
        let budget = link.link.budget;
        [("used", budget.map(|budget| budget.used_bytes)), ("limit", budget.map(|budget| budget.limit_bytes))]
    });
}

pub(super) fn shut(status: &GatewayStatus, out: &mut Samples<'_>) {
    for link in &status.uplinks {
        if let Some(reason) = &link.link.shut {
            out.add(&[("uplink", &link.name), ("reason", reason)], 1.0);
        }
    }
}
