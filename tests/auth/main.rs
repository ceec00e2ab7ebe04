//! Authentication of a running gateway: users made by `brooklet user`, and each protocol's own way to say who one is.

#![cfg(feature = "gateway")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod kafka;
mod owners;
mod shown;
mod uplink;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Output,
    time::Duration,
};

use brooklet::{
    client::{Address, ClientError, Connection, Login},
    frame::ErrorCode,
    sasl::Mechanism,
    secret::{ScramHash, Secret},
};
use common::{
    gateway::{Gateway, brooklet, expect_ok, run},
    wait_for,
};
use kafka::Client;

const PASSWORD: &str = "hunter2-of-alice";
const SCRAM: [Mechanism; 2] = [Mechanism::Scram(ScramHash::Sha256), Mechanism::Scram(ScramHash::Sha512)];

/// Runs a command over the local socket.
fn local(gateway: &Gateway, args: &[&str], stdin: &str) -> Output {
    run(brooklet().args(args).args(["--data".as_ref(), gateway.data_dir().as_os_str()]), stdin.as_bytes())
}

fn local_ok(gateway: &Gateway, args: &[&str], stdin: &str) -> String {
    expect_ok(&format!("brooklet {}", args.join(" ")), &local(gateway, args, stdin))
}

/// A gateway that wants passwords on all listeners, and has the user alice.
fn gateway(more: &str) -> Gateway {
    let mut config = "log.level = \"trace\"\n".to_owned();
    for listener in ["native", "kafka", "mqtt"] {
        // Rights are another matter.
        config
            .push_str(&format!("listen.{listener}.auth = [\"password\"]\nlisten.{listener}.if_no_rule = \"allow\"\n"));
    }
    config.push_str(more);
    let gateway = Gateway::start(&config);
    local_ok(&gateway, &["user", "add", "alice"], &format!("{PASSWORD}\n"));
    gateway
}

fn mqtt_addr(gateway: &Gateway) -> SocketAddr {
    let json = local_ok(gateway, &["status", "--json"], "");
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    status["mqtt"].as_str().unwrap().parse().unwrap()
}

/// The code of CONNACK, in 3.1.1 (`level` 4) or 5.0, and what comes behind it.
fn mqtt(addr: SocketAddr, level: u8, login: Option<(&str, &str)>) -> u8 {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let flags = if login.is_some() { 0xc2 } else { 0x02 };
    let mut body = [&text("MQTT")[..], &[level, flags, 0, 60]].concat();
    if level == 5 {
        body.push(0);
    }
    body.extend(text("device"));
    if let Some((user, password)) = login {
        body.extend(text(user));
        body.extend(text(password));
    }
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.write_all(&[&[0x10, body.len() as u8][..], &body].concat()).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack[0], 0x20);
    connack[3]
}

fn native(gateway: &Gateway, login: Option<(&str, &str)>) -> Result<(), ClientError> {
    let place = Address::Tcp(gateway.native.to_string());
    let address = match login {
        None => place,
        Some((user, password)) => {
            Address::As(Box::new(place), Login { user: user.to_owned(), password: Secret::new(password) })
        }
    };
    smol::block_on(async { Connection::open(&address, "test").await.map(drop) })
}

fn is_refused(outcome: &Result<(), ClientError>) -> bool {
    matches!(outcome, Err(ClientError::Refused(ErrorCode::NotAuthorized, _)))
}

#[test]
fn every_protocol_lets_in_who_knows_the_password_and_nobody_else() {
    let mut gateway = gateway("");
    for round in 0..2 {
        for mechanism in SCRAM.into_iter().chain([Mechanism::Plain]) {
            let mut client = Client::connect(gateway.kafka);
            client.api_versions();
            assert_eq!(client.authenticate(mechanism, "alice", PASSWORD), Ok(0), "{mechanism:?}");
            assert!(client.lists_topics(), "{mechanism:?}");
            for (user, password) in [("alice", "wrong"), ("nobody", PASSWORD)] {
                let why = Client::connect(gateway.kafka).authenticate(mechanism, user, password).unwrap_err();
                assert!(why.contains("user or password is wrong"), "{mechanism:?} {user}: {why}");
            }
        }
        let mqtt_addr = mqtt_addr(&gateway);
        for (level, wrong, nobody) in [(4, 4, 5), (5, 0x86, 0x87)] {
            assert_eq!(mqtt(mqtt_addr, level, Some(("alice", PASSWORD))), 0);
            assert_eq!(mqtt(mqtt_addr, level, Some(("alice", "wrong"))), wrong);
            assert_eq!(mqtt(mqtt_addr, level, Some(("nobody", PASSWORD))), wrong);
            assert_eq!(mqtt(mqtt_addr, level, None), nobody);
        }
        assert!(native(&gateway, Some(("alice", PASSWORD))).is_ok());
        assert!(is_refused(&native(&gateway, Some(("alice", "wrong")))) && is_refused(&native(&gateway, None)));
        // Users outlive the process.
        if round == 0 {
            gateway.stop();
            gateway.launch();
        }
    }
}

