//! The room as a whole: layers, errors, provenance, fallback.

use std::{ffi::OsString, fs, path::PathBuf, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A machine in a directory: `usr` and `etc`.
struct Machine {
    dir: TempDir,
    layers: Layers,
}

impl Machine {
    fn new() -> Machine {
        let dir = TempDir::new().unwrap();
        let (usr, etc) = (dir.path().join("usr"), dir.path().join("etc"));
        fs::create_dir_all(&usr).unwrap();
        fs::create_dir_all(etc.join("conf.d")).unwrap();
        Machine { dir, layers: Layers { vendor_dir: Some(usr), etc_dir: Some(etc), ..Layers::default() } }
    }

    fn file(self, name: &str, text: &str) -> Machine {
        fs::write(self.path(name), text).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn variable(mut self, name: &str, value: &str) -> Machine {
        self.layers.variables.push((OsString::from(name), OsString::from(value)));
        self
    }

    fn flag(mut self, flag: &'static str, key: &'static str, value: &str) -> Machine {
        self.layers.flags.push(Flag { flag, key, value: value.to_owned() });
        self
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        Config::load(&self.layers)
    }

    /// Errors, with the machine's own directory left out.
    fn errors(&self) -> Vec<String> {
        let here = format!("{}/", self.dir.path().display());
        self.load().unwrap_err().errors.iter().map(|error| error.to_string().replace(&here, "")).collect()
    }
}

pub(super) fn load_text(text: &str) -> Result<Loaded, ConfigErrors> {
    Machine::new().file("etc/brooklet.toml", text).load()
}

fn one_error(text: &str) -> String {
    let errors = Machine::new().file("etc/brooklet.toml", text).errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].clone()
}

#[test]
fn nothing_at_all_is_a_working_broker_on_loopback() {
    let loaded = Config::load(&Layers::default()).unwrap();
    let config = &loaded.config;
    assert_eq!(config, &Config::default());
    assert_eq!(config.data_dir, PathBuf::from("./brooklet-data"));
    assert_eq!(config.listen.native.addr, "127.0.0.1:9790".parse().unwrap());
    assert_eq!(config.listen.kafka.addr, "127.0.0.1:9092".parse().unwrap());
    assert_eq!(config.listen.kafka.acks_1, AcksOne::Flash);
    assert_eq!(config.store.commit_window, None);
    assert_eq!((config.store.commit_interval_max, config.store.flash_budget), (Duration::from_secs(5), None));
    assert_eq!(config.store.on_full, OnFull::EvictOldest);
    assert_eq!(config.topics.defaults.max_message_bytes, 1_048_588);
    assert_eq!(config.topics.defaults.partitions, 1);
    assert_eq!(config.topics.defaults.key, DefaultKey::ClientId);
    assert!(config.topics.auto_create && config.uplinks.is_empty());
    assert!(loaded.effective.iter().all(|effective| effective.origin == Origin::Default));
}

#[test]
fn later_layers_win_key_by_key() {
    let machine = Machine::new()
        .file("usr/10-board.toml", "store.max_bytes = \"64MiB\"\nstore.cache_bytes = \"1MiB\"\nlog.level = \"warn\"")
        .file("etc/brooklet.toml", "log.level = \"error\"\nstore.tail_bytes = \"1MiB\"\ngateway.id = \"a\"")
        .file("etc/conf.d/20.toml", "gateway.id = \"twenty\"")
        .file("etc/conf.d/10.toml", "gateway.id = \"ten\"\nstore.tail_bytes = \"2MiB\"")
        .file("etc/conf.d/note.txt", "not = a = config")
        .variable("BROOKLET_STORE__TAIL_BYTES", "3MiB")
        .variable("BROOKLET_UPLINK__CENTRE__BOOTSTRAP", "a:1,b:2")
        .variable("HOME", "/root")
        .flag("--log", "log.level", "debug");
    let loaded = machine.load().unwrap();
    let config = &loaded.config;
    assert_eq!(config.store.max_bytes, DiskBudget::Bytes(64 << 20));
    assert_eq!(config.store.cache_bytes, 1 << 20);
    assert_eq!(config.store.tail_bytes, 3 << 20);
    assert_eq!(config.gateway.id.as_deref(), Some("twenty"));
    assert_eq!(config.log.level, log::LevelFilter::Debug);
    assert_eq!(config.uplinks["centre"].bootstrap.len(), 2);
    assert_eq!(loaded.origin("log.level"), Some(&Origin::Flag("--log")));
    assert!(loaded.origin("gateway.id").unwrap().to_string().ends_with("conf.d/20.toml:1"));
    assert_eq!(loaded.origin("store.tail_bytes").unwrap().to_string(), "environment BROOKLET_STORE__TAIL_BYTES");
    assert!(loaded.origin("store.cache_bytes").unwrap().to_string().ends_with("usr/10-board.toml:2"));
    assert_eq!(loaded.files.len(), 4);
}

#[test]
fn config_flag_stands_in_place_of_etc_only() {
    let mut machine = Machine::new()
        .file("usr/a.toml", "log.level = \"warn\"")
        .file("etc/brooklet.toml", "gateway.id = \"etc\"")
        .file("mine.toml", "topic.partitions = 3");
    machine.layers.file = Some(machine.path("mine.toml"));
    let config = machine.load().unwrap().config;
    assert_eq!((config.gateway.id, config.topics.defaults.partitions), (None, 3));
    assert_eq!(config.log.level, log::LevelFilter::Warn);

    machine.layers.file = Some(machine.path("absent.toml"));
    assert!(machine.errors()[0].starts_with("absent.toml: can't be read: "));
}

#[test]
fn topics_take_from_the_defaults_what_they_do_not_set() {
    let config = load_text(
        "[topic]\nretention.ms = \"7d\"\nkey = \"none\"\n[topic.alarms]\nretention.ms = -1\npartitions = 4\n\
         [topic.\"plant.temp\"]\nmax.message.bytes = \"1MB\"\n[topic.plant.hum]\nretention.ms = 60000\n\
         [topic.message]\nmessage.timestamp.type = \"LogAppendTime\"",
    )
    .unwrap()
    .config;
    let topics = &config.topics;
    assert_eq!(topics.of("other").retention, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!((topics.of("alarms").retention, topics.of("alarms").partitions), (None, 4));
    assert_eq!(topics.of("alarms").key, DefaultKey::None);
    assert_eq!(topics.of("plant.temp").max_message_bytes, 1_000_000);
    assert_eq!(topics.of("plant.hum").retention, Some(Duration::from_secs(60)));
    assert_eq!(topics.of("message").timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(topics.by_name.len(), 4);
}

#[test]
fn topics_have_classes_and_reserve_at_most_their_part() {
    let text = |alarms: u64| {
        format!(
            "[store]\nmax_bytes = \"100MiB\"\n[topic]\nreserve = \"10MiB\"\n[topic.alarms]\npriority = 9\n\
             reserve = \"{alarms}MiB\"\non_full = \"refuse\"\n[topic.debug]\npriority = 0\nreserve = 0\n\
             retention.unforwarded = \"delete\""
        )
    };
    let config = load_text(&text(60)).unwrap().config;
    let of = |name: &str| config.topics.of(name);
    assert_eq!((of("alarms").priority, of("alarms").reserve, of("alarms").on_full), (9, 60 << 20, OnFull::Refuse));
    assert_eq!((of("other").priority, of("other").reserve, of("other").on_full), (5, 10 << 20, OnFull::EvictOldest));
    assert_eq!((of("debug").priority, of("debug").unforwarded), (0, Unforwarded::Delete));
    let error = one_error(&text(61));
    for said in ["topic.alarms.reserve", "71MiB", "70%", "70MiB"] {
        assert!(error.contains(said), "{error}");
    }
    assert!(one_error("[topic]\npriority = 10").contains("a number from 0 to 9"));
}

#[test]
fn an_uplink_has_defaults_and_follows_all_but_internal_topics() {
    let config =
        load_text("[uplink.centre]\nbootstrap = [\"kafka.example:9092\"]\nexclude = [\"debug-*\"]").unwrap().config;
    let uplink = &config.uplinks["centre"];
    assert_eq!((uplink.batch_min_bytes, uplink.backoff_max), (16 << 10, Duration::from_secs(300)));
    assert_eq!(uplink.partitioning, Partitioning::ByGateway);
    assert_eq!(uplink.topic.render("t", "g", &Labels::default()), "t");
    assert!(uplink.follows("temp") && !uplink.follows("debug-7") && !uplink.follows("__loss"));
    assert_eq!(uplink, &UplinkConfig { exclude: uplink.exclude.clone(), ..UplinkConfig::to(uplink.bootstrap.clone()) });
    let internal = load_text("[uplink.c]\nbootstrap = [\"k:1\"]\ntopics = [\"__loss\"]").unwrap().config;
    assert!(internal.uplinks["c"].follows("__loss") && !internal.uplinks["c"].follows("temp"));
    for (pattern, follows) in [("*", false), ("brooklet.*", true), ("brooklet.losses", true), ("b*", false)] {
        let config = load_text(&format!("[uplink.c]\nbootstrap = [\"k:1\"]\ntopics = [\"{pattern}\"]")).unwrap().config;
        assert_eq!(config.uplinks["c"].follows("brooklet.losses"), follows, "{pattern}");
    }
}

#[test]
fn errors_name_place_key_value_and_what_is_allowed() {
    for (text, error) in [
        (
            "\nstore.commit_window = \"2d\"",
            "etc/brooklet.toml:2: store.commit_window = \"2d\": must be \"auto\" or a duration from 0s to 10s",
        ),
        (
            "store.flash_budget = \"2GB\"",
            "etc/brooklet.toml:1: store.flash_budget = \"2GB\": must be \"unlimited\" or a size a day from 1MiB/day to 16TiB/day",
        ),
        (
            "store.on_full = \"drop\"",
            "etc/brooklet.toml:1: store.on_full = \"drop\": must be \"evict-oldest\" or \"refuse\"",
        ),
        ("store.max_byte = 1", "etc/brooklet.toml:1: store.max_byte: unknown key; did you mean store.max_bytes?"),
        (
            "topic.x.partition = 2",
            "etc/brooklet.toml:1: topic.x.partition: unknown key; did you mean topic.x.partitions?",
        ),
        (
            "[topic.defaults]\nkey = \"none\"",
            "etc/brooklet.toml:2: topic.defaults.key: what holds for all topics stands in [topic] itself: topic.key",
        ),
        ("store = 1", "etc/brooklet.toml:1: store: is a section, not a key"),
        (
            "uplink.c = 1",
            "etc/brooklet.toml:1: uplink.c: uplinks are tables: [uplink.c] with bootstrap = [\"HOST:PORT\"]",
        ),
        ("[uplink.c]", "etc/brooklet.toml:1: uplink.c.bootstrap: must be set: the Kafka brokers to ask first"),
        (
            "listen.native.addr = 9790",
            "etc/brooklet.toml:1: listen.native.addr = 9790: must be an address and a port, such as \"127.0.0.1:9092\", \"0.0.0.0:9092\" or \"[::]:9092\"",
        ),
        ("topic.partitions = 0", "etc/brooklet.toml:1: topic.partitions = 0: must be a number from 1 to 16384"),
        (
            "topic.partitions = 1.5",
            "etc/brooklet.toml:1: topic.partitions = (a number with a point): must be a number from 1 to 16384",
        ),
    ] {
        assert_eq!(one_error(text), error);
    }
}

#[test]
fn all_errors_at_once() {
    let machine = Machine::new()
        .file("usr/a.toml", "log.level = \"loud\"")
        .file("etc/brooklet.toml", "log.level = \"info\"\nnonsense.key = 1\ntopic.partitions = \"many\"")
        .file("etc/conf.d/1.toml", "broken = ")
        .variable("BROOKLET_STORE__MAX_BYTES", "10M")
        .flag("--native", "listen.native.addr", "nowhere");
    let errors = machine.errors();
    assert_eq!(errors.len(), 6, "{errors:#?}");
    assert!(
        errors.iter().any(|error| error.contains("environment BROOKLET_STORE__MAX_BYTES: store.max_bytes = \"10M\""))
    );
    assert!(errors.iter().any(|error| error.starts_with("--native: listen.native.addr = \"nowhere\"")));
}

#[test]
fn what_comes_later_is_refused_not_ignored() {
    assert!(one_error("[tls]").contains("TLS is not available in this version"));
    let sasl = one_error("[uplink.c]\nbootstrap = [\"k:1\"]\nsasl.password = \"hunter2\"");
    assert!(sasl.contains("did you mean uplink.c.sasl.password_file?") && !sasl.contains("hunter2"), "{sasl}");
    assert!(one_error("topic.compression.type = \"none\"").contains("uncompressed"));
}

/// Clients show certificates, and somebody has rights.
const WITH_CA: &str =
    "security.super_users = [\"admin\"]\nlisten.kafka.tls = { cert = \"c\", key = \"k\", client_ca = \"a\" }";

#[test]
fn tls_is_whole_or_refused() {
    for (text, expected) in [
        ("listen.kafka.tls.cert = \"c\"", "listen.kafka.tls.cert = \"c\": needs its key"),
        ("listen.kafka.tls.key = \"k\"", "needs a cert"),
        ("listen.mqtt.tls.addr = \"0.0.0.0:8883\"", "needs a cert and a key"),
        ("listen.mqtt.tls.client_ca = \"a\"", "needs a cert and a key"),
        ("listen.mqtt.tls = { cert = \"c\", key = \"k\", client_auth = \"required\" }", "needs a client_ca"),
        ("listen.mqtt.tls = { cert = \"c\", key = \"k\", crl = \"l\" }", "needs a client_ca"),
        (
            "listen.mqtt.tls = { cert = \"c\", key = \"k\", addr = \"127.0.0.1:9092\" }",
            "must differ from listen.kafka.addr",
        ),
        ("listen.mqtt.tls.addr = \"gateway.lan:8883\"", "must be \"same\" or an address and a port"),
        ("[uplink.c]\nbootstrap = [\"k:1\"]\ntls.ca = \"a\"", "uplink.c.tls.ca = \"a\": needs tls.enabled = true"),
        ("[uplink.c]\nbootstrap = [\"k:1\"]\ntls = { enabled = true, key = \"k\" }", "needs cert too"),
    ] {
        let error = one_error(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
    let config = load_text(WITH_CA).unwrap().config;
    let tls = &config.listen.kafka.tls;
    assert!(tls.is_on() && tls.takes_listener() && tls.asks_clients() && !config.listen.mqtt.tls.is_on());
    let beside = "listen.kafka.tls = { cert = \"c\", key = \"k\", addr = \"localhost:9093\" }";
    let tls = load_text(beside).unwrap().config.listen.kafka.tls;
    assert!(tls.is_on() && !tls.takes_listener() && !tls.asks_clients());
}

#[test]
fn contradictions_between_keys_are_found() {
    for (text, problem) in [
        ("store.max_bytes = \"64MiB\"\nstore.segment_bytes = \"32MiB\"", "at most a quarter"),
        ("listen.kafka.addr = \"127.0.0.1:9790\"", "must differ"),
        ("topic.big.max.message.bytes = \"8MiB\"", "listen.kafka.max_request_bytes"),
        ("listen.kafka.max_inflight_bytes = \"64KiB\"", "must be at least listen.kafka.max_request_bytes"),
        ("[uplink.c]\nbootstrap = [\"k:1\"]\nbackoff.min = \"10m\"", "at most backoff.max"),
        ("[uplink.c]\nbootstrap = [\"k:1\"]\ntopics = []", "at least one topic"),
    ] {
        assert!(one_error(text).contains(problem), "{text}");
    }
    assert!(load_text("listen.kafka.addr = \"127.0.0.1:9790\"\nlisten.native.enabled = false").is_ok());
}

#[test]
fn variables_of_others_are_passed_over_and_slips_refused() {
    let loaded =
        Machine::new().variable("BROOKLET_PORT", "tcp://10.0.0.1:9092").variable("BROOKLET_SERVICE_HOST", "x").load();
    assert_eq!(loaded.unwrap().warnings.len(), 2);
    let slip = Machine::new().variable("BROOKLET_STORE_MAX_BYTES", "1GB").errors();
    assert!(slip[0].contains("did you mean BROOKLET_STORE__MAX_BYTES?"), "{slip:?}");
    let unknown = Machine::new().variable("BROOKLET_STORE__MAX_BITES", "1GB").errors();
    assert!(unknown[0].contains("did you mean store.max_bytes?"), "{unknown:?}");
    assert_eq!(Machine::new().variable("BROOKLET_DATA_DIR", "/d").load().unwrap().config.data_dir, PathBuf::from("/d"));
}

#[test]
fn a_downlink_has_defaults_and_says_what_it_needs() {
    let text = "[downlink.d]\nbootstrap = [\"k:1\"]\ntopics = [\"commands\"]";
    let config = load_text(text).unwrap().config;
    let topics = config.downlinks["d"].topics.clone();
    let expected = DownlinkConfig { topics, ..DownlinkConfig::from(vec![HostPort { host: "k".to_owned(), port: 1 }]) };
    assert_eq!(config.downlinks["d"], expected);
    assert_eq!((expected.from, expected.out_of_range), (DownlinkFrom::Latest, OutOfRange::Earliest));
    for (text, said) in [
        ("[downlink.d]\nbootstrap = [\"k:1\"]", "downlink.d.topics: must be set: what to bring"),
        ("[downlink.d]\ntopics = [\"c\"]", "downlink.d.bootstrap: must be set: the Kafka brokers to ask first"),
        ("downlink.d = 1", "downlinks are tables"),
        ("[downlink.\"a b\"]\nbootstrap = [\"k:1\"]\ntopics = [\"c\"]", "a downlink's name has 1 to 64"),
        ("[downlink.d]\nbootstrap = [\"k:1\"]\ntopic = [\"c\"]", "downlink.d.topic"),
        ("[downlink.d]\nbootstrap = [\"k:1\"]\ntopics = [\"{topic}\"]", "only {gateway} and {label.NAME} are replaced"),
        (
            "[downlink.d]\nbootstrap = [\"k:1\"]\ntopics = [\"a\", \"b\"]\ntopic = \"c\"",
            "several topics would come into one",
        ),
        ("[downlink.d]\nbootstrap = [\"k:1\"]\ntopics = [\"c\"]\nfrom = \"24h\"", "\"latest\", \"earliest\" or a time"),
        ("[downlink.d]\nbootstrap = [\"k:1\"]\ntopics = [\"c\"]\nform = \"latest\"", "did you mean downlink.d.from?"),
        ("[downlink.d]\nbootstrap = [\"k:1\"]\ntopics = [\"c\"]\nsasl.username = \"u\"", "needs sasl.mechanism"),
        (
            "[uplink.c]\nbootstrap = [\"k:1\"]\nsasl.mechanism = \"SCRAM-SHA-512\"\nsasl.username = \"u\"",
            "needs sasl.password_file",
        ),
        (
            "[uplink.c]\nbootstrap = [\"k:1\"]\nsasl = { mechanism = \"PLAIN\", username = \"u\", password_file = \"p\" }",
            "needs tls.enabled = true",
        ),
        ("listen.kafka.auth = [\"certificate\"]", "needs listen.kafka.tls.client_ca"),
        ("listen.native.auth = [\"scram\"]", "is not spoken there"),
        ("listen.mqtt.clear_passwords = true", "needs \"password\" in listen.mqtt.auth"),
        (
            "[uplink.d]\nbootstrap = [\"k:1\"]\n[downlink.d]\nbootstrap = [\"k:1\"]\ntopics = [\"c\"]",
            "an uplink has this name",
        ),
    ] {
        let errors = load_text(text).unwrap_err().to_string();
        assert!(errors.contains(said), "{errors}");
    }
}

#[test]
fn the_report_is_itself_the_same_configuration() {
    let text = "data_dir = \"/var/lib/b\"\nstore.max_bytes = \"40%\"\n[topic.\"a.b\"]\nretention.ms = \"90m\"\n\
         [uplink.c]\nbootstrap = [\"[::1]:9092\"]\ntopic = \"{gateway}.{topic}\"\ncreate_partitions = 6\n\
         [downlink.d]\nbootstrap = [\"k:1\"]\ntopics = [\"c-{gateway}\"]\nfrom = \"2026-11-21T20:00:00+01:00\"";
    let first = load_text(text).unwrap();
    let report = report_text(&first);
    let second = load_text(&report).unwrap_or_else(|errors| panic!("{errors}\n{report}"));
    assert_eq!(first.config, second.config);
    assert_eq!(first.fingerprint(), second.fingerprint());
    let elsewhere = load_text(&text.replace("/var/lib/b", "/srv/b")).unwrap();
    let other = load_text(&text.replace("90m", "91m")).unwrap();
    assert_eq!(first.fingerprint(), elsewhere.fingerprint());
    assert_ne!(first.fingerprint(), other.fingerprint());
}

#[test]
fn the_reference_uncommented_is_the_default_configuration() {
    let uncommented: String = reference()
        .lines()
        .filter(|line| !line.starts_with("# ") && !line.contains("link.NAME"))
        .map(|line| format!("{}\n", line.trim_start_matches('#')))
        .collect();
    assert_eq!(load_text(&uncommented).unwrap().config, Config::default());
    for key in keys::UPLINK {
        assert!(reference().contains(&format!("\n#uplink.NAME.{} =", key.name)));
    }
    for key in keys::DOWNLINK {
        assert!(reference().contains(&format!("\n#downlink.NAME.{} =", key.name)));
    }
}

#[test]
fn the_last_good_configuration_comes_back() {
    let data = TempDir::new().unwrap();
    assert!(load_last_good(data.path()).unwrap().is_none());
    let text = "gateway.id = \"g\"\nstore.commit_window = \"25ms\"\nstore.flash_budget = \"1.5GB/day\"\n[topic.\"a.b\"]\nkey = \"none\"\n[uplink.c]\nbootstrap = [\"k:1\"]";
    let mut loaded = load_text(text).unwrap();
    loaded.config.data_dir = data.path().to_owned();
    save_last_good(data.path(), &loaded).unwrap();
    let kept = fs::metadata(last_good_path(data.path())).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&kept.permissions()) & 0o777, 0o600);
    let back = load_last_good(data.path()).unwrap().unwrap();
    assert_eq!(back.config, loaded.config);

    fs::write(last_good_path(data.path()), "from.a.newer.version = 1").unwrap();
    assert!(load_last_good(data.path()).is_err());
}

#[test]
fn errors_know_the_data_directory_all_the_same() {
    let errors = load_text("data_dir = \"/srv/b\"\nlog.level = 7").unwrap_err();
    assert_eq!(errors.data_dir, PathBuf::from("/srv/b"));
    assert_eq!(load_text("log.level = 7").unwrap_err().data_dir, PathBuf::from("./brooklet-data"));
}

#[test]
fn secrets_are_masked() {
    let secret = Effective {
        key: "uplink.c.sasl.password".to_owned(),
        value: "\"hunter2\"".to_owned(),
        origin: Origin::Default,
        secret: true,
        takes: TakesEffect::AtOnce,
        doc: "",
    };
    let loaded = Loaded { config: Config::default(), effective: vec![secret], warnings: Vec::new(), files: Vec::new() };
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(!report_text(&loaded).contains("hunter2"));
}

#[test]
fn a_huge_file_is_refused() {
    let error = one_error(&"# padding\n".repeat(200_000));
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
}

/// Text that looks like configuration often enough to get past the parser.
fn toml_like() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "store",
        "listen",
        "kafka",
        "native",
        "topic",
        "uplink",
        "addr",
        "max_bytes",
        "tls",
        "[a-z.\"_]{0,8}",
        "\\PC{0,6}"
    ];
    let value = prop_oneof![
        "\"[a-zA-Z0-9:.,%{}*-]{0,12}\"",
        "-?[0-9]{1,20}",
        "true",
        "\\[\"a:1\", 2, \\{\\}\\]",
        "\\{\\}",
        "1.5",
        "1979-05-27",
        "\\PC{0,8}"
    ];
    let path = proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("."));
    let line = (path, value, any::<bool>())
        .prop_map(|(path, value, header)| if header { format!("[{path}]\n") } else { format!("{path} = {value}\n") });
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
}

#[test]
fn who_authenticates_must_have_rights_or_say_so() {
    let auth = "listen.kafka.auth = [\"scram\"]\n";
    assert!(one_error(auth).contains("nobody has any rights there"));
    for more in ["security.super_users = [\"User:admin\"]", "listen.kafka.if_no_rule = \"deny\""] {
        let config = load_text(&format!("{auth}{more}")).unwrap().config;
        let [native, kafka, _] = config.listener_rights();
        assert!(native.is_open() && !kafka.is_open() && kafka.authenticates, "{more}");
        assert!(config.rights_text().contains("listen.kafka: clients show who they are; they may do what rules allow"));
    }
    let named = load_text("security.super_users = [\"User:admin\", \"b\"]").unwrap();
    assert_eq!(named.config.security.super_users, ["admin", "b"]);
    assert!(one_error("security.super_users = [\"*\"]").contains("users' names"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_toml_never_panics(text in prop_oneof![toml_like(), "\\PC{0,64}"]) {
        match file::parse(&std::sync::Arc::from(Path::new("x")), &text) {
            Ok(assignments) => {
                let resolved = resolve::resolve(&assignments);
                for error in resolved.errors {
                    prop_assert!(!error.to_string().is_empty());
                }
            }
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }
}
