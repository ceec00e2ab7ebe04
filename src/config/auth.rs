//! Who clients are: what a listener asks of them, and what certificates are called.

use std::{fmt, path::PathBuf, time::Duration};

use super::{
    reading::host_port,
    tls::{ClientAuth, LinkTlsConfig, ListenTlsConfig},
    types::HostPort,
    words::words,
};

/// `listen.X.auth` and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenAuthConfig {
    /// The ways in which a client may show who it is; one of them suffices. Empty: as its TLS says.
    pub methods: Vec<AuthMethod>,
    /// Whether passwords are taken where others on the network can read them.
    pub clear_passwords: bool,
    /// How long who has authenticated stays so. `None`: as long as the connection lasts.
    pub lifetime: Option<Duration>,
}

impl ListenAuthConfig {
    /// The same with its methods, where they follow from what TLS asks of clients: who must show a certificate is known by it.
    #[must_use]
    pub fn with(&self, tls: &ListenTlsConfig) -> Self {
        let methods = match (self.methods.as_slice(), tls.asks_clients(), tls.client_auth) {
            ([], true, ClientAuth::Optional) => vec![AuthMethod::Certificate, AuthMethod::None],
            ([], true, _) => vec![AuthMethod::Certificate],
            ([], false, _) => vec![AuthMethod::None],
            (methods, ..) => methods.to_vec(),
        };
        Self { methods, ..self.clone() }
    }

    /// Whether everybody may come in without showing anything; of what [`ListenAuthConfig::with`] gives.
    #[must_use]
    pub fn allows_anonymous(&self) -> bool {
        self.methods.contains(&AuthMethod::None)
    }
}

words! {
    /// A way to show who one is.
    pub enum AuthMethod {
        /// None: whoever shows nothing is ANONYMOUS.
        None = "none",
        /// A certificate, by TLS.
        Certificate = "certificate",
        /// A user's password: as it is (over TLS, or on this machine), or by SCRAM.
        Password = "password",
        /// A user's password, by SCRAM only.
        Scram = "scram",
    }
}

words! {
    /// How an uplink or a downlink shows who it is. The words are the registered names.
    pub enum SaslMechanism {
        Plain = "PLAIN",
        ScramSha256 = "SCRAM-SHA-256",
        ScramSha512 = "SCRAM-SHA-512",
        OAuthBearer = "OAUTHBEARER",
    }
}

impl SaslMechanism {
    /// Whether who reads the exchange can be its client afterwards.
    #[must_use]
    pub fn shows_secret(self) -> bool {
        matches!(self, Self::Plain | Self::OAuthBearer)
    }
}

/// `uplink.NAME.sasl` and `downlink.NAME.sasl`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSaslConfig {
    /// `None`: no SASL.
    pub mechanism: Option<SaslMechanism>,
    pub username: Option<String>,
    /// Its first line is the password.
    pub password_file: Option<PathBuf>,
    /// Its first line is the token of OAUTHBEARER.
    pub token_file: Option<PathBuf>,
    /// Prints the token in its first line.
    pub token_command: Option<String>,
    /// A server that gives tokens for a client's id and secret (RFC 6749, section 4.4).
    pub token_url: Option<HttpsUrl>,
    pub client_id: Option<String>,
    pub client_secret_file: Option<PathBuf>,
    pub scope: Option<String>,
    /// The CAs that the server's certificate may come from. `None`: those that the system trusts.
    pub token_ca: Option<PathBuf>,
    /// What else the brokers want to know with a token.
    pub extensions: Vec<(String, String)>,
    /// Whether password or token may go where the network can read them.
    pub clear_passwords: bool,
}

impl LinkSaslConfig {
    /// TLS towards the server that gives tokens, if one is asked for them.
    #[must_use]
    pub fn token_tls(&self) -> Option<LinkTlsConfig> {
        let asks = self.mechanism == Some(SaslMechanism::OAuthBearer) && self.token_url.is_some();
        asks.then(|| LinkTlsConfig { enabled: true, ca: self.token_ca.clone(), ..LinkTlsConfig::default() })
    }
}

/// An address of the web, by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsUrl {
    pub address: HostPort,
    /// With the query; begins with a slash.
    pub path: String,
}

impl HttpsUrl {
    const PORT: u16 = 443;

