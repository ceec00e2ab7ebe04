//! `uplink check`: whether an uplink could work, step by step, and what to do where it could not. Sends nothing but questions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::executor::Executor;

use super::batches::partitioning::{self, Local};
use super::exactly;
use super::link::cluster::{Cluster, ClusterError, TopicLimits, TopicState};
use super::link::dial::{self, Dialer};
use super::naming;
use super::options::UplinkOptions;
use super::rights;
use super::sending::verdict::remedy;
use super::tier;
use super::upkeep::explain;
use crate::broker::Topic;
use crate::config::{Delivery, HostPort, UplinkProtocol, format_duration};
use crate::kafka::error_code::{ErrorCode, Shown};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, but not as someone may expect.
    Warn,
    /// It does not work.
    Fail,
}

/// One line of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// What was looked at: `dns`, `connect`, `versions`, …
    pub what: &'static str,
    /// What was found, and what to do if it isn't `Ok`.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Ok => "ok  ",
            Severity::Warn => "warn",
            Severity::Fail => "FAIL",
        };
        write!(f, "{severity}  {:<9} {}", self.what, self.text)
    }
}

/// The findings so far.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, severity: Severity, what: &'static str, text: impl fmt::Display) {
        self.0.push(Finding { severity, what, text: text.to_string() });
    }
}

/// Checks what `options` say, for these local topics (those it doesn't follow are passed over). `time_known`: whether the
/// gateway's wall clock is to be believed. Ends at the first step that makes the following ones pointless.
pub async fn check(options: &UplinkOptions, topics: &[Arc<Topic>], time_known: bool) -> Vec<Finding> {
    let executor = Arc::new(Executor::new());
    let examined = async {
        let mut findings = Findings::default();
        let dialer = Dialer::new(&executor, options, &Arc::default());
        if reach(&options.config.bootstrap, &dialer, &mut findings).await {
            let through = match options.config.protocol {
                UplinkProtocol::Brooklet => tier::examine(dialer, options, topics, &mut findings).await,
                UplinkProtocol::Kafka => examine(dialer, options, topics, &mut findings).await,
            };
            if through.is_some() {
                clock(options, time_known, &mut findings);
            }
        }
        findings.0
    };
    executor.run(examined).await
}

/// `None`: something stands in the way of all further steps.
async fn examine(
    dialer: Dialer,
    options: &UplinkOptions,
    topics: &[Arc<Topic>],
    findings: &mut Findings,
) -> Option<()> {
    let mut cluster = Cluster::new(dialer, options.config.bootstrap.clone());
    let names = names(options, topics, findings);
    let upstream: Vec<Arc<str>> = names.iter().map(|(_, name)| Arc::clone(name)).collect();
    let metadata = cluster.refresh(&upstream).await;
    metadata.map_err(|error| findings.add(Severity::Fail, "metadata", error)).ok()?;
    speak(&mut cluster, findings).await;
    brokers(&mut cluster, findings).await;
    let limits = cluster.limits(&upstream).await;
    let limits = limits.map_err(|error| findings.add(Severity::Fail, "topics", error)).ok()?;
    for ((topic, name), limits) in names.iter().zip(limits) {
        self::topic(options, &cluster, topic, name, &limits, findings);
    }
    rights(options, &mut cluster, &upstream, findings).await;
    Some(())
}

/// What the uplink's user may do there, and whether there are transactions.
async fn rights(options: &UplinkOptions, cluster: &mut Cluster, topics: &[Arc<str>], findings: &mut Findings) {
    match rights::on_topics(cluster, topics).await {
        Ok(found) => found.into_iter().for_each(|(severity, text)| findings.add(severity, "rights", text)),
        Err(error) => findings.add(Severity::Warn, "rights", error),
    }
    if let Some(topic) = options.config.status.as_deref() {
        match rights::on_status(cluster, topic.into(), options.config.create_topics).await {
            Ok(found) => found.into_iter().for_each(|(severity, text)| findings.add(severity, "status", text)),
            Err(error) => findings.add(Severity::Warn, "status", error),
        }
    }
    let wanted = options.config.delivery == Delivery::ExactlyOnce;
    match rights::transactions(cluster, &exactly::id(options), wanted).await {
        Ok(found) => found.into_iter().for_each(|(severity, text)| findings.add(severity, "exactly", text)),
        Err(error) => findings.add(Severity::Warn, "exactly", error),
    }
}

