//! Produce, fetch, and lookups of offsets.

use std::time::Duration;

use brooklet::config::ClockTrust;
use brooklet::kafka::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use brooklet::kafka::error_code::ErrorCode;
use brooklet::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use brooklet::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use brooklet::kafka::list_offsets::{
    EARLIEST, EARLIEST_LOCAL, LATEST, LATEST_TIERED, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, MAX_TIMESTAMP,
};
use brooklet::record::{BatchView, Producer, TimestampType, VerifyLimits, verify};

use crate::client::{Answer, Client, Server, batch, plain, produce_request};

/// Partitions of `t`, each from an offset on.
fn fetch<'a>(wanted: &[(i32, i64, i32)], max_bytes: i32, min_bytes: i32, max_wait_ms: i32) -> FetchRequest<'a> {
    let partitions = wanted.iter();
    let partitions = partitions.map(|(partition, fetch_offset, partition_max_bytes)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: *partition_max_bytes,
        ..Default::default()
    });
    let topics = vec![FetchTopic { topic: "t", partitions: partitions.collect() }];
    FetchRequest { max_wait_ms, min_bytes, max_bytes, topics, ..Default::default() }
}

/// Error code and number of bytes of each partition.
fn shares(answer: &Answer) -> Vec<(i16, usize)> {
    let response = answer.read::<FetchResponse<'_>>();
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|p| (p.error_code, p.records.unwrap_or_default().bytes().len())).collect()
}

#[test]
fn the_bounds_of_a_fetch_hold_and_the_first_batch_comes_whole() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 3, &[]);
    let one = batch(&[1], 1_000, Producer::NONE);
    let bytes = one.len();
    for index in [0, 0, 1, 1, 2] {
        client.produce("t", index, &one);
    }
    let all = |max: i32| [(0, 0, max), (1, 0, max), (2, 0, max)];
    let whole = i32::MAX;
    let mut ask = |wanted: &[(i32, i64, i32)], max_bytes| shares(&client.call(11, &fetch(wanted, max_bytes, 1, 0)));
    assert_eq!(ask(&all(whole), whole), [(0, 2 * bytes), (0, 2 * bytes), (0, bytes)]);
    // One byte over all: one batch all the same, and only one.
    assert_eq!(ask(&all(whole), 1), [(0, bytes), (0, 0), (0, 0)]);
    assert_eq!(ask(&[(1, 2, whole), (2, 0, whole), (0, 0, whole)], 1), [(0, 0), (0, bytes), (0, 0)]);
    // The bound is over the whole answer: there is room for three.
    assert_eq!(ask(&all(whole), 3 * bytes as i32), [(0, 2 * bytes), (0, bytes), (0, 0)]);
    // A partition's own bound gives way to its first batch only where nothing else comes.
    assert_eq!(ask(&all(bytes as i32), whole), [(0, bytes), (0, bytes), (0, bytes)]);
    assert_eq!(ask(&all(1), whole), [(0, bytes), (0, 0), (0, 0)]);
}

#[test]
fn only_offsets_outside_of_the_log_are_out_of_range() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 1, &[]);
    client.produce("t", 0, &plain(&[1, 2, 3]));
    client.produce("t", 0, &plain(&[4]));
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 2 }];
    let topics = vec![DeleteRecordsTopic { name: "t", partitions }];
    client.call(1, &DeleteRecordsRequest { topics, timeout_ms: 1_000 });
    let mut at = |offset| {
        let answer = client.call(11, &fetch(&[(0, offset, 1_000_000)], 1_000_000, 0, 0));
        let response = answer.read::<FetchResponse<'_>>();
        let partition = &response.responses[0].partitions[0];
        assert_eq!((partition.log_start_offset, partition.high_watermark), (2, 4));
        let first = BatchView::parse(partition.records.unwrap().bytes()).map(|(view, _)| view.base_offset()).ok();
        (partition.error_code, first)
    };
    let out_of_range = (ErrorCode::OffsetOutOfRange.code(), None);
    assert_eq!([at(0), at(1), at(5), at(-1)], [out_of_range; 4]);
    // From the middle of a batch the whole batch comes.
    assert_eq!([at(2), at(3), at(4)], [(0, Some(0)), (0, Some(3)), (0, None)]);
}

