//! What every other crate stands on: time, chance, secrets, buffers, timers, address ranges and log events.
//!
//! Nothing here reads a clock, a socket or the process's randomness. Time is an argument ([`Now`]), chance is a seeded
//! generator ([`Random`]): a seed, a configuration and the inputs are a whole history.

#![forbid(unsafe_code)]

mod buffer;
mod event;
mod mutations;
mod net;
mod offload;
mod random;
mod secret;
mod time;
mod timers;

pub use buffer::{Buffer, HEADROOM, Pool, TAILROOM};
pub use event::{Category, Event, Meta, Record, Severity, Text};
pub use mutations::Mutations;
pub use net::{IpRange, RangeError, Selector};
pub use offload::{Checksum, Offload, SegmentKind, Segments};
pub use random::Random;
pub use secret::Secret;
pub use time::{Instant, Now, UnixTime};
pub use timers::Timers;

pub use std::time::Duration;
