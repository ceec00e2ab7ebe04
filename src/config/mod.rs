//! Configuration: one TOML file in layers, every key with a default, checked once into final types.
//!
//! | file | job |
//! |---|---|
//! | `keys` | **the** table of keys: name, kind and range, default, place, description |
//! | `value`, `reading`, `units`, `pattern`, `words` | one value: text to checked type, canonical spelling |
//! | `layers`, `file` | files, variables and flags to a list of assignments with their origin |
//! | `resolve`, `relations` | assignments to [`Config`]: unknown keys, ranges, contradictions between keys |
//! | `types` and the files named as a section is | the final types; `blank` is what they begin as |
//! | `report` | what holds and where it came from; the reference |
//! | `change` | two configurations: what differs, and when that takes effect |
//! | `last_good` | the configuration to fall back to |
//!
//! Invariants: nothing outside the table is accepted; all errors are found in one go; a secret never appears in an
//! error, a report or Debug; nothing below this room parses configuration text.

mod auth;
mod blank;
mod change;
mod downlink;
mod error;
mod file;
mod http;
mod keys;
mod labels;
mod last_good;
mod layers;
mod link;
mod listen;
mod pattern;
mod reading;
mod relations;
mod report;
mod resolve;
mod rules;
mod security;
mod store;
mod suggest;
mod tls;
mod topics;
mod types;
mod units;
mod uplink;
mod value;
mod words;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use auth::{AuthMethod, CertificateName, HttpsUrl, LinkSaslConfig, ListenAuthConfig, NameSource, SaslMechanism};
pub use change::{Change, TakesEffect, changes, without_restart};
pub use downlink::{DownlinkConfig, DownlinkFrom, DownlinkPartitioning, OutOfRange};
pub use error::{ConfigError, ConfigErrors, Origin};
pub use http::{HTTP_ADDR_DEFAULT, HttpAnonymous, HttpListenConfig};
pub use labels::Labels;
pub use last_good::{last_good_path, load_last_good, save_last_good};
pub use layers::{Flag, Layers, variable_name};
pub use link::{LinkBudget, LinkConfig, Period, UtcOffset, WeekWindow};
pub use listen::{AcksOne, KafkaListenConfig, ListenConfig, MqttListenConfig, MqttRule, NativeListenConfig};
pub use pattern::{TopicPattern, TopicTemplate, is_name_char};
pub use reading::host_port;
pub use report::{reference, report_text};
pub use resolve::Effective;
pub use security::{IfNoRule, ListenerRights, SecurityConfig};
pub use store::{DiskBudget, OnFull, StoreConfig, StoreMedium};
pub use suggest::nearest;
pub use tls::{ClientAuth, LinkTlsConfig, ListenTlsConfig};
pub use topics::{DefaultKey, Forward, TimestampType, TopicCompression, TopicSettings, TopicsConfig, Unforwarded};
pub use types::*;
pub use units::{format_duration, format_size, parse_duration, parse_size};
pub use uplink::{Delivery, OnDivergence, Partitioning, ProvenanceMode, UplinkConfig, UplinkProtocol};

/// A configuration with the story of its values.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Every key that holds, in the table's order, then topics and uplinks by name.
    pub effective: Vec<Effective>,
    /// What was passed over and may surprise.
    pub warnings: Vec<String>,
    /// The files that were read, lowest layer first.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// Reads the layers into one checked configuration.
    ///
    /// # Errors
    /// Everything that is wrong, in one go: unreadable files, syntax, unknown keys, values out of range, contradictions.
    pub fn load(layers: &Layers) -> Result<Loaded, ConfigErrors> {
        Loaded::from_layers(layers)
    }
}

impl Loaded {
    fn from_layers(layers: &Layers) -> Result<Loaded, ConfigErrors> {
        let gathered = layers.gather();
        let resolved = resolve::resolve(&gathered.assignments);
        let mut errors = gathered.errors;
        errors.extend(resolved.errors);
        if errors.is_empty() {
            // Contradictions are looked for among valid values only: else they would be consequences of other errors.
            errors.extend(relations::check(&resolved.config, &resolved.effective));
        }
        if !errors.is_empty() {
            errors.sort_by_key(|error| place(&gathered.files, error));
            return Err(ConfigErrors { errors, data_dir: resolved.config.data_dir });
        }
        Ok(Loaded {
            config: resolved.config,
            effective: resolved.effective,
            warnings: gathered.warnings,
            files: gathered.files,
        })
    }

    /// Of all that holds but `data_dir` and `gateway.…`: equal where two gateways of one version are configured alike. Secrets, and what is in
    /// files that keys name, are not part of it.
    #[must_use]
    pub fn fingerprint(&self) -> u32 {
        let counts = |key: &str| key != "data_dir" && !key.starts_with("gateway.");
        let told = self.effective.iter().filter(|one| counts(&one.key));
        told.fold(0, |sum, one| crc32c::crc32c_append(sum, format!("{} = {}\n", one.key, one.shown()).as_bytes()))
    }

    /// Where the value of a key came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.effective.iter().find(|effective| effective.key == key).map(|effective| &effective.origin)
    }
}

/// Orders errors as a reader goes through them: files in layer order, line by line, then what is in no file.
fn place(files: &[PathBuf], error: &ConfigError) -> (usize, usize) {
    match &error.origin {
        Some(Origin::File { path, line }) => {
            (files.iter().position(|file| file.as_path() == &**path).unwrap_or(files.len()), *line)
        }
        _ => (files.len(), usize::MAX),
    }
}

/// Loads one file as `check FILE` does: that file over the defaults, nothing else.
///
/// # Errors
/// As [`Config::load`].
pub fn load_file(file: &Path) -> Result<Loaded, ConfigErrors> {
    Config::load(&Layers::only(file))
}