#[test]
fn passwords_change_and_users_go_at_once() {
    let gateway = gateway("");
    let enters = |user, password| native(&gateway, Some((user, password))).is_ok();
    assert!(enters("alice", PASSWORD) && enters("alice", PASSWORD));
    local_ok(&gateway, &["user", "passwd", "alice"], "another one\n");
    assert!(!enters("alice", PASSWORD) && enters("alice", "another one"));
    let file = gateway.data_dir().join("password");
    fs::write(&file, "from a file\n").unwrap();
    let add = ["user", "add", "bob", "--password-file", file.to_str().unwrap(), "--iterations", "5000"];
    mode(&file, 0o644);
    let open = local(&gateway, &add, "");
    assert!(String::from_utf8_lossy(&open.stderr).contains("chmod 600"), "{open:?}");
    mode(&file, 0o600);
    local_ok(&gateway, &add, "");
    assert!(enters("bob", "from a file"));
    let table = local_ok(&gateway, &["user", "list"], "");
    assert!(table.contains("alice") && table.contains("bob"), "{table}");
    let status = local_ok(&gateway, &["status"], "");
    assert!(status.contains("rights       0 rules, 2 users; 0 refused\n"), "{status}");
    assert!(table.contains("SCRAM-SHA-256 (5000 iterations), SCRAM-SHA-512 (5000 iterations)"), "{table}");
    for (args, said) in [
        (["user", "add", "bob"], "there is a user bob already"),
        (["user", "passwd", "carol"], "there is no user carol"),
        (["user", "remove", "carol"], "there is no user carol"),
        (["user", "add", "*"], "a user's name has"),
    ] {
        let refused = local(&gateway, &args, "x\n");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(said), "{args:?}: {refused:?}");
    }
    local_ok(&gateway, &["user", "remove", "bob"], "");
    assert!(!enters("bob", "from a file"));
}

