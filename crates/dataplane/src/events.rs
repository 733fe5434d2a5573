//! What the packet path writes into the log. Numbers and names are the product's where it has them.

use base::{Event, Meta, Severity};

base::events! {
    /// A packet was dropped by the rule named. `Default_Rule`: no rule allows it; add one if it should pass.
    /// `Default_Access_Rule`: the route back to its source does not lead to the interface it came in by, so the source is
    /// forged or a route is missing. A policy that allows it has `recvif` and `srcip` as its source, `destif` (empty without
    /// a route) and `destip` as its destination. Ports are there for TCP and UDP, `icmptype` for ICMP, `echoid` and `echoseq`
    /// for echoes.
    RulesetDropPacket = 06_000_051 rev 2, Warning, RULE, "ruleset_drop_packet", action "drop" {
        rule: String, recvif: String, srcip: String, destif: String, destip: String, ipproto: String, ipdatalen: usize,
        srcport: String, destport: String, icmptype: String, echoid: String, echoseq: String,
    }

    /// A packet's headers break the rules of IP, TCP, UDP or ICMP. Its sender is broken or hostile.
    MalformedPacket = 06_000_070 rev 1, Warning, RULE, "malformed_packet", action "drop" {
        reason: String, recvif: String, srcip: String, destip: String, ipproto: String,
    }

    /// A packet claims a source address that nobody can have. Its sender is misconfigured or hostile.
    ImpossibleSource = 06_000_071 rev 1, Warning, RULE, "impossible_source", action "drop" {
        recvif: String, srcip: String, destip: String, ipproto: String,
    }

    /// No route leads to the destination of a packet. Add a route, or find out why somebody sends there.
    NoRoute = 06_000_072 rev 1, Warning, RULE, "no_route", action "drop" {
        recvif: String, srcip: String, destip: String, ipproto: String,
    }

    /// Fragments contradict each other, or there are too many of unfinished packets. This is how evasion and exhaustion
    /// are tried.
    FragmentDropped = 06_000_073 rev 1, Warning, RULE, "fragment_dropped", action "drop" {
        reason: String, recvif: String, srcip: String, destip: String, ipproto: String,
    }

    /// A TCP segment of a connection lies outside of what its receiver takes now. A few after an outage are normal; many are
    /// somebody who guesses, or another path that half of the connection takes.
    TcpOutOfWindow = 06_000_074 rev 1, Debug, RULE, "tcp_out_of_window", action "drop" {
        rule: String, recvif: String, srcip: String, destip: String, srcport: String, destport: String,
    }

    /// A connection was opened under a rule that logs.
    ConnOpen = 00_600_001 rev 1, Info, CONN, "conn_open", action "none" {
        rule: String, conn: String, connipproto: String, connrecvif: String, connsrcip: String, connsrcport: u16,
        conndestif: String, conndestip: String, conndestport: u16,
    }

    /// A connection that was opened under a rule that logs has ended. `origsent` and `termsent` are the bytes that its
    /// opener and the other side have sent, `conntime` its age in seconds.
    ConnClose = 00_600_002 rev 1, Info, CONN, "conn_close", action "close" {
        rule: String, conn: String, connipproto: String, connrecvif: String, connsrcip: String, connsrcport: u16,
        conndestif: String, conndestip: String, conndestport: u16, origsent: u64, termsent: u64, conntime: u64,
    }

    /// A translated connection was opened under a rule that logs. `connnew...` are its addresses and ports as the other end
    /// sees them.
    ConnOpenNatsat = 00_600_004 rev 1, Info, CONN, "conn_open_natsat", action "none" {
        rule: String, conn: String, connipproto: String, connrecvif: String, connsrcip: String, connsrcport: u16,
        conndestif: String, conndestip: String, conndestport: u16, connnewsrcip: String, connnewsrcport: u16,
        connnewdestip: String, connnewdestport: u16,
    }

    /// A translated connection that was opened under a rule that logs has ended.
    ConnCloseNatsat = 00_600_005 rev 1, Info, CONN, "conn_close_natsat", action "close" {
        rule: String, conn: String, connipproto: String, connrecvif: String, connsrcip: String, connsrcport: u16,
        conndestif: String, conndestip: String, conndestport: u16, connnewsrcip: String, connnewsrcport: u16,
        connnewdestip: String, connnewdestport: u16, origsent: u64, termsent: u64, conntime: u64,
    }

    /// There are as many connections as may be; the one named, which had been idle for long, was ended for a new one.
    /// Somebody opens them without end, or the limit is too low for this network.
    OutOfConnections = 00_600_010 rev 1, Warning, CONN, "out_of_connections", action "replace" {
        rule: String, connipproto: String, connsrcip: String, connsrcport: u16, conndestip: String, conndestport: u16,
        limit: usize,
    }

    /// A rule asks for a translation that cannot be had for this connection: there is no address of its family, every port
    /// is in use, or the result would be the same as another connection. Give the rule more addresses, or correct it.
    NatFailed = 00_600_020 rev 1, Warning, CONN, "nat_failed", action "drop" {
        reason: String, recvif: String, srcip: String, destip: String, ipproto: String,
    }

    /// There are as many connections as may be; a new one was refused. Somebody opens them without end, or the limit is
    /// too low for this network.
    ConnectionTableFull = 00_600_003 rev 1, Warning, CONN, "connection_table_full", action "drop" {
        recvif: String, srcip: String, destip: String, ipproto: String, limit: usize,
    }

    /// A packet belongs to no connection and cannot open one: the middle of a TCP connection that has timed out or began
    /// before the gateway did, or an answer nobody asked for. Ports are there for TCP, `icmptype`, `echoid` and `echoseq` for
    /// answers to echoes.
    NoNewConnForThisPacket = 00_600_012 rev 2, Notice, CONN, "no_new_conn_for_this_packet", action "drop" {
        recvif: String, srcip: String, destip: String, ipproto: String,
        srcport: String, destport: String, icmptype: String, echoid: String, echoseq: String,
    }

    /// An ESP packet is truncated or holds no IP packet. The peer is broken, or somebody sends rubbish.
    PacketCorrupt = 01_800_110 rev 1, Warning, IPSEC, "packet_corrupt", action "drop" {
        source_ip: String, dest_ip: String, spi: String, seq: u64, protocol: String, reason: String,
    }

    /// The integrity check of an ESP packet failed: altered on the way, or the peer uses another key.
    IcvFailure = 01_800_111 rev 1, Warning, IPSEC, "icv_failure", action "drop" {
        source_ip: String, dest_ip: String, spi: String, seq: u64, protocol: String, reason: String,
    }

    /// The sequence number of an ESP packet was seen before or is older than the window. A few after a network hiccup are
    /// normal; many are a replay, or packets reordered by more than the window holds.
    SequenceNumberFailure = 01_800_112 rev 1, Warning, IPSEC, "sequence_number_failure", action "drop" {
        source_ip: String, dest_ip: String, spi: String, seq: u64, protocol: String, reason: String,
    }

    /// No SA has the SPI of an ESP packet. The peer still uses an SA that this gateway has forgotten; it will find out by
    /// its dead peer detection.
    SaLookupFailure = 01_800_113 rev 1, Warning, IPSEC, "sa_lookup_failure", action "drop" {
        source_ip: String, dest_ip: String, spi: String, seq: u64, protocol: String, reason: String,
    }

    /// The sequence numbers of an SA are used up, or it has carried as many bytes as it may, before it was rekeyed.
    SequenceNumberOverflow = 01_800_115 rev 1, Notice, IPSEC, "sequence_number_overflow", action "drop" {
        source_ip: String, dest_ip: String, spi: String, seq: u64, protocol: String, reason: String,
    }

    /// The padding inside an authentic ESP packet is not 1, 2, 3 and so on. The peer's implementation is unusual.
    BadPadding = 01_800_116 rev 1, Warning, IPSEC, "bad_padding", action "drop" {
        source_ip: String, dest_ip: String, spi: String, seq: u64, protocol: String, reason: String,
    }

    /// The addresses or ports inside an authentic ESP packet are not those the SA was negotiated for. The peer's routing
    /// sends packets into the wrong tunnel, or somebody behind it forges addresses.
    IpValidationFailure = 01_800_119 rev 1, Warning, IPSEC, "ip_validation_failure", action "drop" {
        tunnel: String, source_ip: String, dest_ip: String, spi: String, reason: String,
    }

    /// So many packets were worth a log line that some lines were left out; their counters have them all.
    PacketLogFlood = 01_803_950 rev 1, Notice, IPSEC, "packet_log_flood", action "none" { suppressed: u64 }

    /// A packet is routed into a tunnel whose networks it does not belong to. Correct the route, or the tunnel's local and
    /// remote network on both sides.
    PacketOutsideTunnel = 01_803_951 rev 1, Warning, IPSEC, "packet_outside_tunnel", action "drop" {
        tunnel: String, srcip: String, destip: String, ipproto: String,
    }

    /// An ESP or IKE packet of our own could not leave: no route leads to the peer by an interface that outer packets can
    /// leave by. Add a route to the peer in the tunnel's outer routing table; it must not lead into a tunnel.
    OuterPacketNotSent = 01_803_953 rev 1, Warning, IPSEC, "outer_packet_not_sent", action "drop" {
        local: String, remote: String, reason: String,
    }

    /// A packet that needed the tunnel named was dropped. `reason` says whether too many waited, the time was up, or the
    /// tunnel cannot be set up; the command `ike` says why the tunnel is not up.
    TunnelPacketNotSent = 01_803_952 rev 2, Notice, IPSEC, "tunnel_packet_not_sent", action "drop" {
        tunnel: String, srcip: String, destip: String, ipproto: String, reason: String,
    }
}

