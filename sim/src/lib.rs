//! The deterministic world: virtual time, links with opinions, routers, NAT boxes and hosts with a real TCP/IP stack,
//! around the same gateways that the daemon runs.
//!
//! A [`World`] has one clock and one seed; whatever happens in it follows from the seed and from what the test tells it.
//! Packets are whole IP packets, a link joins two interfaces, and nothing here knows a wall clock, a socket or a thread:
//! in real time a world is driven with [`World::next_event`] and [`World::advance_to`].
//!
//! What a packet means to a gateway is decided in the other crates; here is only what surrounds one.
//!
//! Start reading at [`World`], then [`Link`] for what can go wrong between two nodes.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the simulator is an instrument: a world that is put together wrongly has to stop its test with a sentence"
)]

mod fragments;
mod gateway_host;
mod host;
mod interface;
mod kernel;
mod link;
mod nat;
mod packet;
mod ping;
mod router;
mod sites;
mod stream;
mod trace;
mod transfer;
mod world;

pub use gateway_host::{Candidates, GatewayHost, Reply};
pub use interface::Interface;
pub use kernel::Counters;
pub use link::{Fate, Link, LinkId, Quality, Sighting};
pub use nat::NatBox;
pub use packet::{Header, IkeGlance};
pub use ping::Ping;
pub use router::Router;
pub use sites::{BRANCH, HEAD_OFFICE, LanToLan, Plan, Site};
pub use stream::Stream;
pub use trace::{Entry, Trace};
pub use transfer::Transfer;
pub use world::{Answer, NodeId, Seconds, World};