#[test]
fn nothing_passes_before_authentication_and_little_comes_in() {
    let gateway = gateway("");
    // What is asked before closes the connection, whatever it is.
    let mut early = Client::connect(gateway.kafka);
    assert!(!early.lists_topics());
    let mut unknown = Client::connect(gateway.kafka);
    assert_eq!(
        unknown.handshake("GSSAPI").unwrap(),
        (33, vec!["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"].into_iter().map(str::to_owned).collect())
    );
    let mut bare = Client::connect(gateway.kafka);
    let (code, _, text) = bare.token(b"\0alice\0x").unwrap();
    assert_eq!((code, text.as_str()), (34, "SaslHandshake comes before SaslAuthenticate"));
    // A frame that would be taken later is too large now.
    let mut large = TcpStream::connect(gateway.kafka).unwrap();
    large.write_all(&100_000_u32.to_be_bytes()).unwrap();
    large.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    assert_eq!(large.read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    // Who has authenticated can't become another.
    local_ok(&gateway, &["user", "add", "bob"], "bob's\n");
    let mut client = Client::connect(gateway.kafka);
    assert_eq!(client.authenticate(SCRAM[0], "alice", PASSWORD), Ok(0));
    assert_eq!(client.authenticate(SCRAM[1], "alice", PASSWORD), Ok(0));
    assert!(client.lists_topics());
    assert!(client.authenticate(SCRAM[0], "bob", "bob's").unwrap_err().contains("another user"));
    // The oldest way: tokens without frames of their own.
    assert!(Client::connect(gateway.kafka).plain_without_frames("alice", PASSWORD));
    assert!(!Client::connect(gateway.kafka).plain_without_frames("alice", "wrong"));
}

#[test]
fn a_session_has_its_time_and_goes_on_by_authenticating_again() {
    let gateway = gateway("listen.kafka.auth_lifetime = \"1m\"\n");
    let mut client = Client::connect(gateway.kafka);
    assert_eq!(client.authenticate(SCRAM[0], "alice", PASSWORD), Ok(60_000));
    assert_eq!(client.authenticate(SCRAM[0], "alice", PASSWORD), Ok(60_000));
    assert!(client.lists_topics());
}

#[test]
fn who_fails_too_often_waits_but_not_who_is_known() {
    let gateway = gateway("");
    assert!(native(&gateway, Some(("alice", PASSWORD))).is_ok());
    let refused = wait_for("failures to be too many", Duration::from_secs(60), || {
        let why = native(&gateway, Some(("alice", "wrong"))).unwrap_err().to_string();
        why.contains("too many failures").then_some(why)
    });
    assert!(refused.contains("wait a while"), "{refused}");
    assert!(native(&gateway, Some(("alice", PASSWORD))).is_ok(), "that password was right before");
    let json = local_ok(&gateway, &["status", "--json"], "");
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    let metric = |name: &str| status["metrics"][name].as_i64().unwrap();
    assert!(metric("authentication_throttled") >= 1 && metric("authentication_failures") >= 20, "{json}");
}

#[test]
fn kafkas_own_tools_manage_users() {
    let gateway = gateway("");
    let mut client = Client::connect(gateway.kafka);
    assert_eq!(client.authenticate(SCRAM[1], "alice", PASSWORD), Ok(0));
    assert_eq!(client.users(&["alice"]), [("alice".to_owned(), 0, vec![(1, 4_096), (2, 4_096)])]);
    assert_eq!(client.set_user("carol", ScramHash::Sha512, "carol's", 8_192), (0, None));
    assert_eq!(
        client.users(&["carol", "dave"]),
        [("carol".to_owned(), 0, vec![(2, 8_192)]), ("dave".to_owned(), 91, vec![])]
    );
    assert_eq!(Client::connect(gateway.kafka).authenticate(SCRAM[1], "carol", "carol's"), Ok(0));
    assert!(Client::connect(gateway.kafka).authenticate(SCRAM[0], "carol", "carol's").is_err(), "not kept for it");
    assert_eq!(client.set_user("carol", ScramHash::Sha256, "carol's", 100).0, 93);
    assert_eq!(client.unset_user("carol", 1).0, 91);
    assert_eq!(client.unset_user("carol", 7).0, 33);
    assert_eq!(client.unset_user("carol", 2).0, 0);
    assert!(Client::connect(gateway.kafka).authenticate(SCRAM[1], "carol", "carol's").is_err());
}

/// Nothing that a gateway prints or keeps shows a password, whatever it was used for; at the most talkative level.
#[test]
fn no_secret_is_shown_or_kept() {
    let mut gateway = gateway("");
    let secrets = [PASSWORD, "hunter3-is-wrong", "hunter4-of-bob"];
    let mut said = String::new();
    for args in [&["status"][..], &["status", "--json"], &["user", "list", "--json"]] {
        said.push_str(&local_ok(&gateway, args, ""));
    }
    local_ok(&gateway, &["user", "add", "bob"], "hunter4-of-bob\n");
    local_ok(&gateway, &["user", "passwd", "bob"], "hunter4-of-bob\n");
    for (user, password) in [("alice", PASSWORD), ("alice", "hunter3-is-wrong"), ("bob", "hunter4-of-bob")] {
        let login = Some((user, password));
        said.push_str(&format!("{:?}", native(&gateway, login)));
        mqtt(mqtt_addr(&gateway), 5, login);
        for mechanism in SCRAM.into_iter().chain([Mechanism::Plain]) {
            said.push_str(&format!("{:?}", Client::connect(gateway.kafka).authenticate(mechanism, user, password)));
        }
    }
    gateway.stop();
    said.push_str(&gateway.log());
    assert!(said.contains("did not get in"), "{said}");
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} is shown");
        for file in files(&gateway.data_dir()) {
            let bytes = fs::read(&file).unwrap_or_default();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {}", file.display());
        }
    }
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
