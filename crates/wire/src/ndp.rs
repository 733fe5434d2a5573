//! Neighbour Discovery (RFC 4861): solicitations and advertisements of neighbours; of the rest, that it is there.
//!
//! ```text
//!  0 type   1 code   2 checksum   4 flags R S O (advertisement)   8 target   24 options: type, length / 8, value
//! ```

use std::net::{IpAddr, Ipv6Addr};

use crate::checksum::Sum;
use crate::ethernet::Mac;
use crate::ip::{self, Header};
use crate::{ipv6, octets};

/// Length of a neighbour message without options.
const FIXED: usize = 24;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
/// The sender is a router.
const ROUTER: u8 = 0x80;
/// The answer to a question.
const SOLICITED: u8 = 0x40;
/// Replaces what is known.
const OVERRIDE: u8 = 0x20;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who has `target`?
    Solicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// Hardware address of the sender, when it says so.
        source_mac: Option<Mac>,
    },
    /// `target` is here.
    Advertisement {
        /// The address spoken of.
        target: Ipv6Addr,
        /// Its hardware address, when the message says so.
        target_mac: Option<Mac>,
        /// The sender is a router.
        router: bool,
        /// It answers a question.
        solicited: bool,
        /// It replaces what is known.
        overrides: bool,
    },
    /// A host looks for routers.
    RouterSolicitation,
    /// A router says what it offers.
    RouterAdvertisement,
    /// A router says that another one is better.
    Redirect,
}

/// True when the ICMPv6 payload of a packet is one of Neighbour Discovery.
pub fn is_ndp(message: &[u8]) -> bool {
    matches!(message.first(), Some(133..=137))
}

impl Message {
    /// Reads the message in a packet and makes the checks of RFC 4861 sections 7.1.1 and 7.1.2; `None` when one fails.
    pub fn parse(header: &Header, message: &[u8]) -> Option<Self> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (header.source, header.destination) else { return None };
        // A hop limit of 255 proves that no router carried it.
        if header.ttl != 255 || header.protocol != ip::ICMPV6 || header.fragment.is_some() {
            return None;
        }
        let len = u32::try_from(message.len()).ok()?;
        let sum = Sum::new().with_pseudo_header(header.source, header.destination, ip::ICMPV6, len).with(message);
        if sum.checksum() != 0 || octets::u8(message, 1)? != 0 {
            return None;
        }
        let kind = octets::u8(message, 0)?;
        match kind {
            133 => return Some(Self::RouterSolicitation),
            134 => return Some(Self::RouterAdvertisement),
            137 => return Some(Self::Redirect),
            SOLICITATION | ADVERTISEMENT => {}
            _ => return None,
        }
        let target = Ipv6Addr::from_octets(octets::array(message, 8)?);
        let (source_mac, target_mac) = options(message.get(FIXED..)?)?;
        if target.is_multicast() {
            return None;
        }
        if kind == SOLICITATION {
            let group = crate::ethernet::solicited_node(target);
            // Who has no address yet asks the group and has nothing to be answered to.
            if source.is_unspecified() && (destination != group || source_mac.is_some()) {
                return None;
            }
            return Some(Self::Solicitation { target, source_mac });
        }
        let flags = octets::u8(message, 4)?;
        let solicited = flags & SOLICITED != 0;
        if solicited && destination.is_multicast() {
            return None;
        }
        let (router, overrides) = (flags & ROUTER != 0, flags & OVERRIDE != 0);
        Some(Self::Advertisement { target, target_mac, router, solicited, overrides })
    }

    /// The packet that carries the message; `None` for messages that a gateway does not send.
    pub fn packet(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Option<Vec<u8>> {
        let (kind, flags, target, option, mac) = match *self {
            Self::Solicitation { target, source_mac } => (SOLICITATION, 0, target, SOURCE_LINK, source_mac),
            Self::Advertisement { target, target_mac, router, solicited, overrides } => {
                let flag = |set: bool, bit: u8| if set { bit } else { 0 };
                let flags = flag(router, ROUTER) | flag(solicited, SOLICITED) | flag(overrides, OVERRIDE);
                (ADVERTISEMENT, flags, target, TARGET_LINK, target_mac)
            }
            Self::RouterSolicitation | Self::RouterAdvertisement | Self::Redirect => return None,
        };
        let len = FIXED + if mac.is_some() { 8 } else { 0 };
        let mut packet = vec![0; ipv6::HEADER + len];
        let (header, message) = packet.split_first_chunk_mut::<{ ipv6::HEADER }>()?;
        ipv6::Repr { source, destination, protocol: ip::ICMPV6, ds: 0, ttl: 255 }.write(header, len);
        octets::put(message, 0, [kind]);
        octets::put(message, 4, [flags]);
        octets::put(message, 8, target.octets());
        if let Some(mac) = mac {
            octets::put(message, FIXED, [option, 1]);
            octets::put(message, FIXED + 2, mac.0);
        }
        let sum = Sum::new()
            .with_pseudo_header(source.into(), destination.into(), ip::ICMPV6, u32::try_from(len).ok()?)
            .with(message)
            .checksum();
        octets::put_u16(message, 2, sum);
        Some(packet)
    }
}

