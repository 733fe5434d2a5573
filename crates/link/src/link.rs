//! The layer: what it is made of, its configuration, its clock.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Duration, Event, Instant, IpRange, Random, Timers};
use wire::ethernet::{self, Mac};

use crate::interface::{Interface, LogLimit, PortState, Standing};
use crate::neighbours::{Key, Neighbour, Neighbours};
use crate::{Config, Counters, InterfaceId, Learned, NeighbourStatus, Output, PortId, Role, State};

/// Layer 2 of the packet ports. The same seed, configuration and inputs give the same outputs.
///
/// It is made empty: [`Link::configure`] tells it its ports, [`Link::link_state`] that one has a link. Until then a port
/// sends nothing.
#[derive(Debug)]
pub struct Link {
    pub(crate) role: Role,
    pub(crate) config: Arc<Config>,
    pub(crate) random: Random,
    pub(crate) ports: Vec<PortState>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) by_id: BTreeMap<InterfaceId, usize>,
    pub(crate) table: Neighbours,
    pub(crate) timers: Timers<Task>,
    /// Announcements still to be made.
    pub(crate) announcing: BTreeMap<Key, u8>,
    /// Conflicts about addresses, and when each was last answered.
    pub(crate) conflicts: BTreeMap<Key, Instant>,
    /// Who was probed for, and until when the answer is awaited.
    pub(crate) probed: BTreeMap<Key, Instant>,
    pub(crate) counters: Counters,
    pub(crate) log_limit: LogLimit,
}

/// What the layer wakes up for, neighbours excepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Nobody has claimed an address that was asked for.
    Unclaimed(InterfaceId, IpAddr),
    Announce(InterfaceId, IpAddr),
    Dhcp(InterfaceId),
}

/// What a network card must let through; everything else may stay outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Hardware addresses beside the card's own.
    pub unicast: Vec<Mac>,
    /// Groups.
    pub groups: Vec<Mac>,
    /// Every group: the gateway answers for IPv6 addresses that cannot be listed.
    pub all_groups: bool,
}

/// Probes whose answers are awaited at once, at most.
const PROBED_MAX: usize = 1024;
/// How long the answer to a probe is awaited.
const PROBE_WAIT: Duration = Duration::from_secs(3);

impl Link {
    /// A layer without ports.
    pub fn new(role: Role, mut seed: Random) -> Self {
        let hash_key = seed.u64();
        Self {
            role,
            config: Arc::default(),
            random: seed,
            ports: Vec::new(),
            interfaces: Vec::new(),
            by_id: BTreeMap::new(),
            table: Neighbours::new(hash_key),
            timers: Timers::default(),
            announcing: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            probed: BTreeMap::new(),
            counters: Counters::default(),
            log_limit: LogLimit::default(),
        }
    }

    /// Takes another configuration. Interfaces that stay where they are keep their neighbours, leases and proxied
    /// addresses that were added since; addresses that are new, or answer with another hardware address, are announced.
    pub fn configure(&mut self, now: Instant, config: Arc<Config>, out: &mut Vec<Output>) {
        let spoken = self.spoken_for();
        let up: BTreeMap<PortId, bool> = self.ports.iter().map(|port| (port.id, port.up)).collect();
        let mut before: BTreeMap<InterfaceId, Interface> =
            std::mem::take(&mut self.interfaces).into_iter().map(|interface| (interface.id, interface)).collect();
        self.config = config;
        self.ports.clear();
        self.by_id.clear();
        let config = Arc::clone(&self.config);
        let (mut moved, mut unleased) = (Vec::new(), Vec::new());
        for (index, port) in config.ports.iter().enumerate() {
            let up = up.get(&port.id).copied().unwrap_or(false);
            let mut state = PortState { id: port.id, mac: port.mac, up, untagged: None, vlans: BTreeMap::new() };
            for interface in &port.interfaces {
                let place = self.interfaces.len();
                if self.by_id.contains_key(&interface.id) {
                    continue; // of two interfaces with one number the first counts
                }
                self.by_id.insert(interface.id, place);
                match interface.vlan {
                    Some(vlan) => drop(state.vlans.insert(vlan, place)),
                    None => state.untagged = Some(place),
                }
                let mut interface = Interface::new(port, index, interface, &config);
                match before.remove(&interface.id) {
                    Some(mut old) if old.is_where(&interface) => {
                        adopt(&mut interface, &mut old);
                        unleased.extend(old.dhcp.is_some().then_some(old));
                    }
                    Some(old) => moved.push(old),
                    None => {}
                }
                self.interfaces.push(interface);
            }
            self.ports.push(state);
        }
        let gone: Vec<Interface> = before.into_values().chain(moved).collect();
        self.forget_gone(&gone, out);
        for mut interface in gone.into_iter().chain(unleased) {
            self.timers.cancel(&Task::Dhcp(interface.id));
            self.release(now, &mut interface, out);
        }
        self.place_statics(now, out);
        for index in 0..self.interfaces.len() {
            self.check_addresses(now, index, false, out);
            self.start_dhcp(now, index, false, out);
        }
        for (key, mac) in self.spoken_for() {
            if spoken.get(&key) != Some(&mac) {
                self.start_announcing(now, key, out);
            }
        }
    }

