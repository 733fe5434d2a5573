//! How a packet finds its neighbour, and what becomes of neighbours in time (RFC 4861 section 7, RFC 826, RFC 1122
//! section 2.3.2).

use std::collections::VecDeque;
use std::net::IpAddr;

use base::{Buffer, Duration, Instant};
use wire::ethernet::{self, Mac, Prefix};
use wire::octets;

use crate::neighbours::{Key, Neighbour, Slot};
use crate::{InterfaceId, Learned, Link, Output, Reason, State, events};

/// Between two questions (RFC 4861 section 10, RETRANS_TIMER).
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Questions before a neighbour is given up (MAX_MULTICAST_SOLICIT, MAX_UNICAST_SOLICIT).
const QUESTIONS_MAX: u8 = 3;
/// How long a used neighbour may prove itself before it is asked (DELAY_FIRST_PROBE_TIME).
const DELAY: Duration = Duration::from_secs(5);
/// How long an answer is good for, on average (REACHABLE_TIME).
const REACHABLE: Duration = Duration::from_secs(30);

/// By what a neighbour's hardware address became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It answered our question.
    Answer,
    /// It asked us.
    Question,
    /// It said so to everybody.
    Claim,
    /// Another worker says so.
    Told,
}

impl Link {
    /// Sends a packet to a neighbour: puts the Ethernet header into the packet's head-room when the neighbour is known, or
    /// lets the packet wait and asks for the neighbour.
    pub fn send(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        next_hop: IpAddr,
        packet: Buffer,
        out: &mut Vec<Output>,
    ) {
        let key = (interface, next_hop);
        let Some(slot) = self.table.find(&key) else { return self.send_to_unknown(now, key, packet, out) };
        let Some(neighbour) = self.table.get(slot) else { return };
        match neighbour.state {
            State::Incomplete => self.wait(slot, interface, packet),
            State::Reachable | State::Delay | State::Probe | State::Static => self.put_out(slot, packet, out),
            State::Stale => {
                self.put_out(slot, packet, out);
                self.table.set(slot, State::Delay, now, Some(DELAY));
            }
        }
    }

    /// Sends to a known neighbour.
    pub(crate) fn put_out(&mut self, slot: Slot, packet: Buffer, out: &mut Vec<Output>) {
        let Some(neighbour) = self.table.get(slot) else { return };
        let Some(port) = self.ports.get(neighbour.port).filter(|port| port.up) else {
            return self.counters.count(Reason::PortDown);
        };
        match framed(&neighbour.prefix, packet) {
            Some(frame) => out.push(Output::Frame { port: port.id, frame }),
            None => self.counters.count(Reason::NotIpOut),
        }
    }

    fn send_to_unknown(&mut self, now: Instant, key: Key, packet: Buffer, out: &mut Vec<Output>) {
        let (id, next_hop) = key;
        let Some(index) = self.by_id.get(&id).copied() else {
            return self.counters.count(Reason::UnknownInterface);
        };
        let Some(interface) = self.interfaces.get(index) else { return };
        if !self.is_up(interface.port) {
            return self.counters.count(Reason::PortDown);
        }
        if interface.own(next_hop).is_some() {
            return self.counters.count(Reason::OwnAddress);
        }
        if next_hop.is_unspecified() {
            return out.push(Output::Unreachable { interface: id, next_hop, packet });
        }
        if interface.is_group(next_hop) {
            let mac = if next_hop.is_multicast() { Mac::of_group(next_hop) } else { Mac::BROADCAST };
            let prefix = interface.prefix(mac, interface.mac, ethernet::IPV4);
            match framed(&prefix, packet) {
                Some(frame) => out.push(Output::Frame { port: interface.port_id, frame }),
                None => self.counters.count(Reason::NotIpOut),
            }
            return;
        }
        if let Some(slot) = self.create(now, index, next_hop, State::Incomplete, Mac::ZERO, out) {
            self.wait(slot, id, packet);
            self.ask_neighbour(now, slot, out);
        }
    }

