//! Ready-made worlds: the guide's Example 10.3, a head office and a branch with the internet between them.
//!
//! ```text
//! head office host -- lan [hq] wan ------- internet ------------- wan [branch] lan -- branch host
//!     172.16.1.10    .1     198.51.100.1               203.0.113.1      .1    192.168.11.10
//! 2001:db8:a:1::10   ::1  2001:db8:100::1          2001:db8:203::1      ::1   2001:db8:b:1::10
//!
//! with a NAT box:                     internet -- out [nat] in -- wan [branch] lan -- branch host
//!                                              203.0.113.1  10.99.0.1 10.99.0.10
//! ```

use std::net::IpAddr;

use base::Duration;

use crate::interface::Interface;
use crate::link::LinkId;
use crate::world::{NodeId, World};

/// The configuration of the head office, as it comes with the product.
pub const HEAD_OFFICE: &str = include_str!("../../examples/lan-to-lan/head-office.adit");
/// The configuration of the branch, as it comes with the product.
pub const BRANCH: &str = include_str!("../../examples/lan-to-lan/branch.adit");

const LAN_LATENCY: Duration = Duration::from_micros(200);
const WAN_LATENCY: Duration = Duration::from_millis(8);

/// IPv4 in the configurations of the example, and what stands there in a world of IPv6.
const OUTER: [(&str, &str); 2] = [("198.51.100.1", "2001:db8:100::1"), ("203.0.113.1", "2001:db8:203::1")];
const INNER: [(&str, &str); 3] =
    [("172.16.1.0/24", "2001:db8:a:1::/64"), ("192.168.11.0/24", "2001:db8:b:1::/64"), ("lan_ip", "lan_ip6")];

/// A gateway with a host behind it.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// The gateway.
    pub gateway: NodeId,
    /// The host on its lan.
    pub host: NodeId,
    /// The host's address that the tunnel carries.
    pub address: IpAddr,
    /// The gateway's address on its lan, of the same family.
    pub gateway_address: IpAddr,
    /// The link towards the internet: behind a NAT box, the NAT box's.
    pub wan: LinkId,
    /// The link to the host.
    pub lan: LinkId,
}

/// A head office, a branch, and what lies between.
#[derive(Clone, Copy, Debug)]
pub struct LanToLan {
    /// The head office.
    pub hq: Site,
    /// The branch.
    pub branch: Site,
    /// The router between them.
    pub internet: NodeId,
    /// The NAT box in front of the branch.
    pub nat: Option<NodeId>,
}

/// What a world of two offices is to be like; without changes it is the example.
#[derive(Clone, Debug)]
pub struct Plan {
    head_office: String,
    branch: String,
    nat: bool,
    inner_v6: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { head_office: HEAD_OFFICE.into(), branch: BRANCH.into(), nat: false, inner_v6: false }
    }
}

impl Plan {
    /// The guide's Example 10.3.
    pub fn example() -> Self {
        Self::default()
    }

    /// A NAT box in front of the branch, which holds the branch's public address.
    pub fn nat(mut self) -> Self {
        self.nat = true;
        self.branch = without_ethernet(&self.branch);
        self
    }

    /// The gateways speak IPv6 to each other.
    pub fn outer_v6(mut self) -> Self {
        self.replace(&OUTER);
        self
    }

    /// The hosts speak IPv6 to each other.
    pub fn inner_v6(mut self) -> Self {
        self.replace(&INNER);
        self.inner_v6 = true;
        self
    }

    /// More properties of the tunnel, in both configurations.
    pub fn tunnel(self, properties: &str) -> Self {
        self.tunnel_at_head_office(properties).tunnel_at_branch(properties)
    }

    /// More properties of the head office's tunnel.
    pub fn tunnel_at_head_office(mut self, properties: &str) -> Self {
        self.head_office = with_properties(&self.head_office, properties);
        self
    }

    /// More properties of the branch's tunnel.
    pub fn tunnel_at_branch(mut self, properties: &str) -> Self {
        self.branch = with_properties(&self.branch, properties);
        self
    }

    /// More lines in the configuration of the head office.
    pub fn at_head_office(mut self, lines: &str) -> Self {
        self.head_office = format!("{}\n{lines}\n", self.head_office);
        self
    }

    /// More lines in the configuration of the branch.
    pub fn at_branch(mut self, lines: &str) -> Self {
        self.branch = format!("{}\n{lines}\n", self.branch);
        self
    }

    /// Another text instead of one that stands in the configuration of the head office.
    pub fn change_head_office(mut self, old: &str, new: &str) -> Self {
        assert!(self.head_office.contains(old), "the head office's configuration has no `{old}`");
        self.head_office = self.head_office.replace(old, new);
        self
    }

    /// Another text instead of one that stands in the configuration of the branch.
    pub fn change_branch(mut self, old: &str, new: &str) -> Self {
        assert!(self.branch.contains(old), "the branch's configuration has no `{old}`");
        self.branch = self.branch.replace(old, new);
        self
    }