#[test]
fn sessions_are_refused_so_that_clients_do_without() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 1, &[]);
    client.produce("t", 0, &plain(&[1]));
    let mut ask = |session_id, session_epoch| {
        let request = FetchRequest { session_id, session_epoch, ..fetch(&[(0, 0, 1_000)], 1_000, 0, 0) };
        let answer = client.call(12, &request);
        let response = answer.read::<FetchResponse<'_>>();
        (response.error_code, response.session_id, response.responses.len())
    };
    assert_eq!(ask(0, 0), (0, 0, 1));
    assert_eq!(ask(0, -1), (0, 0, 1));
    assert_eq!(ask(77, -1), (0, 0, 1), "the end of a session is a whole request");
    assert_eq!(ask(77, 3), (ErrorCode::FetchSessionIdNotFound.code(), 0, 0));
}

#[test]
fn a_fetch_that_waits_holds_nobody_and_is_woken_by_the_record() {
    let server = Server::start();
    let (mut waiting, mut other) = (server.client(), server.client());
    waiting.create("t", 2, &[]);
    waiting.send(11, &fetch(&[(0, 0, 1_000)], 1_000, 1, 30_000));
    for offset in 0..20 {
        assert_eq!(other.produce("t", 1, &plain(&[1])).1, offset);
        // What was acknowledged is there at once.
        let answer = other.call(11, &fetch(&[(1, offset, 1_000_000)], 1_000_000, 1, 0));
        assert_eq!(shares(&answer), [(0, plain(&[1]).len())]);
    }
    other.produce("t", 0, &plain(&[1]));
    assert_eq!(shares(&waiting.receive(11).unwrap()), [(0, plain(&[1]).len())]);
    // What is not enough comes when the time is over.
    let answer = waiting.call(11, &fetch(&[(0, 0, 1_000_000)], 1_000_000, 500_000, 50));
    assert_eq!(shares(&answer), [(0, plain(&[1]).len())]);
}

/// Consumers that ask for much and read nothing fill what there is of memory for answers: another one is served all the same.
#[test]
fn consumers_that_do_not_read_hold_nobody() {
    let server = Server::start_with(|config| config.listen.kafka.max_inflight_bytes = 1 << 20);
    let mut client = server.client();
    client.create("t", 1, &[]);
    let large = batch(&[1], 900_000, Producer::NONE);
    client.produce("t", 0, &large);
    client.produce("t", 0, &plain(&[2]));
    // More than the kernel takes in for a peer that does not read.
    let stalled: Vec<Client> = std::iter::repeat_with(|| {
        let mut stalled = server.client();
        for _ in 0..16 {
            stalled.send(11, &fetch(&[(0, 0, 1 << 20)], 1 << 20, 1, 0));
        }
        stalled
    })
    .take(3)
    .collect();
    // Time for what they asked for to fill all buffers between here and there.
    std::thread::sleep(Duration::from_secs(1));
    for _ in 0..2 {
        let answer = client.call(11, &fetch(&[(0, 1, 1 << 20)], 1 << 20, 1, 0));
        assert_eq!(shares(&answer), [(0, plain(&[2]).len())]);
    }
    drop(stalled);
}

fn list(client: &mut Client, version: i16, partition_index: i32, timestamp: i64) -> (i16, i64, i64) {
    let partition = ListOffsetsPartition { partition_index, timestamp, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: "t", partitions: vec![partition] }];
    let request = ListOffsetsRequest { topics, isolation_level: 1, ..Default::default() };
    let answer = client.call(version, &request);
    let partition = &answer.read::<ListOffsetsResponse<'_>>().topics[0].partitions[0];
    (partition.error_code, partition.offset, partition.timestamp)
}

