//! The algorithms behind small types, and their names and numbers.
#![forbid(unsafe_code)]

mod names;

pub use names::{Encryption, Group, Integrity, Prf};
