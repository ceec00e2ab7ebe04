//! A board without a battery clock starts in 1970. Here its process does: what it asks the C library for the time says so. It serves TLS
//! and calls by TLS all the same, by certificates that begin half a century later, and refuses one that has long ended.

use std::{ffi::OsString, fs, path::PathBuf, process::Command};

use crate::{
    SOON,
    common::{free_addr, gateway::Gateway, wait_for, wire::Wire},
    issue,
    site::{Site, connect},
};

/// Stands before the C library: the time of day began when the process did.
const EPOCH: &str = r"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static time_t begun;
int clock_gettime(clockid_t id, struct timespec *now) {
    long failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && id == CLOCK_REALTIME) {
        if (!begun) begun = now->tv_sec;
        now->tv_sec -= begun;
    }
    return (int) failed;
}
";

/// The library that is loaded before; built by the compiler that builds the cryptography, too.
fn epoch(site: &Site) -> PathBuf {
    let (source, library) = (site.path("epoch.c"), site.path("epoch.so"));
    fs::write(&source, EPOCH).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
    let output = compiler.output().expect("a C compiler, as for building");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

#[test]
fn a_board_that_starts_in_1970_serves_and_calls_by_tls() {
    let site = Site::new();
    issue(&site, "ended", 1_000_000_000_000, 1_700_000_000_000);
    let (ca, [above, below]) = (site.path("ca.pem"), [free_addr(), free_addr()]);
    let listener = |addr| {
        let keys = site.listener("gw");
        format!(
            "listen.kafka.if_no_rule = \"allow\"\n[listen.kafka.tls]\naddr = \"{addr}\"\nclient_ca = {ca:?}\n{keys}"
        )
    };
    // Whoever comes in the clear is anonymous: the test itself.
    let auth = "listen.kafka.auth = [\"certificate\", \"none\"]\n";
    let centre = Gateway::start(&format!("clock.trust = \"always\"\n{auth}{}", listener(above)));
    let config = format!(
        "{auth}{}[uplink.up]\nbootstrap = [\"localhost:{}\"]\ncreate_topics = true\nclock_wait = \"0s\"\ndelivery = \"at-least-once\"\n\
         backoff.min = \"100ms\"\nbackoff.max = \"200ms\"\n\
         tls = {{ enabled = true, ca = {ca:?}, cert = {:?}, key = {:?}, server_name = \"gw.example\" }}\n",
        listener(below),
        above.port(),
        site.path("dev.pem"),
        site.path("dev.key"),
    );
    let board = Gateway::start_with(("LD_PRELOAD", OsString::from(epoch(&site))), &config);
    let json = board.cli_ok(&["status", "--json"], "");
    let status: brooklet::gateway::status::GatewayStatus = serde_json::from_str(&json).unwrap();
    // (Records are stamped by what is certain to be past.)
    assert!(!status.time_trusted && board.log().starts_with("1970-01-01T00:"), "{}", board.log());
    let ask = |name| connect(below, &site.client(Some(name))).and_then(|stream| Wire::over(stream).api_versions());
    assert!(ask("dev").is_ok(), "it begins later than the board's time");
    assert!(ask("ended").is_err(), "it had ended before this program was made");
    assert!(board.cli_ok(&["status"], "").contains("certificates that begin later are taken"));
    board.cli_ok(&["produce", "t"], "one\ntwo\nthree\n");
    wait_for("the records to go up", SOON, || {
        let records = centre.cli(&["consume", "t"], "").stdout;
        (String::from_utf8_lossy(&records).lines().count() >= 3).then_some(())
    });
}
