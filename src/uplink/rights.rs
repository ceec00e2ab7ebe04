//! What the uplink's user may do upstream, as far as brokers tell it, and the commands that give what is missing.
//!
//! Asks only: nothing is written, and no producer is fenced.

use std::sync::Arc;

use super::check::Severity;
use super::link::cluster::{Cluster, ClusterError};
use super::link::versions::Protocol;
use super::{beacon, exactly};
use crate::kafka::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::kafka::header::read_response;
use crate::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

/// An operation on a topic by its number in Kafka (`AclOperation`), as kafka-acls calls it, and what comes without it.
type Operation = (u32, &'static str, Severity, &'static str);

/// What is done with topics.
const OPERATIONS: [Operation; 3] = [
    (4, "Write", Severity::Fail, "nothing can be forwarded to it"),
    (8, "Describe", Severity::Fail, "its partitions can't be seen"),
    (10, "DescribeConfigs", Severity::Warn, "its size limit can't be seen, Kafka's default is assumed"),
];
/// What is done with the topic of cursors.
const OPERATIONS_ON_CURSORS: [Operation; 3] = [
    (3, "Read", Severity::Fail, "positions can't be found again once the group's offset has expired"),
    (4, "Write", Severity::Fail, "no transaction can be made"),
    (8, "Describe", Severity::Fail, "its partitions can't be seen"),
];
/// What is done with the topic that is told how the gateway is.
const OPERATIONS_ON_STATUS: [Operation; 2] = [
    (4, "Write", Severity::Warn, "the centre is not told how this gateway is (status = \"off\" if that is meant)"),
    (8, "Describe", Severity::Warn, "the centre is not told how this gateway is (status = \"off\" if that is meant)"),
];
/// A broker says this where it tells nothing of rights.
const UNTOLD: i32 = i32::MIN;
/// What was found of one right.
pub(super) type Found = (Severity, String);

/// The rights on these topics upstream. Empty where the brokers are too old to tell (before Apache Kafka 2.3).
///
/// # Errors
/// [`ClusterError`].
pub(super) async fn on_topics(cluster: &mut Cluster, topics: &[Arc<str>]) -> Result<Vec<Found>, ClusterError> {
    let (peer, told) = operations(cluster, topics).await?;
    let known = told.iter().filter_map(|(topic, bits)| Some((topic, (*bits)?)));
    Ok(known.flat_map(|(topic, bits)| of_topic(&peer, topic, bits, &OPERATIONS)).collect())
}

/// The rights on the topic that is told how the gateway is; what can be done where it is missing.
///
/// # Errors
/// [`ClusterError`].
pub(super) async fn on_status(
    cluster: &mut Cluster,
    topic: Arc<str>,
    creates: bool,
) -> Result<Vec<Found>, ClusterError> {
    let (peer, told) = operations(cluster, std::slice::from_ref(&topic)).await?;
    Ok(match told.into_iter().next() {
        Some((_, Some(bits))) => of_topic(&peer, &topic, bits, &OPERATIONS_ON_STATUS),
        Some((_, None)) if creates => vec![(Severity::Ok, format!("{topic} is missing upstream and will be created"))],
        Some((_, None)) => vec![(Severity::Warn, beacon::missing(&topic))],
        None => Vec::new(),
    })
}

/// The bits of authorised operations on each topic that the broker knows of; `None`: there is no such topic.
async fn operations(
    cluster: &mut Cluster,
    topics: &[Arc<str>],
) -> Result<(String, Vec<(String, Option<i32>)>), ClusterError> {
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
            const DENIED: i16 = ErrorCode::TopicAuthorizationFailed.code();
            const MISSING: i16 = ErrorCode::UnknownTopicOrPartition.code();
            let bits = match topic.error_code {
                0 => Some(topic.topic_authorized_operations),
                DENIED => Some(0),
                MISSING => None,
                _ => return None,
            };
            Some((topic.name?.to_owned(), bits))
        });
        Ok(each.collect::<Vec<_>>())
    });
    Ok((peer, told.await?))
}

/// What the bits of authorised operations on a topic mean.
fn of_topic(peer: &str, topic: &str, bits: i32, operations: &[Operation]) -> Vec<Found> {
    if bits == UNTOLD {
        return Vec::new();
    }
    let missing: Vec<_> = operations.iter().filter(|(number, ..)| bits & (1 << number) == 0).collect();
    if missing.is_empty() {
        let names: Vec<&str> = operations.iter().map(|(_, name, ..)| *name).collect();
        return vec![(Severity::Ok, format!("{topic}: {} are allowed", names.join(", ")))];
    }
    let finding = |(_, name, severity, without): &&Operation| {
        let command = command(peer, &[name], "--topic", topic);
        (*severity, format!("{topic}: {name} is not allowed: {without}; {command}"))
    };
    missing.iter().map(finding).collect()
}

/// The command that gives what is missing.
fn command(peer: &str, operations: &[&str], resource: &str, name: &str) -> String {
    let operations: String = operations.iter().map(|operation| format!("--operation {operation} ")).collect();
    format!("kafka-acls.sh --bootstrap-server {peer} --add --allow-principal User:NAME {operations}{resource} {name}")
}

