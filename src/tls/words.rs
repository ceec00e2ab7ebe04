//! What went wrong with TLS, for people: what is wrong, and what to do about it.

use rustls::{AlertDescription as Alert, CertificateError, Error, PeerIncompatible};

use crate::calendar::format_time;

/// An error of a connection in words.
pub(super) fn explained(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => alert_received(*alert),
        Error::NoCertificatesPresented => {
            "it shows no certificate, and must: give it one that the client CA has issued".to_owned()
        }
        Error::InvalidMessage(_) => {
            "it does not speak TLS: its port is one without TLS, or it is another service".to_owned()
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::Tls12NotOffered,
        ) => "it speaks neither TLS 1.2 nor 1.3: allow one of them there".to_owned(),
        Error::PeerIncompatible(why) => format!("no way of TLS that both sides know: {why:?}"),
        // An alert of Apache Kafka 2.8 comes so, where 3.9 and 4 send one that can be read.
        Error::DecryptError => {
            "what it sends cannot be decrypted: it may have refused the certificate shown to it, or was shown none \
             and wants one (set tls.cert and tls.key); its own log says why"
                .to_owned()
        }
        Error::NoApplicationProtocol => "it wants another protocol (ALPN) than this port has".to_owned(),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    let at = |time: &rustls::pki_types::UnixTime| {
        format_time(i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000))
    };
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("its certificate has expired at {} (it is {}): it needs a new one", at(not_after), at(time))
        }
        CertificateError::Expired => "its certificate has expired: it needs a new one".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is valid from {} on, and it is {} by this machine's clock: set the clock that is wrong",
            at(not_before),
            at(time)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<&str> = presented.iter().take(8).map(String::as_str).collect();
            let of = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!(
                "its certificate is not for {}, but for {of}: connect by that name, set tls.server_name to it, or issue another",
                expected.to_str()
            )
        }
        CertificateError::UnknownIssuer => "its certificate is issued by a CA that is not trusted here: \
             add that CA's certificate to tls.ca (uplink, downlink) or tls.client_ca (listener)"
            .to_owned(),
        CertificateError::Revoked => "its certificate is revoked (tls.crl): it needs a new one".to_owned(),
        CertificateError::UnknownRevocationStatus => "the CA that issued its certificate has no list in tls.crl: \
             add the CA's list"
            .to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not made for this side (extended key usage): servers need serverAuth, clients clientAuth"
                .to_owned()
        }
        CertificateError::BadSignature => {
            "the signature in its certificate is wrong: the CA of that name here is another one than its issuer".to_owned()
        }
        other => format!("its certificate is refused: {other}"),
    }
}

fn alert_received(alert: Alert) -> String {
    let why = match alert {
        Alert::CertificateRequired | Alert::NoCertificate => {
            "it wants a certificate: set tls.cert and tls.key to one that its CA has issued"
        }
        Alert::UnknownCA => "it does not trust the CA of the certificate shown to it: one side has the wrong CA",
        Alert::CertificateExpired => {
            "it takes the certificate shown to it for expired: renew it, or its clock is wrong"
        }
        Alert::CertificateRevoked => "the certificate shown to it is revoked: get a new one",
        // Java's word for none at all, too.
        Alert::BadCertificate => {
            "it refuses the certificate shown to it, or was shown none and wants one (set tls.cert and tls.key); its own log says why"
        }
        Alert::CertificateUnknown | Alert::UnsupportedCertificate | Alert::AccessDenied => {
            "it refuses the certificate shown to it; its own log says why"
        }
        Alert::ProtocolVersion => "it speaks another version of TLS: 1.2 or 1.3 is needed",
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            "it found no way to talk: it may want a certificate (tls.cert, tls.key), or other ciphers or a newer TLS"
        }
        Alert::UnrecognisedName => "it does not know the name that was asked for: set tls.server_name",
        Alert::NoApplicationProtocol => "it wants another protocol (ALPN)",
        other => return format!("it ended the connection: {other:?}"),
    };
    why.to_owned()
}
