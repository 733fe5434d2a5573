//! ARPND: addresses that the gateway answers for, and neighbours that it is told of.

use schema::kind::{Addresses, Hardware, Reference};
use schema::{Naming, choice, object};

use crate::address::Networks;
use crate::ethernet::{HardwareNames, OneLink};

object! {
    /// An entry of the ARP and neighbour table of a packet port.
    pub struct ArpNd: "ARPND" or "ARP" {
        naming: Naming::Position,
        columns: &["Mode", "Interface", "IP", "MACAddress"],
    }

    /// What the entry does.
    default mode as "Mode": Mode = "Publish";
    /// The interface.
    required interface as "Interface": Reference<OneLink>;
    /// The addresses.
    required ip as "IP": Addresses<Networks>;
    /// The hardware address of the neighbour, or the one to answer with; all zeros is the interface's own.
    default mac as "MACAddress": Hardware<HardwareNames> = "00-00-00-00-00-00";
}

choice! {
    /// What an ARPND object does.
    pub enum Mode {
        /// The neighbour has this hardware address and is never asked for it.
        Static = "Static",
        /// Who asks for the address is answered with the hardware address.
        Publish = "Publish",
        /// The same, and the answer comes from the hardware address too.
        XPublish = "XPublish",
    }
}
