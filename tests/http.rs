//! The HTTP listener of a real process: what it shows, to whom, and what it refuses.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

mod common;
#[path = "tls/site.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod site;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use common::{
    free_addr,
    gateway::{Gateway, brooklet, run},
    wait_for,
};

const TOKEN: &str = "a token of enough bytes";
/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Status, head and body of one request on a connection of its own.
fn get(addr: SocketAddr, target: &str, fields: &str) -> (u16, String, Vec<u8>) {
    raw(addr, &format!("GET {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n{fields}\r\n"))
}

fn raw(addr: SocketAddr, request: &str) -> (u16, String, Vec<u8>) {
    answer(connect(addr), request)
}

fn answer(mut stream: impl Read + Write, request: &str) -> (u16, String, Vec<u8>) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // What was not read of a refused request resets the connection behind the answer.
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer") + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (head[9..12].parse().unwrap(), head, answer[end..].to_vec())
}

fn text(addr: SocketAddr, target: &str) -> String {
    let (status, head, body) = get(addr, target, "");
    assert_eq!(status, 200, "{target}: {head}");
    String::from_utf8(body).unwrap()
}

fn start(config: &str) -> (Gateway, SocketAddr) {
    let addr = free_addr();
    let gateway = Gateway::start(&format!("listen.http.addr = \"{addr}\"\n{config}"));
    (gateway, addr)
}

#[test]
fn it_shows_the_same_by_every_way() {
    let (gateway, addr) = start("");
    gateway.cli_ok(&["produce", "readings"], "21.5\n22\n");
    assert_eq!(gateway.cli_ok(&["consume", "readings"], ""), "21.5\n22\n");
    let status: serde_json::Value = serde_json::from_str(&text(addr, "/status.json")).unwrap();
    let by_socket: serde_json::Value = serde_json::from_str(&gateway.cli_ok(&["status", "--json"], "")).unwrap();
    for field in ["gateway", "version", "topics", "http", "groups", "labels"] {
        assert_eq!(status[field], by_socket[field], "{field}");
    }
    assert_eq!(status["http"], addr.to_string());
    let metrics = text(addr, "/metrics");
    for sample in [
        "brooklet_received_records_total{gateway=",
        "protocol=\"native\"} 2\n",
        "brooklet_sent_records_total{",
        "brooklet_topic_accepted_records_total{",
        "brooklet_connections{",
    ] {
        assert!(metrics.contains(sample), "{sample}: {metrics}");
    }
    assert_eq!((text(addr, "/healthz").as_str(), text(addr, "/readyz").as_str()), ("ok\n", "ok\n"));

    let (status, head, body) = get(addr, "/", "");
    assert!(status == 200 && body.starts_with(b"<!doctype html>") && head.contains("text/html"), "{head}");
    for field in ["Content-Security-Policy: default-src 'none'", "nosniff", "no-store", "X-Frame-Options: DENY"] {
        assert!(head.contains(field), "{field}: {head}");
    }
    let (_, head, zipped) = get(addr, "/", "Accept-Encoding: gzip\r\n");
    assert!(head.contains("Content-Encoding: gzip") && zipped.len() < body.len() / 2, "{head}");
    let mut unzipped = Vec::new();
    flate2::read::GzDecoder::new(&zipped[..]).read_to_end(&mut unzipped).unwrap();
    assert_eq!(unzipped, body);
}

#[test]
fn it_changes_nothing_and_takes_no_more_than_a_head() {
    let (gateway, addr) = start("");
    let status = |request: &str| raw(addr, request).0;
    let host = format!("Host: {addr}\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&format!("POST / HTTP/1.1\r\nContent-Length: 0\r\n{host}")), 405);
    assert_eq!(status(&format!("DELETE /metrics HTTP/1.1\r\n{host}")), 405);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nContent-Length: 4\r\n{host}body")), 413);
    assert_eq!(status(&format!("GET /nothing HTTP/1.1\r\n{host}")), 404);
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n{host}", "x".repeat(2_000))), 414);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nX: {}\r\n{host}", "x".repeat(9_000))), 431);
    assert_eq!(status(&format!("GET / HTTP/3.0\r\n{host}")), 505);
    assert_eq!(status("\u{16}\u{3}\u{1}\u{2}\u{0}"), 400);
    assert_eq!(status("GET /status.json HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), 421);
    let (_, head, body) = raw(addr, &format!("HEAD /metrics HTTP/1.1\r\n{host}"));
    assert!(body.is_empty() && !head.contains("Content-Length: 0"), "{head}");

    // Several requests on one connection, one of them in two pieces, the others at once.
    let mut stream = connect(addr);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    let (first, second) = request.split_at(10);
    stream.write_all(first.as_bytes()).unwrap();
    stream.write_all(format!("{second}{request}{request}").as_bytes()).unwrap();
    let mut answers = BufReader::new(stream);
    for _ in 0..3 {
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 200 OK\r\n");
        while line != "\r\n" {
            line.clear();
            answers.read_line(&mut line).unwrap();
        }
        answers.read_exact(&mut [0; 3]).unwrap();
    }
    drop(gateway);
}

/// The next event: its name and its data.
fn event(stream: &mut impl BufRead) -> (String, serde_json::Value) {
    let (mut name, mut data) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the events ended");
        match line.trim_end() {
            "" if !data.is_empty() => return (name, serde_json::from_str(&data).unwrap()),
            line => {
                name = line.strip_prefix("event: ").unwrap_or(&name).to_owned();
                data = line.strip_prefix("data: ").unwrap_or(&data).to_owned();
            }
        }
    }
}