/// Fields that a line leaves out where they say nothing about its packet.
const CONDITIONAL: [&str; 5] = ["srcport", "destport", "icmptype", "echoid", "echoseq"];

/// Connections and drops are logged at the severity that their rule names, with the fields that apply: one row per event and
/// set of fields, one column per severity.
static FORMS: [[Meta; 8]; 10] = [
    at_every_severity::<RulesetDropPacket>(&[
        "rule",
        "recvif",
        "srcip",
        "destif",
        "destip",
        "ipproto",
        "ipdatalen",
        "srcport",
        "destport",
    ]),
    at_every_severity::<RulesetDropPacket>(&[
        "rule",
        "recvif",
        "srcip",
        "destif",
        "destip",
        "ipproto",
        "ipdatalen",
        "icmptype",
        "echoid",
        "echoseq",
    ]),
    at_every_severity::<RulesetDropPacket>(&[
        "rule",
        "recvif",
        "srcip",
        "destif",
        "destip",
        "ipproto",
        "ipdatalen",
        "icmptype",
    ]),
    at_every_severity::<RulesetDropPacket>(&["rule", "recvif", "srcip", "destif", "destip", "ipproto", "ipdatalen"]),
    at_every_severity::<NoNewConnForThisPacket>(&["recvif", "srcip", "destip", "ipproto", "srcport", "destport"]),
    at_every_severity::<NoNewConnForThisPacket>(&[
        "recvif", "srcip", "destip", "ipproto", "icmptype", "echoid", "echoseq",
    ]),
    at_every_severity::<ConnOpen>(ConnOpen::META.fields),
    at_every_severity::<ConnClose>(ConnClose::META.fields),
    at_every_severity::<ConnOpenNatsat>(ConnOpenNatsat::META.fields),
    at_every_severity::<ConnCloseNatsat>(ConnCloseNatsat::META.fields),
];

