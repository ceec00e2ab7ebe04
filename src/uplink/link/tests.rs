//! TLS through a proxy, and tokens from a server: with a proxy, brokers and a token server of this process.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::executor::Executor;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use smol::net::{TcpListener, TcpStream};

use super::dial::{Calling, Dialer, Secure};
use super::meter::Meter;
use crate::config::{HostPort, HttpsUrl, LinkSaslConfig, LinkTlsConfig, ListenTlsConfig, SaslMechanism};
use crate::tls::issue::{HostName, Issuer, Key, Order, Purpose, authority, pem};
use crate::tls::{self, CertClock, CertTime, ServerTls};

const NOW: i64 = 1_795_291_200_000;
const DAY: i64 = 86_400_000;
const SECRET: &str = "s3cret & more";

fn clock() -> CertClock {
    CertClock::new(|| CertTime { ms: NOW, trusted: true })
}

/// A CA's directory with a server's certificate for `server.example`, which only the proxy can find.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let order = |common_name: &str, purpose, hosts| Order {
            common_name: common_name.to_owned(),
            hosts,
            purpose,
            not_before_ms: NOW - DAY,
            not_after_ms: NOW + DAY,
        };
        let key = Key::generate().unwrap();
        let ca = authority(&order("Site", Purpose::Authority, Vec::new()), &key).unwrap();
        site.put("ca.pem", &pem("CERTIFICATE", &ca));
        let (issuer, key) = (Issuer::new(&ca, key).unwrap(), Key::generate().unwrap());
        let hosts = vec![HostName::Dns("server.example".to_owned())];
        let server = issuer.issue(&order("server", Purpose::Gateway, hosts), &key).unwrap();
        site.put("server.pem", &pem("CERTIFICATE", &server));
        site.put("server.key", &key.to_pem());
        site.put("secret", &format!("{SECRET}\n"));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn server(&self) -> ServerTls {
        let (cert, key) = (Some(self.path("server.pem")), Some(self.path("server.key")));
        tls::server("server", &ListenTlsConfig { cert, key, ..ListenTlsConfig::default() }, &[], &clock()).unwrap()
    }

    fn secure(&self) -> Option<Secure> {
        let config = LinkTlsConfig { enabled: true, ca: Some(self.path("ca.pem")), ..LinkTlsConfig::default() };
        Secure::of(None, &Some(Arc::new(tls::client("link", &config, &clock()))))
    }

    fn dialer(&self, executor: &Arc<Executor>, proxy: Option<HostPort>) -> Dialer {
        let calling = Calling {
            client_id: "gw".to_owned(),
            connect_timeout: Duration::from_secs(120),
            request_timeout: Duration::from_secs(120),
            proxy,
            proxy_auth: None,
            tls: self.secure(),
            token_tls: self.secure(),
            sasl: LinkSaslConfig::default(),
        };
        Dialer::calling(executor, calling, &Arc::<Meter>::default())
    }

    fn asks(&self, host: &str, port: u16) -> LinkSaslConfig {
        LinkSaslConfig {
            mechanism: Some(SaslMechanism::OAuthBearer),
            token_url: HttpsUrl::parse(&format!("https://{host}:{port}/oauth2/token?x=y")),
            client_id: Some("gw:1".to_owned()),
            client_secret_file: Some(self.path("secret")),
            scope: Some("kafka read".to_owned()),
            ..LinkSaslConfig::default()
        }
    }
}

/// Listens, and does `serve` for each connection.
async fn listen<F: Future<Output = ()> + Send + 'static>(
    executor: &Arc<Executor>,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let running = Arc::clone(executor);
    let accept = async move {
        while let Ok((stream, _)) = listener.accept().await {
            running.spawn(serve(stream)).detach();
        }
    };
    executor.spawn(accept).detach();
    port
}

