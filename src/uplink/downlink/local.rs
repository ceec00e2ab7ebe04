//! The local side of a topic upstream: the topic here, its partitions, and how far each has come.
//!
//! A topic upstream is known by its identity. Under another one it is another topic, of which nothing was brought yet: all
//! of it is read.

use std::sync::Arc;

use super::DownlinkOptions;
use super::course::{Heard, Prepared};
use super::status::Report;
use crate::broker::{Broker, FORWARD_KEY, FORWARD_NAMED, NewTopic, Topic, TopicError, UpstreamTopic};
use crate::config::{DownlinkPartitioning, OutOfRange};

/// What a topic upstream is to this downlink.
#[derive(Debug, PartialEq, Eq)]
enum Meeting {
    /// It was met before, with so many partitions.
    Known(u32),
    /// It is met for the first time, or under another identity.
    New { partitions: u32, again: bool },
}

/// Whether a topic is the one that was met; clusters that don't tell identities are believed.
fn meet(known: Option<UpstreamTopic>, heard: &Heard) -> Meeting {
    let partitions = heard.leaders.len() as u32;
    let unknown = [0; 16];
    match known {
        None => Meeting::New { partitions, again: false },
        Some(known) if [known.topic_id, unknown].contains(&heard.id) || known.topic_id == unknown => {
            Meeting::Known(known.partitions)
        }
        // All that it has came after what was brought.
        Some(_) => Meeting::New { partitions: 0, again: true },
    }
}

/// Makes the local side of `topic`, and looks its positions up.
///
/// # Errors
/// What stands in the way, and what to do.
pub(super) async fn prepare(
    broker: &Broker,
    options: &DownlinkOptions,
    report: &Report,
    topic: &str,
    heard: &Heard,
) -> Result<Prepared, String> {
    let local = options.local_name(topic)?;
    let known = broker.upstream_topic(&options.name, topic);
    let meeting = meet(known, heard);
    if meeting == (Meeting::New { partitions: 0, again: true }) && options.config.out_of_range == OutOfRange::Stop {
        return Err(
            "the topic was made again upstream; out_of_range = \"stop\": set it to \"earliest\" or \"latest\" to \
                    read the new one from its beginning"
                .to_owned(),
        );
    }
    let upstream_count = heard.leaders.len() as u32;
    let here =
        local_topic(broker, options, &local, upstream_count).await.map_err(|error| format!("{local}: {error}"))?;
    let met = match meeting {
        Meeting::Known(partitions) => partitions,
        Meeting::New { partitions, again } => {
            if again {
                report.recreated();
                log::warn!("downlink {}: {topic} was made again upstream; it is read from its beginning", options.name);
            }
            let met = UpstreamTopic { topic_id: heard.id, partitions };
            let noted = broker.meet_upstream_topic(&options.name, topic, met).await;
            noted.map_err(|error| error.to_string())?;
            partitions
        }
    };
    let positions = broker.upstream_positions(&options.name);
    let partitions = (0..upstream_count).filter_map(|index| {
        let at = match options.config.partitioning {
            DownlinkPartitioning::Same => index,
            DownlinkPartitioning::Modulo => index % here.partition_count().max(1),
        };
        let position = positions.get(&(topic.to_owned(), index as i32)).copied();
        Some((here.partition(at as i32)?, position))
    });
    Ok(Prepared { id: heard.id, met, partitions: partitions.collect() })
}

/// The local topic, with as many partitions as it needs, and kept from uplinks that don't name it.
async fn local_topic(
    broker: &Broker,
    options: &DownlinkOptions,
    name: &str,
    upstream_count: u32,
) -> Result<Arc<Topic>, TopicError> {
    let wanted = (options.config.partitioning == DownlinkPartitioning::Same).then_some(upstream_count);
    let mark = (FORWARD_KEY.to_owned(), FORWARD_NAMED.to_owned());
    let Some(topic) = broker.topic(name) else {
        let new = NewTopic { name: name.to_owned(), partitions: wanted, configs: vec![mark], ..NewTopic::default() };
        let created = broker.create_topic(new).await?;
        log::info!("downlink {}: created the local topic {name}", options.name);
        return Ok(created);
    };
    let topic = match topic.overrides.iter().any(|(key, _)| key == FORWARD_KEY) {
        true => topic,
        false => broker.alter_topic(name, &[(mark.0, Some(mark.1))]).await?,
    };
    match wanted {
        Some(count) if count > topic.partition_count() => broker.add_partitions(name, count).await,
        _ => Ok(topic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_known_by_its_identity() {
        let heard = |id| Heard { id: [id; 16], leaders: vec![Some(1); 3] };
        let known = |id| Some(UpstreamTopic { topic_id: [id; 16], partitions: 2 });
        assert_eq!(meet(None, &heard(1)), Meeting::New { partitions: 3, again: false });
        assert_eq!(meet(known(1), &heard(1)), Meeting::Known(2));
        assert_eq!(meet(known(1), &heard(2)), Meeting::New { partitions: 0, again: true });
        // Before Kafka 2.8 there are no identities, and after an upgrade there are.
        assert_eq!([meet(known(0), &heard(2)), meet(known(1), &heard(0))], [Meeting::Known(2), Meeting::Known(2)]);
    }
}
