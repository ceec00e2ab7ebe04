//! What certain clients do that no specification asks for, byte by byte where they do it in bytes.

use brooklet::kafka::metadata::MetadataResponse;

use crate::client::Server;

/// librdkafka 2 (up to 2.15.1, so kcat -L and `list_topics` of confluent-kafka) reserves four bytes for the list of topics,
/// and of a list that is null only the first is meant.
#[test]
fn bytes_behind_a_request_are_passed_over() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 2, &[]);
    // Metadata (3) version 12, correlation id 7, client id "rdk", no tags;
    let header = [0, 3, 0, 12, 0, 0, 0, 7, 0, 3, b'r', b'd', b'k', 0];
    // null for all topics in four bytes instead of one, then: create none, no authorized operations, no tags.
    let body = [0, 0, 0, 0, 0, 0, 0];
    client.send_raw(7, &[&header[..], &body].concat());
    let answer = client.receive(12).unwrap();
    let topics = answer.read::<MetadataResponse<'_>>().topics;
    assert_eq!(topics.iter().map(|topic| topic.name).collect::<Vec<_>>(), [Some("t")]);
}
