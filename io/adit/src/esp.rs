//! The raw sockets for IP protocol 50.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RawProtocol, SocketFlags, SocketType, socket_with};

use crate::datagram::{self, Outgoing, Received, SendBatch, Told, Trains, Way};
use crate::exit::Exit;

/// A raw socket for ESP over one family.
#[derive(Debug)]
pub struct EspPort {
    socket: OwnedFd,
    ipv6: bool,
    way: Way,
}

impl EspPort {
    /// Opens it. `Ok(Err(reason))` when the kernel has no such family.
    pub fn open(ipv6: bool) -> Result<Result<Self, String>, Exit> {
        let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let esp = RawProtocol::new(50).map(Protocol::from_raw);
        let socket = match socket_with(family, SocketType::RAW, flags, esp) {
            Ok(socket) => socket,
            Err(Errno::AFNOSUPPORT) => return Ok(Err(Errno::AFNOSUPPORT.to_string())),
            Err(error) => {
                return Err(Exit::failed(format!("no raw socket for ESP: {error}; this needs CAP_NET_RAW")));
            }
        };
        let discovery = datagram::prepare(&socket, ipv6)
            .map_err(|error| Exit::failed(format!("the raw socket for ESP cannot be set up: {error}")))?;
        Ok(Ok(Self { socket, ipv6, way: Way { trains: Trains::Never, discovery } }))
    }

    /// The same socket for another thread to send by.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, ipv6: self.ipv6, way: self.way.clone() })
    }

    /// True for the IPv6 socket.
    pub fn is_ipv6(&self) -> bool {
        self.ipv6
    }

    /// Sends what waits in `queue`: see [`SendBatch::send`].
    pub fn send(&mut self, batch: &mut SendBatch, queue: &[Outgoing], tell: impl FnMut(Told<'_>)) {
        batch.send(&self.socket, &mut self.way, queue, tell);
    }

    /// What was received, from its ESP header. An IPv4 raw socket delivers the IP header too, an IPv6 one does not.
    pub fn strip<'a>(&self, received: Received<'a>) -> Option<Received<'a>> {
        if self.ipv6 {
            return Some(received);
        }
        let header = usize::from(received.bytes.first()? & 0x0f) * 4;
        Some(Received { bytes: received.bytes.get(header..)?, ..received })
    }
}

impl AsFd for EspPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
