//! TLS with other people's programs, all with certificates made by `brooklet cert`: kcat, mosquitto and OpenSSL as clients of a gateway,
//! Apache Kafka as the centre of an uplink and a downlink.

use std::{
    fs,
    io::{BufReader, Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::{
    common::{
        free_addr,
        gateway::{Gateway, expect_ok, run},
        peers::{consume, given, have_kcat, kafka, kcat, kcat_ok},
        wait_for,
        wire::create_topic,
    },
    kcat::{as_input, lines},
    uplink::{unique, wait_arrived},
};

const SOON: Duration = Duration::from_secs(120);

/// The directory of the certificates.
struct Certs(String);

fn certs() -> Option<Certs> {
    given("BROOKLET_TEST_CERTS").map(Certs)
}

impl Certs {
    fn path(&self, name: &str) -> String {
        PathBuf::from(&self.0).join(name).display().to_string()
    }

    /// A table of a listener that wants certificates of this CA.
    fn listener(&self, name: &str, addr: SocketAddr) -> String {
        let (cert, key, ca) = (self.path("gw.pem"), self.path("gw.key"), self.path("ca.pem"));
        let auth = format!("[listen.{name}]\nauth = [\"certificate\", \"none\"]\nif_no_rule = \"allow\"\n");
        format!("{auth}[listen.{name}.tls]\naddr = \"{addr}\"\ncert = {cert:?}\nkey = {key:?}\nclient_ca = {ca:?}\n")
    }

    /// Keys of an uplink or downlink.
    fn link(&self, owner: &str) -> String {
        let (cert, key, ca) =
            (self.path(&format!("{owner}.pem")), self.path(&format!("{owner}.key")), self.path("ca.pem"));
        format!("tls = {{ enabled = true, ca = {ca:?}, cert = {cert:?}, key = {key:?} }}\n")
    }
}

#[test]
fn kcat_speaks_tls_and_shows_a_certificate() {
    let (true, Some(certs)) = (have_kcat(), certs()) else { return };
    let addr = free_addr();
    let gateway = Gateway::start(&certs.listener("kafka", addr));
    let broker = addr.to_string();
    let ca = format!("ssl.ca.location={}", certs.path("ca.pem"));
    let own = [
        format!("ssl.certificate.location={}", certs.path("dev.pem")),
        format!("ssl.key.location={}", certs.path("dev.key")),
    ];
    let stranger = ["-b", &broker, "-X", "security.protocol=ssl", "-X", &ca];
    let known = [&stranger[..], &["-X", &own[0], "-X", &own[1]]].concat();
    let sent = lines(500, 100);
    kcat_ok(&[&["-P", "-t", "t", "-K:"], &known[..]].concat(), &as_input(&sent));
    let got = kcat_ok(&[&["-C", "-t", "t", "-e", "-q", "-f", "%k:%s\n"], &known[..]].concat(), b"");
    assert_eq!(got.as_bytes(), as_input(&sent));
    let refused = kcat(&[&["-L", "-m", "5"], &stranger[..]].concat(), b"");
    assert!(!refused.status.success());
    assert_eq!(consume(&gateway.kafka.to_string(), "t", &[]).len(), 500);
}

#[test]
fn mosquitto_speaks_tls() {
    let (Some(_), Some(certs)) = (given("BROOKLET_TEST_MOSQUITTO_PUB"), certs()) else { return };
    let addr = free_addr();
    let _gateway = Gateway::start(&certs.listener("mqtt", addr));
    let (port, ca, cert, key) =
        (addr.port().to_string(), certs.path("ca.pem"), certs.path("dev.pem"), certs.path("dev.key"));
    let common =
        ["-h", "localhost", "-p", &port, "-V", "5", "-q", "1", "--cafile", &ca, "--cert", &cert, "--key", &key];
    // Retained, so that it does not matter who is first.
    let publish = [&common[..], &["--tls-alpn", "mqtt", "-t", "plant/temp", "-r", "-m", "21.5"]].concat();
    expect_ok("mosquitto_pub", &run(Command::new("mosquitto_pub").args(publish), b""));
    let subscribe = [&common[..], &["-t", "plant/#", "-C", "1", "-W", "120"]].concat();
    let got = expect_ok("mosquitto_sub", &run(Command::new("mosquitto_sub").args(subscribe), b""));
    assert_eq!(got, "21.5\n");
    // http/1.1 is what WebSocket asks for, by the same certificates.
    let other = [&common[..], &["--tls-alpn", "h2", "-t", "t", "-m", "x"]].concat();
    assert!(!run(Command::new("mosquitto_pub").args(other), b"").status.success(), "another protocol");
}

#[test]
fn openssl_finds_nothing_wrong() {
    let (Some(_), Some(certs)) = (given("BROOKLET_TEST_OPENSSL"), certs()) else { return };
    let openssl = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| arg.replace("CERTS", &certs.0)).collect();
        let output = run(Command::new("timeout").arg("120").arg("openssl").args(&args), b"");
        expect_ok(&format!("openssl {}", args.join(" ")), &output)
    };
    openssl(&["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "CERTS/ca.pem", "CERTS/gw.pem"]);
    openssl(&["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "CERTS/ca.pem", "CERTS/dev.pem"]);
    let strict = ["verify", "-x509_strict", "-crl_check", "-CRLfile", "CERTS/crl.pem", "-CAfile", "CERTS/ca.pem"];
    openssl(&[&strict[..], &["CERTS/dev.pem"]].concat());
    let addr = free_addr();
    let _gateway = Gateway::start(&certs.listener("kafka", addr));
    let (at, session) = (addr.to_string(), certs.path("session"));
    for version in ["-tls1_2", "-tls1_3"] {
        let who =
            ["-CAfile", "CERTS/ca.pem", "-cert", "CERTS/dev.pem", "-key", "CERTS/dev.key", "-verify_return_error"];
        let call = ["s_client", "-connect", &at, "-verify_hostname", "gw", version];
        let _ = fs::remove_file(&session);
        // By TLS 1.3 the ticket comes after the handshake, and is written when it comes.
        let kept = |_: &str| fs::metadata(&session).is_ok_and(|file| file.len() > 0);
        let first = talk(&certs, &[&call[..], &who[..], &["-sess_out", &session]].concat(), kept);
        assert!(first.contains("Verification: OK") && first.contains("Verified peername: gw"), "{first}");
        let shaken = |said: &str| said.contains("Reused, ") || said.contains("New, ");
        let again = talk(&certs, &[&call[..], &who[..], &["-sess_in", &session]].concat(), shaken);
        assert!(again.contains("Reused, TLSv1."), "{version}: {again}");
    }
}

/// What `openssl s_client` says of a connection on which one ApiVersions is asked, which ends once it is `done` or the program gives up.
fn talk(certs: &Certs, args: &[&str], done: impl Fn(&str) -> bool) -> String {
    let args = args.iter().map(|arg| arg.replace("CERTS", &certs.0));
    let mut child = Command::new("timeout")
        .args(["120", "openssl"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff").unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let pipes: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    let readers = pipes.map(|pipe| {
        let said = Arc::clone(&said);
        thread::spawn(move || {
            BufReader::new(pipe).bytes().map_while(Result::ok).for_each(|byte| said.lock().unwrap().push(byte))
        })
    });
    let text = || String::from_utf8_lossy(&said.lock().unwrap()).into_owned();
    wait_for("openssl to have what it came for", SOON, || {
        (done(&text()) || child.try_wait().unwrap().is_some()).then_some(())
    });
    drop(stdin);
    child.wait().unwrap();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    text()
}

#[test]
fn records_go_up_to_a_kafka_and_come_down_from_it_by_tls() {
    let (true, Some(plain), Some(certs)) = (have_kcat(), kafka(), certs()) else { return };
    let Some(centre) = given("BROOKLET_TEST_KAFKA_TLS") else { return };
    let (up, down) = (unique("tls-up"), unique("tls-down"));
    create_topic(&plain, &up, 2);
    create_topic(&plain, &down, 1);
    let sent = lines(300, 200);
    kcat_ok(&["-P", "-b", &plain, "-t", &down, "-K:"], &as_input(&sent));
    let link = format!("bootstrap = [{centre:?}]\n{}", certs.link("gw"));
    let config = format!(
        "[uplink.central]\n{link}topics = [{up:?}]\n[downlink.central-down]\n{link}topics = [{down:?}]\nfrom = \"earliest\"\n"
    );
    let gateway = Gateway::start(&config);
    let local = gateway.kafka.to_string();
    kcat_ok(&["-P", "-b", &local, "-t", &up, "-K:"], &as_input(&sent));
    wait_arrived(&plain, &up, sent.len());
    wait_for("records from the centre", SOON, || {
        (gateway.cli(&["topic", "describe", &down], "").status.success() && consume(&local, &down, &[]).len() == 300)
            .then_some(())
    });
    let check = gateway.cli_ok(&["uplink", "check"], "");
    assert!(check.contains("is CN=kafka, issued by CN=Brooklet CA, valid until 20"), "{check}");
    let status = gateway.cli_ok(&["status"], "");
    assert!(status.contains("certificate  uplink.central.tls: CN=gw, until"), "{status}");
    // Without a certificate of ours the broker lets nobody in, and the check says what to do.
    let bare = format!("tls = {{ enabled = true, ca = {:?} }}\n", certs.path("ca.pem"));
    let bare = Gateway::start(&format!("[uplink.central]\nbootstrap = [{centre:?}]\n{bare}"));
    let check = bare.cli(&["uplink", "check"], "");
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(said.contains("FAIL") && said.contains("set tls.cert and tls.key"), "{said}");
}
