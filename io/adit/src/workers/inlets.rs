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
use crate::offload::complete;
use crate::tun;
use crate::udp::UdpPort;
use crate::workers::Ports;

/// The largest packet that the kernel hands over, bytes.
const PACKET_MAX: usize = 65_536;
/// Packets of at most so many bytes are copied into a small buffer.
const COPIED_MAX: usize = 2_048;
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
    /// What the next packet is read into: any size, because it may stand for many.
    spare: Buffer,
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
    /// ESP packets of this length one behind the other, the last perhaps shorter.
    Train(Outer, u8, Buffer, u16),
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
    /// As the control thread takes it: packet by packet, with nothing left to be done.
    pub fn for_control(self, mut give: impl FnMut(Input)) {
        match self {
            Self::Ike { local, remote, ds, payload } => give(Input::Datagram { local, remote, ds, payload }),
            Self::PathMtu(remote, mtu) => give(Input::PathMtu { remote, mtu }),
            Self::Plain(packet, Offload::NONE) => give(Input::Plain(packet)),
            Self::Plain(packet, offload) => {
                let mut buffer = || Buffer::with_capacity(packet.len());
                complete(0, packet.bytes(), offload, &mut buffer, |packet| give(Input::Plain(packet)));
            }
            Self::Esp(outer, ds, payload) => give(esp(outer, ds, payload)),
            Self::Train(outer, ds, train, size) => {
                let packets = train.bytes().chunks(usize::from(size).max(1));
                packets.for_each(|packet| give(esp(outer, ds, Buffer::copy(packet))));
            }
        }
    }
}

/// An ESP packet as the control thread takes it.
fn esp(Outer { local, remote, udp }: Outer, ds: u8, payload: Buffer) -> Input {
    if udp {
        Input::Datagram { local, remote, ds, payload }
    } else {
        Input::Esp { local: local.ip(), remote: remote.ip(), ds, payload }
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
    pub fn new(ports: Ports) -> Self {
        Self {
            tun: ports.tun,
            spare: Buffer::with_capacity(PACKET_MAX),
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
            match self.tun.read(&mut self.spare, PACKET_MAX) {
                // Large ones stay where they are, small ones are moved to where there is less room to waste.
                Ok(Some(offload)) if self.spare.len() > COPIED_MAX => {
                    let packet = std::mem::replace(&mut self.spare, data.large_buffer());
                    self.received.push_back(Taken::Plain(packet, offload));
                }
                Ok(Some(offload)) => {
                    let mut packet = data.buffer();
                    packet.extend(self.spare.bytes());
                    self.spare.clear();
                    self.received.push_back(Taken::Plain(packet, offload));
                }
                Ok(None) => break,
                // A packet that the kernel describes in a way that we do not know is lost.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => self.spare.clear(),
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
            let Received { remote, ds, segment_size, .. } = received;
            let outer = Outer { local, remote, udp: true };
            if let Some(size) = segment_size
                && received.datagrams().all(|datagram| Kind::of(port.port(), datagram) == Kind::Esp)
            {
                if let Some(train) = self.batch.take(index, data.large_buffer()) {
                    self.received.push_back(Taken::Train(outer, ds, train, size));
                }
                continue;
            }
            for datagram in received.datagrams() {
                let kind = Kind::of(port.port(), datagram);
                if kind == Kind::KeepAlive {
                    continue;
                }
                let mut payload = data.buffer();
                payload.extend(datagram);
                self.received.push_back(match kind {
                    Kind::Esp => Taken::Esp(outer, ds, payload),
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
        let given = |taken: Taken| {
            let mut given = Vec::new();
            taken.for_control(|input| given.push(input));
            given
        };
        let plain = given(Taken::Plain(packet(), Offload::NONE));
        assert!(matches!(&plain[..], [Input::Plain(packet)] if packet.bytes() == b"packet"));
        for (taken, packets) in [
            (Taken::Esp(outer(true), 7, packet()), &[&b"packet"[..]][..]),
            (Taken::Train(outer(true), 7, packet(), 4), &[&b"pack"[..], b"et"]),
        ] {
            let inputs = given(taken);
            assert_eq!(inputs.len(), packets.len());
            for (input, bytes) in inputs.iter().zip(packets) {
                let Input::Datagram { local, remote, ds, payload } = input else { panic!("{input:?}") };
                assert_eq!((local.port(), *remote, *ds, payload.bytes()), (4500, outer(true).remote, 7, *bytes));
            }
        }
        let bare = given(Taken::Esp(outer(false), 7, packet())).remove(0);
        let Input::Esp { local, remote, ds, payload } = bare else { panic!("{bare:?}") };
        assert_eq!((local, remote), (outer(false).local.ip(), outer(false).remote.ip()));
        assert_eq!((ds, payload.bytes()), (7, &b"packet"[..]));
    }

    #[test]
    fn a_packet_that_stands_for_many_reaches_the_control_thread_cut() {
        let segment = [&[0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0], &[7; 3000][..]].concat();
        let packet = wire::icmp::ip_packet([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 6, &segment).unwrap();
        let offload = Offload {
            checksum: Some(base::Checksum { start: 20, offset: 16 }),
            segments: Some(base::Segments { kind: base::SegmentKind::TcpV4, size: 1400, header_len: 40 }),
        };
        let mut lengths = Vec::new();
        Taken::Plain(Buffer::copy(&packet), offload).for_control(|input| match input {
            Input::Plain(packet) => lengths.push(packet.len()),
            other => panic!("{other:?}"),
        });
        assert_eq!(lengths, [1440, 1440, 240]);
    }

    #[test]
    fn on_port_500_everything_is_ike() {
        for payload in [&[0xff][..], &[0, 0, 0, 1], &[]] {
            assert_eq!(Kind::of(500, payload), Kind::Ike);
        }
    }
}
