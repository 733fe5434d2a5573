//! Why a packet was dropped: each reason with its counter and its sentence.

use std::fmt;

/// Declares the reasons once: variant, name of the counter, sentence.
macro_rules! reasons {
    ($( $reason:ident $name:literal $sentence:literal )+) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $( #[doc = $sentence] $reason, )+
        }

        impl Reason {
            /// Every reason, in the order of the packet path.
            pub const ALL: &'static [Self] = &[$( Self::$reason ),+];

            /// The name of its counter.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$reason => $name ),+ }
            }

            /// What it means, for an administrator.
            pub const fn sentence(self) -> &'static str {
                match self { $( Self::$reason => $sentence ),+ }
            }
        }
    };
}

reasons! {
    MalformedIp "malformed_ip" "The IP header is malformed."
    ImpossibleSource "impossible_source" "The source address can be nobody's: multicast, broadcast, loopback, unspecified, or the destination itself."
    NotUnicast "not_unicast" "The destination is a multicast, broadcast or link-local address, which is not forwarded."
    MalformedTransport "malformed_transport" "The TCP, UDP or ICMP header is truncated or does not fit the packet."
    TcpFlags "tcp_flags" "The TCP flags are a combination that no TCP sends."
    FragmentOverlap "fragment_overlap" "Fragments of one packet overlap or contradict each other."
    TinyFragment "tiny_fragment" "The first fragment of a packet is too short for the header of its protocol, or another one begins within it."
    FragmentLimit "fragment_limit" "There are too many fragments of unfinished packets."
    FragmentTimeout "fragment_timeout" "The other fragments of the packet did not come in time."
    AccessRule "access_rule" "An access rule says that this source does not come in here."
    DefaultAccessRule "default_access_rule" "The route back to the source does not lead to the interface the packet came in by."
    NoConnection "no_connection" "The packet belongs to no connection and cannot open one."
    TcpWindow "tcp_window" "The TCP segment lies outside of the window that its receiver offers."
    UnrelatedIcmpError "unrelated_icmp_error" "The ICMP error is about no connection that passes here."
    Redirect "redirect" "An ICMP redirect is advice for the link it was sent on, and is never forwarded."
    NoRoute "no_route" "No route leads to the destination."
    RuleDrop "rule_drop" "A rule says to drop it."
    RuleReject "rule_reject" "A rule says to reject it."
    DefaultRule "default_rule" "No rule allows it."
    TtlExpired "ttl_expired" "The time to live ran out."
    ConnectionTableFull "connection_table_full" "There are as many connections as may be."
    NatNoAddress "nat_no_address" "A rule asks for a translation to which there is no address, or no port, for this packet."
    NatPortsExhausted "nat_ports_exhausted" "Every port of the translated source address is in use towards this destination."
    NatTaken "nat_taken" "Translated, the connection would be the same as another one."
    OutsideTunnel "outside_tunnel" "The packet is routed into a tunnel whose networks it does not belong to."
    WaitingFull "waiting_full" "More packets wait for the tunnel than may; the oldest was dropped."
    WaitingTimeout "waiting_timeout" "The packet waited for its tunnel in vain."
    AskedLimit "asked_limit" "SAs for as many hosts or ports as may be are being asked for already."
    TunnelUnavailable "tunnel_unavailable" "The tunnel is down and will not come up for this packet."
    TooBig "too_big" "The packet is longer than the tunnel takes and must not be fragmented; its sender was told."
    NoNeighbour "no_neighbour" "Nobody on the link of a packet port answers for the next hop; the sender was told."
    OuterRoute "outer_route" "No route leads to the peer by an interface that outer packets can leave by."
    NotSealed "not_sealed" "The packet could not be encrypted."
    EspMalformed "esp_malformed" "The ESP packet is truncated, or its length does not fit the cipher."
    UnknownSpi "unknown_spi" "No SA has the SPI of the ESP packet."
    Replayed "replayed" "The sequence number of the ESP packet was seen before or is too old."
    IcvFailure "icv_failure" "The integrity check of the ESP packet failed."
    SaUsedUp "sa_used_up" "The SA has carried as many bytes as it may."
    BadPadding "bad_padding" "The padding of the ESP packet is wrong."
    NextHeader "next_header" "What is inside the ESP packet is not an IP packet."
    Dummy "dummy" "The ESP packet was a dummy, sent to hide when there is traffic."
    InnerMalformed "inner_malformed" "The IP packet inside the ESP packet is malformed."
    InnerAddress "inner_address" "The addresses or ports inside the ESP packet are not those of the SA."
    PathErrorLimit "path_error_limit" "There are more ICMP errors about ESP packets in a second than are looked at."
    Congestion "congestion" "A router marked the ESP packet for congestion and the inner packet cannot carry the mark."
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.sentence())
    }
}

