//! What the gateway tells a sender whose packet it could not forward.

use std::net::IpAddr;

use base::{Buffer, Instant};
use wire::icmp::{self, Problem};
use wire::{ip, tcp};

use crate::flows::Place;
use crate::inspect::{Seen, Transport};
use crate::path::{Denial, Source, Work};
use crate::{CORE, Dataplane, Output, Reason};

/// Resets, and errors about anything but size, in a second (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f: such answers are rate limited).
pub const ANSWERS_PER_SECOND: u32 = 200;

/// Errors about the size of packets in a second. They have a bound of their own: connections hang whose senders are not
/// told, and anybody can provoke the others.
pub const SIZES_PER_SECOND: u32 = 200;

/// How many have been sent in this second.
#[derive(Debug, Default)]
pub(crate) struct AnswerLimit {
    second: u64,
    sizes: u32,
    others: u32,
}

impl AnswerLimit {
    fn may_answer(&mut self, now: Instant) -> bool {
        self.begin(now);
        self.others = self.others.saturating_add(1);
        self.others <= ANSWERS_PER_SECOND
    }

    fn may_tell(&mut self, now: Instant, problem: Problem) -> bool {
        if !matches!(problem, Problem::TooBig(_)) {
            return self.may_answer(now);
        }
        self.begin(now);
        self.sizes = self.sizes.saturating_add(1);
        self.sizes <= SIZES_PER_SECOND
    }

    fn begin(&mut self, now: Instant) {
        if now.as_secs() != self.second {
            *self = Self { second: now.as_secs(), sizes: 0, others: 0 };
        }
    }
}

impl Dataplane {
    /// Sends the ICMP error about a packet to its sender.
    pub(crate) fn tell_sender(&mut self, now: Instant, problem: Problem, work: &Work) {
        let Some(seen) = answerable(work) else { return };
        if seen.is_icmp_error() || !self.answers.may_tell(now, problem) {
            return;
        }
        let Some(source) = self.address_towards(&seen.ip, work.source) else { return };
        let offender = work.packet.bytes();
        if let Some(packet) = icmp::error_packet(problem, source, seen.ip.source, offender) {
            self.queue_answer(work.source, &packet);
        }
    }

    /// A packet that had left by a packet port comes back: nobody there answers for its next hop. Its sender is told, who
    /// knows it as it was before it was translated (RFC 1812 section 5.3.3).
    pub fn unreachable(&mut self, now: Instant, packet: Buffer, out: &mut Vec<Output>) {
        self.begin(now, out);
        let mut work = Work::new(packet, Source::Originated(None));
        work.header = ip::Header::parse(work.packet.bytes()).ok().filter(|header| header.fragment.is_none());
        // Our own packets, those that peers are sent among them, have no connection; nobody waits to be told.
        let found = work.seen().and_then(|seen| self.flows.find(&seen.key().reversed()));
        if let Some((slot, back)) = found
            && let Some(flow) = self.flows.get(slot)
        {
            let way = back.other();
            let side = flow.ends(way).0.side();
            work.original = Some(flow.keys(way).0);
            work.source = match side.place {
                Place::Core => Source::Originated(None),
                Place::Host => Source::Port,
                Place::Port => Source::Link(side.interface),
                Place::Tunnel => Source::Tunnel(side.interface),
            };
        }
        let denial = match work.source {
            Source::Originated(_) => Denial::of(Reason::NoNeighbour),
            _ => Denial::telling(Reason::NoNeighbour, Problem::HostUnreachable),
        };
        self.deny(now, work, denial, out);
        self.run_queue(now, out);
    }

    /// Refuses a packet: resets a TCP connection, says "prohibited" to everything else.
    pub(crate) fn refuse(&mut self, now: Instant, work: &Work) {
        let Some(seen) = answerable(work) else { return };
        let Transport::Tcp(segment) = &seen.transport else {
            return self.tell_sender(now, Problem::Prohibited, work);
        };
        // RFC 9293 section 3.10.7.1: a reset is not answered.
        if segment.has(tcp::RST) || !self.answers.may_answer(now) {
            return;
        }
        let (source, destination) = (seen.ip.destination, seen.ip.source);
        let reset = tcp::reset_for(segment, source, destination);
        if let Some(packet) = icmp::ip_packet(source, destination, ip::TCP, &reset) {
            self.queue_answer(work.source, &packet);
        }
    }

    fn queue_answer(&mut self, about: Source, bytes: &[u8]) {
        let mut packet: Buffer = self.pool.take();
        packet.extend(bytes);
        self.queue.push_back(Work::new(packet, Source::Error(about.interface())));
    }

    /// The address that an error comes from: one of ours, as near to the sender as there is.
    fn address_towards(&self, offender: &ip::Header, source: Source) -> Option<IpAddr> {
        let sender = offender.source;
        let own = self.tables.main().own_addresses();
        let same_family = |address: &&IpAddr| address.is_ipv4() == sender.is_ipv4();
        let route = self.tables.main().lookup(sender);
        if source.is_core() || route.is_some_and(|route| route.interface == CORE) {
            // The kernel of this machine believes no packet from the outside that claims to come from itself: to it the
            // error comes from where its packet was going.
            return Some(offender.destination);
        }
        if let Source::Tunnel(tunnel) = source
            && let Some(path) = self.tunnel(tunnel)
        {
            let inside = |address: &&IpAddr| path.local_networks.iter().any(|range| range.contains(**address));
            return path
                .originator
                .iter()
                .find(same_family)
                .or_else(|| own.iter().filter(same_family).find(inside))
                .copied();
        }
        if let Source::Link(interface) = source {
            let interface = self.interface(interface)?;
            return interface.addresses.iter().find(same_family).or_else(|| own.iter().find(same_family)).copied();
        }
        let beside = |address: &&IpAddr| route.is_some_and(|route| route.network.contains(*address));
        own.iter().find(beside).or_else(|| own.iter().find(same_family)).copied()
    }
}

/// RFC 1122 section 3.2.2: errors are not sent about what we sent as an error ourselves.
fn answerable(work: &Work) -> Option<Seen> {
    let header = work.header.filter(|_| !matches!(work.source, Source::Error(_)))?;
    Seen::new(work.packet.bytes(), header)
}
