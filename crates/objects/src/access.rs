//! Access: which source addresses may come in by which interface.

use schema::kind::{Addresses, Bool, References};
use schema::{Naming, choice, object};

use crate::address::Networks;
use crate::ip_policy::LogSeverity;
use crate::routing::AnyInterface;

object! {
    /// An access rule: looked at for every new connection before everything else, IPsec included. The rules are searched
    /// from the first to the last, and the first that fits decides. Where none fits, the route back to the source must
    /// lead to the interface that the packet came in by; otherwise it is dropped by Default_Access_Rule.
    pub struct Access: "Access" {
        naming: Naming::Optional,
        columns: &["Action", "Interface", "Network"],
    }

    /// What it does.
    default action as "Action": AccessAction = "Drop";
    /// The interface that the packet came in by.
    required interface as "Interface": References<AnyInterface>;
    /// The addresses that it claims to come from.
    required network as "Network": Addresses<Networks>;
    /// Write drops to the log.
    default log as "LogEnabled": Bool = "Yes";
    /// Severity of the log message.
    default severity as "LogSeverity": LogSeverity = "Default" where "LogEnabled" = "Yes";
}

choice! {
    /// What an access rule does.
    pub enum AccessAction {
        /// Drop what comes from the network by the interface.
        Drop = "Drop",
        /// Let it go on to the rule set, whatever the routes say.
        Accept = "Accept",
        /// Let it go on, and drop what comes from the network by any other interface.
        Expect = "Expect",
    }
}
