//! The host that a gateway runs on: a kernel with interfaces and routes around a [`Device`], as the daemon is on Linux.
//!
//! What the kernel does with a packet:
//!
//! ```text
//! for one of our addresses: UDP 500 and 4500 -> Input::Datagram      protocol 50 -> Input::Esp
//!                           echo request     -> the kernel answers   anything else ends
//! for somebody else:        a network of the last Action::Routes -> Input::Plain, as through a TUN device
//!                           any other, by the kernel's routes
//! ```
//!
//! Disks write at once. A name server answers after [`JOB_TIME`] what [`GatewayHost::name`] told it; a probe of a host over
//! an interface is answered as [`GatewayHost::answering`] says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use base::{Buffer, Duration, Instant, Now, Random, Record, UnixTime};
use engine::{HostRoute, Job, JobKind, JobResult, Resolved, Ticket};
use manage::{Action, ClientId, Device, Done, Input};
use objects::HostInterface;

use crate::interface::Interface;
use crate::kernel::{Kernel, Outbox};
use crate::packet::{ESP, Header, UDP, build_udp, count_hop, open_udp};

/// How long a job takes.
const JOB_TIME: Duration = Duration::from_millis(20);
/// Steps within one event, after which a gateway is taken to be running in circles.
const STEPS_MAX: u32 = 100_000;
/// Log records kept; older ones are forgotten.
const LOG_MAX: usize = 100_000;

/// Text for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The text.
    pub text: String,
    /// Nothing more comes for this line.
    pub done: Option<Done>,
}

/// What could stand at the cursor of an operator who pressed TAB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// Where the word that is completed begins, in bytes.
    pub start: usize,
    /// Each candidate's text and a few words about it.
    pub candidates: Vec<(String, String)>,
    /// A hint to print when no candidate fits, or beside them.
    pub hint: Option<String>,
}

/// A gateway and the host around it.
pub struct GatewayHost {
    pub(crate) kernel: Kernel,
    /// `None` while the host is switched off.
    device: Option<Device>,
    seeds: Random,
    file: String,
    text: String,
    /// How far the wall clock is wrong, in microseconds.
    clock_error: i64,
    routes: Vec<HostRoute>,
    log: VecDeque<(Instant, Record)>,
    replies: BTreeMap<ClientId, VecDeque<Reply>>,
    candidates: BTreeMap<ClientId, Candidates>,
    is_down: bool,
    digest: u64,
    recording: Option<Vec<u8>>,
    to_itself: u64,
    /// Addresses of names, and for how many seconds they are good; `None`: the name server is silent about them.
    names: BTreeMap<String, Option<(Vec<IpAddr>, u64)>>,
    /// Hosts that do not answer probes.
    silent: BTreeSet<IpAddr>,
    /// What comes of jobs, and when.
    jobs: BTreeMap<(Instant, Ticket), JobResult>,
    /// Names that have been asked for.
    asked: Vec<String>,
}

