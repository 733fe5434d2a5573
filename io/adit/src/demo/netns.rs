//! The story with two real daemons, the kernel's TCP and network namespaces. Everything that is made is named after this
//! process and goes away with it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, RawProtocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sim::IkeGlance;

use super::{Delivery, Echoes, Office, Stage, echo, tcp};
use crate::client::Session;
use crate::console;
use crate::exit::Exit;
use crate::signals::Signals;

/// How long a gateway may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(10);
const TCP_PORT: u16 = 5_001;
/// Ethernet protocol number of IPv4.
const ETH_P_IP: u16 = 0x0800;

/// The namespaces: two hosts, two gateways, and the internet between them.
const NODES: [&str; 5] = ["hq-host", "hq", "internet", "branch", "branch-host"];
/// node, interface, address, node, interface, address
const LINKS: [[&str; 6]; 4] = [
    ["hq-host", "eth0", "172.16.1.10/24", "hq", "lan", "172.16.1.1/24"],
    ["hq", "wan", "198.51.100.1/24", "internet", "to-hq", "198.51.100.254/24"],
    ["branch", "wan", "203.0.113.1/24", "internet", "to-branch", "203.0.113.254/24"],
    ["branch-host", "eth0", "192.168.11.10/24", "branch", "lan", "192.168.11.1/24"],
];
const DEFAULT_ROUTES: [[&str; 2]; 4] =
    [["hq-host", "172.16.1.1"], ["hq", "198.51.100.254"], ["branch", "203.0.113.254"], ["branch-host", "192.168.11.1"]];

/// Two offices in namespaces.
pub struct Namespaces {
    prefix: String,
    folder: PathBuf,
    hq: Gateway,
    branch: Gateway,
    sniffer: OwnedFd,
    signals: Signals,
    _guard: Guard,
}

/// A daemon.
struct Gateway {
    child: Child,
    log: File,
    control: PathBuf,
    rest: String,
}

/// Takes down what was built, however far that got.
struct Guard {
    prefix: String,
    folder: PathBuf,
}

impl Namespaces {
    /// Builds the namespaces and starts the gateways.
    pub fn build() -> Result<Self, Exit> {
        if !rustix::process::geteuid().is_root() {
            return Err(Exit::failed(
                "demo --netns makes network namespaces, which only root may; without --netns it needs no privileges",
            ));
        }
        // Ctrl-C must not leave namespaces behind.
        let signals = Signals::take_over().map_err(|error| Exit::failed(format!("signals: {error}")))?;
        let prefix = format!("adit-demo-{}-", std::process::id());
        let folder = std::env::temp_dir().join(format!("adit-demo-{}", std::process::id()));
        let guard = Guard { prefix: prefix.clone(), folder: folder.clone() };
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| Exit::failed(format!("{}: {error}", folder.display())))?;
        build_network(&prefix)?;
        let sniffer = in_namespace(&prefix, "internet", sniffer)?;
        let hq = Gateway::start(&prefix, "hq", &folder, "head-office.adit", sim::HEAD_OFFICE)?;
        let branch = Gateway::start(&prefix, "branch", &folder, "branch.adit", sim::BRANCH)?;
        let mut stage = Self { prefix, folder, hq, branch, sniffer, signals, _guard: guard };
        stage.hq.wait_until_ready(&mut stage.signals)?;
        stage.branch.wait_until_ready(&mut stage.signals)?;
        Ok(stage)
    }

    fn host(office: Office) -> &'static str {
        match office {
            Office::Head => "hq-host",
            Office::Branch => "branch-host",
        }
    }

    /// Runs something in a namespace, unless the operator wants to stop.
    fn run<T: Send + 'static>(
        &mut self,
        node: &'static str,
        work: impl FnOnce() -> Result<T, Exit> + Send + 'static,
    ) -> Result<T, Exit> {
        let result = in_namespace(&self.prefix, node, work)?;
        heed(&mut self.signals)?;
        Ok(result)
    }
}

