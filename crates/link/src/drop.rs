//! Why a frame or a packet was dropped at layer 2: each reason with its counter and its sentence.

use std::fmt;

/// Declares the reasons once: variant, name of the counter, sentence.
macro_rules! reasons {
    ($( $reason:ident $name:literal $sentence:literal )+) => {
        /// Why a frame or a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $( #[doc = $sentence] $reason, )+
        }

        impl Reason {
            /// Every reason, in the order in which they are looked for.
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
    UnknownPort "unknown_port" "The frame came in by a port that is not configured."
    MalformedFrame "malformed_frame" "The frame is truncated, 802.3 instead of Ethernet II, or tagged with VLAN 4095."
    DoubleTagged "double_tagged" "The frame has two VLAN tags, or one of a provider."
    UnknownVlan "unknown_vlan" "No interface has the VLAN of the frame."
    SourceMac "source_mac" "The hardware address of the sender is a group's or nobody's."
    OwnFrame "own_frame" "The frame claims to come from this gateway: the network has a loop, or somebody uses our hardware address."
    NotForUs "not_for_us" "The frame is for another station."
    UnknownEtherType "unknown_ethertype" "The frame carries neither IPv4, IPv6 nor ARP."
    NotIp "not_ip" "What the frame carries is no IP packet of the version that it says."
    UnicastInGroupFrame "unicast_in_group_frame" "The frame is for many and the packet in it for one: such packets are not routed."
    ArpMalformed "arp_malformed" "The ARP message is truncated, not for IPv4, or from an impossible sender."
    ArpSenderMismatch "arp_sender_mismatch" "The ARP message names another hardware address than the one it came from."
    ArpForeignNetwork "arp_foreign_network" "The sender of the ARP message is in none of the networks of the interface."
    ArpUnsolicited "arp_unsolicited" "Nobody asked for what the ARP reply says."
    ArpNotForUs "arp_not_for_us" "The ARP message asks for somebody else."
    StaticOverride "static_override" "A neighbour that is configured claims another hardware address."
    AddressConflict "address_conflict" "Another station uses an address of this gateway."
    NdpMalformed "ndp_malformed" "The Neighbour Discovery message is malformed, damaged or was routed."
    NdpForeignNetwork "ndp_foreign_network" "The sender of the Neighbour Discovery message is in none of the networks of the interface."
    NdpUnsolicited "ndp_unsolicited" "Nobody asked for what the neighbour advertisement says."
    NdpNotForUs "ndp_not_for_us" "The neighbour solicitation asks for somebody else."
    RouterDiscovery "router_discovery" "A router solicitation or advertisement: the gateway's routes are configured."
    NdpRedirect "ndp_redirect" "A redirect: the gateway's routes are configured."
    AnswerRate "answer_rate" "There are more questions a second than are answered."
    DhcpUnexpected "dhcp_unexpected" "The DHCP message answers no question of this gateway, or makes no sense."
    UnknownInterface "unknown_interface" "The packet is for an interface that no port has."
    PortDown "port_down" "The port of the packet has no link."
    OwnAddress "own_address" "The next hop of the packet is this gateway."
    NotIpOut "not_ip_out" "What was to be sent is neither IPv4 nor IPv6."
    QueueFull "queue_full" "More packets wait for the neighbour, or for all on the interface, than may."
    TableFull "table_full" "There are as many neighbours as may be, and the packet's has been forgotten for another."
    QuestionRate "question_rate" "A neighbour could not be asked for yet: there are more questions a second than may be."
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.sentence())
    }
}

/// How often each reason occurred since the layer was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    drops: [u64; Reason::ALL.len()],
    suppressed_logs: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { drops: [0; Reason::ALL.len()], suppressed_logs: 0 }
    }
}

impl Counters {
    pub(crate) fn count(&mut self, reason: Reason) {
        if let Some(counter) = self.drops.get_mut(reason as usize) {
            *counter += 1;
        }
    }

    pub(crate) fn suppress_log(&mut self) {
        self.suppressed_logs += 1;
    }

    /// Frames and packets dropped for `reason`.
    pub fn drops(&self, reason: Reason) -> u64 {
        self.drops.get(reason as usize).copied().unwrap_or(0)
    }

    /// Log lines that were left out because there were too many in a second.
    pub fn suppressed_logs(&self) -> u64 {
        self.suppressed_logs
    }

    /// Name, value and sentence of every counter.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> + '_ {
        let logs = ("suppressed_logs", self.suppressed_logs, "Log lines left out because there were too many at once.");
        Reason::ALL.iter().map(|reason| (reason.name(), self.drops(*reason), reason.sentence())).chain([logs])
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
        let names: BTreeSet<_> = counters.iter().map(|(name, ..)| name).collect();
        let sentences: BTreeSet<_> = counters.iter().map(|(_, _, sentence)| sentence).collect();
        assert_eq!((names.len(), sentences.len()), (Reason::ALL.len() + 1, Reason::ALL.len() + 1));
        assert!(sentences.iter().all(|sentence| sentence.ends_with('.')));
    }
}
