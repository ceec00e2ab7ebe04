//! Whether a downlink could work, step by step, and what to do where it could not. Asks for nothing but what it would read.

use std::sync::Arc;
use std::time::Duration;

use crate::executor::Executor;

use super::super::check::{Finding, Findings, Severity, reach};
use super::super::link::cluster::{Cluster, TopicState};
use super::super::link::dial::Dialer;
use super::{DownlinkOptions, verdict};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use crate::kafka::header::read_response;
use crate::kafka::list_offsets::{
    LATEST, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

/// Checks what `options` say. Ends at the first step that makes the following ones pointless.
pub async fn check_downlink(options: &DownlinkOptions) -> Vec<Finding> {
    let executor = Arc::new(Executor::new());
    executor.run(examine(&executor, options)).await
}

async fn examine(executor: &Arc<Executor>, options: &DownlinkOptions) -> Vec<Finding> {
    let (config, mut findings) = (&options.config, Findings::default());
    let dialer = Dialer::calling(executor, options.calling(Duration::ZERO), &Arc::default());
    if !reach(&config.bootstrap, &dialer, &mut findings).await {
        return findings.0;
    }
    let mut cluster = Cluster::new(dialer, config.bootstrap.clone());
    let topics = options.topics();
    if let Err(error) = cluster.refresh(&topics).await {
        findings.add(Severity::Fail, "metadata", error);
        return findings.0;
    }
    for topic in &topics {
        self::topic(options, &mut cluster, topic, &mut findings).await;
    }
    findings.0
}

async fn topic(options: &DownlinkOptions, cluster: &mut Cluster, topic: &Arc<str>, findings: &mut Findings) {
    let local = match options.local_name(topic) {
        Ok(local) => local,
        Err(why) => return findings.add(Severity::Fail, "topics", why),
    };
    let leaders = match cluster.topic(topic) {
        Some(TopicState::Known(leaders)) => leaders.clone(),
        Some(TopicState::Failed(code)) => {
            let text = format!("{topic}: {}{}", verdict::explain(*code), commands(*code, topic));
            return findings.add(Severity::Fail, "topics", text);
        }
        None => {
            return findings.add(Severity::Fail, "topics", format_args!("{topic}: the cluster says nothing about it"));
        }
    };
    let text = format!("{topic} ({} partitions) comes to {local} from {}", leaders.len(), options.config.from);
    findings.add(Severity::Ok, "topics", text);
    if cluster.topic_id(topic) == [0; 16] {
        let text = format!("{topic}: the cluster tells no topic ids: that it is made again there would not be noticed");
        findings.add(Severity::Warn, "topics", text);
    }
    let Some((index, node)) = leaders.iter().enumerate().find_map(|(at, leader)| Some((at as i32, (*leader)?))) else {
        return findings.add(Severity::Warn, "read", format_args!("{topic}: no partition has a leader now"));
    };
    match read(cluster, node, topic, index).await {
        Ok(0) => findings.add(Severity::Ok, "read", format_args!("{topic} may be read")),
        Ok(code) => {
            let text = format!("{topic}: {}{}", verdict::explain(code), commands(code, topic));
            findings.add(Severity::Fail, "read", text);
        }
        Err(why) => findings.add(Severity::Fail, "read", format_args!("{topic}: {why}")),
    }
}

/// The command that gives what is missing, where a right is.
fn commands(code: i16, topic: &str) -> String {
    if code != ErrorCode::TopicAuthorizationFailed.code() {
        return String::new();
    }
    format!(
        "; kafka-acls --bootstrap-server HOST:PORT --add --allow-principal User:NAME --operation Read --operation \
         Describe --topic {topic}"
    )
}

/// Tries to read at the end of a partition. The error code, 0 for none.
async fn read(cluster: &mut Cluster, node: i32, topic: &str, index: i32) -> Result<i16, String> {
    let link = cluster.link(node).await.map_err(|error| error.to_string())?;
    let partition = ListOffsetsPartition { partition_index: index, timestamp: LATEST, ..Default::default() };
    let asked = ListOffsetsTopic { name: topic, partitions: vec![partition] };
    let request = ListOffsetsRequest { topics: vec![asked], ..Default::default() };
    let end = link.ask(&request, |version, frame| {
        let (_, response) = read_response::<ListOffsetsResponse<'_>>(version, frame)?;
        let told = response.topics.first().and_then(|topic| topic.partitions.first());
        Ok(told.map(|told| (told.error_code, told.offset)))
    });
    let (code, end) = end.await.map_err(|error| error.to_string())?.ok_or("ListOffsets tells nothing")?;
    if code != 0 {
        return Ok(code);
    }
    let partition =
        FetchPartition { partition: index, fetch_offset: end, partition_max_bytes: 1, ..Default::default() };
    let asked = FetchTopic { topic, partitions: vec![partition] };
    let request = FetchRequest { max_bytes: 1, isolation_level: 1, topics: vec![asked], ..Default::default() };
    let told = link.ask(&request, |version, frame| {
        let (_, response) = read_response::<FetchResponse<'_>>(version, frame)?;
        let told = response.responses.first().and_then(|topic| topic.partitions.first());
        Ok(told.map_or(response.error_code, |told| told.error_code))
    });
    let code = told.await.map_err(|error| error.to_string())?;
    Ok(code)
}
