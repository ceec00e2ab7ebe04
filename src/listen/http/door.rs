//! Who may read: whoever shows the token; or, where none is asked for, whoever comes.
//!
//! Invariants: tokens are compared in constant time; an address that shows wrong ones is soon not heard; without a token a browser reads
//! only under a name that is the gateway's, so that no page of a stranger, whose name he lets point to the gateway's address, reads it
//! (DNS rebinding).

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::HttpOptions;
use crate::http::{Head, target};
use crate::listen::arrival::Arrival;
use crate::listen::auth::throttle::Throttle;
use crate::metrics::METRICS;
use crate::secret::{ScramHash, Secret, read_file, same};

/// Shortest token, bytes.
const TOKEN_BYTES_MIN: usize = 16;
/// The cookie that stands for the token.
pub(super) const COOKIE: &str = "brooklet";

/// See the module.
pub(super) struct Doorkeeper {
    options: HttpOptions,
    failures: Mutex<Throttle>,
    began: Instant,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Read,
    /// The token stood in the address, where it is not to stay: go on with this cookie.
    Cookie(String),
    /// A status and a text for people.
    Refused(u16, String),
}

impl Doorkeeper {
    pub(super) fn new(options: HttpOptions) -> Result<Self, String> {
        let doorkeeper = Self::of(options);
        doorkeeper.token().map_err(|why| format!("listen.http.token_file: {why}"))?;
        Ok(doorkeeper)
    }

    /// Without a look at the token.
    pub(super) fn of(options: HttpOptions) -> Self {
        Self { options, failures: Mutex::default(), began: Instant::now() }
    }

    pub(super) fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// The token as the file has it now, if one is asked for.
    fn token(&self) -> Result<Option<Secret>, String> {
        let Some(path) = &self.options.token_file else { return Ok(None) };
        let token = read_file(path)?;
        if token.expose().len() < TOKEN_BYTES_MIN {
            return Err(format!(
                "{}: a token has at least {TOKEN_BYTES_MIN} bytes; `head -c 24 /dev/urandom | base64` makes one",
                path.display()
            ));
        }
        Ok(Some(token))
    }

    pub(super) fn judge(&self, arrival: &Arrival, head: &Head<'_>) -> Verdict {
        let token = match self.token() {
            Ok(Some(token)) => token,
            Ok(None) => return self.judge_name(arrival, head),
            Err(why) => {
                log::warn!("http: nobody is let in: listen.http.token_file: {why}");
                return Verdict::Refused(503, "the token cannot be read; the gateway's log says why".to_owned());
            }
        };
        let Some(shown) = Shown::of(head) else {
            return Verdict::Refused(401, "a token is needed: Authorization: Bearer TOKEN".to_owned());
        };
        let address = arrival.address();
        if !address.is_none_or(|address| self.allows(address)) {
            METRICS.authentication_throttled.add(1);
            return Verdict::Refused(429, "too many wrong tokens from this address: try again in a minute".to_owned());
        }
        let cookie = cookie(&token);
        let is_right = match &shown {
            Shown::Token(shown) | Shown::InAddress(shown) => same(shown, token.expose()),
            Shown::Cookie(shown) => same(shown, cookie.as_bytes()),
        };
        match (is_right, shown) {
            (true, Shown::InAddress(_)) => Verdict::Cookie(cookie),
            (true, _) => Verdict::Read,
            // The token was changed since: whoever has this page open is no attacker.
            (false, Shown::Cookie(_)) => Verdict::Refused(401, "the token has changed: show the new one".to_owned()),
            (false, _) => {
                METRICS.authentication_failures.add(1);
                if let Some(address) = address {
                    self.failures().failed(address, self.now_ms());
                }
                Verdict::Refused(401, "this is not the token".to_owned())
            }
        }
    }

    fn judge_name(&self, arrival: &Arrival, head: &Head<'_>) -> Verdict {
        let host = head.text("host").unwrap_or_default();
        if arrival.certificate.is_some() || self.is_own_name(host) {
            return Verdict::Read;
        }
        let text = format!(
            "{host:?} is no name of this gateway: call it by its address, or add the name to listen.http.names"
        );
        Verdict::Refused(421, text)
    }

    /// Whether a browser that was told this host can only have meant this gateway.
    fn is_own_name(&self, host: &str) -> bool {
        let name = target::host_name(host);
        // Clients of HTTP/1.0 send none.
        name.is_empty() || target::is_certain(&name) || self.options.names.contains(&name)
    }

