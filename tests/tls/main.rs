//! TLS of a running gateway, with certificates made by `brooklet cert`: every listener, both versions, who is let in, and certificates that
//! change while it runs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

mod cold_boot;
#[path = "../common/mod.rs"]
mod common;
mod site;
mod unprivileged;

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use common::{free_addr, gateway::Gateway, wait_for, wire::Wire};
use site::{Site, TlsStream, connect, connect_over, shown};

/// An end to waiting in vain.
const SOON: Duration = Duration::from_secs(120);

/// A gateway with TLS beside what is in the clear (for nobody in particular), on all listeners; where TLS is spoken: native, Kafka, MQTT.
fn gateway(site: &Site, more: &str) -> (Gateway, [SocketAddr; 3]) {
    let addrs = [free_addr(), free_addr(), free_addr()];
    let mut config = more.to_owned();
    for (name, addr) in ["native", "kafka", "mqtt"].iter().zip(addrs) {
        let keys = site.listener("gw");
        config.push_str(&format!(
            "\n[listen.{name}]\nauth = [\"certificate\", \"none\"]\nif_no_rule = \"allow\"\n[listen.{name}.tls]\naddr = \"{addr}\"\nclient_ca = {:?}\n{keys}",
            site.path("ca.pem")
        ));
    }
    (Gateway::start(&config), addrs)
}

/// CONNECT of MQTT 3.1.1, answered by CONNACK.
fn mqtt_greets(mut stream: TlsStream) {
    stream.write_all(b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03abc").unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
}

/// Hello of the native protocol, answered by Welcome.
fn native_greets(mut stream: TlsStream) {
    use brooklet::frame::{ClientMessage, Hello, MAGIC, VERSION_MAX, VERSION_MIN};
    let hello = Hello {
        magic: MAGIC,
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        client_id: "dev",
        epoch: 0,
        next_sequence: 0,
        frame_bytes_max: 4_096,
        in_flight_max: 0,
        token: None,
    };
    let mut frame = Vec::new();
    ClientMessage::Hello(hello).append_to(&mut frame).unwrap();
    stream.write_all(&frame).unwrap();
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).unwrap();
    assert!(read > 8, "{read} bytes of a Welcome");
}