    /// Lets a packet wait for its neighbour (RFC 4861 section 7.2.2: a few, the newest of them).
    fn wait(&mut self, slot: Slot, interface: InterfaceId, packet: Buffer) {
        let limits = self.config.limits;
        let full = self.table.waiting(interface) >= limits.waiting_max;
        if full || self.table.enqueue(slot, packet, limits.queue_max.clamp(3, 16)).is_some() {
            self.counters.count(Reason::QueueFull);
        }
    }

    /// For the leader, from a follower's [`Output::Ask`]: finds out whether a neighbour is there.
    pub fn ask(&mut self, now: Instant, interface: InterfaceId, address: IpAddr, out: &mut Vec<Output>) {
        let Some(index) = self.by_id.get(&interface).copied() else { return };
        match self.table.find(&(interface, address)) {
            None => {
                let own = self.interfaces.get(index).is_none_or(|interface| interface.own(address).is_some());
                if !own && let Some(slot) = self.create(now, index, address, State::Incomplete, Mac::ZERO, out) {
                    self.ask_neighbour(now, slot, out);
                }
            }
            Some(slot) => {
                let Some(neighbour) = self.table.get(slot) else { return };
                match neighbour.state {
                    // What we know the follower does not: it may have been started since.
                    State::Reachable | State::Static => {
                        let mac = Some(neighbour.mac);
                        out.push(Output::Learned(Learned { interface, address, mac }));
                    }
                    State::Stale => self.verify(now, &(interface, address), out),
                    State::Incomplete | State::Delay | State::Probe => {}
                }
            }
        }
    }

    /// A neighbour's time has come.
    pub(crate) fn wake(&mut self, now: Instant, slot: Slot, out: &mut Vec<Output>) {
        let Some(neighbour) = self.table.get(slot) else { return };
        match neighbour.state {
            State::Incomplete | State::Probe if neighbour.asked < QUESTIONS_MAX => self.ask_neighbour(now, slot, out),
            State::Incomplete | State::Probe => {
                let (id, ip) = neighbour.key;
                let iface = self.by_id.get(&id).and_then(|index| self.interfaces.get(*index));
                let event = events::NeighborUnreachable {
                    iface: iface.map(|interface| interface.name.clone()).unwrap_or_default(),
                    ip,
                };
                self.log(now, &event, out);
                self.forget(slot, out);
            }
            State::Reachable => {
                let idle = Duration::from_secs(self.config.limits.idle_seconds.into());
                self.table.set(slot, State::Stale, now, Some(idle));
            }
            State::Stale => self.forget(slot, out),
            State::Delay => {
                self.table.set(slot, State::Probe, now, None);
                self.ask_neighbour(now, slot, out);
            }
            State::Static => {}
        }
    }

    /// Asks for a neighbour, as often as may be, and wakes for the next time.
    fn ask_neighbour(&mut self, now: Instant, slot: Slot, out: &mut Vec<Output>) {
        self.table.asked(slot, now, ASK_AGAIN);
        let Some(neighbour) = self.table.get(slot) else { return };
        let (id, address) = neighbour.key;
        let to = (neighbour.state == State::Probe).then_some(neighbour.mac);
        if !self.is_leader() {
            return out.push(Output::Ask { interface: id, address });
        }
        let Some(index) = self.by_id.get(&id).copied() else { return };
        let Some(interface) = self.interfaces.get_mut(index) else { return };
        if interface.questions.allows(now) {
            self.question(index, address, to, out);
        } else {
            self.counters.count(Reason::QuestionRate);
        }
    }

