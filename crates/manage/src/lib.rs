//! A gateway with its operators: a line of text in, text out.
//!
//! [`Device`] is what every shell holds: the daemon, the simulator, the demo. It keeps the configuration being edited,
//! the one in use and the one confirmed, and the operators' sessions. What commands change is `schema`'s part, what the
//! objects mean is `objects`', what the gateway does is `engine`'s. Start reading at `device.rs`.
#![forbid(unsafe_code)]

mod activation;
mod commands;
mod device;
mod events;
mod io;
mod pskgen;
mod reference;
mod session;
mod table;
#[cfg(test)]
mod testing;

pub use device::{COMMANDS, Device};
pub use events::EVENTS;
pub use io::{Action, ClientId, Done, Input};
pub use reference::{commands as reference_commands, events as reference_events};
