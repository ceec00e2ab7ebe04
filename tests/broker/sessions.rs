//! Native sessions and their sequences.

use super::*;

#[test]
fn a_session_goes_on_after_a_restart_and_resends_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let publish = |broker: &Broker, session: &_, first, values: &[&str]| {
        let records = values.iter().map(|value| record(value)).collect();
        block_on(async { broker.publish(session, &t, first, records, Acks::Flash).await?.wait().await })
    };
    let session = block_on(running.broker.open_session("device", None, 0)).unwrap();
    assert_eq!((session.resumed(), session.last_durable_sequence(), session.next_sequence()), (false, 0, 1));
    let published = publish(&running.broker, &session, 1, &["1", "2"]).unwrap();
    assert_eq!((published.last_sequence, published.duplicates), (2, 0));
    let resent = publish(&running.broker, &session, 2, &["2", "3"]).unwrap();
    assert_eq!((resent.last_sequence, resent.duplicates, resent.last), (3, 1, Some((t.partitions[0], 2))));
    assert!(matches!(
        publish(&running.broker, &session, 5, &["5"]),
        Err(ProduceError::SequenceGap { expected: 4, got: 5 })
    ));
    let epoch = session.epoch();
    drop(session);
    running.close();

    let running = Running::open(dir.path());
    let session = block_on(running.broker.open_session("device", Some(epoch), 0)).unwrap();
    assert_eq!((session.resumed(), session.last_durable_sequence()), (true, 3));
    assert_eq!(publish(&running.broker, &session, 3, &["3", "4"]).unwrap().duplicates, 1);
    block_on(async { running.broker.skip(&session, 5, 2).await?.wait().await }).unwrap();
    assert_eq!(publish(&running.broker, &session, 7, &["7"]).unwrap().last_sequence, 7);
    let values: Vec<_> = contents(&running.broker, t.partitions[0]).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["1", "2", "3", "4", "7"]);

    // A device that has forgotten its epoch begins another; what it remembers of the old one is of no use any more.
    let newer = block_on(running.broker.open_session("device", None, 0)).unwrap();
    assert!(newer.epoch() > epoch && !newer.resumed());
    assert!(session.is_fenced());
    assert!(matches!(publish(&running.broker, &session, 8, &["8"]), Err(ProduceError::SessionFenced)));
    assert_eq!(publish(&running.broker, &newer, 1, &["new"]).unwrap().duplicates, 0);
    drop((session, newer));
    running.close();
}

#[test]
fn what_was_acknowledged_from_memory_and_lost_is_stepped_over() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 1);
    let session = block_on(running.broker.open_session("device", None, 0)).unwrap();
    let epoch = session.epoch();
    block_on(async { running.broker.publish(&session, &t, 1, vec![record("1")], Acks::Memory).await?.wait().await })
        .unwrap();
    drop(session);
    running.close();
    let running = Running::open(dir.path());
    // The client has seen 2 and 3 acknowledged from memory before the power went.
    let session = block_on(running.broker.open_session("device", Some(epoch), 4)).unwrap();
    assert_eq!(session.next_sequence(), 4);
    block_on(async { running.broker.publish(&session, &t, 4, vec![record("4")], Acks::Flash).await?.wait().await })
        .unwrap();
    drop(session);
    running.close();
}

#[test]
fn native_records_go_by_key_and_without_one_by_client() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path());
    let t = topic(&running.broker, "t", 8);
    let session = block_on(running.broker.open_session("device", None, 0)).unwrap();
    let mut sequence = 1;
    let mut publish = |record: NewRecord| {
        let broker = &running.broker;
        let first = sequence;
        sequence += 1;
        block_on(async { broker.publish(&session, &t, first, vec![record], Acks::Flash).await?.wait().await })
            .unwrap()
            .last
            .unwrap()
            .0
    };
    let keyed = |key: &str| NewRecord { key: Some(key.as_bytes().to_vec()), ..record("v") };
    assert_eq!(publish(keyed("k")), publish(keyed("k")));
    let own = publish(record("v"));
    assert_eq!(own, publish(keyed("device")), "the client's id is the key");
    let spread: std::collections::BTreeSet<_> = (0..40).map(|i| publish(keyed(&i.to_string()))).collect();
    assert!(spread.len() > 4, "{spread:?}");
    drop(session);
    running.close();
}