#[test]
fn who_watches_is_told_what_changes() {
    let (mut gateway, addr) = start("");
    let watch = || {
        let mut stream = connect(addr);
        stream.write_all(format!("GET /events HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes()).unwrap();
        BufReader::new(stream)
    };
    let mut watcher = watch();
    let (name, status) = event(&mut watcher);
    assert_eq!((name.as_str(), &status["topics"]), ("status", &serde_json::json!([])));
    gateway.cli_ok(&["produce", "readings"], "21.5\n");
    let topics = wait_for("the change to be told", PATIENCE, || {
        let (name, patch) = event(&mut watcher);
        assert!(name == "patch" && patch.get("version").is_none(), "{patch}");
        patch.get("topics").cloned()
    });
    assert_eq!((&topics[0]["name"], &topics[0]["accepted"]["records"]), (&"readings".into(), &1.into()));
    // As many as may; the next is told so.
    let mut others: Vec<_> = (1..8).map(|_| watch()).collect();
    for other in &mut others {
        assert_eq!(event(other).0, "status");
    }
    assert_eq!(get(addr, "/events", "").0, 503);
    drop(others.pop());
    wait_for("the place to be free again", PATIENCE, || {
        let mut next = watch();
        let mut line = String::new();
        next.read_line(&mut line).unwrap();
        line.contains("200").then_some(())
    });
    // They end with the gateway, which does not wait for them.
    gateway.stop();
    let _ = watcher.read_to_end(&mut Vec::new());
}

/// A gateway that shows itself by TLS; with these keys of the listener, and of its TLS.
fn start_tls(site: &site::Site, keys: &str, tls_keys: &str) -> (Gateway, SocketAddr) {
    let addr = free_addr();
    let cert = site.listener("gw");
    (Gateway::start(&format!("[listen.http]\n{keys}\n[listen.http.tls]\naddr = \"{addr}\"\n{cert}{tls_keys}\n")), addr)
}

#[test]
fn by_tls_who_shows_a_certificate_reads_all_that_there_is() {
    let site = site::Site::new();
    let (gateway, addr) = start_tls(&site, "", &format!("client_ca = {:?}", site.path("ca.pem")));
    let device = site.client(Some("dev"));
    let get = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: gw.example\r\nConnection: close\r\n\r\n");
        answer(site::connect(addr, &device).unwrap(), &request)
    };
    let (status, head, body) = get("/");
    assert!(status == 200 && body.starts_with(b"<!doctype html>") && head.contains("text/html"), "{head}");
    let (status, _, metrics) = get("/metrics");
    assert!(status == 200 && String::from_utf8(metrics).unwrap().contains("brooklet_tls_handshakes_total{"));
    assert_eq!(get("/status.json").0, 200);
    let mut watcher = site::connect(addr, &device).unwrap();
    watcher.write_all(b"GET /events HTTP/1.1\r\nHost: gw.example\r\n\r\n").unwrap();
    let mut watcher = BufReader::new(watcher);
    assert_eq!(event(&mut watcher).0, "status");
    gateway.cli_ok(&["produce", "readings"], "21.5\n");
    wait_for("the change to be told", PATIENCE, || {
        let (name, patch) = event(&mut watcher);
        (name == "patch" && patch.get("topics").is_some()).then_some(())
    });
    // Without a certificate the end comes with the first answer, as TLS 1.3 has it; what speaks no TLS gets an alert.
    let asked = site::connect(addr, &site.client(None)).and_then(|mut stream| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: gw\r\n\r\n")?;
        stream.read_exact(&mut [0])
    });
    assert!(asked.is_err());
    let mut plain = connect(addr);
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: gw\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert_eq!(said.first(), Some(&0x15), "{said:?}");
}

