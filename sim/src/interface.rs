//! Interfaces of a node, and where its kernel sends what.

use std::net::IpAddr;

use ipnet::IpNet;

/// An interface before and after it has been joined to another by a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name in its node.
    pub name: String,
    /// Addresses with prefix length; the first of a family is the interface's own.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest packet in bytes.
    pub mtu: usize,
    /// Next hops of default routes over this interface, one for each family at most.
    pub gateways: Vec<IpAddr>,
    /// Further networks behind this interface.
    pub networks: Vec<IpNet>,
}

impl Interface {
    /// An interface without addresses for packets up to 1500 bytes.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), addresses: Vec::new(), mtu: 1500, gateways: Vec::new(), networks: Vec::new() }
    }

    /// With one more address, as in `172.16.1.1/24`.
    pub fn address(mut self, text: &str) -> Self {
        let net: IpNet = text.parse().unwrap_or_else(|_| panic!("`{text}` is no address with a prefix length"));
        self.addresses.push((net.addr(), net.prefix_len()));
        self
    }

    /// With a default route over this next hop.
    pub fn gateway(mut self, text: &str) -> Self {
        self.gateways.push(text.parse().unwrap_or_else(|_| panic!("`{text}` is no address")));
        self
    }

    /// With one more network behind it.
    pub fn network(mut self, text: &str) -> Self {
        self.networks.push(text.parse().unwrap_or_else(|_| panic!("`{text}` is no network")));
        self
    }

    /// The interface's own address of a family.
    pub fn own(&self, ipv4: bool) -> Option<IpAddr> {
        self.addresses.iter().map(|(address, _)| *address).find(|address| address.is_ipv4() == ipv4)
    }

    /// Every route that the kernel has because of this interface.
    pub(crate) fn routes(&self) -> impl Iterator<Item = IpNet> + '_ {
        let connected = self.addresses.iter().filter_map(|(address, prefix)| IpNet::new(*address, *prefix).ok());
        let default = self.gateways.iter().map(|gateway| match gateway {
            IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
        });
        connected.map(|net| net.trunc()).chain(default).chain(self.networks.iter().copied())
    }
}

/// The interface over which `destination` is reached: the longest prefix wins, then the first interface.
pub(crate) fn route(interfaces: &[Interface], destination: IpAddr) -> Option<usize> {
    let mut best: Option<(u8, usize)> = None;
    for (index, interface) in interfaces.iter().enumerate() {
        for net in interface.routes().filter(|net| net.contains(&destination)) {
            if best.is_none_or(|(prefix, _)| net.prefix_len() > prefix) {
                best = Some((net.prefix_len(), index));
            }
        }
    }
    best.map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let interfaces = [
            Interface::new("lan").address("172.16.1.1/24"),
            Interface::new("wan").address("198.51.100.1/24").gateway("198.51.100.254"),
            Interface::new("dmz").address("10.0.0.1/24").network("172.16.1.128/25"),
        ];
        let to = |text: &str| route(&interfaces, text.parse().unwrap());
        assert_eq!(to("172.16.1.10"), Some(0));
        assert_eq!(to("172.16.1.200"), Some(2));
        assert_eq!(to("203.0.113.1"), Some(1));
        assert_eq!(to("2001:db8::1"), None);
    }
}
