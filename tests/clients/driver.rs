//! A client's driver program: what it is asked, what it prints.
//!
//! Every process is in a process group of its own, which is ended by its id when the value is dropped: a driver may be a
//! script around a program.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::common::gateway::Gateway;

/// No call takes longer, with a restart of the gateway in its middle and two other clients beside it.
pub const CALL: Duration = Duration::from_secs(240);
/// A member has left by then.
const LEAVE: Duration = Duration::from_secs(120);
/// The exit code for what a library can't do.
const LACKS: i32 = 3;

/// What the library has no way to do, in the driver's words.
#[derive(Debug)]
pub struct Lacks(pub String);

pub type Played<T> = Result<T, Lacks>;

pub struct Client {
    pub name: String,
    pub version: String,
    program: PathBuf,
}

impl Client {
    /// Those that the script has built, in the list's order.
    pub fn all() -> Vec<Client> {
        let dir =
            PathBuf::from(env::var_os("BROOKLET_TEST_CLIENTS_DIR").expect("started by scripts/interop.sh clients"));
        let names = env::var("BROOKLET_TEST_CLIENTS").expect("started by scripts/interop.sh clients");
        names.split_whitespace().map(|name| Client::new(name, dir.join(name))).collect()
    }

    fn new(name: &str, program: PathBuf) -> Client {
        let mut client = Client { name: name.to_owned(), version: String::new(), program };
        let said = client.start(&["version"]).end(CALL).unwrap_or_else(|Lacks(why)| panic!("{name} version: {why}"));
        client.version = said.trim().to_owned();
        client
    }

    /// What the driver printed.
    ///
    /// # Errors
    /// What the library lacks.
    ///
    /// # Panics
    /// Where it fails.
    pub fn call(&self, gateway: &Gateway, verb: &str, args: &[&str]) -> Played<String> {
        self.begin(gateway, verb, args).end_in_time()
    }

    /// The same, not waited for.
    pub fn begin(&self, gateway: &Gateway, verb: &str, args: &[&str]) -> Running {
        let bootstrap = gateway.kafka.to_string();
        self.start(&[&[verb, &bootstrap], args].concat())
    }

    pub fn produce(&self, gateway: &Gateway, topic: &str, from: usize, to: usize) -> Played<()> {
        self.call(gateway, "produce", &[topic, &from.to_string(), &to.to_string(), "none"]).map(drop)
    }

    pub fn join(&self, gateway: &Gateway, topic: &str, group: &str, strategy: &[&str]) -> Member {
        Member { running: self.begin(gateway, "group", &[&[topic, group], strategy].concat()) }
    }

    fn start(&self, args: &[&str]) -> Running {
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Running::new(format!("{} {}", self.name, args.join(" ")), command.spawn().unwrap())
    }
}

/// A driver at work.
pub struct Running {
    what: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn new(what: String, mut child: Child) -> Running {
        let (lines, complaints) = (Arc::default(), Arc::default());
        let readers = vec![
            keep(child.stdout.take().unwrap(), &lines, usize::MAX),
            keep(child.stderr.take().unwrap(), &complaints, 400),
        ];
        let stdin = child.stdin.take();
        Running { what, child, stdin, lines, readers, complaints }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Whether it goes on. Says nothing of how it ended.
    pub fn goes_on(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it printed, once it has ended.
    ///
    /// # Errors
    /// What the library lacks.
    ///
    /// # Panics
    /// Where it fails, or goes on for longer than any call may.
    pub fn end_in_time(self) -> Played<String> {
        self.end(CALL)
    }

    fn end(mut self, within: Duration) -> Played<String> {
        let mut status: Option<ExitStatus> = None;
        let begin = std::time::Instant::now();
        while status.is_none() && begin.elapsed() < within {
            status = self.child.try_wait().unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        let Some(status) = status else { panic!("{}: not done after {within:?}\n{}", self.what, self.last_words()) };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        let printed = self.lines().join("\n");
        match status.code() {
            Some(0) => Ok(printed),
            Some(LACKS) => Err(Lacks(printed.lines().last().unwrap_or(&self.last_words()).trim().to_owned())),
            _ => panic!("{}: {status}\n{}", self.what, self.last_words()),
        }
    }

    /// The end of what it said on standard error.
    pub fn last_words(&self) -> String {
        let said = self.complaints.lock().unwrap();
        said[said.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Reads lines as they come, from a thread of its own. Beyond `most` they are read and forgotten.
fn keep(from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>, most: usize) -> JoinHandle<()> {
    let into = Arc::clone(into);
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let mut kept = into.lock().unwrap();
            if kept.len() < most {
                kept.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
    })
}

/// A member of a group, from its own lines.
pub struct Member {
    running: Running,
}

impl Member {
    /// The partitions that it has, in order.
    pub fn assigned(&self) -> Vec<i32> {
        let last = self.running.lines().iter().rev().find_map(|line| line.strip_prefix("assigned").map(str::to_owned));
        let mut partitions: Vec<i32> =
            last.unwrap_or_default().split_whitespace().map(|partition| partition.parse().unwrap()).collect();
        partitions.sort_unstable();
        partitions
    }

    /// The values that it has processed, in order, as often as it did.
    pub fn values(&self) -> Vec<String> {
        let lines = self.running.lines();
        lines
            .iter()
            .filter(|line| line.starts_with("record "))
            .filter_map(|line| line.split(' ').nth(4))
            .map(str::to_owned)
            .collect()
    }

    /// The furthest commit that it was told of, by partition.
    pub fn committed(&self) -> BTreeMap<i32, i64> {
        let mut furthest = BTreeMap::new();
        for line in self.running.lines().iter().filter_map(|line| line.strip_prefix("committed ")) {
            let (partition, offset) = line.split_once(' ').unwrap();
            let (partition, offset): (i32, i64) = (partition.parse().unwrap(), offset.parse().unwrap());
            furthest.entry(partition).and_modify(|known: &mut i64| *known = offset.max(*known)).or_insert(offset);
        }
        furthest
    }

    /// Ends its standard input; it leaves, and ends in order.
    ///
    /// # Errors
    /// Where the library has no groups.
    pub fn leave(mut self) -> Played<()> {
        self.running.stdin = None;
        self.running.end(LEAVE).map(drop)
    }

    /// Asks until there is an answer.
    ///
    /// # Panics
    /// Where it ends by itself, or there is none in time.
    pub fn wait_for<T>(&mut self, what: &str, mut ask: impl FnMut(&Member) -> Option<T>) -> T {
        let begin = std::time::Instant::now();
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            let words = || self.running.last_words();
            assert!(begin.elapsed() < CALL, "{}: waited {CALL:?} in vain for {what}\n{}", self.running.what, words());
            assert!(self.running.goes_on(), "{}: ended by itself\n{}", self.running.what, self.running.last_words());
            thread::sleep(Duration::from_millis(20));
        }
    }
}
