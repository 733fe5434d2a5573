//! Ethernet and VLAN: interfaces of the host, and network cards that the gateway owns; groups of interfaces.

use schema::kind::{AddressTerm, Addresses, Bool, Hardware, Integer, Reference, References, Target, Text};
use schema::{Object, choice, object};

use crate::address::{Host4, Host6, Network4, Network6};
use crate::routing::{AnyInterface, RoutingTable};

object! {
    /// An interface of the host. Every interface of the kernel is present without being declared, with the kernel's
    /// addresses; an object of its name adds to it or overrides it. With Port=Host the kernel keeps the addresses and
    /// ARP: what is written here tells the gateway about them and does not change the kernel. With Port=Packet the
    /// gateway owns the network card: its addresses are those written here or lent by DHCP, and it answers ARP.
    pub struct Ethernet: "Ethernet" or "EthernetInterface" {
        category: Some("Interface"),
        columns: &["IP", "Network", "DefaultGateway", "EthernetDevice"],
        reserved: crate::INTERFACE_WORDS,
        absent: &[
            "Broadcast", "PrivateIP", "ReceiveMulticastTraffic", "NOCHB", "EthernetDevice.0", "EthernetDevice.1",
            "SecurityZone", "Zone",
        ],
    }

    /// Own IPv4 address. Known elsewhere as `<name>_ip`.
    optional ip as "IP": Addresses<Host4>;
    /// IPv4 network on the interface. Known elsewhere as `<name>_net`.
    optional network as "Network": Addresses<Network4>;
    /// IPv4 address of the router that leads to everywhere else. Known elsewhere as `<name>_gw`.
    optional gateway as "DefaultGateway": Addresses<Host4>;
    /// Own IPv6 address. Known elsewhere as `<name>_ip6`.
    optional ip6 as "IPv6IP": Addresses<Host6>;
    /// IPv6 network on the interface. Known elsewhere as `<name>_net6`.
    optional network6 as "IPv6Network": Addresses<Network6>;
    /// IPv6 address of the router that leads to everywhere else. Known elsewhere as `<name>_gw6`.
    optional gateway6 as "IPv6DefaultGateway": Addresses<Host6>;
    /// Name of the interface in the kernel, when it is not the object's.
    optional device as "EthernetDevice": Text;
    /// Who keeps addresses and ARP of the network card.
    default port as "Port": Port = "Host";
    /// Ask a DHCP server for the IPv4 address, the network, the router and DNS servers. On a host port that is the
    /// kernel's business.
    default dhcp as "DHCPEnabled": Bool = "No";
    /// DNS server; with DHCPEnabled the one that the DHCP server names. Known elsewhere as `<name>_dns1`.
    optional dns1 as "DHCPDNS1": Addresses<Host4>;
    /// Second DNS server. Known elsewhere as `<name>_dns2`.
    optional dns2 as "DHCPDNS2": Addresses<Host4>;
    /// Use IPv6 on a packet port. On a host port that is the kernel's business.
    default ipv6 as "EnableIPv6": Bool = "No";
    /// Hardware address of a packet port, when it is not the card's own.
    optional mac as "MACAddress": Hardware<HardwareNames>;
    /// Largest packet in bytes.
    default mtu as "MTU": Integer<576, 65535> = "1500";
    /// Metric of the routes that follow from the interface.
    default metric as "Metric": Integer<0, 65535> = "100";
    /// Add a route to the interface's networks.
    default network_route as "AutoInterfaceNetworkRoute": Bool = "Yes";
    /// Add a route to everywhere through the default gateway.
    default gateway_route as "AutoDefaultGatewayRoute": Bool = "Yes";
    /// Which routing tables it belongs to.
    default member as "MemberOfRoutingTable": Membership = "All";
    /// The one table it belongs to: what comes in is routed by it, and the routes that follow from the interface are
    /// there and nowhere else.
    default table as "RoutingTable": Reference<RoutingTable> = "main" where "MemberOfRoutingTable" = "Specific";
}

object! {
    /// A VLAN on a network card that the gateway owns (Port=Packet). A VLAN of the kernel is an Ethernet object with
    /// Port=Host.
    pub struct Vlan: "VLAN" {
        category: Some("Interface"),
        columns: &["Ethernet", "VLANID", "IP", "Network", "DefaultGateway"],
        reserved: crate::INTERFACE_WORDS,
        absent: &["Broadcast", "PrivateIP", "Type", "Zone", "SecurityZone"],
    }

