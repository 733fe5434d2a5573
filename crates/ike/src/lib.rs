//! IKEv2 (RFC 7296): who is at the other end, and which keys protect what passes between.
//!
//! The endpoint never sees a packet of a tunnel, a socket or a clock. It is told of datagrams, wishes and time, and
//! answers with [`Output`]s. Start reading at `endpoint.rs`; one IKE SA is `v2/sa.rs`.
#![forbid(unsafe_code)]

mod config;
mod output;
pub use config::*;
pub use output::*;

mod endpoint;
pub use endpoint::{Endpoint, Which};

mod counters;
pub mod events;
pub use counters::Counters;

mod cookie;
mod half_open;
mod limiter;
mod proposal;
mod reason;
mod refused;
mod selectors;
mod v2;

#[doc(hidden)]
pub mod harness;
#[doc(hidden)]
pub mod pair;
