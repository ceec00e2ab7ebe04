//! Both sides against each other, over sockets of this process, with certificates made here.

mod engine;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures_lite::future::{block_on, zip};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use smol::net::unix::UnixStream;

use super::issue::{HostName, Issuer, Key, Order, Purpose, Revoked, authority, pem};
use super::*;
use crate::calendar::MS_PER_DAY;
use crate::config::{ClientAuth, LinkTlsConfig, ListenTlsConfig};

/// 2026-11-21 20:00 UTC.
const NOW: i64 = 1_795_291_200_000;
const YEAR: i64 = 365 * MS_PER_DAY;

/// A clock that the test sets.
#[derive(Clone)]
struct Hands(Arc<(AtomicI64, AtomicBool)>);

impl Hands {
    fn new() -> Self {
        Self(Arc::new((AtomicI64::new(NOW), AtomicBool::new(true))))
    }

    fn set(&self, ms: i64, trusted: bool) {
        self.0.0.store(ms, Ordering::Relaxed);
        self.0.1.store(trusted, Ordering::Relaxed);
    }

    fn clock(&self) -> CertClock {
        let hands = self.clone();
        CertClock::new(move || CertTime {
            ms: hands.0.0.load(Ordering::Relaxed),
            trusted: hands.0.1.load(Ordering::Relaxed),
        })
    }
}

/// A CA in a directory of its own, and a clock.
struct Site {
    dir: tempfile::TempDir,
    issuer: Issuer,
    hands: Hands,
}

fn order(name: &str, purpose: Purpose, valid: (i64, i64)) -> Order {
    let hosts = vec![HostName::Dns("gw.example".to_owned()), HostName::Ip(IpAddr::from([127, 0, 0, 1]))];
    let hosts = if purpose == Purpose::Gateway { hosts } else { Vec::new() };
    Order { common_name: name.to_owned(), hosts, purpose, not_before_ms: valid.0, not_after_ms: valid.1 }
}

fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

impl Site {
    fn new() -> Self {
        Self::named("Site")
    }

