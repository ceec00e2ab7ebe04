//! Keys of TLS: the same for every listener, and the same for uplinks and downlinks.

use std::path::PathBuf;

use super::super::{
    downlink::DownlinkConfig,
    reading::address,
    tls::ClientAuth,
    types::Config,
    uplink::UplinkConfig,
    value::{Kind, Special, SpecialList},
};
use super::link::{file, unless};
use super::{Key, for_new, key};

/// A key that names a file, or `none`.
macro_rules! file_key {
    ($name:expr, $doc:expr, |$target:ident| $place:expr) => {
        key(
            $name,
            "none",
            Kind::Special(Special {
                allowed: "\"none\" or the path of a file in PEM",
                set: |$target, text| unless("none", text, file, |v| $place = v.map(PathBuf::from)),
            }),
            $doc,
        )
    };
}

/// `none`, or files of certificates and keys.
fn pairs(texts: &[&str], set: impl FnOnce(Vec<(PathBuf, PathBuf)>)) -> Option<Vec<String>> {
    let pair = |text: &&str| match text.split_once(':')? {
        (cert, key) if !cert.is_empty() && !key.is_empty() && !text.contains('\0') => Some((cert.into(), key.into())),
        _ => None,
    };
    let none = texts == ["none"];
    set(if none { Vec::new() } else { texts.iter().map(pair).collect::<Option<_>>()? });
    Some(texts.iter().map(|text| (*text).to_owned()).collect())
}

macro_rules! listener {
    ($listener:ident, $prefix:literal, $port:literal $(, $more:expr)*) => {
        &[
            file_key!(
                concat!($prefix, ".cert"),
                "Certificate of this listener, then those between it and its CA; with it, the listener speaks TLS.",
                |c| c.listen.$listener.tls.cert
            ),
            file_key!(
                concat!($prefix, ".key"),
                "Private key of the certificate; a file that others can't read.",
                |c| c.listen.$listener.tls.key
            ),
            key(
                concat!($prefix, ".more"),
                "none",
                Kind::SpecialList(SpecialList {
                    allowed: "\"none\" or a list of CERT:KEY, such as [\"/etc/brooklet/b.pem:/etc/brooklet/b.key\"]",
                    set: |c, texts| pairs(texts, |v| c.listen.$listener.tls.more = v),
                }),
                "Other certificates, each with its key, for clients that ask (SNI) for a name which is in one of them.",
            ),
            key(
                concat!($prefix, ".addr"),
                "same",
                Kind::Special(Special {
                    allowed: concat!("\"same\" or an address and a port, such as \"0.0.0.0:", $port, "\""),
                    set: |c, text| unless("same", text, address, |v| c.listen.$listener.tls.addr = v),
                }),
                "Where TLS is spoken; same: at the listener's own address, which then is not in the clear.",
            ),
            file_key!(
                concat!($prefix, ".client_ca"),
                "CAs of clients: with it they must show a certificate that one of these has issued.",
                |c| c.listen.$listener.tls.client_ca
            ),
            key(
                concat!($prefix, ".client_auth"),
                "auto",
                choice!(ClientAuth, |c| c.listen.$listener.tls.client_auth),
                "Whether clients must show a certificate; auto: if there is a client_ca.",
            ),
            file_key!(
                concat!($prefix, ".crl"),
                "Lists of revoked certificates of clients (CRL), one of each CA that issues any.",
                |c| c.listen.$listener.tls.crl
            ),
            $($more,)*
        ]
    };
}

/// Keys of the native listener's TLS.
pub(super) const NATIVE: &[Key<Config>] = listener!(native, "listen.native.tls", "9789");
/// Keys of the Kafka listener's TLS.
pub(super) const KAFKA: &[Key<Config>] = listener!(
    kafka,
    "listen.kafka.tls",
    "9093",
    for_new(
        "listen.kafka.tls.advertised",
        "auto",
        Kind::HostPortOr { word: "auto", set: |c, v| c.listen.kafka.tls_advertised = v },
        "Address that Metadata answers with over TLS; auto: the one that the connection came in on.",
    )
);
/// Keys of the MQTT listener's TLS.
pub(super) const MQTT: &[Key<Config>] = listener!(
    mqtt,
    "listen.mqtt.tls",
    "8883",
    key(
        "listen.mqtt.tls.websocket",
        "off",
        Kind::Special(Special {
            allowed: "\"off\" or an address and a port, such as \"0.0.0.0:9443\"",
            set: |c, text| unless("off", text, address, |v| c.listen.mqtt.websocket_tls = v),
        }),
        "Where MQTT is spoken over WebSocket by TLS, at the path /mqtt.",
    )
);

/// Keys of the HTTP listener's TLS.
pub(super) const HTTP: &[Key<Config>] = listener!(http, "listen.http.tls", "9443");

macro_rules! link {
    ($config:ty) => {
        &[
            key(
                "tls.enabled",
                "false",
                Kind::<$config>::Boolean(|l, v| l.tls.enabled = v),
                "Whether brokers are called by TLS.",
            ),
            file_key!("tls.ca", "CAs of the brokers; none: those that this system trusts.", |l| l.tls.ca),
            file_key!("tls.cert", "Certificate to show to brokers that ask for one.", |l| l.tls.cert),
            file_key!("tls.key", "Private key of the certificate; a file that others can't read.", |l| l.tls.key),
            file_key!("tls.crl", "Lists of revoked certificates of brokers (CRL).", |l| l.tls.crl),
            key(
                "tls.server_name",
                "auto",
                Kind::Special(Special {
                    allowed: "\"auto\" or a host name or address",
                    set: |l, text| unless("auto", text, file, |v| l.tls.server_name = v),
                }),
                "Name that brokers' certificates must be for; auto: the host that is called.",
            ),
        ]
    };
}

/// Keys of an uplink's TLS.
pub(super) const UPLINK: &[Key<UplinkConfig>] = link!(UplinkConfig);
/// Keys of a downlink's TLS.
pub(super) const DOWNLINK: &[Key<DownlinkConfig>] = link!(DownlinkConfig);
