//! The configuration of a running gateway, read again: by SIGHUP and by `brooklet reload`.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

mod common;
#[path = "mqtt/client.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod mqtt;

use std::fs;
use std::process::Output;
use std::time::Duration;

use brooklet::client::{Address, Publisher, PublisherOptions};
use brooklet::device::Reading;
use brooklet::gateway::status::GatewayStatus;
use brooklet::mqtt::{Connect, Packet, Qos};
use common::gateway::{Gateway, brooklet, expect_ok, run};
use common::wire::Wire;
use common::{free_addr, wait_for};
use rustix::process::{Pid, Signal, kill_process};

const LONG: Duration = Duration::from_secs(60);

fn status(gateway: &Gateway) -> GatewayStatus {
    GatewayStatus::parse(&gateway.cli_ok(&["status", "--json"], "")).unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// By the socket, as an operator does.
fn reload(gateway: &Gateway, more: &[&str]) -> Output {
    let dir = gateway.data_dir();
    run(brooklet().arg("reload").args(["--data".as_ref(), dir.as_os_str()]).args(more), b"")
}

fn hang_up(gateway: &Gateway) {
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

fn last_good(gateway: &Gateway) -> String {
    // It answers a moment before that is written.
    let read = || fs::read_to_string(gateway.data_dir().join("last-good.toml")).ok();
    wait_for("the configuration to be kept", LONG, read)
}

#[test]
fn what_can_change_changes_under_load_and_the_rest_is_named() {
    let gateway = Gateway::start("gateway.id = \"one\"\nstore.max_bytes = \"64MiB\"\n");
    let mut kafka = Wire::connect(&gateway.kafka.to_string()).unwrap();
    kafka.api_versions().unwrap();
    let address = Address::Tcp(gateway.native.to_string());
    let publisher = smol::block_on(Publisher::open(&address, PublisherOptions::new("device"))).unwrap();
    let topic = publisher.topic("readings").unwrap();
    let publish = |number: u32| {
        let value = number.to_string();
        smol::block_on(publisher.publish(&Reading::new(topic, value.as_bytes()))).unwrap();
    };
    (0..500).for_each(publish);
    let changed = "gateway.id = \"one\"\nstore.max_bytes = \"128MiB\"\nlog.level = \"debug\"\nlisten.kafka.max_connections = 1\nstore.flash_budget = \"2GB/day\"\n\
                   topic.readings.\"retention.ms\" = \"2d\"\ntopic.priority = 7\ngateway.labels.site = \"north\"\n";
    gateway.configure(changed);

    let (dry, _) = texts(&reload(&gateway, &["--dry-run"]));
    for said in [
        "store.max_bytes: \"64MiB\" → \"128MiB\" (waits for a restart)",
        "log.level: \"info\" → \"debug\" (would hold at once)",
        "listen.kafka.max_connections: 128 → 1 (would hold at once)",
    ] {
        assert!(dry.contains(said), "{said}: {dry}");
    }
    let before = status(&gateway);
    assert_eq!((before.config.generation, before.labels.len()), (1, 0), "only looked at");

    let done = expect_ok("reload", &reload(&gateway, &[]));
    assert!(done.contains("gateway.labels.site: none → \"north\" (holds now)"), "{done}");
    (500..1_000).for_each(publish);
    smol::block_on(publisher.flush()).unwrap();
    kafka.api_versions().expect("the connection goes on");
    let now = status(&gateway);
    assert_eq!(now.config.generation, 2);
    assert_eq!(now.config.waiting_for_restart, ["store.max_bytes"]);
    assert_eq!(now.labels["site"], "north");
    assert_eq!(now.store.max_bytes, 64 << 20);
    assert!(
        now.problems.iter().any(|problem| problem.contains("wait for a restart: store.max_bytes")),
        "{:?}",
        now.problems
    );
    assert_eq!(now.metrics["config_waiting"], 1);
    assert_eq!(now.store.flash.day_budget_bytes, Some(2_000_000_000));
    let shown = gateway.cli_ok(&["topic", "describe", "readings"], "");
    assert!(shown.contains("172800000") && shown.contains('7'), "{shown}");
    // One Kafka connection is there, and no other gets a place.
    assert!(Wire::connect(&gateway.kafka.to_string()).and_then(|mut wire| wire.api_versions()).is_err());
    wait_for("a line of the new level", LONG, || gateway.log().contains("all places are taken").then_some(()));
    // What waits is not what the gateway would fall back to.
    let kept = last_good(&gateway);
    assert!(kept.contains("64MiB") && kept.contains("debug") && kept.contains("north"), "{kept}");
    let lines = gateway.cli_ok(&["consume", "readings"], "");
    assert!(lines.lines().eq((0..1_000).map(|number| number.to_string()).collect::<Vec<_>>()), "each once, in order");
}

#[test]
fn a_refused_configuration_changes_nothing_and_is_told_until_one_is_taken() {
    let gateway = Gateway::start("gateway.labels.site = \"north\"\n");
    let kept = last_good(&gateway);
    gateway.configure("gateway.labels.site = \"south\"\ntopic.partitions = \"many\"\n");
    let refused = reload(&gateway, &[]);
    let (_, said) = texts(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("brooklet.toml:2: topic.partitions = \"many\"") && said.contains("nothing was changed"),
        "{said}"
    );
    hang_up(&gateway);
    let now = wait_for("the second refusal", LONG, || {
        Some(status(&gateway)).filter(|now| now.metrics["config_reloads_refused"] == 2)
    });
    assert_eq!((now.config.generation, now.labels["site"].as_str()), (1, "north"));
    assert!(now.config.refused_since_ms.is_some() && now.config.refused[0].contains("topic.partitions"));
    assert!(now.problems.iter().any(|problem| problem.contains("on disk is refused since")), "{:?}", now.problems);
    assert_eq!(last_good(&gateway), kept);

    gateway.configure("gateway.labels.site = \"south\"\n");
    hang_up(&gateway);
    let now = wait_for("the reload", LONG, || Some(status(&gateway)).filter(|now| now.config.generation == 2));
    assert_eq!((now.labels["site"].as_str(), now.config.refused_since_ms), ("south", None));
    assert!(last_good(&gateway).contains("south"));
}

/// `serve` that could not take its configuration says so as well, and a mended one is taken without a restart.
#[test]
fn what_was_refused_at_the_start_is_mended_by_a_reload() {
    let mut gateway = Gateway::start("gateway.labels.site = \"north\"\n");
    gateway.stop();
    gateway.configure("gateway.labels.site = \"south\"\ntopic.partitions = \"many\"\n");
    gateway.launch();
    let now = status(&gateway);
    assert_eq!(now.labels["site"], "north");
    assert!(now.config.refused_since_ms.is_some(), "{:?}", now.config);
    // Where it lies, the file does not say.
    gateway.configure("gateway.labels.site = \"south\"\n");
    expect_ok("reload", &reload(&gateway, &[]));
    let now = status(&gateway);
    assert_eq!((now.labels["site"].as_str(), now.config.refused_since_ms), ("south", None));
    assert_eq!(now.config.waiting_for_restart, [""; 0]);
    assert!(last_good(&gateway).contains("south"));
}

#[test]
fn another_name_takes_an_adoption() {
    let mut gateway = Gateway::start("gateway.id = \"one\"\n");
    gateway.configure("gateway.id = \"two\"\n");
    let done = expect_ok("reload", &reload(&gateway, &[]));
    assert!(
        done.contains("gateway.id: \"one\" → \"two\" (takes `brooklet adopt DIR --id NAME` and a restart"),
        "{done}"
    );
    let now = status(&gateway);
    assert_eq!(now.gateway, "one");
    assert!(now.problems.iter().any(|problem| problem.contains("`brooklet adopt` first")), "{:?}", now.problems);
    assert!(last_good(&gateway).contains("\"one\""));
    // Without a name it stays what it is.
    gateway.configure("");
    let done = expect_ok("reload", &reload(&gateway, &[]));
    assert!(done.contains("gateway.id: \"one\" → \"auto\" (holds now)"), "{done}");
    assert_eq!(status(&gateway).config.waiting_for_restart, [""; 0]);

    gateway.configure("gateway.id = \"two\"\n");
    let check = |gateway: &Gateway| {
        let data = ("BROOKLET_DATA_DIR", gateway.data_dir());
        texts(&run(brooklet().arg("check").arg(gateway.home().join("brooklet.toml")).env(data.0, data.1), b"")).1
    };
    assert!(
        check(&gateway).contains("belongs to gateway one, and gateway.id is two"),
        "of the one that runs: {}",
        check(&gateway)
    );
    gateway.stop();
    assert!(
        check(&gateway).contains("belongs to gateway one, and gateway.id is two"),
        "of the store: {}",
        check(&gateway)
    );
    gateway.begin_launch();
    let ended = wait_for("the refusal", LONG, || gateway.log().contains("gateway.id is two").then(|| gateway.log()));
    assert!(ended.contains("only the name differs") && ended.contains("--id two"), "{ended}");
    gateway.kill();
}

/// A centre that has moved, 300 km away: one line changed, nothing restarted, nothing lost or repeated.
#[test]
fn an_uplink_follows_its_centre_to_another_address_and_links_come_and_go() {
    let above = Gateway::start("gateway.id = \"above\"\n");
    let uplink = |name: &str, to: &str, topics: &str| {
        format!(
            "[uplink.{name}]\nprotocol = \"brooklet\"\nbootstrap = [\"{to}\"]\ntopics = [\"{topics}\"]\ncreate_topics = true\n\
             linger = \"10ms\"\nconnect_timeout = \"2s\"\nbackoff.min = \"50ms\"\nbackoff.max = \"200ms\"\nslow_start = \"0s\"\n"
        )
    };
    let head = "gateway.id = \"below\"\nclock.trust = \"always\"\n";
    let (nowhere, centre) = (free_addr().to_string(), above.native.to_string());
    let below = Gateway::start(&format!("{head}{}", uplink("centre", &nowhere, "t")));
    let lines: String = (0..200).map(|line| format!("{line}\n")).collect();
    below.cli_ok(&["produce", "t"], &lines);
    wait_for("the link to be down", LONG, || (status(&below).uplinks[0].counts.failures > 0).then_some(()));
    let failures = status(&below).uplinks[0].counts.failures;

    let other = uplink("other", &nowhere, "elsewhere");
    below.configure(&format!("{head}{}{other}", uplink("centre", &centre, "t")));
    let done = expect_ok("reload", &reload(&below, &[]));
    assert!(done.contains("uplink.centre.bootstrap") && done.contains("uplink.other.topics"), "{done}");
    let now = wait_for("the backlog", LONG, || {
        Some(status(&below)).filter(|now| now.uplinks[0].lag_records == 0 && now.uplinks[0].counts.records == 200)
    });
    assert_eq!(now.uplinks.iter().map(|uplink| uplink.name.as_str()).collect::<Vec<_>>(), ["centre", "other"]);
    assert!(now.uplinks[0].counts.failures >= failures, "it counts on");
    assert_eq!(above.cli_ok(&["consume", "t"], ""), lines, "each once, in order");

    // Another pattern lets the topic go, and with it what was kept for the uplink.
    below.configure(&format!("{head}{}", uplink("centre", &centre, "u")));
    expect_ok("reload", &reload(&below, &[]));
    below.cli_ok(&["produce", "t"], "200\n");
    let now = status(&below);
    assert_eq!(now.uplinks.len(), 1);
    assert!(now.topics.iter().find(|topic| topic.name == "t").unwrap().followed_by.is_empty());
    assert_eq!(now.uplinks[0].lag_records, 0);

    // And back: on from where it was.
    below.configure(&format!("{head}{}", uplink("centre", &centre, "t")));
    hang_up(&below);
    wait_for("the last record", LONG, || {
        (above.cli_ok(&["consume", "t"], "") == format!("{lines}200\n")).then_some(())
    });
}

/// A client of 3.1.1 whose session is kept.
fn client(gateway: &Gateway, id: &str) -> mqtt::Client {
    let connect = Connect { level: 4, client_id: id, ..Connect::default() };
    let mut client = mqtt::Client::open(gateway.mqtt, connect.protocol);
    client.send(&Packet::Connect(connect));
    client.next(|packet| assert!(matches!(packet, Packet::ConnAck(ack) if !ack.reason.is_error()), "{packet:?}"));
    client
}

/// A topic that comes to hold messages for a subscription holds older ones, too: nobody has subscribed to those.
#[test]
fn rules_that_change_bring_what_comes_and_not_what_was() {
    let own = "gateway.id = \"one\"\nlisten.mqtt.map = [{ filter = \"news/#\", topic = \"news\" }";
    let (without, with) = (format!("{own}]\n"), format!("{own}, {{ filter = \"plant/#\", topic = \"telemetry\" }}]\n"));
    let gateway = Gateway::start(&with);
    let mut publisher = client(&gateway, "p");
    (0..20).for_each(|at| publisher.publish_acked("plant/a", &format!("old {at}")));
    let change = |config: &str| {
        gateway.configure(config);
        let (said, _) = texts(&reload(&gateway, &[]));
        assert!(said.contains("listen.mqtt.map"), "{said}");
    };
    change(&without);
    let (mut here, mut away) = (client(&gateway, "here"), client(&gateway, "away"));
    let mut shared = client(&gateway, "shared");
    here.subscribe("plant/#", Qos::AtLeastOnce);
    away.subscribe("plant/#", Qos::AtLeastOnce);
    shared.subscribe("$share/s/plant/#", Qos::AtLeastOnce);
    away.cut();
    publisher.publish_acked("plant/a", "by its first level");
    assert_eq!(here.take(), ("plant/a".to_owned(), "by its first level".to_owned()));
    assert_eq!(shared.take().1, "by its first level");
    change(&with);
    publisher.publish_acked("plant/a", "new");
    assert_eq!([here.take().1, shared.take().1], ["new"; 2]);
    let mut away = client(&gateway, "away");
    let mut got = [away.take().1, away.take().1];
    got.sort();
    assert_eq!(got, ["by its first level", "new"]);
    assert!(here.is_quiet() && away.is_quiet() && shared.is_quiet());
}