#[test]
fn every_listener_speaks_tls_to_those_who_are_let_in() {
    let site = Site::new();
    // Of failures in a row the first is told, and the others at this level.
    let (gateway, [native, kafka, mqtt]) = gateway(&site, "log.level = \"debug\"\n");
    let device = site.client(Some("dev"));
    native_greets(connect(native, &device).unwrap());
    mqtt_greets(connect(mqtt, &device).unwrap());
    let stream = connect(kafka, &device).unwrap();
    assert_eq!(stream.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert!(Wire::over(stream).api_versions().unwrap().len() > 20);
    // Without a certificate: the end comes with the first answer, as TLS 1.3 has it.
    let refused = connect(kafka, &site.client(None)).and_then(|stream| Wire::over(stream).api_versions());
    assert!(refused.is_err());
    let other = Site::new();
    assert!(connect(kafka, &other.client(Some("dev"))).is_err(), "another CA");
    // What is in the clear beside it goes on; what speaks no TLS is told apart.
    assert!(Wire::connect(&gateway.kafka.to_string()).unwrap().api_versions().is_ok());
    let mut plain = std::net::TcpStream::connect(kafka).unwrap();
    plain.write_all(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert_eq!(answer.first(), Some(&0x15), "an alert of TLS: {answer:?}");
    wait_for("the gateway to tell of a failed handshake", SOON, || {
        let log = gateway.log();
        let told = log.lines().any(|line| line.contains("no TLS:") && line.contains("shows no certificate"));
        told.then_some(())
    });
    // The command line too.
    let (ca, cert, key) = (site.path("ca.pem"), site.path("dev.pem"), site.path("dev.key"));
    let by_tls = |more: &[&str]| {
        let mut command = common::gateway::brooklet();
        let native = format!("localhost:{}", native.port());
        command.args(["produce", "t", "--broker", &native, "--tls-ca", ca.to_str().unwrap()]).args(more);
        common::gateway::run(&mut command, b"one\ntwo\n")
    };
    let known = by_tls(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    common::gateway::expect_ok("produce", &known);
    let unknown = by_tls(&[]);
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.status.code() == Some(1) && said.contains("certificate"), "{said}");
    assert_eq!(gateway.cli_ok(&["consume", "t"], "").lines().count(), 2);
    let status = gateway.cli_ok(&["status"], "");
    assert!(status.contains(&format!("by TLS       native {native}, Kafka {kafka}, MQTT {mqtt}")), "{status}");
    assert!(status.contains("certificate  listen.kafka.tls: CN=gw, until 20"), "{status}");
    // The other side may know of the end a moment before it is counted.
    wait_for("all handshakes to be counted", SOON, || {
        let json = gateway.cli_ok(&["status", "--json"], "");
        let status: brooklet::gateway::status::GatewayStatus = serde_json::from_str(&json).unwrap();
        let counted = status.metrics["tls_handshakes"] >= 4 && status.metrics["tls_handshakes_failed"] >= 3;
        counted.then_some(())
    });
}

#[test]
fn certificates_change_ten_times_under_load_and_nobody_notices() {
    let site = Site::new();
    let (gateway, [_, kafka, _]) = gateway(&site, "");
    let device = site.client(Some("dev"));
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let mut wire = Wire::over(connect(kafka, &device).unwrap());
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    wire.api_versions().expect("a connection that was there before goes on");
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let current = || shown(&connect(kafka, &device).unwrap());
    let mut held = current();
    for _ in 0..10 {
        site.cert_ok(&["gateway", "gw", "--host", "gw.example"]);
        hang_up(&gateway);
        held = wait_for("new handshakes with the new certificate", SOON, || {
            // Between two files of one pair the old one holds: never is there none.
            Some(current()).filter(|now| *now != held)
        });
        let so_far = answers.load(Ordering::Relaxed);
        wait_for("the load to go on", SOON, || (answers.load(Ordering::Relaxed) > so_far + 10).then_some(()));
    }
    // A key that is not the certificate's: refused, told, and the old one stays.
    fs::copy(site.path("dev.key"), site.path("gw.key")).unwrap();
    hang_up(&gateway);
    let status = wait_for("the failure to be told", SOON, || {
        Some(gateway.cli_ok(&["status"], "")).filter(|status| status.contains("is not the key of"))
    });
    assert!(status.contains("problem      listen.kafka.tls:") && status.contains("stays in use"), "{status}");
    assert_eq!(current(), held);
    stop.store(true, Ordering::Relaxed);
    load.into_iter().for_each(|thread| thread.join().unwrap());
    // Without a signal the change of a file is found too.
    site.cert_ok(&["gateway", "gw", "--host", "gw.example"]);
    wait_for("a change to be found", SOON, || Some(current()).filter(|now| *now != held));
}

fn hang_up(gateway: &Gateway) {
    let pid = rustix::process::Pid::from_raw(gateway.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
}

#[test]
fn who_is_revoked_stays_out() {
    let site = Site::new();
    let keys =
        format!("{}client_ca = {:?}\ncrl = {:?}\n", site.listener("gw"), site.path("ca.pem"), site.path("crl.pem"));
    let addr = free_addr();
    let gateway =
        Gateway::start(&format!("listen.kafka.if_no_rule = \"allow\"\n[listen.kafka.tls]\naddr = \"{addr}\"\n{keys}"));
    let ask = |name| connect(addr, &site.client(Some(name))).and_then(|stream| Wire::over(stream).api_versions());
    site.cert_ok(&["device", "other"]);
    assert!(ask("dev").is_ok() && ask("other").is_ok());
    let said = site.cert_ok(&["revoke", "dev"]);
    assert!(said.contains("CN=dev is revoked"), "{said}");
    assert!(site.cert_ok(&["revoke", "dev"]).contains("revoked already"));
    hang_up(&gateway);
    wait_for("the revoked one to be refused", SOON, || ask("dev").is_err().then_some(()));
    assert!(ask("other").is_ok());
}

/// A client's certificate, valid between two moments (Unix ms).
fn issue(site: &Site, name: &str, from: i64, until: i64) {
    use brooklet::tls::issue::{Issuer, Key, Order, Purpose, pem};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let ca = CertificateDer::from_pem_file(site.path("ca.pem")).unwrap();
    let key = Key::from_der(&PrivateKeyDer::from_pem_file(site.path("ca.key")).unwrap()).unwrap();
    let issuer = Issuer::new(&ca, key).unwrap();
    let key = Key::generate().unwrap();
    let order = Order {
        common_name: name.to_owned(),
        hosts: Vec::new(),
        purpose: Purpose::Client,
        not_before_ms: from,
        not_after_ms: until,
    };
    let der = issuer.issue(&order, &key).unwrap();
    fs::write(site.path(&format!("{name}.pem")), pem("CERTIFICATE", &der)).unwrap();
    fs::write(site.path(&format!("{name}.key")), key.to_pem()).unwrap();
}

#[test]
fn a_gateway_whose_time_is_not_known_lets_in_what_begins_later() {
    let site = Site::new();
    // By any clock of today these begin in the future, or have ended.
    issue(&site, "later", 3_000_000_000_000, 4_000_000_000_000);
    issue(&site, "ended", 1_000_000_000_000, 1_700_000_000_000);
    for (trust, let_in) in [("never", true), ("always", false)] {
        let (gateway, [_, kafka, _]) = gateway(&site, &format!("clock.trust = \"{trust}\"\n"));
        let ask = |name| connect(kafka, &site.client(Some(name))).and_then(|stream| Wire::over(stream).api_versions());
        assert_eq!(ask("later").is_ok(), let_in, "{trust}");
        assert!(ask("dev").is_ok() && ask("ended").is_err(), "{trust}");
        assert_eq!(gateway.cli_ok(&["status"], "").contains("certificates that begin later are taken"), let_in);
    }
}

#[test]
fn stalled_handshakes_and_too_many_connections_harm_only_themselves() {
    let site = Site::new();
    let more = "listen.max_handshakes = 2\nlisten.handshake_timeout = \"2s\"\nlisten.max_connections_per_address = 8\n";
    let (gateway, [_, kafka, _]) = gateway(&site, more);
    let device = site.client(Some("dev"));
    // Whoever is slow in that is thrown out as well: so until it works.
    let mut held = wait_for("a connection", SOON, || connect(kafka, &device).ok().map(Wire::over));
    let stalled: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(kafka).unwrap()).collect();
    // All turns are taken by those who say nothing; whoever says something gets one all the same. (On a loaded machine it may be taken for
    // one that stalls.)
    wait_for("a turn", SOON, || Wire::over(connect(kafka, &device).ok()?).api_versions().ok());
    for mut stream in stalled {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "its time is over");
    }
    let many: Vec<_> = (0..20).filter_map(|_| connect(kafka, &device).ok()).collect();
    assert!(many.len() < 8, "{} connections", many.len());
    assert!(held.api_versions().is_ok());
    drop(many);
    wait_for("the places to come back", SOON, || connect(kafka, &device).ok());
    wait_for("what was refused to be counted", SOON, || {
        let json = gateway.cli_ok(&["status", "--json"], "");
        let status: brooklet::gateway::status::GatewayStatus = serde_json::from_str(&json).unwrap();
        let metric = |name: &str| status.metrics[name];
        (metric("tls_handshakes_late") >= 3 && metric("connections_refused_per_address") >= 1).then_some(())
    });
}

/// A socket that comes from this address of this machine.
fn from(address: &str, to: SocketAddr) -> std::net::TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let from = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&from, &SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    connect(&from, &to).unwrap();
    std::net::TcpStream::from(from)
}

