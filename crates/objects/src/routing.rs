//! RoutingTable, Route, MonitoredHost and RoutingRule.

use schema::kind::{AddressSort, Addresses, Bool, Form, Integer, Reference, References, Target};
use schema::{Naming, Object, Problem, Tree, choice, object};

use crate::address::{ANY, Host, NamedNetworks};
use crate::ethernet::Links;
use crate::schedules::ScheduleProfile;
use crate::services::AnyService;

object! {
    /// A table of routes. The table `main` is always there: enter it with `cc RoutingTable main`. Other tables are used
    /// by routing rules, by interfaces that belong to one table, and by tunnels for their outer packets.
    pub struct RoutingTable: "RoutingTable" {
        container: true,
        columns: &["Ordering"],
    }

    /// How the table goes together with main.
    default ordering as "Ordering": Ordering = "Default";
    /// Leave out the routes to the addresses of interfaces: in this table the gateway has none of its own.
    default remove as "RemoveInterfaceIPRoutes": Bool = "No";
}

choice! {
    /// How a routing table goes together with main.
    pub enum Ordering {
        /// main first; this one where main has nothing but a route to everywhere.
        Default = "Default",
        /// This one first; main where it has nothing.
        First = "First",
        /// Only this one.
        Only = "Only",
    }
}

object! {
    /// A route: packets to the network leave through the interface. The longest network wins, and of equal ones the
    /// lowest metric.
    pub struct Route: "Route" {
        naming: Naming::Position,
        parents: &["RoutingTable"],
        container: true,
        columns: &["Interface", "Network", "Gateway", "Metric"],
    }

    /// Where packets go.
    required interface as "Interface": Reference<OneInterface>;
    /// Which packets.
    required network as "Network": Addresses<Network>;
    /// The next hop; empty when the destination is on the link or in the tunnel.
    optional gateway as "Gateway": Addresses<Host>;
    /// Own address towards this network, where it is not the interface's.
    optional local_ip as "LocalIP": Addresses<Host>;
    /// Of two routes to the same network the lower metric wins.
    default metric as "Metric": Integer<0, 65535> = "100";
    /// Answer ARP for the network's hosts on every packet port but the route's own.
    default proxy_all as "ProxyARPAllInterfaces": Bool = "No";
    /// Interfaces on which to answer ARP for the network's hosts.
    optional proxy as "ProxyARPInterfaces": References<Links>;
    /// Watch over the route, and do not use it while something that is watched fails.
    default monitor as "RouteMonitor": Bool = "No";
    /// The route fails while its interface has no link, or its tunnel no SAs.
    default link as "MonitorLinkStatus": Bool = "No" where "RouteMonitor" = "Yes";
    /// The route fails while its gateway does not answer ARP.
    default monitor_gateway as "MonitorGateway": Bool = "No" where "RouteMonitor" = "Yes";
    /// Milliseconds between two ARP questions to the gateway.
    default gateway_interval as "MonitorGatewayARPInterval": Integer<100, 3600000> = "1000" where "MonitorGateway" = "Yes";
    /// The route fails while the MonitoredHost objects in it do not answer.
    default hosts as "EnableHostMonitoring": Bool = "No" where "RouteMonitor" = "Yes";
    /// How many of the hosts must answer.
    default reachability as "Reachability": Reachability = "All" where "EnableHostMonitoring" = "Yes";
    /// Seconds after a start or a new configuration in which nothing counts as failed.
    default grace as "GracePeriod": Integer<0, 600> = "30" where "RouteMonitor" = "Yes";
}

choice! {
    /// How many monitored hosts must answer.
    pub enum Reachability {
        /// Every one.
        All = "All",
        /// One.
        Any = "Any",
    }
}

object! {
    /// A host that is polled to know whether a route leads anywhere. It lives in the route: `cc RoutingTable main`,
    /// `cc Route 1`.
    pub struct MonitoredHost: "MonitoredHost" {
        naming: Naming::Position,
        parents: &["Route"],
        columns: &["Method", "IPAddress", "Port"],
        absent: &["RequestURL", "ExpectedResponse"],
    }

