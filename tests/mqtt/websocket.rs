//! MQTT over WebSocket, byte by byte: requests that are taken and refused, packets across frames, and what breaks the rules.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use brooklet::mqtt::{Ack, Connect, Packet, PacketId, Protocol, Publish, Qos, Split, split};

use super::client::Server;

const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: gateway:9001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\
                       Sec-WebSocket-Version: 13\r\n\r\n";
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

fn server() -> (Server, SocketAddr) {
    let server = Server::start_with(|config| {
        config.listen.mqtt.websocket = Some("127.0.0.1:0".parse().unwrap());
        config.listen.mqtt.websocket_origins = vec!["https://tools.example".to_owned()];
    });
    let at = server.gateway().addresses().into_iter().find(|(name, _)| *name == "WebSocket").unwrap().1.plain.unwrap();
    (server, at)
}

fn open(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream
}

/// What comes until the connection is closed.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("{error}"),
    }
}

/// What a request is answered that is refused.
fn refused(at: SocketAddr, request: &str) -> String {
    let mut stream = open(at);
    stream.write_all(request.as_bytes()).unwrap();
    String::from_utf8(rest(&mut stream)).unwrap()
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

struct Web {
    stream: TcpStream,
    data: Vec<u8>,
}

impl Web {
    /// A connection whose handshake is done; `early` goes out with the request.
    fn open(at: SocketAddr, request: &str, early: &[u8]) -> Self {
        let mut stream = open(at);
        stream.write_all(&[request.as_bytes(), early].concat()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        Self { stream, data: Vec::new() }
    }

    /// One that has said CONNECT.
    fn connect(at: SocketAddr, id: &str) -> Self {
        let mut web = Self::open(at, REQUEST, b"");
        web.send(&Packet::Connect(Connect { level: 4, client_id: id, clean_start: true, ..Connect::default() }));
        web.expect(|packet| matches!(packet, Packet::ConnAck(connack) if !connack.reason.is_error()));
        web
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn send(&mut self, packet: &Packet<'_>) {
        let bytes = encoded(packet);
        self.raw(&frame(BINARY, &bytes));
    }

    /// The next frame: its first byte and payload. The gateway does not mask.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 2];
        self.stream.read_exact(&mut header).unwrap();
        let mut length = usize::from(header[1]);
        if length == 126 {
            let mut long = [0; 2];
            self.stream.read_exact(&mut long).unwrap();
            length = usize::from(u16::from_be_bytes(long));
        }
        assert!(length < 126 || header[1] == 126, "a mask, or more than is sent here");
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        (header[0], payload)
    }

    fn expect(&mut self, is: impl FnOnce(&Packet<'_>) -> bool) {
        loop {
            if let Split::Packet { first, body, taken } = split(&self.data, 1 << 20).unwrap() {
                let packet = Packet::decode(first, body, Protocol::V3).unwrap();
                assert!(is(&packet), "{packet:?}");
                self.data.drain(..taken);
                return;
            }
            let (first, payload) = self.frame();
            assert_eq!(first, BINARY);
            self.data.extend(payload);
        }
    }
}

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes, Protocol::V3).unwrap();
    bytes
}

fn publish(payload: &[u8]) -> Packet<'_> {
    Packet::Publish(Publish {
        topic: "t",
        payload,
        qos: Qos::AtLeastOnce,
        packet_id: PacketId::new(5),
        ..Publish::default()
    })
}

