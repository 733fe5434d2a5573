//! Services: ServiceTCPUDP, ServiceICMP, ServiceICMPv6, ServiceIPProto and ServiceGroup.

use base::Duration;
use schema::kind::{Bool, Integer, Ranges, References, Target};
use schema::{Object, Tree, TypeInfo, choice, object};

use crate::snapshot::{IcmpTypes, ServiceMatch, ServiceTimeouts};

/// Types of object that are services.
pub(crate) const SERVICES: &[&str] =
    &["ServiceTCPUDP", "ServiceICMP", "ServiceICMPv6", "ServiceIPProto", "ServiceGroup"];

object! {
    /// TCP or UDP, told apart by ports.
    pub struct ServiceTcpUdp: "ServiceTCPUDP" {
        category: Some("Service"),
        columns: &["Type", "DestinationPorts"],
        absent: &["SYNRelay", "PassICMPReturn", "ALG", "MaxSessions", "Protocol"],
    }

    /// Which of the two.
    default protocol as "Type": PortProtocol = "TCP";
    /// Ports that connections come from.
    default source as "SourcePorts": Ranges<65535> = "0-65535";
    /// Ports that connections go to.
    required destination as "DestinationPorts": Ranges<65535>;
    /// The service has time-outs of its own.
    default custom as "CustomTimeouts": Bool = "No";
    /// Seconds that a connection is remembered before both sides have been heard; empty for that of the settings.
    optional initial as "InitialTimeout": Integer<1, 2592000> where "CustomTimeouts" = "Yes";
    /// Seconds that an idle connection is remembered.
    optional idle as "IdleTimeout": Integer<1, 2592000> where "CustomTimeouts" = "Yes";
    /// Seconds that a connection is remembered while it is being closed.
    optional closing as "ClosingTimeout": Integer<1, 2592000> where "CustomTimeouts" = "Yes";
}

object! {
    /// ICMP for IPv4, told apart by message type.
    pub struct ServiceIcmp: "ServiceICMP" {
        category: Some("Service"),
        columns: &["MessageTypes"],
        absent: &["PassICMPReturn", "ALG", "MaxSessions", "EchoRequestCodes"],
    }

    /// Every message, or the ones chosen.
    default messages as "MessageTypes": Messages = "All";
    /// Type 8: what ping sends.
    default echo_request as "EchoRequest": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 0: what answers it.
    default echo_reply as "EchoReply": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 3.
    default unreachable as "DestinationUnreachable": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 4.
    default quench as "SourceQuenching": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 5.
    default redirect as "Redirect": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 11.
    default exceeded as "TimeExceeded": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 12.
    default parameter as "ParameterProblem": Bool = "No" where "MessageTypes" = "Specific";
}

object! {
    /// ICMP for IPv6, told apart by message type.
    pub struct ServiceIcmpv6: "ServiceICMPv6" {
        category: Some("Service"),
        columns: &["MessageTypes"],
        absent: &["PassICMPReturn", "ALG", "MaxSessions", "EchoRequestCodes"],
    }

    /// Every message, or the ones chosen.
    default messages as "MessageTypes": Messages = "All";
    /// Type 128: what ping sends.
    default echo_request as "EchoRequest": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 129: what answers it.
    default echo_reply as "EchoReply": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 1.
    default unreachable as "DestinationUnreachable": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 2.
    default too_big as "PacketTooBig": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 3.
    default exceeded as "TimeExceeded": Bool = "No" where "MessageTypes" = "Specific";
    /// Type 4.
    default parameter as "ParameterProblem": Bool = "No" where "MessageTypes" = "Specific";
}

object! {
    /// IP protocols by number.
    pub struct ServiceIpProto: "ServiceIPProto" {
        category: Some("Service"),
        columns: &["IPProto"],
        absent: &["PassICMPReturn", "ALG", "MaxSessions", "EchoRequestCodes"],
    }

    /// The numbers; 0-255 is all traffic.
    required protocols as "IPProto": Ranges<255>;
    /// The service has time-outs of its own.
    default custom as "CustomTimeouts": Bool = "No";
    /// Seconds that a connection is remembered before both sides have been heard; empty for that of the settings.
    optional initial as "InitialTimeout": Integer<1, 2592000> where "CustomTimeouts" = "Yes";
    /// Seconds that an idle connection is remembered.
    optional idle as "IdleTimeout": Integer<1, 2592000> where "CustomTimeouts" = "Yes";
}

object! {
    /// Several services under one name.
    pub struct ServiceGroup: "ServiceGroup" {
        category: Some("Service"),
        columns: &["Members"],
    }

