//! `brooklet acl`: who may do what.

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Spec},
    table::Table,
    term,
};
use crate::executor::block_on;
use crate::{
    broker::rights::{
        ANY, CLUSTER, What,
        report::{FilterReport, RuleReport, what},
    },
    frame::RuleAction,
    json,
};

const TOPIC: Opt = Opt::value("topic", "NAME", "A topic; '*' is any");
const GROUP: Opt = Opt::value("group", "NAME", "A consumer group; '*' is any");
const TRANSACTIONAL: Opt = Opt::value("transactional-id", "NAME", "A transactional id; '*' is any");
const CLUSTER_SWITCH: Opt = Opt::switch("cluster", "The gateway as a whole");
const PREFIX: Opt = Opt::switch("prefix", "NAME is what names begin with");
const USER: Opt = Opt::value("principal", "NAME", "A user; '*' is everyone, ANONYMOUS who shows no name");
const HOST: Opt = Opt::value("host", "IP", "An address that it holds for (default: any)");
const DENY: Opt = Opt::switch("deny", "It denies, and wins over whatever allows");

pub(super) static ADD: Spec = Spec {
    name: "acl add",
    summary: "Allow or deny a user something",
    positionals: &[],
    options: &[
        USER,
        Opt::value("operation", "OPERATION", "Read, Write, Create, Describe, … or All; more than one by commas")
            .repeated(),
        TOPIC,
        GROUP,
        TRANSACTIONAL,
        CLUSTER_SWITCH,
        PREFIX,
        HOST,
        DENY,
    ],
    shared: &[connect::OPTIONS, JSON],
    details: "Rules are those of Apache Kafka, and hold for every protocol: to publish takes Write on the topic (and Create, if\n\
              use is to create it), to read takes Read on it, a consumer group Read on the group. Who may Read, Write,\n\
              Delete or Alter something may Describe it. Sessions that are there follow at their next request.\n\n\
              \x20 brooklet acl add --principal meter-7 --operation Write,Create --topic plant. --prefix",
};

pub(super) static LIST: Spec = Spec {
    name: "acl list",
    summary: "List the rules of who may do what",
    positionals: &[],
    options: FILTER,
    shared: &[connect::OPTIONS, JSON],
    details: "Super users and what holds without a rule are in the configuration: `brooklet check`.",
};

pub(super) static REMOVE: Spec = Spec {
    name: "acl remove",
    summary: "Remove rules of who may do what",
    positionals: &[],
    options: REMOVE_FILTER,
    shared: &[connect::OPTIONS, JSON],
    details: "All rules go that fit what is given. `brooklet acl list` with the same options shows them first.",
};

const OPERATION: Opt = Opt::value("operation", "OPERATION", "Read, Write, Create, Describe, … or All");
const FILTER: &[Opt] = &[
    USER,
    OPERATION,
    TOPIC,
    GROUP,
    TRANSACTIONAL,
    CLUSTER_SWITCH,
    PREFIX,
    HOST,
    DENY,
    Opt::switch("allow", "It allows"),
];
const REMOVE_FILTER: &[Opt] = &[
    USER,
    OPERATION,
    TOPIC,
    GROUP,
    TRANSACTIONAL,
    CLUSTER_SWITCH,
    PREFIX,
    HOST,
    DENY,
    Opt::switch("allow", "It allows"),
    Opt::switch("all", "Every rule that there is"),
];

/// Arguments of `acl add`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AddArgs {
    rules: Vec<RuleReport>,
    target: Target,
    json: bool,
}

