//! The world: one clock, one seed, nodes joined by links, and the events between them in order.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use base::{Duration, Instant, Now, Random, Timers, UnixTime};

use manage::{ClientId, Done, Input};

use crate::gateway_host::{Candidates, GatewayHost, Reply};
use crate::host::Host;
use crate::interface::Interface;
use crate::kernel::{Counters, Kernel, Outbox};
use crate::link::{Link, LinkId};
use crate::nat::NatBox;
use crate::ping::Ping;
use crate::router::Router;
use crate::stream::Stream;
use crate::trace::{Entry, Trace};
use crate::transfer::Transfer;

/// When every world begins: 2026-11-23 00:00:00 UTC.
const EPOCH: UnixTime = UnixTime::from_micros(1_795_392_000_000_000);
/// Events without the clock moving, after which a node is taken to be running in circles.
const STANDSTILL_MAX: u32 = 1_000_000;

/// A node of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub(crate) usize);

/// Seconds and milliseconds, as a story tells them: `30.secs()`.
pub trait Seconds {
    /// So many seconds.
    fn secs(self) -> Duration;
    /// So many milliseconds.
    fn millis(self) -> Duration;
}

impl Seconds for u64 {
    fn secs(self) -> Duration {
        Duration::from_secs(self)
    }

    fn millis(self) -> Duration {
        Duration::from_millis(self)
    }
}

/// The operator that [`World::cli`] speaks as.
const SCRIPT: ClientId = ClientId(1);
/// How long a command may take.
const COMMAND_MAX: Duration = Duration::from_secs(300);

/// What a command said, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Everything it said.
    pub text: String,
    /// It did what it was told.
    pub success: bool,
    /// The prompt for the next line.
    pub prompt: String,
}

enum Node {
    Host(Box<Host>),
    Router(Box<Router>),
    Nat(Box<NatBox>),
    Gateway(Box<GatewayHost>),
}

struct Arrival {
    node: NodeId,
    interface: usize,
    packet: Vec<u8>,
}

/// A world of its own.
pub struct World {
    now: Instant,
    random: Random,
    nodes: Vec<Node>,
    names: Vec<Rc<str>>,
    links: Vec<Link>,
    joined: BTreeMap<(NodeId, usize), LinkId>,
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    arrival_count: u64,
    wakes: Timers<NodeId>,
    trace: Trace,
    standstill: u32,
}

impl World {
    /// An empty world; all that chance does in it follows from the number.
    pub fn seeded(seed: u64) -> Self {
        Self {
            now: Instant::ZERO,
            random: Random::numbered(seed),
            nodes: Vec::new(),
            names: Vec::new(),
            links: Vec::new(),
            joined: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            arrival_count: 0,
            wakes: Timers::default(),
            trace: Trace::default(),
            standstill: 0,
        }
    }

    /// A computer with a TCP/IP stack.
    pub fn add_host(&mut self, name: &str, interface: Interface) -> NodeId {
        let host = Host::new(name, interface, self.random.fork());
        self.add(name, Node::Host(Box::new(host)))
    }

    /// A router that refuses private addresses: the internet.
    pub fn add_router(&mut self, name: &str, interfaces: Vec<Interface>) -> NodeId {
        self.add(name, Node::Router(Box::new(Router::new(name, interfaces))))
    }

    /// A NAT box.
    pub fn add_nat(&mut self, name: &str, inside: Interface, outside: Interface) -> NodeId {
        self.add(name, Node::Nat(Box::new(NatBox::new(name, inside, outside))))
    }

    /// A gateway with its host, which starts at once. `file` names the configuration in messages.
    pub fn add_gateway(&mut self, name: &str, interfaces: Vec<Interface>, file: &str, text: &str) -> NodeId {
        let gateway = GatewayHost::new(name, interfaces, file, text, self.random.fork());
        let node = self.add(name, Node::Gateway(Box::new(gateway)));
        self.with_gateway(node, |gateway, now, out| gateway.start(now, out));
        node
    }