impl Stage for Namespaces {
    fn describe(&self) -> &'static str {
        "Here they are\nnetwork namespaces of this machine, and each gateway is an `adit run` of its own."
    }

    fn transfer_size(&self) -> u64 {
        32 << 20
    }

    fn ping(&mut self, from: Office, count: u32) -> Result<Echoes, Exit> {
        let to: Ipv4Addr = from.other().host().parse().map_err(Exit::failed)?;
        self.run(Self::host(from), move || echo::ping(to, count, Duration::from_millis(200)))
    }

    fn transfer(&mut self, from: Office, bytes: u64) -> Result<Delivery, Exit> {
        let failed = |error: io::Error| Exit::failed(format!("the transfer failed: {error}"));
        let ip: Ipv4Addr = from.other().host().parse().map_err(Exit::failed)?;
        let to = SocketAddr::from((ip, TCP_PORT));
        let listener = self.run(Self::host(from.other()), move || TcpListener::bind(to).map_err(failed))?;
        let receiver = std::thread::spawn(move || tcp::receive(&listener));
        let sent = self.run(Self::host(from), move || tcp::send(to, bytes).map_err(failed))?;
        let received = receiver.join().map_err(|_| Exit::failed("the receiver of a transfer broke down"))?;
        let (took, bytes, received) = received.map_err(failed)?;
        Ok(Delivery { bytes, took, sent, received })
    }

    fn command(&mut self, line: &str) -> Result<String, Exit> {
        heed(&mut self.signals)?;
        let output = Command::new(own_binary()?)
            .arg("cli")
            .arg("--control")
            .arg(&self.hq.control)
            .arg(line)
            .output()
            .map_err(|error| Exit::failed(format!("adit cli: {error}")))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn log(&mut self, office: Office) -> Result<Vec<String>, Exit> {
        match office {
            Office::Head => self.hq.news(),
            Office::Branch => self.branch.news(),
        }
    }

    fn wire(&mut self) -> Result<Vec<Vec<u8>>, Exit> {
        let mut packets = Vec::new();
        let mut packet = [0; 2_048];
        while let Ok((size, _)) = recv(&self.sniffer, packet.as_mut_slice(), RecvFlags::DONTWAIT) {
            let packet = packet.get(..size).unwrap_or_default();
            // There may be many: of what is not IKE the header is enough.
            let kept = if IkeGlance::at(packet).is_some() { size } else { 20 };
            packets.push(packet.get(..kept).unwrap_or(packet).to_vec());
        }
        Ok(packets)
    }

    fn console(&mut self) -> Result<(), Exit> {
        let stream = UnixStream::connect(&self.hq.control)
            .map_err(|error| Exit::failed(format!("the head office's gateway does not answer: {error}")))?;
        console::interact(Session::new(stream)?)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for gateway in [&mut self.hq, &mut self.branch] {
            gateway.stop();
        }
        debug_assert!(self.folder.exists(), "the guard clears the folder away after this");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for node in NODES {
            // One that was not made cannot be deleted.
            let _ = Command::new("ip")
                .args(["netns", "del", &format!("{}{node}", self.prefix)])
                .stderr(Stdio::null())
                .status();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Gateway {
    fn start(prefix: &str, node: &str, folder: &Path, file: &str, text: &str) -> Result<Self, Exit> {
        let failed = |error: io::Error| Exit::failed(format!("the gateway {node} cannot be started: {error}"));
        let configuration = folder.join(file);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&configuration)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(failed)?;
        let log = folder.join(format!("{node}.log"));
        let control = folder.join(format!("{node}.sock"));
        let output = File::create_new(&log).map_err(failed)?;
        let child = Command::new("ip")
            .args(["netns", "exec", &format!("{prefix}{node}")])
            .arg(own_binary()?)
            .arg("run")
            .arg(configuration)
            .arg("--control")
            .arg(&control)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            // The terminal's Ctrl-C is for the demo alone.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        Ok(Self { child, log: File::open(log).map_err(failed)?, control, rest: String::new() })
    }

    fn wait_until_ready(&mut self, signals: &mut Signals) -> Result<(), Exit> {
        let started = Instant::now();
        let mut said = Vec::new();
        loop {
            said.extend(self.news()?);
            if said.iter().any(|line| line.starts_with("adit ready")) {
                return Ok(());
            }
            let ended = !matches!(self.child.try_wait(), Ok(None));
            if ended || started.elapsed() > PATIENCE {
                return Err(Exit::failed(format!("a gateway did not start; it said:\n{}", said.join("\n"))));
            }
            heed(signals)?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The whole lines that were added to the log.
    fn news(&mut self) -> Result<Vec<String>, Exit> {
        let place = self.log.stream_position();
        place
            .and_then(|place| self.log.seek(SeekFrom::Start(place)))
            .and_then(|_| self.log.read_to_string(&mut self.rest))
            .map_err(|error| Exit::failed(format!("a gateway's log: {error}")))?;
        let whole = self.rest.rfind('\n').map_or(0, |end| end + 1);
        Ok(self.rest.drain(..whole).collect::<String>().lines().map(str::to_owned).collect())
    }

    fn stop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

fn heed(signals: &mut Signals) -> Result<(), Exit> {
    match signals.next() {
        Some(signal) => Err(Exit::failed(format!("stopped by {}", signal.name()))),
        None => Ok(()),
    }
}

fn own_binary() -> Result<PathBuf, Exit> {
    std::env::current_exe().map_err(|error| Exit::failed(format!("this program cannot find itself: {error}")))
}

fn build_network(prefix: &str) -> Result<(), Exit> {
    let name = |node: &str| format!("{prefix}{node}");
    for node in NODES {
        ip(&["netns", "add", &name(node)])?;
        ip(&["-n", &name(node), "link", "set", "lo", "up"])?;
    }
    for [a, a_interface, a_address, b, b_interface, b_address] in LINKS {
        let (a, b) = (name(a), name(b));
        ip(&["link", "add", a_interface, "netns", &a, "type", "veth", "peer", "name", b_interface, "netns", &b])?;
        for (node, interface, address) in [(&a, a_interface, a_address), (&b, b_interface, b_address)] {
            ip(&["-n", node, "addr", "add", address, "dev", interface])?;
            ip(&["-n", node, "link", "set", interface, "up"])?;
        }
    }
    for [node, gateway] in DEFAULT_ROUTES {
        ip(&["-n", &name(node), "route", "add", "default", "via", gateway])?;
    }
    in_namespace(prefix, "internet", || {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .map_err(|error| Exit::failed(format!("net.ipv4.ip_forward: {error}")))
    })
}

fn ip(arguments: &[&str]) -> Result<(), Exit> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| Exit::failed(format!("the program ip (package iproute2) cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Exit::failed(format!("ip {}: {error}", arguments.join(" "))))
}

/// Runs `work` on a thread of its own in a namespace; sockets that it opens stay there.
fn in_namespace<T: Send + 'static>(
    prefix: &str,
    node: &str,
    work: impl FnOnce() -> Result<T, Exit> + Send + 'static,
) -> Result<T, Exit> {
    let path = format!("/run/netns/{prefix}{node}");
    let thread = std::thread::spawn(move || {
        let namespace = File::open(&path).map_err(|error| Exit::failed(format!("{path}: {error}")))?;
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))
            .map_err(|error| Exit::failed(format!("{path}: {error}")))?;
        work()
    });
    thread.join().map_err(|_| Exit::failed("a thread of the demo broke down"))?
}

/// A packet socket that sees what the internet's router receives, from either side. The kernel shows packets that leave
/// only to those who ask for every protocol.
fn sniffer() -> Result<OwnedFd, Exit> {
    let failed = |error: rustix::io::Errno| Exit::failed(format!("packet socket: {error}"));
    let protocol = RawProtocol::new(u32::from(ETH_P_IP.to_be())).map(Protocol::from_raw);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, protocol).map_err(failed)?;
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20);
    Ok(socket)
}