    fn allows(&self, address: IpAddr) -> bool {
        self.failures().allows(address, self.now_ms())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A panic elsewhere can't leave it half changed.
    fn failures(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request shows.
enum Shown {
    Token(Vec<u8>),
    InAddress(Vec<u8>),
    Cookie(Vec<u8>),
}

impl Shown {
    fn of(head: &Head<'_>) -> Option<Self> {
        let bearer = head.field("authorization").and_then(|value| {
            let (scheme, token) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| Self::Token(token.trim_ascii().to_vec()))
        });
        let in_address = || target::parameter(head.target, "token").map(Self::InAddress);
        let cookie = || head.cookie(COOKIE).map(|cookie| Self::Cookie(cookie.to_vec()));
        bearer.or_else(in_address).or_else(cookie)
    }
}

/// What a browser keeps in the token's place: worth as much here, and nothing elsewhere.
fn cookie(token: &Secret) -> String {
    let bytes = ScramHash::Sha256.hmac(token.expose(), b"Brooklet's page");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn arrival() -> Arrival {
        Arrival::by_network("10.0.0.7:5000".parse().unwrap(), None)
    }

    fn judge(doorkeeper: &Doorkeeper, target: &str, fields: &str) -> Verdict {
        let text = format!("GET {target} HTTP/1.1\r\n{fields}\r\n\r\n");
        doorkeeper.judge(&arrival(), &Head::parse(text.as_bytes()).unwrap().unwrap())
    }

    #[test]
    fn without_a_token_only_names_of_the_gateway_are_answered() {
        let names = vec!["gateway.lan".to_owned()];
        let doorkeeper = Doorkeeper::new(HttpOptions { names, token_file: None }).unwrap();
        for host in ["localhost:9791", "127.0.0.1", "[::1]:9791", "10.0.0.1:80", "Gateway.LAN:9791", "a.localhost", ""]
        {
            assert_eq!(judge(&doorkeeper, "/", &format!("Host: {host}")), Verdict::Read, "{host}");
        }
        for host in [
            "evil.example:9791",
            "localhost.evil.example",
            "gateway.lan.evil.example",
            "[::1",
            "127.0.0.1.evil.example",
        ] {
            let verdict = judge(&doorkeeper, "/", &format!("Host: {host}"));
            let is_refused = matches!(verdict, Verdict::Refused(421, text) if text.contains("listen.http.names"));
            assert_eq!(is_refused, host != "[::1", "{host}");
        }
    }

    #[test]
    fn the_token_is_asked_for_and_leaves_the_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let put = |token: &str| {
            std::fs::write(&path, token).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        let options = HttpOptions { token_file: Some(path.clone()), names: Vec::new() };
        put("short");
        assert!(Doorkeeper::new(options.clone()).err().unwrap().contains("at least 16 bytes"));
        put("0123456789abcdef+/=\n");
        let doorkeeper = Doorkeeper::new(options).unwrap();
        // A name of somebody else does no harm: his page has neither token nor cookie.
        let host = "Host: evil.example";
        let refused = |verdict: &Verdict| matches!(verdict, Verdict::Refused(401, _));
        assert!(refused(&judge(&doorkeeper, "/", host)));
        assert_eq!(
            judge(&doorkeeper, "/", &format!("{host}\r\nauthorization: bearer 0123456789abcdef+/=")),
            Verdict::Read
        );
        assert!(refused(&judge(&doorkeeper, "/", &format!("{host}\r\nAuthorization: Bearer 0123456789abcdef"))));
        assert!(refused(&judge(&doorkeeper, "/", &format!("{host}\r\nAuthorization: Basic 0123456789abcdef+/="))));
        let Verdict::Cookie(cookie) = judge(&doorkeeper, "/?token=0123456789abcdef%2B%2f%3D", host) else { panic!() };
        assert!(!cookie.contains("0123456789abcdef"));
        let with_cookie = format!("{host}\r\nCookie: a=b; brooklet={cookie}");
        assert_eq!(judge(&doorkeeper, "/events", &with_cookie), Verdict::Read);
        put("another token of enough bytes");
        assert!(refused(&judge(&doorkeeper, "/events", &with_cookie)), "the file is read anew");
        for _ in 0..40 {
            judge(&doorkeeper, "/?token=guess", host);
        }
        let right = format!("{host}\r\nAuthorization: Bearer another token of enough bytes");
        assert!(matches!(judge(&doorkeeper, "/", &right), Verdict::Refused(429, _)));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(judge(&doorkeeper, "/", &right), Verdict::Refused(503, _)), "nobody, not everybody");
    }
}
