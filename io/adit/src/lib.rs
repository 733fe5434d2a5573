//! The ports of the gateway: what carries packets between the kernel and us, and nothing else.
//!
//! Each is a value of its own without shared state, so that every worker has its own: a queue of the TUN device
//! ([`tun`]), UDP and ESP sockets ([`udp`], [`esp`]) that are read and written in batches ([`datagram`]), network cards
//! as such ([`packet`]). [`epoll`] is how a worker waits for them, [`handover`] how workers pass things on. All `unsafe` code of the project is in this crate.

pub mod datagram;
pub mod epoll;
pub mod esp;
pub mod exit;
pub mod handover;
pub mod nic;
pub mod offload;
pub mod packet;
pub mod tun;
pub mod udp;