/// The link-layer addresses among the options, of the source and of the target; `None` when an option has no length or
/// reaches too far (RFC 4861 section 4.6).
fn options(mut bytes: &[u8]) -> Option<(Option<Mac>, Option<Mac>)> {
    let (mut source, mut target) = (None, None);
    while !bytes.is_empty() {
        let len = usize::from(octets::u8(bytes, 1)?) * 8;
        if len == 0 {
            return None;
        }
        let (option, rest) = bytes.split_at_checked(len)?;
        let mac = octets::array(option, 2).map(Mac).filter(|_| len == 8);
        match option.first() {
            Some(&SOURCE_LINK) => source = source.or(mac),
            Some(&TARGET_LINK) => target = target.or(mac),
            _ => {}
        }
        bytes = rest;
    }
    Some((source, target))
}

/// True when `packet` is one of Neighbour Discovery: decides who gets it before it is read in full.
pub fn carries_ndp(packet: &[u8]) -> bool {
    octets::u8(packet, 6) == Some(ip::ICMPV6) && is_ndp(packet.get(ipv6::HEADER..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::solicited_node;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn read(packet: &[u8]) -> Option<Message> {
        let header = Header::parse(packet).unwrap();
        Message::parse(&header, header.payload_of(packet))
    }

    fn mend(packet: &mut [u8]) {
        packet[42..44].fill(0);
        let header = Header::parse(packet).unwrap();
        let len = u32::try_from(packet.len() - 40).unwrap();
        let sum =
            Sum::new().with_pseudo_header(header.source, header.destination, 58, len).with(&packet[40..]).checksum();
        packet[42..44].copy_from_slice(&sum.to_be_bytes());
    }

    #[test]
    fn what_is_written_is_read() {
        let target = address("2001:db8::2");
        let question = Message::Solicitation { target, source_mac: Some(MAC) };
        let packet = question.packet(address("2001:db8::1"), solicited_node(target)).unwrap();
        assert!(carries_ndp(&packet));
        assert_eq!(read(&packet), Some(question));
        for (router, solicited, overrides) in [(true, false, false), (false, true, false), (false, false, true)] {
            let target_mac = overrides.then_some(MAC);
            let answer = Message::Advertisement { target, target_mac, router, solicited, overrides };
            assert_eq!(read(&answer.packet(target, address("2001:db8::1")).unwrap()), Some(answer));
        }
    }

    #[test]
    fn what_a_router_carried_or_was_damaged_is_not_believed() {
        let target = address("2001:db8::2");
        let good = Message::Solicitation { target, source_mac: Some(MAC) }
            .packet(address("2001:db8::1"), solicited_node(target))
            .unwrap();
        let broken = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packet = good.clone();
            change(&mut packet);
            mend(&mut packet);
            read(&packet)
        };
        assert!(broken(&|_| {}).is_some());
        assert_eq!(broken(&|p| p[7] = 254), None, "hop limit");
        assert_eq!(broken(&|p| p[41] = 1), None, "code");
        assert_eq!(broken(&|p| p[48] = 0xff), None, "the target is a group");
        assert_eq!(broken(&|p| p[65] = 0), None, "an option without length");
        assert_eq!(broken(&|p| p[65] = 2), None, "an option that reaches too far");
        assert_eq!(broken(&|p| p[8..24].fill(0)), None, "nobody has a hardware address");
        let mut damaged = good.clone();
        damaged[60] ^= 1;
        assert_eq!(read(&damaged), None, "checksum");
    }

    #[test]
    fn an_answer_to_everybody_answers_nobody() {
        let target = address("2001:db8::2");
        let answer = |solicited| Message::Advertisement {
            target,
            target_mac: Some(MAC),
            router: true,
            solicited,
            overrides: true,
        };
        let all = crate::ethernet::ALL_NODES;
        assert_eq!(read(&answer(true).packet(target, all).unwrap()), None);
        assert_eq!(read(&answer(false).packet(target, all).unwrap()), Some(answer(false)));
    }
}
