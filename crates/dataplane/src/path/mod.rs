//! The packet path from the top: sanity, fragments, then `decide.rs` and on with `forward.rs`.
//!
//! ```text
//! plain, link, originate, esp -> queue -> sanity -> fragments -> decide: IPsec? ICMP error? connection?
//!                                  ^                               else access, route, rules, translation (judge.rs)
//!                                  |                                          |
//!                        answers, decrypted packets                           v
//!                                  ^                              forward: translate, hop, MSS
//!                                  |                                          |
//!                                  +----- core <------------------------------+---> host | packet port | tunnel (esp/send.rs)
//! ```
//! What a packet gives rise to goes into the queue and begins at the top; nothing recurses.
//!
//! A connection is judged once, and again by its next packet whenever policy or routes have changed since (`generation`): a
//! new policy takes hold at once and costs nothing for connections that say nothing.

mod access;
mod decide;
mod deny;
mod forward;
pub(crate) mod judge;
pub(crate) mod lane;
mod offloaded;
mod outer;
pub(crate) mod peers;
pub(crate) mod route;

use std::net::IpAddr;

use base::{Buffer, Instant, Offload};
use wire::{ip, ipv6};

pub(crate) use deny::Denial;

use crate::flows::{Side, Way};
use crate::fragments::{Cut, Evicted, Outcome};
use crate::inspect::{Key, Seen};
use crate::shards::Handed;
use crate::{CORE, Dataplane, InterfaceId, InterfaceKind, Output, Reason};

/// The name under which connections are listed that the gateway itself began.
pub const ORIGINATED: &str = "core";

/// A packet on its way.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) packet: Buffer,
    pub(crate) source: Source,
    /// Its header, once it has been checked.
    pub(crate) header: Option<ip::Header>,
    /// How it was cut before it was put together.
    pub(crate) cut: Option<Cut>,
    /// What it was before it was translated.
    pub(crate) original: Option<Key>,
    /// How often one shard has handed it to another.
    pub(crate) handed: u8,
    /// What is left to be done to it.
    pub(crate) offload: Offload,
}

impl Work {
    pub(crate) fn new(packet: Buffer, source: Source) -> Self {
        Self { packet, source, header: None, cut: None, original: None, handed: 0, offload: Offload::NONE }
    }

    /// The packet, looked into once more.
    pub(crate) fn seen(&self) -> Option<Seen> {
        Seen::new(self.packet.bytes(), self.header?)
    }
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The host port: the interface follows from the source address.
    Port,
    /// A packet port.
    Link(InterfaceId),
    /// Out of a tunnel.
    Tunnel(InterfaceId),
    /// The gateway, as an answer to what a rule has allowed.
    Core,
    /// The gateway, by itself: no rule is asked. Perhaps by this way, wherever the routes lead.
    Originated(Option<Over>),
    /// The gateway, as an error or a refusal: no rule is asked, and no connection comes of it. It goes back to where the
    /// packet came from that it is about; `None`: behind the host port.
    Error(Option<InterfaceId>),
}

/// A way that does not depend on routes: what watches over a route must go by it, above all while it is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// The interface.
    pub interface: InterfaceId,
    /// The next hop; `None`: the destination itself.
    pub gateway: Option<IpAddr>,
}

impl Source {
    pub(crate) fn is_core(self) -> bool {
        matches!(self, Self::Core | Self::Originated(_) | Self::Error(_))
    }

    /// The way back to it.
    pub(crate) fn interface(self) -> Option<InterfaceId> {
        match self {
            Self::Link(interface) | Self::Tunnel(interface) => Some(interface),
            Self::Port | Self::Core | Self::Originated(_) | Self::Error(_) => None,
        }
    }
}

/// Where a packet may go on to.
#[derive(Clone, Copy, Debug)]
struct Hop {
    from: Side,
    to: Side,
    flow: Option<(u32, Way)>,
    /// Its connection looks otherwise on the other side.
    translated: bool,
}

impl Hop {
    /// Of no connection.
    fn past(from: Side, to: Side) -> Self {
        Self { from, to, flow: None, translated: false }
    }
}

impl Dataplane {
    /// Carries a packet, and what it gives rise to.
    pub(crate) fn run(&mut self, now: Instant, work: Work, out: &mut Vec<Output>) {
        self.carry(now, work, out);
        self.run_queue(now, out);
    }

    pub(crate) fn run_queue(&mut self, now: Instant, out: &mut Vec<Output>) {
        while let Some(work) = self.queue.pop_front() {
            self.carry(now, work, out);
        }
    }

