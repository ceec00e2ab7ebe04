//! Client ids belong to the user who came with them first: MQTT sessions, and the sequences of native clients.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use brooklet::frame::{ClientMessage, ErrorCode, GatewayMessage, Hello, MAGIC, Split, VERSION_MAX, VERSION_MIN, split};

use crate::{PASSWORD, common::gateway::Gateway, local_ok, mqtt_addr};

const ALICE: Option<(&str, &str)> = Some(("alice", PASSWORD));
const BOB: Option<(&str, &str)> = Some(("bob", "hunter4-of-bob"));
const NOBODY: Option<(&str, &str)> = None;

fn with_two_users(more: &str) -> Gateway {
    let mut config = more.to_owned();
    for listener in ["native", "mqtt"] {
        let rights = format!("listen.{listener}.if_no_rule = \"allow\"\n");
        config.push_str(&format!("listen.{listener}.auth = [\"password\", \"none\"]\n{rights}"));
    }
    let gateway = Gateway::start(&config);
    for (name, password) in ALICE.into_iter().chain(BOB) {
        local_ok(&gateway, &["user", "add", name], &format!("{password}\n"));
    }
    gateway
}

/// An MQTT client that wants its session kept: flags and code of CONNACK, and the connection.
fn mqtt(addr: SocketAddr, level: u8, client: &str, login: Option<(&str, &str)>) -> ([u8; 2], TcpStream) {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let flags = if login.is_some() { 0xc0 } else { 0 };
    let mut body = [&text("MQTT")[..], &[level, flags, 0, 60]].concat();
    if level == 5 {
        // It expires after an hour.
        body.extend([5, 0x11, 0, 0, 14, 16]);
    }
    body.extend(text(client));
    for part in login.iter().flat_map(|(user, password)| [user, password]) {
        body.extend(text(part));
    }
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.write_all(&[&[0x10, body.len() as u8][..], &body].concat()).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x20);
    let mut connack = vec![0; usize::from(head[1] & 0x7f)];
    if head[1] & 0x80 != 0 {
        // A second byte of the length.
        let mut more = [0];
        stream.read_exact(&mut more).unwrap();
        connack.resize(connack.len() + 128 * usize::from(more[0]), 0);
    }
    stream.read_exact(&mut connack).unwrap();
    ([connack[0], connack[1]], stream)
}

/// Whether the connection goes on.
fn answers(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 2];
    stream.write_all(&[0xc0, 0]).is_ok() && stream.read_exact(&mut answer).is_ok() && answer == [0xd0, 0]
}

/// A native client that wants to publish: its epoch, or why not.
fn native(gateway: &Gateway, client: &str, login: Option<(&str, &str)>) -> Result<(u64, TcpStream), ErrorCode> {
    let token = login.map(|(user, password)| format!("\0{user}\0{password}"));
    let hello = Hello {
        magic: MAGIC,
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        client_id: client,
        epoch: 0,
        next_sequence: 0,
        frame_bytes_max: 4_096,
        in_flight_max: 8,
        token: token.as_deref().map(str::as_bytes),
    };
    let mut frame = Vec::new();
    ClientMessage::Hello(hello).append_to(&mut frame).unwrap();
    let mut stream = TcpStream::connect(gateway.native).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.write_all(&frame).unwrap();
    let (mut got, mut bytes) = (Vec::new(), [0; 512]);
    loop {
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "closed without a word");
        got.extend_from_slice(&bytes[..read]);
        if let Split::Frame { body, .. } = split(&got, 4_096).unwrap() {
            return match GatewayMessage::decode(body).unwrap() {
                GatewayMessage::Welcome(welcome) => Ok((welcome.epoch, stream)),
                GatewayMessage::Failed(failed) => Err(failed.code),
                other => panic!("{other:?}"),
            };
        }
    }
}