impl GatewayHost {
    pub(crate) fn new(name: &str, interfaces: Vec<Interface>, file: &str, text: &str, seeds: Random) -> Self {
        Self {
            kernel: Kernel::new(name, interfaces),
            device: None,
            seeds,
            file: file.into(),
            text: text.into(),
            clock_error: 0,
            routes: Vec::new(),
            log: VecDeque::new(),
            replies: BTreeMap::new(),
            candidates: BTreeMap::new(),
            is_down: false,
            digest: 0xcbf2_9ce4_8422_2325,
            recording: None,
            to_itself: 0,
            names: BTreeMap::new(),
            silent: BTreeSet::new(),
            jobs: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// The device, while the host is switched on.
    pub fn device(&self) -> Option<&Device> {
        self.device.as_ref()
    }

    /// The networks that the kernel routes to the gateway.
    pub fn routes(&self) -> &[HostRoute] {
        &self.routes
    }

    /// The log, oldest first.
    pub fn log(&self) -> impl DoubleEndedIterator<Item = &(Instant, Record)> {
        self.log.iter()
    }

    /// How often an event of this name has been logged.
    pub fn logged(&self, name: &str) -> usize {
        self.log.iter().filter(|(_, record)| record.meta.name == name).count()
    }

    /// The configuration that survives a power cut.
    pub fn stored(&self) -> &str {
        &self.text
    }

    /// The gateway has said that it is down, and everything with it.
    pub fn is_down(&self) -> bool {
        self.is_down
    }

    /// Packets that came out of a tunnel for this host's own addresses.
    pub fn to_itself(&self) -> u64 {
        self.to_itself
    }

    /// A number that changes with every byte of every action (FNV-1a).
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Keeps every action from now on.
    pub fn record(&mut self) -> &mut Self {
        self.recording = Some(Vec::new());
        self
    }

    /// Every action since [`record`](Self::record), with its time, as bytes.
    pub fn recorded(&self) -> &[u8] {
        self.recording.as_deref().unwrap_or_default()
    }

    /// Moves the wall clock; the monotonic one goes on as before.
    pub fn turn_clock(&mut self, seconds: i64) -> &mut Self {
        self.clock_error = self.clock_error.saturating_add(seconds.saturating_mul(1_000_000));
        self
    }

    /// From now on the name has these addresses, for so many seconds each time it is asked for.
    pub fn name(&mut self, name: &str, addresses: &[&str], ttl: u64) -> &mut Self {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        self.names.insert(name.to_owned(), Some((addresses, ttl)));
        self
    }

    /// From now on the name server says nothing about the name.
    pub fn silence(&mut self, name: &str) -> &mut Self {
        self.names.insert(name.to_owned(), None);
        self
    }

    /// Whether a host answers probes over the kernel's interfaces; all do unless told.
    pub fn answering(&mut self, host: IpAddr, answers: bool) -> &mut Self {
        if answers {
            self.silent.remove(&host);
        } else {
            self.silent.insert(host);
        }
        self
    }

    /// The names that have been asked for, oldest first.
    pub fn asked(&self) -> &[String] {
        &self.asked
    }

    /// What has been said to an operator since the last look.
    pub(crate) fn take_replies(&mut self, client: ClientId) -> Vec<Reply> {
        self.replies.remove(&client).unwrap_or_default().into()
    }

    /// What could stand at an operator's cursor.
    pub(crate) fn take_candidates(&mut self, client: ClientId) -> Option<Candidates> {
        self.candidates.remove(&client)
    }

    /// Switches the host on: a gateway that remembers nothing but its stored configuration.
    pub(crate) fn start(&mut self, now: Now, out: &mut Outbox) {
        let mut seed = [0; 32];
        self.seeds.fill(&mut seed);
        let interfaces = self.kernel.interfaces.iter().map(host_interface).collect();
        let clock = self.clock(now);
        let device = Device::new(seed, clock, interfaces, &self.text);
        let (device, _warnings) = device.unwrap_or_else(|problems| {
            let problems: Vec<_> = problems.iter().map(|problem| problem.to_string()).collect();
            panic!("{} has errors:\n{}", self.file, problems.join("\n"))
        });
        self.device = Some(device);
        self.is_down = false;
        self.step(now, Input::Gateway(engine::Input::Deadline), out);
    }

    /// Cuts the power: nobody is told.
    pub(crate) fn stop(&mut self) {
        self.device = None;
        self.jobs.clear();
        self.routes.clear();
        self.replies.clear();
        self.candidates.clear();
    }

    pub(crate) fn receive(&mut self, now: Now, mut packet: Vec<u8>, out: &mut Outbox) {
        if self.device.is_none() {
            return;
        }
        let Some(header) = self.kernel.admit(&mut packet) else { return };
        let mut inputs = VecDeque::new();
        if self.kernel.owns(header.destination) {
            let Some((header, packet)) = self.kernel.deliver(now.mono, &header, packet) else { return };
            self.demultiplex(&header, &packet, &mut inputs, out);
        } else {
            self.forward(&header, packet, &mut inputs, out);
        }
        self.steps(now, inputs, out);
    }

    pub(crate) fn wake(&mut self, now: Now, out: &mut Outbox) {
        let mut inputs = VecDeque::new();
        while let Some(job) = self.jobs.first_entry().filter(|job| job.key().0 <= now.mono) {
            let ((_, ticket), result) = job.remove_entry();
            inputs.push_back(Input::Gateway(engine::Input::Finished { ticket, result }));
        }
        inputs.push_back(Input::Gateway(engine::Input::Deadline));
        self.steps(now, inputs, out);
        let overdue = self.device.as_ref().and_then(Device::next_deadline).filter(|(at, _)| *at <= now.mono);
        if let Some((at, why)) = overdue {
            panic!("{} wants waking at {at} ({why}), but has just been woken at {}", self.kernel.name, now.mono);
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let device = self.device.as_ref().and_then(Device::next_deadline).map(|(at, _)| at);
        device.into_iter().chain(self.jobs.keys().next().map(|(at, _)| *at)).min()
    }

    /// Gives the gateway an input, and the inputs that follow from it.
    pub(crate) fn step(&mut self, now: Now, input: Input, out: &mut Outbox) {
        self.steps(now, VecDeque::from([input]), out);
    }

    fn steps(&mut self, now: Now, mut inputs: VecDeque<Input>, out: &mut Outbox) {
        let clock = self.clock(now);
        let mut actions = Vec::new();
        let mut steps = 0;
        while let Some(input) = inputs.pop_front() {
            let Some(device) = &mut self.device else { return };
            device.step(clock, input, &mut actions);
            steps += 1;
            assert!(steps < STEPS_MAX, "{} runs in circles at {}", self.kernel.name, now.mono);
            for action in actions.drain(..) {
                self.note(now.mono, &action);
                self.act(now.mono, action, &mut inputs, out);
            }
        }
    }

    /// Does what the gateway wants done.
    fn act(&mut self, at: Instant, action: Action, inputs: &mut VecDeque<Input>, out: &mut Outbox) {
        match action {
            Action::Gateway(engine::Action::Plain(packet)) => {
                let mut packet = packet.bytes().to_vec();
                let Some(header) = self.kernel.admit(&mut packet) else { return };
                if self.kernel.owns(header.destination) {
                    self.to_itself += 1;
                } else {
                    self.forward(&header, packet, inputs, out);
                }
            }
            Action::Gateway(engine::Action::Datagram { local, remote, ds, payload }) => {
                let Some(source) = self.source(local.ip(), remote.ip()) else { return };
                let datagram = build_udp(SocketAddr::new(source, local.port()), remote, payload.bytes());
                self.kernel.originate((source, remote.ip()), UDP, ds, &datagram, out);
            }
            Action::Gateway(engine::Action::Esp { local, remote, ds, payload }) => {
                let Some(source) = self.source(local, remote) else { return };
                self.kernel.originate((source, remote), ESP, ds, payload.bytes(), out);
            }
            Action::Gateway(engine::Action::Start(job)) => self.start_job(at, job),
            Action::Gateway(engine::Action::Routes(routes)) => self.routes = routes,
            Action::Gateway(engine::Action::Log(record)) => {
                if self.log.len() == LOG_MAX {
                    self.log.pop_front();
                }
                self.log.push_back((at, record));
            }
            // This machine has no network card that the gateway could own.
            Action::Gateway(
                engine::Action::Ports(_)
                | engine::Action::Frame { .. }
                | engine::Action::Filter { .. }
                | engine::Action::Lease { .. },
            ) => {}
            Action::Gateway(engine::Action::Down) => self.is_down = true,
            Action::Reply { client, text, done } => {
                self.replies.entry(client).or_default().push_back(Reply { text, done });
            }
            Action::Candidates { client, start, candidates, hint } => {
                self.candidates.insert(client, Candidates { start, candidates, hint });
            }
            Action::Store { ticket, text } => {
                self.text = text;
                inputs.push_back(Input::Stored { ticket, result: Ok(()) });
            }
        }
    }

    /// Begins a job whose outcome is known already.
    fn start_job(&mut self, at: Instant, Job { ticket, kind, time }: Job) {
        let (result, takes) = match kind {
            JobKind::Resolve { name } => {
                let known = self.names.get(&name).cloned();
                self.asked.push(name);
                match known {
                    Some(Some((addresses, ttl))) => {
                        let of = |v4: bool| {
                            let addresses = addresses.iter().filter(|address| address.is_ipv4() == v4).copied();
                            Ok(Resolved { addresses: addresses.collect(), ttl: Some(Duration::from_secs(ttl)) })
                        };
                        (JobResult::Resolved { v4: of(true), v6: of(false) }, JOB_TIME)
                    }
                    Some(None) => {
                        let silent = || Err("no name server answers".to_owned());
                        (JobResult::Resolved { v4: silent(), v6: silent() }, time)
                    }
                    None => {
                        let nothing = || Ok(Resolved::default());
                        (JobResult::Resolved { v4: nothing(), v6: nothing() }, JOB_TIME)
                    }
                }
            }
            JobKind::Probe(probe) if self.silent.contains(&probe.target) => {
                (JobResult::Probed(Err("no answer".to_owned())), time)
            }
            JobKind::Probe(_) => (JobResult::Probed(Ok(JOB_TIME)), JOB_TIME),
        };
        self.jobs.insert((at + takes, ticket), result);
    }

    /// What a packet for one of our addresses is to the gateway.
    fn demultiplex(&mut self, header: &Header, packet: &[u8], inputs: &mut VecDeque<Input>, out: &mut Outbox) {
        let Header { source, destination, ds, .. } = *header;
        match header.protocol {
            UDP => {
                let Some((from, to @ (500 | 4500), payload)) = open_udp(header, packet) else { return };
                inputs.push_back(Input::Gateway(engine::Input::Datagram {
                    local: SocketAddr::new(destination, to),
                    remote: SocketAddr::new(source, from),
                    ds,
                    payload: Buffer::copy(payload),
                }));
            }
            ESP => inputs.push_back(Input::Gateway(engine::Input::Esp {
                local: destination,
                remote: source,
                ds,
                payload: Buffer::copy(header.payload(packet)),
            })),
            _ => {
                let mut sent = Outbox::new();
                self.kernel.icmp(header, packet, &mut sent);
                self.emit(sent, inputs, out);
            }
        }
    }

    /// Sends a packet on: into the TUN device, or by the kernel's routes.
    fn forward(&mut self, header: &Header, mut packet: Vec<u8>, inputs: &mut VecDeque<Input>, out: &mut Outbox) {
        let mut sent = Outbox::new();
        if self.leads_nowhere(header.destination) {
            return;
        }
        if !self.leads_to_the_gateway(header.destination) {
            self.kernel.forward(packet, &mut sent);
        } else if count_hop(&mut packet, header) {
            inputs.push_back(Input::Gateway(engine::Input::Plain(Buffer::copy(&packet))));
        }
        self.emit(sent, inputs, out);
    }

    /// Sends what the kernel has made itself, an ICMP error for instance: into the TUN device where its route leads there.
    fn emit(&self, sent: Outbox, inputs: &mut VecDeque<Input>, out: &mut Outbox) {
        for (interface, packet) in sent {
            let destination = Header::read(&packet).map(|header| header.destination);
            if destination.is_some_and(|destination| self.leads_to_the_gateway(destination)) {
                inputs.push_back(Input::Gateway(engine::Input::Plain(Buffer::copy(&packet))));
            } else {
                out.push((interface, packet));
            }
        }
    }

    /// True when the longest prefix that fits an address is a network of a tunnel that has no route into one.
    fn leads_nowhere(&self, destination: IpAddr) -> bool {
        let own = self.kernel.interfaces.iter().flat_map(Interface::routes);
        let best = own.filter(|net| net.contains(&destination)).map(|net| net.prefix_len()).max();
        let fits = self.routes.iter().filter(|route| route.network.contains(&destination));
        let ours = fits.max_by_key(|route| (route.network.prefix_len(), std::cmp::Reverse(route.metric)));
        ours.is_some_and(|route| {
            route.metric == HostRoute::NOWHERE && best.is_none_or(|best| route.network.prefix_len() > best)
        })
    }

    /// True when the longest prefix that fits an address is one of the gateway's routes.
    fn leads_to_the_gateway(&self, destination: IpAddr) -> bool {
        let own = self.kernel.interfaces.iter().flat_map(Interface::routes);
        let best = own.filter(|net| net.contains(&destination)).map(|net| net.prefix_len()).max();
        self.routes.iter().any(|route| {
            route.network.contains(&destination) && best.is_none_or(|best| route.network.prefix_len() >= best)
        })
    }

    /// The address that an outer packet leaves from.
    fn source(&self, local: IpAddr, remote: IpAddr) -> Option<IpAddr> {
        if local.is_unspecified() { self.kernel.source_for(remote) } else { Some(local) }
    }

    /// Keeps what an action looks like.
    fn note(&mut self, at: Instant, action: &Action) {
        let mut bytes = format!("{at} {action:?} ").into_bytes();
        if let Action::Gateway(
            engine::Action::Plain(payload)
            | engine::Action::Datagram { payload, .. }
            | engine::Action::Esp { payload, .. },
        ) = action
        {
            bytes.extend_from_slice(payload.bytes());
        }
        bytes.push(b'\n');
        for byte in &bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(recording) = &mut self.recording {
            recording.extend_from_slice(&bytes);
        }
    }

    fn clock(&self, now: Now) -> Now {
        let utc = now.utc.as_micros().saturating_add_signed(self.clock_error);
        Now { mono: now.mono, utc: UnixTime::from_micros(utc) }
    }
}

/// An interface as the gateway is told of it.
fn host_interface(interface: &Interface) -> HostInterface {
    HostInterface {
        name: interface.name.clone(),
        addresses: interface.addresses.clone(),
        mtu: u32::try_from(interface.mtu).unwrap_or(u32::MAX),
        gateways: interface.gateways.clone(),
        leases: Vec::new(),
    }
}
