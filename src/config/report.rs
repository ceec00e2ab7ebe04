//! What holds and where it came from; and the reference of all keys. Both print the one table.

use super::{
    Loaded,
    downlink::DownlinkConfig,
    keys::{DOWNLINK, GLOBAL, Key, RESERVED, TOPIC, UPLINK},
    labels,
    types::Config,
    uplink::UplinkConfig,
    value::Raw,
};

/// A key a line as TOML, aligned, with its origin as a comment: the output is itself a configuration file.
#[must_use]
pub fn report_text(loaded: &Loaded) -> String {
    // Beyond this a long value pushes only its own comment to the right.
    const COLUMN_CHARS_MAX: usize = 56;
    let lines: Vec<(String, String)> = loaded
        .effective
        .iter()
        .map(|effective| (format!("{} = {}", effective.key, effective.shown()), effective.origin.to_string()))
        .collect();
    let width = lines.iter().map(|(value, _)| value.chars().count()).max().unwrap_or(0).min(COLUMN_CHARS_MAX);
    lines.iter().map(|(value, origin)| format!("{value:<width$}  # {origin}\n")).collect()
}

/// Every key with its default, what it takes and what it does, as a TOML file in which everything is commented out.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# Brooklet's configuration keys. Layers, later ones win: these defaults, /usr/lib/brooklet/*.toml,\n\
         # /etc/brooklet/brooklet.toml, /etc/brooklet/conf.d/*.toml (or --config FILE in place of those in /etc),\n\
         # environment (BROOKLET_STORE__MAX_BYTES for store.max_bytes), command-line flags.\n\
         # `brooklet reload` (or SIGHUP) applies changes of the keys that say so; others take effect at the next start.\n\
         # `brooklet check` prints what holds and where it came from.\n",
    );
    scope(&mut out, "", GLOBAL, Config::blank());
    out.push_str(&format!(
        "\n# {}\n# Takes a table of texts, NAME = \"VALUE\". Reload: at once.\n#gateway.labels = {{}}\n",
        labels::DOC
    ));
    out.push_str("\n# For all topics. For one topic, which then takes what it doesn't set from here: [topic.NAME]\n");
    scope(&mut out, "topic.", TOPIC, Config::blank().topics.defaults);
    out.push_str(
        "\n# One table for each uplink; NAME has letters, digits, '_' and '-', and its cursors are kept by it.\n",
    );
    scope(&mut out, "uplink.NAME.", UPLINK, UplinkConfig::blank());
    out.push_str("\n# One table for each downlink; NAME as for an uplink, and none that an uplink has.\n");
    scope(&mut out, "downlink.NAME.", DOWNLINK, DownlinkConfig::blank());
    out.push_str("\n# Refused until a later version gives them a meaning:\n");
    for (path, what) in RESERVED {
        out.push_str(&format!("#   [{}]  {what}\n", path.join(".").replace('*', "NAME")));
    }
    out
}

/// `scratch` is read into only for the canonical spelling of the defaults.
fn scope<T>(out: &mut String, prefix: &str, keys: &[Key<T>], mut scratch: T) {
    for key in keys {
        let masked = if key.secret { "; never shown" } else { "" };
        out.push_str(&format!("\n# {}\n# Takes {}{masked}. {}.\n", key.doc, key.kind.allowed(), key.takes.in_words()));
        let default = key.default.and_then(|text| key.kind.read(&Raw::Text(text.to_owned()), &mut scratch).ok());
        match default {
            Some(default) => out.push_str(&format!("#{prefix}{} = {default}\n", key.name)),
            None => out.push_str(&format!("#{prefix}{} =   # must be set\n", key.name)),
        }
    }
}
