//! Brooklets for the demo and for measuring: child processes of this very executable, in a directory that is removed at the end.
//!
//! Invariants: only processes that were started here are ended, by their id; they are ended before the directory goes.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::error::CliError;
use crate::cli::scratch::ScratchDir;
use crate::client::{Address, Connection};

/// How long a Brooklet may take to answer after its start.
const START_MAX: Duration = Duration::from_secs(30);
/// Lines of a log that are shown when its process has failed.
const LOG_LINES: usize = 8;
/// Ports that are tried in vain before there are said to be none.
const PORT_TRIES: usize = 100;

/// The temporary directory and everything that runs in it. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: ScratchDir,
    children: Mutex<Vec<Child>>,
}

impl Scratch {
    /// A new directory in `parent` that nobody else may read.
    ///
    /// # Errors
    /// [`CliError::Failed`] when it can't be made.
    pub(super) fn new(parent: &Path) -> Result<Scratch, CliError> {
        let dir = ScratchDir::new(parent, "brooklet")?;
        Ok(Scratch { inner: Arc::new(Inner { dir, children: Mutex::default() }) })
    }

    pub(super) fn path(&self) -> &Path {
        self.inner.dir.path()
    }

    /// Ends all that runs here, at once, and removes the directory.
    pub(super) fn clear(&self) {
        self.inner.clear();
    }
}

impl Inner {
    fn children(&self) -> MutexGuard<'_, Vec<Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self) {
        for mut child in self.children().drain(..) {
            // It may have ended by itself; then there is nothing to end.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.dir.remove();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A Brooklet with its addresses, which stay the same over restarts.
#[derive(Debug)]
pub(super) struct Node {
    name: &'static str,
    native: SocketAddr,
    kafka: SocketAddr,
    scratch: Scratch,
    /// Its process, while it runs.
    process: Option<u32>,
}

impl Node {
    /// A node on free ports, not started.
    ///
    /// # Errors
    /// [`CliError::Failed`] when no ports can be had.
    pub(super) fn new(name: &'static str, scratch: &Scratch) -> Result<Node, CliError> {
        let addresses = free_addresses().map_err(|error| CliError::failed("no free port on 127.0.0.1", error))?;
        Ok(Node { name, native: addresses.0, kafka: addresses.1, scratch: scratch.clone(), process: None })
    }

    /// Where devices connect.
    pub(super) fn native(&self) -> Address {
        Address::Tcp(self.native.to_string())
    }

    /// The same.
    pub(super) fn native_addr(&self) -> SocketAddr {
        self.native
    }

    /// Where Kafka clients connect.
    pub(super) fn kafka(&self) -> SocketAddr {
        self.kafka
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.scratch.path().join(self.name)
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Writes its configuration; it holds from the next start on.
    ///
    /// # Errors
    /// [`CliError::Failed`] when the file can't be written.
    pub(super) fn configure(&self, toml: &str) -> Result<(), CliError> {
        let path = self.config_path();
        fs::write(&path, toml).map_err(|error| CliError::failed(path.display(), error))
    }

    /// Starts it, and returns when it answers: after how long.
    ///
    /// # Errors
    /// [`CliError::Failed`] with the end of its log.
    pub(super) async fn start(&mut self) -> Result<Duration, CliError> {
        let begun = Instant::now();
        let spawned = self.spawn().map_err(|error| CliError::failed(format!("cannot start the {}", self.name), error));
        let id = spawned?;
        self.process = Some(id);
        loop {
            if Connection::open(&self.native(), "brooklet-starter").await.is_ok() {
                return Ok(begun.elapsed());
            }
            if self.has_ended(id) || begun.elapsed() > START_MAX {
                return Err(CliError::failed(format!("the {} did not start", self.name), self.log_end()));
            }
            smol::Timer::after(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL: as near to a power cut as a process can come while the kernel lives on.
    pub(super) fn kill(&mut self) -> Result<(), CliError> {
        let Some(id) = self.process.take() else { return Ok(()) };
        let mut children = self.scratch.inner.children();
        if let Some(place) = children.iter().position(|child| child.id() == id) {
            let mut child = children.swap_remove(place);
            let killed = child.kill().and_then(|()| child.wait());
            killed.map_err(|error| CliError::failed(format!("cannot kill the {}", self.name), error))?;
        }
        Ok(())
    }

    /// Its process, while it runs.
    pub(super) fn process(&self) -> Option<u32> {
        self.process
    }

    fn spawn(&self) -> io::Result<u32> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = own_program()?;
        // The user's own settings are for the user's own gateway.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BROOKLET_")) {
            command.env_remove(name);
        }
        command
            .arg("serve")
            .arg("--config")
            .arg(self.config_path())
            .arg("--data")
            .arg(self.data_dir())
            .args(["--native", &self.native.to_string(), "--kafka", &self.kafka.to_string()])
            .args(["--mqtt", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // A Ctrl-C on the terminal is for whoever started it, who then ends its children.
            .process_group(0);
        let child = command.spawn()?;
        let id = child.id();
        self.scratch.inner.children().push(child);
        Ok(id)
    }

    fn has_ended(&self, id: u32) -> bool {
        let mut children = self.scratch.inner.children();
        children.iter_mut().find(|child| child.id() == id).is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn config_path(&self) -> PathBuf {
        self.scratch.path().join(format!("{}.toml", self.name))
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.path().join(format!("{}.log", self.name))
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        if end.is_empty() { "it said nothing".to_owned() } else { format!("its log ends with\n{}", end.join("\n")) }
    }
}

/// Two loopback addresses on which nobody listens at this moment, and which the kernel gives to no outgoing connection
/// (its ephemeral ports begin at 32,768): a node that is restarted finds them free again.
fn free_addresses() -> io::Result<(SocketAddr, SocketAddr)> {
    let (one, other) = (bind_free()?, bind_free()?);
    Ok((one.local_addr()?, other.local_addr()?))
}

fn bind_free() -> io::Result<TcpListener> {
    let mut tries = 0;
    loop {
        match TcpListener::bind(("127.0.0.1", fastrand::u16(20_000..32_000))) {
            Err(error) if tries >= PORT_TRIES => return Err(error),
            Err(_) => tries += 1,
            bound => return bound,
        }
    }
}

/// What runs this program again. A binary for another kind of machine is run by whatever `BROOKLET_RUNNER` names, as in
/// `qemu-aarch64-static`.
fn own_program() -> io::Result<Command> {
    let own = std::env::current_exe()?;
    Ok(match std::env::var_os("BROOKLET_RUNNER") {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(own);
            command
        }
        None => Command::new(own),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_goes_with_its_last_owner() {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let path = scratch.path().to_owned();
        let node = Node::new("gateway", &scratch).unwrap();
        node.configure("log.level = \"off\"").unwrap();
        drop(scratch);
        assert!(path.join("gateway.toml").exists(), "the node still uses it");
        assert_ne!(node.native, node.kafka);
        drop(node);
        assert!(!path.exists());
    }
}
