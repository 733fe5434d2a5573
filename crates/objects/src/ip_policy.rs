//! IPPolicy: an entry of the IP rule set.

use base::Severity;
use schema::kind::{Addresses, Bool, Reference, References};
use schema::{Naming, choice, object};

use crate::address::Networks;
use crate::routing::AnyInterface;
use crate::services::AnyService;

object! {
    /// An entry of the IP rule set. The policies are searched from the first to the last, and the first that fits the
    /// beginning of a connection decides about all of it, answers included. What fits none is dropped. `core` is the
    /// gateway itself, `any` every interface.
    pub struct IpPolicy: "IPPolicy" {
        naming: Naming::Optional,
        columns: &["Action", "SourceInterface", "SourceNetwork", "DestinationInterface", "DestinationNetwork", "Service"],
        absent: &[
            "SourceAddressTranslation", "DestAddressTranslation", "DestAddressAction", "DestNewIP", "DestPortAction",
            "DestNewPort", "SourceNewIP", "NATSourceAddressAction", "NATSenderAddress", "NATPool", "Schedule",
            "SourceGeoFilter", "DestinationGeoFilter", "AV", "WCF", "IPS", "AppControl",
        ],
    }

    /// Where the connection comes from.
    required source_interface as "SourceInterface": References<AnyInterface>;
    /// Source addresses.
    required source_network as "SourceNetwork": Addresses<Networks>;
    /// Where the route to its destination leads.
    required destination_interface as "DestinationInterface": References<AnyInterface>;
    /// Destination addresses.
    required destination_network as "DestinationNetwork": Addresses<Networks>;
    /// What kind of traffic.
    required service as "Service": Reference<AnyService>;
    /// What becomes of it.
    required action as "Action": Action;
    /// Answer a denied packet with a TCP reset or an ICMP message.
    default reject as "Reject": Bool = "No" where "Action" = "Deny";
    /// Write it to the log.
    default log as "LogEnabled": Bool = "Yes";
    /// Severity of the log message.
    default severity as "LogSeverity": LogSeverity = "Default" where "LogEnabled" = "Yes";
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
