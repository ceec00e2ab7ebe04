//! `scripts/from-mosquitto.sh`: what it makes of the files in `tests/from_mosquitto`, word by word, and that `brooklet check` takes it.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests may stop where the program may not"
)]

mod common;

use std::{env, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use common::gateway::{Gateway, brooklet};

#[test]
fn a_configuration_of_mosquitto_becomes_one_that_is_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = root.join("tests/from_mosquitto");
    for name in ["smallest", "plant", "odd", "secure"] {
        let made = Command::new(root.join("scripts/from-mosquitto.sh"))
            .arg(format!("{name}.conf"))
            .current_dir(&home)
            .output()
            .unwrap();
        assert!(made.status.success(), "{name}: {made:?}");
        for (bytes, kind) in [(made.stdout, "toml"), (made.stderr, "err")] {
            let expected = fs::read_to_string(home.join(format!("{name}.{kind}"))).unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{name}.{kind}");
        }
        let checked = Command::new(env!("CARGO_BIN_EXE_brooklet"))
            .args(["check", "--no-files", &format!("{name}.toml")])
            .current_dir(&home)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_missing() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/from-mosquitto.sh");
    let made = Command::new(script).arg("nothing.conf").output().unwrap();
    assert_eq!(made.status.code(), Some(2));
    assert!(String::from_utf8(made.stderr).unwrap().contains("nothing.conf: can't be read"));
}

#[test]
fn its_users_and_rights_are_commands_that_a_gateway_takes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = tempfile::tempdir().unwrap();
    let (rights, command) = (home.path().join("rights.sh"), home.path().join("brooklet"));
    let made = Command::new(root.join("scripts/from-mosquitto.sh"))
        .args(["--rights".as_ref(), rights.as_os_str(), "plant.conf".as_ref()])
        .current_dir(root.join("tests/from_mosquitto"))
        .output()
        .unwrap();
    assert!(
        made.status.success() && !String::from_utf8(made.stdout).unwrap().contains("acl add"),
        "they are in the script"
    );
    // Each password is asked for: here all are the same.
    fs::write(&command, format!("#!/bin/sh\necho a-password | {} \"$@\"\n", env!("CARGO_BIN_EXE_brooklet"))).unwrap();
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
    let gateway = Gateway::start("");
    let path = format!("{}:{}", home.path().display(), env::var("PATH").unwrap());
    let run = Command::new("sh").arg(&rights).arg("--data").arg(gateway.data_dir()).env("PATH", path).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let listed = |what: &str| {
        let output = brooklet().args([what, "list", "--data"]).arg(gateway.data_dir()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (users, rules) = (listed("user"), listed("acl"));
    for name in ["gw", "ann", "o'neil"] {
        assert!(users.contains(name), "{users}");
    }
    for what in ["sensors", "secret", "public", "o_neil", "ANONYMOUS"] {
        assert!(rules.contains(what), "{rules}");
    }
}
