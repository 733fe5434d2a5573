//! The log line of a packet that was dropped on the packet path.

use base::{Event, Instant, Record};
use wire::icmp::Class;
use wire::ip;

use crate::events::{
    self, ConnectionTableFull, FragmentDropped, ImpossibleSource, MalformedPacket, NatFailed, NoNewConnForThisPacket,
    NoRoute, PacketOutsideTunnel, RulesetDropPacket, TcpOutOfWindow, TunnelPacketNotSent, icmp_type_name,
    protocol_name,
};
use crate::inspect::{Seen, Transport};
use crate::path::{Denial, Source, Work};
use crate::{CORE, Dataplane, InterfaceId, Output, Reason};

/// What a line says of the packet.
struct Subject {
    recvif: String,
    srcip: String,
    destip: String,
    ipproto: String,
    data_len: usize,
    message: Message,
}

/// What a line says of the transport header; empty where it does not apply.
#[derive(Default)]
struct Message {
    srcport: String,
    destport: String,
    icmptype: String,
    echoid: String,
    echoseq: String,
}

impl Message {
    fn of(packet: &[u8], seen: &Seen) -> Self {
        let with_ports = |source: u16, destination: u16| Self {
            srcport: source.to_string(),
            destport: destination.to_string(),
            ..Self::default()
        };
        let icmp = match &seen.transport {
            Transport::Tcp(tcp) => return with_ports(tcp.source, tcp.destination),
            Transport::Udp(udp) => return with_ports(udp.source, udp.destination),
            Transport::Other => return Self::default(),
            Transport::Icmp(icmp) => icmp,
        };
        let icmptype = icmp_type_name(icmp.kind, !seen.ip.is_v4());
        let (Class::Request(id) | Class::Reply(id)) = icmp.class else { return Self { icmptype, ..Self::default() } };
        let sequence = wire::octets::u16(seen.ip.payload_of(packet), 6).unwrap_or_default();
        Self { icmptype, echoid: id.to_string(), echoseq: sequence.to_string(), ..Self::default() }
    }
}

impl Dataplane {
    pub(crate) fn log_denial(&mut self, now: Instant, work: &Work, denial: &Denial, out: &mut Vec<Output>) {
        let silent = matches!(denial.rule, Some((_, None)));
        let nothing_to_say = matches!(
            denial.reason,
            // Daily life: the kernel's neighbour discovery, path MTU discovery, traceroute, late errors.
            Reason::NotUnicast | Reason::TooBig | Reason::TtlExpired | Reason::UnrelatedIcmpError
        );
        if silent || nothing_to_say || !self.may_log(now, denial.reason, out) {
            return;
        }
        let subject = self.subject(work);
        if let Some(record) = self.record(work, denial, subject) {
            out.push(Output::Log(record));
        }
    }

    fn record(&self, work: &Work, denial: &Denial, subject: Subject) -> Option<Record> {
        let Subject { recvif, srcip, destip, ipproto, data_len, message } = subject;
        let reason = denial.reason.sentence().to_owned();
        Some(match denial.reason {
            Reason::MalformedIp | Reason::MalformedTransport | Reason::TcpFlags => {
                let reason = match ip::Header::parse(work.packet.bytes()) {
                    Err(malformed) => malformed.to_string(),
                    Ok(_) => reason,
                };
                MalformedPacket { reason, recvif, srcip, destip, ipproto }.record()
            }
            Reason::ImpossibleSource => ImpossibleSource { recvif, srcip, destip, ipproto }.record(),
            Reason::FragmentOverlap | Reason::TinyFragment | Reason::FragmentLimit => {
                FragmentDropped { reason, recvif, srcip, destip, ipproto }.record()
            }
            Reason::AccessRule
            | Reason::DefaultAccessRule
            | Reason::DefaultRule
            | Reason::RuleDrop
            | Reason::RuleReject => {
                let rule = match (&denial.rule, denial.reason) {
                    (Some((name, _)), _) => name.to_string(),
                    (None, Reason::DefaultAccessRule) => "Default_Access_Rule".to_owned(),
                    (None, _) => "Default_Rule".to_owned(),
                };
                let destif = self.routed_to(work);
                let Message { srcport, destport, icmptype, echoid, echoseq } = message;
                let event = RulesetDropPacket {
                    rule,
                    recvif,
                    srcip,
                    destif,
                    destip,
                    ipproto,
                    ipdatalen: data_len,
                    srcport,
                    destport,
                    icmptype,
                    echoid,
                    echoseq,
                };
                match denial.rule {
                    Some((_, Some(severity))) => events::record_at(&event, severity),
                    Some((_, None)) | None => events::record(&event),
                }
            }
            Reason::NoConnection => {
                let Message { srcport, destport, icmptype, echoid, echoseq } = message;
                events::record(&NoNewConnForThisPacket {
                    recvif,
                    srcip,
                    destip,
                    ipproto,
                    srcport,
                    destport,
                    icmptype,
                    echoid,
                    echoseq,
                })
            }
            Reason::TcpWindow => {
                let Message { srcport, destport, .. } = message;
                TcpOutOfWindow { rule: "TCPSequenceNumbers".to_owned(), recvif, srcip, destip, srcport, destport }
                    .record()
            }
            Reason::NatNoAddress | Reason::NatPortsExhausted | Reason::NatTaken => {
                NatFailed { reason, recvif, srcip, destip, ipproto }.record()
            }
            Reason::NoRoute => NoRoute { recvif, srcip, destip, ipproto }.record(),
            Reason::ConnectionTableFull => {
                let limit = self.policy.settings.connections_max;
                ConnectionTableFull { recvif, srcip, destip, ipproto, limit }.record()
            }
            Reason::OutsideTunnel => {
                PacketOutsideTunnel { tunnel: self.routed_to(work), srcip, destip, ipproto }.record()
            }
            Reason::WaitingFull | Reason::WaitingTimeout | Reason::AskedLimit | Reason::TunnelUnavailable => {
                let tunnel = denial.tunnel?;
                let reason = self.why_not_sent(work, denial.reason, tunnel);
                TunnelPacketNotSent { tunnel: self.name(tunnel).to_string(), srcip, destip, ipproto, reason }.record()
            }
            _ => return None,
        })
    }