    /// The services in the group.
    required members as "Members": References<AnyService>;
    /// The group has time-outs of its own. Those of its members do not count in a group.
    default custom as "CustomTimeouts": Bool = "No";
    /// Seconds that a connection is remembered before both sides have been heard; empty for that of the settings.
    optional initial as "InitialTimeout": Integer<1, 2592000> where "CustomTimeouts" = "Yes";
    /// Seconds that an idle connection is remembered.
    optional idle as "IdleTimeout": Integer<1, 2592000> where "CustomTimeouts" = "Yes";
    /// Seconds that a connection is remembered while it is being closed.
    optional closing as "ClosingTimeout": Integer<1, 2592000> where "CustomTimeouts" = "Yes";
}

choice! {
    /// TCP, UDP or both.
    pub enum PortProtocol {
        /// TCP.
        Tcp = "TCP",
        /// UDP.
        Udp = "UDP",
        /// Both.
        Both = "TCPUDP",
    }
}

choice! {
    /// Every message type, or some.
    pub enum Messages {
        /// Every type.
        All = "All",
        /// The types that are set to Yes.
        Specific = "Specific",
    }
}

/// Any service.
#[derive(Debug)]
pub struct AnyService;

impl Target for AnyService {
    const TYPES: &'static [&'static str] = SERVICES;
}

impl ServiceTcpUdp {
    /// The traffic it stands for.
    pub fn matches(&self) -> Vec<ServiceMatch> {
        let ports = |ranges: &[(u32, u32)]| {
            let port = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
            ranges.iter().map(|&(first, last)| (port(first), port(last))).collect::<Vec<_>>()
        };
        let (source, destination) = (ports(&self.source), ports(&self.destination));
        let tcp = ServiceMatch::Tcp { source: source.clone(), destination: destination.clone() };
        let udp = ServiceMatch::Udp { source, destination };
        match self.protocol {
            PortProtocol::Tcp => vec![tcp],
            PortProtocol::Udp => vec![udp],
            PortProtocol::Both => vec![tcp, udp],
        }
    }
}

/// The time-outs that a service sets itself.
pub(crate) fn timeouts(object: &Object) -> ServiceTimeouts {
    let (initial, idle, closing) = match object.info.name {
        "ServiceTCPUDP" => ServiceTcpUdp::read(object).map_or((None, None, None), |s| (s.initial, s.idle, s.closing)),
        "ServiceIPProto" => ServiceIpProto::read(object).map_or((None, None, None), |s| (s.initial, s.idle, None)),
        "ServiceGroup" => ServiceGroup::read(object).map_or((None, None, None), |s| (s.initial, s.idle, s.closing)),
        _ => (None, None, None),
    };
    let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
    ServiceTimeouts { initial: seconds(initial), idle: seconds(idle), closing: seconds(closing) }
}

/// The types that are switched on.
fn chosen(messages: Messages, switches: &[(bool, u8)]) -> IcmpTypes {
    match messages {
        Messages::All => IcmpTypes::All,
        Messages::Specific => {
            IcmpTypes::Only(switches.iter().filter(|(on, _)| *on).map(|(_, number)| *number).collect())
        }
    }
}

impl ServiceIcmp {
    /// The traffic it stands for.
    pub fn matches(&self) -> Vec<ServiceMatch> {
        vec![ServiceMatch::Icmp(chosen(
            self.messages,
            &[
                (self.echo_reply, 0),
                (self.unreachable, 3),
                (self.quench, 4),
                (self.redirect, 5),
                (self.echo_request, 8),
                (self.exceeded, 11),
                (self.parameter, 12),
            ],
        ))]
    }
}

impl ServiceIcmpv6 {
    /// The traffic it stands for.
    pub fn matches(&self) -> Vec<ServiceMatch> {
        vec![ServiceMatch::Icmpv6(chosen(
            self.messages,
            &[
                (self.unreachable, 1),
                (self.too_big, 2),
                (self.exceeded, 3),
                (self.parameter, 4),
                (self.echo_request, 128),
                (self.echo_reply, 129),
            ],
        ))]
    }
}

impl ServiceIpProto {
    /// The traffic it stands for.
    pub fn matches(&self) -> Vec<ServiceMatch> {
        let number = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        self.protocols.iter().map(|&(first, last)| ServiceMatch::Protocol(number(first), number(last))).collect()
    }
}

/// The services that are there without being declared.
pub(crate) fn predefine(tree: &mut Tree) {
    for (info, name, values) in PREDEFINED {
        tree.predefine(info, Some(name), None, values);
    }
}

