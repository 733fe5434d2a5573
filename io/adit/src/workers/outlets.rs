//! What packets leave by: the TUN device for plain ones, sockets for what is encrypted, in batches.

use std::io;
use std::net::{IpAddr, SocketAddr};

use base::{Buffer, Event, Instant, Offload, Record};

use crate::datagram::{BATCH, Outgoing, SendBatch, Told};
use crate::esp::EspPort;
use crate::events::{SendFailed, TunWriteFailed};
use crate::log::Damper;
use crate::tun;
use crate::udp::UdpPort;
use crate::workers::Ports;

/// The ways out of one thread.
pub struct Outlets {
    tun: tun::Queue,
    udp: Vec<Queue<UdpPort>>,
    esp: Vec<Queue<EspPort>>,
    send: SendBatch,
    send_failures: Damper,
    tun_failures: Damper,
}

/// What there is to tell of sending.
#[derive(Debug)]
pub enum News {
    /// Something is to be logged.
    Log(Record),
    /// An IP packet for this address may have so many bytes; a longer one was lost.
    PathMtu(IpAddr, u16),
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

impl Outlets {
    /// Those of `ports`, which others may use at the same time.
    pub fn of(ports: &Ports) -> io::Result<Self> {
        let udp: io::Result<Vec<_>> = ports.udp.iter().map(UdpPort::try_clone).collect();
        let esp: io::Result<Vec<_>> = ports.esp.iter().map(|port| port.try_clone()).collect();
        Ok(Self {
            tun: ports.tun.try_clone()?,
            udp: udp?.into_iter().map(Queue::new).collect(),
            esp: esp?.into_iter().map(Queue::new).collect(),
            send: SendBatch::new(),
            send_failures: Damper::default(),
            tun_failures: Damper::default(),
        })
    }

    /// Hands a packet to the kernel at once. Returns what is to be logged.
    pub fn write_plain(&mut self, now: Instant, packet: &Buffer, offload: &Offload) -> Option<Record> {
        let error = self.tun.write(offload, packet.bytes()).err()?;
        let packets = self.tun_failures.count(now)?;
        Some(TunWriteFailed { reason: error.to_string(), packets }.record())
    }

    /// Queues a datagram at the socket with its local port and family. Without such a socket, on a host without IPv6,
    /// it is lost, as if there were no route.
    pub fn queue_datagram(&mut self, local: SocketAddr, outgoing: Outgoing) {
        let like = SocketAddr::new(outgoing.remote.ip(), local.port());
        if let Some(queue) = self.udp.iter_mut().find(|queue| queue.socket.fits(like)) {
            queue.waiting.push(outgoing);
        }
    }

    /// Queues ESP packets.
    pub fn queue_esp(&mut self, outgoing: Outgoing) {
        let ipv6 = outgoing.remote.is_ipv6();
        if let Some(queue) = self.esp.iter_mut().find(|queue| queue.socket.is_ipv6() == ipv6) {
            queue.waiting.push(outgoing);
        }
    }

    /// Sends what is queued. Buffers go to `recycle`, what there is to tell of it to `tell`.
    pub fn flush(&mut self, now: Instant, mut recycle: impl FnMut(Buffer), mut tell: impl FnMut(News)) {
        let (batch, damper) = (&mut self.send, &mut self.send_failures);
        let mut tell = |told: Told<'_>| match told {
            Told::PathMtu(remote, mtu) => tell(News::PathMtu(remote, mtu)),
            Told::Failed(remote, error) => {
                if let Some(packets) = damper.count(now) {
                    let (destip, reason) = (remote.ip().to_string(), error.to_string());
                    tell(News::Log(SendFailed { destip, reason, packets }.record()));
                }
            }
        };
        for queue in &mut self.udp {
            if !queue.waiting.is_empty() {
                queue.socket.send(batch, &queue.waiting, &mut tell);
                queue.waiting.drain(..).for_each(|outgoing| recycle(outgoing.payload));
            }
        }
        for queue in &mut self.esp {
            if !queue.waiting.is_empty() {
                queue.socket.send(batch, &queue.waiting, &mut tell);
                queue.waiting.drain(..).for_each(|outgoing| recycle(outgoing.payload));
            }
        }
    }
}
