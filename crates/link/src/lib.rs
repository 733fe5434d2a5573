//! What a packet port needs at layer 2. A packet port is a network card that the gateway owns whole: the kernel has no
//! address on it.
//!
//! [`Link`] takes frames and gives IP packets, takes IP packets and gives frames: Ethernet II with VLANs, ARP, Neighbour
//! Discovery, answers for published and proxied addresses, a DHCP client. It knows no routes, no rules and no sockets:
//! who the next hop is comes with the packet. `link.rs` is the entrance; `resolve.rs` reads from the top how a packet
//! finds its neighbour. A frame or packet that goes nowhere has a [`Reason`].
//!
//! Several workers may each have a [`Link`]: one leads, asks and answers, the others forward what concerns it as
//! [`Output::Control`] and [`Output::Ask`], and are told with [`Link::learn`] what it has [`Output::Learned`].
#![forbid(unsafe_code)]

mod config;
mod output;
pub use config::*;
pub use output::*;

mod link;
pub use link::{Filter, Link};
mod drop;
pub use drop::{Counters, Reason};

mod address;
mod arp;
mod interface;
mod ndp;
mod receive;
mod resolve;

mod dhcp;
mod neighbours;
mod ranges;
mod rate;

pub mod events;

#[doc(hidden)]
pub mod harness;

#[cfg(test)]
mod tests;

pub use wire::ethernet::Mac;
