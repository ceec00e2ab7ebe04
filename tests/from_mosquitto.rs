//! `scripts/from-mosquitto.sh`: what it makes of the files in `tests/from_mosquitto`, word by word, and that `brooklet check` takes it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it fails")]

use std::{fs, path::Path, process::Command};

#[test]
fn a_configuration_of_mosquitto_becomes_one_that_is_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = root.join("tests/from_mosquitto");
    for name in ["smallest", "plant", "odd"] {
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
            .args(["check", &format!("{name}.toml")])
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
