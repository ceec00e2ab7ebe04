//! `brooklet provision TEMPLATE`: one gateway's configuration out of a fleet's template.
//!
//! Invariants: what is written would be taken by `serve`; it is written whole or not at all, mode 0600 from the first byte on; nothing is
//! replaced unless that was asked for. Values are texts between quotation marks of the template, and can't leave them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{
    check::with_rules,
    error::CliError,
    parse::Parsed,
    spec::{Opt, Positional, Spec},
    term,
};
use crate::config::{Config, Layers};
use crate::limits::CONFIG_FILE_BYTES_MAX;

/// What configurations themselves have between braces: these stay.
const OWN_WORDS: [&str; 3] = ["topic", "gateway", "client"];

pub(super) static SPEC: Spec = Spec {
    name: "provision",
    summary: "Write a gateway's configuration from a fleet's template",
    positionals: &[Positional {
        name: "TEMPLATE",
        required: true,
        help: "A configuration with {id}, {site}, … where gateways differ",
    }],
    options: &[
        Opt::value("out", "FILE", "Where to write it (required)").short('o'),
        Opt::value("set", "NAME=VALUE", "What {NAME} stands for; may come several times"),
        Opt::value("csv", "FILE", "A list of gateways: names in its first line, a gateway in each other one"),
        Opt::value("row", "KEY", "Which line of --csv: the one whose first field is this"),
        Opt::switch("force", "Replace FILE"),
    ],
    shared: &[],
    details: "Each {NAME} of the template needs a value, by --set or else by --csv; {topic}, {gateway}, {client} and {label.NAME}\n\
              are the configuration's own. The result is checked as `check` does, and written with mode 0600 only if it is right.\n\n\
              brooklet provision fleet.toml --csv fleet.csv --row gw-17 --out /etc/brooklet/brooklet.toml",
};

/// Arguments of `provision`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProvisionArgs {
    template: PathBuf,
    out: PathBuf,
    values: BTreeMap<String, String>,
    row: Option<(PathBuf, String)>,
    force: bool,
}

impl ProvisionArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ProvisionArgs, CliError> {
        let template = args.positional_path("TEMPLATE").ok_or_else(|| args.usage("missing argument TEMPLATE"))?;
        let out = args.path("out").ok_or_else(|| args.usage("--out is missing"))?;
        let mut values = BTreeMap::new();
        for pair in args.texts("set")? {
            let (name, value) = pair.split_once('=').ok_or_else(|| args.usage("--set takes NAME=VALUE"))?;
            values.insert(name.to_owned(), value.to_owned());
        }
        let row = match (args.path("csv"), args.text("row")?) {
            (Some(list), Some(key)) => Some((list, key)),
            (None, None) => None,
            _ => return Err(args.usage("--csv and --row take each other")),
        };
        Ok(ProvisionArgs { template, out, values, row, force: args.switch("force") })
    }
}

/// Runs `provision`.
///
/// # Errors
/// A value is missing or can't stand there, the result is refused, or the file exists.
pub(super) fn run(args: &ProvisionArgs) -> Result<(), CliError> {
    let mut values = match &args.row {
        Some((list, key)) => row(&read(list)?, key).map_err(|why| CliError::failed(list.display(), why))?,
        None => BTreeMap::new(),
    };
    values.extend(args.values.clone());
    let text = fill(&read(&args.template)?, &values).map_err(|why| CliError::failed(args.template.display(), why))?;
    write(&args.out, &text, args.force)?;
    term::print(&format!("{}\n", args.out.display()))
}