    /// Reads `https://host[:port][/path]`; `None` if it is no such thing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("https://")?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let address = host_port(authority).or_else(|_| host_port(&format!("{authority}:{}", Self::PORT))).ok()?;
        // What can't stand in a line of a request, or would be another's name.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['#', '@']);
        is_plain.then(|| Self { address, path: path.to_owned() })
    }

    /// Host and port, as a request names them.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.address.port {
            Self::PORT => self.address.to_string().trim_end_matches(":443").to_owned(),
            _ => self.address.to_string(),
        }
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}

words! {
    /// Where the name in a certificate stands.
    pub enum NameSource {
        Subject = "subject",
        CommonName = "cn",
        Dns = "dns",
        Email = "email",
        Uri = "uri",
    }
}

/// One rule of `security.names`: which part of a certificate is a client's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName {
    pub source: NameSource,
    /// What stands before and behind the name. `None`: the name is all of it.
    around: Option<(String, String)>,
}

impl CertificateName {
    /// The common name.
    #[must_use]
    pub fn common_name() -> Self {
        Self { source: NameSource::CommonName, around: None }
    }

    /// Reads `cn`, `dns` or `dns:*.devices.example`: a source, and what must stand there, with one star for the name.
    ///
    /// # Errors
    /// What is allowed, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            let words = NameSource::WORDS.join(", ");
            format!(
                "must be one of {words}, or one of them with a pattern of one star, such as \"dns:*.devices.example\""
            )
        };
        let (source, pattern) = match text.split_once(':') {
            None => (text, None),
            Some((source, pattern)) => (source, Some(pattern)),
        };
        let source = NameSource::from_word(source).ok_or_else(wrong)?;
        let around = match pattern {
            None => None,
            Some(pattern) => {
                let (before, behind) = pattern.split_once('*').ok_or_else(wrong)?;
                if behind.contains('*') {
                    return Err(wrong());
                }
                Some((before.to_owned(), behind.to_owned()))
            }
        };
        Ok(Self { source, around })
    }

    /// The name in a text of that source; `None` if it isn't as the rule wants it.
    #[must_use]
    pub fn name_in(&self, text: &str) -> Option<String> {
        let name = match &self.around {
            None => text,
            Some((before, behind)) => text.strip_prefix(before.as_str())?.strip_suffix(behind.as_str())?,
        };
        (!name.is_empty()).then(|| name.to_owned())
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.around {
            None => self.source.fmt(f),
            Some((before, behind)) => write!(f, "{}:{before}*{behind}", self.source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_web_read_back() {
        for (text, shown, host, port, path) in [
            ("https://id.example", "https://id.example/", "id.example", 443, "/"),
            ("https://id.example:8443/t?x=y", "https://id.example:8443/t?x=y", "id.example", 8_443, "/t?x=y"),
        ] {
            let read = HttpsUrl::parse(text).unwrap();
            assert_eq!((read.to_string().as_str(), read.path.as_str()), (shown, path));
            assert_eq!((read.address.host.as_str(), read.address.port), (host, port));
            assert_eq!(HttpsUrl::parse(shown), Some(read));
        }
        for wrong in ["http://id.example/", "https://", "https://a@b/", "https://a/ b", "https://a/#b", "id.example"] {
            assert_eq!(HttpsUrl::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_are_found_where_the_rule_says() {
        for (rule, text, name) in [
            ("cn", "pump-7", Some("pump-7")),
            ("dns:*.devices.example", "pump-7.devices.example", Some("pump-7")),
            ("dns:*.devices.example", ".devices.example", None),
            ("subject:CN=*,O=plant", "CN=pump-7,O=plant", Some("pump-7")),
            ("subject:CN=*,O=plant", "CN=pump-7,O=other", None),
            ("cn:gw-*", "pump-7", None),
            ("cn:gw-*", "gw-", None),
            ("cn", "", None),
        ] {
            let read = CertificateName::parse(rule).unwrap();
            assert_eq!(read.to_string(), rule);
            assert_eq!(read.name_in(text).as_deref(), name, "{rule} {text}");
        }
        for wrong in ["", "name", "cn:", "cn:abc", "cn:**", "dns:*.*"] {
            assert!(CertificateName::parse(wrong).unwrap_err().contains("one star"), "{wrong}");
        }
    }
}
