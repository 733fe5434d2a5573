//! Out of a tunnel: from an ESP packet to the inner packet, which then begins at the top of the packet path.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use base::{Buffer, Duration, Event, Instant};
use wire::checksum::Sum;
use wire::{esp, ip, ipv4, ipv6, octets};

use super::open::Opened;
use crate::events::{
    BadPadding, IcvFailure, IpValidationFailure, PacketCorrupt, SaLookupFailure, SequenceNumberFailure,
};
use crate::inspect::Seen;
use crate::path::lane::Glance;
use crate::path::{Source, Work};
use crate::{Dataplane, Exception, InterfaceId, Mode, Outer, Output, Reason};

/// Addresses whose unknown SPIs are remembered, so that each is told of once a second.
const STRANGERS_MAX: usize = 256;
pub(super) const ONCE_PER: Duration = Duration::from_secs(1);

/// An inner packet that may go on.
pub(super) struct Inner {
    pub(super) tunnel: InterfaceId,
    pub(super) header: ip::Header,
}

/// The inner packet of an ESP packet that was opened, out of a tunnel.
pub(crate) enum Passed {
    /// An ordinary one, at a glance.
    Seen(InterfaceId, Glance),
    /// Any other, with its header.
    Into(InterfaceId, ip::Header),
}

impl Dataplane {
    /// An ESP packet from its ESP header on, out of UDP or protocol 50. `outer` is as seen on arrival: local is where it
    /// came to, remote where it came from. `ds` is the outer DiffServ byte with ECN.
    pub fn esp(&mut self, now: Instant, outer: Outer, ds: u8, packet: Buffer, out: &mut Vec<Output>) {
        self.begin(now, out);
        if self.admit_outer(now, &outer, ds, packet.len(), out) {
            self.unseal(now, outer, ds, packet, out);
            self.run_queue(now, out);
        } else {
            self.pool.give(packet);
        }
    }

    /// Opens an ESP packet; what is in it is carried on or goes into the queue.
    pub(crate) fn unseal(&mut self, now: Instant, outer: Outer, ds: u8, mut packet: Buffer, out: &mut Vec<Output>) {
        let work = match self.open_any(now, &outer, ds, &mut packet, out) {
            Some(Passed::Seen(tunnel, glance)) => {
                let source = Source::Tunnel(tunnel);
                // Nothing may overtake what waits in the queue.
                if self.queue.is_empty() && self.express_seen(now, source, &glance, &mut packet, out) {
                    return;
                }
                Work::new(packet, source)
            }
            Some(Passed::Into(tunnel, header)) => {
                Work { header: Some(header), ..Work::new(packet, Source::Tunnel(tunnel)) }
            }
            None => return,
        };
        self.queue.push_back(work);
    }

    /// Opens an ESP packet where it stands; what cannot be opened is counted and gone.
    #[inline]
    pub(crate) fn open_any(
        &mut self,
        now: Instant,
        outer: &Outer,
        ds: u8,
        packet: &mut Buffer,
        out: &mut Vec<Output>,
    ) -> Option<Passed> {
        let header = esp::Header::parse(packet.bytes());
        match self.open_esp(now, outer, ds, packet, out) {
            Ok(passed) => Some(passed),
            Err(reason) => {
                self.counters.count(reason);
                self.log_refusal(now, reason, outer, header, packet.bytes(), out);
                self.pool.give(std::mem::take(packet));
                None
            }
        }
    }

    fn open_esp(
        &mut self,
        now: Instant,
        outer: &Outer,
        ds: u8,
        packet: &mut Buffer,
        out: &mut Vec<Output>,
    ) -> Result<Passed, Reason> {
        let spi = esp::Header::parse(packet.bytes()).ok_or(Reason::EspMalformed)?.spi;
        let Some(slot) = self.sas.by_spi(spi) else {
            self.tell_unknown(now, spi, outer, out);
            return Err(Reason::UnknownSpi);
        };
        if self.sas.get(slot).is_some_and(|entry| entry.sa.mode == Mode::Transport) {
            let Inner { tunnel, header } = self.open_transport(now, slot, (outer, ds), packet, out)?;
            return Ok(Passed::Into(tunnel, header));
        }
        let opened = self.authentic(now, slot, outer, packet.bytes_mut(), out)?;
        packet.truncate(opened.text.end);
        packet.strip(opened.text.start);
        if let Some((tunnel, glance)) = self.admit_at_a_glance(slot, opened.next_header, ds, packet.bytes_mut()) {
            packet.truncate(glance.total);
            self.taken_in(now, slot, Some(glance.total), out);
            return Ok(Passed::Seen(tunnel, glance));
        }
        let Inner { tunnel, header } = self.admit(now, slot, (opened.next_header, ds), packet.bytes_mut(), out)?;
        packet.truncate(header.total);
        Ok(Passed::Into(tunnel, header))
    }

