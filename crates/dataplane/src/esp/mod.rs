//! ESP in tunnel and transport mode (RFC 4303): SAs, sealing, opening, and the way of packets into and out of tunnels.

pub(crate) mod entry;
mod open;
pub(crate) mod path_mtu;
pub(crate) mod receive;
pub(crate) mod replay;
pub(crate) mod sa;
mod seal;
pub(crate) mod send;
pub(crate) mod table;
pub(crate) mod train;
pub(crate) mod unit;
