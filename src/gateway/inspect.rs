//! What lies in the files that a configuration names for TLS and as secrets, told before anything is served: for `brooklet check`.

use std::path::{Path, PathBuf};

use super::certificates::machine_clock;
use super::status::CertificateFigures;
use crate::config::{Config, LinkSaslConfig, LinkTlsConfig, ListenTlsConfig};
use crate::secret::read_file;
use crate::tls::{self, CertClock, Report};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Certificates of listeners, uplinks and downlinks that are on; with a failure where files can't be used.
    pub certificates: Vec<CertificateFigures>,
    /// Secrets that can't be used: key, and what is wrong.
    pub secrets: Vec<(String, String)>,
    /// What works here, and perhaps not with everybody.
    pub warnings: Vec<String>,
}

/// Opens all files for TLS and all secrets that are in use by `config`.
#[must_use]
pub fn inspect(config: &Config) -> Inspected {
    let mut found = Inspected::default();
    let clock = machine_clock(config.clock.trust);
    let listen = &config.listen;
    for (name, enabled, of) in [
        ("native", listen.native.enabled, &listen.native.tls),
        ("kafka", listen.kafka.enabled, &listen.kafka.tls),
        ("mqtt", listen.mqtt.enabled, &listen.mqtt.tls),
        ("http", listen.http.enabled, &listen.http.tls),
    ] {
        if enabled && of.is_on() {
            found.listener(&format!("listen.{name}.tls"), of, &clock);
        }
    }
    for (name, of) in config.uplinks.iter().filter(|(_, of)| of.enabled) {
        found.link(&format!("uplink.{name}"), (&of.tls, &of.sasl), &of.link.proxy_auth, &clock);
    }
    for (name, of) in config.downlinks.iter().filter(|(_, of)| of.enabled) {
        found.link(&format!("downlink.{name}"), (&of.tls, &of.sasl), &of.link.proxy_auth, &clock);
    }
    found
}

impl Inspected {
    fn listener(&mut self, what: &str, config: &ListenTlsConfig, clock: &CertClock) {
        match tls::server(what, config, &[], clock) {
            Ok(held) => self.reports(held.report(), clock),
            Err(why) => {
                let failure = Some(why.strip_prefix(&format!("{what}: ")).unwrap_or(&why).to_owned());
                self.reports(vec![Report { what: what.to_owned(), failure, ..Report::default() }], clock);
            }
        }
        let more = config.more.iter().map(|(cert, _)| cert);
        config.cert.iter().chain(more).for_each(|cert| self.chain(what, cert));
    }

    fn link(
        &mut self,
        name: &str,
        (tls, sasl): (&LinkTlsConfig, &LinkSaslConfig),
        proxy_auth: &Option<PathBuf>,
        clock: &CertClock,
    ) {
        let what = format!("{name}.tls");
        for (what, config) in [(&what, Some(tls)), (&format!("{name}.sasl"), sasl.token_tls().as_ref())] {
            if let Some(config) = config.filter(|config| config.enabled) {
                let held = tls::client(what, config, clock);
                held.look(true);
                self.reports(held.report(), clock);
            }
        }
        tls.cert.iter().for_each(|cert| self.chain(&what, cert));
        for (key, file) in [
            ("sasl.password_file", &sasl.password_file),
            ("sasl.token_file", &sasl.token_file),
            ("sasl.client_secret_file", &sasl.client_secret_file),
            ("proxy_auth", proxy_auth),
        ] {
            if let Some(Err(why)) = file.as_deref().map(read_file) {
                self.secrets.push((format!("{name}.{key}"), why));
            }
        }
    }

    fn reports(&mut self, reports: Vec<Report>, clock: &CertClock) {
        let now_ms = clock.now().ms;
        self.certificates.extend(reports.into_iter().map(|report| CertificateFigures::new(report, now_ms)));
    }

    fn chain(&mut self, what: &str, cert: &Path) {
        self.warnings.extend(tls::chain_problem(cert).map(|why| format!("{what}: {why}")));
    }
}