/// Whether the cluster takes transactions, and if so of which protocol; what it takes to make them with this transactional id, which
/// is the group's name as well. `wanted`: without them nothing is forwarded.
///
/// # Errors
/// [`ClusterError`].
pub(super) async fn transactions(cluster: &mut Cluster, id: &str, wanted: bool) -> Result<Vec<Found>, ClusterError> {
    let link = cluster.any_link().await?;
    let protocol = match link.versions.transactions() {
        Ok(Protocol::Second) => "the cluster offers transactions, of the second protocol (transaction.version 2)",
        Ok(Protocol::First) => "the cluster offers transactions, of the first protocol (transaction.version below 2)",
        Err(missing) if wanted => {
            return Ok(vec![(Severity::Fail, ClusterError::NoTransactions(missing).to_string())]);
        }
        Err(missing) => {
            let text = format!(
                "the cluster offers no transactions ({missing}): delivery is \"at-least-once\" there; if it is a Brooklet, \
                 protocol = \"brooklet\" and its native port (listen.native.addr) give exactly once"
            );
            return Ok(vec![(Severity::Warn, text)]);
        }
    };
    let mut found = vec![(Severity::Ok, protocol.to_owned())];
    if wanted {
        on_cursors(cluster, &mut found).await?;
        on_id(cluster, id, &mut found).await?;
    }
    Ok(found)
}

/// The topic of cursors: whether it is there, as it should be, and may be used.
async fn on_cursors(cluster: &mut Cluster, found: &mut Vec<Found>) -> Result<(), ClusterError> {
    let name = exactly::cursors();
    let (peer, told) = operations(cluster, std::slice::from_ref(&name)).await?;
    let Some((_, bits)) = told.into_iter().next() else { return Ok(()) };
    let Some(bits) = bits else {
        let text = format!(
            "{name} is missing upstream and will be created, compacted, which takes the right to: {}",
            command(&peer, &["Create"], "--topic", &name)
        );
        found.push((Severity::Ok, text));
        return Ok(());
    };
    found.extend(of_topic(&peer, &name, bits, &OPERATIONS_ON_CURSORS));
    let limits = cluster.limits(std::slice::from_ref(&name)).await?;
    let policy = limits.first().and_then(|limits| limits.cleanup_policy.as_deref());
    if let Some(policy) = policy.filter(|policy| !policy.split(',').any(|part| part.trim() == "compact")) {
        let text = format!("{name}: cleanup.policy is {policy}: positions are lost there in time; set it to compact");
        found.push((Severity::Fail, text));
    }
    Ok(())
}

/// The transactional id and the group. A producer that can't be is asked to be taken into a transaction: rights are looked at
/// first, and it is refused for what it is.
async fn on_id(cluster: &mut Cluster, id: &str, found: &mut Vec<Found>) -> Result<(), ClusterError> {
    const NOT_ID: i16 = ErrorCode::TransactionalIdAuthorizationFailed.code();
    const NOT_GROUP: i16 = ErrorCode::GroupAuthorizationFailed.code();
    let peer = cluster.any_link().await?.connection.peer().to_owned();
    let (on_group, _) = coordinator(cluster, id, GROUP).await?;
    let (on_id, node) = coordinator(cluster, id, TRANSACTION).await?;
    // Of the two rights the group's is looked at second.
    let on_both = if on_id == 0 { probe(cluster, node, id).await? } else { on_id };
    let (id_denied, group_denied) = (on_both == NOT_ID, on_group == NOT_GROUP || on_both == NOT_GROUP);
    for (denied, what, operations, resource) in [
        (id_denied, "transactional id", &["Write", "Describe"][..], "--transactional-id"),
        (group_denied, "group", &["Read"][..], "--group"),
    ] {
        let names = operations.join(" and ");
        found.push(match denied {
            false => (Severity::Ok, format!("{what} {id}: {names} allowed")),
            true => {
                let command = command(&peer, operations, resource, id);
                (Severity::Fail, format!("{what} {id}: {names} not allowed: nothing can be forwarded; {command}"))
            }
        });
    }
    Ok(())
}

/// Kinds of coordinators in FindCoordinator.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Who coordinates; an error code, 0 for none.
async fn coordinator(cluster: &mut Cluster, id: &str, key_type: i8) -> Result<(i16, i32), ClusterError> {
    let request = FindCoordinatorRequest { key: id, key_type, ..Default::default() };
    let link = cluster.any_link().await?;
    link.ask(&request, |version, frame| {
        let (_, told) = read_response::<FindCoordinatorResponse<'_>>(version, frame)?;
        Ok((told.error_code, told.node_id))
    })
    .await
}

/// The error code for a producer that no broker ever gave out.
async fn probe(cluster: &mut Cluster, node: i32, id: &str) -> Result<i16, ClusterError> {
    let request = AddOffsetsToTxnRequest { transactional_id: id, producer_id: -1, producer_epoch: -1, group_id: id };
    let link = cluster.link(node).await?;
    link.ask(&request, |version, frame| Ok(read_response::<AddOffsetsToTxnResponse>(version, frame)?.1.error_code))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_right_comes_with_its_command() {
        let all = 1 << 4 | 1 << 8 | 1 << 10;
        assert!(of_topic("k:1", "t", UNTOLD, &OPERATIONS).is_empty());
        assert!(matches!(of_topic("k:1", "t", all, &OPERATIONS).as_slice(), [(Severity::Ok, _)]));
        let found = of_topic("k:1", "t", 1 << 8, &OPERATIONS);
        assert_eq!(found.iter().map(|(severity, _)| *severity).collect::<Vec<_>>(), [Severity::Fail, Severity::Warn]);
        let (_, text) = &found[0];
        assert!(
            text.ends_with(
                "kafka-acls.sh --bootstrap-server k:1 --add --allow-principal User:NAME --operation Write --topic t"
            ),
            "{text}"
        );
        assert_eq!(of_topic("k:1", "t", 0, &OPERATIONS_ON_CURSORS).len(), 3);
    }
}
