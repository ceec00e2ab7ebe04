//! Keys of the HTTP listener.

use std::path::PathBuf;

use super::super::{
    http::HttpAnonymous,
    reading::address,
    types::Config,
    value::{Kind, Special, SpecialList},
};
use super::link::{file, unless};
use super::{Key, key, live};

pub(super) const HTTP: &[Key<Config>] = &[
    key(
        "listen.http.enabled",
        "true",
        Kind::Boolean(|c, v| c.listen.http.enabled = v),
        "Whether the gateway shows how it is by HTTP: a page, /metrics, /status.json, /healthz, /readyz.",
    ),
    key(
        "listen.http.addr",
        "auto",
        Kind::Special(Special {
            allowed: "\"auto\" or an address and a port, such as \"0.0.0.0:9791\"",
            set: |c, text| unless("auto", text, address, |v| c.listen.http.addr = v),
        }),
        "Where; auto: 127.0.0.1:9791, or nowhere if another process has that.",
    ),
    live(
        "listen.http.max_connections",
        "32",
        Kind::Count { min: 1, max: 1_024, set: |c, v| c.listen.http.max_connections = v as usize },
        "Most HTTP connections at once.",
    ),
    live(
        "listen.http.token_file",
        "none",
        Kind::Special(Special {
            allowed: "\"none\" or the path of a file",
            set: |c, text| unless("none", text, file, |v| c.listen.http.token_file = v.map(PathBuf::from)),
        }),
        "File whose first line is the token to show (Authorization: Bearer TOKEN); others can't read it.",
    ),
    live(
        "listen.http.anonymous",
        "auto",
        choice!(HttpAnonymous, |c| c.listen.http.anonymous),
        "Who may read without a token: auto: this machine, if there is no token; read: everybody.",
    ),
    live(
        "listen.http.names",
        "none",
        Kind::SpecialList(SpecialList {
            allowed: "\"none\" or a list of host names, such as [\"gateway.lan\"]",
            set: |c, texts| {
                let names = texts.iter().filter(|text| **text != "none").map(|text| text.to_ascii_lowercase());
                let names: Vec<String> = names.collect();
                let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
                (names.iter().all(|name| !name.is_empty() && name.chars().all(fits))).then(|| {
                    c.listen.http.names.clone_from(&names);
                    if names.is_empty() { vec!["none".to_owned()] } else { names }
                })
            },
        }),
        "Names by which browsers may call it without a token, beside its addresses and localhost.",
    ),
];