/// `None`: the other side left.
async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A proxy that takes every name for this machine, and notes what it is asked for.
async fn proxy(executor: &Arc<Executor>, asked: &Arc<Mutex<Vec<String>>>) -> HostPort {
    let asked = Arc::clone(asked);
    let serve = move |mut stream: TcpStream| {
        let asked = Arc::clone(&asked);
        async move {
            let first = head(&mut stream).await.unwrap().lines().next().unwrap().to_owned();
            let port: u16 = first.split(' ').nth(1).unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
            asked.lock().unwrap().push(first);
            let there = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let up = smol::io::copy(stream.clone(), there.clone());
            let down = smol::io::copy(there.clone(), stream.clone());
            // Either end ends both.
            let _ = future::or(up, down).await;
        }
    };
    HostPort { host: "127.0.0.1".to_owned(), port: listen(executor, serve).await }
}

/// A server by TLS that answers each request with what `answer` makes of it (head and body) and its number.
async fn server(
    executor: &Arc<Executor>,
    site: &Site,
    answer: impl Fn(&str, usize) -> String + Send + Sync + 'static,
) -> u16 {
    let (held, answer, count) = (Arc::new(site.server()), Arc::new(answer), Arc::new(Mutex::new(0)));
    let serve = move |stream: TcpStream| {
        let (held, answer, count) = (Arc::clone(&held), Arc::clone(&answer), Arc::clone(&count));
        async move {
            let Ok(mut stream) = tls::accept(&held, stream).await else { return };
            let Some(mut request) = head(&mut stream).await else { return };
            let length = request.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            request.push_str(std::str::from_utf8(&body).unwrap());
            let number = {
                let mut count = count.lock().unwrap();
                *count += 1;
                *count
            };
            stream.write_all(answer(&request, number).as_bytes()).await.unwrap();
            // The client has all that it wants once it ends.
            let _ = stream.read(&mut [0]).await;
        }
    };
    listen(executor, serve).await
}

fn ok(json: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}", json.len())
}

fn run<T>(test: impl AsyncFnOnce(Arc<Executor>) -> T) -> T {
    let executor = Arc::new(Executor::new());
    crate::executor::block_on(executor.run(test(Arc::clone(&executor))))
}

#[test]
fn a_broker_is_called_by_tls_through_a_proxy_that_alone_knows_its_name() {
    run(async |executor| {
        let (site, asked) = (Site::new(), Arc::default());
        let port = server(&executor, &site, |_, _| String::new()).await;
        let dialer = site.dialer(&executor, Some(proxy(&executor, &asked).await));
        let at = |host: &str| HostPort { host: host.to_owned(), port };
        let shown = dialer.shake(&at("server.example")).await.unwrap().unwrap();
        assert!(shown.contains("CN=server, issued by CN=Site"), "{shown}");
        assert_eq!(*asked.lock().unwrap(), [format!("CONNECT server.example:{port} HTTP/1.1")]);
        let why = dialer.shake(&at("other.example")).await.unwrap_err().to_string();
        assert!(why.contains("is not for other.example, but for ") && why.contains("server.example"), "{why}");
    });
}

#[test]
fn a_server_gives_tokens_which_are_kept_for_most_of_their_time() {
    run(async |executor| {
        let (site, asked) = (Site::new(), Arc::default());
        // The first holds for a while, the second not even until it is asked for again.
        let port = server(&executor, &site, |request, number| {
            assert!(request.starts_with("POST /oauth2/token?x=y HTTP/1.1\r\nHost: server.example:"), "{request}");
            // gw%3A1:s3cret%20%26%20more
            assert!(request.contains("\r\nAuthorization: Basic Z3clM0ExOnMzY3JldCUyMCUyNiUyMG1vcmU=\r\n"), "{request}");
            assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials&scope=kafka%20read"), "{request}");
            let seconds = if number == 1 { "3600" } else { "0.000001" };
            ok(&format!("{{\"access_token\":\"token-{number}\",\"token_type\":\"bearer\",\"expires_in\":{seconds}}}"))
        })
        .await;
        let dialer = site.dialer(&executor, Some(proxy(&executor, &asked).await));
        let sasl = site.asks("server.example", port);
        let token = async || String::from_utf8(dialer.bearer(&sasl).await.unwrap().expose().to_vec()).unwrap();
        assert_eq!((token().await, token().await), ("token-1".to_owned(), "token-1".to_owned()));
        assert_eq!(
            *asked.lock().unwrap(),
            [format!("CONNECT server.example:{port} HTTP/1.1")],
            "one question, by the proxy"
        );
        // A broker has refused it.
        dialer.tokens().forget().await;
        assert_eq!((token().await, token().await), ("token-2".to_owned(), "token-3".to_owned()));
    });
}

