//! Topics and their reserves.

use super::*;

#[test]
fn reserves_are_refused_beyond_their_part_with_both_figures() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let broker = &running.broker;
    topic(broker, "alarms", 1);
    topic(broker, "other", 1);
    let changed = alter(broker, "alarms", &[("brooklet.reserve", "11000000"), ("brooklet.priority", "8")]).unwrap();
    assert_eq!((changed.config.reserve, changed.config.priority), (11_000_000, 8));
    // 70 % of 16 MiB are 11,744,040 bytes, of whole hundredths.
    let refused = |result: Result<Arc<Topic>, TopicError>| {
        let Err(TopicError::Invalid(text)) = result else { panic!("{result:?}") };
        for said in ["brooklet.reserve=1000000", "11000000 bytes already", "70%", "11744040 bytes"] {
            assert!(text.contains(said), "{text}");
        }
    };
    refused(alter(broker, "other", &[("brooklet.reserve", "1000000")]));
    let configs = vec![("brooklet.reserve".to_owned(), "1000000".to_owned())];
    refused(block_on(broker.create_topic(NewTopic { name: "new".to_owned(), configs, ..NewTopic::default() })));
    assert_eq!(broker.topic("other").unwrap().config.reserve, 0);
    // What a topic has already doesn't count against itself.
    alter(broker, "alarms", &[("brooklet.reserve", "11000001")]).unwrap();
    assert_eq!(broker.reserves_too_large(), None);
    running.close();
}

#[test]
fn topics_live_through_a_restart_and_a_name_made_again_is_another_topic() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let first = topic(&running.broker, "t", 2);
    assert!(matches!(
        block_on(running.broker.create_topic(NewTopic { name: "t".to_owned(), ..NewTopic::default() })),
        Err(TopicError::Exists(_))
    ));
    let changes = [("retention.ms".to_owned(), Some("60000".to_owned()))];
    block_on(running.broker.alter_topic("t", &changes)).unwrap();
    block_on(running.broker.add_partitions("t", 3)).unwrap();
    assert!(matches!(block_on(running.broker.add_partitions("t", 3)), Err(TopicError::Invalid(_))));
    assert!(matches!(
        block_on(
            running.broker.alter_topic("t", &[("no.such".to_owned(), None), ("x".to_owned(), Some("1".to_owned()))])
        ),
        Err(TopicError::Invalid(_))
    ));
    running.close();

    let running = Running::open(dir.path());
    let again = running.broker.topic("t").unwrap();
    assert_eq!((again.id, again.partition_count(), again.config.retention_ms), (first.id, 3, Some(60_000)));
    block_on(running.broker.delete_topic("t")).unwrap();
    assert!(matches!(block_on(running.broker.delete_topic("t")), Err(TopicError::Unknown(_))));
    assert!(matches!(running.broker.head(again.partitions[0]), Err(FetchError::UnknownPartition)));
    let other = topic(&running.broker, "t", 1);
    assert_ne!(other.id, first.id);
    assert!(!again.partitions.contains(&other.partitions[0]), "a partition's number is never used again");
    running.close();

    let running = Running::open(dir.path());
    assert_eq!(running.broker.topics().len(), 1);
    assert_eq!(running.broker.topic("t").unwrap().id, other.id);
    running.close();
}