    /// A port has got or lost its link. Neighbours of one that lost it are doubted; addresses of one that got it are
    /// checked and announced.
    pub fn link_state(&mut self, now: Instant, port: PortId, up: bool, out: &mut Vec<Output>) {
        let Some(index) = self.ports.iter().position(|known| known.id == port) else { return };
        let Some(state) = self.ports.get_mut(index) else { return };
        if std::mem::replace(&mut state.up, up) == up {
            return;
        }
        let interfaces: Vec<usize> = (0..self.interfaces.len())
            .filter(|place| self.interfaces.get(*place).is_some_and(|interface| interface.port == index))
            .collect();
        if !up {
            self.doubt(now, index, out);
            return;
        }
        for place in interfaces {
            self.check_addresses(now, place, true, out);
            let Some(interface) = self.interfaces.get(place) else { continue };
            let id = interface.id;
            let keys: Vec<Key> = self.spoken_for().into_keys().filter(|key| key.0 == id).collect();
            for key in keys {
                self.start_announcing(now, key, out);
            }
            self.start_dhcp(now, place, true, out);
        }
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some(slot) = self.table.pop_due(now) {
            self.wake(now, slot, out);
        }
        while let Some(task) = self.timers.pop_due(now) {
            match task {
                Task::Unclaimed(interface, address) => self.unclaimed(now, (interface, address), out),
                Task::Announce(interface, address) => self.announce(now, (interface, address), out),
                Task::Dhcp(interface) => self.dhcp_expire(now, interface, out),
            }
        }
    }

