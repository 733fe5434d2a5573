//! The log line of a packet that was dropped on the packet path.

use base::{Event, Instant, Record};
use wire::ip;

use crate::events::{
    self, ConnectionTableFull, FragmentDropped, ImpossibleSource, MalformedPacket, NoNewConnForThisPacket, NoRoute,
    PacketOutsideTunnel, RulesetDropPacket, TunnelPacketNotSent, protocol_name,
};
use crate::inspect::Seen;
use crate::path::{Denial, Source, Work};
use crate::{CORE, Dataplane, Output, Reason};

/// What a line says of the packet.
struct Subject {
    recvif: String,
    srcip: String,
    destip: String,
    ipproto: String,
    data_len: usize,
    ports: (u16, u16),
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
        let Subject { recvif, srcip, destip, ipproto, data_len, ports } = subject;
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
            Reason::FragmentOverlap | Reason::FragmentLimit => {
                FragmentDropped { reason, recvif, srcip, destip, ipproto }.record()
            }
            Reason::DefaultAccessRule | Reason::DefaultRule | Reason::RuleDrop | Reason::RuleReject => {
                let rule = match (&denial.rule, denial.reason) {
                    (Some((name, _)), _) => name.to_string(),
                    (None, Reason::DefaultAccessRule) => "Default_Access_Rule".to_owned(),
                    (None, _) => "Default_Rule".to_owned(),
                };
                let (srcport, destport) = ports;
                let event =
                    RulesetDropPacket { rule, recvif, srcip, destip, ipproto, ipdatalen: data_len, srcport, destport };
                match denial.rule {
                    Some((_, Some(severity))) => events::record_at(&event, severity),
                    Some((_, None)) | None => event.record(),
                }
            }
            Reason::NoConnection => {
                let (srcport, destport) = ports;
                NoNewConnForThisPacket { recvif, srcip, destip, ipproto, srcport, destport }.record()
            }
            Reason::NoRoute => NoRoute { recvif, srcip, destip, ipproto }.record(),
            Reason::ConnectionTableFull => {
                let limit = self.policy.settings.connections_max;
                ConnectionTableFull { recvif, srcip, destip, ipproto, limit }.record()
            }
            Reason::OutsideTunnel => {
                let to = work.header.and_then(|header| self.routes.lookup(header.destination));
                let tunnel = to.map_or(String::new(), |route| self.name(route.interface).to_string());
                PacketOutsideTunnel { tunnel, srcip, destip, ipproto }.record()
            }
            Reason::WaitingFull | Reason::WaitingTimeout | Reason::TunnelUnavailable => {
                TunnelPacketNotSent { srcip, destip, ipproto, reason }.record()
            }
            _ => return None,
        })
    }

    fn subject(&self, work: &Work) -> Subject {
        let Some(header) = work.header else {
            let recvif = self.received_by(work, None);
            let (srcip, destip, ipproto) = (String::new(), String::new(), String::new());
            return Subject { recvif, srcip, destip, ipproto, data_len: work.packet.len(), ports: (0, 0) };
        };
        let seen = if header.fragment.is_none() { Seen::new(work.packet.bytes(), header) } else { None };
        Subject {
            recvif: self.received_by(work, Some(&header)),
            srcip: header.source.to_string(),
            destip: header.destination.to_string(),
            ipproto: protocol_name(header.protocol),
            data_len: header.total.saturating_sub(header.payload),
            ports: seen.map_or((0, 0), |seen| seen.key().ports),
        }
    }

    /// The name of the interface that a packet came in by. Behind the host port it follows from the source; where the
    /// source gives none away, only the port itself is known.
    fn received_by(&self, work: &Work, header: Option<&ip::Header>) -> String {
        let interface = match work.source {
            Source::Tunnel(tunnel) => Some(tunnel),
            Source::Core | Source::Originated | Source::Error => Some(CORE),
            Source::Port => header
                .and_then(|header| self.routes.lookup(header.source))
                .map(|route| route.interface)
                .filter(|interface| self.tunnel(*interface).is_none()),
        };
        interface.map_or_else(|| "host".to_owned(), |interface| self.name(interface).to_string())
    }
}
