//! The gateway: joins IKE, the packet path and a compiled configuration, and is one deterministic step function.
//!
//! It knows no text and no operator (that is `manage`), no socket and no clock (that is a shell). What a configuration
//! means is decided by `objects`; this crate only carries it to the parts. Start reading at `gateway.rs`.
#![forbid(unsafe_code)]

mod client_routes;
mod echo;
mod events;
mod gateway;
mod io;
mod job;
mod keeper;
mod layer2;
mod monitor;
mod names;
mod packets;
mod ping;
mod schedules;
mod translate;

pub use events::EVENTS;
pub use gateway::Gateway;
pub use io::{Action, HostRoute, Input};
pub use job::{Job, JobKind, JobResult, Probe, ProbeMethod, Resolved, Ticket};
pub use layer2::{LinkControl, OpenPort, WantedPort, carry};
pub use monitor::{PollStatus, WatchStatus};
pub use names::NameStatus;
pub use packets::{Pick, Shards};
pub use ping::{Ping, PingEvent, PingId, PingRefused};