/// How often each reason occurred since the packet path was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    drops: [u64; Reason::ALL.len()],
    suppressed_logs: u64,
    replaced_connections: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { drops: [0; Reason::ALL.len()], suppressed_logs: 0, replaced_connections: 0 }
    }
}

impl Counters {
    pub(crate) fn count(&mut self, reason: Reason) {
        self.count_many(reason, 1);
    }

    pub(crate) fn count_many(&mut self, reason: Reason, packets: u64) {
        if let Some(counter) = self.drops.get_mut(reason as usize) {
            *counter += packets;
        }
    }

    pub(crate) fn suppress_log(&mut self) {
        self.suppressed_logs += 1;
    }

    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.drops.iter_mut().zip(&other.drops) {
            *mine = mine.saturating_add(*theirs);
        }
        self.suppressed_logs = self.suppressed_logs.saturating_add(other.suppressed_logs);
        self.replaced_connections = self.replaced_connections.saturating_add(other.replaced_connections);
    }

    pub(crate) fn replace_connection(&mut self) {
        self.replaced_connections += 1;
    }

    /// Packets dropped for `reason`.
    pub fn drops(&self, reason: Reason) -> u64 {
        self.drops.get(reason as usize).copied().unwrap_or(0)
    }

    /// Log lines about packets that were left out because there were too many in a second.
    pub fn suppressed_logs(&self) -> u64 {
        self.suppressed_logs
    }

    /// Connections that had to go for newer ones because the table was full.
    pub fn replaced_connections(&self) -> u64 {
        self.replaced_connections
    }

    /// Name, value and sentence of every counter.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> + '_ {
        let replaced = (
            "replaced_connections",
            self.replaced_connections,
            "Connections that had to go for newer ones because the table was full.",
        );
        let logs = ("suppressed_logs", self.suppressed_logs, "Log lines left out because there were too many at once.");
        Reason::ALL.iter().map(|reason| (reason.name(), self.drops(*reason), reason.sentence())).chain([replaced, logs])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_name_and_sentence() {
        let mut counters = Counters::default();
        for (index, reason) in Reason::ALL.iter().enumerate() {
            for _ in 0..=index {
                counters.count(*reason);
            }
        }
        assert!(Reason::ALL.iter().enumerate().all(|(index, reason)| counters.drops(*reason) == index as u64 + 1));
        let mut doubled = counters.clone();
        doubled.add(&counters);
        assert!(Reason::ALL.iter().all(|reason| doubled.drops(*reason) == 2 * counters.drops(*reason)));
        let names: BTreeSet<_> = counters.iter().map(|(name, ..)| name).collect();
        let sentences: BTreeSet<_> = counters.iter().map(|(_, _, sentence)| sentence).collect();
        assert_eq!((names.len(), sentences.len()), (Reason::ALL.len() + 2, Reason::ALL.len() + 2));
        assert!(sentences.iter().all(|sentence| sentence.ends_with('.')));
    }
}