    /// The tunnel of an ordinary inner packet that fits the pair, whose mark of congestion is taken over. Of others nothing is
    /// said, and nothing is done to them.
    #[inline]
    fn admit_at_a_glance(&self, slot: u32, next_header: u8, ds: u8, text: &mut [u8]) -> Option<(InterfaceId, Glance)> {
        #[cfg(test)]
        if self.without_lane {
            return None;
        }
        let mut glance = Glance::at(text)?;
        let sa = &self.sas.get(slot)?.sa;
        let [(source, source_port), (destination, destination_port)] = glance.ends();
        let fits = |selectors: &[base::Selector], address, port| {
            selectors.iter().any(|selector| selector.matches(address, glance.protocol(), Some(port)))
        };
        let version = if glance.is_v4() { ip::IPV4 } else { ip::IPV6 };
        if next_header != version
            || !fits(&sa.remote, source, source_port)
            || !fits(&sa.local, destination, destination_port)
        {
            return None;
        }
        let marked = ip::ecn_out_of_tunnel(glance.ds, ds)?;
        if marked != glance.ds {
            ip::set_ds(text, marked);
            glance.ds = marked;
        }
        Some((sa.tunnel, glance))
    }

    /// Opens a packet where it stands.
    fn authentic(
        &mut self,
        now: Instant,
        slot: u32,
        outer: &Outer,
        packet: &mut [u8],
        out: &mut Vec<Output>,
    ) -> Result<Opened, Reason> {
        let entry = self.sas.get_mut(slot).ok_or(Reason::UnknownSpi)?;
        if entry.sa.used_up() {
            return Err(Reason::SaUsedUp);
        }
        let opened = entry.sa.open_place(packet)?;
        if let Some(raised) = entry.arrived(now, outer, opened.newest) {
            out.push(Output::Exception(raised));
        }
        Ok(opened)
    }

    /// The inner packet that stands at the start of a text.
    fn admit(
        &mut self,
        now: Instant,
        slot: u32,
        (next_header, ds): (u8, u8),
        text: &mut [u8],
        out: &mut Vec<Output>,
    ) -> Result<Inner, Reason> {
        let entry = self.sas.get(slot).ok_or(Reason::UnknownSpi)?;
        let inner = match next_header {
            ip::IPV4 | ip::IPV6 => entry.sa.admit(next_header, ds, text),
            ip::NONE => Err(Reason::Dummy),
            _ => Err(Reason::NextHeader),
        };
        let tunnel = entry.sa.tunnel;
        self.taken_in(now, slot, inner.as_ref().ok().map(|header| header.total), out);
        inner.map(|header| Inner { tunnel, header })
    }

    /// Opens a packet of a pair in tunnel mode where it stands; `place` is then the inner packet's.
    pub(super) fn open_place(
        &mut self,
        now: Instant,
        slot: u32,
        (outer, ds): (&Outer, u8),
        packet: &mut [u8],
        place: &mut Range<usize>,
        out: &mut Vec<Output>,
    ) -> Result<Inner, Reason> {
        let opened = self.authentic(now, slot, outer, packet, out)?;
        *place = opened.text;
        let text = packet.get_mut(place.clone()).unwrap_or_default();
        let inner = self.admit(now, slot, (opened.next_header, ds), text, out)?;
        // What lies behind the inner packet's own length is traffic flow confidentiality padding (RFC 4303 section 2.7).
        place.end = place.start + inner.header.total;
        Ok(inner)
    }

