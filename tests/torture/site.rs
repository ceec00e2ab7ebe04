//! A gateway with an uplink through a proxy of its own: what the scenes are made of.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::gateway::Gateway;
use crate::common::peers::consume;
use crate::common::wait_for;
use crate::proxy::{Hooks, Proxy};

/// How long anything may take that must happen.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const UPLINK: &str = "central";

/// A name that no earlier run has left in the same Kafka.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    format!("{name}-{seconds}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// See the module.
pub struct Site {
    pub id: String,
    pub topic: String,
    pub proxy: Proxy,
    pub gateway: Gateway,
    pid: Arc<AtomicU32>,
}

impl Site {
    /// A gateway of this id that forwards `topic`; it runs, and reaches the centre.
    pub fn start(brokers: &str, id: &str, topic: &str) -> Site {
        let pid = Arc::new(AtomicU32::new(0));
        let to_kill = Arc::clone(&pid);
        let hooks = Hooks { kill: Box::new(move || kill(&to_kill)), relocate: Box::new(|_| ()) };
        let proxy = Proxy::start(brokers, hooks);
        proxy.control().transactional = true;
        let gateway = Gateway::start(&config(&proxy.bootstrap, id, topic));
        pid.store(gateway.pid(), Ordering::SeqCst);
        Site { id: id.to_owned(), topic: topic.to_owned(), proxy, gateway, pid }
    }

    /// The transactional id, and the group.
    pub fn name(&self) -> String {
        format!("brooklet.{}.{UPLINK}", self.id)
    }

    /// Publishes these values, until they are acknowledged here.
    pub fn publish(&self, values: &[String]) {
        self.gateway.cli_ok(&["produce", &self.topic], &(values.join("\n") + "\n"));
    }

    pub fn status(&self) -> Value {
        let text = self.gateway.cli_ok(&["uplink", "status", "--json"], "");
        let all: Value = serde_json::from_str(&text).unwrap();
        all[0].clone()
    }

    pub fn state(&self) -> String {
        self.status()["state"].as_str().unwrap().to_owned()
    }

    /// Until all that it holds is forwarded.
    pub fn wait_caught_up(&self) {
        let is_there = |status: &Value| status["state"] == "caught-up" && status["lag_records"] == 0;
        wait_for(&format!("{} to have caught up", self.id), PATIENCE, || is_there(&self.status()).then_some(()));
    }

    /// Until the proxy has killed it.
    pub fn wait_killed(&mut self) {
        wait_for("the gateway to be killed", PATIENCE, || (self.pid.load(Ordering::SeqCst) == 0).then_some(()));
        self.gateway.kill();
    }

    pub fn stop(&mut self) {
        self.pid.store(0, Ordering::SeqCst);
        self.gateway.stop();
    }

    pub fn launch(&mut self) {
        // Before it answers here it may already be at a request at which it is to be killed.
        self.gateway.begin_launch();
        self.pid.store(self.gateway.pid(), Ordering::SeqCst);
        self.gateway.await_answer();
    }

    /// Takes over the store of another one; neither of the two runs.
    pub fn clone_store(&mut self, of: &Site) {
        let (from, to) = (of.gateway.data_dir(), self.gateway.data_dir());
        fs::remove_dir_all(&to).unwrap();
        copy(&from, &to);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn config(bootstrap: &str, id: &str, topic: &str) -> String {
    let addresses: Vec<String> = bootstrap.split(',').map(|address| format!("{address:?}")).collect();
    format!(
        "gateway.id = \"{id}\"\nclock.trust = \"always\"\n\n[topic.{topic}]\npartitions = 2\n\n[uplink.{UPLINK}]\n\
         bootstrap = [{}]\ntopics = [\"{topic}\"]\nbackoff.min = \"50ms\"\nbackoff.max = \"1s\"\nconnect_timeout = \"3s\"\n\
         request_timeout = \"8s\"\ncommit_every = \"100ms\"\n",
        addresses.join(", ")
    )
}

pub fn kill(pid: &AtomicU32) {
    // Not waited for before it is started again: until then the id is nobody else's.
    let pid = pid.swap(0, Ordering::SeqCst);
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// `NAME-0`, `NAME-1`, …
pub fn values(name: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{name}-{n}")).collect()
}

/// What a read_committed consumer gets of a topic: the values, sorted.
pub fn committed(brokers: &str, topic: &str) -> Vec<String> {
    let seen = consume(brokers, topic, &["-X", "isolation.level=read_committed"]);
    let mut values: Vec<String> = seen.into_iter().map(|record| record.value).collect();
    values.sort();
    values
}

/// All of these once, and nothing else.
pub fn assert_exactly(brokers: &str, topic: &str, parts: &[&[String]]) {
    let mut expected: Vec<String> = parts.iter().flat_map(|part| part.iter().cloned()).collect();
    expected.sort();
    let found = committed(brokers, topic);
    if found != expected {
        let lost: Vec<_> = expected.iter().filter(|value| found.binary_search(value).is_err()).collect();
        let twice: Vec<_> = found.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).collect();
        panic!("{topic}: {} expected, {} found; lost {lost:?}, twice {twice:?}", expected.len(), found.len());
    }
}
