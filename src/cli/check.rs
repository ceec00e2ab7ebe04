//! `brooklet check`: is the configuration right, what holds, and where did it come from?

use std::path::PathBuf;

use super::{
    check_files, connect,
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Positional, Spec},
    term,
};
use crate::client::Address;
use crate::config::{self, Config, ConfigError, ConfigErrors, Layers, Loaded, Origin};
use crate::executor::block_on;
use crate::gateway::{Inspected, SOCKET_NAME, of_another_name};
use crate::json::{self, JsonObject};
use crate::listen::mqtt::mapping::Rules;

pub(super) static SPEC: Spec = Spec {
    name: "check",
    summary: "Check the configuration, print what holds and where it came from",
    positionals: &[Positional {
        name: "FILE",
        required: false,
        help: "A file to check in place of those in /etc/brooklet",
    }],
    options: &[
        Opt::switch("reference", "Print every key with its default and what it takes"),
        Opt::switch("no-files", "Don't open certificates, keys and secrets: they are on another machine"),
    ],
    shared: &[JSON],
    details: "Strict: exits 2 if anything is wrong, with every error, in the files for TLS and secrets too. What it prints is itself a configuration file,\n\
              secrets excepted, which are masked. `brooklet check --reference > brooklet.toml` is a good start.",
};

/// Arguments of `check`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckArgs {
    pub file: Option<PathBuf>,
    pub reference: bool,
    pub no_files: bool,
    pub json: bool,
}

impl CheckArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<CheckArgs, CliError> {
        Ok(CheckArgs {
            file: args.positional_path("FILE"),
            reference: args.switch("reference"),
            no_files: args.switch("no-files"),
            json: args.switch("json"),
        })
    }
}

/// Runs `check`.
///
/// # Errors
/// [`CliError::Config`] with all that is wrong.
pub(super) fn run(args: &CheckArgs) -> Result<(), CliError> {
    if args.reference {
        return term::print(&config::reference());
    }
    let layers = Layers { file: args.file.clone(), ..Layers::system() };
    let files = |loaded: Loaded| match args.no_files {
        true => Ok((loaded, Inspected::default())),
        false => check_files::looked_at(&loaded).map(|found| (loaded, found)),
    };
    match Config::load(&layers).and_then(with_rules).and_then(files) {
        Ok((mut loaded, found)) => {
            loaded.warnings.extend(check_files::warnings(&found));
            loaded.warnings.extend(name_of_data(&loaded.config).filter(|_| !args.no_files));
            if args.json {
                return term::print(&format!("{}\n", as_json(&loaded, &found)));
            }
            loaded.warnings.iter().for_each(|warning| term::note(&format!("brooklet check: {warning}")));
            let (keys, rights) = (config::report_text(&loaded), loaded.config.rights_text());
            term::print(&format!("{keys}\n{rights}{}", check_files::lines(&found)))
        }
        Err(errors) => {
            if args.json {
                term::print(&format!("{}\n", errors_as_json(&errors)))?;
            }
            Err(CliError::Config(errors))
        }
    }
}

/// That the data at hand belongs to a gateway of another name, so that `serve` would refuse it.
fn name_of_data(config: &Config) -> Option<String> {
    let configured = config.gateway.id.as_deref();
    configured?;
    let socket = config.data_dir.join(SOCKET_NAME);
    let running = socket.exists().then(|| {
        let asked = block_on(async { connect::status(&mut connect::connect(&Address::Unix(socket)).await?).await });
        asked.ok().map(|status| status.gateway)
    });
    of_another_name(configured, &config.data_dir, running.flatten())
}

/// What the configuration alone can't tell: whether the rules for MQTT topics make sense.
pub(super) fn with_rules(loaded: Loaded) -> Result<Loaded, ConfigErrors> {
    let Err(problem) = Rules::parse(&loaded.config.listen.mqtt.map) else { return Ok(loaded) };
    let key = "listen.mqtt.map";
    let found = loaded.effective.iter().find(|effective| effective.key == key);
    let error = ConfigError {
        origin: found.map(|effective| effective.origin.clone()),
        key: Some(key.to_owned()),
        value: None,
        problem,
    };
    Err(ConfigErrors { errors: vec![error], data_dir: loaded.config.data_dir })
}

/// `{"ok":true,"keys":{KEY:{"value":…,"from":…,"origin":…}},"rights":{…},"certificates":[…],"warnings":[…]}`; a value is JSON wherever
/// its TOML is.
fn as_json(loaded: &Loaded, found: &Inspected) -> String {
    let mut keys = JsonObject::new();
    for effective in &loaded.effective {
        let from = match &effective.origin {
            Origin::Default => "default",
            Origin::File { .. } => "file",
            Origin::Variable(_) => "environment",
            Origin::Flag(_) => "flag",
        };
        let mut entry = JsonObject::new();
        // Canonical values are numbers, booleans, basic strings and lists of strings: TOML and JSON write these alike.
        entry.raw("value", effective.shown()).text("from", from).text("origin", &effective.origin.to_string());
        keys.raw(&effective.key, &entry.finish());
    }
    let mut out = JsonObject::new();
    out.boolean("ok", true).raw("keys", &keys.finish());
    out.raw("rights", &rights(&loaded.config));
    // A list of plain structs: nothing in it can fail.
    out.raw("certificates", &json::to_string(&found.certificates));
    out.raw("warnings", &json::array(loaded.warnings.iter().map(|warning| json::string(warning))));
    out.finish()
}

/// Who can do what on each listener that is on, by the configuration alone.
fn rights(config: &Config) -> String {
    let mut listeners = JsonObject::new();
    for rights in config.listener_rights().iter().filter(|rights| rights.is_on) {
        let mut one = JsonObject::new();
        one.boolean("authenticates", rights.authenticates).boolean("open", rights.is_open());
        listeners.raw(rights.listener, &one.finish());
    }
    let mut out = JsonObject::new();
    let users = config.security.super_users.iter().map(|name| json::string(name));
    out.raw("super_users", &json::array(users)).boolean("enforced", config.security.enforce);
    out.raw("listeners", &listeners.finish());
    out.finish()
}

fn errors_as_json(errors: &ConfigErrors) -> String {
    let errors = errors.errors.iter().map(|error| {
        let mut entry = JsonObject::new();
        let text = |value: &Option<String>| value.as_deref().map_or("null".to_owned(), json::string);
        entry.raw("origin", &text(&error.origin.as_ref().map(Origin::to_string)));
        entry.raw("key", &text(&error.key)).raw("value", &text(&error.value)).text("problem", &error.problem);
        entry.finish()
    });
    let mut out = JsonObject::new();
    out.boolean("ok", false).raw("errors", &json::array(errors));
    out.finish()
}
