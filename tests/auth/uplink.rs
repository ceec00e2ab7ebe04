//! An uplink that says who it is to a centre that asks: another gateway.

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    common::{gateway::Gateway, wait_for},
    local, local_ok, mode,
};

const SOON: Duration = Duration::from_secs(120);

/// An edge whose uplink goes to `centre` as the user `gw`, with the password in a file.
fn edge(centre: &Gateway, mechanism: &str, password: &PathBuf) -> Gateway {
    Gateway::start(&format!(
        "log.level = \"trace\"\nclock.trust = \"always\"\n[uplink.up]\nbootstrap = [\"{}\"]\ndelivery = \"at-least-once\"\n\
         create_topics = true\nbackoff.min = \"100ms\"\nbackoff.max = \"200ms\"\n\
         sasl = {{ mechanism = \"{mechanism}\", username = \"gw\", password_file = {password:?}, clear_passwords = true }}\n",
        centre.kafka
    ))
}

fn put(password: &PathBuf, text: &str) {
    fs::write(password, text).unwrap();
    mode(password, 0o600);
}

#[test]
fn an_uplink_says_who_it_is_and_waits_where_it_is_not_believed() {
    let centre = Gateway::start("listen.kafka.auth = [\"password\"]\nsecurity.super_users = [\"gw\"]\n");
    local_ok(&centre, &["user", "add", "gw"], "hunter2-of-gw\n");
    let dir = tempfile::tempdir().unwrap();
    for (mechanism, topic) in [("SCRAM-SHA-512", "one"), ("SCRAM-SHA-256", "two"), ("PLAIN", "three")] {
        let password = dir.path().join(topic);
        put(&password, "hunter3-is-wrong\n");
        let edge = edge(&centre, mechanism, &password);
        edge.cli_ok(&["produce", topic], "a\nb\nc\n");
        let check = wait_for("the wrong password to be named", SOON, || {
            let said = local(&edge, &["uplink", "check", "up"], "");
            let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
            said.contains("is not accepted").then_some(said)
        });
        assert!(!check.contains("hunter3"), "{check}");
        assert!(!local_ok(&centre, &["topic", "list"], "").contains(topic), "nothing has gone up");
        put(&password, "hunter2-of-gw\n");
        wait_for("the backlog to go up", SOON, || {
            let status = local_ok(&edge, &["status", "--json"], "");
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let topic = status["topics"].as_array().unwrap().iter().find(|of| of["name"] == topic)?;
            (topic["followed_by"][0]["delivered_records"] == 3).then_some(())
        });
        let log = edge.log();
        assert!(!log.contains("hunter"), "{mechanism}: a password is shown");
    }
}
