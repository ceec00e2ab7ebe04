//! Keys of authentication: the same for every listener, and the same for uplinks and downlinks.

use std::path::PathBuf;

use super::super::{
    auth::{AuthMethod, CertificateName, HttpsUrl, SaslMechanism},
    downlink::DownlinkConfig,
    types::Config,
    uplink::UplinkConfig,
    value::{Kind, Special, SpecialList},
};
use super::link::{file, unless};
use super::{DAY, Key, MINUTE, for_new, key};

const METHODS: &str =
    "a list of \"certificate\", \"password\" (in the clear or by SCRAM), \"scram\" and \"none\"; or \"auto\"";

/// Reads `auto` as no methods.
fn methods(texts: &[&str], set: impl FnOnce(Vec<AuthMethod>)) -> Option<Vec<String>> {
    if texts == ["auto"] {
        set(Vec::new());
        return Some(vec!["auto".to_owned()]);
    }
    let methods: Vec<AuthMethod> = texts.iter().map(|text| AuthMethod::from_word(text)).collect::<Option<_>>()?;
    let shown = methods.iter().map(ToString::to_string).collect();
    (!methods.is_empty()).then(|| set(methods))?;
    Some(shown)
}

macro_rules! listener {
    ($listener:ident, $prefix:literal $(, $more:expr)*) => {
        &[
            for_new(
                concat!($prefix, ".auth"),
                "auto",
                Kind::SpecialList(SpecialList {
                    allowed: METHODS,
                    set: |c, texts| methods(texts, |v| c.listen.$listener.auth.methods = v),
                }),
                "How clients show who they are: any of the list; auto: certificate where they must show one, else none.",
            ),
            for_new(
                concat!($prefix, ".clear_passwords"),
                "false",
                Kind::Boolean(|c, v| c.listen.$listener.auth.clear_passwords = v),
                "Whether passwords are taken where the network can read them: without TLS, from other machines.",
            ),
            $($more,)*
        ]
    };
}

/// Keys of the native listener's authentication.
pub(super) const NATIVE: &[Key<Config>] = listener!(native, "listen.native");
/// Keys of the Kafka listener's authentication.
pub(super) const KAFKA: &[Key<Config>] = listener!(
    kafka,
    "listen.kafka",
    for_new(
        "listen.kafka.auth_lifetime",
        "unlimited",
        Kind::DurationOr { word: "unlimited", min: MINUTE, max: DAY, set: |c, v| c.listen.kafka.auth.lifetime = v },
        "After this long a Kafka client must authenticate again (KIP-368), which clients do by themselves.",
    )
);
/// Keys of the MQTT listener's authentication.
pub(super) const MQTT: &[Key<Config>] = listener!(mqtt, "listen.mqtt");
/// Keys that hold for all listeners.
pub(super) const NAMES: &[Key<Config>] = &[for_new(
    "security.names",
    "cn,subject",
    Kind::SpecialList(SpecialList {
        allowed: "a list of cn, dns, email, uri, subject, each with a pattern if need be: [\"dns:*.devices.example\", \"cn\"]",
        set: |c, texts| {
            let rules: Vec<_> = texts.iter().map(|text| CertificateName::parse(text).ok()).collect::<Option<_>>()?;
            let shown = rules.iter().map(ToString::to_string).collect();
            (!rules.is_empty()).then(|| c.listen.certificate_names = rules)?;
            Some(shown)
        },
    }),
    "Where the name in a client's certificate stands: cn, dns, email, uri or subject; or \"dns:*.devices.example\".",
)];