const SEVERITIES: [Severity; 8] = [
    Severity::Debug,
    Severity::Info,
    Severity::Notice,
    Severity::Warning,
    Severity::Error,
    Severity::Critical,
    Severity::Alert,
    Severity::Emergency,
];

const fn at_every_severity<E: Event>(fields: &'static [&'static str]) -> [Meta; 8] {
    let [a, b, c, d, e, f, g, h] = SEVERITIES;
    [
        at::<E>(a, fields),
        at::<E>(b, fields),
        at::<E>(c, fields),
        at::<E>(d, fields),
        at::<E>(e, fields),
        at::<E>(f, fields),
        at::<E>(g, fields),
        at::<E>(h, fields),
    ]
}

const fn at<E: Event>(severity: Severity, fields: &'static [&'static str]) -> Meta {
    let Meta { id, revision, category, name, action, help, .. } = E::META;
    Meta { id, revision, category, severity, name, action, fields, help }
}

/// The record of an event of [`FORMS`], with the fields that apply, at another severity than its own.
pub(crate) fn record_at<E: Event>(event: &E, severity: Severity) -> base::Record {
    let whole = event.record();
    let fits = |meta: &&Meta| {
        let mut fields = whole.meta.fields.iter().zip(&whole.values);
        let applies = |name: &str, value: &str| !CONDITIONAL.contains(&name) || !value.is_empty();
        (meta.id, meta.severity) == (whole.meta.id, severity)
            && fields.all(|(name, value)| meta.fields.contains(name) == applies(name, value))
    };
    let Some(meta) = FORMS.iter().flatten().find(fits) else { return whole };
    let values = meta.fields.iter().map(|name| whole.field(name).unwrap_or_default().to_owned()).collect();
    base::Record { meta, values }
}