    /// Why a packet did not go through its tunnel, and where the cause is to be found.
    fn why_not_sent(&self, work: &Work, reason: Reason, tunnel: InterfaceId) -> String {
        let route = work.header.and_then(|header| self.tables.main().lookup(header.destination));
        if route.is_none_or(|route| route.interface != tunnel) {
            return "The configuration no longer sends it through the tunnel that it waited for.".to_owned();
        }
        let name = self.name(tunnel);
        match reason {
            Reason::WaitingFull => {
                format!("Too many packets wait for tunnel {name}, and this is the oldest; 'ike' says why it is not up.")
            }
            Reason::AskedLimit => format!(
                "Tunnel {name} is asked for SAs for {} hosts or ports at once already; 'ike' says how many it has.",
                crate::waiting::ASKED_PER_TUNNEL_MAX
            ),
            Reason::WaitingTimeout => format!("Tunnel {name} did not come up in time; 'ike' says why."),
            _ => format!("Tunnel {name} could not be set up; 'ike' says why."),
        }
    }

    /// The name of the interface that the route to the destination leads to; empty when there is none.
    fn routed_to(&self, work: &Work) -> String {
        let route = work.header.and_then(|header| self.tables.main().lookup(header.destination));
        route.map_or_else(String::new, |route| self.name(route.interface).to_string())
    }

    fn subject(&self, work: &Work) -> Subject {
        let Some(header) = work.header else {
            let recvif = self.received_by(work, None);
            let (srcip, destip, ipproto) = (String::new(), String::new(), String::new());
            return Subject {
                recvif,
                srcip,
                destip,
                ipproto,
                data_len: work.packet.len(),
                message: Message::default(),
            };
        };
        let seen = if header.fragment.is_none() { Seen::new(work.packet.bytes(), header) } else { None };
        Subject {
            recvif: self.received_by(work, Some(&header)),
            srcip: header.source.to_string(),
            destip: header.destination.to_string(),
            ipproto: protocol_name(header.protocol),
            data_len: header.total.saturating_sub(header.payload),
            message: seen.map_or_else(Message::default, |seen| Message::of(work.packet.bytes(), &seen)),
        }
    }

    /// The name of the interface that a packet came in by. Behind the host port it follows from the source; where the
    /// source gives none away, only the port itself is known.
    fn received_by(&self, work: &Work, header: Option<&ip::Header>) -> String {
        let interface = match work.source {
            Source::Tunnel(interface) | Source::Link(interface) => Some(interface),
            Source::Core | Source::Originated(_) | Source::Error(_) => Some(CORE),
            Source::Port => header
                .and_then(|header| self.tables.main().lookup(header.source))
                .map(|route| route.interface)
                .filter(|interface| self.tunnel(*interface).is_none()),
        };
        interface.map_or_else(|| "host".to_owned(), |interface| self.name(interface).to_string())
    }
}
