//! What packets come in by, and what each is: a packet for the packet path, or something for the control thread.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use base::{Buffer, Offload};
use dataplane::{Dataplane, Outer};
use engine::Input;

use crate::datagram::{ReceiveBatch, Received, read_errors};
use crate::epoll::{Epoll, Token};
use crate::esp::EspPort;
use crate::tun;
use crate::udp::UdpPort;
use crate::workers::Ports;

/// Packets taken from the TUN device before the others get their turn.
const TUN_BATCH: usize = 64;
/// The UDP port that IKE and ESP share (RFC 3948 section 2).
const NAT_T_PORT: u16 = 4500;
/// Four zero bytes where an ESP packet would have its SPI (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// The whole of a NAT keep-alive (RFC 3948 section 2.3).
const KEEP_ALIVE: [u8; 1] = [0xff];

/// The ways in of one worker.
pub struct Inlets {
    tun: tun::Queue,
    /// Largest packet that the kernel hands over, bytes.
    tun_mtu: usize,
    udp: Vec<UdpPort>,
    esp: Vec<EspPort>,
    first_token: u64,
    batch: ReceiveBatch,
    received: VecDeque<Taken>,
}

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// A packet that the kernel routed to a tunnel, and what the kernel leaves to us of it.
    Plain(Buffer, Offload),
    /// An ESP packet with its DiffServ byte.
    Esp(Outer, u8, Buffer),
    /// A message of IKE.
    Ike {
        /// Where it was sent to.
        local: SocketAddr,
        /// Where it came from.
        remote: SocketAddr,
        /// DiffServ byte.
        ds: u8,
        /// With the marker in front on port 4500.
        payload: Buffer,
    },
    /// How long an IP packet for an address may be.
    PathMtu(IpAddr, u16),
}

impl Taken {
    /// As the control thread takes it.
    pub fn for_control(self) -> Input {
        match self {
            Self::Ike { local, remote, ds, payload } => Input::Datagram { local, remote, ds, payload },
            Self::PathMtu(remote, mtu) => Input::PathMtu { remote, mtu },
            // Nothing is left to us: the kernel was not allowed to.
            Self::Plain(packet, _) => Input::Plain(packet),
            Self::Esp(Outer { local, remote, udp: true }, ds, payload) => {
                Input::Datagram { local, remote, ds, payload }
            }
            Self::Esp(Outer { local, remote, udp: false }, ds, payload) => {
                Input::Esp { local: local.ip(), remote: remote.ip(), ds, payload }
            }
        }
    }
}

/// What a datagram on one of our ports is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ike,
    Esp,
    KeepAlive,
}

impl Kind {
    fn of(port: u16, payload: &[u8]) -> Self {
        if port != NAT_T_PORT || payload.starts_with(&NON_ESP_MARKER) {
            Self::Ike
        } else if payload == KEEP_ALIVE {
            Self::KeepAlive
        } else {
            Self::Esp
        }
    }
}

impl Inlets {
    /// Those of `ports`.
    pub fn new(ports: Ports, tun_mtu: u32) -> Self {
        Self {
            tun: ports.tun,
            tun_mtu: usize::try_from(tun_mtu).unwrap_or(usize::from(u16::MAX)),
            udp: ports.udp,
            esp: if ports.receives_esp { ports.esp } else { Vec::new() },
            first_token: 0,
            batch: ReceiveBatch::new(),
            received: VecDeque::with_capacity(TUN_BATCH),
        }
    }

    /// Lets `epoll` wait for them with tokens from `first_token` on.
    pub fn wait_with(&mut self, epoll: &Epoll, first_token: u64) -> io::Result<()> {
        self.first_token = first_token;
        epoll.add(&self.tun, Token(first_token))?;
        let mut tokens = (first_token + 1..).map(Token);
        for (port, token) in self.udp.iter().zip(&mut tokens) {
            epoll.add(port, token)?;
        }
        for (port, token) in self.esp.iter().zip(&mut tokens) {
            epoll.add(port, token)?;
        }
        Ok(())
    }

    /// Takes a batch from the port with this token into buffers of `data`. Errors of a socket are those of single
    /// datagrams and end with them; an error is a TUN device that somebody has taken away.
    pub fn receive(&mut self, token: Token, data: &mut Dataplane) -> io::Result<()> {
        let Some(index) = token.0.checked_sub(self.first_token).and_then(|index| usize::try_from(index).ok()) else {
            return Ok(());
        };
        match index.checked_sub(1) {
            None => self.receive_plain(data)?,
            Some(index) => match index.checked_sub(self.udp.len()) {
                None => self.receive_datagrams(index, data),
                Some(index) => self.receive_esp(index, data),
            },
        }
        Ok(())
    }

