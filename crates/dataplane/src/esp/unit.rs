//! What shares a pair of SAs: networks, two hosts, or two hosts with a protocol and ports (RFC 4301 section 4.4.1.1).

use std::net::IpAddr;

use base::Selector;
use wire::ip;

use crate::index::{HashKey, WORDS};
use crate::inspect::{Seen, Transport};
use crate::{InterfaceId, SaPer};

/// Two hosts, or a protocol and its ports between them. Ours first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unit {
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    /// 0 for every protocol.
    pub(crate) protocol: u8,
    /// `None` for every port.
    pub(crate) ports: Option<(u16, u16)>,
}

impl Unit {
    /// What an SA with these selectors is for, when that is one unit and nothing more.
    pub(super) fn of_selectors(local: &[Selector], remote: &[Selector]) -> Option<Self> {
        let ([local], [remote]) = (local, remote) else { return None };
        let ports = match (ports_of(local)?, ports_of(remote)?) {
            (None, None) => None,
            (Some(local), Some(remote)) => Some((local, remote)),
            _ => return None,
        };
        let one = |selector: &Selector| selector.addresses.first() == selector.addresses.last();
        let plain = local.protocol != 0 || ports.is_none();
        (one(local) && one(remote) && local.protocol == remote.protocol && plain).then(|| Self {
            local: local.addresses.first(),
            remote: remote.addresses.first(),
            protocol: local.protocol,
            ports,
        })
    }

    /// The unit that a packet asks an SA for; `None` where whole networks share one. ICMP goes without type and code:
    /// a question and its answer have different ones.
    pub(crate) fn wanted(seen: &Seen, per: SaPer) -> Option<Self> {
        let (protocol, ports) = match (per, &seen.transport) {
            (SaPer::Net, _) => return None,
            (SaPer::Host, _) => (0, None),
            (SaPer::Port, Transport::Tcp(tcp)) => (ip::TCP, Some((tcp.source, tcp.destination))),
            (SaPer::Port, Transport::Udp(udp)) => (ip::UDP, Some((udp.source, udp.destination))),
            (SaPer::Port, Transport::Icmp(_) | Transport::Other) => (seen.ip.protocol, None),
        };
        Some(Self { local: seen.ip.source, remote: seen.ip.destination, protocol, ports })
    }

    /// Itself and the wider ones around it, the narrowest first.
    pub(super) fn widening(self) -> [Self; 3] {
        let no_ports = Self { ports: None, ..self };
        [self, no_ports, Self { protocol: 0, ..no_ports }]
    }

    pub(super) fn hash(&self, key: &HashKey, tunnel: InterfaceId) -> u64 {
        key.hash(&self.words(tunnel))
    }

    fn words(&self, tunnel: InterfaceId) -> [u64; WORDS] {
        let halves = |address: IpAddr| match address {
            IpAddr::V4(address) => (0, u64::from(address.to_bits())),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h] = address.segments().map(u64::from);
                (a << 48 | b << 32 | c << 16 | d, e << 48 | f << 32 | g << 16 | h)
            }
        };
        let ((a, b), (c, d)) = (halves(self.local), halves(self.remote));
        let (known, here, there) = self.ports.map_or((0, 0, 0), |(here, there)| (1, here, there));
        let ports = u64::from(here) << 32 | u64::from(there) << 16 | u64::from(self.protocol) << 8 | known;
        [a, b, c, d, u64::from(tunnel.0), ports]
    }
}

/// The only port that a selector allows, or that it allows all; `None` when it is neither.
fn ports_of(selector: &Selector) -> Option<Option<u16>> {
    match (selector.port_first, selector.port_last) {
        (0, u16::MAX) => Some(None),
        (first, last) if first == last => Some(Some(first)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base::IpRange;

    use super::*;

    fn host(text: &str) -> Selector {
        Selector::all(IpRange::host(text.parse().unwrap()))
    }

    #[test]
    fn hosts_and_ports_are_units_and_networks_are_none() {
        let (a, b) = (host("10.0.0.1"), host("10.0.0.2"));
        let hosts = Unit { local: a.addresses.first(), remote: b.addresses.first(), protocol: 0, ports: None };
        assert_eq!(Unit::of_selectors(&[a], &[b]), Some(hosts));
        let web = |selector, port| Selector { protocol: 6, port_first: port, port_last: port, ..selector };
        let ports = Unit { protocol: 6, ports: Some((4000, 80)), ..hosts };
        assert_eq!(Unit::of_selectors(&[web(a, 4000)], &[web(b, 80)]), Some(ports));
        let ping = |selector| Selector { protocol: 1, ..selector };
        assert_eq!(Unit::of_selectors(&[ping(a)], &[ping(b)]), Some(Unit { protocol: 1, ..hosts }));
        let net = Selector::all(IpRange::network("10.0.0.0".parse().unwrap(), 31).unwrap());
        let some_ports = Selector { protocol: 6, port_first: 80, port_last: 81, ..b };
        for (local, remote) in
            [(vec![a, b], vec![b]), (vec![net], vec![b]), (vec![a], vec![net]), (vec![web(a, 1)], vec![some_ports])]
        {
            assert_eq!(Unit::of_selectors(&local, &remote), None);
        }
        assert_eq!(Unit::of_selectors(&[web(a, 1)], &[b]), None, "protocols differ");
        assert_eq!(ports.widening(), [ports, Unit { ports: None, ..ports }, hosts]);
    }
}
