//! What installs a gateway: the scripts of service managers, run with stubs in the place of what they call; what packages contain; what
//! `scripts/deploy.sh` would run. `scripts/try-package.sh` does the installing itself, where it may make a clean root.
//!
//! The files in `tests/packaging` say it word by word.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests may stop where the program may not"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const TARGETS: [&str; 4] = [
    "aarch64-unknown-linux-musl",
    "arm-unknown-linux-musleabihf",
    "armv7-unknown-linux-musleabihf",
    "x86_64-unknown-linux-musl",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn ok(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(output.stdout)
}

/// Holds `got` against the file `name`; the version, which changes with each release, stands there as VERSION.
fn expect(name: &str, got: &str) {
    let got = got.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let expected = fs::read_to_string(root().join("tests/packaging").join(name)).unwrap();
    assert_eq!(got, expected, "tests/packaging/{name} says otherwise");
}

#[test]
fn deploy_says_what_it_would_run() {
    let run = |kind: &str, arguments: &[&str]| {
        let mut command = Command::new(root().join("scripts/deploy.sh"));
        command.arg("--dry-run").args(arguments).env("DEPLOY_KIND", kind).output().unwrap()
    };
    let mut transcript = String::new();
    for (kind, arguments) in [
        ("aarch64 arm64", &["--config", "board-configs/pi-4.toml", "pi@first", "second"][..]),
        ("aarch64 armhf", &["pi@first"]),
        ("armv6l armhf", &["pi@first"]),
        ("x86_64 ", &["--from", "/tmp/packages", "first"]),
    ] {
        transcript += &format!("# {kind}: {}\n{}\n", arguments.join(" "), ok(run(kind, arguments)));
    }
    expect("deploy.txt", &transcript);

    let refused = run("mips ", &["first", "second"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(refused.stderr);
    assert!(said.contains("first is mips ; there is no package for that"), "{said}");
    assert!(!text(refused.stdout).contains("second"), "went on after a host that failed");
    assert_eq!(run("aarch64 arm64", &[]).status.code(), Some(2));
}

#[test]
fn scripts_of_service_managers_parse() {
    for name in ["brooklet.openrc", "brooklet.procd", "postinst", "postrm", "prerm"] {
        let script = root().join("scripts/package").join(name);
        ok(Command::new("sh").arg("-n").arg(&script).output().unwrap());
        assert!(fs::read_to_string(script).unwrap().starts_with("#!"), "{name}");
    }
}

/// Runs `calls` of a script, where each of `stubs` prints how it was called.
fn dry_run(script: &str, stubs: &[&str], calls: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    for stub in stubs {
        let file = dir.path().join(stub);
        fs::write(&file, "#!/bin/sh\necho \"$(basename \"$0\") $*\"\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let script = root().join("scripts/package").join(script);
    let shown = ["command", "command_args", "command_user", "supervisor", "respawn_max"];
    let shown: String = shown.iter().map(|name| format!("[ -z \"${name}\" ] || echo \"{name}=${name}\"; ")).collect();
    let text = format!("set -e; . {}; {shown}{calls}", script.display());
    ok(Command::new("sh").args(["-c", &text]).env("PATH", path).env("RC_SVCNAME", "brooklet").output().unwrap())
}

#[test]
fn procd_is_told_to_start_and_to_reload() {
    let stubs = ["procd_open_instance", "procd_set_param", "procd_close_instance", "procd_send_signal"];
    expect("procd.txt", &dry_run("brooklet.procd", &stubs, "start_service; reload_service"));
}

#[test]
fn openrc_is_told_to_start_and_to_reload() {
    let stubs = ["need", "after", "checkpath", "supervise-daemon"];
    expect("openrc.txt", &dry_run("brooklet.openrc", &stubs, "depend; start_pre; reload"));
}

/// Where `scripts/build-release.sh` would have put four binaries.
fn binaries(dir: &Path) {
    for target in TARGETS {
        let binary = dir.join(format!("brooklet-{}-{target}", env!("CARGO_PKG_VERSION")));
        fs::write(&binary, format!("#!/bin/sh\necho {target}\n")).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(binary.with_file_name(format!("{}.sha256", binary.file_name().unwrap().to_str().unwrap())), "")
            .unwrap();
    }
}

fn packages(dir: &Path) -> Vec<PathBuf> {
    let made = Command::new(root().join("scripts/package.sh"))
        .args(["--from".as_ref(), dir.as_os_str()])
        // As a clone without history has it.
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap();
    ok(made).lines().map(PathBuf::from).collect()
}

/// What lies in a package: mode, owner, name, where a link leads.
fn contents(package: &Path) -> String {
    let listed = match package.extension() {
        Some(ending) if ending == "deb" => Command::new("dpkg-deb").arg("--contents").arg(package).output(),
        _ => Command::new("tar").arg("-tvzf").arg(package).output(),
    };
    let mut shown = String::new();
    for line in ok(listed.unwrap()).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words[5..].join(" ");
        // Everything in an archive is below a directory of its name.
        let (_, name) = name.split_once('/').unwrap();
        shown += &format!("{} {} /{name}\n", words[0], words[1].replace("root/root", "0/0"));
    }
    shown
}

#[test]
fn packages_have_what_is_installed() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        eprintln!("skipped: no dpkg-deb");
        return;
    }
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = [first.path(), second.path()].map(|dir| {
        binaries(dir);
        packages(dir)
    });
    let mut transcript = String::new();
    for (package, again) in made[0].iter().zip(&made[1]) {
        let name = package.file_name().unwrap().to_str().unwrap();
        assert_eq!(fs::read(package).unwrap(), fs::read(again).unwrap(), "{name}: made twice, and not the same bytes");
        transcript += &format!("# {name}\n");
        if name.ends_with(".deb") {
            let fields = Command::new("dpkg-deb")
                .args(["--field".as_ref(), package.as_os_str(), "Architecture".as_ref()])
                .output();
            transcript += &format!("Architecture: {}", ok(fields.unwrap()));
        }
        if name.ends_with("_amd64.deb") || name.contains("x86_64") {
            transcript += &contents(package);
        }
    }
    expect("packages.txt", &transcript);
}