    /// Asks for an address: everybody, or the one who had it.
    pub(crate) fn question(&mut self, index: usize, address: IpAddr, to: Option<Mac>, out: &mut Vec<Output>) {
        let Some(interface) = self.interfaces.get(index) else { return };
        match (address, interface.source_for(address)) {
            (IpAddr::V4(target), Some(IpAddr::V4(source))) => self.arp_question(index, source, target, to, out),
            (IpAddr::V6(target), Some(IpAddr::V6(source))) => self.ndp_question(index, source, target, to, out),
            // Without an address of our own nobody can answer.
            _ => {}
        }
    }

    /// True when an answer of this neighbour is awaited.
    pub(crate) fn is_asked_for(&self, key: &Key) -> bool {
        let neighbour = self.table.find(key).and_then(|slot| self.table.get(slot));
        neighbour.is_some_and(|neighbour| matches!(neighbour.state, State::Incomplete | State::Probe))
    }

    /// Takes what a neighbour says of its hardware address. Who is not in the table yet comes in by asking us, by an
    /// answer that was awaited, or from another worker; a claim to everybody changes only what is there.
    pub(crate) fn heard(
        &mut self,
        now: Instant,
        index: usize,
        address: IpAddr,
        mac: Mac,
        how: How,
        out: &mut Vec<Output>,
    ) {
        let Some(interface) = self.interfaces.get(index) else { return };
        let (id, iface) = (interface.id, interface.name.clone());
        let sure = matches!(how, How::Answer | How::Told);
        let Some(slot) = self.table.find(&(id, address)) else {
            let room = self.table.count(id) < self.config.limits.neighbours_max;
            let state = if sure { State::Reachable } else { State::Stale };
            // Nobody is forgotten for somebody who only asked.
            if (sure || how == How::Question && room)
                && let Some(slot) = self.create(now, index, address, state, mac, out)
            {
                self.settle(now, slot, state, out);
                self.tell(slot, out);
            }
            return;
        };
        let Some(neighbour) = self.table.get(slot) else { return };
        let (known, state) = (neighbour.mac, neighbour.state);
        let changed = known != mac;
        match state {
            State::Static if changed => {
                self.counters.count(Reason::StaticOverride);
                let event = events::StaticNeighborMismatch {
                    iface,
                    ip: address,
                    knownhw: known.to_string(),
                    newhw: mac.to_string(),
                };
                return self.log(now, &event, out);
            }
            State::Static => return,
            State::Incomplete => {}
            _ if changed => {
                let (knownhw, newhw) = (known.to_string(), mac.to_string());
                self.log(now, &events::HardwareAddressChanged { iface, ip: address, knownhw, newhw }, out);
            }
            // It is there, but that it hears us too is not said.
            _ if !sure => return,
            _ => {}
        }
        if changed && let Some(interface) = self.interfaces.get(index) {
            let kind = if address.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
            self.table.set_mac(slot, mac, interface.prefix(mac, interface.mac, kind));
        }
        self.settle(now, slot, if sure { State::Reachable } else { State::Stale }, out);
        self.tell(slot, out);
    }

    /// Gives a neighbour whose hardware address is known its state, and sends what waited for it.
    fn settle(&mut self, now: Instant, slot: Slot, state: State, out: &mut Vec<Output>) {
        let wake = if state == State::Reachable {
            // Not all at once (RFC 4861 section 6.3.2): between a half and one and a half of it.
            let micros = u64::try_from(REACHABLE.as_micros()).unwrap_or(0);
            Duration::from_micros(micros / 2 + self.random.below(micros))
        } else {
            Duration::from_secs(self.config.limits.idle_seconds.into())
        };
        self.table.set(slot, state, now, Some(wake));
        let waiting = self.table.dequeue(slot);
        if state == State::Stale && !waiting.is_empty() {
            self.table.set(slot, State::Delay, now, Some(DELAY));
        }
        for packet in waiting {
            self.put_out(slot, packet, out);
        }
    }

