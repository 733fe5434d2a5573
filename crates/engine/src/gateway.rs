use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::{Buffer, Event, Instant, Now, Random};
use dataplane::{Control, Dataplane, Exception, Outer, SaId, SaParameters};
use ike::{ChildId, ChildSa, Endpoint, Path, TunnelId};
use objects::Snapshot;

use crate::keeper::{Keeper, Order};
use crate::layer2::{Layer2, WantedPort};
use crate::packets::{Packets, Pick, Shards};
use crate::ping::{Ping, PingEvent, PingId, PingRefused, Pings};
use crate::{Action, HostRoute, Input, NameStatus, WatchStatus, events, translate};

/// The UDP port on which ESP may travel and IKE messages carry a marker (RFC 3948 section 2).
const NAT_T_PORT: u16 = 4500;
/// Four zero bytes where an ESP packet would have its SPI (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// The whole of a NAT keep-alive (RFC 3948 section 2.3).
const KEEP_ALIVE: [u8; 1] = [0xff];

/// A gateway without a socket, clock or thread. The same seed, configuration and inputs give the same actions.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) snapshot: Arc<Snapshot>,
    ike: Endpoint,
    pub(crate) data: Packets,
    pub(crate) layer2: Layer2,
    pub(crate) wanted_ports: Vec<WantedPort>,
    pub(crate) link_out: Vec<link::Output>,
    pings: Pings,
    keeper: Keeper,
    routes: Option<Vec<HostRoute>>,
    routes_changed: bool,
    going_down: bool,
    ike_out: Vec<ike::Output>,
    ike_spare: Vec<ike::Output>,
    pub(crate) data_out: Vec<dataplane::Output>,
    data_spare: Vec<dataplane::Output>,
}

/// The packet path as IKE sees it.
struct Seen<'a>(&'a Packets);

impl ike::Traffic for Seen<'_> {
    fn usage(&self, child: ChildId) -> ike::Usage {
        let seen = self.0.usage(SaId(child.0)).unwrap_or_default();
        ike::Usage {
            packets_in: seen.packets_in,
            bytes_in: seen.bytes_in,
            packets_out: seen.packets_out,
            bytes_out: seen.bytes_out,
            last_in: seen.last_in,
            last_out: seen.last_out,
        }
    }
}

impl Gateway {
    /// A gateway at rest with a configuration; it starts at its first step. `seed` decides every SPI, nonce and key.
    pub fn new(seed: [u8; 32], now: Now, snapshot: Arc<Snapshot>) -> Self {
        let mut random = Random::from_seed(seed);
        let (ike, hash_key, pings) = (random.fork(), random.u64(), random.fork());
        let mut keeper = Keeper::new(random.fork());
        let layer2 = random.fork();
        keeper.configure(now, &snapshot);
        let policy = Arc::new(translate::policy(&snapshot, keeper.told()));
        let mut gateway = Self {
            snapshot: Arc::clone(&snapshot),
            ike: Endpoint::new(ike),
            data: Packets::new(Dataplane::with_hash_key(policy, hash_key)),
            pings: Pings::new(pings),
            layer2: Layer2::new(layer2),
            wanted_ports: Vec::new(),
            link_out: Vec::new(),
            keeper,
            routes: None,
            routes_changed: true,
            going_down: false,
            ike_out: Vec::new(),
            ike_spare: Vec::new(),
            data_out: Vec::new(),
            data_spare: Vec::new(),
        };
        gateway.ike.configure(now.mono, translate::ike_config(&snapshot), &mut gateway.ike_out);
        gateway
    }

