//! `support-bundle` with a gateway that runs and one that doesn't; `provision` and `selftest` as the factory calls them.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::gateway::{Gateway, brooklet, expect_ok, run};

const SECRET: &str = "S3cret-that-nobody-may-see";

/// The files of the bundle, and all of their text together.
fn bundle(gateway: &Gateway, name: &str, home: &Path) -> (Vec<String>, String) {
    let file = home.join(format!("{name}.tar.gz"));
    let data = gateway.data_dir();
    let args = ["support-bundle", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
    expect_ok("support-bundle", &run(brooklet().args(args), b""));
    let metadata = fs::metadata(&file).unwrap();
    assert!(metadata.len() < 1_000_000 && metadata.permissions().mode() & 0o777 == 0o600);
    let again = run(brooklet().args(args), b"");
    assert_eq!(again.status.code(), Some(1), "it replaces nothing");
    let dir = home.join(name);
    fs::create_dir(&dir).unwrap();
    assert!(Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(&dir).status().unwrap().success());
    let (mut names, mut all) = (Vec::new(), String::new());
    for entry in fs::read_dir(dir.join("brooklet-support")).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        all.push_str(&fs::read_to_string(entry.path()).unwrap());
    }
    names.sort();
    (names, all)
}

#[test]
fn a_bundle_tells_what_there_is_and_no_secret() {
    let home = tempfile::tempdir().unwrap();
    let password = home.path().join("password");
    fs::write(&password, SECRET).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "log.level = \"debug\"\n[uplink.centre]\nbootstrap = [\"127.0.0.1:1\"]\nsasl.mechanism = \"SCRAM-SHA-256\"\n\
         sasl.username = \"u\"\nsasl.password_file = \"{}\"\n",
        password.display()
    );
    let mut gateway = Gateway::start(&config);
    gateway.cli_ok(&["produce", "temp"], "a record that stays here\n");
    let (names, all) = bundle(&gateway, "running", home.path());
    assert_eq!(
        names,
        ["about.txt", "configuration.toml", "fsck.txt", "ledger.txt", "log.txt", "starts.txt", "status.json"]
    );
    for expected in ["uplink.centre.sasl.password_file", "ready", "\"topics\":", "kernel: Linux", "THE RUN BEFORE"] {
        assert!(all.contains(expected), "{expected} in\n{all}");
    }
    assert!(!all.contains(SECRET) && !all.contains("a record that stays here"));

    gateway.kill();
    let (names, all) = bundle(&gateway, "stopped", home.path());
    assert_eq!(names, ["about.txt", "configuration.toml", "fsck.txt", "ledger.txt", "log.txt", "starts.txt"]);
    assert!(all.contains("nothing is wrong") && all.contains("uplink.centre.sasl.password_file"), "{all}");
    assert!(!all.contains(SECRET));
}

#[test]
fn a_board_is_tested() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("brooklet.toml");
    fs::write(&config, "").unwrap();
    let (dir, config) = (home.path().to_str().unwrap(), config.to_str().unwrap());
    // A machine that is loaded beyond all measure may fail; what it says has a form all the same.
    let told = run(brooklet().args(["selftest", dir, "--config", config, "--json"]), b"");
    let json: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(json["ok"].as_bool(), Some(told.status.code() == Some(0)), "{json}");
    assert!(
        json["sync_p99_us"].as_u64() >= json["sync_p50_us"].as_u64() && json["written_bytes"].as_u64() > Some(0),
        "{json}"
    );
    let what: Vec<&str> =
        json["findings"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["mount", "room", "sync", "write", "life", "clock", "identity", "link"]);
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1, "nothing is left");

    // An uplink that nobody answers is a reason to fail.
    fs::write(config, "[uplink.centre]\nbootstrap = [\"127.0.0.1:1\"]\nconnect_timeout = \"1s\"\n").unwrap();
    let told = run(brooklet().args(["selftest", dir, "-c", config]), b"");
    let text = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(text.contains("uplink centre:") && text.ends_with("not fit\n"), "{text}");
    assert_eq!(run(brooklet().args(["selftest", "/nowhere"]), b"").status.code(), Some(1));
}

const TEMPLATE: &str = "gateway.id = \"{id}\"\ngateway.labels.site = \"{site}\"\n[uplink.centre]\nbootstrap = [\"{centre}\"]\n\
                        topic = \"{label.site}.{topic}\"\n";

#[test]
fn a_gateway_is_provisioned_from_the_fleets_template() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (template, list, out) = (file("fleet.toml"), file("fleet.csv"), file("brooklet.toml"));
    fs::write(&template, TEMPLATE).unwrap();
    fs::write(&list, "id,site,centre\ngw-1,berlin,kafka-1:9092\ngw-2,\"bad \"\"s\"\"\",kafka-2:9092\n").unwrap();
    let provision = |more: &[&str]| run(brooklet().args(["provision", &template, "--out", &out]).args(more), b"");

    let missing = provision(&["--set", "id=gw-9"]);
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(missing.status.code() == Some(1) && said.contains("{site}") && said.contains("{centre}"), "{said}");
    expect_ok("provision", &provision(&["--csv", &list, "--row", "gw-1"]));
    let written = fs::read_to_string(&out).unwrap();
    assert!(
        written.contains("gateway.id = \"gw-1\"") && written.contains("topic = \"{label.site}.{topic}\""),
        "{written}"
    );
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);

    let there = provision(&["--csv", &list, "--row", "gw-1"]);
    assert!(there.status.code() == Some(1) && String::from_utf8(there.stderr).unwrap().contains("--force"));
    for (more, expected) in [
        (&["--csv", list.as_str(), "--row", "gw-2", "--force"][..], "quotation mark"),
        (&["--csv", list.as_str(), "--row", "gw-3", "--force"][..], "no row gw-3"),
        (&["--csv", list.as_str(), "--row", "gw-1", "--set", "centre=nowhere", "--force"][..], "bootstrap"),
        (&["--csv", list.as_str(), "--row", "gw-1", "--set", "topic=x", "--force"][..], "{topic}"),
    ] {
        let refused = provision(more);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(expected), "{expected} in {said}");
        assert_eq!(fs::read_to_string(&out).unwrap(), written, "nothing is replaced");
    }
    expect_ok("provision", &provision(&["--csv", &list, "--row", "gw-1", "--set", "site=ulm", "--force"]));
    assert!(fs::read_to_string(&out).unwrap().contains("\"ulm\""));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3, "nothing else is left");
}
