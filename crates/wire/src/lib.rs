//! Every byte format that crosses the gateway: parse, write, pretty-print.
//!
//! No state, no policy, no keys: what a message may say, in which order and to whom, is decided by `ike` and `dataplane`.
//! A parser takes a slice, never panics, allocates no more than its input justifies, and keeps what it does not know, so
//! that it can be printed and answered. Each format has one file; IKE begins at [`ike`], whose entrances are
//! [`ike::Datagram::parse`] for what arrived and [`ike::Message::write`] for what goes out.

#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
mod cursor;
pub mod dhcp;
pub mod dns;
pub mod esp;
pub mod ethernet;
#[doc(hidden)]
pub mod harness;
pub mod icmp;
pub mod ike;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod octets;
pub mod tcp;
pub mod udp;

pub use cursor::{Reader, Short};
