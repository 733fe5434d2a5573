//! The packet path: interfaces, routes, access and IP rules, flows, ESP.
//!
//! It knows nothing of IKE, of configuration objects, or of sockets. It is told by [`Control`] and hands out [`Output`];
//! [`Policy`] is all it decides by. Packets come in by [`Dataplane::plain`], [`Dataplane::link`],
//! [`Dataplane::originate`] and [`Dataplane::esp`]; `path/mod.rs` reads from the top what becomes of them. A packet that goes nowhere has a [`Reason`].
#![forbid(unsafe_code)]

mod nat;
mod policy;
mod seam;
pub use nat::{AddressMap, DestinationTranslation, NatPool, NatPoolKind, PortMap, SourceTranslation};
pub use policy::*;
pub use seam::*;
pub use shards::{Handoff, ShardId};

mod dataplane;
pub use dataplane::Dataplane;
mod drop;
pub use drop::{Counters, Reason};

mod fragments;
mod inspect;
mod path;
pub use path::Over;
mod routes;
mod rules;
pub use rules::{Classifier, Conditional, Conditions, Question};

mod flows;
pub mod index;
pub mod offload;
pub use flows::{ConnectionStatus, Endpoint};

mod esp;
pub use esp::sa::{Sa, SaError};
pub use esp::train::{TRAIN_BYTES_MAX, TRAIN_MAX};
mod mss;
mod shards;
mod waiting;

mod conn_log;
mod drop_log;
pub mod events;
mod icmp_errors;
mod log_limit;

#[doc(hidden)]
pub mod harness;
#[doc(hidden)]
pub mod model;

#[cfg(test)]
mod tests;