    fn carry(&mut self, now: Instant, mut work: Work, out: &mut Vec<Output>) {
        let parsed = match work.header {
            Some(header) => Ok(header),
            None => ip::Header::parse(work.packet.bytes()),
        };
        let Ok(header) = parsed else {
            return self.deny(now, work, Denial::of(Reason::MalformedIp), out);
        };
        work.packet.truncate(header.total);
        work.header = Some(header);
        if let Err(reason) = sane(&header) {
            return self.deny(now, work, Denial::of(reason), out);
        }
        if header.fragment.is_some() {
            // Nobody honest cuts a packet twice before it is whole again, and each cut costs a copy of all of it.
            if work.cut.is_some() || !work.offload.is_none() {
                return self.deny(now, work, Denial::of(Reason::MalformedIp), out);
            }
            if let Some(to) = self.fragments_elsewhere(&work, &header) {
                return self.hand(to, Handed::Packet(work));
            }
            return self.put_together(now, work, &header, out);
        }
        let seen = Seen::new(work.packet.bytes(), header).filter(|seen| work.offload.is_none() || work.prepare(seen));
        let Some(seen) = seen else {
            return self.deny(now, work, Denial::of(Reason::MalformedTransport), out);
        };
        if let Some(to) = self.elsewhere(&work, &seen) {
            return self.hand(to, Handed::Packet(work));
        }
        match self.decide(now, &work, &seen, out) {
            Ok(hop) => {
                if let (Some(segments), Some((slot, way))) = (work.offload.segments, hop.flow) {
                    self.flows.carried_more(slot, way, work.stands_for(), segments.header_len);
                }
                self.forward(now, work, seen, hop, out);
            }
            Err(denial) => self.deny(now, work, denial, out),
        }
    }

    fn put_together(&mut self, now: Instant, work: Work, header: &ip::Header, out: &mut Vec<Output>) {
        let from = work.source.interface().map_or(CORE.0, |interface| interface.0);
        let outside = !matches!(work.source, Source::Tunnel(_));
        let mut evicted = Vec::new();
        let outcome = self.fragments.add(now, (from, outside), header, work.packet.bytes(), &mut evicted);
        for Evicted { from, header } in evicted {
            let work = Work { header: Some(header), ..Work::new(self.pool.take(), self.source_of(from)) };
            self.deny(now, work, Denial::of(Reason::FragmentLimit), out);
        }
        match outcome {
            Outcome::Whole(packet, cut) => {
                self.pool.give(work.packet);
                self.queue.push_back(Work { cut: Some(cut), ..Work::new(packet, work.source) });
            }
            Outcome::Kept => self.pool.give(work.packet),
            Outcome::Dropped(reason) => self.deny(now, work, Denial::of(reason), out),
        }
    }

    /// Where fragments come from that came by this number.
    fn source_of(&self, from: u32) -> Source {
        let interface = InterfaceId(from);
        match self.interface(interface).map(|interface| &interface.kind) {
            _ if interface == CORE => Source::Port,
            Some(InterfaceKind::Port) => Source::Link(interface),
            Some(_) | None => Source::Tunnel(interface),
        }
    }
}

/// Addresses that no packet on its way may have.
fn sane(header: &ip::Header) -> Result<(), Reason> {
    use std::net::IpAddr::{V4, V6};
    // RFC 4291 section 2.5.5.2: on the wire they stand for nobody, and a host may take one for the IPv4 address inside.
    let mapped = |address| matches!(address, V6(address) if address.to_ipv4_mapped().is_some());
    let impossible = match header.source {
        V4(source) => {
            source.is_loopback()
                || source.octets().first() == Some(&0)
                || source.is_multicast()
                || source.is_broadcast()
        }
        V6(source) => source.is_loopback() || source.is_unspecified() || source.is_multicast(),
    };
    let elsewhere = match header.destination {
        // Not 169.254.0.0/16: inside tunnels to clouds it numbers the two ends, and routes decide about it.
        V4(to) => to.is_multicast() || to.is_broadcast() || to.is_unspecified(),
        V6(to) => to.is_multicast() || to.is_unspecified() || ipv6::stays_on_link(to),
    };
    let on_link = match header.source {
        V4(_) => false,
        V6(source) => ipv6::stays_on_link(source),
    };
    // Neighbour discovery and its like arrive in great numbers from the kernel itself, with sources of every kind: what
    // stays on the link is noise, not an attack.
    if elsewhere || on_link && !impossible {
        return Err(Reason::NotUnicast);
    }
    let to_loopback = match header.destination {
        V4(to) => to.is_loopback(),
        V6(to) => to.is_loopback(),
    };
    let nobody = to_loopback || mapped(header.source) || mapped(header.destination);
    if impossible || nobody || header.source == header.destination {
        return Err(Reason::ImpossibleSource);
    }
    Ok(())
}
