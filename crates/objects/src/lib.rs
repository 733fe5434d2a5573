//! Every configuration object type, and the [`Snapshot`] that a configuration of them compiles to.
//!
//! Each type is declared once with [`schema::object!`]; parser, checks, `show`, completion, help and the reference
//! manual follow from that. What this crate adds is what the types mean together: references resolved, cross checks,
//! defaults, automatic routes. It opens nothing and runs nothing. Start with [`load`] and [`compile`].

#![forbid(unsafe_code)]

mod compile;
mod host;
mod interfaces;
mod resolve;
mod routes;
mod rules;
mod snapshot;
mod tunnels;
mod unwise;

pub mod access;
pub mod address;
pub mod algorithms;
pub mod arpnd;
pub mod ethernet;
pub mod ip_policy;
pub mod ipsec_tunnel;
pub mod nat_pool;
pub mod psk;
pub mod routing;
pub mod schedules;
pub mod services;
pub mod settings;

#[doc(hidden)]
pub mod harness;
#[cfg(test)]
mod tests;

pub use compile::compile;
pub use host::present;
pub use snapshot::{
    Access, AccessAction, Action, AddressMap, Algorithms, Conditions, DestinationTranslation, DynamicRoutes,
    HostInterface, IcmpTypes, Interface, InterfaceId, InterfaceKind, Interfaces, IpsecSettings, Lease, Link,
    LinkInterface, LinkPort, LocalIdentity, Mac, MonitoredHost, NatPool, NatPoolKind, NatTraversal, Networks, Ordering,
    Policy, PollMethod, PortMap, Proxy, Publish, Reachability, RemoteEndpoint, Route, RouteKey, RouteMonitor,
    RouteOrigin, RoutingRule, RoutingTable, SaPer, Schedule, Service, ServiceMatch, ServiceTimeouts, Settings,
    SharedKey, Snapshot, SourceTranslation, StaticNeighbor, TableId, Timeouts, Tunnel, TunnelId, WhenFull,
};

use schema::{Object, Problem, Registry, Tree};

/// Words that stand for interfaces that are no objects: the gateway itself, and every interface.
pub(crate) const INTERFACE_WORDS: &[&str] = &["core", "any"];

static REGISTRY: Registry = Registry {
    types: &[
        ethernet::Ethernet::TYPE,
        ethernet::Vlan::TYPE,
        ethernet::InterfaceGroup::TYPE,
        ipsec_tunnel::IpsecTunnel::TYPE,
        psk::Psk::TYPE,
        algorithms::IkeAlgorithms::TYPE,
        algorithms::IpsecAlgorithms::TYPE,
        address::Ip4Address::TYPE,
        address::Ip4Group::TYPE,
        address::Ip6Address::TYPE,
        address::Ip6Group::TYPE,
        address::FqdnAddress::TYPE,
        address::FqdnGroup::TYPE,
        address::EthernetAddress::TYPE,
        address::AddressFolder::TYPE,
        services::ServiceTcpUdp::TYPE,
        services::ServiceIcmp::TYPE,
        services::ServiceIcmpv6::TYPE,
        services::ServiceIpProto::TYPE,
        services::ServiceGroup::TYPE,
        schedules::ScheduleProfile::TYPE,
        nat_pool::NatPool::TYPE,
        access::Access::TYPE,
        ip_policy::IpPolicy::TYPE,
        ip_policy::StatelessPolicy::TYPE,
        routing::RoutingTable::TYPE,
        routing::Route::TYPE,
        routing::MonitoredHost::TYPE,
        routing::RoutingRule::TYPE,
        arpnd::ArpNd::TYPE,
        settings::IpsecTunnelSettings::TYPE,
        settings::TcpSettings::TYPE,
        settings::ConnTimeoutSettings::TYPE,
        settings::StateSettings::TYPE,
        settings::IpSettings::TYPE,
        settings::DateTime::TYPE,
        settings::RemoteMgmtSettings::TYPE,
    ],
    absent: ABSENT,
    derive: host::derive,
    check,
};

