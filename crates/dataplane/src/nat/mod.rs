//! Address translation: what a policy asks for, the choice it leads to, and the change to packets.
//!
//! A translated connection has two keys: as its opener sends, and as the other end sees it. A packet is changed to have
//! the addresses and ports of the other key; nothing else about the translation is remembered.

pub(crate) mod destination;
pub(crate) mod icmp;
pub(crate) mod pools;
pub(crate) mod rewrite;
pub(crate) mod source;
mod translation;
pub use translation::{AddressMap, DestinationTranslation, NatPool, NatPoolKind, PortMap, SourceTranslation};

#[cfg(test)]
mod tests;
