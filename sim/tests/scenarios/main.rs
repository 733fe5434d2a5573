//! Stories in the simulated world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a story that goes wrong stops")]

mod plain;
