//! What the uplink's user may do upstream, as far as brokers tell it, and the commands that give what is missing.
//!
//! Asks only: nothing is written, and no producer is fenced.

use std::sync::Arc;

use super::check::Severity;
use super::link::cluster::{Cluster, ClusterError};
use crate::kafka::api::ApiKey;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::read_response;
use crate::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

/// Operations on a topic by their numbers in Kafka (`AclOperation`), as kafka-acls calls them, and what comes without them.
const OPERATIONS: [(u32, &str, Severity, &str); 3] = [
    (4, "Write", Severity::Fail, "nothing can be forwarded to it"),
    (8, "Describe", Severity::Fail, "its partitions can't be seen"),
    (10, "DescribeConfigs", Severity::Warn, "its size limit can't be seen, Kafka's default is assumed"),
];
/// A broker says this where it tells nothing of rights.
const UNTOLD: i32 = i32::MIN;
/// What a transactional producer needs of a broker.
const TRANSACTIONS: [ApiKey; 4] =
    [ApiKey::AddPartitionsToTxn, ApiKey::AddOffsetsToTxn, ApiKey::TxnOffsetCommit, ApiKey::EndTxn];

/// What was found of one right.
pub(super) type Found = (Severity, String);

/// The rights on these topics upstream. Empty where the brokers are too old to tell (before Apache Kafka 2.3).
///
/// # Errors
/// [`ClusterError`].
pub(super) async fn on_topics(cluster: &mut Cluster, topics: &[Arc<str>]) -> Result<Vec<Found>, ClusterError> {
    let wanted = topics.iter().map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() }).collect();
    let request = MetadataRequest {
        topics: Some(wanted),
        allow_auto_topic_creation: false,
        include_topic_authorized_operations: true,
        ..Default::default()
    };
    let link = cluster.any_link().await?;
    let peer = link.connection.peer().to_owned();
    let told = link.ask(&request, |version, frame| {
        let (_, response) = read_response::<MetadataResponse<'_>>(version, frame)?;
        let each = response.topics.iter().filter_map(|topic| {
            let denied = topic.error_code == ErrorCode::TopicAuthorizationFailed.code();
            let bits = if denied { 0 } else { topic.topic_authorized_operations };
            let known = denied || topic.error_code == 0;
            Some((topic.name.filter(|_| known)?.to_owned(), bits))
        });
        Ok(each.collect::<Vec<_>>())
    });
    Ok(told.await?.iter().flat_map(|(topic, bits)| of_topic(&peer, topic, *bits)).collect())
}

/// What the bits of authorised operations on a topic mean.
fn of_topic(peer: &str, topic: &str, bits: i32) -> Vec<Found> {
    if bits == UNTOLD {
        return Vec::new();
    }
    let missing: Vec<_> = OPERATIONS.iter().filter(|(number, ..)| bits & (1 << number) == 0).collect();
    if missing.is_empty() {
        return vec![(Severity::Ok, format!("{topic}: may be written, described, and its settings read"))];
    }
    let finding = |(_, name, severity, without): &&(u32, &str, Severity, &str)| {
        let text = format!(
            "{topic}: {name} is not allowed: {without}; kafka-acls.sh --bootstrap-server {peer} --add \
             --allow-principal User:NAME --operation {name} --topic {topic}"
        );
        (*severity, text)
    };
    missing.iter().map(finding).collect()
}

/// Whether the cluster takes transactions: without them, delivery is at least once.
///
/// # Errors
/// [`ClusterError`].
pub(super) async fn transactions(cluster: &mut Cluster) -> Result<Found, ClusterError> {
    let link = cluster.any_link().await?;
    let missing: Vec<&str> =
        TRANSACTIONS.iter().filter(|api| link.versions.pick(**api).is_err()).map(|api| api.name()).collect();
    if missing.is_empty() {
        return Ok((Severity::Ok, "the cluster offers transactions".to_owned()));
    }
    let missing = missing.join(", ");
    Ok((
        Severity::Warn,
        format!(
            "the cluster offers no transactions ({missing}): delivery is \"at-least-once\" there; if it is a Brooklet, \
         protocol = \"brooklet\" and its native port (listen.native.addr) give exactly once"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_right_comes_with_its_command() {
        let all = 1 << 4 | 1 << 8 | 1 << 10;
        assert!(of_topic("k:1", "t", UNTOLD).is_empty());
        assert!(matches!(of_topic("k:1", "t", all).as_slice(), [(Severity::Ok, _)]));
        let found = of_topic("k:1", "t", 1 << 8);
        assert_eq!(found.iter().map(|(severity, _)| *severity).collect::<Vec<_>>(), [Severity::Fail, Severity::Warn]);
        let (_, text) = &found[0];
        assert!(
            text.ends_with(
                "kafka-acls.sh --bootstrap-server k:1 --add --allow-principal User:NAME --operation Write --topic t"
            ),
            "{text}"
        );
        assert_eq!(of_topic("k:1", "t", 0).len(), 3);
    }
}