/// Names and ports. Whether any bootstrap broker can be reached.
pub(super) async fn reach(bootstrap: &[HostPort], dialer: &Dialer, findings: &mut Findings) -> bool {
    let mut reached = false;
    for address in bootstrap {
        let candidates = match dial::resolve(address).await {
            Ok(candidates) => candidates,
            Err(error) => {
                findings.add(Severity::Fail, "dns", format_args!("{error}: check the name and the gateway's resolver"));
                continue;
            }
        };
        let shown: Vec<String> = candidates.iter().map(|candidate| candidate.ip().to_string()).collect();
        findings.add(Severity::Ok, "dns", format_args!("{} is {}", address.host, shown.join(", ")));
        match dialer.knock(address).await {
            Ok(()) => {
                findings.add(Severity::Ok, "connect", format_args!("{address} accepts connections"));
                match dialer.shake(address).await {
                    Ok(with) => {
                        reached = true;
                        with.into_iter().for_each(|with| findings.add(Severity::Ok, "tls", with));
                    }
                    Err(error) => findings.add(Severity::Fail, "tls", error),
                }
            }
            Err(error) => {
                findings.add(Severity::Fail, "connect", format_args!("{error}: check port, firewall and route"));
            }
        }
    }
    reached
}

/// Local topics that are followed, and their names upstream.
pub(super) fn names<'t>(
    options: &UplinkOptions,
    topics: &'t [Arc<Topic>],
    findings: &mut Findings,
) -> Vec<(&'t Arc<Topic>, Arc<str>)> {
    let follows = naming::follows(options);
    let mut names = Vec::new();
    for topic in topics.iter().filter(|topic| follows(topic)) {
        match naming::upstream_name(options, &topic.name) {
            Ok(name) => names.push((topic, name)),
            Err(why) => findings.add(Severity::Fail, "topics", format_args!("{}: {why}", topic.name)),
        }
    }
    if names.is_empty() {
        findings.add(Severity::Warn, "topics", "no topic here is followed by this uplink (yet)");
    }
    names
}

/// Versions, and the right to produce idempotently.
async fn speak(cluster: &mut Cluster, findings: &mut Findings) {
    match cluster.versions() {
        Some(versions) if versions.contains("none") => {
            findings.add(
                Severity::Fail,
                "versions",
                format_args!("{versions}: brokers from Apache Kafka 2.1 on are needed"),
            );
        }
        Some(versions) => findings.add(Severity::Ok, "versions", versions),
        None => findings.add(Severity::Fail, "versions", "no broker told what it speaks"),
    }
    match cluster.new_identity().await {
        Ok(_) => findings.add(Severity::Ok, "producer", "idempotent producing is allowed"),
        Err(ClusterError::Refused { code, .. }) => findings.add(Severity::Fail, "producer", explain(code, "")),
        Err(error) => findings.add(Severity::Fail, "producer", error),
    }
}

/// Every broker must be reachable from here by the address it advertises.
async fn brokers(cluster: &mut Cluster, findings: &mut Findings) {
    for (node, address) in cluster.brokers().clone() {
        match cluster.link(node).await {
            Ok(_) => findings.add(Severity::Ok, "brokers", format_args!("broker {node} is reached at {address}")),
            Err(error) => findings.add(
                Severity::Fail,
                "brokers",
                format_args!("broker {node} advertises {address}, which can't be reached from here: {error}"),
            ),
        }
    }
}