/// Publishes one line under a client's id.
fn publish(gateway: &Gateway, client: &str, login: Option<(&str, &str)>) -> bool {
    use brooklet::client::{Address, Login, Publisher, PublisherOptions};
    use brooklet::device::Reading;
    let place = Address::Tcp(gateway.native.to_string());
    let address = match login {
        None => place,
        Some((user, password)) => {
            let login = Login { user: user.to_owned(), password: brooklet::secret::Secret::new(password) };
            Address::As(Box::new(place), login)
        }
    };
    smol::block_on(async {
        let publisher = Publisher::open(&address, PublisherOptions::new(client)).await.ok()?;
        let topic = publisher.topic("t").ok()?;
        publisher.publish(&Reading::new(topic, b"x")).await.ok()?;
        publisher.flush().await.ok()
    })
    .is_some()
}

#[test]
fn an_mqtt_session_is_its_users_only() {
    let mut gateway = with_two_users("");
    let mqtt_at = mqtt_addr(&gateway);
    let (told, mut alice) = mqtt(mqtt_at, 5, "pump", ALICE);
    assert_eq!(told, [0, 0]);
    for (level, no) in [(5, 0x87), (4, 5)] {
        for stranger in [BOB, NOBODY] {
            assert_eq!(mqtt(mqtt_at, level, "pump", stranger).0, [0, no], "{stranger:?}");
        }
    }
    assert!(answers(&mut alice), "nobody has ended her connection");
    drop(alice);
    // What nobody in particular has made is for whoever comes, and then is his.
    assert_eq!(mqtt(mqtt_at, 5, "open", NOBODY).0, [0, 0]);
    assert_eq!(mqtt(mqtt_at, 5, "open", BOB).0, [1, 0]);
    assert_eq!(mqtt(mqtt_at, 5, "open", NOBODY).0, [0, 0x87]);
    gateway.stop();
    gateway.launch();
    let mqtt_at = mqtt_addr(&gateway);
    assert_eq!(mqtt(mqtt_at, 5, "pump", BOB).0, [0, 0x87], "over a restart, too");
    assert_eq!(mqtt(mqtt_at, 5, "open", NOBODY).0, [0, 0x87]);
    assert_eq!(mqtt(mqtt_at, 5, "pump", ALICE).0, [1, 0]);
    let json = local_ok(&gateway, &["status", "--json"], "");
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status["metrics"]["client_ids_refused"], 2);
}

#[test]
fn a_native_clients_sequences_are_its_users_only() {
    let mut gateway = with_two_users("topic.auto_create = true\n");
    let refused = |gateway: &Gateway, login| matches!(native(gateway, "pump", login), Err(ErrorCode::NotAuthorized));
    let (epoch, alice) = native(&gateway, "pump", ALICE).unwrap();
    // While she is there, and nothing of her is stored yet.
    assert!(refused(&gateway, BOB) && refused(&gateway, NOBODY));
    drop(alice);
    assert!(publish(&gateway, "pump", ALICE));
    for _ in 0..2 {
        assert!(refused(&gateway, BOB) && refused(&gateway, NOBODY));
        gateway.stop();
        gateway.launch();
    }
    assert!(native(&gateway, "pump", ALICE).unwrap().0 > epoch);
    // The owner of the data directory may do everything, and takes nothing away.
    assert!(publish(&gateway, "open", NOBODY) && publish(&gateway, "open", BOB));
    assert!(!publish(&gateway, "open", ALICE));
}

#[test]
fn ids_are_bound_only_where_that_is_wanted() {
    let gateway = with_two_users("security.bind_client_ids = false\n");
    let mqtt_at = mqtt_addr(&gateway);
    assert_eq!(mqtt(mqtt_at, 5, "pump", ALICE).0, [0, 0]);
    assert_eq!(mqtt(mqtt_at, 5, "pump", BOB).0, [1, 0]);
    assert!(native(&gateway, "pump", ALICE).is_ok() && native(&gateway, "pump", BOB).is_ok());
}
