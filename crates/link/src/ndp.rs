//! Neighbour Discovery (RFC 4861 section 7.2): what is answered, what is believed, what is asked. Routers and redirects are
//! not listened to: the gateway's routes are configured.

use std::net::{IpAddr, Ipv6Addr};

use base::Instant;
use wire::ethernet::{self, ALL_NODES, Mac, solicited_node};
use wire::ip::Header;
use wire::ndp::Message;

use crate::interface::{Speaker, Standing, Voice};
use crate::resolve::How;
use crate::{Link, Output, Reason};

/// What an advertisement says.
struct Advertised {
    target: Ipv6Addr,
    mac: Option<Mac>,
    solicited: bool,
    overrides: bool,
}

impl Link {
    /// A packet with such a message has come in.
    pub(crate) fn ndp(
        &mut self,
        now: Instant,
        index: usize,
        source: Mac,
        packet: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Reason> {
        let header = Header::parse(packet).map_err(|_| Reason::NdpMalformed)?;
        let message = Message::parse(&header, header.payload_of(packet)).ok_or(Reason::NdpMalformed)?;
        match message {
            Message::Solicitation { target, source_mac } => {
                let IpAddr::V6(asker) = header.source else { return Err(Reason::NdpMalformed) };
                self.solicited(now, index, source, (asker, source_mac), target, out)
            }
            Message::Advertisement { target, target_mac, solicited, overrides, .. } => {
                self.advertised(now, index, source, &Advertised { target, mac: target_mac, solicited, overrides }, out)
            }
            Message::RouterSolicitation | Message::RouterAdvertisement => Err(Reason::RouterDiscovery),
            Message::Redirect => Err(Reason::NdpRedirect),
        }
    }

    /// Somebody asks (RFC 4861 section 7.2.3).
    fn solicited(
        &mut self,
        now: Instant,
        index: usize,
        source: Mac,
        (asker, asker_mac): (Ipv6Addr, Option<Mac>),
        target: Ipv6Addr,
        out: &mut Vec<Output>,
    ) -> Result<(), Reason> {
        let address = IpAddr::V6(target);
        let standing = self.interfaces.get(index).and_then(|interface| interface.own(address)).map(|own| own.standing);
        if standing == Some(Standing::Tentative) {
            // RFC 4862 section 5.4.3: who asks without an address wants the same one; who has one is not answered yet.
            if asker.is_unspecified() {
                self.claimed(now, index, address, source, out);
                return Err(Reason::AddressConflict);
            }
            return Err(Reason::NdpNotForUs);
        }
        if self.is_ours(index, asker.into()) {
            self.conflict(now, index, asker.into(), source, out);
            return Err(Reason::AddressConflict);
        }
        let Some(speaker) = self.speaker(index, address, asker.into()) else {
            self.verify_proxied(now, index, address, out);
            return Err(Reason::NdpNotForUs);
        };
        let interface = self.interfaces.get(index).ok_or(Reason::UnknownVlan)?;
        let known = interface.is_on_link(asker.into()) || self.lookup(interface.id, asker.into()).is_some();
        let interface = self.interfaces.get_mut(index).ok_or(Reason::UnknownVlan)?;
        if !asker.is_unspecified() && !known {
            return Err(Reason::NdpForeignNetwork);
        }
        if !interface.answers.allows(now) {
            return Err(Reason::AnswerRate);
        }
        if asker.is_unspecified() {
            // RFC 4861 section 7.2.4: it cannot be answered, so everybody is.
            self.advertise(index, target, speaker, (ALL_NODES, Mac::of_group(ALL_NODES.into())), out);
            return Ok(());
        }
        if let Some(mac) = asker_mac.filter(|mac| mac.is_unicast()) {
            self.heard(now, index, asker.into(), mac, How::Question, out);
        }
        self.advertise(index, target, speaker, (asker, asker_mac.unwrap_or(source)), out);
        Ok(())
    }

    /// Somebody says who it is (RFC 4861 section 7.2.5).
    fn advertised(
        &mut self,
        now: Instant,
        index: usize,
        source: Mac,
        said: &Advertised,
        out: &mut Vec<Output>,
    ) -> Result<(), Reason> {
        let address = IpAddr::V6(said.target);
        let interface = self.interfaces.get(index).ok_or(Reason::UnknownVlan)?;
        let (id, on_link) = (interface.id, interface.is_on_link(address));
        if interface.own(address).is_some_and(|own| own.standing == Standing::Tentative) {
            self.claimed(now, index, address, source, out);
            return Err(Reason::AddressConflict);
        }
        if self.is_ours(index, address) {
            self.conflict(now, index, address, source, out);
            return Err(Reason::AddressConflict);
        }
        let key = (id, address);
        let probed = said.solicited && self.take_probed(now, key);
        if probed {
            out.push(Output::Heard { interface: id, address, mac: said.mac.unwrap_or(source) });
        }
        let awaited = probed || self.is_asked_for(&key);
        let known = self.lookup(id, address);
        if !on_link && !awaited && known.is_none() {
            return Err(Reason::NdpForeignNetwork);
        }
        // Without a hardware address it says that it is still where it was.
        let mac = said.mac.or(known).filter(|mac| mac.is_unicast()).ok_or(Reason::NdpUnsolicited)?;
        if said.solicited && awaited && (said.overrides || known.is_none_or(|known| known == mac)) {
            self.heard(now, index, address, mac, How::Answer, out);
            return Ok(());
        }
        // Not to be overridden, or not asked for: what is known stays, unless the sender insists and speaks to everybody.
        if !awaited && said.solicited {
            return Err(Reason::NdpUnsolicited);
        }
        if said.overrides || known.is_none() {
            self.heard(now, index, address, mac, How::Claim, out);
        }
        Ok(())
    }

    fn advertise(
        &mut self,
        index: usize,
        target: Ipv6Addr,
        speaker: Speaker,
        (to, to_mac): (Ipv6Addr, Mac),
        out: &mut Vec<Output>,
    ) {
        // RFC 4861 section 7.2.8: who answers for another does not insist.
        let overrides = speaker.voice != Voice::Proxied;
        let solicited = !to.is_multicast();
        let target_mac = Some(speaker.mac);
        let message = Message::Advertisement { target, target_mac, router: true, solicited, overrides };
        let own = self.interfaces.get(index).and_then(|interface| interface.source_for(to.into()));
        let source = match (speaker.voice, own) {
            (Voice::Own, _) | (_, None) => target,
            (_, Some(IpAddr::V6(own))) => own,
            (_, Some(IpAddr::V4(_))) => return,
        };
        if let Some(packet) = message.packet(source, to) {
            self.transmit(index, (to_mac, speaker.source), ethernet::IPV6, &packet, out);
        }
    }

    /// Asks for an address: the group it belongs to, or the one who had it (RFC 4861 sections 7.2.2 and 7.3.3).
    pub(crate) fn ndp_question(
        &mut self,
        index: usize,
        source: Ipv6Addr,
        target: Ipv6Addr,
        to: Option<Mac>,
        out: &mut Vec<Output>,
    ) {
        let Some(mac) = self.interfaces.get(index).map(|interface| interface.mac) else { return };
        let source_mac = (!source.is_unspecified()).then_some(mac);
        let group = solicited_node(target);
        let (destination, to) = match to {
            Some(known) => (target, known),
            None => (group, Mac::of_group(group.into())),
        };
        if let Some(packet) = (Message::Solicitation { target, source_mac }).packet(source, destination) {
            self.transmit(index, (to, mac), ethernet::IPV6, &packet, out);
        }
    }

    /// Says to everybody who has an address (RFC 4861 section 7.2.6).
    pub(crate) fn ndp_announce(&mut self, index: usize, address: Ipv6Addr, speaker: Speaker, out: &mut Vec<Output>) {
        self.advertise(index, address, speaker, (ALL_NODES, Mac::of_group(ALL_NODES.into())), out);
    }
}
