//! IKEv2 (RFC 7296): who is at the other end, and which keys protect what passes between.
//!
//! The endpoint never sees a packet of a tunnel, a socket or a clock. It is told of datagrams, wishes and time, and
//! answers with [`Output`]s. Start reading at `endpoint.rs`.

mod config;
mod output;

pub use config::*;
pub use output::*;