    /// Joins two interfaces.
    pub fn join(&mut self, a: (NodeId, &str), b: (NodeId, &str), latency: Duration) -> LinkId {
        let ends = [a, b].map(|(node, interface)| (node, self.kernel(node).interface(interface)));
        let id = LinkId(self.links.len());
        for end in ends {
            let taken = self.joined.insert(end, id);
            assert!(taken.is_none(), "interface {} of {} is joined already", end.1, self.names[end.0.0]);
        }
        self.links.push(Link::new(ends, latency));
        id
    }

    /// The time since the world began.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A link, to make it better or worse.
    pub fn link(&mut self, link: LinkId) -> &mut Link {
        &mut self.links[link.0]
    }

    /// Sets the largest packet of a link, which the nodes at its ends then know.
    pub fn set_mtu(&mut self, link: LinkId, mtu: usize) {
        for (node, interface) in self.links[link.0].ends {
            self.kernel_mut(node).interfaces[interface].mtu = mtu;
        }
    }

    /// A router.
    pub fn router(&mut self, node: NodeId) -> &mut Router {
        match &mut self.nodes[node.0] {
            Node::Router(router) => router,
            Node::Host(_) | Node::Nat(_) | Node::Gateway(_) => panic!("{} is no router", self.names[node.0]),
        }
    }

    /// A NAT box.
    pub fn nat(&mut self, node: NodeId) -> &mut NatBox {
        match &mut self.nodes[node.0] {
            Node::Nat(nat) => nat,
            Node::Host(_) | Node::Router(_) | Node::Gateway(_) => panic!("{} is no NAT box", self.names[node.0]),
        }
    }

    /// A gateway and its host.
    pub fn gateway(&mut self, node: NodeId) -> &mut GatewayHost {
        match &mut self.nodes[node.0] {
            Node::Gateway(gateway) => gateway,
            Node::Host(_) | Node::Router(_) | Node::Nat(_) => panic!("{} is no gateway", self.names[node.0]),
        }
    }

    /// Cuts a gateway's power: it stops in the middle of whatever it does, and nobody is told.
    pub fn power_off(&mut self, node: NodeId) {
        self.with_gateway(node, |gateway, _, _| gateway.stop());
    }

    /// Switches a gateway on again: it remembers its stored configuration and nothing else.
    pub fn power_on(&mut self, node: NodeId) {
        self.with_gateway(node, |gateway, now, out| gateway.start(now, out));
    }

    /// Tells a gateway to go down: it deletes its SAs at the peers first.
    pub fn shut_down(&mut self, node: NodeId) {
        self.tell(node, Input::Gateway(engine::Input::ShutDown));
    }

    /// Types a line at a gateway's command line, waits for the end of the command, and returns what it said. All lines
    /// of a world are typed by one operator.
    pub fn cli(&mut self, node: NodeId, line: &str) -> Answer {
        self.send_line(node, SCRIPT, line);
        let mut text = String::new();
        let mut done: Option<Done> = None;
        self.run_until(COMMAND_MAX, |world| {
            for reply in world.take_replies(node, SCRIPT) {
                text.push_str(&reply.text);
                done = reply.done.or(done.take());
            }
            done.is_some()
        });
        let done = done.unwrap_or_else(|| panic!("`{line}` has not ended within {COMMAND_MAX:?}; so far: {text}"));
        Answer { text, success: done.success, prompt: done.prompt }
    }

    /// Types a line as an operator; what is said to it is for [`take_replies`](Self::take_replies).
    pub fn send_line(&mut self, node: NodeId, client: ClientId, line: &str) {
        self.tell(node, Input::Line { client, line: line.into() });
    }

    /// Presses TAB as an operator, with the cursor at a byte of the line.
    pub fn complete(&mut self, node: NodeId, client: ClientId, line: &str, cursor: usize) -> Option<Candidates> {
        self.tell(node, Input::Complete { client, line: line.into(), cursor });
        self.gateway(node).take_candidates(client)
    }

    /// Presses Ctrl-C as an operator.
    pub fn interrupt(&mut self, node: NodeId, client: ClientId) {
        self.tell(node, Input::Interrupt(client));
    }

    /// Leaves as an operator.
    pub fn leave(&mut self, node: NodeId, client: ClientId) {
        self.tell(node, Input::Closed(client));
    }

    /// What has been said to an operator since the last look.
    pub fn take_replies(&mut self, node: NodeId, client: ClientId) -> Vec<Reply> {
        self.gateway(node).take_replies(client)
    }

