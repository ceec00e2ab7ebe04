//! `brooklet serve`: the gateway.

use std::path::PathBuf;

use futures_lite::future::block_on;

use super::{
    error::CliError,
    introduce, logging,
    notify::Manager,
    parse::Parsed,
    process, signals,
    spec::{Opt, Spec},
};
use crate::config::{Config, ConfigErrors, Flag, Layers, Loaded, Origin, load_last_good};
use crate::gateway::{Configured, Gateway, leave_last_words};

pub(super) static SPEC: Spec = Spec {
    name: "serve",
    summary: "Run the gateway",
    positionals: &[],
    options: &[
        Opt::value("config", "FILE", "Configuration in place of that in /etc/brooklet").short('c'),
        Opt::value("data", "DIR", "Data directory (default ./brooklet-data)").short('d'),
        Opt::value("native", "ADDR", "Where devices connect (default 127.0.0.1:9790)"),
        Opt::value("kafka", "ADDR", "Where Kafka clients connect (default 127.0.0.1:9092)"),
        Opt::value("mqtt", "ADDR", "Where MQTT clients connect (default 127.0.0.1:1883)"),
        Opt::value("http", "ADDR", "Where browsers and Prometheus see how it is (default 127.0.0.1:9791)"),
        Opt::value("log-level", "LEVEL", "off, error, warn, info, debug or trace (default info)"),
        Opt::switch("dry-run-acl", "Count and log what rules would deny, and allow it all the same"),
        Opt::switch("strict", "Exit 2 if the configuration is refused, in place of starting with the last good one"),
    ],
    shared: &[],
    details: "Without any file it is a working broker on loopback. SIGTERM and SIGINT end it within 5 s; everything\n\
              acknowledged is kept. `brooklet check` shows the configuration it would start with. SIGHUP reads it again, as\n\
              `brooklet reload` does.",
};

/// Arguments of `serve`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServeArgs {
    pub config: Option<PathBuf>,
    pub data: Option<String>,
    pub native: Option<String>,
    pub kafka: Option<String>,
    pub mqtt: Option<String>,
    pub http: Option<String>,
    pub log_level: Option<String>,
    pub dry_run_acl: bool,
    pub strict: bool,
}

impl ServeArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ServeArgs, CliError> {
        Ok(ServeArgs {
            config: args.path("config"),
            data: args.text("data")?,
            native: args.text("native")?,
            kafka: args.text("kafka")?,
            mqtt: args.text("mqtt")?,
            http: args.text("http")?,
            log_level: args.text("log-level")?,
            dry_run_acl: args.switch("dry-run-acl"),
            strict: args.switch("strict"),
        })
    }

    /// The system's layers with these flags on top. Their values are checked with all others.
    #[must_use]
    pub(super) fn layers(&self) -> Layers {
        let enforce = self.dry_run_acl.then(|| "false".to_owned());
        let flags = [
            ("--dry-run-acl", "security.enforce", &enforce),
            ("--data", "data_dir", &self.data),
            ("--native", "listen.native.addr", &self.native),
            ("--kafka", "listen.kafka.addr", &self.kafka),
            ("--mqtt", "listen.mqtt.addr", &self.mqtt),
            ("--http", "listen.http.addr", &self.http),
            ("--log-level", "log.level", &self.log_level),
        ];
        let given = flags.into_iter().filter_map(|(flag, key, value)| Some(Flag { flag, key, value: value.clone()? }));
        Layers { file: self.config.clone(), flags: given.collect(), ..Layers::system() }
    }
}

