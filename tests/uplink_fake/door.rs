//! Records that upstream is known not to take: refused where they come in.

use brooklet::broker::{ProduceError, TooLargeUpstream};

use super::*;

/// Tries to append a batch of these, in this codec; what is wrong with it.
fn try_produce(edge: &Edge, topic: &Topic, values: &[&str], codec: Compression) -> Option<TooLargeUpstream> {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(1, Some(b"k"), Some(value.as_bytes()), NO_HEADERS).unwrap();
    }
    let batch = builder.finish(codec);
    block_on(async {
        match edge.broker.produce(topic, 0, batch, Acks::Flash).await {
            Ok(ticket) => drop(ticket.wait().await.unwrap()),
            Err(ProduceError::TooLargeUpstream(told)) => return Some(*told),
            Err(error) => panic!("{error}"),
        }
        None
    })
}

/// The same of native records.
fn try_publish(edge: &Edge, topic: &Topic, first: u64, values: &[&str]) -> Option<String> {
    let record = |value: &&str| NewRecord { value: Some(value.as_bytes().to_vec()), ..NewRecord::default() };
    let records = values.iter().map(record).collect();
    block_on(async {
        let session = edge.broker.open_session("dev-1", None, 0).await.unwrap();
        match edge.broker.publish(&session, topic, first, records, Acks::Flash).await {
            Ok(ticket) => drop(ticket.wait().await.unwrap()),
            Err(error @ ProduceError::TooLargeUpstream(_)) => return Some(error.to_string()),
            Err(error) => panic!("{error}"),
        }
        None
    })
}

/// What does not pass, and what does although it looks as if it would not.
#[test]
fn single_records_beyond_what_upstream_takes_are_refused_with_both_figures() {
    let fake = Fake::start(&[("t", 1)]);
    fake.state().max_message_bytes = 2_000;
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = edge.uplink(&fake, |_| {});
    wait_caught_up(&uplink);
    let (long, wide) = (fastrand_text(1, 3_000), "x".repeat(30_000));
    let small = fastrand_text(2, 1_500);

    let told = try_produce(&edge, &topic, &["a", &long, "b"], Compression::Lz4).unwrap();
    assert_eq!((told.max, told.uplink.as_str(), told.upstream.as_str()), (2_000, "centre", "t"));
    assert!(told.record == Some(1) && told.bytes > 2_000 && told.bytes < 3_100, "{told:?}");
    let text = told.to_string();
    assert!(
        text.contains(&told.bytes.to_string()) && text.contains("2000") && text.contains("refuse_too_large"),
        "{text}"
    );
    let text = try_publish(&edge, &topic, 1, &["c", &long]).unwrap();
    assert!(text.contains("uplink centre") && text.contains("2000"), "{text}");
    // Batches are cut; what compresses fits.
    assert_eq!(try_produce(&edge, &topic, &[&small, &small, "d", &wide], Compression::None), None);
    assert_eq!(try_publish(&edge, &topic, 1, &["e", &wide]), None);
    let status = wait_until(&uplink, |status| status.counts.records == 6 && status.lag_records == 0);
    assert_eq!(status.counts.dead_lettered, 0);
    assert_eq!(fake.values("t", 0), [&small, &small, "d", &wide, "e", &wide]);
    block_on(uplink.stop());
}

#[test]
fn a_limit_outlives_a_restart_without_the_link_and_is_asked_for_again_where_it_matters() {
    let fake = Fake::start(&[("t", 1)]);
    fake.state().max_message_bytes = 2_000;
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let long = fastrand_text(1, 3_000);
    let refused = |edge: &Edge, topic: &Topic| try_produce(edge, topic, &[&long], Compression::None);
    // Nothing is known yet.
    assert_eq!(refused(&edge, &topic), None);
    let uplink = edge.uplink(&fake, |_| {});
    wait_until(&uplink, |status| status.counts.dead_lettered == 1);
    assert!(refused(&edge, &topic).is_some());
    // The row rides with the commit of this.
    assert_eq!(try_produce(&edge, &topic, &["a"], Compression::None), None);
    wait_caught_up(&uplink);
    block_on(uplink.stop());
    drop(uplink);

    fake.state().refuses = true;
    let edge = edge.restart();
    let topic = edge.broker.topic("t").unwrap();
    let uplink = edge.uplink(&fake, |_| {});
    wait_until(&uplink, |status| status.counts.failures > 0);
    assert!(refused(&edge, &topic).is_some());
    fake.state().max_message_bytes = 1_048_588;
    fake.state().refuses = false;
    let begin = Instant::now();
    while refused(&edge, &topic).is_some() {
        assert!(begin.elapsed() < SOON);
        thread::sleep(Duration::from_millis(20));
    }
    wait_caught_up(&uplink);
    assert_eq!(fake.values("t", 0), ["a", &long]);
    block_on(uplink.stop());
}

#[test]
fn where_it_is_not_wanted_nothing_is_refused() {
    let fake = Fake::start(&[("t", 1)]);
    fake.state().max_message_bytes = 2_000;
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = edge.uplink(&fake, |config| config.refuse_too_large = false);
    wait_caught_up(&uplink);
    assert_eq!(try_produce(&edge, &topic, &[&fastrand_text(1, 3_000)], Compression::None), None);
    wait_until(&uplink, |status| status.counts.dead_lettered == 1);
    block_on(uplink.stop());
}