    /// How it is polled.
    default method as "Method": Method = "ICMP";
    /// Its address.
    required address as "IPAddress": Addresses<Host>;
    /// The TCP port.
    needed port as "Port": Integer<1, 65535> where "Method" = "TCP";
    /// Own address in the polls; empty for that of the route's interface.
    optional originator as "OriginatorIP": Addresses<Host>;
    /// Milliseconds between two polls.
    default interval as "PollingInterval": Integer<100, 3600000> = "10000";
    /// Of how many polls the answers are counted.
    default samples as "SampleSize": Integer<1, 100> = "10";
    /// Polls among those that may go unanswered.
    default fails as "MaxPollFails": Integer<0, 99> = "2";
    /// Average milliseconds to an answer beyond which the host counts as not reachable.
    default latency as "MaxAverageLatency": Integer<1, 60000> = "800";
    /// It must answer whatever the others do.
    default required as "ReachabilityRequired": Bool = "No";
}

choice! {
    /// How a monitored host is polled.
    pub enum Method without "HTTP" {
        /// With ICMP echo.
        Icmp = "ICMP",
        /// With a TCP handshake.
        Tcp = "TCP",
    }
}

object! {
    /// A routing rule: which routing table a connection is routed by. The rules are searched from the first to the last,
    /// and the first that fits decides; where none fits it is the table of the interface that the packet came in by.
    pub struct RoutingRule: "RoutingRule" {
        naming: Naming::Optional,
        columns: &[
            "SourceInterface", "SourceNetwork", "DestinationInterface", "DestinationNetwork", "Service",
            "ForwardRoutingTable", "ReturnRoutingTable",
        ],
    }

    /// Where the connection comes from.
    required source_interface as "SourceInterface": References<AnyInterface>;
    /// Source addresses.
    required source_network as "SourceNetwork": Addresses<NamedNetworks>;
    /// Where table main would lead it.
    required destination_interface as "DestinationInterface": References<AnyInterface>;
    /// Destination addresses.
    required destination_network as "DestinationNetwork": Addresses<NamedNetworks>;
    /// What kind of traffic.
    required service as "Service": Reference<AnyService>;
    /// The table for packets of whoever opened the connection.
    required forward as "ForwardRoutingTable": Reference<RoutingTable>;
    /// The table for the answers.
    required back as "ReturnRoutingTable": Reference<RoutingTable>;
    /// When the rule is in force; empty for always.
    optional schedule as "Schedule": Reference<ScheduleProfile>;
}

/// One network of either family.
#[derive(Debug)]
pub struct Network;

impl AddressSort for Network {
    const FORM: Form = Form::Network;
    const TYPES: &'static [&'static str] = ANY;
}

/// Interfaces and groups of them, or one of the words for interfaces that are no objects.
#[derive(Debug)]
pub struct AnyInterface;

impl Target for AnyInterface {
    const TYPES: &'static [&'static str] = &["Ethernet", "VLAN", "IPsecTunnel", "InterfaceGroup"];
    const WORDS: &'static [&'static str] = crate::INTERFACE_WORDS;
}

/// One interface, or one of the words for interfaces that are no objects.
#[derive(Debug)]
pub struct OneInterface;

impl Target for OneInterface {
    const TYPES: &'static [&'static str] = &["Ethernet", "VLAN", "IPsecTunnel"];
    const WORDS: &'static [&'static str] = crate::INTERFACE_WORDS;
}

/// The table that is there without being declared.
pub(crate) const MAIN: &str = "main";

/// Puts the table `main` there.
pub(crate) fn predefine(tree: &mut Tree) {
    tree.predefine(RoutingTable::TYPE, Some(MAIN), None, &[]);
}

/// main goes before or behind the others and not they before or behind it.
pub(crate) fn check(object: &Object) -> Option<Problem> {
    if object.info.name != RoutingTable::TYPE.name || !object.is_called(MAIN) {
        return None;
    }
    let (property, value) =
        object.given().find(|(property, _)| matches!(property.name, "Ordering" | "RemoveInterfaceIPRoutes"))?;
    Some(
        Problem::error(format!("the value of table main cannot be changed; found {}", value.shown()))
            .property(property.name)
            .remedy("make another routing table")
            .at(object.place(property.name)),
    )
}
