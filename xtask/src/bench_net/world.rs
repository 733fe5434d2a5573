//! The namespaces of one row, the programs in them, and their end.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Setting;
use super::contenders::Contender;
use crate::command;
use crate::report::Outcome;

/// Address of the host that is sent to.
pub const FAR_HOST: &str = "192.168.11.10";
/// Address of the host that sends.
pub const NEAR_HOST: &str = "172.16.1.10";
/// Exit status of a contender's script that cannot run here; its last line says why.
const CANNOT_RUN: i32 = 77;
/// The nice value of what is preferred.
const PREFERRED: &str = "-10";
/// How long a contender may take to bring its tunnel up.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(5);

/// Asks the scheduler to prefer a process with its threads, and what it will start, to other programs. With autogroups
/// (sched(7)) that is said of its session: nice values count only within one, and those are left as they are.
pub fn prefer(process: &str) -> Result<(), String> {
    let grouped = fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled");
    if grouped.is_ok_and(|enabled| enabled.trim() == "1") {
        let group = Path::new("/proc").join(process).join("autogroup");
        return fs::write(&group, PREFERRED).map_err(|error| format!("{}: {error}", group.display()));
    }
    let tasks = Path::new("/proc").join(process).join("task");
    for task in fs::read_dir(&tasks).map_err(|error| format!("{}: {error}", tasks.display()))?.flatten() {
        let number = task.file_name().to_string_lossy().into_owned();
        command::output_of("renice", &["-n", PREFERRED, "-p", &number])
            .ok_or_else(|| format!("renice cannot set {number} to {PREFERRED}"))?;
    }
    Ok(())
}

/// Namespaces and files; gone when dropped.
pub struct World {
    root: PathBuf,
    prefix: String,
    state: PathBuf,
    /// Takes everything down when its standard input ends: when we drop it, or when we die, however we do.
    guard: Child,
}

impl World {
    /// Builds the namespaces.
    pub fn build(root: &Path, setting: Setting) -> Result<Self, String> {
        let prefix = format!("adit-bench-{}-", std::process::id());
        // Paths of sockets are short: not below the workspace, which may be deep.
        let state = std::env::temp_dir().join(prefix.trim_end_matches('-'));
        let _ = fs::remove_dir_all(&state);
        DirBuilder::new().mode(0o700).create(&state).map_err(|error| format!("{}: {error}", state.display()))?;
        let topology = root.join("bench/net/topology.sh");
        let guard = Command::new("bash")
            .args(["-c", "cat >/dev/null; \"$0\" down; rm -rf \"$1\""])
            .args([&topology, &state])
            .env("LAB_PREFIX", &prefix)
            .stdin(Stdio::piped())
            // Ctrl-C at the terminal is for us, not for it.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("bash: {error}"))?;
        let world = Self { root: root.to_owned(), prefix, state, guard };
        let mut up = Command::new(&topology);
        up.args(["up", setting.name()]).env("LAB_PREFIX", &world.prefix);
        match command::run(&mut up, &world.file("topology.log"), START_LIMIT) {
            Ok(finished) if finished.success => Ok(world),
            Ok(finished) => Err(format!("{}\n{}", topology.display(), finished.output)),
            Err(error) => Err(format!("{}: {error}", topology.display())),
        }
    }

    /// Brings a contender's tunnel up.
    pub fn start(&self, contender: &Contender, binary: &Path) -> Result<(), Outcome> {
        let mut script = Command::new(self.root.join("bench/net").join(contender.script));
        script.args(contender.arguments).env("ADIT", binary);
        script.env("LAB_PREFIX", &self.prefix).env("LAB_STATE", &self.state);
        match command::run(&mut script, &self.file("script.log"), START_LIMIT) {
            Ok(finished) if finished.success => Ok(()),
            Ok(finished) if finished.status == Some(CANNOT_RUN) => {
                let reason = finished.output.lines().last().unwrap_or("it does not say why");
                Err(Outcome::Skipped(reason.to_owned()))
            }
            Ok(finished) => Err(Outcome::Failed(command::tail(&finished.output, 40))),
            Err(error) => Err(Outcome::Failed(format!("{}: {error}", contender.script))),
        }
    }

    /// Prefers what runs at the gateways: it may have sessions of its own.
    pub fn prefer_gateways(&self) -> Result<(), String> {
        for node in ["gw-a", "gw-b"] {
            let list = command::output_of("ip", &["netns", "pids", &format!("{}{node}", self.prefix)]);
            for process in list.unwrap_or_default().lines() {
                prefer(process.trim())?;
            }
        }
        Ok(())
    }

    /// A program in a node. It is the process itself, not a child of it.
    pub fn node(&self, node: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}{node}", self.prefix), program]);
        command
    }

    /// A file of this row.
    pub fn file(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// An iperf3 server at the far host, for one measurement.
    pub fn server(&self) -> Result<Background, String> {
        let mut server = self.node("lan-b", "iperf3");
        server.args(["-s", "-1", "-B", FAR_HOST]);
        let server = Background::spawn(&mut server)?;
        // Port 5201, state LISTEN.
        let listens = || {
            let mut look = self.node("lan-b", "grep");
            look.args(["-q", ":1451 .* 0A ", "/proc/net/tcp"]);
            look.status().is_ok_and(|status| status.success())
        };
        let end = Instant::now() + LISTEN_LIMIT;
        while !listens() {
            if Instant::now() > end {
                return Err("iperf3 does not listen at the far host".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A program that is ended when it is no longer needed.
pub struct Background(Child);

impl Background {
    /// Starts it, silent.
    pub fn spawn(command: &mut Command) -> Result<Self, String> {
        let name = command.get_args().nth(3).unwrap_or(command.get_program()).to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(|error| format!("{name}: {error}"))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
