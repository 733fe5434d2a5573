//! The sockets for IKE and for ESP in UDP: ports 500 and 4500, IPv4 and IPv6.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::datagram::{self, Outgoing, SendBatch, Told, Trains, Way};
use crate::exit::Exit;

/// The ports of IKE (RFC 7296 section 2): plain, and for what may have passed a NAT (RFC 3948).
pub const PORTS: [u16; 2] = [500, 4500];

/// A bound UDP socket.
#[derive(Debug)]
pub struct UdpPort {
    socket: OwnedFd,
    port: u16,
    ipv6: bool,
    way: Way,
}

impl UdpPort {
    /// Opens `port` for one family on every address. `Ok(Err(reason))` when the kernel has no such family.
    pub fn open(port: u16, ipv6: bool) -> Result<Result<Self, String>, Exit> {
        Ok(Self::open_group(port, ipv6, 1)?.and_then(|group| group.into_iter().next().ok_or_else(String::new)))
    }

    /// Opens `count` sockets of the same port, one for each worker. The kernel gives all that comes from one address and
    /// port to the same of them; which one, nobody else knows: any may get IKE.
    pub fn open_group(port: u16, ipv6: bool, count: usize) -> Result<Result<Vec<Self>, String>, Exit> {
        let mut group: Vec<Self> = Vec::with_capacity(count);
        while group.len() < count {
            let socket = match socket(ipv6) {
                Ok(socket) => socket,
                Err(Errno::AFNOSUPPORT) => return Ok(Err(Errno::AFNOSUPPORT.to_string())),
                Err(error) => return Err(Exit::failed(format!("no UDP socket: {error}"))),
            };
            // The first is bound as if it were alone, so that nobody else's socket can be in the group.
            let shared = if group.is_empty() { Ok(()) } else { sockopt::set_socket_reuseport(&socket, true) };
            match shared.and_then(|()| bind_everywhere(&socket, port, ipv6)) {
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
            let discovery = datagram::prepare(&socket, ipv6)
                .and_then(|discovery| match count {
                    1 => Ok(discovery),
                    _ => Ok(sockopt::set_socket_reuseport(&socket, true).map(|()| discovery)?),
                })
                .map_err(|error| Exit::failed(format!("UDP port {port} cannot be set up: {error}")))?;
            // Without, trains come as datagrams.
            datagram::receive_trains(&socket);
            group.push(Self { socket, port, ipv6, way: Way { trains: Trains::Kernel, discovery } });
        }
        Ok(Ok(group))
    }

    /// The same socket for another thread to send by.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, way: self.way.clone(), ..*self })
    }

    /// The port it is bound to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True when it is the socket for datagrams from `local`.
    pub fn fits(&self, local: SocketAddr) -> bool {
        self.port == local.port() && self.ipv6 == local.is_ipv6()
    }

    /// Sends what waits in `queue`, as trains where it can: see [`SendBatch::send`].
    pub fn send(&mut self, batch: &mut SendBatch, queue: &[Outgoing], tell: impl FnMut(Told<'_>)) {
        batch.send(&self.socket, &mut self.way, queue, tell);
    }
}

fn socket(ipv6: bool) -> rustix::io::Result<OwnedFd> {
    let family = if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

fn bind_everywhere(socket: &OwnedFd, port: u16, ipv6: bool) -> rustix::io::Result<()> {
    if ipv6 {
        sockopt::set_ipv6_v6only(socket, true)?;
        bind(socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
    } else {
        bind(socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::ReceiveBatch;
    use std::net::UdpSocket;

    /// A port that was free a moment ago.
    fn free_port() -> u16 {
        UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn every_sender_of_a_group_has_its_socket_and_nobody_else_joins() {
        let port = free_port();
        let group = UdpPort::open_group(port, false, 4).unwrap().unwrap();
        assert_eq!(group.len(), 4);
        assert!(UdpPort::open_group(port, false, 2).is_err());
        let senders: Vec<UdpSocket> = (0..64).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for round in 0..2_u8 {
            for sender in &senders {
                assert_eq!(sender.send_to(&[round], ("127.0.0.1", port)).unwrap(), 1);
            }
        }
        let mut batch = ReceiveBatch::new();
        let mut owners = std::collections::BTreeMap::new();
        let mut total = 0;
        for (number, socket) in group.iter().enumerate() {
            loop {
                let count = batch.receive(socket).unwrap();
                if count == 0 {
                    break;
                }
                for index in 0..count {
                    let remote = batch.received(index).unwrap().remote;
                    assert_eq!(*owners.entry(remote).or_insert(number), number);
                    total += 1;
                }
            }
        }
        assert_eq!(total, 128);
        assert!(owners.values().collect::<std::collections::BTreeSet<_>>().len() > 1);
    }
}
