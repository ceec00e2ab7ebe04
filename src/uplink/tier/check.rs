//! `uplink check` of an uplink to another gateway. Asks for topics, and writes nothing.

use std::sync::Arc;

use super::line::Line;
use super::topics::{ask, described};
use crate::broker::Topic;
use crate::frame::ErrorCode;
use crate::uplink::batches::partitioning::{self, Local};
use crate::uplink::beacon;
use crate::uplink::check::{Findings, Severity, names};
use crate::uplink::link::dial::Dialer;
use crate::uplink::options::UplinkOptions;

/// See [`crate::uplink::check`]. `None`: something stands in the way of all further steps.
pub(in crate::uplink) async fn examine(
    dialer: Dialer,
    options: &UplinkOptions,
    topics: &[Arc<Topic>],
    findings: &mut Findings,
) -> Option<()> {
    let mut line = None;
    for address in &options.config.bootstrap {
        match Line::open(&dialer, address, &options.gateway).await {
            Ok(opened) => {
                let greeting = opened.greeting();
                let (version, gateway) = (greeting.version, &greeting.gateway);
                let own = *gateway == options.gateway;
                let text = format!("{address} is gateway {gateway}, native protocol {version}");
                findings.add(Severity::Ok, "versions", text);
                if own {
                    let text = format!("{gateway} is this gateway's id too: give each gateway.id its own value");
                    findings.add(Severity::Fail, "gateway", text);
                }
                line = Some(opened);
                break;
            }
            Err(error) => findings.add(Severity::Fail, "versions", error),
        }
    }
    let line = line?;
    findings.add(Severity::Ok, "exactly", "exactly once, by what the gateway upstream keeps of each partition");
    for (id, (topic, name)) in (1..).zip(self::names(options, topics, findings)) {
        self::topic(&line, id, options, topic, &name, findings).await;
    }
    if let Some(name) = options.config.status.as_deref() {
        status_topic(&line, options, name, findings).await;
    }
    Some(())
}

/// The topic that is told how this gateway is. Nothing else depends on it.
async fn status_topic(line: &Line, options: &UplinkOptions, name: &str, findings: &mut Findings) {
    let Ok(reply) = ask(line, u32::MAX, name) else { return };
    let (severity, text) = match described(reply).await {
        Ok(Ok(_)) => (Severity::Ok, format!("{name} is told how this gateway is")),
        Ok(Err((ErrorCode::UnknownTopic, _))) if options.config.create_topics => {
            (Severity::Ok, format!("{name} is missing upstream and will be created"))
        }
        Ok(Err((ErrorCode::UnknownTopic, _))) => (Severity::Warn, beacon::missing(name)),
        Ok(Err((code, text))) => (Severity::Warn, format!("{name}: {code}: {text}")),
        Err(error) => (Severity::Warn, format!("{name}: {error}")),
    };
    findings.add(severity, "status", text);
}

async fn topic(line: &Line, id: u32, options: &UplinkOptions, local: &Topic, name: &str, findings: &mut Findings) {
    let answer = match ask(line, id, name) {
        Ok(reply) => described(reply).await,
        Err(error) => Err(error),
    };
    let (partitions, limits) = match answer {
        Ok(Ok(found)) => found,
        Ok(Err((ErrorCode::UnknownTopic, _))) if options.config.create_topics => {
            return findings.add(
                Severity::Ok,
                "topics",
                format_args!("{name} is missing upstream and will be created"),
            );
        }
        Ok(Err((ErrorCode::UnknownTopic, _))) => {
            let text = format!("{name} is missing upstream: create it there, or set create_topics for this uplink");
            return findings.add(Severity::Fail, "topics", text);
        }
        Ok(Err((code, text))) => return findings.add(Severity::Fail, "topics", format_args!("{name}: {code}: {text}")),
        Err(error) => return findings.add(Severity::Fail, "topics", format_args!("{name}: {error}")),
    };
    let first = Local { index: 0, count: local.partition_count() };
    match partitioning::route(options.config.partitioning, &options.gateway, first, partitions) {
        Ok(_) => {
            let text = format!("{} ({} partitions) goes to {name} ({partitions})", local.name, first.count);
            findings.add(Severity::Ok, "topics", text);
        }
        Err(error) => findings.add(Severity::Fail, "topics", format_args!("{name}: {error}")),
    }
    let (ours, theirs) = (local.config.max_message_bytes, limits.max_message_bytes);
    if ours > theirs {
        let text = format!(
            "{name}: max.message.bytes is {theirs} upstream and {ours} here: larger batches are cut, larger records become \
             dead letters"
        );
        findings.add(Severity::Warn, "limits", text);
    }
}