#[test]
fn offsets_are_found_by_time_and_at_both_ends() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 2, &[]);
    client.produce("t", 0, &plain(&[100, 300, 200]));
    client.produce("t", 0, &plain(&[250]));
    assert_eq!(list(&mut client, 8, 0, LATEST), (0, 4, -1));
    assert_eq!(list(&mut client, 8, 0, EARLIEST), (0, 0, -1));
    assert_eq!(list(&mut client, 8, 0, EARLIEST_LOCAL), (0, 0, -1));
    assert_eq!(list(&mut client, 7, 0, MAX_TIMESTAMP), (0, 1, 300));
    assert_eq!(list(&mut client, 1, 0, 0), (0, 0, 100));
    assert_eq!(list(&mut client, 4, 0, 101), (0, 1, 300));
    assert_eq!(list(&mut client, 4, 0, 301), (0, -1, -1));
    // An empty partition.
    assert_eq!(list(&mut client, 8, 1, LATEST), (0, 0, -1));
    assert_eq!(list(&mut client, 8, 1, MAX_TIMESTAMP), (0, -1, -1));
    assert_eq!(list(&mut client, 8, 2, LATEST), (ErrorCode::UnknownTopicOrPartition.code(), -1, -1));
    let unsupported = (ErrorCode::UnsupportedVersion.code(), -1, -1);
    assert_eq!(list(&mut client, 6, 0, MAX_TIMESTAMP), unsupported);
    assert_eq!(list(&mut client, 7, 0, EARLIEST_LOCAL), unsupported);
    assert_eq!(list(&mut client, 8, 0, LATEST_TIERED), unsupported);
    assert_eq!(list(&mut client, 9, 0, LATEST_TIERED), (0, -1, -1));
    assert_eq!(list(&mut client, 9, 0, -99), unsupported);
}

#[test]
fn a_leader_epoch_that_is_not_the_current_one_is_told() {
    let mut server = Server::start();
    let mut client = server.client();
    client.create("t", 1, &[]);
    client.produce("t", 0, &plain(&[1]));
    server.restart();
    let mut client = server.client();
    let mut ask = |current_leader_epoch| {
        let partition = ListOffsetsPartition { current_leader_epoch, timestamp: LATEST, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: "t", partitions: vec![partition] }];
        let answer = client.call(8, &ListOffsetsRequest { topics, ..Default::default() });
        answer.read::<ListOffsetsResponse<'_>>().topics[0].partitions[0].error_code
    };
    assert_eq!(ask(-1), 0);
    assert_eq!(ask(1), ErrorCode::FencedLeaderEpoch.code());
    let epoch_of = |client: &mut Client, timestamp| {
        let partition = ListOffsetsPartition { timestamp, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: "t", partitions: vec![partition] }];
        let answer = client.call(8, &ListOffsetsRequest { topics, ..Default::default() });
        answer.read::<ListOffsetsResponse<'_>>().topics[0].partitions[0].leader_epoch
    };
    assert_eq!(epoch_of(&mut server.client(), EARLIEST), 1, "that of the record, not the current one");
    server.client().produce("t", 0, &plain(&[2]));
    assert_eq!([EARLIEST, LATEST, 2].map(|at| epoch_of(&mut server.client(), at)), [1, 2, 2]);
    assert_eq!(ask(2), 0);
    assert_eq!(ask(3), ErrorCode::UnknownLeaderEpoch.code());
}

#[test]
fn a_topic_that_stamps_itself_serves_batches_that_say_so() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let (code, offset, time) = client.produce("t", 0, &plain(&[5, 9]));
    assert!((code, offset) == (0, 0) && time > 1_600_000_000_000);
    let answer = client.call(11, &fetch(&[(0, 0, 1_000)], 1_000, 0, 0));
    let response = answer.read::<FetchResponse<'_>>();
    let (view, _) = BatchView::parse(response.responses[0].partitions[0].records.unwrap().bytes()).unwrap();
    assert_eq!((view.attributes().timestamp_type(), view.max_timestamp()), (TimestampType::LogAppendTime, time));
    verify(&view, &VerifyLimits::default()).unwrap();
    assert_eq!(list(&mut client, 8, 0, time), (0, 0, time));
}