type Predefined = (&'static TypeInfo, &'static str, &'static [(&'static str, &'static str)]);

const TCP: (&str, &str) = ("Type", "TCP");
const UDP: (&str, &str) = ("Type", "UDP");
const BOTH: (&str, &str) = ("Type", "TCPUDP");
const SPECIFIC: (&str, &str) = ("MessageTypes", "Specific");

const PREDEFINED: &[Predefined] = &[
    (ServiceIpProto::TYPE, "all_services", &[("IPProto", "0-255")]),
    (ServiceTcpUdp::TYPE, "all_tcp", &[TCP, ("DestinationPorts", "0-65535")]),
    (ServiceTcpUdp::TYPE, "all_udp", &[UDP, ("DestinationPorts", "0-65535")]),
    (ServiceTcpUdp::TYPE, "all_tcpudp", &[BOTH, ("DestinationPorts", "0-65535")]),
    (ServiceIcmp::TYPE, "all_icmp", &[("MessageTypes", "All")]),
    (ServiceIcmpv6::TYPE, "all_icmpv6", &[("MessageTypes", "All")]),
    (ServiceGroup::TYPE, "all_tcpudpicmp", &[("Members", "all_tcpudp,all_icmp")]),
    (ServiceIcmp::TYPE, "ping-inbound", &[SPECIFIC, ("EchoRequest", "Yes")]),
    (ServiceIcmp::TYPE, "ping-outbound", &[SPECIFIC, ("EchoRequest", "Yes")]),
    (ServiceIcmpv6::TYPE, "ping6-inbound", &[SPECIFIC, ("EchoRequest", "Yes")]),
    (ServiceIcmpv6::TYPE, "ping6-outbound", &[SPECIFIC, ("EchoRequest", "Yes")]),
    (ServiceTcpUdp::TYPE, "http", &[TCP, ("DestinationPorts", "80")]),
    (ServiceTcpUdp::TYPE, "https", &[TCP, ("DestinationPorts", "443")]),
    (ServiceTcpUdp::TYPE, "http-all", &[TCP, ("DestinationPorts", "80,443")]),
    (ServiceTcpUdp::TYPE, "ssh", &[TCP, ("DestinationPorts", "22")]),
    (ServiceTcpUdp::TYPE, "telnet", &[TCP, ("DestinationPorts", "23")]),
    (ServiceTcpUdp::TYPE, "smtp", &[TCP, ("DestinationPorts", "25")]),
    (ServiceTcpUdp::TYPE, "pop3", &[TCP, ("DestinationPorts", "110")]),
    (ServiceTcpUdp::TYPE, "imap", &[TCP, ("DestinationPorts", "143")]),
    (ServiceTcpUdp::TYPE, "ldap", &[TCP, ("DestinationPorts", "389")]),
    (ServiceTcpUdp::TYPE, "rdp", &[TCP, ("DestinationPorts", "3389")]),
    (ServiceTcpUdp::TYPE, "smb-all", &[BOTH, ("DestinationPorts", "135-139,445")]),
    (ServiceTcpUdp::TYPE, "dns-tcp", &[TCP, ("DestinationPorts", "53")]),
    (ServiceTcpUdp::TYPE, "dns-udp", &[UDP, ("DestinationPorts", "53")]),
    (ServiceTcpUdp::TYPE, "dns-all", &[BOTH, ("DestinationPorts", "53")]),
    (ServiceTcpUdp::TYPE, "ntp", &[UDP, ("DestinationPorts", "123")]),
    (ServiceTcpUdp::TYPE, "snmp", &[UDP, ("DestinationPorts", "161")]),
    (ServiceTcpUdp::TYPE, "syslog", &[UDP, ("DestinationPorts", "514")]),
    (ServiceTcpUdp::TYPE, "ftp", &[TCP, ("DestinationPorts", "21")]),
    (ServiceTcpUdp::TYPE, "pptp-ctl", &[TCP, ("DestinationPorts", "1723")]),
    (ServiceIpProto::TYPE, "gre", &[("IPProto", "47")]),
    (ServiceGroup::TYPE, "pptp-suite", &[("Members", "pptp-ctl,gre")]),
    (ServiceTcpUdp::TYPE, "l2tp-raw", &[UDP, ("DestinationPorts", "1701")]),
    (ServiceGroup::TYPE, "l2tp-ipsec", &[("Members", "ike,ipsec-natt,ipsec-esp,l2tp-raw")]),
    (ServiceTcpUdp::TYPE, "ike", &[UDP, ("DestinationPorts", "500")]),
    (ServiceTcpUdp::TYPE, "ipsec-natt", &[UDP, ("DestinationPorts", "4500")]),
    (ServiceIpProto::TYPE, "ipsec-esp", &[("IPProto", "50")]),
    (ServiceGroup::TYPE, "ipsec-suite", &[("Members", "ike,ipsec-natt,ipsec-esp")]),
];
