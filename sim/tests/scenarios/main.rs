//! Stories in the simulated world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a story that goes wrong stops")]

mod bring_up;
mod conditions;
mod faults;
mod office;
mod operator;
mod plain;
mod rekey;
mod traffic;
