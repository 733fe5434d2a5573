//! The host port: the TUN device for plain packets, sockets for what is encrypted. Reads and writes in batches with
//! buffers that are used again.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use base::{Buffer, Instant, Offload};
use engine::Input;
use manage::Device;

use crate::datagram::{BATCH, Outgoing, ReceiveBatch, SendBatch, Trains};
use crate::epoll::{Epoll, Token};
use crate::esp::EspPort;
use crate::events::{SendFailed, TunWriteFailed};
use crate::log::Damper;
use crate::tun;
use crate::udp::UdpPort;

/// Packets taken from the TUN device before the others get their turn.
const TUN_BATCH: usize = 64;

/// Every port of the gateway.
pub struct Ports {
    tun: tun::Queue,
    tun_name: String,
    tun_index: u32,
    /// Largest packet that the kernel hands over, bytes.
    tun_mtu: usize,
    udp: Vec<Queue<UdpPort>>,
    esp: Vec<Queue<EspPort>>,
    receive: ReceiveBatch,
    send: SendBatch,
    received: VecDeque<Input>,
    first_token: u64,
    send_failures: Damper,
    tun_failures: Damper,
}

/// A socket and what waits to be sent.
struct Queue<T> {
    socket: T,
    waiting: Vec<Outgoing>,
}

impl<T> Queue<T> {
    fn new(socket: T) -> Self {
        Self { socket, waiting: Vec::with_capacity(2 * BATCH) }
    }
}

impl Ports {
    /// Takes over what has been opened and waits for it with tokens from `first_token` on.
    pub fn new(
        (tun, tun_index, tun_mtu): (tun::Tun, u32, u32),
        udp: Vec<UdpPort>,
        esp: Vec<EspPort>,
        epoll: &Epoll,
        first_token: u64,
    ) -> io::Result<Self> {
        let tun_name = tun.name().to_owned();
        let Some(tun) = tun.into_queues().pop() else { return Err(io::Error::other("the TUN device has no queue")) };
        epoll.add(&tun, Token(first_token))?;
        let mut token = first_token;
        for port in &udp {
            token += 1;
            epoll.add(port, Token(token))?;
        }
        for port in &esp {
            token += 1;
            epoll.add(port, Token(token))?;
        }
        Ok(Self {
            tun,
            tun_name,
            tun_index,
            tun_mtu: usize::try_from(tun_mtu).unwrap_or(usize::from(u16::MAX)),
            udp: udp.into_iter().map(Queue::new).collect(),
            esp: esp.into_iter().map(Queue::new).collect(),
            receive: ReceiveBatch::new(),
            send: SendBatch::new(),
            received: VecDeque::with_capacity(TUN_BATCH),
            first_token,
            send_failures: Damper::default(),
            tun_failures: Damper::default(),
        })
    }

    /// The TUN device's number in the kernel.
    pub fn tun_index(&self) -> u32 {
        self.tun_index
    }

    /// Takes a batch from the port with this token; returns how many [`Ports::next`] has. Errors of a socket are those
    /// of single datagrams and end with them; an error is a TUN device that somebody has taken away.
    pub fn receive(&mut self, token: u64, device: &mut Device) -> io::Result<usize> {
        let Some(index) = token.checked_sub(self.first_token).and_then(|index| usize::try_from(index).ok()) else {
            return Ok(0);
        };
        match index.checked_sub(1) {
            None => self.receive_plain(device)?,
            Some(index) => match index.checked_sub(self.udp.len()) {
                None => self.receive_datagrams(index, device),
                Some(index) => self.receive_esp(index, device),
            },
        }
        Ok(self.received.len())
    }

    /// The next of what was received.
    pub fn next(&mut self) -> Option<Input> {
        self.received.pop_front()
    }

