//! IPsecTunnel: a tunnel, which is an interface.

use schema::kind::{Addresses, Bool, Integer, NumberSet, Numbers, Reference, References, Text};
use schema::{choice, object};

use crate::address::{Host, Networks};
use crate::algorithms::{IkeAlgorithms, IpsecAlgorithms};
use crate::ethernet::{Links, Membership};
use crate::psk::Psk;
use crate::routing::RoutingTable;

object! {
    /// An IPsec tunnel. It is an interface: routes lead to it and IP policies name it. As responder the gateway searches
    /// the tunnels from the first to the last, so their order matters; Index moves one.
    pub struct IpsecTunnel: "IPsecTunnel" {
        category: Some("Interface"),
        columns: &["LocalNetwork", "RemoteNetwork", "RemoteEndpoint", "PSK"],
        reserved: crate::INTERFACE_WORDS,
        absent: ABSENT,
    }

    /// Protected networks on this side. For each pair of a local and a remote network there is a pair of SAs.
    required local_network as "LocalNetwork": Addresses<Networks>;
    /// Protected networks on the peer's side.
    required remote_network as "RemoteNetwork": Addresses<Networks>;
    /// The peer: one address, or networks and ranges that it may come from; empty for any address. Only with one
    /// address can the gateway itself set up the tunnel.
    optional remote_endpoint as "RemoteEndpoint": Addresses<Networks>;
    /// Own address of the tunnel; empty for that of the interface towards the peer.
    optional local_endpoint as "LocalEndpoint": Addresses<Host>;
    /// Version of IKE.
    default ike_version as "IKEVersion": IkeVersion = "2";
    /// How inner packets are wrapped.
    default encapsulation as "EncapsulationMode": Encapsulation = "Tunnel";
    /// Proposal list for IKE.
    default ike_algorithms as "IKEAlgorithms": Reference<IkeAlgorithms> = "High";
    /// Proposal list for IPsec.
    default ipsec_algorithms as "IPsecAlgorithms": Reference<IpsecAlgorithms> = "High";
    /// Life of the IKE SA in seconds.
    default ike_lifetime as "IKELifeTimeSeconds": Integer<40, 31536000> = "28800";
    /// Life of the IPsec SAs in seconds. New ones are negotiated 30 seconds before the end.
    default ipsec_lifetime as "IPsecLifeTimeSeconds": Integer<40, 31536000> = "3600";
    /// Life of the IPsec SAs in kilobytes of traffic; 0 for no limit.
    default ipsec_kilobytes as "IPsecLifeTimeKilobytes": Integer<0, 4294967295> = "0";
    /// Diffie-Hellman groups for IKE. The greatest number that both sides have is used.
    default groups as "DHGroup": Numbers<Groups> = "14,19,20,21";
    /// Diffie-Hellman groups for perfect forward secrecy, or None.
    default pfs_groups as "PFSDHGroup": Numbers<PfsGroups> = "None";
    /// How the two ends know each other.
    default auth as "AuthMethod": AuthMethod = "PSK";
    /// The pre-shared key.
    needed psk as "PSK": Reference<Psk> where "AuthMethod" = "PSK";
    /// What this side calls itself in IKE. Auto is its address.
    default id_type as "LocalIDType": IdType = "Auto";
    /// The name for that type.
    needed id_value as "LocalIDValue": Text where "LocalIDType" = "IP" | "DNS" | "E-Mail";
    /// Add a route to the remote network through the tunnel.
    default route as "AutoInterfaceNetworkRoute": Bool = "Yes";
    /// Add a route to what an SA leads to when it comes up, and take it away when it goes. For clients that get their
    /// addresses from elsewhere; AutoInterfaceNetworkRoute is No then.
    default dynamic_route as "AddRouteToRemoteNet": Bool = "No";
    /// Metric of those routes.
    default metric as "Metric": Integer<0, 65535> = "90";
    /// Which routing tables the tunnel belongs to.
    default member as "MemberOfRoutingTable": Membership = "All";
    /// The one table it belongs to: what comes in is routed by it, and the tunnel's routes are there and nowhere else.
    default table as "RoutingTable": Reference<RoutingTable> = "main" where "MemberOfRoutingTable" = "Specific";
    /// The table by which packets to the peer are routed on packet ports.
    default outgoing_table as "OutgoingRoutingTable": Reference<RoutingTable> = "main";
    /// Answer ARP for the hosts behind the tunnel on every packet port.
    default proxy_all as "ProxyARPAllInterfaces": Bool = "No";
    /// Interfaces on which to answer ARP for the hosts behind the tunnel.
    optional proxy as "ProxyARPInterfaces": References<Links>;
    /// What a pair of SAs is for.
    default sa_per as "SetupSAPer": SaPer = "Network";
    /// Set the tunnel up without waiting for traffic.
    default auto_establish as "AutoEstablish": Bool = "No";
    /// Ask a silent peer whether it lives, and delete the SAs when it does not answer.
    default dpd as "DeadPeerDetection": Bool = "Yes";
    /// Seconds of silence before the peer is asked.
    default dpd_interval as "DPDInterval": Integer<1, 86400> = "30" where "DeadPeerDetection" = "Yes";
    /// When ESP travels in UDP.
    default nat_traversal as "NATTraversal": Traversal = "OnIfNeeded";
    /// DiffServ byte of IKE packets.
    default ike_ds as "IKEDSField": Integer<0, 255> = "0";
    /// DiffServ byte of ESP packets; empty to copy that of the inner packet.
    optional ipsec_ds as "IPsecDSField": Integer<0, 255>;
    /// Inner packets larger than this many bytes are fragmented before encryption, or refused with an ICMP message
    /// where they may not be.
    default plaintext_mtu as "PlaintextMTU": Integer<576, 9000> = "1420";
    /// How the gateway's own address inside the tunnel is chosen: for packets that it sends itself.
    default originator_type as "OriginatorIPType": OriginatorType = "LocalInterface";
    /// The gateway's own address inside the tunnel.
    needed originator as "OriginatorIP": Addresses<Host> where "OriginatorIPType" = "Manual";
    /// How many packets may be overtaken by later ones and still be accepted. Rounded up to a multiple of 64.
    default replay_window as "ReplayWindowSize": Integer<64, 4096> = "64";
    /// Offer 64-bit sequence numbers, beside 32-bit ones.
    default esn as "ExtendedSequenceNumbers": Bool = "Yes";
}

