//! Nothing needs root: a gateway that is nobody makes its certificates, serves all listeners by TLS, has users, takes new certificates, and
//! lets nobody else at its files.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{
    SOON,
    common::{
        gateway::{Gateway, expect_ok, run},
        wait_for,
        wire::Wire,
    },
    hang_up,
    site::{Site, connect},
};

/// Runs a command as the gateway's user.
fn ask(gateway: &Gateway, args: &[&str], stdin: &str) -> String {
    expect_ok(&format!("brooklet {}", args.join(" ")), &run(gateway.program().args(args), stdin.as_bytes()))
}

fn modes_below(dir: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        found.push((path.display().to_string(), fs::metadata(&path).unwrap().permissions().mode() & 0o777));
        if path.is_dir() {
            found.extend(modes_below(&path));
        }
    }
    found
}

#[test]
fn nothing_needs_root() {
    let addr = crate::free_addr();
    let gateway = Gateway::start_unprivileged(|gateway| {
        for args in [&["ca", "--name", "Site"][..], &["gateway", "gw", "--host", "gw.example"], &["device", "dev"]] {
            ask(gateway, &[&["cert"], args, &["--dir", "tls"]].concat(), "");
        }
        let tls = gateway.home().join("tls");
        format!(
            "listen.kafka.if_no_rule = \"allow\"\n[listen.kafka.tls]\naddr = \"{addr}\"\ncert = {:?}\nkey = {:?}\nclient_ca = {:?}\n",
            tls.join("gw.pem"),
            tls.join("gw.key"),
            tls.join("ca.pem")
        )
    });
    if rustix::process::geteuid().is_root() {
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        assert!(status.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{status}");
        let capabilities = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
        assert_eq!(capabilities.trim_start_matches("CapEff:").trim().trim_start_matches('0'), "", "{status}");
    }
    let site = Site::at(gateway.home().join("tls"));
    let device = site.client(Some("dev"));
    assert!(Wire::over(connect(addr, &device).unwrap()).api_versions().is_ok());
    let data = gateway.data_dir();
    let here = ["--data", data.to_str().unwrap()];
    ask(&gateway, &[&["user", "add", "alice"][..], &here].concat(), "hunter2\n");
    ask(&gateway, &[&["produce", "t"][..], &here].concat(), "one\ntwo\n");
    assert_eq!(ask(&gateway, &[&["consume", "t"][..], &here].concat(), "").lines().count(), 2);
    let shown = || ask(&gateway, &[&["status"][..], &here].concat(), "");
    assert!(shown().contains("CN=gw"));
    let before = crate::shown(&connect(addr, &device).unwrap());
    ask(&gateway, &["cert", "gateway", "gw", "--host", "gw.example", "--dir", "tls"], "");
    hang_up(&gateway);
    wait_for("the new certificate", SOON, || (crate::shown(&connect(addr, &device).ok()?) != before).then_some(()));
    // Records are there, and what is kept of passwords.
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let modes = modes_below(&data);
    assert!(modes.len() >= 3, "{modes:?}");
    for (name, mode) in modes {
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:03o}");
    }
}