    /// When [`Link::expire`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let tasks = self.timers.next().map(|(at, _)| at);
        [tasks, self.table.next_deadline()].into_iter().flatten().min()
    }

    /// Gives back the addresses that are leased. To be called last.
    pub fn shutdown(&mut self, now: Instant, out: &mut Vec<Output>) {
        for mut interface in std::mem::take(&mut self.interfaces) {
            self.release(now, &mut interface, out);
        }
        self.by_id.clear();
        self.ports.clear();
    }

    /// Asks whether somebody is there, whatever is known of it: for the monitoring of gateways. The answer is
    /// [`Output::Heard`].
    pub fn probe(&mut self, now: Instant, interface: InterfaceId, address: IpAddr, out: &mut Vec<Output>) {
        let Some(index) = self.by_id.get(&interface).copied() else { return };
        if self.probed.len() >= PROBED_MAX {
            self.probed.retain(|_, until| *until >= now);
        }
        if self.probed.len() < PROBED_MAX {
            self.probed.insert((interface, address), now + PROBE_WAIT);
            self.question(index, address, None, out);
        }
    }

    /// True when the answer to a probe is awaited, which it then is no more.
    pub(crate) fn take_probed(&mut self, now: Instant, key: Key) -> bool {
        self.probed.remove(&key).is_some_and(|until| until >= now)
    }

    /// From now on an interface also answers for a range: the address of a client, say. It stays until it is taken away
    /// as often as it was added, or the interface goes.
    pub fn proxy_add(&mut self, interface: InterfaceId, range: IpRange) {
        if let Some(interface) = self.interface_mut(interface) {
            interface.proxy_dynamic.add(range);
        }
    }

    /// Takes away what [`Link::proxy_add`] has added.
    pub fn proxy_remove(&mut self, interface: InterfaceId, range: IpRange) {
        if let Some(interface) = self.interface_mut(interface) {
            interface.proxy_dynamic.remove(range);
        }
    }

    /// Forgets what was learnt of the neighbours that `pick` picks; returns how many.
    pub fn flush(&mut self, pick: impl Fn(InterfaceId, IpAddr) -> bool, out: &mut Vec<Output>) -> usize {
        let mut count = 0;
        for slot in self.table.slots() {
            let Some(neighbour) = self.table.get(slot) else { continue };
            if neighbour.state != State::Static && pick(neighbour.key.0, neighbour.key.1) {
                self.forget(slot, out);
                count += 1;
            }
        }
        count
    }

    /// Announces an address of the gateway, or one that is published, now.
    pub fn notify(&mut self, now: Instant, interface: InterfaceId, address: IpAddr, out: &mut Vec<Output>) {
        self.start_announcing(now, (interface, address), out);
    }

    /// Every neighbour, in the order of interfaces and addresses.
    pub fn neighbours(&self) -> impl Iterator<Item = NeighbourStatus> + '_ {
        self.table.iter()
    }

    /// The hardware address of a neighbour, when it is known.
    pub fn lookup(&self, interface: InterfaceId, address: IpAddr) -> Option<Mac> {
        let neighbour = self.table.get(self.table.find(&(interface, address))?)?;
        (neighbour.state != State::Incomplete).then_some(neighbour.mac)
    }

    /// How often what was dropped.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What a network card must let through.
    pub fn filter(&self, port: PortId) -> Filter {
        let mut filter = Filter::default();
        for interface in self.interfaces.iter().filter(|interface| interface.port_id == port) {
            filter.unicast.extend(interface.published_macs());
            filter.groups.push(Mac::of_group(ethernet::ALL_SYSTEMS.into()));
            if interface.has_v6() {
                filter.groups.push(Mac::of_group(ethernet::ALL_NODES.into()));
            }
            filter.groups.extend(interface.own_groups());
            filter.all_groups |= interface.speaks_for_v6();
        }
        for list in [&mut filter.unicast, &mut filter.groups] {
            list.sort_unstable();
            list.dedup();
        }
        filter
    }

    pub(crate) fn interface_mut(&mut self, id: InterfaceId) -> Option<&mut Interface> {
        self.interfaces.get_mut(*self.by_id.get(&id)?)
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    pub(crate) fn is_up(&self, port: usize) -> bool {
        self.ports.get(port).is_some_and(|port| port.up)
    }

    pub(crate) fn log(&mut self, now: Instant, event: &impl Event, out: &mut Vec<Output>) {
        if !self.is_leader() {
            return;
        }
        match self.log_limit.pass(now, event.record()) {
            Some(record) => out.push(Output::Log(record)),
            None => self.counters.suppress_log(),
        }
    }

    /// Puts a header in front of a payload and sends it, unless the port has no link.
    pub(crate) fn transmit(
        &mut self,
        index: usize,
        (destination, source): (Mac, Mac),
        kind: u16,
        payload: &[u8],
        out: &mut Vec<Output>,
    ) {
        let Some(interface) = self.interfaces.get(index) else { return };
        if !self.is_up(interface.port) {
            return;
        }
        let prefix = interface.prefix(destination, source, kind);
        let mut frame = Buffer::copy(payload);
        let header = prefix.bytes();
        frame.prepend(header.len()).copy_from_slice(header);
        out.push(Output::Frame { port: interface.port_id, frame });
    }

    /// Forgets the neighbours and tasks of interfaces that are no more, and where ports now stand in the list.
    fn forget_gone(&mut self, gone: &[Interface], out: &mut Vec<Output>) {
        for slot in self.table.slots() {
            let Some(Neighbour { key: (id, address), state, .. }) = self.table.get(slot) else { continue };
            let interface = self.by_id.get(id).and_then(|index| self.interfaces.get(*index));
            let lost = gone.iter().any(|interface| interface.id == *id);
            match interface {
                Some(interface) if !lost && *state != State::Static && interface.own(*address).is_none() => {
                    self.table.set_port(slot, interface.port);
                }
                _ => self.forget(slot, out),
            }
        }
        for interface in gone {
            self.announcing.retain(|(id, _), _| *id != interface.id);
            self.probed.retain(|(id, _), _| *id != interface.id);
        }
    }

    /// Puts the neighbours that are told into the table.
    fn place_statics(&mut self, now: Instant, out: &mut Vec<Output>) {
        let config = Arc::clone(&self.config);
        for told in &config.statics {
            let Some(interface) = self.by_id.get(&told.interface).and_then(|index| self.interfaces.get(*index)) else {
                continue;
            };
            let key = (told.interface, told.address);
            let kind = if told.address.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
            let prefix = interface.prefix(told.mac, interface.mac, kind);
            let neighbour = Neighbour::new(key, State::Static, interface.port, told.mac, prefix, now);
            let known = self.table.find(&key).and_then(|slot| self.table.remove(slot));
            let slot = self.table.insert(neighbour);
            for packet in known.into_iter().flat_map(|(_, waiting)| waiting) {
                self.put_out(slot, packet, out);
            }
        }
    }

    /// Takes what another worker has learnt.
    pub fn learn(&mut self, now: Instant, learned: Learned, out: &mut Vec<Output>) {
        let key = (learned.interface, learned.address);
        let Some(index) = self.by_id.get(&learned.interface).copied() else { return };
        match learned.mac {
            Some(mac) => self.heard(now, index, learned.address, mac, crate::resolve::How::Told, out),
            None => {
                if let Some(slot) = self.table.find(&key)
                    && self.table.get(slot).is_some_and(|neighbour| neighbour.state != State::Static)
                {
                    self.forget(slot, out);
                }
            }
        }
    }
}

/// Lets an interface go on where its former self stood.
fn adopt(interface: &mut Interface, old: &mut Interface) {
    for own in &mut interface.own {
        // What was refused is tried again with a new configuration.
        if old.own(own.address).is_some_and(|known| known.standing == Standing::Usable) {
            own.standing = Standing::Usable;
        }
    }
    interface.proxy_dynamic = std::mem::take(&mut old.proxy_dynamic);
    if interface.dhcp.is_some() && old.dhcp.is_some() {
        let fresh = std::mem::replace(&mut interface.dhcp, old.dhcp.take());
        if let (Some(client), Some(fresh)) = (&mut interface.dhcp, fresh) {
            client.rename(fresh);
        }
    }
}