    fn replace(&mut self, pairs: &[(&str, &str)]) {
        for text in [&mut self.head_office, &mut self.branch] {
            *text = without_ethernet(text);
            for (v4, v6) in pairs {
                *text = text.replace(v4, v6);
            }
        }
    }
}

/// A configuration that leaves the interfaces as the kernel has them.
fn without_ethernet(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("add Ethernet ")).flat_map(|line| [line, "\n"]).collect()
}

/// A configuration whose tunnel has more properties: they are put behind its RemoteEndpoint.
fn with_properties(text: &str, properties: &str) -> String {
    let at = text.find("RemoteEndpoint=").expect("the example has a tunnel with a remote endpoint");
    let (before, tunnel) = text.split_at(at);
    let end = tunnel.find(char::is_whitespace).unwrap_or(tunnel.len());
    let (endpoint, after) = tunnel.split_at(end);
    format!("{before}{endpoint} {properties}{after}")
}

impl World {
    /// The world of the guide's Example 10.3; both gateways run from their own files.
    pub fn lan_to_lan(&mut self) -> LanToLan {
        self.two_offices(Plan::example())
    }

    /// A world of two offices.
    pub fn two_offices(&mut self, plan: Plan) -> LanToLan {
        let internet = self.add_router(
            "internet",
            vec![
                Interface::new("to-hq").address("198.51.100.254/24").address("2001:db8:100::fe/64"),
                Interface::new("to-branch").address("203.0.113.254/24").address("2001:db8:203::fe/64"),
            ],
        );
        let lan = Interface::new("lan").address("172.16.1.1/24").address("2001:db8:a:1::1/64");
        let wan = Interface::new("wan").address("198.51.100.1/24").address("2001:db8:100::1/64");
        let wan = wan.gateway("198.51.100.254").gateway("2001:db8:100::fe");
        let gateway = self.add_gateway("hq", vec![lan, wan], "head-office.adit", &plan.head_office);
        let hq = self.site(gateway, "hq-host", ["172.16.1", "2001:db8:a:1:"], plan.inner_v6);
        let to_hq = self.join((gateway, "wan"), (internet, "to-hq"), WAN_LATENCY);

        let lan = Interface::new("lan").address("192.168.11.1/24").address("2001:db8:b:1::1/64");
        let public = |name| {
            let interface = Interface::new(name).address("203.0.113.1/24").address("2001:db8:203::1/64");
            interface.gateway("203.0.113.254").gateway("2001:db8:203::fe")
        };
        let private = Interface::new("wan").address("10.99.0.10/24").gateway("10.99.0.1");
        let wan = if plan.nat { private } else { public("wan") };
        let gateway = self.add_gateway("branch", vec![lan, wan], "branch.adit", &plan.branch);
        let branch = self.site(gateway, "branch-host", ["192.168.11", "2001:db8:b:1:"], plan.inner_v6);
        let nat = plan.nat.then(|| {
            let nat = self.add_nat("nat", Interface::new("in").address("10.99.0.1/24"), public("out"));
            self.join((gateway, "wan"), (nat, "in"), LAN_LATENCY);
            nat
        });
        let outermost = nat.map_or((gateway, "wan"), |nat| (nat, "out"));
        let to_branch = self.join(outermost, (internet, "to-branch"), WAN_LATENCY);
        LanToLan { hq: Site { wan: to_hq, ..hq }, branch: Site { wan: to_branch, ..branch }, internet, nat }
    }

    /// A host on a gateway's lan. Its `wan` is still to be filled in.
    fn site(&mut self, gateway: NodeId, name: &str, [v4, v6]: [&str; 2], inner_v6: bool) -> Site {
        let eth0 = Interface::new("eth0").address(&format!("{v4}.10/24")).address(&format!("{v6}:10/64"));
        let host = self.add_host(name, eth0.gateway(&format!("{v4}.1")).gateway(&format!("{v6}:1")));
        let lan = self.join((gateway, "lan"), (host, "eth0"), LAN_LATENCY);
        let (address, gateway_address) = (self.address(host, !inner_v6), self.address(gateway, !inner_v6));
        Site { gateway, host, address, gateway_address, wan: lan, lan }
    }

    /// The stretch of the internet that all packets between two offices cross: the branch's.
    pub fn between(&mut self, net: &LanToLan) -> &mut crate::Link {
        self.link(net.branch.wan)
    }

    /// Echo requests every so often from the head office's host to the branch's.
    pub fn ping_out(&mut self, net: &LanToLan, every: Duration) -> crate::Ping {
        self.ping_every(every, net.hq.host, net.branch.address)
    }

    /// Echo requests every so often from the branch's host to the head office's.
    pub fn ping_in(&mut self, net: &LanToLan, every: Duration) -> crate::Ping {
        self.ping_every(every, net.branch.host, net.hq.address)
    }
}