    /// In transport mode the packet gets an IP header of its own again.
    fn open_transport(
        &mut self,
        now: Instant,
        slot: u32,
        (outer, ds): (&Outer, u8),
        packet: &mut Buffer,
        out: &mut Vec<Output>,
    ) -> Result<Inner, Reason> {
        let entry = self.sas.get_mut(slot).ok_or(Reason::UnknownSpi)?;
        if entry.sa.used_up() {
            return Err(Reason::SaUsedUp);
        }
        let opened = entry.sa.open(packet)?;
        let raised = entry.arrived(now, outer, opened.newest);
        out.extend(raised.map(Output::Exception));
        let sa = &entry.sa;
        let inner = match opened.next_header {
            ip::NONE => Err(Reason::Dummy),
            protocol => sa
                .dress(protocol, &entry.outer, ds, packet)
                .and_then(|version| sa.admit(version, ds, packet.bytes_mut())),
        };
        if let Ok(header) = &inner {
            packet.truncate(header.total);
        }
        let tunnel = sa.tunnel;
        self.taken_in(now, slot, inner.as_ref().ok().map(|header| header.total), out);
        inner.map(|header| Inner { tunnel, header })
    }

    /// What follows from an authentic packet for its pair; with the length of the inner packet if that may go on.
    #[inline]
    fn taken_in(&mut self, now: Instant, slot: u32, len: Option<usize>, out: &mut Vec<Output>) {
        let Some(entry) = self.sas.get_mut(slot) else { return };
        if let Some(len) = len {
            entry.sa.count_bytes_in(u64::try_from(len).unwrap_or(0));
        }
        let limit = entry.limit_reached();
        // The peer has this pair, so it may be used.
        self.sas.start_sending(slot);
        if let Some(limit) = limit {
            self.tell_limit(now, slot, limit, out);
        }
    }

    /// Tells the control side of an SPI that nobody knows, once a second per address.
    fn tell_unknown(&mut self, now: Instant, spi: u32, outer: &Outer, out: &mut Vec<Output>) {
        if spi > esp::SPI_RESERVED_MAX && self.strangers.may_tell(now, outer.remote.ip()) {
            out.push(Output::Exception(Exception::UnknownSpi { spi, remote: outer.remote }));
        }
    }

    pub(super) fn log_refusal(
        &mut self,
        now: Instant,
        reason: Reason,
        outer: &Outer,
        header: Option<esp::Header>,
        packet: &[u8],
        out: &mut Vec<Output>,
    ) {
        if !self.may_log(now, reason, out) {
            return;
        }
        let (source_ip, dest_ip) = (outer.remote.ip().to_string(), outer.local.ip().to_string());
        let spi = header.map_or(String::new(), |header| format!("{:#010x}", header.spi));
        let seq = header.map_or(0, |header| u64::from(header.sequence));
        let (protocol, why) = ("ESP".to_owned(), reason.sentence().to_owned());
        let record = match reason {
            Reason::EspMalformed | Reason::NextHeader | Reason::InnerMalformed => {
                PacketCorrupt { source_ip, dest_ip, spi, seq, protocol, reason: why }.record()
            }
            Reason::IcvFailure => IcvFailure { source_ip, dest_ip, spi, seq, protocol, reason: why }.record(),
            Reason::Replayed => SequenceNumberFailure { source_ip, dest_ip, spi, seq, protocol, reason: why }.record(),
            Reason::UnknownSpi => SaLookupFailure { source_ip, dest_ip, spi, seq, protocol, reason: why }.record(),
            Reason::BadPadding => BadPadding { source_ip, dest_ip, spi, seq, protocol, reason: why }.record(),
            Reason::InnerAddress => {
                let Ok(inner) = ip::Header::parse(packet) else { return };
                let sa = header.and_then(|header| self.sas.by_spi(header.spi)).and_then(|slot| self.sas.get(slot));
                let tunnel = sa.map_or(String::new(), |entry| self.name(entry.sa.tunnel).to_string());
                let (source_ip, dest_ip) = (inner.source.to_string(), inner.destination.to_string());
                IpValidationFailure { tunnel, source_ip, dest_ip, spi, reason: why }.record()
            }
            // A dummy is meant to go unseen, congestion is daily life, and the end of an SA has been told.
            _ => return,
        };
        out.push(Output::Log(record));
    }
}