    /// Takes one input and appends what it wants done to `out`.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        let mono = now.mono;
        match input {
            Input::Plain(packet) => self.data.line.plain(mono, packet, &mut self.data_out),
            Input::Datagram { local, remote, ds, payload } => self.datagram(mono, local, remote, ds, payload),
            Input::Esp { local, remote, ds, payload } => {
                let outer = Outer { local: SocketAddr::new(local, 0), remote: SocketAddr::new(remote, 0), udp: false };
                self.data.line.esp(mono, outer, ds, payload, &mut self.data_out);
            }
            Input::Frame { port, frame } => self.layer2.link.frame(mono, port, frame, &mut self.link_out),
            Input::Port(open) => self.port_opened(mono, open, out),
            Input::Ask { interface, address } => self.layer2.link.ask(mono, interface, address, &mut self.link_out),
            Input::PathMtu { remote, mtu } => self.control(mono, Control::PathMtu(remote, mtu)),
            Input::Shard(output) => self.data_output(mono, output, out),
            Input::Finished { ticket, result } => self.keeper.finished(mono, &self.snapshot, ticket, result),
            Input::Links { down } => self.keeper.links(mono, &self.snapshot, down),
            Input::Activate(snapshot) => self.activate(now, snapshot, out),
            Input::Deadline => {}
            Input::ShutDown => self.shut_down(mono, out),
        }
        self.expire(mono);
        self.settle(mono, out);
        self.keep(now, out);
        if self.routes_changed {
            self.configure_ports(mono, out);
            self.settle(mono, out);
            self.publish_routes(out);
        }
        if self.going_down && self.ike.is_quiet() {
            self.going_down = false;
            // Last: the farewells have left by it.
            self.layer2.link.shutdown(mono, &mut self.link_out);
            self.settle(mono, out);
            out.push(Action::Down);
        }
    }

    /// When the gateway wants its next [`Input::Deadline`], and what for.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        let data = self.data.line.next_deadline().map(|at| (at, "packet path"));
        let ping = self.pings.next_deadline().map(|at| (at, "ping"));
        let link = self.layer2.link.next_deadline().map(|at| (at, "link layer"));
        let keeper = self.keeper.next_deadline().map(|at| (at, "names, schedules, monitors"));
        [self.ike.next_deadline(), data, link, ping, keeper].into_iter().flatten().min()
    }

    /// The configuration in use.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The IKE side, to look at.
    pub fn ike(&self) -> &Endpoint {
        &self.ike
    }

    /// The policy of the packet path.
    pub fn policy(&self) -> &Arc<dataplane::Policy> {
        self.data.policy()
    }

    /// The route to an address: longest prefix, then lowest metric.
    pub fn lookup(&self, address: IpAddr) -> Option<&dataplane::Route> {
        self.data.lookup(address)
    }

    /// How often packets were dropped, by reason.
    pub fn counters(&self) -> dataplane::Counters {
        self.data.counters()
    }

    /// The connections that `pick` picks, `limit` of them at most, and how many there are.
    pub fn connections(&self, now: Now, pick: &Pick, limit: usize) -> (Vec<dataplane::ConnectionStatus>, usize) {
        self.data.connections(now.mono, pick, limit)
    }

    /// Packets go through shards on threads of the shell from now on, before the first packet.
    pub fn hand_over(&mut self, shards: Box<dyn Shards>) {
        self.data.hand_over(shards);
    }

    /// What has passed through a pair of child SAs.
    pub fn usage(&self, child: ChildId) -> ike::Usage {
        ike::Traffic::usage(&Seen(&self.data), child)
    }

    /// Sets up IKE and child SAs of a tunnel at the operator's wish, one child for every pair of its networks.
    pub fn connect(&mut self, now: Now, tunnel: TunnelId, out: &mut Vec<Action>) {
        self.ike.acquire(now.mono, tunnel, None, &mut self.ike_out);
        self.settle(now.mono, out);
    }

    /// Deletes IKE SAs and all they carry at the operator's wish, at the peers too. Returns how many.
    pub fn delete(&mut self, now: Now, which: ike::Which, out: &mut Vec<Action>) -> usize {
        let count = self.ike.delete(now.mono, which, &mut self.ike_out);
        self.settle(now.mono, out);
        count
    }

    /// Forgets the connections that `pick` picks. Returns how many.
    pub fn close_connections(&mut self, pick: &Pick) -> usize {
        self.data.close_connections(pick)
    }

    /// Begins to ping a host through its tunnel. What becomes of it is told by [`ping_events`](Self::ping_events).
    pub fn ping(&mut self, now: Now, ping: Ping, out: &mut Vec<Action>) -> Result<PingId, PingRefused> {
        let source = self.ping_source(&ping)?;
        let id = self.pings.begin(now.mono, ping, source);
        self.expire(now.mono);
        self.settle(now.mono, out);
        Ok(id)
    }

    /// Ends a ping early; its last event tells the result so far.
    pub fn stop_ping(&mut self, id: PingId) {
        self.pings.stop(id);
    }

    /// The host names of the policies and what is known of them.
    pub fn names(&self) -> Vec<NameStatus> {
        self.keeper.names()
    }

    /// Asks for all host names anew; returns how many there are.
    pub fn ask_names_again(&mut self, now: Now, out: &mut Vec<Action>) -> usize {
        let count = self.keeper.ask_again(now.mono);
        self.keep(now, out);
        count
    }

    /// The routes that are watched over.
    pub fn watches(&self, now: Now) -> Vec<WatchStatus> {
        self.keeper.watches(now.mono)
    }

    /// The conditions under which the configuration runs: names, routes that fail, routes of clients.
    pub fn conditions(&self) -> &objects::Conditions {
        self.keeper.told()
    }

    /// Takes what has become of pings since the last call.
    pub fn ping_events(&mut self) -> Vec<(PingId, PingEvent)> {
        self.pings.take_events()
    }

    /// An empty packet buffer, used ones first.
    pub fn buffer(&mut self) -> Buffer {
        self.data.line.buffer()
    }

    /// Gives a buffer back once the shell has sent it.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.data.line.recycle(buffer);
    }

    fn datagram(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, ds: u8, payload: Buffer) {
        let natt = local.port() == NAT_T_PORT;
        if natt && payload.bytes() == KEEP_ALIVE {
            self.data.line.recycle(payload);
        } else if natt && !payload.bytes().starts_with(&NON_ESP_MARKER) {
            self.data.line.esp(now, Outer { local, remote, udp: true }, ds, payload, &mut self.data_out);
        } else if self.data.line.admit_ike(now, local, remote, ds, &mut self.data_out) {
            self.message(now, local, remote, payload);
        } else {
            self.data.line.recycle(payload);
        }
    }

    /// An IKE message; on port 4500 the marker is in front.
    fn message(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, mut payload: Buffer) {
        if local.port() == NAT_T_PORT {
            payload.strip(NON_ESP_MARKER.len());
        }
        let path = Path { local, remote };
        self.ike.receive(now, path, payload.bytes(), &Seen(&self.data), &mut self.ike_out);
        self.data.line.recycle(payload);
    }

    /// Everything whose time has come.
    fn expire(&mut self, now: Instant) {
        if self.ike.next_deadline().is_some_and(|(at, _)| at <= now) {
            self.ike.expire(now, &Seen(&self.data), &mut self.ike_out);
        }
        if self.data.line.next_deadline().is_some_and(|at| at <= now) {
            self.data.line.expire(now, &mut self.data_out);
        }
        if self.layer2.link.next_deadline().is_some_and(|at| at <= now) {
            self.layer2.link.expire(now, &mut self.link_out);
        }
        while let Some(packet) = self.pings.next_packet(now) {
            self.data.originate(now, None, packet, &mut self.data_out);
        }
    }

    /// Carries outputs between the two sides until both have nothing more to say.
    pub(crate) fn settle(&mut self, now: Instant, out: &mut Vec<Action>) {
        while !self.data_out.is_empty() || !self.ike_out.is_empty() || !self.link_out.is_empty() {
            self.settle_link(now, out);
            let mut batch = std::mem::replace(&mut self.data_out, std::mem::take(&mut self.data_spare));
            for output in batch.drain(..) {
                self.data_output(now, output, out);
            }
            self.data_spare = batch;
            let mut batch = std::mem::replace(&mut self.ike_out, std::mem::take(&mut self.ike_spare));
            // Messages first: until it has the answer that makes an SA, the peer drops what waited for that SA.
            batch.sort_by_key(|output| !matches!(output, ike::Output::Send { .. }));
            for output in batch.drain(..) {
                self.ike_output(now, output, out);
            }
            self.ike_spare = batch;
        }
    }

    /// Does what the keeper of the conditions wants done, and tells the packet path when they have changed.
    fn keep(&mut self, now: Now, out: &mut Vec<Action>) {
        self.keeper.expire(now, &self.snapshot);
        loop {
            for order in self.keeper.take_orders() {
                match order {
                    Order::Start(job) => out.push(Action::Start(job)),
                    Order::Originate(interface, gateway, packet) => {
                        let over = dataplane::Over { interface: dataplane::InterfaceId(interface.0), gateway };
                        self.data.originate(now.mono, Some(over), packet, &mut self.data_out);
                    }
                    Order::Connect(tunnel) => {
                        self.ike.acquire(now.mono, TunnelId(tunnel.0), None, &mut self.ike_out);
                    }
                    Order::AddRoutes(routes) => {
                        self.control(now.mono, Control::AddRoutes(translate::routes(&routes)));
                        self.routes_changed = true;
                    }
                    Order::RemoveRoutes(routes) => {
                        self.control(now.mono, Control::RemoveRoutes(translate::routes(&routes)));
                        self.routes_changed = true;
                    }
                    Order::Log(record) => out.push(Action::Log(record)),
                }
            }
            if let Some(conditions) = self.keeper.conditions(now) {
                let policy = translate::policy(&self.snapshot, conditions);
                self.control(now.mono, Control::Replace(Arc::new(policy)));
                self.routes_changed = true;
                // It begins to ask about its connections at once.
                self.expire(now.mono);
            }
            // What comes of that may be SAs that come or go, and with them their routes.
            if self.data_out.is_empty() && self.ike_out.is_empty() {
                return;
            }
            self.settle(now.mono, out);
        }
    }

    fn data_output(&mut self, now: Instant, output: dataplane::Output, out: &mut Vec<Action>) {
        match output {
            dataplane::Output::Plain { packet, .. } => out.push(Action::Plain(packet)),
            dataplane::Output::Local { packet, .. } => {
                let ours =
                    self.pings.receive(now, packet.bytes()) || self.keeper.receive(now, &self.snapshot, packet.bytes());
                if ours {
                    self.data.line.recycle(packet);
                } else {
                    out.push(Action::Plain(packet));
                }
            }
            dataplane::Output::Outer { outer: Outer { local, remote, udp: true }, ds, packet, .. } => {
                out.push(Action::Datagram { local, remote, ds, payload: packet });
            }
            dataplane::Output::Outer { outer: Outer { local, remote, udp: false }, ds, packet, .. } => {
                out.push(Action::Esp { local: local.ip(), remote: remote.ip(), ds, payload: packet });
            }
            dataplane::Output::Ike { local, remote, payload, .. } => self.message(now, local, remote, payload),
            dataplane::Output::Link { interface, next_hop, packet } => {
                self.layer2.send(now, interface, next_hop, packet, &mut self.link_out);
            }
            dataplane::Output::Exception(exception) => self.exception(now, exception),
            dataplane::Output::Log(record) => out.push(Action::Log(record)),
        }
    }

    fn exception(&mut self, now: Instant, exception: Exception) {
        let out = &mut self.ike_out;
        match exception {
            Exception::Acquire { tunnel, source, destination, protocol } => {
                let trigger = ike::Trigger { source, destination, protocol };
                self.ike.acquire(now, TunnelId(tunnel.0), Some(trigger), out);
            }
            Exception::SoftLimit(sa) => self.ike.soft_limit(now, ChildId(sa.0), out),
            Exception::HardLimit(sa) => self.ike.hard_limit(now, ChildId(sa.0), out),
            Exception::UnknownSpi { remote, .. } => self.ike.unknown_spi(now, remote.ip(), out),
            Exception::Moved { sa, remote } => self.ike.peer_moved(now, ChildId(sa.0), remote, out),
        }
    }

    fn ike_output(&mut self, now: Instant, output: ike::Output, out: &mut Vec<Action>) {
        match output {
            ike::Output::Send { path, ds, message } => {
                let mut payload = self.data.line.buffer();
                payload.extend(&message);
                if path.local.port() == NAT_T_PORT {
                    payload.prepend(NON_ESP_MARKER.len()).copy_from_slice(&NON_ESP_MARKER);
                }
                self.data.line.send_outer(now, path.local, path.remote, ds, payload, &mut self.data_out);
            }
            ike::Output::KeepAlive { path } => {
                let mut payload = self.data.line.buffer();
                payload.extend(&KEEP_ALIVE);
                self.data.line.send_outer(now, path.local, path.remote, 0, payload, &mut self.data_out);
            }
            ike::Output::Install(sa) => self.install(now, &sa, out),
            ike::Output::StopSending(id) => self.control(now, Control::StopSending(SaId(id.0))),
            ike::Output::Remove(id) => {
                self.control(now, Control::Remove(SaId(id.0)));
                self.keeper.removed(now, &self.snapshot, id);
            }
            ike::Output::Move { children, path, udp_encapsulated } => {
                for id in children {
                    self.control(now, Control::Move(SaId(id.0), outer(path, udp_encapsulated)));
                }
            }
            ike::Output::Failed { tunnel } => {
                self.control(now, Control::Abandon(dataplane::InterfaceId(tunnel.0)));
            }
            ike::Output::Log(record) => out.push(Action::Log(record)),
        }
    }

    /// Only installing can fail; see [`Self::install`].
    fn control(&mut self, now: Instant, control: Control) {
        let _ = self.data.control(now, control, &mut self.data_out);
    }

    fn install(&mut self, now: Instant, sa: &ChildSa, out: &mut Vec<Action>) {
        let tunnel = self.snapshot.tunnel_by_id(objects::TunnelId(sa.tunnel.0));
        let parameters = SaParameters {
            id: SaId(sa.id.0),
            tunnel: dataplane::InterfaceId(sa.tunnel.0),
            mode: dataplane::Mode::Tunnel,
            spi_in: sa.spi_in,
            spi_out: sa.spi_out,
            encryption: sa.encryption,
            integrity: sa.integrity,
            encryption_key_in: sa.encryption_key_in.expose(),
            integrity_key_in: sa.integrity_key_in.expose(),
            encryption_key_out: sa.encryption_key_out.expose(),
            integrity_key_out: sa.integrity_key_out.expose(),
            esn: sa.esn,
            replay_window: tunnel.map_or(64, |tunnel| tunnel.replay_window),
            local: &sa.local,
            remote: &sa.remote,
            outer: outer(sa.path, sa.udp_encapsulated),
            outbound_now: sa.outbound_now,
            replaces: sa.replaces.map(|id| SaId(id.0)),
            soft_bytes: sa.soft_bytes,
            hard_bytes: sa.hard_bytes,
        };
        let installed = dataplane::Sa::new(&parameters)
            .and_then(|sa| self.data.control(now, Control::Install(sa), &mut self.data_out));
        if let Err(error) = installed {
            let event = events::SaNotInstalled {
                tunnel: tunnel.map_or_else(|| "-".to_owned(), |tunnel| tunnel.name.clone()),
                spi_in: format!("0x{:08x}", sa.spi_in),
                reason: error.to_string(),
            };
            out.push(Action::Log(event.record()));
        } else {
            self.keeper.installed(now, &self.snapshot, sa);
        }
    }

    fn activate(&mut self, now: Now, snapshot: Arc<Snapshot>, out: &mut Vec<Action>) {
        let event = events::ConfigurationActivated {
            tunnels: snapshot.tunnels.len(),
            policies: snapshot.policies.len(),
            routes: snapshot.tables.iter().map(|table| table.routes.len()).sum(),
        };
        out.push(Action::Log(event.record()));
        self.keeper.configure(now, &snapshot);
        let policy = translate::policy(&snapshot, self.keeper.told());
        self.control(now.mono, Control::Replace(Arc::new(policy)));
        self.ike.configure(now.mono, translate::ike_config(&snapshot), &mut self.ike_out);
        self.snapshot = snapshot;
        self.routes_changed = true;
    }

    fn shut_down(&mut self, now: Instant, out: &mut Vec<Action>) {
        let event = events::ShutdownBegun { ike_sas: self.ike.ike_sas(now).len() };
        out.push(Action::Log(event.record()));
        self.ike.shut_down(now, &mut self.ike_out);
        self.going_down = true;
    }

    /// Tells the shell the routes it must have, at the first step and after every change.
    fn publish_routes(&mut self, out: &mut Vec<Action>) {
        self.routes_changed = false;
        let routes = translate::host_routes(&self.snapshot, self.keeper.told());
        if self.routes.as_ref() != Some(&routes) {
            self.routes = Some(routes.clone());
            out.push(Action::Routes(routes));
        }
    }

    fn ping_source(&self, ping: &Ping) -> Result<IpAddr, PingRefused> {
        let route = self.data.lookup(ping.destination).ok_or(PingRefused::NoRoute)?;
        let interface =
            self.snapshot.interface_by_id(objects::InterfaceId(route.interface.0)).ok_or(PingRefused::NoRoute)?;
        match interface.kind {
            objects::InterfaceKind::Core => Err(PingRefused::OwnAddress),
            objects::InterfaceKind::Ethernet { owned: false, .. } => {
                Err(PingRefused::KernelOwned(interface.name.clone()))
            }
            objects::InterfaceKind::Ethernet { owned: true, .. } | objects::InterfaceKind::Vlan { .. } => {
                let own = |address: &IpAddr| {
                    self.snapshot
                        .interfaces
                        .iter()
                        .any(|interface| interface.addresses.iter().any(|(own, _)| own == address))
                };
                let of_interface = || {
                    let mut addresses = interface.addresses.iter().map(|(address, _)| *address);
                    addresses.find(|address| address.is_ipv4() == ping.destination.is_ipv4())
                };
                match ping.source {
                    Some(source) if own(&source) => Ok(source),
                    Some(source) => Err(PingRefused::NotOwn(source)),
                    None => of_interface().ok_or_else(|| PingRefused::NoAddress(interface.name.clone())),
                }
            }
            objects::InterfaceKind::Tunnel(id) => {
                let tunnel = self.snapshot.tunnel_by_id(id).ok_or(PingRefused::NoRoute)?;
                let carries = |source: &IpAddr| tunnel.local_networks.iter().any(|network| network.contains(*source));
                match ping.source {
                    Some(source) if carries(&source) => Ok(source),
                    Some(_) => Err(PingRefused::SourceOutside {
                        tunnel: tunnel.name.clone(),
                        carries: tunnel.local_networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                    }),
                    None => tunnel.originator.ok_or_else(|| PingRefused::NoOriginator(tunnel.name.clone())),
                }
            }
        }
    }
}

fn outer(path: Path, udp: bool) -> Outer {
    Outer { local: path.local, remote: path.remote, udp }
}