#[test]
fn one_address_that_stalls_in_all_its_handshakes_keeps_nobody_else_waiting() {
    let site = Site::new();
    // Nobody is thrown out for being slow: who waits for that waits in vain.
    let more = "listen.max_handshakes = 4\nlisten.handshake_timeout = \"1h\"\n";
    let (gateway, [native, kafka, _]) = gateway(&site, more);
    let device = site.client(Some("dev"));
    let metric = |name: &str| {
        let json = gateway.cli_ok(&["status", "--json"], "");
        let status: brooklet::gateway::status::GatewayStatus = serde_json::from_str(&json).unwrap();
        status.metrics[name]
    };
    // The beginning of a ClientHello, and no more; on more than one listener, as they share the turns.
    let stalled: Vec<_> = (0..8).map(|at| from("127.0.0.1", if at % 2 == 0 { kafka } else { native })).collect();
    for mut stream in &stalled {
        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01").unwrap();
    }
    wait_for("all to be there, most of them waiting", SOON, || {
        (metric("tls_handshaking") == 8 && metric("tls_handshakes_waited") == 6).then_some(())
    });
    for to in [kafka, kafka, native] {
        connect_over(from("127.0.0.2", to), &device).unwrap();
    }
    assert!(Wire::over(connect_over(from("127.0.0.3", kafka), &device).unwrap()).api_versions().is_ok());
    // A client is through a moment before the gateway is.
    wait_for("the others to be through", SOON, || (metric("tls_handshaking") == 8).then_some(()));
    assert_eq!(metric("tls_handshakes_late"), 0, "those are there all the time");
}