#[test]
fn by_tls_a_token_is_asked_for_all_the_same() {
    let (site, dir) = (site::Site::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("token");
    fs::write(&path, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let (_gateway, addr) = start_tls(&site, &format!("token_file = {path:?}"), "");
    let anybody = site.client(None);
    let status = |fields: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n{fields}\r\n");
        answer(site::connect(addr, &anybody).unwrap(), &request).0
    };
    assert_eq!((status(""), status("Authorization: Bearer a guess of enough bytes\r\n")), (401, 401));
    assert_eq!(status(&format!("Authorization: Bearer {TOKEN}\r\n")), 200);
}

#[test]
fn who_has_no_token_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let (gateway, addr) = start(&format!("listen.http.token_file = \"{}\"\n", path.display()));
    for target in ["/", "/metrics", "/status.json", "/events", "/nothing", "/?token=wrong"] {
        let (status, head, body) = get(addr, target, "");
        let body = String::from_utf8(body).unwrap();
        assert!(status == 401 && head.contains("WWW-Authenticate: Bearer"), "{target}: {head}");
        assert!(
            !body.contains("brooklet_")
                && !body.contains(gateway.log().split("gateway ").nth(1).unwrap().split('\n').next().unwrap())
        );
    }
    // Whoever restarts what hangs needs none.
    assert_eq!(get(addr, "/healthz", "").0, 200);
    assert_eq!(get(addr, "/readyz", "").0, 200);
    assert_eq!(get(addr, "/metrics", &format!("Authorization: Bearer {TOKEN}\r\n")).0, 200);
    let (status, head, _) = get(addr, &format!("/?token={}", TOKEN.replace(' ', "%20")), "");
    assert_eq!(status, 303, "{head}");
    let cookie = head.split_once("Set-Cookie: ").unwrap().1.split(';').next().unwrap().to_owned();
    assert!(head.contains("HttpOnly; SameSite=Lax") && head.contains("Location: /\r\n"), "{head}");
    let with_cookie = format!("Cookie: {cookie}\r\n");
    assert_eq!((get(addr, "/", &with_cookie).0, get(addr, "/status.json", &with_cookie).0), (200, 200));
    assert!(!gateway.log().contains(TOKEN));
}

#[test]
fn others_than_this_machine_need_a_token_or_leave() {
    let check = |config: &str| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("brooklet.toml");
        fs::write(&file, config).unwrap();
        let out = run(brooklet().args(["check", "--no-files"]).arg(&file), b"");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    for open in ["0.0.0.0:9791", "[::]:9791", "10.0.0.1:80"] {
        let (code, said) = check(&format!("listen.http.addr = \"{open}\"\n"));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("listen.http.token_file") && said.contains("listen.http.anonymous = \"read\""), "{said}");
        assert_eq!(check(&format!("listen.http.addr = \"{open}\"\nlisten.http.anonymous = \"read\"\n")).0, Some(0));
        assert_eq!(check(&format!("listen.http.addr = \"{open}\"\nlisten.http.token_file = \"/t\"\n")).0, Some(0));
    }
    let tls = "tls = { cert = \"c\", key = \"k\", addr = \"0.0.0.0:9443\"";
    assert_eq!(check(&format!("[listen.http]\n{tls} }}\n")).0, Some(2));
    assert_eq!(
        check(&format!("[listen.http]\n{tls}, client_ca = \"a\" }}\n")).0,
        Some(0),
        "certificates say who comes"
    );
    assert_eq!(check(&format!("[listen.http]\n{tls}, client_ca = \"a\", client_auth = \"optional\" }}\n")).0, Some(2));
    let (code, said) = check("listen.http.token_file = \"/t\"\nlisten.http.anonymous = \"read\"\n");
    assert!(code == Some(2) && said.contains("take this or token_file"), "{said}");
    assert_eq!(check("listen.http.addr = \"0.0.0.0:9791\"\nlisten.http.enabled = false\n").0, Some(0));
}

#[test]
fn a_gateway_that_nobody_told_where_gives_way() {
    // Where another has it already, the default is as good as taken.
    let held = std::net::TcpListener::bind("127.0.0.1:9791");
    let site = site::Site::new();
    let (gateway, by_tls) = start_tls(&site, "", "");
    assert_eq!(gateway.cli_ok(&["produce", "readings"], "1\n"), "");
    let said = "no page and no metrics at the usual address: 127.0.0.1:9791 is in use";
    assert!(held.is_err() || gateway.log().contains(said), "{}", gateway.log());
    // What somebody chose beside it is served.
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(answer(site::connect(by_tls, &site.client(None)).unwrap(), request).0, 200);
    // Who was told where does not.
    let taken = free_addr();
    let _held = std::net::TcpListener::bind(taken).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut command = brooklet();
    command.arg("serve").arg("--data").arg(&data).args(["--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0"]);
    let out = run(command.args(["--mqtt", "127.0.0.1:0", "--http", &taken.to_string()]), b"");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && said.contains("listen.http.addr"), "{said}");
}