macro_rules! link {
    ($config:ty) => {
        &[
            key(
                "sasl.mechanism",
                "none",
                Kind::<$config>::Special(Special {
                    allowed: "\"none\", \"SCRAM-SHA-512\", \"SCRAM-SHA-256\", \"PLAIN\" or \"OAUTHBEARER\"",
                    set: |l, text| unless("none", text, SaslMechanism::from_word, |v| l.sasl.mechanism = v),
                }),
                "How brokers are told who calls.",
            ),
            key(
                "sasl.username",
                "none",
                Kind::Special(Special {
                    allowed: "\"none\" or a user's name",
                    set: |l, text| unless("none", text, file, |v| l.sasl.username = v),
                }),
                "User that this is at the brokers.",
            ),
            key(
                "sasl.password_file",
                "none",
                Kind::Special(Special {
                    allowed: "\"none\" or the path of a file",
                    set: |l, text| unless("none", text, file, |v| l.sasl.password_file = v.map(PathBuf::from)),
                }),
                "File whose first line is the password; others can't read it. It is read again for each connection.",
            ),
            key(
                "sasl.token_file",
                "none",
                Kind::Special(Special {
                    allowed: "\"none\" or the path of a file",
                    set: |l, text| unless("none", text, file, |v| l.sasl.token_file = v.map(PathBuf::from)),
                }),
                "The same with a token of OAUTHBEARER, which something else keeps fresh.",
            ),
            key(
                "sasl.token_command",
                "none",
                Kind::Special(Special {
                    allowed: "\"none\" or a program with its arguments, separated by spaces",
                    set: |l, text| unless("none", text, file, |v| l.sasl.token_command = v),
                }),
                "Program that prints a token of OAUTHBEARER; it is run for each connection, by no shell.",
            ),
            key(
                "sasl.token_url",
                "none",
                Kind::Special(Special {
                    allowed: "\"none\" or an address such as \"https://id.example/oauth2/token\"",
                    set: |l, text| unless("none", text, HttpsUrl::parse, |v| l.sasl.token_url = v),
                }),
                "OAuth 2 server that gives tokens for client_id and its secret; the proxy leads to it, too.",
            ),
            key(
                "sasl.client_id",
                "none",
                Kind::Special(Special {
                    allowed: "\"none\" or a client's id",
                    set: |l, text| unless("none", text, file, |v| l.sasl.client_id = v),
                }),
                "Client that this is at the server of token_url.",
            ),
            key(
                "sasl.client_secret_file",
                "none",
                Kind::Special(Special {
                    allowed: "\"none\" or the path of a file",
                    set: |l, text| unless("none", text, file, |v| l.sasl.client_secret_file = v.map(PathBuf::from)),
                }),
                "File whose first line is the secret of client_id; others can't read it.",
            ),
            key(
                "sasl.scope",
                "none",
                Kind::Special(Special {
                    allowed: "\"none\" or scopes, separated by spaces",
                    set: |l, text| unless("none", text, file, |v| l.sasl.scope = v),
                }),
                "Scope that is asked for at token_url.",
            ),
            key(
                "sasl.token_ca",
                "none",
                Kind::Special(Special {
                    allowed: "\"none\" or the path of a file in PEM",
                    set: |l, text| unless("none", text, file, |v| l.sasl.token_ca = v.map(PathBuf::from)),
                }),
                "CAs of the server of token_url; none: those that this system trusts.",
            ),
            key(
                "sasl.extensions",
                "none",
                Kind::SpecialList(SpecialList {
                    allowed: "\"none\" or a list of NAME=VALUE, such as [\"logicalCluster=lkc-1\"]",
                    set: |l, texts| {
                        extensions(texts).map(|v| {
                            l.sasl.extensions = v;
                            texts.iter().map(|text| (*text).to_owned()).collect()
                        })
                    },
                }),
                "What the brokers want to know besides a token.",
            ),
            key(
                "sasl.clear_passwords",
                "false",
                Kind::Boolean(|l, v| l.sasl.clear_passwords = v),
                "Whether PLAIN and OAUTHBEARER are used without TLS, where the network can read the secret.",
            ),
        ]
    };
}

/// `none`, or names and values.
fn extensions(texts: &[&str]) -> Option<Vec<(String, String)>> {
    let pair = |text: &&str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    if texts == ["none"] { Some(Vec::new()) } else { texts.iter().map(pair).collect() }
}

/// Keys of an uplink's SASL.
pub(super) const UPLINK: &[Key<UplinkConfig>] = link!(UplinkConfig);
/// Keys of a downlink's SASL.
pub(super) const DOWNLINK: &[Key<DownlinkConfig>] = link!(DownlinkConfig);