#[test]
fn what_is_made_has_the_right_modes_and_is_never_lost() {
    let site = Site::new();
    let mode = |name: &str| fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o777;
    for (name, expected) in
        [("ca.key", 0o600), ("gw.key", 0o600), ("dev.key", 0o600), ("ca.pem", 0o644), ("gw.pem", 0o644)]
    {
        assert_eq!(mode(name), expected, "{name}");
    }
    let before = fs::read(site.path("ca.key")).unwrap();
    let again = site.cert(&["ca"]);
    assert_eq!((again.status.code(), fs::read(site.path("ca.key")).unwrap()), (Some(1), before));
    assert_eq!(site.cert(&["device", "ca"]).status.code(), Some(2));
    assert_eq!(site.cert(&["device", "a/b"]).status.code(), Some(2));
    let shown = common::gateway::run(common::gateway::brooklet().args(["cert", "show"]).arg(site.path("gw.pem")), b"");
    let shown = common::gateway::expect_ok("cert show", &shown);
    assert!(
        shown.contains("owner    CN=gw\n") && shown.contains("gw.example, gw, localhost, 127.0.0.1, ::1"),
        "{shown}"
    );
    // A key that others can read is not used: not to issue by, and not to serve by.
    fs::set_permissions(site.path("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = String::from_utf8_lossy(&site.cert(&["device", "late"]).stderr).into_owned();
    assert!(said.contains("chmod 600") && !site.path("late.pem").exists(), "{said}");
    fs::set_permissions(site.path("gw.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let config = site.path("brooklet.toml");
    fs::write(&config, format!("[listen.kafka.tls]\n{}", site.listener("gw"))).unwrap();
    let output = common::gateway::run(
        common::gateway::brooklet()
            .args(["serve", "--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--config"])
            .arg(&config)
            .args(["--data".as_ref(), site.path("data").as_os_str()]),
        b"",
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("listen.kafka.tls: ") && said.contains("chmod 600"),
        "{said}"
    );
}

/// What is wrong with files is found before anything is served.
#[test]
fn check_opens_what_a_configuration_names() {
    let site = Site::new();
    let config = site.path("brooklet.toml");
    let secret = site.path("password");
    let put = |path: &std::path::Path, text: &str, mode| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let check = |more: &[&str]| {
        let mut command = common::gateway::brooklet();
        let output = common::gateway::run(command.arg("check").arg(&config).args(more), b"");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    put(&secret, "hunter2\n", 0o600);
    let uplink = format!(
        "[uplink.up]\nbootstrap = [\"k:1\"]\ntls = {{ enabled = true, ca = {:?} }}\n\
         sasl = {{ mechanism = \"PLAIN\", username = \"gw\", password_file = {secret:?} }}\n",
        site.path("ca.pem")
    );
    fs::write(&config, format!("[listen.kafka.tls]\n{}{uplink}", site.listener("gw"))).unwrap();
    let (code, said) = check(&[]);
    assert!(code == Some(0) && said.contains("# listen.kafka.tls: CN=gw, until 20"), "{said}");
    let (_, json) = check(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["certificates"][0]["days_left"].as_i64() > Some(30), "{json}");
    // The others' part of a chain first.
    let [gw, ca] = ["gw.pem", "ca.pem"].map(|name| fs::read_to_string(site.path(name)).unwrap());
    let dev = fs::read_to_string(site.path("dev.pem")).unwrap();
    fs::write(site.path("gw.pem"), format!("{gw}{dev}{ca}")).unwrap();
    let (code, said) = check(&[]);
    assert!(code == Some(0) && said.contains("CN=gw is issued by CN=Site, but what follows it is CN=dev"), "{said}");
    fs::write(site.path("gw.pem"), &gw).unwrap();
    // All at once, each by its key and line.
    put(&secret, "hunter2\n", 0o644);
    put(&site.path("gw.key"), &fs::read_to_string(site.path("dev.key")).unwrap(), 0o600);
    fs::remove_file(site.path("ca.pem")).unwrap();
    let (code, said) = check(&[]);
    assert_eq!(code, Some(2));
    for expected in [
        "brooklet.toml:2: listen.kafka.tls: ",
        "gw.key is not the key of ",
        "uplink.up.tls: ",
        "ca.pem: No such file",
        "uplink.up.sasl.password_file: ",
        "chmod 600",
    ] {
        assert!(said.contains(expected), "{expected:?} in {said}");
    }
    assert!(!said.contains("hunter2") && check(&["--no-files"]).0 == Some(0), "{said}");
    put(&site.path("gw.key"), "", 0o644);
    assert!(check(&[]).1.contains("everyone on this machine may get at this key"));
    // Ended.
    fs::write(site.path("ca.pem"), &ca).unwrap();
    issue(&site, "gw", 1_000_000_000_000, 1_700_000_000_000);
    fs::set_permissions(site.path("gw.key"), fs::Permissions::from_mode(0o600)).unwrap();
    put(&secret, "hunter2\n", 0o600);
    fs::write(&config, format!("clock.trust = \"always\"\n[listen.kafka.tls]\n{}", site.listener("gw"))).unwrap();
    let (code, said) = check(&[]);
    assert!(code == Some(2) && said.contains("the certificate of CN=gw has expired"), "{said}");
}
