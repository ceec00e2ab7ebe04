//! `brooklet fleet`: the gateways that the centre has heard of, and how each was when it last told.
//!
//! The centre is what an uplink speaks to: one of the configuration, with its TLS and its login, or an address.

use std::{path::PathBuf, sync::Arc};

use super::{
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Spec},
    table::Table,
    term::{self, human_bytes, human_count},
    when,
};
use crate::executor::block_on;
use crate::{
    config::{Config, HostPort, Layers, LinkTlsConfig, UplinkConfig, UplinkProtocol, host_port},
    gateway,
    human::human_seconds,
    json::{self, JsonObject},
    uplink::{Fleet, FleetGateway, Notice, UplinkOptions, read_fleet},
};

pub(super) static SPEC: Spec = Spec {
    name: "fleet",
    summary: "Show the gateways that the centre has heard of, those in trouble first",
    positionals: &[],
    options: &[
        Opt::value("upstream", "ADDR", "The centre, HOST:PORT of a Kafka listener (default: as the uplink says)"),
        Opt::value("uplink", "NAME", "Its TLS and login are those of this uplink (default: the only one configured)"),
        Opt::value("config", "FILE", "The configuration with that uplink (default: the machine's)").short('c'),
        Opt::value("topic", "NAME", "The topic that gateways tell (default: the uplink's status)"),
        Opt::value("tls-ca", "FILE", "With --upstream alone: by TLS, if its certificate is one of this CA"),
    ],
    shared: &[JSON],
    details: "Each uplink tells the centre how its gateway is, beside its records (uplink.NAME.status): so a gateway that\n\
              has nothing to forward, or no link, is shown as it was when it last told. SEEN says how long ago that is, by\n\
              the gateway's clock; ? where that is not to be trusted.\n\n\
              Example: brooklet fleet --upstream kafka-1:9092",
};

/// The topic where no uplink says another.
const TOPIC: &str = "brooklet.status";
/// Who has not told for so long is worth a look, ms: a notice comes every five minutes while records flow.
const SILENT_MS: i64 = 24 * 3_600 * 1_000;
/// What waits for so long is worth a look, s.
const OLD_S: u64 = 900;
/// A start so long ago is no news, s.
const START_NEWS_S: u64 = 24 * 3_600;
/// Of an eMMC's life, percent.
const LIFE_USED: u64 = 90;

/// Arguments of `fleet`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FleetArgs {
    pub upstream: Option<HostPort>,
    pub uplink: Option<String>,
    pub config: Option<PathBuf>,
    pub topic: Option<String>,
    pub ca: Option<PathBuf>,
    pub json: bool,
}

impl FleetArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<FleetArgs, CliError> {
        let parsed = FleetArgs {
            upstream: args.read("upstream", host_port)?,
            uplink: args.text("uplink")?,
            config: args.path("config"),
            topic: args.text("topic")?,
            ca: args.path("tls-ca"),
            json: args.switch("json"),
        };
        if parsed.ca.is_some() && !parsed.is_plain() {
            return Err(args.usage("--tls-ca is for --upstream alone; an uplink has its own"));
        }
        Ok(parsed)
    }

    /// Whether no configuration is asked for.
    fn is_plain(&self) -> bool {
        self.upstream.is_some() && self.uplink.is_none() && self.config.is_none()
    }

    /// How the centre is reached.
    fn options(&self) -> Result<UplinkOptions, CliError> {
        let mut trust = Config::default().clock.trust;
        let (name, mut config) = if self.is_plain() {
            let tls = LinkTlsConfig { enabled: self.ca.is_some(), ca: self.ca.clone(), ..LinkTlsConfig::default() };
            ("fleet".to_owned(), UplinkConfig { tls, ..UplinkConfig::to(Vec::new()) })
        } else {
            let config = Config::load(&Layers { file: self.config.clone(), ..Layers::system() })?.config;
            trust = config.clock.trust;
            self.choose(config)?
        };
        if let Some(upstream) = &self.upstream {
            config.bootstrap = vec![upstream.clone()];
        } else if config.protocol == UplinkProtocol::Brooklet {
            let why =
                "it speaks to a gateway's native port: name that gateway's Kafka listener by --upstream HOST:PORT";
            return Err(CliError::failed(format!("uplink {name}"), why));
        }
        config.client_id.get_or_insert_with(|| "brooklet-fleet".to_owned());
        let tls = gateway::link_tls(&format!("uplink.{name}"), (&config.tls, &config.sasl), trust);
        let (gateway, labels) = ("fleet".to_owned(), crate::config::Labels::default());
        Ok(UplinkOptions { name, gateway, labels, config, tls, about: Arc::default() })
    }

    fn choose(&self, config: Config) -> Result<(String, UplinkConfig), CliError> {
        let known: Vec<String> = config.uplinks.keys().cloned().collect();
        let mut meant =
            config.uplinks.into_iter().filter(|(name, _)| self.uplink.as_ref().is_none_or(|asked| asked == name));
        match (meant.next(), meant.next()) {
            (Some(one), None) => Ok(one),
            _ if known.is_empty() => {
                Err(CliError::Failed("no uplink is configured: name the centre by --upstream HOST:PORT".to_owned()))
            }
            _ => Err(CliError::Failed(format!("say which uplink is meant: --uplink {}", known.join(" or ")))),
        }
    }
}

