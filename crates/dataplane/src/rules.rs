//! The IP rule set: the first rule that matches decides.

use wire::icmp::Class;

use crate::inspect::{Seen, Transport};
use crate::{InterfaceId, Rule, Service};

/// The first rule that matches a packet which would open a connection from `source` to `destination`.
pub(crate) fn first_match<'a>(
    rules: &'a [Rule],
    seen: &Seen,
    source: InterfaceId,
    destination: InterfaceId,
) -> Option<&'a Rule> {
    rules.iter().find(|rule| {
        among(rule.source_interfaces.as_deref(), source)
            && among(rule.destination_interfaces.as_deref(), destination)
            && rule.source_networks.iter().any(|range| range.contains(seen.ip.source))
            && rule.destination_networks.iter().any(|range| range.contains(seen.ip.destination))
            && rule.services.iter().any(|service| is_for(service, seen))
    })
}

fn among(interfaces: Option<&[InterfaceId]>, interface: InterfaceId) -> bool {
    interfaces.is_none_or(|interfaces| interfaces.contains(&interface))
}

fn is_for(service: &Service, seen: &Seen) -> bool {
    match service {
        Service::All => true,
        Service::Protocol(numbers) => numbers.contains(&seen.ip.protocol),
        Service::Ports { protocol, source, destination } => {
            let (from, to) = match &seen.transport {
                Transport::Tcp(tcp) => (tcp.source, tcp.destination),
                Transport::Udp(udp) => (udp.source, udp.destination),
                Transport::Icmp(_) | Transport::Other => return false,
            };
            *protocol == seen.ip.protocol
                && source.iter().any(|range| range.contains(&from))
                && destination.iter().any(|range| range.contains(&to))
        }
        Service::Icmp { protocol, types } => match &seen.transport {
            Transport::Icmp(icmp) => *protocol == seen.ip.protocol && (types.is_empty() || types.contains(&icmp.kind)),
            Transport::Tcp(_) | Transport::Udp(_) | Transport::Other => false,
        },
    }
}

/// True for a packet that may be the first of a connection: not the middle of a TCP connection, not an answer.
pub(crate) fn may_open(seen: &Seen) -> bool {
    match &seen.transport {
        Transport::Tcp(tcp) => tcp.flags & (wire::tcp::SYN | wire::tcp::ACK | wire::tcp::RST) == wire::tcp::SYN,
        Transport::Icmp(icmp) => !matches!(icmp.class, Class::Reply(_) | Class::Error),
        Transport::Udp(_) | Transport::Other => true,
    }
}
