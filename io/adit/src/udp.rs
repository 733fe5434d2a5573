//! The sockets for IKE and for ESP in UDP: ports 500 and 4500, IPv4 and IPv6.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::datagram;
use crate::exit::Exit;

/// The ports of IKE (RFC 7296 section 2): plain, and for what may have passed a NAT (RFC 3948).
pub const PORTS: [u16; 2] = [500, 4500];

/// A bound UDP socket.
#[derive(Debug)]
pub struct UdpPort {
    socket: OwnedFd,
    port: u16,
    ipv6: bool,
}

impl UdpPort {
    /// Opens `port` for one family on every address. `Ok(Err(reason))` when the kernel has no such family.
    pub fn open(port: u16, ipv6: bool) -> Result<Result<Self, String>, Exit> {
        let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match socket_with(family, SocketType::DGRAM, flags, None) {
            Ok(socket) => socket,
            Err(Errno::AFNOSUPPORT) => return Ok(Err(Errno::AFNOSUPPORT.to_string())),
            Err(error) => return Err(Exit::failed(format!("no UDP socket: {error}"))),
        };
        let bound = if ipv6 {
            sockopt::set_ipv6_v6only(&socket, true)
                .and_then(|()| bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))))
        } else {
            bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        };
        match bound {
            Ok(()) => {}
            Err(Errno::ADDRNOTAVAIL) if ipv6 => return Ok(Err(Errno::ADDRNOTAVAIL.to_string())),
            Err(Errno::ADDRINUSE) => {
                return Err(Exit::failed(format!(
                    "UDP port {port} is taken: another IKE daemon or gateway runs on this host; `ss -ulpn sport = \
                     {port}` names it, stop it first"
                )));
            }
            Err(error) => return Err(Exit::failed(format!("UDP port {port} cannot be opened: {error}"))),
        }
        datagram::prepare(&socket, ipv6)
            .map_err(|error| Exit::failed(format!("UDP port {port} cannot be set up: {error}")))?;
        Ok(Ok(Self { socket, port, ipv6 }))
    }

    /// The port it is bound to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True when it is the socket for datagrams from `local`.
    pub fn fits(&self, local: SocketAddr) -> bool {
        self.port == local.port() && self.ipv6 == local.is_ipv6()
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