/// Runs `serve` until it is told to end.
///
/// # Errors
/// [`CliError::Config`] when the configuration is refused and no earlier one can stand in; [`CliError::Failed`] when
/// it cannot start as configured (an address in use, a directory that can't be written, another gateway on it).
pub(super) fn run(args: &ServeArgs) -> Result<(), CliError> {
    process::share_heap();
    process::allow_open_files();
    let layers = args.layers();
    let Start { loaded, refused } = load(&layers, args.strict)?;
    logging::set_up(loaded.config.log.level);
    loaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    if let Some(refused) = &refused {
        log::error!("the configuration is refused; starting with the last one that worked, kept in last-good.toml");
        refused.errors.iter().for_each(|error| log::error!("{error}"));
    }
    // Before the start: a signal that comes while the store recovers is not to be lost.
    let (hang_up, hung_up) = async_channel::bounded(1);
    // One that waits will do for several.
    let reload = move || {
        let _ = hang_up.try_send(());
    };
    let stop = signals::watch_and_reload(|| {}, reload)?;
    let starting = Manager::from_environment().start();
    let configured = Configured { layers, loaded: loaded.clone(), refused };
    let gateway = Gateway::start_configured(configured).map_err(CliError::Failed)?;
    if let Err(error) = leave_last_words(&loaded.config.data_dir) {
        log::warn!("should this process die, it can't say why: {error}");
    }
    introduce::say(&gateway, &loaded);
    // A reload may have come between.
    if let Err(error) = block_on(gateway.keep_configuration()) {
        log::warn!("cannot keep this configuration as the last one that worked: {error}");
    }
    drop(loaded);
    log::info!("ready");
    let serving = starting.ready(gateway.vital());
    while let Some(Ok(())) = block_on(stop.unless(hung_up.recv())) {
        log::info!("SIGHUP: the configuration is read again, and certificates, keys and CAs");
        // What came of it, the gateway has told.
        if let Err(why) = block_on(gateway.reload(true)) {
            log::error!("not reloaded: {why}");
        }
    }
    // The signals end with the process; else there are none.
    block_on(stop.wait());
    serving.stopping();
    gateway.stop();
    log::info!("ended; everything acknowledged is kept");
    Ok(())
}

/// What to start with.
struct Start {
    loaded: Loaded,
    /// Why this is not what was asked for.
    refused: Option<ConfigErrors>,
}

/// The configuration, or the last one that started: a gateway that is configured from afar must not stay down for a
/// bad key. With `strict`, or where none has started yet, a refused configuration is an error.
fn load(layers: &Layers, strict: bool) -> Result<Start, CliError> {
    let refused = match Config::load(layers) {
        Ok(loaded) => return Ok(Start { loaded, refused: None }),
        Err(refused) => refused,
    };
    // A flag is wrong where somebody stands and types: they want to be told, not served otherwise.
    let by_flag = refused.errors.iter().any(|error| matches!(error.origin, Some(Origin::Flag(_))));
    if strict || by_flag {
        return Err(refused.into());
    }
    // One that a newer version refuses counts as none: what is wrong with the file that people edit is of more use.
    match load_last_good(&refused.data_dir) {
        Ok(Some(loaded)) => Ok(Start { loaded, refused: Some(refused) }),
        Ok(None) | Err(_) => Err(refused.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::save_last_good;

    #[test]
    fn a_refused_configuration_falls_back_to_the_last_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let data = Flag { flag: "--data", key: "data_dir", value: dir.path().display().to_string() };
        let file = dir.path().join("brooklet.toml");
        let layers = Layers { flags: vec![data], ..Layers::only(&file) };

        std::fs::write(&file, "topic.partitions = \"many\"").unwrap();
        assert!(matches!(load(&layers, false), Err(CliError::Config(_))), "nothing to fall back to");
        std::fs::write(&file, "topic.partitions = 3").unwrap();
        let good = load(&layers, false).unwrap();
        assert!(good.refused.is_none());
        save_last_good(dir.path(), &good.loaded).unwrap();

        std::fs::write(&file, "topic.partitions = \"many\"").unwrap();
        let start = load(&layers, false).unwrap();
        assert_eq!(start.loaded.config, good.loaded.config);
        assert_eq!(start.refused.unwrap().errors.len(), 1);
        assert!(matches!(load(&layers, true), Err(CliError::Config(_))), "strict");
        let mut typed = layers.clone();
        typed.flags.push(Flag { flag: "--native", key: "listen.native.addr", value: "nowhere".to_owned() });
        assert!(matches!(load(&typed, false), Err(CliError::Config(_))), "a flag");
    }
}