fn topic(
    options: &UplinkOptions,
    cluster: &Cluster,
    local: &Topic,
    name: &str,
    limits: &TopicLimits,
    findings: &mut Findings,
) {
    let partitions = match cluster.topic(name) {
        Some(TopicState::Known(leaders)) => leaders.len() as u32,
        Some(TopicState::Failed(code)) if is_missing(*code) && options.config.create_topics => {
            return findings.add(
                Severity::Ok,
                "topics",
                format_args!("{name} is missing upstream and will be created"),
            );
        }
        Some(TopicState::Failed(code)) => {
            let text = format!("{name}: {}: {}", Shown(*code), remedy(*code));
            return findings.add(Severity::Fail, "topics", text);
        }
        None => {
            return findings.add(Severity::Fail, "topics", format_args!("{name}: the cluster says nothing about it"));
        }
    };
    let count = local.partition_count();
    let first = Local { index: 0, count };
    match partitioning::route(options.config.partitioning, &options.gateway, first, partitions) {
        Ok(_) => {
            let text = format!("{} ({} partitions) goes to {name} ({partitions})", local.name, count);
            findings.add(Severity::Ok, "topics", text);
        }
        Err(error) => findings.add(Severity::Fail, "topics", format_args!("{name}: {error}")),
    }
    settings(local, name, limits, findings);
}

fn is_missing(code: i16) -> bool {
    code == ErrorCode::UnknownTopicOrPartition.code()
}

fn settings(local: &Topic, name: &str, limits: &TopicLimits, findings: &mut Findings) {
    if !limits.told {
        let text = format!("{name}: its settings may not be read (DESCRIBE_CONFIGS): Kafka's defaults are assumed");
        return findings.add(Severity::Warn, "limits", text);
    }
    let (ours, theirs) = (local.config.max_message_bytes, limits.max_message_bytes);
    if ours > theirs {
        let text = format!(
            "{name}: max.message.bytes is {theirs} upstream and {ours} here: larger batches are cut, larger records refused (see refuse_too_large)"
        );
        findings.add(Severity::Warn, "limits", text);
    } else {
        findings.add(Severity::Ok, "limits", format_args!("{name}: batches up to {theirs} bytes"));
    }
    if let Some(ahead) = limits.ahead_max.filter(|ahead| *ahead < Duration::from_secs(24 * 3_600)) {
        let text =
            format!("{name}: timestamps more than {} s ahead of the broker's clock are shifted", ahead.as_secs());
        findings.add(Severity::Ok, "clock", text);
    }
    if let Some(behind) = limits.behind_max {
        let text = format!(
            "{name}: upstream takes no timestamps older than {} s: a longer backlog is shifted in time; raise \
             message.timestamp.before.max.ms",
            behind.as_secs()
        );
        findings.add(Severity::Warn, "clock", text);
    }
    if limits.cleanup_policy.as_deref().is_some_and(|policy| policy.contains("compact")) {
        let text = format!("{name}: it is compacted upstream, which takes no records without key");
        findings.add(Severity::Warn, "limits", text);
    }
    if let Some(codec) = limits.compression_type.as_deref().filter(|codec| *codec != "producer") {
        let text = format!("{name}: compression.type = {codec} makes brokers recompress what passes through unchanged");
        findings.add(Severity::Warn, "limits", text);
    }
}

/// Neither Kafka nor the native protocol compares clocks: only whether this one is believed here is known.
fn clock(options: &UplinkOptions, time_known: bool, findings: &mut Findings) {
    if time_known {
        return findings.add(Severity::Ok, "clock", "the gateway knows the time");
    }
    let wait = format_duration(options.config.clock_wait);
    let text = format!(
        "the gateway does not know the time yet: what it stamps meanwhile waits up to {wait} for it (clock_wait), and may bear \
         a wrong time after that; NTP makes it known, and clock.trust says when the clock is believed"
    );
    findings.add(Severity::Warn, "clock", text);
}
