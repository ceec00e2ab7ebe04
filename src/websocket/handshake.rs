//! The handshake: a GET that asks to go on as WebSocket, and the answer (section 4.2).
//!
//! **Origins.** A browser sends what a page of any site tells it to, also to this machine and to gateways behind the same router. It says for
//! which site in `Origin`: a page is heard if it was loaded from the address that it calls, and that is an address or this machine's own name;
//! or if its site is listed. A name alone proves nothing: who owns it can let it lead here once his page is loaded (DNS rebinding).
//! Programs send no `Origin`.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::base64;
use crate::http::{Head, answer, target};

/// Appended to the key of a client before it is hashed (section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What is served.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// The path that clients ask for.
    pub path: &'a str,
    /// The subprotocol that they must name.
    pub protocol: &'a str,
    /// Sites whose pages may come, beside the gateway's own: `https://tools.example`; `*`: all.
    pub origins: &'a [String],
}

/// A handshake that fails: the status and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub text: &'static str,
}

/// The answer to a request.
///
/// # Errors
/// [`Refusal`], which [`refused`] puts into words.
pub fn accept(head: &Head<'_>, offer: &Offer<'_>) -> Result<String, Refusal> {
    let refuse = |status, text| Err(Refusal { status, text });
    if target::path(head.target) != offer.path {
        return refuse(404, "there is nothing but MQTT over WebSocket, at /mqtt");
    }
    if head.method != "GET" {
        return refuse(405, "a WebSocket begins with GET");
    }
    if !head.is_1_1 || !head.has_token("upgrade", "websocket") || !head.has_token("connection", "upgrade") {
        return refuse(426, "this is for MQTT over WebSocket; other requests are not served");
    }
    if head.text("sec-websocket-version") != Some("13") {
        return refuse(426, "version 13 of WebSocket is spoken");
    }
    let key = head.text("sec-websocket-key").unwrap_or_default();
    if base64::decode(key).is_none_or(|key| key.len() != 16) {
        return refuse(400, "Sec-WebSocket-Key is not 16 bytes in base64");
    }
    if !head.has_token("sec-websocket-protocol", offer.protocol) {
        return refuse(400, "the subprotocol (Sec-WebSocket-Protocol) must be mqtt");
    }
    if !may_come(head, offer.origins) {
        return refuse(403, "pages of this site may not come: list it in listen.mqtt.websocket_origins");
    }
    let proof = accept_key(key);
    let fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", &*proof),
        ("Sec-WebSocket-Protocol", offer.protocol),
    ];
    Ok(answer::head(101, &fields))
}

/// What a client is answered whose request is refused; the connection ends with it.
#[must_use]
pub fn refused(refusal: Refusal) -> String {
    let length = (refusal.text.len() + 1).to_string();
    let fields = [
        ("Content-Type", "text/plain"),
        ("Content-Length", &*length),
        ("Connection", "close"),
        ("Sec-WebSocket-Version", "13"),
    ];
    answer::head(refusal.status, &fields) + refusal.text + "\n"
}

fn may_come(head: &Head<'_>, origins: &[String]) -> bool {
    let Some(origin) = head.field("origin") else { return true };
    let site = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    let host = head.text("host").filter(|host| target::is_certain(&target::host_name(host)));
    let is_own = site.is_some_and(|site| host.is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(site)));
    is_own || origins.iter().any(|listed| listed == "*" || listed.as_bytes().eq_ignore_ascii_case(origin))
}

fn accept_key(key: &str) -> String {
    base64::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer<'_> = Offer { path: "/mqtt", protocol: "mqtt", origins: &[] };

    fn request(change: impl Fn(String) -> String) -> Result<String, Refusal> {
        let text = change(
            "GET /mqtt HTTP/1.1\r\nHost: gw:9001\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqttv3.1, mqtt\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
                .to_owned(),
        );
        accept(&Head::parse(text.as_bytes()).unwrap().unwrap(), &OFFER)
    }

    #[test]
    fn the_rfc_s_example_is_answered() {
        let answer = request(|text| text).unwrap();
        assert_eq!(
            answer,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        assert!(request(|text| text.replace("/mqtt H", "/mqtt?x=1 H")).is_ok());
    }

    #[test]
    fn what_asks_for_something_else_is_refused() {
        let cases = [
            ("GET /mqtt", "GET /", 404),
            ("GET", "PUT", 405),
            ("HTTP/1.1", "HTTP/1.0", 426),
            ("Upgrade: websocket\r\n", "", 426),
            ("keep-alive, Upgrade", "keep-alive", 426),
            ("Version: 13", "Version: 8", 426),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "Zm9v", 400),
            ("mqttv3.1, mqtt", "mqttv3.1", 400),
            ("Host", "Origin: http://evil.example\r\nHost", 403),
            ("Host", "Origin: null\r\nHost", 403),
        ];
        for (what, with, status) in cases {
            let refusal = request(|text| text.replacen(what, with, 1)).unwrap_err();
            assert_eq!(refusal.status, status, "{with}");
            assert!(refused(refusal).contains(&format!("Content-Length: {}\r\n", refusal.text.len() + 1)));
        }
    }

    #[test]
    fn pages_of_the_gateway_s_own_address_and_of_listed_sites_may_come() {
        let from = |origin: &str, host: &str| {
            request(|text| text.replace("Host: gw:9001", &format!("Origin: {origin}\r\nHost: {host}"))).is_ok()
        };
        for own in ["10.0.0.7:9001", "[fd00::7]:9001", "localhost:9001", "LOCALHOST", "gw.localhost:80"] {
            assert!(from(&format!("http://{own}"), own) && from(&format!("https://{own}"), own), "{own}");
            assert!(!from("http://10.0.0.8:9001", own) && !from("null", own), "{own}");
        }
        // Whoever owns the name may have let it lead here after his page was loaded.
        for other in ["evil.example:9001", "gw:9001", "10.0.0.7.evil.example:9001", "localhost.evil.example", ""] {
            assert!(!from(&format!("http://{other}"), other), "{other}");
        }
        let text = b"GET /mqtt HTTP/1.1\r\nHost: gw\r\nOrigin: https://tools.example\r\n\r\n";
        let head = Head::parse(text).unwrap().unwrap();
        assert!(!may_come(&head, &[]) && !may_come(&head, &["https://other.example".to_owned()]));
        assert!(may_come(&head, &["https://tools.example".to_owned()]) && may_come(&head, &["*".to_owned()]));
    }
}