/// Types that the product has and this version does not.
const ABSENT: &[&str] = &[
    "LANtoLANVPN",
    "RoamingVPN",
    "AzureVPN",
    "Certificate",
    "IDList",
    "ID",
    "IPPool",
    "ConfigModePool",
    "RadiusServer",
    "RadiusAccounting",
    "LDAPServer",
    "LDAPDatabase",
    "LocalUserDatabase",
    "User",
    "UserAuthRule",
    "IPRule",
    "IPRuleSet",
    "LinkMonitor",
    "IP4HAAddress",
    "IP6HAAddress",
    "EthernetAddressGroup",
    "PPPoETunnel",
    "GRETunnel",
    "L2TPServer",
    "L2TPv2Server",
    "L2TPv3Server",
    "L2TPClient",
    "LogReceiverSyslog",
    "LogReceiverMemory",
    "EventReceiverSNMP2c",
    "EventReceiverSNMPv3",
    "DynDnsClient",
    "DHCPServer",
    "OSPFProcess",
    "FragSettings",
    "LengthLimSettings",
    "HighAvailability",
    "LogSettings",
    "MiscSettings",
    "L2TPServerSettings",
    "RemoteManagement",
    "RemoteMgmtSSH",
    "RemoteMgmtHTTP",
    "ALG",
];

/// Every object type.
pub const fn registry() -> &'static Registry {
    &REGISTRY
}

/// The configuration that is there before anything is declared: predefined lists, addresses, services and tables, and
/// the interfaces of the host.
pub fn tree(hosts: &[HostInterface]) -> Tree {
    let mut tree = Tree::new(registry());
    address::predefine(&mut tree);
    algorithms::predefine(&mut tree);
    services::predefine(&mut tree);
    routing::predefine(&mut tree);
    present(&mut tree, hosts);
    tree.derive();
    tree
}

/// Reads a configuration file on a host with these interfaces. The problems are those of the commands, the objects
/// and their references; [`compile`] finds these and all others.
pub fn load(text: &str, hosts: &[HostInterface]) -> (Tree, Vec<Problem>) {
    let mut tree = tree(hosts);
    let mut problems = schema::read(&mut tree, text);
    present(&mut tree, hosts);
    tree.derive();
    problems.extend(tree.check());
    problems.sort_by_key(|problem| problem.position);
    (tree, problems)
}

/// Reads a configuration file and makes a snapshot of it: what `adit check` and `adit run` do.
///
/// # Errors
///
/// Everything that is wrong with the text and with what it says, warnings too, when anything is an error.
pub fn compile_text(text: &str, hosts: &[HostInterface]) -> Result<(Tree, Snapshot, Vec<Problem>), Vec<Problem>> {
    let mut tree = tree(hosts);
    let mut problems = schema::read(&mut tree, text);
    present(&mut tree, hosts);
    tree.derive();
    let compiled = compile(&tree, hosts);
    let failed = problems.iter().any(Problem::is_error);
    let (Ok((_, more)) | Err(more)) = &compiled;
    problems.extend(more.iter().cloned());
    problems.sort_by_key(|problem| problem.position);
    match compiled {
        Ok((snapshot, _)) if !failed => Ok((tree, snapshot, problems)),
        Ok(_) | Err(_) => Err(problems),
    }
}

/// The reference manual of every object type, in Markdown.
pub fn reference() -> String {
    schema::manual::manual(registry())
}

/// What types ask of one object beyond the kinds of its values.
fn check(object: &Object, tree: &Tree) -> Vec<Problem> {
    let mut problems: Vec<Problem> = routing::check(object).into_iter().collect();
    problems.extend([settings::check(object), address::check(object), schedules::check(object)].into_iter().flatten());
    if object.dynamic && object.parent.is_some() && object.given().any(|(property, _)| property.name == "Address") {
        let name = tree.path(object);
        problems.push(
            Problem::error(format!("{name} follows from its interface and cannot be given another address"))
                .property("Address")
                .remedy("set the address of the Ethernet object, or add an address object of another name")
                .at(object.place("Address")),
        );
    }
    problems
}