    /// Gives a gateway an input.
    pub fn tell(&mut self, node: NodeId, input: Input) {
        self.with_gateway(node, |gateway, now, out| gateway.step(now, input, out));
    }

    /// What a node's kernel has done with packets.
    pub fn counters(&self, node: NodeId) -> Counters {
        self.kernel(node).counters
    }

    /// A node's own address towards another.
    pub fn address(&self, node: NodeId, ipv4: bool) -> IpAddr {
        let own = self.kernel(node).interfaces.iter().find_map(|interface| interface.own(ipv4));
        own.unwrap_or_else(|| panic!("{} has no address of that family", self.names[node.0]))
    }

    /// What has crossed the links.
    pub fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// One echo request.
    pub fn ping(&mut self, from: NodeId, to: impl Into<IpAddr>) -> Ping {
        self.pings(from, to, 1, 1.secs(), 56)
    }

    /// An echo request every so often until the ping is stopped.
    pub fn ping_every(&mut self, interval: Duration, from: NodeId, to: impl Into<IpAddr>) -> Ping {
        self.pings(from, to, u64::MAX, interval, 56)
    }

    /// So many echo requests with so many bytes of data.
    pub fn pings(&mut self, from: NodeId, to: impl Into<IpAddr>, count: u64, interval: Duration, size: usize) -> Ping {
        let now = self.now;
        let ping = self.host(from).ping(now, to.into(), count, interval, size);
        self.wakes.set(from, now);
        ping
    }

    /// A TCP transfer over IPv4: `from` connects to `to` and sends.
    pub fn transfer(&mut self, from: NodeId, to: NodeId, bytes: u64) -> Transfer {
        let address = self.address(to, true);
        self.transfer_to(from, to, address, bytes)
    }

    /// A TCP transfer to one of the receiver's addresses.
    pub fn transfer_to(&mut self, from: NodeId, to: NodeId, address: IpAddr, bytes: u64) -> Transfer {
        let transfer = Transfer::new(self.now, bytes);
        let port = self.host(to).expect(transfer.clone());
        self.host(from).transfer(transfer.clone(), address, port);
        self.wakes.set(from, self.now);
        transfer
    }

    /// A stream of UDP datagrams with `size` bytes of data over IPv4, until it is stopped.
    pub fn stream(&mut self, from: NodeId, to: NodeId, interval: Duration, size: usize) -> Stream {
        let (stream, now, address) = (Stream::new(), self.now, self.address(to, true));
        let port = self.host(to).expect_stream(stream.clone());
        self.host(from).stream(now, stream.clone(), (address, port), interval, size);
        self.wakes.set(from, now);
        stream
    }

    /// When something happens next.
    pub fn next_event(&self) -> Option<Instant> {
        let arrival = self.arrivals.first_key_value().map(|((at, _), _)| *at);
        let wake = self.wakes.next().map(|(at, _)| at);
        arrival.into_iter().chain(wake).min()
    }

    /// Lets everything happen that happens until `at`, and sets the clock to it.
    pub fn advance_to(&mut self, at: Instant) {
        while self.next_event().is_some_and(|next| next <= at) {
            self.happen();
        }
        self.now = self.now.max(at);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.advance_to(self.now + time);
    }

