//! `brooklet serve` as a child process, on free ports and in a directory of its own.
//!
//! The ports and the directory stay the same over a restart. The process is ended by its id when the value is dropped;
//! a test that panics prints the end of the gateway's log.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::{free_addr, wait_for, wire::Wire};

/// No promise, but an end to waiting in vain: a loaded machine may take long.
pub const START: Duration = Duration::from_secs(120);
/// SIGTERM promises a drained end within 5 s of a machine that isn't busy with something else.
pub const STOP: Duration = Duration::from_secs(60);

/// Debian's user that owns nothing.
const NOBODY: u32 = 65_534;

pub struct Gateway {
    pub native: SocketAddr,
    pub kafka: SocketAddr,
    pub mqtt: SocketAddr,
    home: TempDir,
    child: Option<Child>,
    /// The user of this machine whose process it is, if not this one's.
    user: Option<u32>,
    /// What is in the environment of the process besides.
    env: Vec<(&'static str, OsString)>,
}

impl Gateway {
    /// A gateway with these lines of configuration beside its addresses and its directory; answers when this returns.
    pub fn start(config: &str) -> Gateway {
        Gateway::start_on(free_addr(), config)
    }

    /// The same, the Kafka listener at an address known beforehand.
    pub fn start_on(kafka: SocketAddr, config: &str) -> Gateway {
        let home = tempfile::Builder::new().prefix("brooklet-test-").tempdir().unwrap();
        let mut gateway =
            Gateway { native: free_addr(), kafka, mqtt: free_addr(), home, child: None, user: None, env: Vec::new() };
        gateway.configure(config);
        gateway.launch();
        gateway
    }

    /// A gateway with a variable in its environment.
    pub fn start_with(variable: (&'static str, OsString), config: &str) -> Gateway {
        let home = tempfile::Builder::new().prefix("brooklet-test-").tempdir().unwrap();
        let (native, kafka, mqtt, env) = (free_addr(), free_addr(), free_addr(), vec![variable]);
        let mut gateway = Gateway { native, kafka, mqtt, home, child: None, user: None, env };
        gateway.configure(config);
        gateway.launch();
        gateway
    }

    /// A gateway that may nothing on this machine that not every user may: as root, by becoming nobody. `config` is told its directory.
    pub fn start_unprivileged(config: impl FnOnce(&Gateway) -> String) -> Gateway {
        let home = tempfile::Builder::new().prefix("brooklet-test-").tempdir().unwrap();
        let user = rustix::process::geteuid().is_root().then_some(NOBODY);
        let mut gateway = Gateway {
            native: free_addr(),
            kafka: free_addr(),
            mqtt: free_addr(),
            home,
            child: None,
            user,
            env: Vec::new(),
        };
        if let Some(user) = user {
            // Nobody may get at neither this directory nor where the program lies.
            let program = brooklet().get_program().to_owned();
            fs::hard_link(&program, gateway.program_path())
                .or_else(|_| fs::copy(&program, gateway.program_path()).map(drop))
                .unwrap();
            std::os::unix::fs::chown(gateway.home(), Some(user), Some(user)).unwrap();
        }
        let config = config(&gateway);
        gateway.configure(&config);
        gateway.launch();
        gateway
    }

    /// The program, as the gateway's user.
    pub fn program(&self) -> Command {
        let mut command = brooklet();
        if let Some(user) = self.user {
            command = Command::new(self.program_path());
            command.env_clear().current_dir(self.home()).uid(user).gid(user);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn program_path(&self) -> PathBuf {
        self.home.path().join("brooklet")
    }

    /// Where configuration, log and data are.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Replaces the configuration; it holds from the next [`Gateway::launch`] on.
    pub fn configure(&self, config: &str) {
        fs::write(self.home.path().join("brooklet.toml"), config).unwrap();
    }

    /// Starts the process again after [`Gateway::kill`] or [`Gateway::stop`], on the same data.
    pub fn launch(&mut self) {
        self.begin_launch();
        self.await_answer();
    }

    /// Until it answers on its Kafka port.
    pub fn await_answer(&mut self) {
        wait_for("the gateway to answer on its Kafka port", START, || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the gateway ended: {ended:?}");
            Wire::connect(&self.kafka.to_string()).and_then(|mut wire| wire.api_versions()).ok()
        });
    }

    /// The same, without waiting for an answer.
    pub fn begin_launch(&mut self) {
        assert!(self.child.is_none(), "it is running");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = self
            .program()
            .arg("serve")
            .args(["--config".as_ref(), self.home.path().join("brooklet.toml").as_os_str()])
            .args(["--data".as_ref(), self.data_dir().as_os_str()])
            .args(["--native", &self.native.to_string(), "--kafka", &self.kafka.to_string()])
            .args(["--mqtt", &self.mqtt.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Whether it was started and neither killed nor stopped since.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it is not running").id()
    }

    /// SIGKILL: as near to a power cut as a process can come while the kernel lives on.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it is not running");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the promise that comes with it.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it is not running");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = wait_for("the gateway to end after SIGTERM", STOP, || child.try_wait().unwrap());
        assert!(status.success(), "ended with {status} after SIGTERM");
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Runs another command of the same binary. `--broker` is added.
    pub fn cli(&self, args: &[&str], stdin: &str) -> Output {
        run(brooklet().args(args).args(["--broker", &self.native.to_string()]), stdin.as_bytes())
    }

    /// The same, and it must succeed.
    ///
    /// # Panics
    /// With what it printed, if not.
    pub fn cli_ok(&self, args: &[&str], stdin: &str) -> String {
        expect_ok(&format!("brooklet {}", args.join(" ")), &self.cli(args, stdin))
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("serve.log")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            println!("--- end of the gateway's log");
            tail.iter().rev().for_each(|line| println!("{line}"));
            println!("---");
        }
    }
}

/// The binary under test: the one that cargo built for the tests, or another that the environment names. Without the
/// variables that would configure it.
pub fn brooklet() -> Command {
    let built = || Path::new(env!("CARGO_BIN_EXE_brooklet")).into();
    let mut command = Command::new(env::var_os("BROOKLET_TEST_BINARY").map_or_else(built, PathBuf::from));
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"BROOKLET_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a program to its end with this on its standard input.
pub fn run(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = stdin.to_vec();
    // From a thread of its own: it may print before it has read everything. A program that stops reading shows in its status.
    let writer = thread::spawn(move || {
        let _ = pipe.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub fn expect_ok(what: &str, output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}