    /// Tells the other workers of a neighbour.
    fn tell(&mut self, slot: Slot, out: &mut Vec<Output>) {
        if let Some(neighbour) = self.table.get(slot).filter(|_| self.is_leader()) {
            let (interface, address) = neighbour.key;
            out.push(Output::Learned(Learned { interface, address, mac: Some(neighbour.mac) }));
        }
    }

    /// Puts a neighbour into the table, in the place of the one unheard of for longest when there are too many.
    fn create(
        &mut self,
        now: Instant,
        index: usize,
        address: IpAddr,
        state: State,
        mac: Mac,
        out: &mut Vec<Output>,
    ) -> Option<Slot> {
        let interface = self.interfaces.get(index)?;
        let (id, iface, port) = (interface.id, interface.name.clone(), interface.port);
        let kind = if address.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
        let prefix = interface.prefix(mac, interface.mac, kind);
        let limit = self.config.limits.neighbours_max.max(1);
        if self.table.count(id) >= limit {
            self.log(now, &events::NeighborTableFull { iface, limit }, out);
            let slot = self.table.oldest(id)?;
            let (neighbour, queue) = self.table.remove(slot)?;
            queue.iter().for_each(|_| self.counters.count(Reason::TableFull));
            self.tell_forgotten(&neighbour, out);
        }
        Some(self.table.insert(Neighbour::new((id, address), state, port, mac, prefix, now)))
    }

    /// Takes a neighbour out of the table; what waited for it is unreachable.
    pub(crate) fn forget(&mut self, slot: Slot, out: &mut Vec<Output>) {
        let Some((neighbour, queue)) = self.table.remove(slot) else { return };
        self.tell_forgotten(&neighbour, out);
        let (interface, next_hop) = neighbour.key;
        unreachable(interface, next_hop, queue, out);
    }

    fn tell_forgotten(&self, neighbour: &Neighbour, out: &mut Vec<Output>) {
        if self.is_leader() {
            let (interface, address) = neighbour.key;
            out.push(Output::Learned(Learned { interface, address, mac: None }));
        }
    }

    /// Looks whether a neighbour that has not been heard of for a while is still there.
    pub(crate) fn verify(&mut self, now: Instant, key: &Key, out: &mut Vec<Output>) {
        if let Some(slot) = self.table.find(key)
            && self.table.get(slot).is_some_and(|neighbour| neighbour.state == State::Stale)
        {
            self.table.set(slot, State::Probe, now, None);
            self.ask_neighbour(now, slot, out);
        }
    }

    /// A port has lost its link: who was on it may be elsewhere when it comes back. What waits is unreachable.
    pub(crate) fn doubt(&mut self, now: Instant, port: usize, out: &mut Vec<Output>) {
        let idle = Duration::from_secs(self.config.limits.idle_seconds.into());
        for slot in self.table.slots() {
            let Some(neighbour) = self.table.get(slot).filter(|neighbour| neighbour.port == port) else { continue };
            match neighbour.state {
                State::Incomplete => self.forget(slot, out),
                State::Reachable | State::Delay | State::Probe => {
                    self.table.set(slot, State::Stale, now, Some(idle));
                }
                State::Stale | State::Static => {}
            }
        }
    }
}

fn unreachable(interface: InterfaceId, next_hop: IpAddr, queue: VecDeque<Buffer>, out: &mut Vec<Output>) {
    out.extend(queue.into_iter().map(|packet| Output::Unreachable { interface, next_hop, packet }));
}

/// A packet with its Ethernet header in front; `None` when it is no IP packet. The EtherType is the packet's own: a next
/// hop may have an address of the other version.
fn framed(prefix: &Prefix, mut packet: Buffer) -> Option<Buffer> {
    let kind = match packet.bytes().first()? >> 4 {
        4 => ethernet::IPV4,
        6 => ethernet::IPV6,
        _ => return None,
    };
    let header = prefix.bytes();
    let place = packet.prepend(header.len());
    place.copy_from_slice(header);
    let at = header.len() - 2;
    octets::put_u16(place, at, kind);
    Some(packet)
}
