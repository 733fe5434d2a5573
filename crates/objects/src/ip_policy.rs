//! IPPolicy and StatelessPolicy: the entries of the IP rule set.

use base::Severity;
use schema::kind::{Addresses, Bool, Integer, Reference, References};
use schema::{Naming, choice, object};

use crate::address::{Host, NamedNetworks};
use crate::nat_pool::NatPool;
use crate::routing::AnyInterface;
use crate::schedules::ScheduleProfile;
use crate::services::AnyService;

object! {
    /// An entry of the IP rule set. The policies are searched from the first to the last, and the first that fits the
    /// beginning of a connection decides about all of it, answers included. What fits none is dropped. `core` is the
    /// gateway itself, `any` every interface.
    pub struct IpPolicy: "IPPolicy" {
        naming: Naming::Optional,
        supersedes: &["IPRule"],
        sequence: Some("rules"),
        columns: &["Action", "SourceInterface", "SourceNetwork", "DestinationInterface", "DestinationNetwork", "Service"],
        absent: &[
            "SourceGeoFilter", "DestinationGeoFilter", "AV", "WCF", "IPS", "AppControl",
        ],
    }

    /// Where the connection comes from.
    required source_interface as "SourceInterface": References<AnyInterface>;
    /// Source addresses.
    required source_network as "SourceNetwork": Addresses<NamedNetworks>;
    /// Where the route to its destination leads.
    required destination_interface as "DestinationInterface": References<AnyInterface>;
    /// Destination addresses.
    required destination_network as "DestinationNetwork": Addresses<NamedNetworks>;
    /// What kind of traffic.
    required service as "Service": Reference<AnyService>;
    /// What becomes of it.
    required action as "Action": Action;
    /// Answer a denied packet with a TCP reset or an ICMP message.
    default reject as "Reject": Bool = "No" where "Action" = "Deny";
    /// What becomes of the source address.
    default source_translation as "SourceAddressTranslation": SourceTranslation = "Auto" where "Action" = "Allow";
    /// With NAT: the address that the connection gets.
    default nat as "NATSourceAddressAction": NatAction = "OutgoingInterfaceIP" where "SourceAddressTranslation" = "NAT";
    /// The address that the connection gets.
    needed nat_sender as "NATSenderAddress": Addresses<Host> where "NATSourceAddressAction" = "SpecifySenderAddress";
    /// The pool that the connection gets an address of.
    needed nat_pool as "NATPool": Reference<NatPool> where "NATSourceAddressAction" = "NATPool";
    /// With SAT: one new address, or as many as there are source addresses.
    default source_action as "SourceAddressAction": AddressAction = "SingleIP" where "SourceAddressTranslation" = "SAT";
    /// The new source address, or the first of the new ones.
    needed source_new as "SourceNewIP": Addresses<Host> where "SourceAddressTranslation" = "SAT";
    /// What becomes of the destination address and port.
    default destination_translation as "DestAddressTranslation": DestinationTranslation = "None"
        where "Action" = "Allow";
    /// One new address, or as many as there are destination addresses.
    default destination_action as "DestAddressAction": AddressAction = "SingleIP" where "DestAddressTranslation" = "SAT";
    /// The new destination address, or the first of the new ones; empty when only the port changes.
    optional destination_new as "DestNewIP": Addresses<Host> where "DestAddressTranslation" = "SAT";
    /// What becomes of the destination port.
    default port_action as "DestPortAction": PortAction = "None" where "DestAddressTranslation" = "SAT";
    /// The new destination port, or the first of the new ones.
    needed port_new as "DestNewPort": Integer<1, 65535> where "DestPortAction" = "SinglePort" | "TransposedBased";
    /// When the policy is in force; empty for always.
    optional schedule as "Schedule": Reference<ScheduleProfile>;
    /// Write it to the log.
    default log as "LogEnabled": Bool = "Yes";
    /// Severity of the log message.
    default severity as "LogSeverity": LogSeverity = "Default" where "LogEnabled" = "Yes";
}

