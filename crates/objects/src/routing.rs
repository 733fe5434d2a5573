//! RoutingTable and Route.

use schema::kind::{AddressSort, Addresses, Form, Integer, Reference, Target};
use schema::{Naming, Object, Problem, Tree, object};

use crate::address::{ANY, Host};

object! {
    /// A table of routes. The table `main` is always there: enter it with `cc RoutingTable main`.
    pub struct RoutingTable: "RoutingTable" {
        container: true,
        absent: &["Ordering", "RemoveInterfaceIPRoutes"],
    }
}

object! {
    /// A route: packets to the network leave through the interface. The longest network wins, and of equal ones the
    /// lowest metric.
    pub struct Route: "Route" {
        naming: Naming::Position,
        parents: &["RoutingTable"],
        columns: &["Interface", "Network", "Gateway", "Metric"],
        absent: &[
            "ProxyARPAllInterfaces", "ProxyARPInterfaces", "RouteMonitor", "MonitorLinkStatus", "MonitorGateway",
            "MonitorGatewayARPInterval", "EnableHostMonitoring", "Reachability", "GracePeriod",
        ],
    }

    /// Where packets go.
    required interface as "Interface": Reference<AnyInterface>;
    /// Which packets.
    required network as "Network": Addresses<Network>;
    /// The next hop; empty when the destination is on the link or in the tunnel.
    optional gateway as "Gateway": Addresses<Host>;
    /// Own address towards this network, where it is not the interface's.
    optional local_ip as "LocalIP": Addresses<Host>;
    /// Of two routes to the same network the lower metric wins.
    default metric as "Metric": Integer<0, 65535> = "100";
}

/// One network of either family.
#[derive(Debug)]
pub struct Network;

impl AddressSort for Network {
    const FORM: Form = Form::Network;
    const TYPES: &'static [&'static str] = ANY;
}

/// An interface, or one of the words for interfaces that are no objects.
#[derive(Debug)]
pub struct AnyInterface;

impl Target for AnyInterface {
    const TYPES: &'static [&'static str] = &["Ethernet", "IPsecTunnel"];
    const WORDS: &'static [&'static str] = crate::INTERFACE_WORDS;
}

/// The table that is there without being declared.
pub(crate) const MAIN: &str = "main";

/// Puts the table `main` there.
pub(crate) fn predefine(tree: &mut Tree) {
    tree.predefine(RoutingTable::TYPE, Some(MAIN), None, &[]);
}

/// There is only the one table.
pub(crate) fn check(object: &Object) -> Option<Problem> {
    (object.info.name == RoutingTable::TYPE.name && !object.is_called(MAIN)).then(|| {
        Problem::error("routing tables other than main are not available in this version")
            .remedy("put the routes into main")
            .at(object.position)
    })
}