fn read(path: &Path) -> Result<String, CliError> {
    let failed = |why: String| CliError::failed(path.display(), why);
    let bytes = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if bytes > CONFIG_FILE_BYTES_MAX {
        return Err(failed(format!("larger than {CONFIG_FILE_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path).map_err(|error| failed(error.to_string()))
}

/// Puts the values in their places.
fn fill(template: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    for (name, value) in values {
        if OWN_WORDS.contains(&name.as_str()) || !is_placeholder(name) {
            return Err(format!("{{{name}}} can't be given a value: it is the configuration's own, or no name"));
        }
        if value.chars().any(|c| matches!(c, '"' | '\'' | '\\') || c.is_control()) {
            return Err(format!("the value of {{{name}}} has a quotation mark, a backslash or a control character"));
        }
    }
    let (mut out, mut rest) = (String::new(), template);
    let mut missing = BTreeSet::new();
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(before);
        rest = behind;
        match behind.split_once('}').filter(|(name, _)| is_placeholder(name) && !OWN_WORDS.contains(name)) {
            Some((name, after)) => {
                match values.get(name) {
                    Some(value) => out.push_str(value),
                    None => drop(missing.insert(format!("{{{name}}}"))),
                }
                rest = after;
            }
            None => out.push('{'),
        }
    }
    out.push_str(rest);
    if missing.is_empty() {
        return Ok(out);
    }
    Err(format!("no value for {}", missing.into_iter().collect::<Vec<_>>().join(", ")))
}

fn is_placeholder(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase());
    first && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
}

/// The values of one line of a list, by the names in the first one.
fn row(list: &str, key: &str) -> Result<BTreeMap<String, String>, String> {
    let mut lines = list.lines().filter(|line| !line.trim().is_empty());
    let names = fields(lines.next().ok_or("it is empty")?)?;
    for line in lines {
        let values = fields(line)?;
        if values.first().is_none_or(|first| first != key) {
            continue;
        }
        if values.len() != names.len() {
            return Err(format!("the row {key} has {} fields, and there are {} names", values.len(), names.len()));
        }
        let mut row = BTreeMap::new();
        row.extend(names.into_iter().zip(values));
        return Ok(row);
    }
    Err(format!("there is no row {key}"))
}

/// The fields of a line (RFC 4180, without line ends in fields).
fn fields(line: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(format!("a quotation mark is not closed in {line:?}"));
    }
    fields.push(field.trim().to_owned());
    Ok(fields)
}

/// Writes the configuration once it is found right.
fn write(out: &Path, text: &str, force: bool) -> Result<(), CliError> {
    if !force && out.exists() {
        return Err(CliError::failed(out.display(), "exists already; --force replaces it"));
    }
    let fresh = directory(out).join(format!(".brooklet-provision-{}.toml", std::process::id()));
    let written = write_checked(&fresh, out, text, force);
    // Gone already where it was renamed.
    let _ = fs::remove_file(&fresh);
    written
}

/// Where a file lies.
fn directory(of: &Path) -> &Path {
    of.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes `fresh`, and gives it the name `out` if it is right.
fn write_checked(fresh: &Path, out: &Path, text: &str, force: bool) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::failed(out.display(), error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Config::load(&Layers::only(fresh)).and_then(with_rules)?;
    match force {
        true => fs::rename(fresh, out).map_err(failed)?,
        // Unlike a rename, this replaces nothing that has come meanwhile.
        false => fs::hard_link(fresh, out).map_err(failed)?,
    }
    fs::File::open(directory(out)).and_then(|dir| dir.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_told_from_tables_and_templates() {
        let mut values = BTreeMap::new();
        values.extend([("id".to_owned(), "gw-1".to_owned())]);
        let template = "a = \"{id}\" # {\nmap = [{ filter = \"+\" }]\nt = \"{label.site}.{topic}.{#}.{1}.{gateway}\"\n";
        assert_eq!(fill(template, &values).unwrap(), template.replace("{id}", "gw-1"));
        assert_eq!(fill("{b} {a} {b}", &values).unwrap_err(), "no value for {a}, {b}");
        values.insert("id".to_owned(), "x\"\nlog.level = \"off".to_owned());
        assert!(fill("{id}", &values).unwrap_err().contains("quotation mark"));
    }

    #[test]
    fn rows_are_found_by_their_first_field() {
        let list = "id, site\r\n\r\na,\"x, \"\"y\"\"\"\r\nb,z,more\r\n";
        assert_eq!(row(list, "a").unwrap().get("site").map(String::as_str), Some("x, \"y\""));
        assert!(row(list, "b").unwrap_err().contains("3 fields"));
        assert!(row(list, "c").unwrap_err().contains("no row c"));
        assert!(row("id\n\"a", "a").is_err() && row("", "a").is_err());
    }
}
