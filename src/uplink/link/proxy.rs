//! A tunnel through an HTTP proxy: CONNECT (RFC 9110, section 9.3.6), with basic authentication (RFC 7617) from a file.
//!
//! Invariant: nothing behind the proxy's answer is read here: the next byte is the broker's.

use std::path::Path;

use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::connection::{LinkError, Transport};
use crate::base64;
use crate::config::HostPort;
use crate::secret::{Secret, read_file};

/// Longest answer of a proxy, bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1_024;
/// Longest file with a user and a password, bytes.
const AUTH_BYTES_MAX: usize = 1_024;

/// Asks the proxy that `stream` leads to for a tunnel to `broker`.
///
/// # Errors
/// [`LinkError`] with what the proxy said, and what to do about it.
pub(super) async fn tunnel(
    stream: &mut dyn Transport,
    proxy: &HostPort,
    auth: Option<&Path>,
    broker: &HostPort,
) -> Result<(), LinkError> {
    let error = |what: &dyn std::fmt::Display| LinkError::new(format_args!("proxy {proxy}: {what}"));
    let mut request = format!("CONNECT {broker} HTTP/1.1\r\nHost: {broker}\r\n");
    if let Some(path) = auth {
        request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", base64::encode(credentials(path)?.expose())));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|why| error(&why))?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.map_err(|why| error(&why))?;
        answer.extend(byte);
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(error(&"its answer does not end"));
        }
    }
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.splitn(3, ' ');
    let (protocol, code) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let remedy = match code {
        _ if !protocol.starts_with("HTTP/1.") => "it does not speak HTTP",
        code if code.starts_with('2') => return Ok(()),
        "407" => "set proxy_auth to a file with the right user:password",
        "403" | "405" => "it forbids tunnels to that host and port: allow CONNECT to the brokers",
        "502" | "503" | "504" => "it can't reach the broker",
        _ => "no tunnel",
    };
    // Not more of it than a line: it comes from outside.
    let line: String = line.chars().filter(|c| !c.is_control()).take(120).collect();
    Err(error(&format_args!("CONNECT {broker}: {line}: {remedy}")))
}

/// `user:password`, without the end of the line.
fn credentials(path: &Path) -> Result<Secret, LinkError> {
    let shown = path.display();
    // Small, and read once a connection: a password can be changed without a restart.
    let line = read_file(path).map_err(|why| LinkError::new(format_args!("proxy_auth {why}")))?;
    if !line.expose().contains(&b':') || line.expose().len() > AUTH_BYTES_MAX {
        return Err(LinkError::new(format_args!("proxy_auth {shown}: must hold one line, user:password")));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use futures_lite::future::block_on;
    use smol::net::unix::UnixStream;

    fn broker() -> HostPort {
        HostPort { host: "kafka.example".to_owned(), port: 9092 }
    }

    /// What the proxy was asked, and what came of its answer.
    fn ask(answer: &str, auth: Option<&Path>) -> (String, Result<String, LinkError>) {
        block_on(async {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(answer.as_bytes()).await.unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let proxy = HostPort { host: "proxy.lan".to_owned(), port: 3128 };
            let result = tunnel(&mut ours, &proxy, auth, &broker()).await;
            let mut rest = String::new();
            let result = match result {
                Ok(()) => ours.read_to_string(&mut rest).await.map(|_| rest).map_err(LinkError::new),
                Err(error) => Err(error),
            };
            drop(ours);
            let mut asked = String::new();
            theirs.read_to_string(&mut asked).await.unwrap();
            (asked, result)
        })
    }

    #[test]
    fn a_tunnel_is_asked_for_and_what_follows_is_the_brokers() {
        let (asked, rest) = ask("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nfrom the broker", None);
        assert_eq!(asked, "CONNECT kafka.example:9092 HTTP/1.1\r\nHost: kafka.example:9092\r\n\r\n");
        assert_eq!(rest.unwrap(), "from the broker");
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (answer, expected) in [
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "set proxy_auth"),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", "allow CONNECT"),
            ("HTTP/1.0 502 Bad Gateway\r\n\r\n", "can't reach the broker"),
            ("SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
            ("HTTP/1.1 2", "proxy.lan:3128"),
        ] {
            let error = ask(answer, None).1.unwrap_err().to_string();
            assert!(error.contains(expected), "{answer}: {error}");
        }
        let endless = "x".repeat(ANSWER_BYTES_MAX + 1);
        assert!(ask(&endless, None).1.unwrap_err().to_string().contains("does not end"));
    }

    #[test]
    fn a_password_comes_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth");
        let put = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put("Aladdin:open sesame\n", 0o644);
        assert!(ask("", Some(&path)).1.unwrap_err().to_string().contains("chmod 600"));
        put("Aladdin:open sesame\n", 0o600);
        let (asked, _) = ask("HTTP/1.1 200 OK\r\n\r\n", Some(&path));
        assert!(asked.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{asked}");
        put("no colon", 0o600);
        assert!(ask("", Some(&path)).1.unwrap_err().to_string().contains("user:password"));
        assert!(ask("", Some(&directory.path().join("none"))).1.unwrap_err().to_string().contains("none"));
    }
}