    fn receive_plain(&mut self, device: &mut Device) -> io::Result<()> {
        for _ in 0..TUN_BATCH {
            let mut buffer = device.buffer();
            match self.tun.read(&mut buffer, self.tun_mtu) {
                // Nothing is left to us: the kernel was not allowed to.
                Ok(Some(_)) => self.received.push_back(Input::Plain(buffer)),
                Ok(None) => {
                    device.recycle(buffer);
                    break;
                }
                // A packet that the kernel describes in a way that we do not know is lost.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => device.recycle(buffer),
                // Switched off, it gives nothing and may be switched on again.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
                Err(error) => {
                    return Err(io::Error::other(format!("the TUN device {} is gone: {error}", self.tun_name)));
                }
            }
        }
        Ok(())
    }

    fn receive_datagrams(&mut self, index: usize, device: &mut Device) {
        let Some(port) = self.udp.get(index).map(|queue| &queue.socket) else { return };
        for index in 0..self.receive.receive(port).unwrap_or(0) {
            let Some(received) = self.receive.received(index) else { continue };
            for datagram in received.datagrams() {
                let mut payload = device.buffer();
                payload.extend(datagram);
                self.received.push_back(Input::Datagram {
                    local: SocketAddr::new(received.local, port.port()),
                    remote: received.remote,
                    ds: received.ds,
                    payload,
                });
            }
        }
    }

    fn receive_esp(&mut self, index: usize, device: &mut Device) {
        let Some(port) = self.esp.get(index).map(|queue| &queue.socket) else { return };
        for index in 0..self.receive.receive(port).unwrap_or(0) {
            let Some(packet) = self.receive.received(index).and_then(|packet| port.strip(packet)) else { continue };
            let mut payload = device.buffer();
            payload.extend(packet.bytes);
            self.received.push_back(Input::Esp {
                local: packet.local,
                remote: packet.remote.ip(),
                ds: packet.ds,
                payload,
            });
        }
    }

    /// Hands a packet to the kernel at once.
    pub fn write_plain(&mut self, now: Instant, packet: &Buffer) -> Option<TunWriteFailed> {
        let error = self.tun.write(&Offload::NONE, packet.bytes()).err()?;
        let packets = self.tun_failures.count(now)?;
        Some(TunWriteFailed { reason: error.to_string(), packets })
    }

    /// Queues a datagram at the socket with its local port and family. Without such a socket, on a host without IPv6,
    /// it is lost, as if there were no route.
    pub fn queue_datagram(&mut self, local: SocketAddr, remote: SocketAddr, ds: u8, payload: Buffer) {
        let like = SocketAddr::new(remote.ip(), local.port());
        if let Some(queue) = self.udp.iter_mut().find(|queue| queue.socket.fits(like)) {
            queue.waiting.push(Outgoing { local: local.ip(), remote, ds, segment_size: None, payload });
        }
    }

    /// Queues an ESP packet.
    pub fn queue_esp(&mut self, local: IpAddr, remote: IpAddr, ds: u8, payload: Buffer) {
        if let Some(queue) = self.esp.iter_mut().find(|queue| queue.socket.is_ipv6() == remote.is_ipv6()) {
            let remote = SocketAddr::new(remote, 0);
            queue.waiting.push(Outgoing { local, remote, ds, segment_size: None, payload });
        }
    }

    /// Sends what is queued. Buffers go to `recycle`, failures that are due to be reported to `report`.
    pub fn flush(&mut self, now: Instant, mut recycle: impl FnMut(Buffer), mut report: impl FnMut(SendFailed)) {
        let (batch, damper) = (&mut self.send, &mut self.send_failures);
        let mut failed = |remote: SocketAddr, error: &io::Error| {
            if let Some(packets) = damper.count(now) {
                report(SendFailed { destip: remote.ip().to_string(), reason: error.to_string(), packets });
            }
        };
        for queue in &mut self.udp {
            queue.socket.send(batch, &queue.waiting, &mut failed);
            queue.waiting.drain(..).for_each(|outgoing| recycle(outgoing.payload));
        }
        for queue in &mut self.esp {
            batch.send(&queue.socket, &mut Trains::Never, &queue.waiting, &mut failed);
            queue.waiting.drain(..).for_each(|outgoing| recycle(outgoing.payload));
        }
    }
}
