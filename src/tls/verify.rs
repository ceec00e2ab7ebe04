//! Verifying certificates by a clock that may not be trusted ([`super::clock`]). What is verified is rustls-webpki's; here only the
//! moment is chosen.
//!
//! Invariant: with a trusted clock nothing differs from webpki. Without, the moment is never earlier than what is certain to be past,
//! and later only as far as the presented certificates begin later: so the end of none is overlooked that lies before that.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::certificate::Certificate;
use super::clock::{CertClock, unix_time};

/// A verifier of webpki's, with our clock.
#[derive(Debug)]
pub(super) struct Verifier<V: ?Sized> {
    clock: CertClock,
    webpki: Arc<V>,
}

impl<V: ?Sized> Verifier<V> {
    pub(super) fn new(webpki: Arc<V>, clock: CertClock) -> Self {
        Self { clock, webpki }
    }

    fn moment(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> UnixTime {
        let now = self.clock.now();
        if now.trusted {
            return unix_time(now.ms);
        }
        let begins = std::iter::once(end_entity).chain(intermediates);
        let begins = begins.filter_map(|der| Certificate::parse(der)).map(|certificate| certificate.not_before_ms);
        unix_time(begins.fold(now.ms, i64::max))
    }
}

impl ServerCertVerifier for Verifier<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let moment = self.moment(end_entity, intermediates);
        self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, moment)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Verifier<dyn ClientCertVerifier> {
    fn offer_client_auth(&self) -> bool {
        self.webpki.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.webpki.verify_client_cert(end_entity, intermediates, self.moment(end_entity, intermediates))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
