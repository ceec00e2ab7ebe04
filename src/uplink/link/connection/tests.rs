//! What a connection does with requests, answers, and time.

use super::*;
use crate::kafka::api_versions::ApiVersionsRequest;
use crate::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use futures_lite::future::block_on;
use smol::net::{TcpListener, TcpStream};

/// A connection and the socket at its other end.
async fn pair(executor: &Executor, timeout: Duration) -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    let meter = Arc::<Meter>::default();
    let pulse = Pulse::of(Some(stream.clone()));
    let stream = Box::new(super::super::meter::Metered::new(stream, Arc::clone(&meter)));
    (Connection::over(executor, stream, "peer:1".into(), "me".into(), timeout, (meter, pulse)), peer)
}

async fn take_request(peer: &mut TcpStream) -> [u8; 4] {
    // Not a byte more than the request.
    let frame = read_frame(&mut BufReader::with_capacity(1, peer), &Pulse::of(None)).await.unwrap();
    frame[4..8].try_into().unwrap()
}

async fn put_response(peer: &mut TcpStream, correlation_id: [u8; 4], body: &[u8]) {
    let size = (4 + body.len()) as u32;
    peer.write_all(&[&size.to_be_bytes()[..], &correlation_id, body].concat()).await.unwrap();
}

#[test]
fn several_requests_are_under_way_and_each_gets_its_answer() {
    let executor = Executor::new();
    block_on(executor.run(async {
        let (connection, mut peer) = pair(&executor, Duration::from_secs(30)).await;
        let one = connection.send(0, &ApiVersionsRequest::default()).unwrap();
        let two = connection.send(0, &ApiVersionsRequest::default()).unwrap();
        let ids = [take_request(&mut peer).await, take_request(&mut peer).await];
        put_response(&mut peer, ids[0], b"a").await;
        put_response(&mut peer, ids[1], b"bc").await;
        assert_eq!(two.frame().await.unwrap()[4..], *b"bc");
        assert_eq!(one.frame().await.unwrap()[4..], *b"a");
        assert!(!connection.is_closed());
    }));
}

#[test]
fn what_is_held_waits_for_what_goes_first() {
    let executor = Executor::new();
    block_on(executor.run(async {
        let (connection, mut peer) = pair(&executor, Duration::from_secs(30)).await;
        connection.line().hold();
        let held = [(); 2].map(|()| connection.send(0, &ApiVersionsRequest::default()).unwrap());
        let first = connection.line().send_first(0, &ApiVersionsRequest::default()).unwrap();
        let id = take_request(&mut peer).await;
        put_response(&mut peer, id, b"first").await;
        assert_eq!(first.frame().await.unwrap()[4..], *b"first");
        assert!(connection.idle_since().is_none());
        connection.line().release();
        let ids = [take_request(&mut peer).await, take_request(&mut peer).await];
        assert!(ids[0] < ids[1], "in their order");
        put_response(&mut peer, ids[0], b"a").await;
        put_response(&mut peer, ids[1], b"b").await;
        let [one, two] = held;
        assert_eq!((&one.frame().await.unwrap()[4..], &two.frame().await.unwrap()[4..]), (&b"a"[..], &b"b"[..]));
        connection.line().hold();
        let never = connection.send(0, &ApiVersionsRequest::default()).unwrap();
        connection.line().close(LinkError::new("refused"));
        assert_eq!(never.frame().await.unwrap_err().to_string(), "refused");
    }));
}

#[test]
fn all_under_way_fail_when_the_connection_ends() {
    let executor = Executor::new();
    block_on(executor.run(async {
        let (connection, peer) = pair(&executor, Duration::from_secs(30)).await;
        let one = connection.send(0, &ApiVersionsRequest::default()).unwrap();
        drop(peer);
        let error = one.frame().await.unwrap_err().to_string();
        assert!(error.contains("peer:1"), "{error}");
        assert!(connection.is_closed() && connection.send(0, &ApiVersionsRequest::default()).is_err());
    }));
}

/// A request that leaves slowly and an answer that comes slowly, each over a longer time than nothing may move for.
#[test]
fn slow_is_not_dead() {
    let executor = Executor::new();
    block_on(executor.run(async {
        let timeout = Duration::from_millis(250);
        let (connection, mut peer) = pair(&executor, timeout).await;
        connection.line.shared.meter.set_rate(Some(1_000));
        let begin = Instant::now();
        let requests: Vec<Reply> =
            (0..30).map(|_| connection.send(0, &ApiVersionsRequest::default()).unwrap()).collect();
        let mut ids = Vec::new();
        let mut reader = BufReader::new(peer.clone());
        for _ in &requests {
            ids.push(read_frame(&mut reader, &Pulse::of(None)).await.unwrap()[4..8].to_vec());
        }
        for id in &ids {
            for part in [&8_u32.to_be_bytes()[..], id, b"slow"] {
                smol::Timer::after(Duration::from_millis(10)).await;
                peer.write_all(part).await.unwrap();
            }
        }
        for request in requests {
            assert_eq!(request.frame().await.unwrap()[4..], *b"slow");
        }
        assert!(begin.elapsed() > 2 * timeout);
    }));
}

/// Something in between takes all bytes in the broker's stead.
#[test]
fn what_has_left_is_awaited_for_a_while_only() {
    let executor = Executor::new();
    block_on(executor.run(async {
        let (connection, peer) = pair(&executor, Duration::from_millis(200)).await;
        let begin = Instant::now();
        let batch = vec![7; 32 * 1_024];
        let data = PartitionProduceData { index: 0, records: Some(&batch) };
        let topic_data = vec![TopicProduceData { name: "t", partition_data: vec![data] }];
        let reply = connection.send(7, &ProduceRequest { topic_data, ..Default::default() }).unwrap();
        assert!(reply.frame().await.unwrap_err().to_string().contains("in time"));
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        drop(peer);
    }));
}

#[test]
fn a_hostile_or_silent_broker_ends_the_connection() {
    let executor = Executor::new();
    block_on(executor.run(async {
        let (connection, mut peer) = pair(&executor, Duration::from_secs(30)).await;
        let one = connection.send(0, &ApiVersionsRequest::default()).unwrap();
        peer.write_all(&0x7fff_ffff_u32.to_be_bytes()).await.unwrap();
        assert!(one.frame().await.unwrap_err().to_string().contains("allowed"));

        let (portal, mut peer) = pair(&executor, Duration::from_secs(30)).await;
        let one = portal.send(0, &ApiVersionsRequest::default()).unwrap();
        peer.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n").await.unwrap();
        let error = one.frame().await.unwrap_err().to_string();
        assert!(error.contains("captive portal") && error.contains("peer:1"), "{error}");

        let (other, mut peer) = pair(&executor, Duration::from_secs(30)).await;
        let one = other.send(0, &ApiVersionsRequest::default()).unwrap();
        put_response(&mut peer, [9; 4], b"").await;
        assert!(one.frame().await.unwrap_err().to_string().contains("out of order"));

        let (silent, _peer) = pair(&executor, Duration::from_millis(20)).await;
        let one = silent.send(0, &ApiVersionsRequest::default()).unwrap();
        assert!(one.frame().await.unwrap_err().to_string().contains("in time"));
        assert!(silent.is_closed() && !connection.peer().is_empty());
    }));
}