object! {
    /// An entry of the IP rule set that lets packets through one by one, and remembers nothing: answers need a policy of
    /// their own, and addresses stay. It stands among the IP policies, and they are numbered together.
    pub struct StatelessPolicy: "StatelessPolicy" {
        naming: Naming::Optional,
        sequence: Some("rules"),
        columns: &["Action", "SourceInterface", "SourceNetwork", "DestinationInterface", "DestinationNetwork", "Service"],
    }

    /// Where the packet comes from.
    required source_interface as "SourceInterface": References<AnyInterface>;
    /// Source addresses.
    required source_network as "SourceNetwork": Addresses<NamedNetworks>;
    /// Where the route to its destination leads.
    required destination_interface as "DestinationInterface": References<AnyInterface>;
    /// Destination addresses.
    required destination_network as "DestinationNetwork": Addresses<NamedNetworks>;
    /// What kind of traffic.
    required service as "Service": Reference<AnyService>;
    /// What becomes of it.
    default action as "Action": Action = "Allow";
    /// Answer a denied packet with a TCP reset or an ICMP message.
    default reject as "Reject": Bool = "No" where "Action" = "Deny";
    /// When the policy is in force; empty for always.
    optional schedule as "Schedule": Reference<ScheduleProfile>;
    /// Write it to the log.
    default log as "LogEnabled": Bool = "No";
    /// Severity of the log message.
    default severity as "LogSeverity": LogSeverity = "Default" where "LogEnabled" = "Yes";
}

choice! {
    /// What becomes of the source address of a connection.
    pub enum SourceTranslation {
        /// NAT where a private IPv4 address speaks to a public one; everything else stays.
        Auto = "Auto",
        /// It stays.
        None = "None",
        /// Many hosts share an address; ports change.
        Nat = "NAT",
        /// Another address for each; ports stay.
        Sat = "SAT",
    }
}

choice! {
    /// The address that many hosts share.
    pub enum NatAction {
        /// That of the interface the connection leaves by; into a tunnel its originator address.
        Interface = "OutgoingInterfaceIP",
        /// NATSenderAddress.
        Sender = "SpecifySenderAddress",
        /// One of NATPool.
        Pool = "NATPool",
    }
}

choice! {
    /// What becomes of the destination of a connection.
    pub enum DestinationTranslation {
        /// It stays.
        None = "None",
        /// Another address, another port, or both.
        Sat = "SAT",
    }
}

choice! {
    /// How old addresses become new ones.
    pub enum AddressAction {
        /// All become one.
        Single = "SingleIP",
        /// The first becomes the first, the second the second.
        Transposed = "TransposedBased" or "Transposed",
    }
}

choice! {
    /// How old ports become new ones.
    pub enum PortAction {
        /// They stay.
        None = "None",
        /// All become one.
        Single = "SinglePort",
        /// The first becomes the first, the second the second.
        Transposed = "TransposedBased" or "Transposed",
    }
}

choice! {
    /// What becomes of a packet.
    pub enum Action without "NAT", "FwdFast", "SAT", "Goto", "Return" {
        /// Let it pass, and remember the connection.
        Allow = "Allow",
        /// Drop it.
        Deny = "Deny" or "Drop",
    }
}

choice! {
    /// Severity of a log message.
    pub enum LogSeverity {
        /// Info for what is allowed, Warning for what is denied.
        Default = "Default",
        /// The gateway is unusable.
        Emergency = "Emergency",
        /// Somebody must act now.
        Alert = "Alert",
        /// A part is out of order.
        Critical = "Critical",
        /// Something does not work.
        Error = "Error",
        /// Something was refused.
        Warning = "Warning",
        /// Worth noticing.
        Notice = "Notice",
        /// Normal life.
        Info = "Info" or "Informational",
        /// For whoever traces.
        Debug = "Debug",
    }
}

impl LogSeverity {
    /// The severity for a policy with this action.
    pub const fn severity(self, action: Action) -> Severity {
        match self {
            Self::Default if matches!(action, Action::Allow) => Severity::Info,
            Self::Default | Self::Warning => Severity::Warning,
            Self::Emergency => Severity::Emergency,
            Self::Alert => Severity::Alert,
            Self::Critical => Severity::Critical,
            Self::Error => Severity::Error,
            Self::Notice => Severity::Notice,
            Self::Info => Severity::Info,
            Self::Debug => Severity::Debug,
        }
    }
}
