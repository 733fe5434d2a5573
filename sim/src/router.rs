//! The internet: forwards by its routes, and carries nothing of anybody's private network.

use std::net::IpAddr;

use base::Now;
use ipnet::IpNet;

use crate::interface::Interface;
use crate::kernel::{Kernel, Outbox};
use crate::packet::Header;
use crate::trace::summary;

/// Leaked packets of which the description is kept.
const LEAKS_KEPT: usize = 20;

/// A router that refuses private addresses, as the internet does, and counts them.
#[derive(Debug)]
pub struct Router {
    pub(crate) kernel: Kernel,
    protected: Vec<IpNet>,
    leaks: u64,
    leaked: Vec<String>,
}

impl Router {
    pub(crate) fn new(name: &str, interfaces: Vec<Interface>) -> Self {
        // The private networks of RFC 1918, and those that the lab's IPv6 sites call their own.
        let protected = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "2001:db8:a::/48", "2001:db8:b::/48"];
        Self {
            kernel: Kernel::new(name, interfaces),
            protected: protected.iter().filter_map(|net| net.parse().ok()).collect(),
            leaks: 0,
            leaked: Vec::new(),
        }
    }

    /// One more network of which no packet may pass in clear.
    pub fn protect(&mut self, network: IpNet) {
        self.protected.push(network);
    }

    /// Packets of protected networks that reached this router in clear. Zero, in a world that works.
    pub fn leaks(&self) -> u64 {
        self.leaks
    }

    /// The first of them, described.
    pub fn leaked(&self) -> &[String] {
        &self.leaked
    }

    pub(crate) fn receive(&mut self, now: Now, mut packet: Vec<u8>, out: &mut Outbox) {
        let Some(header) = self.kernel.admit(&mut packet) else { return };
        if self.is_protected(&header) {
            self.leaks += 1;
            if self.leaked.len() < LEAKS_KEPT {
                self.leaked.push(format!("{} {}", now.mono, summary(&packet)));
            }
        } else if !self.kernel.owns(header.destination) {
            self.kernel.forward(packet, out);
        } else if let Some((header, packet)) = self.kernel.deliver(now.mono, &header, packet) {
            self.kernel.icmp(&header, &packet, out);
        }
    }

    fn is_protected(&self, header: &Header) -> bool {
        let inside = |address: IpAddr| self.protected.iter().any(|net| net.contains(&address));
        inside(header.source) || inside(header.destination)
    }
}