    /// The next of what was received.
    pub fn next(&mut self) -> Option<Taken> {
        self.received.pop_front()
    }

    fn receive_plain(&mut self, data: &mut Dataplane) -> io::Result<()> {
        for _ in 0..TUN_BATCH {
            let mut buffer = data.buffer();
            match self.tun.read(&mut buffer, self.tun_mtu) {
                Ok(Some(offload)) => self.received.push_back(Taken::Plain(buffer, offload)),
                Ok(None) => {
                    data.recycle(buffer);
                    break;
                }
                // A packet that the kernel describes in a way that we do not know is lost.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => data.recycle(buffer),
                // Switched off, it gives nothing and may be switched on again.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
                Err(error) => return Err(io::Error::other(format!("the TUN device is gone: {error}"))),
            }
        }
        Ok(())
    }

    fn receive_datagrams(&mut self, index: usize, data: &mut Dataplane) {
        let Some(port) = self.udp.get(index) else { return };
        let count = self.batch.receive(port).unwrap_or(0);
        if count == 0 {
            take_errors(port, &mut self.received);
        }
        for index in 0..count {
            let Some(received) = self.batch.received(index) else { continue };
            let local = SocketAddr::new(received.local, port.port());
            let Received { remote, ds, .. } = received;
            for datagram in received.datagrams() {
                let kind = Kind::of(port.port(), datagram);
                if kind == Kind::KeepAlive {
                    continue;
                }
                let mut payload = data.buffer();
                payload.extend(datagram);
                self.received.push_back(match kind {
                    Kind::Esp => Taken::Esp(Outer { local, remote, udp: true }, ds, payload),
                    Kind::Ike | Kind::KeepAlive => Taken::Ike { local, remote, ds, payload },
                });
            }
        }
    }

    fn receive_esp(&mut self, index: usize, data: &mut Dataplane) {
        let Some(port) = self.esp.get(index) else { return };
        let count = self.batch.receive(port).unwrap_or(0);
        if count == 0 {
            take_errors(port, &mut self.received);
        }
        for index in 0..count {
            let Some(packet) = self.batch.received(index).and_then(|packet| port.strip(packet)) else { continue };
            let mut payload = data.buffer();
            payload.extend(packet.bytes);
            let without_port = |address: IpAddr| SocketAddr::new(address, 0);
            let outer =
                Outer { local: without_port(packet.local), remote: without_port(packet.remote.ip()), udp: false };
            self.received.push_back(Taken::Esp(outer, packet.ds, payload));
        }
    }
}

/// Takes what the kernel was told of what was sent: a socket that is ready and has no datagram has that, and stays ready
/// until it is taken.
fn take_errors(socket: impl AsFd, received: &mut VecDeque<Taken>) {
    read_errors(socket, |remote, mtu| received.push_back(Taken::PathMtu(remote, mtu)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_port_4500_the_first_bytes_tell_ike_esp_and_keep_alives_apart() {
        assert_eq!(Kind::of(4500, &[0, 0, 0, 0, 1]), Kind::Ike);
        assert_eq!(Kind::of(4500, &[0, 0, 0, 1, 0, 0, 0, 0]), Kind::Esp);
        assert_eq!(Kind::of(4500, &[0xff]), Kind::KeepAlive);
        assert_eq!(Kind::of(4500, &[0xff, 0xff]), Kind::Esp);
        assert_eq!(Kind::of(4500, &[0, 0, 0]), Kind::Esp);
    }

    #[test]
    fn what_a_worker_does_not_carry_itself_goes_to_the_control_thread_whole() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let outer = |udp| Outer { local: address("198.51.100.1:4500"), remote: address("203.0.113.1:4500"), udp };
        let packet = || Buffer::copy(b"packet");
        let plain = Taken::Plain(packet(), Offload::default()).for_control();
        assert!(matches!(plain, Input::Plain(packet) if packet.bytes() == b"packet"));
        let in_udp = Taken::Esp(outer(true), 7, packet()).for_control();
        let Input::Datagram { local, remote, ds, payload } = in_udp else { panic!("{in_udp:?}") };
        assert_eq!((local.port(), remote, ds, payload.bytes()), (4500, outer(true).remote, 7, &b"packet"[..]));
        let bare = Taken::Esp(outer(false), 7, packet()).for_control();
        let Input::Esp { local, remote, ds, payload } = bare else { panic!("{bare:?}") };
        assert_eq!((local, remote), (outer(false).local.ip(), outer(false).remote.ip()));
        assert_eq!((ds, payload.bytes()), (7, &b"packet"[..]));
    }

    #[test]
    fn on_port_500_everything_is_ike() {
        for payload in [&[0xff][..], &[0, 0, 0, 1], &[]] {
            assert_eq!(Kind::of(500, payload), Kind::Ike);
        }
    }
}
