//! Relations between keys: what no key can check alone.

use std::{net::SocketAddr, time::Duration};

use super::{
    auth::{AuthMethod, LinkSaslConfig, ListenAuthConfig, SaslMechanism},
    downlink::DownlinkConfig,
    error::{ConfigError, Origin},
    http::HttpAnonymous,
    link::LinkConfig,
    pattern::{TopicTemplate, is_name_char},
    reading::quoted,
    resolve::Effective,
    security::IfNoRule,
    store::DiskBudget,
    tls::{ClientAuth, LinkTlsConfig, ListenTlsConfig},
    types::Config,
    units::format_size,
    uplink::UplinkConfig,
};
use crate::limits::{RESERVE_PERCENT_MAX, reserve_sum_max};

/// Bytes that a request or frame carries around one batch, at most.
const AROUND_A_BATCH_BYTES: usize = 4 * 1024;

/// Checks a configuration whose keys are each valid. Gives back what contradicts.
pub(super) fn check(config: &Config, effective: &[Effective]) -> Vec<ConfigError> {
    let mut found = Relations { effective, errors: Vec::new() };
    found.store(config);
    found.listeners(config);
    for (name, uplink) in &config.uplinks {
        found.uplink(name, uplink);
        found.labels(config, &format!("uplink.{name}.topic"), &uplink.topic);
    }
    for (name, downlink) in &config.downlinks {
        found.downlink(config, name, downlink);
        found.labels(config, &format!("downlink.{name}.topic"), &downlink.topic);
        for topic in &downlink.topics {
            found.labels(config, &format!("downlink.{name}.topics"), topic);
        }
    }
    if found.errors.is_empty() {
        found.rights(config);
    }
    found.errors
}

/// Whether `key` is the reserve of this topic, its name quoted or not.
fn is_reserve_of(key: &str, topic: &str) -> bool {
    key == format!("topic.{topic}.reserve") || key == format!("topic.\"{topic}\".reserve")
}

struct Relations<'a> {
    effective: &'a [Effective],
    errors: Vec<ConfigError>,
}

