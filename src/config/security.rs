//! Rights: who may do everything, and what holds where no rule does. The rules themselves are kept in the store.

use super::{
    auth::{AuthMethod, ListenAuthConfig},
    tls::ListenTlsConfig,
    types::Config,
    words::words,
};
use crate::limits::PRINCIPAL_BYTES_MAX;

/// `security`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityConfig {
    /// Names of users that may do everything, without `User:`.
    pub super_users: Vec<String>,
    /// Whether what isn't allowed is refused; else it is counted and told only.
    pub enforce: bool,
    /// Whether a client id belongs to the user who came with it first.
    pub bind_client_ids: bool,
}

words! {
    /// What callers of a listener may do with what no rule is about.
    #[derive(Default)]
    pub enum IfNoRule {
        /// Nothing where clients show who they are, else everything.
        #[default]
        Auto = "auto",
        /// Everything.
        Allow = "allow",
        /// Nothing.
        Deny = "deny",
    }
}

/// Reads the name of a user; `User:` in front of it may be there.
pub(super) fn user(text: &str) -> Option<String> {
    let name = text.strip_prefix("User:").unwrap_or(text);
    let fits =
        !name.is_empty() && name.len() <= PRINCIPAL_BYTES_MAX && name != "*" && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}

/// What holds on one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerRights {
    /// As in the configuration: `native`, `kafka`, `mqtt`.
    pub listener: &'static str,
    pub is_on: bool,
    /// Whether clients show who they are.
    pub authenticates: bool,
    /// Whether some need not.
    pub allows_anonymous: bool,
    pub if_no_rule: IfNoRule,
}

impl ListenerRights {
    /// Whether callers may do what no rule is about.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.if_no_rule {
            IfNoRule::Allow => true,
            IfNoRule::Deny => false,
            IfNoRule::Auto => !self.authenticates,
        }
    }
}

impl Config {
    /// What holds on each listener, by the configuration alone.
    #[must_use]
    pub fn listener_rights(&self) -> [ListenerRights; 3] {
        let listen = &self.listen;
        let (native, kafka, mqtt) = (&listen.native, &listen.kafka, &listen.mqtt);
        let of = |listener, is_on, (auth, tls): (&ListenAuthConfig, &ListenTlsConfig), if_no_rule| ListenerRights {
            listener,
            is_on,
            authenticates: auth.with(tls).methods.iter().any(|method| *method != AuthMethod::None),
            allows_anonymous: auth.with(tls).allows_anonymous(),
            if_no_rule,
        };
        [
            of("native", native.enabled, (&native.auth, &native.tls), native.if_no_rule),
            of("kafka", kafka.enabled, (&kafka.auth, &kafka.tls), kafka.if_no_rule),
            of("mqtt", mqtt.enabled, (&mqtt.auth, &mqtt.tls), mqtt.if_no_rule),
        ]
    }

    /// Who can do what on each listener, a line each, for people.
    #[must_use]
    pub fn rights_text(&self) -> String {
        let mut out = String::new();
        for rights in self.listener_rights().iter().filter(|rights| rights.is_on) {
            let who = match (rights.authenticates, rights.allows_anonymous) {
                (true, false) => "clients show who they are",
                (true, true) => "clients show who they are, or are User:ANONYMOUS",
                (false, _) => "whoever connects is User:ANONYMOUS",
            };
            let what = match rights.is_open() {
                true => "may do everything that no rule is about, else what rules allow",
                false => "may do what rules allow",
            };
            out.push_str(&format!("# listen.{}: {who}; they {what}\n", rights.listener));
        }
        let users = self.security.super_users.iter().map(|name| format!("User:{name}")).collect::<Vec<_>>().join(", ");
        let users = if users.is_empty() { "nobody".to_owned() } else { users };
        out.push_str(&format!(
            "# everywhere: {users} may do everything; so may the owner of the data directory by its socket\n"
        ));
        if !self.security.enforce {
            out.push_str("# dry run: what isn't allowed is counted and told, and done all the same\n");
        }
        out.push_str("# rules are kept by the gateway: `brooklet acl list`\n");
        out
    }
}