/// The record of an event of [`FORMS`], with the fields that apply.
pub(crate) fn record<E: Event>(event: &E) -> base::Record {
    record_at(event, E::META.severity)
}

/// The type of an ICMP message, or its number.
pub(crate) fn icmp_type_name(kind: u8, v6: bool) -> String {
    match (kind, v6) {
        (8, false) | (128, true) => "ECHO_REQUEST".to_owned(),
        (0, false) | (129, true) => "ECHO_REPLY".to_owned(),
        (3, false) | (1, true) => "DESTINATION_UNREACHABLE".to_owned(),
        (2, true) => "PACKET_TOO_BIG".to_owned(),
        (11, false) | (3, true) => "TIME_EXCEEDED".to_owned(),
        (12, false) | (4, true) => "PARAMETER_PROBLEM".to_owned(),
        (other, _) => other.to_string(),
    }
}

/// The name of an IP protocol, or its number.
pub(crate) fn protocol_name(protocol: u8) -> String {
    match protocol {
        wire::ip::ICMP => "ICMP".to_owned(),
        wire::ip::TCP => "TCP".to_owned(),
        wire::ip::UDP => "UDP".to_owned(),
        wire::ip::ESP => "ESP".to_owned(),
        wire::ip::ICMPV6 => "ICMPV6".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_event_has_its_own_number() {
        let ids: BTreeSet<_> = EVENTS.iter().map(|meta| meta.id).collect();
        assert_eq!(ids.len(), EVENTS.len());
    }

    #[test]
    fn a_rule_may_choose_the_severity_of_its_events() {
        let event = PacketLogFlood { suppressed: 1 };
        assert_eq!(record_at(&event, Severity::Error).meta.severity, Severity::Notice, "no rule logs this one");
        for severity in SEVERITIES {
            let record = record_at(&dropped(["1", "2", "", "", ""]), severity);
            assert_eq!((record.meta.severity, record.is::<RulesetDropPacket>()), (severity, true));
        }
    }

    fn dropped([srcport, destport, icmptype, echoid, echoseq]: [&str; 5]) -> RulesetDropPacket {
        RulesetDropPacket {
            rule: "r".into(),
            recvif: "lan".into(),
            srcip: "192.0.2.1".into(),
            destif: String::new(),
            destip: "192.0.2.2".into(),
            ipproto: "47".into(),
            ipdatalen: 9,
            srcport: srcport.into(),
            destport: destport.into(),
            icmptype: icmptype.into(),
            echoid: echoid.into(),
            echoseq: echoseq.into(),
        }
    }

    #[test]
    fn a_line_has_only_the_fields_that_apply() {
        let line = |values| record(&dropped(values)).to_string().split_once("ipproto=").unwrap().1.to_owned();
        assert_eq!(line(["", "", "", "", ""]), "47 ipdatalen=9");
        assert_eq!(line(["1", "2", "", "", ""]), "47 ipdatalen=9 srcport=1 destport=2");
        assert_eq!(line(["", "", "13", "", ""]), "47 ipdatalen=9 icmptype=13");
        assert_eq!(line(["", "", "ECHO_REPLY", "1", "2"]), "47 ipdatalen=9 icmptype=ECHO_REPLY echoid=1 echoseq=2");
        assert!(
            record(&dropped(Default::default())).to_string().contains(" destif=\"\" "),
            "that there is no route is news"
        );
    }

    #[test]
    fn every_form_of_a_line_has_fields_of_its_event_in_their_order() {
        for form in FORMS.iter().flatten() {
            let whole = EVENTS.iter().find(|meta| meta.id == form.id).unwrap();
            let applies = |name: &&&str| !CONDITIONAL.contains(*name) || form.fields.contains(*name);
            let expected: Vec<&str> = whole.fields.iter().filter(applies).copied().collect();
            assert_eq!(form.fields, expected);
        }
    }
}