impl Relations<'_> {
    /// Nobody would have rights, and nobody said that this is meant.
    fn rights(&mut self, config: &Config) {
        let users = &config.security.super_users;
        for rights in config.listener_rights() {
            let is_auto = rights.if_no_rule == IfNoRule::Auto;
            if rights.is_on && rights.authenticates && is_auto && users.is_empty() {
                let key = format!("listen.{}.if_no_rule", rights.listener);
                let text = "clients of this listener show who they are, and nobody has any rights there: name who may do \
                            everything in security.super_users, or say \"deny\" here (rules are added by `brooklet acl add`), \
                            or \"allow\"";
                self.refuse(&key, text);
            }
        }
    }

    fn store(&mut self, config: &Config) {
        if let (DiskBudget::Bytes(max), Some(segment)) = (config.store.max_bytes, config.store.segment_bytes)
            && segment > max / 4
        {
            self.refuse("store.segment_bytes", "must be at most a quarter of store.max_bytes");
        }
        if let DiskBudget::Bytes(max) = config.store.max_bytes {
            self.reserves(config, max);
        }
    }

    /// Where the budget is a part of the filesystem, the store checks it when it is opened.
    fn reserves(&mut self, config: &Config, max_bytes: u64) {
        let (sum, most) = (config.topics.reserve_sum(), reserve_sum_max(max_bytes));
        if sum > most {
            let name = config.topics.by_name.iter().max_by_key(|(_, topic)| topic.reserve).map(|(name, _)| name);
            let key = self.effective.iter().map(|effective| &effective.key);
            let key = name.and_then(|name| key.clone().find(|key| is_reserve_of(key, name)).cloned());
            let problem = format!(
                "all reserves together are {}, but at most {RESERVE_PERCENT_MAX}% of store.max_bytes can be reserved: {}",
                format_size(sum),
                format_size(most)
            );
            self.refuse(key.as_deref().unwrap_or("topic.reserve"), problem);
        }
    }

    fn listeners(&mut self, config: &Config) {
        let (native, kafka) = (&config.listen.native, &config.listen.kafka);
        self.addresses(config);
        self.websocket_tls(config);
        let largest =
            config.topics.by_name.values().chain([&config.topics.defaults]).map(|t| t.max_message_bytes).max();
        let needed = largest.unwrap_or(0) + AROUND_A_BATCH_BYTES;
        if kafka.enabled && kafka.max_request_bytes < needed {
            let problem =
                format!("must be at least {needed}: the largest max.message.bytes and what surrounds a batch");
            self.refuse("listen.kafka.max_request_bytes", problem);
        }
        if kafka.enabled && kafka.max_inflight_bytes < kafka.max_request_bytes as u64 {
            self.refuse("listen.kafka.max_inflight_bytes", "must be at least listen.kafka.max_request_bytes");
        }
        for key in config.listen.http.open_addresses() {
            let text = "whoever reaches this address could read how the gateway is: name a file that holds a token in \
                        listen.http.token_file, or say listen.http.anonymous = \"read\" if everybody there may";
            self.refuse(key, text);
        }
        if config.listen.http.token_file.is_some() && config.listen.http.anonymous == HttpAnonymous::Read {
            self.refuse(
                "listen.http.anonymous",
                "whoever needs no token is not asked for one: take this or token_file",
            );
        }
        if native.enabled && native.max_inflight_bytes < native.max_frame_bytes as u64 {
            self.refuse("listen.native.max_inflight_bytes", "must be at least listen.native.max_frame_bytes");
        }
    }

    /// No two listeners at one address, in the clear or not; and TLS that is whole.
    fn addresses(&mut self, config: &Config) {
        let of = &config.listen;
        let listeners = [
            ("listen.native", of.native.enabled, of.native.addr, &of.native.tls, &of.native.auth),
            ("listen.kafka", of.kafka.enabled, of.kafka.addr, &of.kafka.tls, &of.kafka.auth),
            ("listen.mqtt", of.mqtt.enabled, of.mqtt.addr, &of.mqtt.tls, &of.mqtt.auth),
            (
                "listen.http",
                of.http.enabled && of.http.addr.is_some(),
                of.http.address(),
                &of.http.tls,
                &ListenAuthConfig::default(),
            ),
        ];
        let websocket =
            [("listen.mqtt.websocket", of.mqtt.websocket), ("listen.mqtt.tls.websocket", of.mqtt.websocket_tls)];
        let websocket = websocket.map(|(key, addr)| (key.to_owned(), addr));
        let mut taken: Vec<(String, SocketAddr)> = Vec::new();
        for (name, enabled, addr, tls, auth) in listeners {
            self.listener_tls(name, tls);
            self.listener_auth(name, tls, auth);
            let of_tls = tls.addr.filter(|_| tls.is_on()).map(|addr| (format!("{name}.tls.addr"), addr));
            let own = std::iter::once((format!("{name}.addr"), addr));
            let more = websocket.iter().filter(|_| name == "listen.mqtt");
            let more = more.filter_map(|(key, addr)| Some((key.clone(), (*addr)?)));
            for (key, addr) in own.chain(of_tls).chain(more).filter(|(_, addr)| enabled && addr.port() != 0) {
                match taken.iter().find(|(_, other)| *other == addr).map(|(other, _)| other.clone()) {
                    Some(other) => self.refuse(&key, format!("must differ from {other}")),
                    None => taken.push((key, addr)),
                }
            }
        }
    }

    fn websocket_tls(&mut self, config: &Config) {
        let mqtt = &config.listen.mqtt;
        if mqtt.websocket_tls.is_some() && !mqtt.tls.is_on() {
            self.refuse("listen.mqtt.tls.websocket", "needs listen.mqtt.tls.cert and key");
        }
    }

    fn listener_tls(&mut self, name: &str, tls: &ListenTlsConfig) {
        let key = |key: &str| format!("{name}.tls.{key}");
        if tls.cert.is_none() && tls.key.is_some() {
            self.refuse(&key("key"), "needs a cert, whose key it is");
        }
        if tls.cert.is_some() && tls.key.is_none() {
            self.refuse(&key("cert"), "needs its key");
        }
        if tls.cert.is_none() {
            for (set, what) in
                [(tls.addr.is_some(), "addr"), (tls.client_ca.is_some(), "client_ca"), (!tls.more.is_empty(), "more")]
            {
                if set {
                    self.refuse(&key(what), "needs a cert and a key: without them the listener does not speak TLS");
                }
            }
        }
        if tls.client_ca.is_none() && matches!(tls.client_auth, ClientAuth::Optional | ClientAuth::Required) {
            self.refuse(&key("client_auth"), "needs a client_ca, which says whose certificates count");
        }
        if tls.crl.is_some() && !tls.asks_clients() {
            self.refuse(&key("crl"), "needs a client_ca, whose certificates it revokes");
        }
    }

    fn listener_auth(&mut self, name: &str, tls: &ListenTlsConfig, auth: &ListenAuthConfig) {
        let key = format!("{name}.auth");
        if auth.methods.contains(&AuthMethod::Certificate) && !tls.asks_clients() {
            self.refuse(
                &key,
                format!("\"certificate\" needs {name}.tls.client_ca, which says whose certificates count"),
            );
        }
        if name == "listen.native" && auth.methods.contains(&AuthMethod::Scram) {
            self.refuse(&key, "\"scram\" is not spoken there: take \"password\", over TLS where others can read it");
        }
        if auth.clear_passwords && !auth.methods.contains(&AuthMethod::Password) {
            self.refuse(&format!("{name}.clear_passwords"), format!("needs \"password\" in {name}.auth"));
        }
    }

    fn link_tls(&mut self, prefix: &str, tls: &LinkTlsConfig) {
        let key = |key: &str| format!("{prefix}.tls.{key}");
        let set = [
            (tls.ca.is_some(), "ca"),
            (tls.cert.is_some(), "cert"),
            (tls.key.is_some(), "key"),
            (tls.crl.is_some(), "crl"),
            (tls.server_name.is_some(), "server_name"),
        ];
        if !tls.enabled
            && let Some((_, what)) = set.iter().find(|(set, _)| *set)
        {
            self.refuse(&key(what), "needs tls.enabled = true: without it nothing is encrypted");
        }
        if tls.cert.is_some() != tls.key.is_some() {
            let (there, missing) = if tls.cert.is_some() { ("cert", "key") } else { ("key", "cert") };
            self.refuse(&key(there), format!("needs {missing} too"));
        }
    }

    fn link_sasl(&mut self, prefix: &str, sasl: &LinkSaslConfig, tls: &LinkTlsConfig) {
        let key = |key: &str| format!("{prefix}.sasl.{key}");
        let Some(mechanism) = sasl.mechanism else {
            let set = [
                (sasl.username.is_some(), "username"),
                (sasl.password_file.is_some(), "password_file"),
                (sasl.token_file.is_some(), "token_file"),
                (sasl.token_command.is_some(), "token_command"),
                (sasl.token_url.is_some(), "token_url"),
            ];
            if let Some((_, what)) = set.iter().find(|(set, _)| *set) {
                self.refuse(&key(what), "needs sasl.mechanism, such as \"SCRAM-SHA-512\"");
            }
            return;
        };
        let sources = [sasl.token_file.is_some(), sasl.token_command.is_some(), sasl.token_url.is_some()];
        let sources = sources.into_iter().filter(|set| *set).count();
        let is_bearer = mechanism == SaslMechanism::OAuthBearer;
        let needed = [
            (!is_bearer && sasl.username.is_none(), "mechanism", "sasl.username"),
            (!is_bearer && sasl.password_file.is_none(), "mechanism", "sasl.password_file"),
            (is_bearer && sources != 1, "mechanism", "one of sasl.token_file, token_command and token_url"),
            (sasl.token_url.is_some() && sasl.client_id.is_none(), "token_url", "sasl.client_id"),
            (sasl.token_url.is_some() && sasl.client_secret_file.is_none(), "token_url", "sasl.client_secret_file"),
            (sasl.token_url.is_none() && sasl.client_id.is_some(), "client_id", "sasl.token_url"),
        ];
        for (_, at, what) in needed.iter().filter(|(is_missing, ..)| *is_missing) {
            self.refuse(&key(at), format!("needs {what}"));
        }
        if mechanism.shows_secret() && !tls.enabled && !sasl.clear_passwords {
            self.refuse(
                &key("mechanism"),
                "needs tls.enabled = true, since the secret goes over the network as it is; or sasl.clear_passwords = true",
            );
        }
    }

    /// What uplinks and downlinks have alike.
    fn link(&mut self, scope: &str, (backoff_min, backoff_max): (Duration, Duration), link: &LinkConfig) {
        if backoff_min > backoff_max {
            self.refuse(&format!("{scope}.backoff.min"), "must be at most backoff.max");
        }
        if link.proxy_auth.is_some() && link.proxy.is_none() {
            self.refuse(&format!("{scope}.proxy_auth"), "needs a proxy to show it to");
        }
    }

    fn uplink(&mut self, name: &str, uplink: &UplinkConfig) {
        if uplink.batch_min_bytes > uplink.batch_max_bytes {
            self.refuse(&format!("uplink.{name}.batch.min_bytes"), "must be at most batch.max_bytes");
        }
        self.link(&format!("uplink.{name}"), (uplink.backoff_min, uplink.backoff_max), &uplink.link);
        self.link_tls(&format!("uplink.{name}"), &uplink.tls);
        self.link_sasl(&format!("uplink.{name}"), &uplink.sasl, &uplink.tls);
        if uplink.topics.is_empty() {
            self.refuse(&format!("uplink.{name}.topics"), "must name at least one topic or pattern");
        }
    }

    /// The labels of a template exist, and their values can be in a topic's name.
    fn labels(&mut self, config: &Config, key: &str, template: &TopicTemplate) {
        for label in template.labels() {
            let value = config.gateway.labels.get(label);
            match value {
                None => self.refuse(key, format!("there is no label {label}: set gateway.labels.{label}")),
                Some(value) if !value.chars().all(is_name_char) => {
                    let problem = format!(
                        "gateway.labels.{label} is {}, but a topic's name has letters, digits, '.', '_' or '-' only",
                        quoted(value)
                    );
                    self.refuse(key, problem);
                }
                Some(_) => {}
            }
        }
    }

    fn downlink(&mut self, config: &Config, name: &str, downlink: &DownlinkConfig) {
        let key = |key: &str| format!("downlink.{name}.{key}");
        if config.uplinks.contains_key(name) {
            self.refuse(&key("bootstrap"), "an uplink has this name: choose another");
        }
        self.link(&format!("downlink.{name}"), (downlink.backoff_min, downlink.backoff_max), &downlink.link);
        self.link_tls(&format!("downlink.{name}"), &downlink.tls);
        self.link_sasl(&format!("downlink.{name}"), &downlink.sasl, &downlink.tls);
        if downlink.topics.iter().any(|topic| !topic.merges_topics()) {
            self.refuse(
                &key("topics"),
                "these are names at the centre: only {gateway} and {label.NAME} are replaced in them",
            );
        }
        if downlink.topics.len() > 1 && downlink.topic.merges_topics() {
            self.refuse(&key("topic"), "several topics would come into one: put {topic} into the name");
        }
    }

    /// Blames the key's own place; where that is a default, the reader still sees which key it is.
    fn refuse(&mut self, key: &str, problem: impl Into<String>) {
        let found = self.effective.iter().find(|effective| effective.key == key);
        let origin = found.map_or(Origin::Default, |effective| effective.origin.clone());
        let value = found.map(|effective| effective.shown().to_owned());
        self.errors.push(ConfigError { value, ..ConfigError::at(&origin, key, problem) });
    }
}
