//! Connections: who opened them, through which interfaces they run, when they end.

mod due;
mod flow;
mod status;
mod table;
mod tcp;

pub(crate) use flow::{CachedSa, Flow, Place, Side, Translated, Verdict, Way};
pub use status::{ConnectionStatus, Endpoint};
pub(crate) use table::{Flows, Looked, Opening};
pub(crate) use tcp::Step;