#[test]
fn what_a_token_server_refuses_is_told_without_the_secret() {
    run(async |executor| {
        let site = Site::new();
        let answers = [
            (
                "{\"error\":\"invalid_client\",\"error_description\":\"who?\"}",
                "400 Bad",
                "(invalid_client: who?): correct sasl.client_id",
            ),
            ("{\"access_token\":\"t\",\"token_type\":\"mac\"}", "200 OK", "none of type Bearer"),
            ("<html>", "200 OK", "is it the token endpoint?"),
            ("{}", "500 Oh", "status 500, no token"),
        ];
        let answer = move |_: &str, number: usize| {
            let (body, status, _) = answers[number - 1];
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let port = server(&executor, &site, answer).await;
        let asked = Arc::default();
        let dialer = site.dialer(&executor, Some(proxy(&executor, &asked).await));
        let sasl = site.asks("server.example", port);
        for (_, _, expected) in answers {
            let why = dialer.bearer(&sasl).await.unwrap_err();
            assert!(why.contains(expected) && why.starts_with("sasl.token_url server.example:"), "{why}");
            assert!(!why.contains("s3cret") && !why.contains("czNjcmV0"), "{why}");
        }
        let why = dialer.bearer(&site.asks("other.example", port)).await.unwrap_err();
        assert!(why.contains("is not for other.example"), "never told to somebody else: {why}");
        site.put("secret", "");
        assert!(dialer.bearer(&sasl).await.unwrap_err().contains("sasl.client_secret_file"));
    });
}

#[test]
fn a_command_prints_a_token_and_one_that_fails_is_told() {
    run(async |executor| {
        let site = Site::new();
        let dialer = site.dialer(&executor, None);
        let script = |name: &str, text: &str| {
            site.put(name, text);
            std::fs::set_permissions(site.path(name), std::fs::Permissions::from_mode(0o700)).unwrap();
            format!("/bin/sh {} one two", Path::new(&site.path(name)).display())
        };
        let ask = async |command: String| {
            let sasl = LinkSaslConfig { token_command: Some(command), ..LinkSaslConfig::default() };
            dialer.bearer(&sasl).await
        };
        let good = ask(script("good", "echo token-of-$1-$2; echo more\n")).await.unwrap();
        assert_eq!(good.expose(), b"token-of-one-two");
        for (name, text, expected) in [
            ("fails", "echo token-marker; exit 3\n", "exit status: 3"),
            ("empty", "exit 0\n", "empty line"),
            ("long", "head -c 100000 /dev/zero\n", "more than a token"),
        ] {
            let why = ask(script(name, text)).await.unwrap_err();
            assert!(why.starts_with("sasl.token_command: ") && why.contains(expected), "{name}: {why}");
            assert!(!why.contains("token-marker"), "{why}");
        }
        assert!(ask("/nowhere/at/all".to_owned()).await.unwrap_err().contains("can't be started"));
        // Nobody waits for it any more: it is ended.
        let pid = site.path("pid");
        let slow = script(
            "slow",
            &format!("echo $$ > {}.new; mv {}.new {}; exec sleep 3600\n", pid.display(), pid.display(), pid.display()),
        );
        let begun = async {
            while !pid.exists() {
                smol::Timer::after(Duration::from_millis(10)).await;
            }
            None
        };
        assert!(future::or(async { Some(ask(slow).await) }, begun).await.is_none());
        let pid = std::fs::read_to_string(pid).unwrap();
        assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists(), "it was killed, and waited for");
    });
}