/// Runs `fleet`.
///
/// # Errors
/// There is no centre, it can't be reached, or it has no such topic.
pub(super) fn run(args: &FleetArgs) -> Result<(), CliError> {
    let options = args.options()?;
    let topic = args.topic.clone().or_else(|| options.config.status.clone());
    let topic = topic.unwrap_or_else(|| TOPIC.to_owned());
    let mut fleet = block_on(read_fleet(&options, &topic)).map_err(CliError::Failed)?;
    let now_ms = when::now_ms();
    fleet.gateways.sort_by_cached_key(|one| std::cmp::Reverse(troubles(&one.notice, now_ms).len()));
    if args.json {
        return term::print(&format!("{}\n", to_json(&fleet, now_ms)));
    }
    term::print(&table(&fleet, now_ms))?;
    if let Some(what) = left_out(&fleet) {
        term::note(&what);
    }
    Ok(())
}

/// What somebody should look at, in a word each.
fn troubles(notice: &Notice, now_ms: i64) -> Vec<&'static str> {
    let unclean = !matches!(notice.before.as_str(), "clean" | "none" | "");
    let worn = notice.flash_life >= LIFE_USED || notice.flash_budget > 0 && notice.flash_day > notice.flash_budget;
    let found = [
        (notice.stalled > 0, "stalled"),
        (notice.lost > 0, "lost"),
        (worn, "flash"),
        (notice.oldest_s > OLD_S, "behind"),
        (notice.time_trusted && now_ms.saturating_sub(notice.time_ms) > SILENT_MS, "silent"),
        (!notice.time_trusted, "clock"),
        (unclean && notice.up_s < START_NEWS_S, "restarted"),
    ];
    found.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect()
}

fn table(fleet: &Fleet, now_ms: i64) -> String {
    let mut table = Table::new(&[
        "GATEWAY",
        "VERSION",
        ">SEEN",
        ">UP",
        "BEFORE",
        ">BACKLOG",
        ">OLDEST",
        ">LOST",
        ">DISK",
        ">FLASH/DAY",
        "CLOCK",
        "TROUBLE",
    ]);
    for FleetGateway { gateway, notice } in &fleet.gateways {
        let life = if notice.flash_life > 0 { format!(" ({}%)", notice.flash_life) } else { String::new() };
        table.row([
            gateway.clone(),
            notice.version.clone(),
            seen(notice, now_ms),
            human_seconds(notice.up_s),
            notice.before.clone(),
            human_count(notice.backlog),
            if notice.backlog > 0 { human_seconds(notice.oldest_s) } else { "-".to_owned() },
            human_count(notice.lost),
            format!("{} of {}", human_bytes(notice.disk), human_bytes(notice.disk_max)),
            human_bytes(notice.flash_day) + &life,
            if notice.time_trusted { "ok" } else { "unset" }.to_owned(),
            troubles(notice, now_ms).join(", "),
        ]);
    }
    if table.is_empty() { "no gateway has told anything yet\n".to_owned() } else { table.render() }
}

/// How long ago it told.
fn seen(notice: &Notice, now_ms: i64) -> String {
    match notice.time_trusted {
        true => human_seconds(now_ms.saturating_sub(notice.time_ms).max(0).unsigned_abs() / 1_000),
        false => "?".to_owned(),
    }
}

/// What is not in the table.
fn left_out(fleet: &Fleet) -> Option<String> {
    let parts = [
        (fleet.unreadable, "unreadable record"),
        (fleet.other_versions, "record of another version"),
        (fleet.beyond, "record of gateways beyond the most that are told of"),
        (fleet.passed_over, "older offset"),
    ];
    let told = parts.into_iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, what)| format!("{} × {what}", human_count(count))).collect();
    (!told.is_empty()).then(|| format!("left out: {}", told.join(", ")))
}

fn to_json(fleet: &Fleet, now_ms: i64) -> String {
    let one = |FleetGateway { gateway, notice }: &FleetGateway| {
        let mut object = JsonObject::new();
        let troubles = troubles(notice, now_ms).into_iter().map(json::string);
        object.text("gateway", gateway).raw("troubles", &json::array(troubles)).raw("notice", &notice.to_json());
        object.finish()
    };
    let mut object = JsonObject::new();
    object.raw("gateways", &json::array(fleet.gateways.iter().map(one))).number("records", fleet.records);
    object.number("unreadable", fleet.unreadable).number("other_versions", fleet.other_versions);
    object.number("beyond", fleet.beyond).number("passed_over", fleet.passed_over);
    object.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_and_comes_first() {
        let now_ms = 1_800_000_000_000;
        let fine =
            Notice { time_ms: now_ms - 65_000, time_trusted: true, before: "clean".to_owned(), ..Notice::default() };
        assert!(troubles(&fine, now_ms).is_empty());
        let bad = Notice {
            stalled: 1,
            lost: 2,
            flash_life: 90,
            backlog: 5,
            oldest_s: OLD_S + 1,
            before: "power".to_owned(),
            time_trusted: false,
            ..fine.clone()
        };
        assert_eq!(troubles(&bad, now_ms), ["stalled", "lost", "flash", "behind", "clock", "restarted"]);
        let silent = Notice { time_ms: now_ms - SILENT_MS - 1, ..fine.clone() };
        assert_eq!(troubles(&silent, now_ms), ["silent"]);
        let one = |gateway: &str, notice: &Notice| FleetGateway { gateway: gateway.to_owned(), notice: notice.clone() };
        let fleet =
            Fleet { gateways: vec![one("a", &bad), one("b", &fine)], unreadable: 2, beyond: 1, ..Fleet::default() };
        let shown = table(&fleet, now_ms);
        assert!(shown.contains("1 min 5 s") && shown.contains("stalled, lost"), "{shown}");
        let left = left_out(&fleet).unwrap();
        assert_eq!(left, "left out: 2 × unreadable record, 1 × record of gateways beyond the most that are told of");
        assert!(to_json(&fleet, now_ms).starts_with(r#"{"gateways":[{"gateway":"a","troubles":["stalled""#));
    }
}