impl AddArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<AddArgs, CliError> {
        let principal =
            user(args)?.ok_or_else(|| args.usage("whom? --principal NAME, or --principal '*' for everyone"))?;
        let operations = args.texts("operation")?;
        let (resource, name) = resource(args)?
            .ok_or_else(|| args.usage("what is it about? --topic, --group, --transactional-id, --cluster"))?;
        let host = args.text("host")?.unwrap_or_else(|| ANY.to_owned());
        let (prefix, allow) = (args.switch("prefix"), !args.switch("deny"));
        let mut rules = Vec::new();
        for operation in operations.iter().flat_map(|list| list.split(',')) {
            let operation = operation_name(args, operation)?;
            let (principal, host, name) = (principal.clone(), host.clone(), name.clone());
            let rule = RuleReport { principal, host, operation, resource: resource.to_owned(), name, prefix, allow };
            rule.rule().map_err(|problem| args.usage(problem))?;
            rules.push(rule);
        }
        if rules.is_empty() {
            return Err(args.usage("what may be done? --operation Read, for example"));
        }
        Ok(AddArgs { rules, target: Target::parse(args)?, json: args.switch("json") })
    }
}

/// Arguments of `acl list` and `acl remove`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilterArgs {
    filter: FilterReport,
    target: Target,
    json: bool,
}

impl FilterArgs {
    pub(super) fn parse(args: &mut Parsed, removes: bool) -> Result<FilterArgs, CliError> {
        let (resource, name) = resource(args)?.map_or((None, None), |(kind, name)| (Some(kind.to_owned()), Some(name)));
        let operation = match args.text("operation")? {
            Some(operation) => Some(operation_name(args, &operation)?),
            None => None,
        };
        let allow = match (args.switch("allow"), args.switch("deny")) {
            (true, true) => return Err(args.usage("either --allow or --deny")),
            (true, false) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        };
        let prefix = args.switch("prefix").then_some(true);
        let (principal, host) = (user(args)?, args.text("host")?);
        let filter = FilterReport { principal, host, operation, resource, name, prefix, allow };
        filter.filter().map_err(|problem| args.usage(problem))?;
        if removes && (filter == FilterReport::default()) != args.switch("all") {
            return Err(args.usage("which rules? Say what they have in common, or --all and nothing else"));
        }
        Ok(FilterArgs { filter, target: Target::parse(args)?, json: args.switch("json") })
    }
}

fn user(args: &mut Parsed) -> Result<Option<String>, CliError> {
    let principal = |name: String| if name.starts_with("User:") { name } else { format!("User:{name}") };
    Ok(args.text("principal")?.map(principal))
}

/// The kind and the name of what is meant.
fn resource(args: &mut Parsed) -> Result<Option<(&'static str, String)>, CliError> {
    let cluster = args.switch("cluster").then(|| CLUSTER.to_owned());
    let given = [
        ("Topic", args.text("topic")?),
        ("Group", args.text("group")?),
        ("TransactionalId", args.text("transactional-id")?),
        ("Cluster", cluster),
    ];
    let mut given = given.into_iter().filter_map(|(kind, name)| Some((kind, name?)));
    match (given.next(), given.next()) {
        (_, Some(_)) => Err(args.usage("one of --topic, --group, --transactional-id, --cluster at a time")),
        (one, None) => Ok(one),
    }
}

/// The operation as it is spelled.
fn operation_name(args: &Parsed, text: &str) -> Result<String, CliError> {
    what(text.trim()).map(What::name).map(str::to_owned).map_err(|problem| args.usage(problem))
}

/// Runs `acl add`.
///
/// # Errors
/// No gateway, no right to, or there are too many rules.
pub(super) fn add(args: &AddArgs) -> Result<(), CliError> {
    let text = json::to_string(&args.rules);
    let rules = ask(&args.target, RuleAction::Add, &text)?;
    told(&rules, args.json, "added")
}

/// Runs `acl list`.
///
/// # Errors
/// No gateway, or no right to.
pub(super) fn list(args: &FilterArgs) -> Result<(), CliError> {
    let rules = ask(&args.target, RuleAction::List, &json::to_string(&args.filter))?;
    if args.json {
        return print_json(&rules);
    }
    if rules.is_empty() {
        term::note("no rules; `brooklet check` says what holds without any");
        return Ok(());
    }
    term::print(&table(&rules))
}