    fn named(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Key::generate().unwrap();
        let der = authority(&order(name, Purpose::Authority, (NOW - YEAR, NOW + 10 * YEAR)), &key).unwrap();
        write(&dir.path().join("ca.pem"), &pem("CERTIFICATE", &der));
        let site = Self { issuer: Issuer::new(&der, key).unwrap(), dir, hands: Hands::new() };
        site.issue("gw", Purpose::Gateway, (NOW - MS_PER_DAY, NOW + YEAR));
        site.issue("dev", Purpose::Client, (NOW - MS_PER_DAY, NOW + YEAR));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Serial number of what was issued.
    fn issue(&self, name: &str, purpose: Purpose, valid: (i64, i64)) -> String {
        self.issue_as(name, order(name, purpose, valid))
    }

    /// A gateway's of these names.
    fn issue_for(&self, name: &str, hosts: &[&str]) -> String {
        let hosts = hosts.iter().map(|host| HostName::Dns((*host).to_owned())).collect();
        self.issue_as(name, Order { hosts, ..order(name, Purpose::Gateway, (NOW - YEAR, NOW + YEAR)) })
    }

    fn issue_as(&self, name: &str, order: Order) -> String {
        let key = Key::generate().unwrap();
        let der = self.issuer.issue(&order, &key).unwrap();
        write(&self.path(&format!("{name}.key")), &key.to_pem());
        write(&self.path(&format!("{name}.pem")), &pem("CERTIFICATE", &der));
        Certificate::parse(&der).unwrap().serial
    }

    fn listen(&self) -> ListenTlsConfig {
        ListenTlsConfig {
            cert: Some(self.path("gw.pem")),
            key: Some(self.path("gw.key")),
            ..ListenTlsConfig::default()
        }
    }

    fn mutual(&self) -> ListenTlsConfig {
        ListenTlsConfig { client_ca: Some(self.path("ca.pem")), ..self.listen() }
    }

    fn link(&self) -> LinkTlsConfig {
        LinkTlsConfig { enabled: true, ca: Some(self.path("ca.pem")), ..LinkTlsConfig::default() }
    }

    fn device(&self) -> LinkTlsConfig {
        LinkTlsConfig { cert: Some(self.path("dev.pem")), key: Some(self.path("dev.key")), ..self.link() }
    }

    fn server(&self, config: &ListenTlsConfig) -> ServerTls {
        server("listen.test.tls", config, &[b"mqtt"], &self.hands.clock()).unwrap()
    }

    fn client(&self, config: &LinkTlsConfig) -> ClientTls {
        client("uplink.test.tls", config, &self.hands.clock())
    }
}

type Pair = (TlsStream<UnixStream>, TlsStream<UnixStream>);

/// A handshake and a byte each way; what went wrong on the server's side, and on the client's.
fn connect(server: &ServerTls, client: &ClientTls, host: &str) -> Result<Pair, (String, String)> {
    let (theirs, ours) = UnixStream::pair().unwrap();
    let called = connection(client, host).map_err(|why| (String::new(), why))?;
    let serve = async {
        let mut stream = accept(server, theirs).await?;
        stream.write_all(b"s").await?;
        stream.read_exact(&mut [0]).await?;
        Ok(stream)
    };
    let call = async {
        let mut stream = TlsStream::handshake(called, ours).await?;
        stream.write_all(b"c").await?;
        stream.read_exact(&mut [0]).await?;
        Ok(stream)
    };
    let (served, called): (std::io::Result<_>, std::io::Result<_>) = block_on(zip(serve, call));
    match (served, called) {
        (Ok(served), Ok(called)) => Ok((served, called)),
        (served, called) => {
            let text = |end: std::io::Result<_>| end.err().map_or(String::new(), |error| error.to_string());
            Err((text(served), text(called)))
        }
    }
}

fn said_to_client(server: &ServerTls, client: &ClientTls, host: &str) -> String {
    connect(server, client, host).map(|_| ()).unwrap_err().1
}

#[test]
fn the_client_is_known_by_its_certificate() {
    let site = Site::new();
    let (served, _) = connect(&site.server(&site.mutual()), &site.client(&site.device()), "gw.example").unwrap();
    let shown = served.peer_certificate().unwrap();
    assert_eq!((shown.names.subject.as_str(), shown.issuer.as_str()), ("CN=dev", "CN=Site"));
    assert!(!shown.is_authority);
    // By address, and without a certificate where none is asked for.
    let (served, _) = connect(&site.server(&site.listen()), &site.client(&site.link()), "127.0.0.1").unwrap();
    assert_eq!(served.peer_certificate(), None);
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let site = Site::new();
    site.issue_for("plant", &["plant.example", "*.plant.example"]);
    site.issue_for("lab", &["lab.example", "a.plant.example"]);
    let more = ["plant", "lab"].map(|name| (site.path(&format!("{name}.pem")), site.path(&format!("{name}.key"))));
    let server = site.server(&ListenTlsConfig { more: more.to_vec(), ..site.listen() });
    let client = site.client(&site.link());
    let shown = |host| {
        let (_, called) = connect(&server, &client, host)?;
        Ok::<_, (String, String)>(called.peer_certificate().unwrap().names.subject)
    };
    for (host, subject) in [
        ("gw.example", "CN=gw"),
        ("plant.example", "CN=plant"),
        ("pump.PLANT.example", "CN=plant"),
        // The first that fits.
        ("a.plant.example", "CN=plant"),
        ("lab.example", "CN=lab"),
        // An address is no name that is asked for.
        ("127.0.0.1", "CN=gw"),
    ] {
        assert_eq!(shown(host).as_deref(), Ok(subject), "{host}");
    }
    let why = shown("else.example").unwrap_err().1;
    assert!(why.contains("is not for else.example, but for ") && why.contains("gw.example"), "{why}");
    // Each is taken over and told of for itself; one that can't be used keeps all as they were.
    let subjects =
        || server.report().iter().map(|of| of.certificate.clone().unwrap().names.subject).collect::<Vec<_>>();
    assert_eq!(subjects(), ["CN=gw", "CN=plant", "CN=lab"]);
    let fresh = site.issue_for("lab", &["lab.example"]);
    server.look(false);
    assert_eq!(server.report()[2].certificate.as_ref().unwrap().serial, fresh);
    site.issue("lab", Purpose::Gateway, (NOW - YEAR, NOW - MS_PER_DAY));
    server.look(false);
    assert!(server.report()[0].failure.as_ref().unwrap().contains("CN=lab has expired"));
    assert_eq!(shown("lab.example").as_deref(), Ok("CN=lab"));
}

#[test]
fn another_protocol_is_refused_and_none_is_served() {
    let site = Site::new();
    let (server, client) = (site.server(&site.listen()), site.client(&site.link()));
    let ask = |protocols: &[&[u8]]| {
        let (theirs, ours) = UnixStream::pair().unwrap();
        let mut config = (*client.config().unwrap()).clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = rustls::pki_types::ServerName::try_from("gw.example").unwrap();
        let called = rustls::client::UnbufferedClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        let call = TlsStream::handshake(super::Connection::Client(called), ours);
        let (served, called) = block_on(zip(accept(&server, theirs), call));
        served.and(called).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(ask(&[]), Ok(()));
    assert_eq!(ask(&[b"http/1.1", b"mqtt"]), Ok(()));
    let why = ask(&[b"http/1.1"]).unwrap_err();
    assert!(why.contains("ALPN"), "{why}");
}

#[test]
fn much_goes_both_ways_at_once_and_the_end_is_seen() {
    let site = Site::new();
    let (served, mut called) = connect(&site.server(&site.listen()), &site.client(&site.link()), "gw.example").unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    let (mut reading, mut writing) = (served.clone(), served);
    let (mut back_reading, mut back_writing) = (called.clone(), called.clone());
    let (mut got, mut got_back) = (Vec::new(), vec![0; bytes.len()]);
    block_on(async {
        let send = async {
            writing.write_all(&bytes).await.unwrap();
        };
        let echo = async {
            back_writing.write_all(&bytes).await.unwrap();
        };
        let receive = async {
            let mut all = vec![0; bytes.len()];
            reading.read_exact(&mut all).await.unwrap();
            got = all;
        };
        let receive_back = async { back_reading.read_exact(&mut got_back).await.unwrap() };
        zip(zip(send, echo), zip(receive, receive_back)).await;
        called.close().await.unwrap();
        assert_eq!(reading.read(&mut [0; 8]).await.unwrap(), 0);
    });
    assert!(got == bytes && got_back == bytes);
}

#[test]
fn whoever_is_not_let_in_is_told_why() {
    let site = Site::new();
    let other = Site::named("Other");
    let (open, mutual) = (site.server(&site.listen()), site.server(&site.mutual()));
    let why = said_to_client(&open, &other.client(&other.link()), "gw.example");
    assert!(why.contains("not trusted here") && why.contains("tls.ca"), "{why}");
    let why = said_to_client(&open, &site.client(&site.link()), "gw.plant");
    assert!(why.contains("not for gw.plant, but for") && why.contains("gw.example"), "{why}");
    let (theirs, why) = connect(&mutual, &site.client(&site.link()), "gw.example").map(|_| ()).unwrap_err();
    assert!(theirs.contains("shows no certificate"), "{theirs}");
    assert!(why.contains("wants a certificate: set tls.cert"), "{why}");
    let stranger = LinkTlsConfig { ca: Some(site.path("ca.pem")), ..other.device() };
    let (theirs, why) = connect(&mutual, &site.client(&stranger), "gw.example").map(|_| ()).unwrap_err();
    assert!(theirs.contains("client_ca"), "{theirs}");
    assert!(why.contains("does not trust the CA"), "{why}");
    // A device's certificate is not one of a server.
    let device = ListenTlsConfig { cert: Some(site.path("dev.pem")), key: Some(site.path("dev.key")), ..site.listen() };
    let why = said_to_client(&site.server(&device), &site.client(&site.link()), "gw.example");
    assert!(why.contains("not for gw.example") || why.contains("serverAuth"), "{why}");
    let optional = ListenTlsConfig { client_auth: ClientAuth::Optional, ..site.mutual() };
    assert!(connect(&site.server(&optional), &site.client(&site.link()), "gw.example").is_ok());
}

#[test]
fn what_is_revoked_is_refused() {
    let site = Site::new();
    let serial = site.issue("lost", Purpose::Client, (NOW - YEAR, NOW + YEAR));
    let list = |revoked: &[Revoked], number| site.issuer.revoke(revoked, number, (NOW - YEAR, NOW - 1)).unwrap();
    let first = list(&[Revoked::new(&serial, NOW)], 7);
    let (read, number) = Revoked::read(&first).unwrap();
    assert!(number == 7 && read == [Revoked::new(&serial, NOW)] && Revoked::read(&list(&[], 1)).unwrap().0.is_empty());
    write(&site.path("crl.pem"), &pem("X509 CRL", &first));
    let config = ListenTlsConfig { crl: Some(site.path("crl.pem")), ..site.mutual() };
    let lost = LinkTlsConfig { cert: Some(site.path("lost.pem")), key: Some(site.path("lost.key")), ..site.link() };
    let server = site.server(&config);
    let (theirs, why) = connect(&server, &site.client(&lost), "gw.example").map(|_| ()).unwrap_err();
    assert!(theirs.contains("is revoked") && why.contains("is revoked"), "{theirs}; {why}");
    assert!(connect(&server, &site.client(&site.device()), "gw.example").is_ok());
    // A session that was begun before does not help past a newer list.
    write(&site.path("crl.pem"), &pem("X509 CRL", &list(&[], 8)));
    server.look(false);
    let client = site.client(&lost);
    connect(&server, &client, "gw.example").unwrap();
    let (again, _) = connect(&server, &client, "gw.example").unwrap();
    assert!(again.is_resumed() && again.peer_certificate().is_some());
    write(&site.path("crl.pem"), &pem("X509 CRL", &list(&[Revoked::new(&serial, NOW)], 9)));
    server.look(false);
    assert!(connect(&server, &client, "gw.example").is_err());
}

#[test]
fn a_session_ends_with_the_certificate_that_it_was_begun_with() {
    let site = Site::new();
    site.issue("dev", Purpose::Client, (NOW - YEAR, NOW + MS_PER_DAY / 24));
    let (server, client) = (site.server(&site.mutual()), site.client(&site.device()));
    connect(&server, &client, "gw.example").unwrap();
    site.hands.set(NOW + MS_PER_DAY / 48, true);
    assert!(connect(&server, &client, "gw.example").unwrap().0.is_resumed());
    site.hands.set(NOW + MS_PER_DAY / 12, true);
    let (theirs, _) = connect(&server, &client, "gw.example").map(|_| ()).unwrap_err();
    assert!(theirs.contains("has expired"), "{theirs}");
}

#[test]
fn a_trusted_clock_is_believed() {
    let site = Site::new();
    let (server, client) = (site.server(&site.mutual()), || site.client(&site.device()));
    site.hands.set(NOW + 2 * YEAR, true);
    let why = said_to_client(&server, &client(), "gw.example");
    assert!(why.contains("has expired at 2027-11-21"), "{why}");
    site.hands.set(NOW - YEAR / 2, true);
    let why = said_to_client(&server, &client(), "gw.example");
    assert!(why.contains("set the clock that is wrong"), "{why}");
}

#[test]
fn without_the_time_what_begins_later_is_taken_and_what_had_ended_is_not() {
    let site = Site::new();
    let (server, client) = (site.server(&site.mutual()), || site.client(&site.device()));
    // A cold boot: neither side has the time.
    site.hands.set(0, false);
    connect(&server, &client(), "gw.example").unwrap();
    site.hands.set(NOW - YEAR, false);
    connect(&server, &client(), "gw.example").unwrap();
    site.hands.set(NOW + 2 * YEAR, false);
    let why = said_to_client(&server, &client(), "gw.example");
    assert!(why.contains("has expired"), "{why}");
    // One that ends before another of its chain begins was never valid with it.
    site.issue("gw", Purpose::Gateway, (NOW - 3 * YEAR, NOW - 2 * YEAR));
    site.hands.set(NOW - 5 * YEAR / 2, false);
    assert!(connect(&site.server(&site.listen()), &client(), "gw.example").is_ok(), "no intermediate begins later");
}

#[test]
fn files_that_change_are_taken_over_if_they_are_good() {
    let site = Site::new();
    let server = site.server(&site.listen());
    let client = site.client(&site.link());
    let serial = || {
        let (_, called) = connect(&server, &site.client(&site.link()), "gw.example").unwrap();
        called.peer_certificate().unwrap().serial
    };
    let (first_served, mut first_called) = connect(&server, &client, "gw.example").unwrap();
    let mut held = serial();
    for round in 1..=10 {
        let fresh = site.issue("gw", Purpose::Gateway, (NOW - YEAR, NOW + YEAR));
        server.look(false);
        assert_ne!(held, fresh);
        held = serial();
        assert_eq!((held.clone(), server.report()[0].reloads), (fresh, round));
    }
    // What was there before goes on.
    block_on(async {
        let mut first_served = first_served;
        first_served.write_all(b"on").await.unwrap();
        first_called.read_exact(&mut [0; 2]).await.unwrap();
    });
    // Expired; of another key; damaged: the old one stays.
    let refused = |expected: &str| {
        server.look(false);
        let failure = server.report().remove(0).failure.unwrap();
        assert!(failure.contains(expected), "{failure}");
        assert_eq!((serial(), server.report()[0].reloads), (held.clone(), 10));
    };
    site.issue("gw", Purpose::Gateway, (NOW - YEAR, NOW - MS_PER_DAY));
    refused("expired at 2026-11-20");
    write(&site.path("gw.key"), &Key::generate().unwrap().to_pem());
    refused("is not the key of");
    write(&site.path("gw.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n");
    refused("is not whole");
    std::fs::remove_file(site.path("gw.pem")).unwrap();
    refused("No such file");
    let soon = site.issue("gw", Purpose::Gateway, (NOW - YEAR, NOW + 29 * MS_PER_DAY));
    server.look(false);
    let report = server.report().remove(0);
    assert!(report.failure.is_none() && report.expires_soon && !report.expired && serial() == soon);
    site.hands.set(NOW + 30 * MS_PER_DAY, true);
    assert!(server.report()[0].expired);
}

#[test]
fn keys_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let mode = |mode| std::fs::set_permissions(site.path("gw.key"), std::fs::Permissions::from_mode(mode)).unwrap();
    let load = || server("listen.test.tls", &site.listen(), &[], &site.hands.clock()).map(|_| ());
    for bad in [0o644, 0o604, 0o660] {
        mode(bad);
        let why = load().unwrap_err();
        assert!(why.contains("chmod 600") && why.contains("gw.key") && why.starts_with("listen.test.tls"), "{why}");
    }
    mode(0o640);
    load().unwrap();
    // One with a password is said to be one.
    let key = std::fs::read(site.path("gw.key")).unwrap();
    std::fs::write(
        site.path("gw.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let why = load().unwrap_err();
    assert!(why.contains("gw.key: the key has a password") && why.contains("openssl pkey -in"), "{why}");
    std::fs::write(site.path("gw.key"), key).unwrap();
    // As uplinks go: what can't be read is told at the call, and the next one tries again.
    let missing = LinkTlsConfig { ca: Some(site.path("none.pem")), ..site.link() };
    let (server, client) = (site.server(&site.listen()), site.client(&missing));
    assert!(said_to_client(&server, &client, "gw.example").contains("none.pem"));
    std::fs::copy(site.path("ca.pem"), site.path("none.pem")).unwrap();
    connect(&server, &client, "gw.example").unwrap();
}

#[test]
fn what_speaks_no_tls_is_told_apart() {
    let site = Site::new();
    let (mut theirs, ours) = UnixStream::pair().unwrap();
    let called = connection(&site.client(&site.link()), "gw.example").unwrap();
    block_on(theirs.write_all(b"\0\0\0\x04\0\0\0\x01")).unwrap();
    let why = block_on(TlsStream::handshake(called, ours)).unwrap_err().to_string();
    assert!(why.contains("does not speak TLS"), "{why}");
}