    /// The Ethernet interface it is on.
    required base as "Ethernet" or "BaseInterface": Reference<Ethernet>;
    /// Its number in the frames.
    required vlan as "VLANID": Integer<1, 4094>;
    /// Own IPv4 address. Known elsewhere as `<name>_ip`.
    optional ip as "IP": Addresses<Host4>;
    /// IPv4 network on the interface. Known elsewhere as `<name>_net`.
    optional network as "Network": Addresses<Network4>;
    /// IPv4 address of the router that leads to everywhere else. Known elsewhere as `<name>_gw`.
    optional gateway as "DefaultGateway": Addresses<Host4>;
    /// Own IPv6 address. Known elsewhere as `<name>_ip6`.
    optional ip6 as "IPv6IP": Addresses<Host6>;
    /// IPv6 network on the interface. Known elsewhere as `<name>_net6`.
    optional network6 as "IPv6Network": Addresses<Network6>;
    /// IPv6 address of the router that leads to everywhere else. Known elsewhere as `<name>_gw6`.
    optional gateway6 as "IPv6DefaultGateway": Addresses<Host6>;
    /// Ask a DHCP server for the IPv4 address, the network, the router and DNS servers.
    default dhcp as "DHCPEnabled": Bool = "No";
    /// DNS server; with DHCPEnabled the one that the DHCP server names. Known elsewhere as `<name>_dns1`.
    optional dns1 as "DHCPDNS1": Addresses<Host4>;
    /// Second DNS server. Known elsewhere as `<name>_dns2`.
    optional dns2 as "DHCPDNS2": Addresses<Host4>;
    /// Use IPv6.
    default ipv6 as "EnableIPv6": Bool = "No";
    /// Largest packet in bytes.
    default mtu as "MTU": Integer<576, 65535> = "1500";
    /// Metric of the routes that follow from the interface.
    default metric as "Metric": Integer<0, 65535> = "100";
    /// Add a route to the interface's networks.
    default network_route as "AutoInterfaceNetworkRoute": Bool = "Yes";
    /// Add a route to everywhere through the default gateway.
    default gateway_route as "AutoDefaultGatewayRoute": Bool = "Yes";
    /// Which routing tables it belongs to.
    default member as "MemberOfRoutingTable": Membership = "All";
    /// The one table it belongs to: what comes in is routed by it, and the routes that follow from the interface are
    /// there and nowhere else.
    default table as "RoutingTable": Reference<RoutingTable> = "main" where "MemberOfRoutingTable" = "Specific";
}

object! {
    /// Several interfaces under one name, for policies, access rules, routing rules and proxy ARP.
    pub struct InterfaceGroup: "InterfaceGroup" {
        category: Some("Interface"),
        columns: &["Members", "Equivalent"],
        reserved: crate::INTERFACE_WORDS,
    }

    /// The interfaces in the group; groups may contain groups.
    required members as "Members": References<AnyInterface>;
    /// To the access check the members are one interface: what is routed to one may come in by another.
    default equivalent as "Equivalent": Bool = "No";
}

choice! {
    /// Who keeps addresses and ARP of a network card.
    pub enum Port {
        /// The kernel.
        Host = "Host",
        /// The gateway: frames are its own.
        Packet = "Packet",
    }
}

choice! {
    /// Which routing tables an interface belongs to.
    pub enum Membership {
        /// Its addresses are known in every table, its routes are in main, and what comes in is routed by main.
        All = "All",
        /// RoutingTable and no other.
        Specific = "Specific",
    }
}

/// Interfaces on which ARP is spoken.
#[derive(Debug)]
pub struct Links;

impl Target for Links {
    const TYPES: &'static [&'static str] = &["Ethernet", "VLAN", "InterfaceGroup"];
}

/// An interface on which ARP is spoken.
#[derive(Debug)]
pub struct OneLink;

impl Target for OneLink {
    const TYPES: &'static [&'static str] = &["Ethernet", "VLAN"];
}

/// Hardware addresses by name.
#[derive(Debug)]
pub struct HardwareNames;

impl Target for HardwareNames {
    const TYPES: &'static [&'static str] = &["EthernetAddress"];
}

/// One family's part of an interface: names and values of its address, its network and its gateway.
pub(crate) struct Family {
    pub(crate) ip: (&'static str, Option<Vec<AddressTerm>>),
    pub(crate) network: (&'static str, Option<Vec<AddressTerm>>),
    pub(crate) gateway: (&'static str, Option<Vec<AddressTerm>>),
}

/// What Ethernet and VLAN have in common.
pub(crate) struct Layer3 {
    pub(crate) families: [Family; 2],
    pub(crate) port: Port,
    pub(crate) dhcp: bool,
    pub(crate) ipv6: bool,
    pub(crate) mtu: u64,
    pub(crate) metric: u64,
    pub(crate) network_route: bool,
    pub(crate) gateway_route: bool,
    /// The one table it belongs to.
    pub(crate) table: Option<String>,
}

macro_rules! layer3 {
    ($read:expr, $port:expr) => {{
        let read = $read;
        Layer3 {
            families: [
                Family {
                    ip: ("IP", read.ip),
                    network: ("Network", read.network),
                    gateway: ("DefaultGateway", read.gateway),
                },
                Family {
                    ip: ("IPv6IP", read.ip6),
                    network: ("IPv6Network", read.network6),
                    gateway: ("IPv6DefaultGateway", read.gateway6),
                },
            ],
            port: $port,
            dhcp: read.dhcp,
            ipv6: read.ipv6,
            mtu: read.mtu,
            metric: read.metric,
            network_route: read.network_route,
            gateway_route: read.gateway_route,
            table: (read.member == Membership::Specific).then_some(read.table),
        }
    }};
}

impl Layer3 {
    /// Of an Ethernet or VLAN object.
    pub(crate) fn read(object: &Object) -> Option<Self> {
        if object.info.name == Vlan::TYPE.name {
            return Some(layer3!(Vlan::read(object)?, Port::Packet));
        }
        let read = Ethernet::read(object)?;
        let port = read.port;
        Some(layer3!(read, port))
    }

    /// True when the gateway does not use this family here.
    pub(crate) fn is_off(&self, family: &Family) -> bool {
        self.port == Port::Packet && !self.ipv6 && family.ip.0 == "IPv6IP"
    }
}