choice! {
    /// Version of IKE.
    pub enum IkeVersion without "1", "Auto" {
        /// IKEv2.
        V2 = "2",
    }
}

choice! {
    /// How inner packets are wrapped.
    pub enum Encapsulation without "Transport" {
        /// The whole packet is wrapped.
        Tunnel = "Tunnel",
    }
}

choice! {
    /// How the two ends know each other.
    pub enum AuthMethod without "Certificate" {
        /// By a pre-shared key.
        Psk = "PSK",
    }
}

choice! {
    /// What this side calls itself.
    pub enum IdType without "DN", "DistinguishedName" {
        /// The address IKE messages leave from.
        Auto = "Auto",
        /// An address.
        Ip = "IP",
        /// A domain name.
        Dns = "DNS",
        /// A mail address.
        Email = "E-Mail" or "Email",
    }
}

choice! {
    /// What a pair of SAs is for.
    pub enum SaPer {
        /// All between a local and a remote network.
        Net = "Network" or "Net",
        /// All between two hosts.
        Host = "Host",
        /// All between two hosts with the same protocol and ports.
        Port = "Port",
    }
}

choice! {
    /// When ESP travels in UDP.
    pub enum Traversal {
        /// Never.
        Off = "Off",
        /// Always.
        On = "On",
        /// When there is a NAT on the way.
        OnIfNeeded = "OnIfNeeded",
    }
}

choice! {
    /// How the gateway's own address inside the tunnel is chosen.
    pub enum OriginatorType {
        /// The first interface address within the local network, or else the network's second address.
        LocalInterface = "LocalInterface",
        /// OriginatorIP.
        Manual = "Manual",
    }
}

const GROUPS: &[(u16, &str)] = &[
    (2, "1024-bit MODP, weak"),
    (5, "1536-bit MODP, weak"),
    (14, "2048-bit MODP"),
    (15, "3072-bit MODP"),
    (16, "4096-bit MODP"),
    (17, "6144-bit MODP, slow"),
    (18, "8192-bit MODP, slow"),
    (19, "256-bit ECP"),
    (20, "384-bit ECP"),
    (21, "521-bit ECP"),
    (31, "X25519"),
];

/// Groups for IKE.
#[derive(Debug)]
pub struct Groups;

impl NumberSet for Groups {
    const ALLOWED: &'static [(u16, &'static str)] = GROUPS;
    const NONE: bool = false;
}

/// Groups for perfect forward secrecy.
#[derive(Debug)]
pub struct PfsGroups;

impl NumberSet for PfsGroups {
    const ALLOWED: &'static [(u16, &'static str)] = GROUPS;
    const NONE: bool = true;
}

const ABSENT: &[&str] = &[
    "IncomingInterfaceFilter",
    "IKEMode",
    "IKELifeTimeKilobytes",
    "PFS",
    "GatewayCertificate",
    "RootCertificates",
    "EnforceLocalID",
    "RemoteID",
    "IDList",
    "XAuth",
    "XAuthUsername",
    "XAuthPassword",
    "EAP",
    "RequestEAPID",
    "Username",
    "Password",
    "EAPUsername",
    "EAPPassword",
    "ConfigMode",
    "IKEConfigModePool",
    "ConfigModeIP",
    "ConfigModeDNS",
    "OriginatorHAIP",
    "TunnelMonitor",
    "MonitoredIP",
    "MaxLoss",
    "DHCPOverIPsec",
    "KeepAlive",
    "KeepAliveSourceIP",
    "KeepAliveDestinationIP",
    "SecurityZone",
    "Zone",
];
