//! IKEv2 (RFC 7296): who is at the other end, and which keys protect what passes between.
//!
//! The endpoint never sees a packet of a tunnel, a socket or a clock. It is told of datagrams, wishes and time, and
//! answers with [`Output`]s. Start reading at `endpoint.rs`.
#![forbid(unsafe_code)]

mod config;
mod counters;
mod endpoint;
mod output;

pub use config::*;
pub use counters::Counters;
pub use endpoint::{Endpoint, Which};
pub use output::*;