#[test]
fn packets_come_through_however_they_lie_in_frames() {
    let (server, at) = server();
    let mut plain = server.client("plain");
    plain.subscribe("t", Qos::AtLeastOnce);
    // The first packet right behind the request, a byte a frame, with PINGs between.
    let connect =
        encoded(&Packet::Connect(Connect { level: 4, client_id: "web", clean_start: true, ..Connect::default() }));
    let mut early = frame(0x02, &connect[..1]);
    for byte in &connect[1..] {
        early.extend(frame(PING, b""));
        early.extend(frame(0x00, &[*byte]));
    }
    early.extend(frame(0x80, b""));
    let mut web = Web::open(at, REQUEST, &early);
    loop {
        match web.frame() {
            (PONG, payload) => assert_eq!(payload, b""),
            (BINARY, payload) => {
                assert_eq!(payload[0], 0x20, "CONNACK");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    // Two packets in one message, and a large one.
    web.raw(&frame(BINARY, &[encoded(&Packet::PingReq), encoded(&publish(b"small"))].concat()));
    web.expect(|packet| *packet == Packet::PingResp);
    web.expect(|packet| *packet == Packet::PubAck(Ack::of(PacketId::new(5).unwrap())));
    let large = [b'x'; 60_000];
    web.send(&publish(&large));
    web.expect(|packet| matches!(packet, Packet::PubAck(_)));
    assert_eq!(plain.payloads(2), ["small".to_owned(), String::from_utf8(large.to_vec()).unwrap()]);
    web.raw(&frame(PING, b"are you there"));
    assert_eq!(web.frame(), (PONG, b"are you there".to_vec()));
    web.raw(&frame(CLOSE, b"\x03\xe8bye"));
    assert_eq!(web.frame(), (CLOSE, b"\x03\xe8bye".to_vec()));
    assert_eq!(rest(&mut web.stream), b"");
}

#[test]
fn the_gateway_s_end_of_a_connection_is_told_by_close() {
    let (server, at) = server();
    let mut web = Web::connect(at, "web");
    web.send(&Packet::Disconnect(brooklet::mqtt::Reason::of(brooklet::mqtt::ReasonCode::SUCCESS)));
    assert_eq!(web.frame(), (CLOSE, 1000_u16.to_be_bytes().to_vec()));
    let mut web = Web::connect(at, "taken over");
    let _other = server.client("taken over");
    assert_eq!(web.frame(), (CLOSE, 1000_u16.to_be_bytes().to_vec()));
}

#[test]
fn requests_for_something_else_are_refused() {
    let (_server, at) = server();
    let change = |what, with| refused(at, &REQUEST.replacen(what, with, 1));
    for (what, with, status) in [
        ("/mqtt ", "/ ", "404"),
        ("Upgrade: websocket\r\n", "", "426"),
        ("Protocol: mqtt", "Protocol: chat", "400"),
        ("Host", "Origin: https://evil.example\r\nHost", "403"),
        ("Host: gateway:9001", "Host gateway", "400"),
        ("HTTP/1.1", "HTTP/3.0", "505"),
    ] {
        let answer = change(what, with);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{with}: {answer}");
    }
    let long = format!("GET /mqtt HTTP/1.1\r\n{}", "x: y\r\n".repeat(5_000));
    assert!(refused(at, &long).starts_with("HTTP/1.1 431 "));
    // Who speaks MQTT at once has the wrong port.
    assert!(refused(at, "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00").starts_with("HTTP/1.1 400 "));
    for (host, origin) in [("10.0.0.7:9001", "http://10.0.0.7:9001"), ("gateway:9001", "https://tools.example")] {
        let fields = format!("Origin: {origin}\r\nHost: {host}");
        Web::open(at, &REQUEST.replace("Host: gateway:9001", &fields), b"");
    }
    // A name that may lead here today and led elsewhere when the page was loaded.
    let rebound = change("Host", "Origin: http://gateway:9001\r\nHost");
    assert!(rebound.starts_with("HTTP/1.1 403 ") && rebound.contains("websocket_origins"), "{rebound}");
}

#[test]
fn broken_frames_end_their_connection_and_no_other() {
    let (server, at) = server();
    let mut honest = Web::connect(at, "honest");
    let cases: [(&[u8], u16); 6] = [
        (b"\x82\x02\xc0\x00", 1002),
        (&frame(0x81, b"text"), 1003),
        (&frame(0xc2, b"\xc0\x00"), 1002),
        (&frame(0x80, b"\xc0\x00"), 1002),
        (b"\x89\xfe\x00\x7e", 1002),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1002),
    ];
    for (bytes, code) in cases {
        let mut web = Web::connect(at, "bad");
        web.raw(bytes);
        assert_eq!(web.frame(), (CLOSE, code.to_be_bytes().to_vec()), "{bytes:02x?}");
        assert_eq!(rest(&mut web.stream), b"", "{bytes:02x?}");
    }
    // A message that claims to be huge, and bytes without end of nothing but PINGs.
    let mut web = Web::connect(at, "huge");
    web.raw(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\xc0\x00");
    web.expect(|packet| *packet == Packet::PingResp);
    let pings = frame(PING, &[7; 125]).repeat(100);
    let mut web = Web::connect(at, "pings");
    for _ in 0..20 {
        web.raw(&pings);
    }
    web.raw(&frame(BINARY, &encoded(&Packet::PingReq)));
    let mut pongs = 0;
    loop {
        match web.frame() {
            (PONG, payload) => assert_eq!(payload, [7; 125]),
            (BINARY, payload) => break assert_eq!(payload, encoded(&Packet::PingResp)),
            other => panic!("{other:?}"),
        }
        pongs += 1;
    }
    assert!((1..=2_000).contains(&pongs), "the newest PING is answered");
    honest.send(&Packet::PingReq);
    honest.expect(|packet| *packet == Packet::PingResp);
    drop(server);
}