    /// Lets time pass until something is true, looking after each event. False: it was not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut is_true: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if is_true(self) {
                return true;
            }
            match self.next_event() {
                Some(next) if next <= end => self.happen(),
                Some(_) | None => {
                    self.now = end;
                    return is_true(self);
                }
            }
        }
    }

    /// The next event. Packets come before timers of the same time, as they would in a kernel.
    fn happen(&mut self) {
        let Some(at) = self.next_event() else { return };
        self.standstill = if at > self.now { 0 } else { self.standstill + 1 };
        self.now = self.now.max(at);
        let mut out = Outbox::new();
        let due = self.arrivals.first_entry().filter(|first| first.key().0 <= at).map(|first| first.remove());
        let node = if let Some(Arrival { node, interface, packet }) = due {
            self.receive(node, interface, packet, &mut out);
            node
        } else if let Some(node) = self.wakes.pop_due(at) {
            self.wake(node, &mut out);
            node
        } else {
            return;
        };
        assert!(self.standstill < STANDSTILL_MAX, "at {at} the clock stands still: {} never rests", self.names[node.0]);
        self.settle(node, out);
    }

    fn receive(&mut self, node: NodeId, interface: usize, packet: Vec<u8>, out: &mut Outbox) {
        let now = self.clock();
        match &mut self.nodes[node.0] {
            Node::Host(host) => host.receive(now, packet, out),
            Node::Router(router) => router.receive(now, packet, out),
            Node::Nat(nat) => nat.receive(now, interface, packet, out),
            Node::Gateway(gateway) => gateway.receive(now, packet, out),
        }
    }

    fn wake(&mut self, node: NodeId, out: &mut Outbox) {
        let now = self.clock();
        match &mut self.nodes[node.0] {
            Node::Host(host) => host.wake(now, out),
            Node::Gateway(gateway) => gateway.wake(now, out),
            Node::Router(_) | Node::Nat(_) => {}
        }
    }

    /// Sends what a node wants sent, and notes when it wants waking.
    fn settle(&mut self, node: NodeId, out: Outbox) {
        for (interface, packet) in out {
            self.send((node, interface), packet);
        }
        let next = match &self.nodes[node.0] {
            Node::Host(host) => host.next_wake(),
            Node::Gateway(gateway) => gateway.next_wake(),
            Node::Router(_) | Node::Nat(_) => None,
        };
        match next {
            Some(at) => self.wakes.set(node, at.max(self.now)),
            None => self.wakes.cancel(&node),
        }
    }

    fn send(&mut self, from: (NodeId, usize), packet: Vec<u8>) {
        // An interface that is joined to nothing: the packet is gone.
        let Some(link) = self.joined.get(&from) else { return };
        let link = &mut self.links[link.0];
        let to = link.other_end(from);
        let mut entry = Entry {
            at: self.now,
            from: self.names[from.0.0].clone(),
            to: self.names[to.0.0].clone(),
            packet: packet.clone(),
            lost: None,
        };
        match link.carry(self.now, from, packet, &mut self.random) {
            Ok(arrivals) => {
                for (at, packet) in arrivals {
                    self.arrival_count += 1;
                    self.arrivals.insert((at, self.arrival_count), Arrival { node: to.0, interface: to.1, packet });
                }
            }
            Err(lost) => entry.lost = Some(lost),
        }
        self.trace.add(entry);
    }

    fn with_gateway(&mut self, node: NodeId, act: impl FnOnce(&mut GatewayHost, Now, &mut Outbox)) {
        let (now, mut out) = (self.clock(), Outbox::new());
        act(self.gateway(node), now, &mut out);
        self.settle(node, out);
    }

    fn add(&mut self, name: &str, node: Node) -> NodeId {
        assert!(self.names.iter().all(|known| &**known != name), "there is a node `{name}` already");
        self.nodes.push(node);
        self.names.push(name.into());
        NodeId(self.nodes.len() - 1)
    }

    fn host(&mut self, node: NodeId) -> &mut Host {
        match &mut self.nodes[node.0] {
            Node::Host(host) => host,
            Node::Router(_) | Node::Nat(_) | Node::Gateway(_) => panic!("{} is no host", self.names[node.0]),
        }
    }

    fn kernel(&self, node: NodeId) -> &Kernel {
        match &self.nodes[node.0] {
            Node::Host(host) => &host.kernel,
            Node::Router(router) => &router.kernel,
            Node::Nat(nat) => &nat.kernel,
            Node::Gateway(gateway) => &gateway.kernel,
        }
    }

    fn kernel_mut(&mut self, node: NodeId) -> &mut Kernel {
        match &mut self.nodes[node.0] {
            Node::Host(host) => &mut host.kernel,
            Node::Router(router) => &mut router.kernel,
            Node::Nat(nat) => &mut nat.kernel,
            Node::Gateway(gateway) => &mut gateway.kernel,
        }
    }

    fn clock(&self) -> Now {
        Now { mono: self.now, utc: UnixTime::from_micros(EPOCH.as_micros().saturating_add(self.now.as_micros())) }
    }
}