impl super::sa::Sa {
    /// Gives what came in transport mode an IP header again, between the two peers. Returns the next header that stands
    /// for a whole packet of that family.
    fn dress(&self, protocol: u8, outer: &Outer, ds: u8, packet: &mut Buffer) -> Result<u8, Reason> {
        let (ttl, len) = (64, packet.len());
        if outer.udp {
            mend_checksum(protocol, outer, packet.bytes_mut());
        }
        match (outer.remote.ip(), outer.local.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) if len <= ipv4::TOTAL_MAX - ipv4::HEADER => {
                let header = ipv4::Repr { source, destination, protocol, ds, ttl, id: 0, flags: ipv4::DF };
                let front = packet.prepend(ipv4::HEADER).first_chunk_mut().ok_or(Reason::InnerMalformed)?;
                header.write(front, len);
                Ok(ip::IPV4)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = ipv6::Repr { source, destination, protocol, ds, ttl };
                let front = packet.prepend(ipv6::HEADER).first_chunk_mut().ok_or(Reason::InnerMalformed)?;
                header.write(front, len);
                Ok(ip::IPV6)
            }
            _ => Err(Reason::InnerMalformed),
        }
    }

    /// Checks the inner packet against the SA and takes over the network's mark of congestion.
    fn admit(&self, next_header: u8, ds: u8, packet: &mut [u8]) -> Result<ip::Header, Reason> {
        let mut header = ip::Header::parse(packet).map_err(|_| Reason::InnerMalformed)?;
        if header.is_v4() != (next_header == ip::IPV4) {
            return Err(Reason::InnerMalformed);
        }
        let (source_port, destination_port) = match header.fragment {
            Some(_) => (None, None),
            None => Seen::new(packet, header).ok_or(Reason::InnerMalformed)?.selector_ports(),
        };
        let fits = |selectors: &[base::Selector], address, port| {
            selectors.iter().any(|selector| selector.matches(address, header.protocol, port))
        };
        // RFC 4301 section 5.2 step 4.
        if !fits(&self.remote, header.source, source_port) || !fits(&self.local, header.destination, destination_port) {
            return Err(Reason::InnerAddress);
        }
        let marked = ip::ecn_out_of_tunnel(header.ds, ds).ok_or(Reason::Congestion)?;
        if marked != header.ds {
            ip::set_ds(packet, marked);
            header.ds = marked;
        }
        Ok(header)
    }
}

/// RFC 3948 section 3.1.2: a NAT on the way has changed the addresses that the sum over TCP or UDP was made with. What it
/// protected the ICV has protected better, so it is made anew.
fn mend_checksum(protocol: u8, outer: &Outer, segment: &mut [u8]) {
    let at = match protocol {
        ip::TCP => 16,
        // No sum at all is one too, in IPv4.
        ip::UDP if octets::u16(segment, 6) != Some(0) => 6,
        _ => return,
    };
    let Ok(len) = u32::try_from(segment.len()) else { return };
    if octets::u16(segment, at).is_none() {
        return;
    }
    octets::put_u16(segment, at, 0);
    let sum =
        Sum::new().with_pseudo_header(outer.remote.ip(), outer.local.ip(), protocol, len).with(segment).checksum();
    // RFC 768: a sum of zero is sent as its other form.
    octets::put_u16(segment, at, if protocol == ip::UDP && sum == 0 { u16::MAX } else { sum });
}

/// Who sent SPIs that nobody knows, and when the control side was told of it.
#[derive(Debug, Default)]
pub(crate) struct Strangers(BTreeMap<IpAddr, Instant>);

impl Strangers {
    fn may_tell(&mut self, now: Instant, address: IpAddr) -> bool {
        if self.0.get(&address).is_some_and(|at| now.since(*at) < ONCE_PER) {
            return false;
        }
        if self.0.len() >= STRANGERS_MAX {
            self.0.retain(|_, at| now.since(*at) < ONCE_PER);
        }
        let room = self.0.len() < STRANGERS_MAX;
        if room {
            self.0.insert(address, now);
        }
        room
    }
}
