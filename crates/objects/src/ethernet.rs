//! Ethernet: an interface of the host.

use schema::kind::{Addresses, Bool, Integer, Text};
use schema::object;

use crate::address::{Host4, Host6, Network4, Network6};

object! {
    /// An interface of the host. Every interface of the kernel is present without being declared, with the kernel's
    /// addresses; an object of its name adds to it or overrides it. The kernel keeps the addresses and ARP: what is
    /// written here tells the gateway about them and does not change the kernel.
    pub struct Ethernet: "Ethernet" or "EthernetInterface" {
        category: Some("Interface"),
        columns: &["IP", "Network", "DefaultGateway", "EthernetDevice"],
        reserved: crate::INTERFACE_WORDS,
        absent: &[
            "Broadcast", "PrivateIP", "DHCPEnabled", "DHCPDNS1", "DHCPDNS2", "EnableIPv6", "MemberOfRoutingTable",
            "ReceiveMulticastTraffic", "NOCHB", "EthernetDevice.0", "EthernetDevice.1",
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
    /// Largest packet in bytes.
    default mtu as "MTU": Integer<576, 65535> = "1500";
    /// Metric of the routes that follow from the interface.
    default metric as "Metric": Integer<0, 65535> = "100";
    /// Add a route to the interface's networks.
    default network_route as "AutoInterfaceNetworkRoute": Bool = "Yes";
    /// Add a route to everywhere through the default gateway.
    default gateway_route as "AutoDefaultGatewayRoute": Bool = "Yes";
}
