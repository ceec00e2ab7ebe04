//! What the cluster says of its brokers and topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cluster::{ClusterError, Link};
use crate::config::HostPort;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::read_response;
use crate::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic};

/// A topic upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum TopicState {
    /// Its partitions' leaders, by index; `None` while an election is under way.
    Known(Vec<Option<i32>>),
    /// Why it can't be written to.
    Failed(i16),
}

/// What an answer to Metadata says.
#[derive(Debug)]
pub(in crate::uplink) struct Told {
    pub(super) brokers: BTreeMap<i32, HostPort>,
    pub(super) controller: i32,
    pub(super) topics: BTreeMap<Arc<str>, TopicState>,
    pub(super) ids: BTreeMap<Arc<str>, [u8; 16]>,
}

/// Asks for brokers and for these topics.
///
/// # Errors
/// [`ClusterError`].
pub(in crate::uplink) async fn ask_topics(link: &Link, topics: &[Arc<str>]) -> Result<Told, ClusterError> {
    let wanted = topics.iter().map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() }).collect();
    let request = MetadataRequest { topics: Some(wanted), allow_auto_topic_creation: false, ..Default::default() };
    let told = link.ask(&request, |version, frame| {
        let (_, response) = read_response::<MetadataResponse<'_>>(version, frame)?;
        let id = |topic: &MetadataResponseTopic<'_>| Some((Arc::from(topic.name?), topic.topic_id));
        Ok(Told {
            brokers: brokers_in(&response),
            controller: response.controller_id,
            topics: topics_in(&response),
            ids: response.topics.iter().filter_map(id).collect(),
        })
    });
    told.await
}

fn brokers_in(response: &MetadataResponse<'_>) -> BTreeMap<i32, HostPort> {
    let address = |host: &str, port: i32| Some(HostPort { host: host.to_owned(), port: u16::try_from(port).ok()? });
    response.brokers.iter().filter_map(|b| Some((b.node_id, address(b.host, b.port)?))).collect()
}

fn topics_in(response: &MetadataResponse<'_>) -> BTreeMap<Arc<str>, TopicState> {
    response.topics.iter().filter_map(|topic| Some((Arc::from(topic.name?), topic_state(topic)))).collect()
}

fn topic_state(topic: &MetadataResponseTopic<'_>) -> TopicState {
    if topic.error_code != 0 {
        return TopicState::Failed(topic.error_code);
    }
    let mut leaders = vec![None; topic.partitions.len()];
    for partition in &topic.partitions {
        let slot = usize::try_from(partition.partition_index).ok().and_then(|index| leaders.get_mut(index));
        if let Some(slot) = slot {
            *slot = (partition.leader_id >= 0).then_some(partition.leader_id);
        }
    }
    // A topic that was created a moment ago may come without partitions.
    if leaders.is_empty() {
        TopicState::Failed(ErrorCode::LeaderNotAvailable.code())
    } else {
        TopicState::Known(leaders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::metadata::MetadataResponsePartition;

    #[test]
    fn leaders_are_taken_by_index_whatever_the_order() {
        let partition = |index, leader| MetadataResponsePartition {
            partition_index: index,
            leader_id: leader,
            ..Default::default()
        };
        let mut topic = MetadataResponseTopic { name: Some("t"), ..Default::default() };
        assert_eq!(topic_state(&topic), TopicState::Failed(5));
        topic.partitions = vec![partition(2, 7), partition(0, -1), partition(1, 8), partition(900, 1)];
        assert_eq!(topic_state(&topic), TopicState::Known(vec![None, Some(8), Some(7), None]));
        topic.error_code = 29;
        assert_eq!(topic_state(&topic), TopicState::Failed(29));
    }
}
