//! Starts the real emulators for tests. Where each one lies is said by `bin/emulators`, which installs what a registry carries;
//! what cannot be had is a skip that is printed, and a failure where skips are forbidden (`PHASE6_NO_SKIPS=1`, as in CI).
//!
//! An emulator's whole life is a [`Running`]: it ends when that is dropped, and also when the test process is killed.

pub mod bigquery;
pub mod pubsub;
pub mod storage;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

/// The variable that names the program fake-gcs-server.
pub const FAKE_GCS_SERVER: &str = "PHASE6_FAKE_GCS_SERVER";
/// The variable that names the program local-bigquery.
pub const LOCAL_BIGQUERY: &str = "PHASE6_LOCAL_BIGQUERY";
/// The variable that names the jar of Google's Pub/Sub emulator; it is run by `java`.
pub const PUBSUB_EMULATOR_JAR: &str = "PHASE6_PUBSUB_EMULATOR_JAR";

/// Says that a test was not run, and why. It is written past the test runner's capture, so that it is seen although the test
/// passes.
///
/// # Panics
/// Where `PHASE6_NO_SKIPS=1` says that everything has to run, and `PHASE6_MAY_SKIP` (names between commas) does not name `what`.
#[track_caller]
pub fn skip(what: &str, reason: &str) {
    let given = |name: &str| std::env::var(name).unwrap_or_default();
    let allowed = may_skip(what, &given("PHASE6_NO_SKIPS"), &given("PHASE6_MAY_SKIP"));
    assert!(allowed, "{what} has to run here (PHASE6_NO_SKIPS=1), but: {reason}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {reason}");
}

fn may_skip(what: &str, no_skips: &str, exceptions: &str) -> bool {
    no_skips != "1" || exceptions.split(',').any(|name| name.trim() == what)
}

/// The file that a variable of `bin/emulators` names: from the environment, else from the list that `bin/emulators` left in
/// its folder, so that a plain `cargo test` finds them too. The error is the reason for a skip.
pub fn find(variable: &str) -> Result<PathBuf, String> {
    let given = std::env::var(variable).ok().filter(|value| !value.is_empty());
    let path = given.or_else(|| setting(variable)).map(PathBuf::from);
    match path {
        None => Err(format!("{variable} is not set; `eval \"$(bin/emulators)\"` sets it, or says why it cannot")),
        Some(path) if !path.is_file() => Err(format!("{variable} names {}, which is no file", path.display())),
        Some(path) => Ok(path),
    }
}

/// A line `NAME=value` of the list in the folder of `bin/emulators`.
fn setting(variable: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder()?.join("settings")).ok()?;
    let of = |line: &str| line.strip_prefix(variable)?.strip_prefix('=').map(str::to_owned);
    text.lines().find_map(of)
}

/// Where `bin/emulators` installs.
fn folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    named("PHASE6_EMULATORS").or_else(|| Some(cache()?.join("phase6-emulators")))
}

/// A port on the loopback address that nobody listens on now. Another process may take it before its user does; see
/// [`Running::start`], which then takes another one.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback address has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Whether `GET path` on a port of the loopback address is answered with 2xx: for [`Running::start`].
pub fn answers(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.starts_with(b"HTTP/1.") && status[9] == b'2')
    };
    ask().unwrap_or(false)
}

/// A server that a test has started. Dropping it kills it; when the test fails meanwhile, the end of its log is shown.
#[derive(Debug)]
pub struct Running {
    name: String,
    port: u16,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts the server that `command` makes for a port, and waits until `ready` says that it answers there. Blocks.
    ///
    /// A server that ends before it is ready is tried once more on another port: the first may have been taken meanwhile.
    pub fn start(
        name: &str,
        command: impl Fn(u16) -> Command,
        ready: impl Fn(u16) -> bool,
        within: Duration,
    ) -> Result<Self, String> {
        let first = free_port();
        match Self::start_at(name, first, command(first), || ready(first), within) {
            Err(Failed { ended: true, .. }) => {
                let second = free_port();
                Self::start_at(name, second, command(second), || ready(second), within).map_err(|f| f.reason)
            }
            other => other.map_err(|f| f.reason),
        }
    }

    fn start_at(
        name: &str,
        port: u16,
        mut command: Command,
        ready: impl Fn() -> bool,
        within: Duration,
    ) -> Result<Self, Failed> {
        let failed = |what: &str, ended| Failed { reason: format!("{name} on port {port} {what}"), ended };
        let log = log_file(name);
        let file =
            |log: &Path| File::create(log).map_err(|e| failed(&format!("has no log {}: {e}", log.display()), false));
        let out = file(&log)?;
        let err = out.try_clone().map_err(|e| failed(&format!("has no log: {e}"), false))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = spawn(command).map_err(|e| failed(&format!("does not start: {e}"), false))?;
        let mut running = Self { name: name.to_owned(), port, child, log };
        let begun = Instant::now();
        while !ready() {
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(failed(&format!("ended ({status}) before it was ready:\n{}", running.log_end()), true));
            }
            if begun.elapsed() > within {
                return Err(failed(&format!("is not ready after {within:?}:\n{}", running.log_end()), false));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(running)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        // The Pub/Sub emulator says two lines about each header of each request.
        let noise = |line: &&str| line.contains("orwarding key: ") || line.ends_with("StubMethodHandler handle");
        let lines: Vec<&str> = log.lines().filter(|line| !noise(line)).collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// `kill -9`, and its end.
    pub fn kill(&mut self) -> std::io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            eprintln!("--- the end of {}'s log:\n{}\n---", self.name, self.log_end());
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

struct Failed {
    reason: String,
    /// It ended by itself, as a server does whose port is taken.
    ended: bool,
}

fn log_file(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let n = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("phase6-test-{}-{n}-{name}.log", std::process::id()))
}

/// Starts a process that is killed when the test process ends, however that comes about (on Linux; elsewhere it stays).
///
/// The kernel ties the child to the *thread* that started it, and each test has a thread of its own; so one thread that lives
/// as long as the process starts them all.
pub fn spawn(command: Command) -> std::io::Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                die_with_parent(&mut command);
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    let (answer, child) = mpsc::channel();
    STARTER.lock().map_err(|_| gone())?.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let tie = || Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?);
    // SAFETY: between fork and exec it makes one system call and touches no memory of the parent.
    unsafe { command.pre_exec(tie) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

#[cfg(test)]
mod tests;