/// Runs `acl remove`.
///
/// # Errors
/// No gateway, no right to, or there is no such rule.
pub(super) fn remove(args: &FilterArgs) -> Result<(), CliError> {
    let rules = ask(&args.target, RuleAction::Remove, &json::to_string(&args.filter))?;
    if rules.is_empty() {
        return Err(CliError::Failed("there is no such rule; see `brooklet acl list`".to_owned()));
    }
    told(&rules, args.json, "removed")
}

fn ask(target: &Target, action: RuleAction, text: &str) -> Result<Vec<RuleReport>, CliError> {
    let json = block_on(async {
        let mut connection = target.connect().await?;
        Ok::<_, CliError>(connection.rules(action, text).await?)
    })?;
    json::from_str(&json).map_err(|error| CliError::Failed(format!("the gateway's answer cannot be read: {error}")))
}

fn told(rules: &[RuleReport], json: bool, done: &str) -> Result<(), CliError> {
    if json {
        return print_json(rules);
    }
    for rule in rules.iter().filter_map(|report| report.rule().ok()) {
        term::note(&format!("{done}: {rule}"));
    }
    Ok(())
}

fn print_json(rules: &[RuleReport]) -> Result<(), CliError> {
    term::print(&format!("{}\n", json::to_string(rules)))
}

fn table(rules: &[RuleReport]) -> String {
    let mut table = Table::new(&["", "USER", "HOST", "OPERATION", "RESOURCE", "NAME"]);
    for rule in rules {
        let name = if rule.prefix { format!("{}… (prefix)", rule.name) } else { rule.name.clone() };
        table.row([
            if rule.allow { "allow" } else { "deny" }.to_owned(),
            rule.principal.strip_prefix("User:").unwrap_or(&rule.principal).to_owned(),
            rule.host.clone(),
            rule.operation.clone(),
            rule.resource.clone(),
            name,
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse::{Outcome, parse};

    fn parsed(spec: &'static Spec, line: &str) -> Parsed {
        let args: Vec<_> = line.split_whitespace().map(Into::into).collect();
        match parse(spec, &args).unwrap() {
            Outcome::Run(parsed) => parsed,
            Outcome::Help => panic!("help"),
        }
    }

    #[test]
    fn a_rule_for_each_operation() {
        let line = "--principal alice --operation write,create --operation describe-configs --topic plant. --prefix --host ::1";
        let args = AddArgs::parse(&mut parsed(&ADD, line)).unwrap();
        let told: Vec<_> = args.rules.iter().map(|rule| rule.rule().unwrap().to_string()).collect();
        assert_eq!(told[0], "allow User:alice from ::1: Write on Topic \"plant.\" (prefix)");
        assert_eq!((told.len(), args.rules[2].operation.as_str()), (3, "DescribeConfigs"));
        let deny = AddArgs::parse(&mut parsed(&ADD, "--principal * --operation all --cluster --deny")).unwrap();
        assert_eq!(deny.rules[0].rule().unwrap().to_string(), "deny User:* from *: All on Cluster \"kafka-cluster\"");
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        for (line, said) in [
            ("--operation read --topic t", "--principal"),
            ("--principal a --topic t", "--operation"),
            ("--principal a --operation read", "--topic"),
            ("--principal a --operation read --topic t --group g", "one of"),
            ("--principal a --operation fly --topic t", "no operation: All, Read"),
            ("--principal a --operation read --topic t --host here", "an IP address"),
        ] {
            let text = AddArgs::parse(&mut parsed(&ADD, line)).unwrap_err().to_string();
            assert!(text.contains(said), "{line}: {text}");
        }
        for line in ["", "--principal a --all"] {
            let text = FilterArgs::parse(&mut parsed(&REMOVE, line), true).unwrap_err().to_string();
            assert!(text.contains("which rules"), "{text}");
        }
        assert!(FilterArgs::parse(&mut parsed(&REMOVE, "--all"), true).is_ok());
        assert!(FilterArgs::parse(&mut parsed(&LIST, ""), false).is_ok());
    }
}
