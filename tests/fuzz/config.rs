//! Configuration: a file's text, and the texts of values.

use std::fs;

use brooklet::broker::rights::report::{FilterReport, RuleReport};
use brooklet::config::{
    CertificateName, DownlinkFrom, TopicPattern, TopicTemplate, UtcOffset, WeekWindow, format_duration, format_size,
    host_port, load_file, parse_duration, parse_size, reference, report_text,
};
use brooklet::gateway::status::GatewayStatus;
use fastrand::Rng;

use crate::harness::Target;
use crate::mutate::{mutate, number, text};

pub(crate) fn targets() -> [Target; 3] {
    let corpus = crate::corpus("config-file");
    let own: Vec<String> = corpus.iter().filter_map(|bytes| String::from_utf8(bytes.clone()).ok()).collect();
    let keys = keys();
    let directory = tempfile::tempdir().unwrap();
    [
        Target {
            name: "config-file",
            quick: 300,
            memory: |bytes| (8 << 20) + 400 * bytes,
            corpus,
            make: Box::new(move |rng| make(rng, &keys, &own)),
            run: Box::new(move |input| {
                let path = directory.path().join("brooklet.toml");
                fs::write(&path, input).unwrap();
                match load_file(&path) {
                    Ok(loaded) => drop(report_text(&loaded)),
                    Err(errors) => assert!(!errors.to_string().is_empty()),
                }
            }),
        },
        Target {
            name: "config-value",
            quick: 3_000,
            memory: |bytes| 64 * 1_024 + 64 * bytes,
            corpus: crate::corpus("config-value"),
            make: Box::new(|rng| value(rng).into_bytes()),
            run: Box::new(run_value),
        },
        Target {
            name: "json",
            quick: 2_000,
            memory: |bytes| 64 * 1_024 + 400 * bytes,
            corpus: crate::corpus("json"),
            make: Box::new(json),
            run: Box::new(run_json),
        },
    ]
}

/// What comes as JSON over the native protocol: rules, filters, a status.
fn json(rng: &mut Rng) -> Vec<u8> {
    let rule = RuleReport {
        principal: format!("User:{}", text(rng, 40)),
        host: (*rng.choice(&["*", "10.0.0.1", "::1", "x"]).unwrap()).to_owned(),
        operation: (*rng.choice(&["Read", "All", "none"]).unwrap()).to_owned(),
        resource: (*rng.choice(&["Topic", "Group", "Cluster"]).unwrap()).to_owned(),
        name: text(rng, 60),
        prefix: rng.bool(),
        allow: rng.bool(),
    };
    let status = GatewayStatus { gateway: text(rng, 40), uptime_s: number(rng), ..GatewayStatus::default() };
    let mut made = match rng.u8(..8) {
        0 => status.to_json(),
        1 => "[".repeat(rng.usize(1..3_000)),
        2 => "{\"principal\":".repeat(rng.usize(1..500)),
        _ => serde_json::to_string(&vec![rule; rng.usize(1..4)]).unwrap(),
    };
    if rng.u8(..10) == 0 {
        made = made.replace("true", &number(rng).to_string());
    }
    mutate(rng, made.into_bytes(), b"\"[]{},:\\u0000e99", 4)
}

fn run_json(input: &[u8]) {
    if let Ok(rules) = brooklet::json::from_slice::<Vec<RuleReport>>(input) {
        for rule in rules.iter().filter_map(|report| report.rule().ok()) {
            let again = RuleReport::of(&rule).rule().expect("what is told is a rule");
            assert_eq!(again, rule);
        }
    }
    let _ = brooklet::json::from_slice::<FilterReport>(input).map(|filter| filter.filter().is_ok());
    let text = String::from_utf8_lossy(input);
    if let Ok(status) = GatewayStatus::parse(&text) {
        assert_eq!(GatewayStatus::parse(&status.to_json()), Ok(status));
    }
}

/// Every key, from the reference: `#key = default`.
fn keys() -> Vec<String> {
    let text = reference();
    let line = |line: &str| {
        let (key, _) = line.strip_prefix('#')?.split_once(" = ")?;
        let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        plain.then(|| key.replace("NAME", "n"))
    };
    let keys: Vec<String> = text.lines().filter_map(line).collect();
    assert!(keys.len() > 50, "the reference has changed its form");
    keys
}

fn value(rng: &mut Rng) -> String {
    const WORDS: [&str; 24] = [
        "auto",
        "off",
        "none",
        "1MiB",
        "70%",
        "5s",
        "1h30m",
        "2GB/day",
        "127.0.0.1:9092",
        "[::1]:1",
        "example.com:9092",
        "mon-fri 08:00-18:00",
        "+05:30",
        "*.plant",
        "{topic}",
        "{gateway}.{topic}",
        "{label.site}",
        "CN",
        "SAN",
        "2024-02-29T00:00:00Z",
        "beginning",
        "18446744073709551615B",
        "0.5",
        "-1",
    ];
    let mut value = match rng.u8(..4) {
        0 => text(rng, 80),
        1 => number(rng).to_string() + rng.choice(["", "ms", "s", "d", "KiB", "TB", "%", "B/s"]).unwrap(),
        _ => (*rng.choice(WORDS).unwrap()).to_owned(),
    };
    if rng.u8(..4) == 0 {
        let bytes = mutate(rng, value.into_bytes(), b"+-:/%{}*", 1);
        value = String::from_utf8_lossy(&bytes).into_owned();
    }
    value
}

fn make(rng: &mut Rng, keys: &[String], own: &[String]) -> Vec<u8> {
    let mut file = String::new();
    if !own.is_empty() && rng.bool() {
        file.push_str(rng.choice(own).unwrap());
    }
    for _ in 0..rng.usize(..8) {
        let key = rng.choice(keys).unwrap();
        let value = value(rng);
        let line = match rng.u8(..6) {
            0 => format!("{key} = {value}\n"),
            1 => format!("{key} = {}\n", number(rng)),
            2 => format!("{key} = [{value:?}, {value:?}]\n"),
            3 => format!("[{key}]\n"),
            _ => format!("{key} = {value:?}\n"),
        };
        let at = rng.usize(..=file.len());
        if file.is_char_boundary(at) && rng.u8(..5) == 0 { file.insert_str(at, &line) } else { file.push_str(&line) }
    }
    if rng.u8(..30) == 0 {
        let nested = if rng.bool() { "[" } else { "{a=" };
        file.push_str(&format!("x = {}", nested.repeat(rng.usize(1..3_000))));
    }
    mutate(rng, file.into_bytes(), b"\"'[]{}=.#\n", 2)
}

fn run_value(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);
    if let Ok(size) = parse_size(text) {
        assert_eq!(parse_size(&format_size(size)), Ok(size), "what is printed reads back");
    }
    if let Ok(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(duration)), Ok(duration), "what is printed reads back");
    }
    if let Ok(pattern) = TopicPattern::parse(text) {
        let _ = pattern.matches("plant.temperature");
    }
    let _ = TopicTemplate::parse(text).map(|template| template.merges_topics());
    if let Some(window) = WeekWindow::parse(text) {
        assert!(window.spans().all(|(from, to)| from <= to));
    }
    let _ = (UtcOffset::parse(text), DownlinkFrom::parse(text), host_port(text).is_ok());
    if let Ok(name) = CertificateName::parse(text) {
        let _ = name.name_in("CN=pump-7,O=plant");
    }
    if let Some(ms) = brooklet::calendar::parse_rfc3339(text) {
        assert_eq!(brooklet::calendar::parse_rfc3339(&brooklet::calendar::format_time(ms)), Some(ms));
    }
}