#[test]
fn a_resend_is_answered_with_the_time_of_its_first_append() {
    let mut server = Server::start();
    let first = batch(&[5, 9], 10, Producer { id: 7, epoch: 0, base_sequence: 0 });
    let next = batch(&[1], 10, Producer { id: 7, epoch: 0, base_sequence: 2 });
    server.client().create("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    server.client().create("t", 1, &[]);
    let (code, offset, time) = server.client().produce("stamped", 0, &first);
    assert!((code, offset) == (0, 0) && time > 1_600_000_000_000);
    std::thread::sleep(std::time::Duration::from_millis(5));
    server.client().produce("stamped", 0, &next);
    assert_eq!(server.client().produce("stamped", 0, &first), (0, 0, time));
    server.restart();
    assert_eq!(server.client().produce("stamped", 0, &first), (0, 0, time));
    // A topic that keeps its producers' times has no other to tell.
    assert_eq!([(); 2].map(|()| server.client().produce("t", 0, &first)), [(0, 0, -1); 2]);
}

#[test]
fn the_records_at_fault_are_told() {
    let server = Server::start_with(|config| config.clock.trust = ClockTrust::Always);
    let mut client = server.client();
    client.create("t", 1, &[("message.timestamp.after.max.ms", "3600000")]);
    let mut at_fault = |timestamps: &[i64]| {
        let answer = client.call(9, &produce_request("t", 0, &plain(timestamps), -1));
        let response = answer.read::<brooklet::kafka::produce::ProduceResponse<'_>>();
        let refused = &response.responses[0].partition_responses[0];
        assert_eq!(refused.error_code, ErrorCode::InvalidTimestamp.code());
        refused.record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>()
    };
    assert_eq!(at_fault(&[1, i64::MAX / 2, 2, i64::MAX / 2]), [1, 3]);
    let most = brooklet::limits::RECORDS_AT_FAULT_MAX;
    assert_eq!(at_fault(&vec![i64::MAX / 2; most + 1]).len(), most);
}

#[test]
fn what_a_batch_is_refused_for_has_its_code() {
    let server = Server::start_with(|config| config.clock.trust = ClockTrust::Always);
    let mut client = server.client();
    client.create("t", 1, &[("max.message.bytes", "1000"), ("message.timestamp.before.max.ms", "3600000")]);
    let mut code = |batch: &[u8]| client.produce("t", 0, batch).0;
    assert_eq!(code(&plain(&[1])), ErrorCode::InvalidTimestamp.code());
    assert_eq!(code(&plain(&[i64::MAX / 2])), 0, "the other side is not bounded");
    assert_eq!(code(&batch(&[i64::MAX / 2], 2_000, Producer::NONE)), ErrorCode::MessageTooLarge.code());
    let mut damaged = plain(&[i64::MAX / 2]);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(code(&damaged), ErrorCode::CorruptMessage.code());
    let future = |sequence, epoch| batch(&[i64::MAX / 2], 1, Producer { id: 7, epoch, base_sequence: sequence });
    assert_eq!(code(&future(-1, 0)), ErrorCode::InvalidRecord.code());
    assert_eq!(code(&future(0, 1)), 0);
    assert_eq!(code(&future(0, 1)), 0, "a resend");
    assert_eq!(code(&future(2, 1)), ErrorCode::OutOfOrderSequenceNumber.code());
    assert_eq!(code(&future(1, 0)), ErrorCode::InvalidProducerEpoch.code());
    assert_eq!(code(&future(1, 2)), ErrorCode::OutOfOrderSequenceNumber.code(), "a new epoch starts at 0");
    assert_eq!(code(&future(0, 2)), 0);
    let answer = client.call(9, &produce_request("t", 0, &plain(&[i64::MAX / 2]), 2));
    let response = answer.read::<brooklet::kafka::produce::ProduceResponse<'_>>();
    let refused = &response.responses[0].partition_responses[0];
    assert_eq!(refused.error_code, ErrorCode::InvalidRequiredAcks.code());
}

#[test]
fn without_acks_nothing_is_answered_and_a_failure_ends_the_connection() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 1, &[]);
    client.send(9, &produce_request("t", 0, &plain(&[1]), 0));
    // The next answer is that of the next request.
    assert_eq!(client.produce("t", 0, &plain(&[2])).1, 1);
    client.send(9, &produce_request("none", 0, &plain(&[1]), 0));
    assert!(client.receive(9).is_err());
    assert_eq!(list(&mut server.client(), 8, 0, LATEST).1, 2);
}

#[test]
fn every_producer_gets_an_id_of_its_own() {
    let mut server = Server::start();
    let mut ids = std::collections::BTreeSet::new();
    for round in 0..3 {
        let mut client = server.client();
        for had in [-1, 3] {
            let request = InitProducerIdRequest { producer_id: had, producer_epoch: had as i16, ..Default::default() };
            let answer = client.call(4, &request);
            let response = answer.read::<InitProducerIdResponse>();
            assert_eq!((response.error_code, response.producer_epoch), (0, 0));
            assert!(ids.insert(response.producer_id), "round {round}: {} again", response.producer_id);
        }
        server.restart();
    }
}
