//! What the tests work with: the binary, a folder, a network namespace, a daemon in it. All of it goes away by itself.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Why a test cannot run here, if so.
pub fn missing(root: bool) -> Option<&'static str> {
    if !root {
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return Some("needs the Debian package iproute2");
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun");
    }
    None
}

/// The binary with arguments, without a terminal.
pub fn adit(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adit")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What a program printed to both.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// An example's configuration.
pub fn example(name: &str) -> String {
    format!("{}/../../examples/lan-to-lan/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A program that has to succeed; what it printed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {}: {}", arguments.join(" "), text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder of its own.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("adit-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file for its owner alone.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.file(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A host of its own: a network namespace with the head office's interfaces, both without anybody at the other end.
pub struct Host {
    name: String,
    pub folder: Folder,
}

impl Host {
    pub fn new() -> Self {
        let name = format!("adit-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let host = Self { name, folder: Folder::new() };
        run("ip", &["netns", "add", &host.name]);
        host.ip("link set lo up");
        for (interface, address) in [("lan", "172.16.1.1/24"), ("wan", "198.51.100.1/24")] {
            host.ip(&format!("link add {interface} type veth peer name {interface}-end"));
            host.ip(&format!("link set {interface} up"));
            host.ip(&format!("link set {interface}-end up"));
            host.ip(&format!("addr add {address} dev {interface}"));
        }
        host.ip("route add default via 198.51.100.254");
        host
    }

    /// `ip` in the namespace.
    pub fn ip(&self, arguments: &str) -> String {
        let all: Vec<&str> = ["-n", &self.name].into_iter().chain(arguments.split(' ')).collect();
        run("ip", &all)
    }

    /// Connects a new interface with a new one of another host.
    pub fn wire_to(&self, other: &Self, interface: &str, other_interface: &str) {
        self.ip(&format!("link add {interface} type veth peer name {other_interface} netns {}", other.name));
        self.ip(&format!("link set {interface} up"));
        other.ip(&format!("link set {other_interface} up"));
    }

    /// Does something of this process in the namespace: what it opens there stays there.
    pub fn enter<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.enter_in_background(work).join().unwrap()
    }

    /// The same without waiting for it.
    pub fn enter_in_background<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
        // A namespace is the thread's alone, and ends with it.
        std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }

    /// A program in the namespace.
    pub fn exec(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(arguments).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// A program in the namespace that goes on until the value is dropped.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Running {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(arguments);
        Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub fn control(&self) -> String {
        self.folder.file("control.sock")
    }

    /// A gateway command.
    pub fn cli(&self, words: &[&str]) -> Output {
        let control = self.control();
        let all: Vec<&str> = ["cli", "--control", &control].into_iter().chain(words.iter().copied()).collect();
        adit(&all)
    }

    /// Routes that bear our mark.
    pub fn own_routes(&self) -> String {
        self.ip("route show proto 86")
    }

    pub fn has_tun(&self) -> bool {
        self.ip("-br link").contains("adit0")
    }

    /// Starts a gateway and waits until it is ready.
    pub fn start(&self, configuration: &str) -> Daemon {
        let log = self.folder.file("log");
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let before = fs::metadata(&log).unwrap().len();
        let mut gateway = self.gateway(configuration);
        let child = gateway.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        let mut daemon = Daemon { child, log, before: usize::try_from(before).unwrap() };
        wait_until("the gateway is ready", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the gateway ended: {}", daemon.log());
            daemon.log().contains("\nadit ready") || daemon.log().starts_with("adit ready")
        });
        daemon
    }

    /// Starts a gateway whose log goes into a pipe that is read until it is ready and never again.
    pub fn start_into_a_pipe(&self, configuration: &str) -> (Daemon, BufReader<ChildStdout>) {
        let mut child = self.gateway(configuration).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut log = BufReader::with_capacity(1, child.stdout.take().unwrap());
        let daemon = Daemon { child, log: String::new(), before: 0 };
        let mut line = String::new();
        while !line.starts_with("adit ready") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the gateway ended");
        }
        (daemon, log)
    }

    fn gateway(&self, configuration: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_adit"), "run", configuration])
            .args(["--control", &self.control()])
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// A program that goes on in the background.
pub struct Running(Child);

impl Running {
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running gateway.
pub struct Daemon {
    child: Child,
    log: String,
    before: usize,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap().get(self.before..).unwrap_or_default().to_owned()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it SIGHUP.
    pub fn hang_up(&self) {
        run("kill", &["-HUP", &self.pid().to_string()]);
    }

    /// Ends it in good order.
    pub fn terminate(mut self) -> ExitStatus {
        run("kill", &["-TERM", &self.pid().to_string()]);
        let mut status = None;
        wait_until("the gateway has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
