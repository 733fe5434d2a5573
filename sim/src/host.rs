//! A host with a real TCP/IP stack: smoltcp for TCP and UDP, the world's kernel for ICMP, fragments and path MTU.

use std::collections::VecDeque;
use std::net::IpAddr;

use base::{Duration, Instant, Now, Random};
use smoltcp::iface::{Config, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

use crate::interface::Interface;
use crate::kernel::{Kernel, Outbox};
use crate::packet::{ICMP, ICMPV6};
use crate::ping::{Ping, Pinger};
use crate::stream::{Stream, StreamReceiver, StreamSender};
use crate::transfer::{Receiver, Sender, Transfer};

/// Bytes that a TCP socket buffers in each direction.
const TCP_BUFFER: usize = 64 * 1024;
/// Datagrams that a UDP socket buffers in each direction.
const UDP_BUFFER: usize = 64;

/// A computer behind a gateway, or on the internet.
pub(crate) struct Host {
    pub(crate) kernel: Kernel,
    random: Random,
    wire: Wire,
    stack: smoltcp::iface::Interface,
    sockets: SocketSet<'static>,
    pingers: Vec<Pinger>,
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    stream_senders: Vec<StreamSender>,
    stream_receivers: Vec<StreamReceiver>,
    next_port: u16,
    stack_wake: Option<Instant>,
}

impl Host {
    pub(crate) fn new(name: &str, interface: Interface, mut random: Random) -> Self {
        let mut wire = Wire { inbound: VecDeque::new(), outbound: VecDeque::new(), mtu: interface.mtu };
        let stack = stack(&interface, &mut wire, Instant::ZERO, &mut random);
        Self {
            kernel: Kernel::new(name, vec![interface]),
            random,
            wire,
            stack,
            sockets: SocketSet::new(Vec::new()),
            pingers: Vec::new(),
            senders: Vec::new(),
            receivers: Vec::new(),
            stream_senders: Vec::new(),
            stream_receivers: Vec::new(),
            next_port: 49_152,
            stack_wake: None,
        }
    }

    pub(crate) fn receive(&mut self, now: Now, mut packet: Vec<u8>, out: &mut Outbox) {
        let Some(header) = self.kernel.admit(&mut packet) else { return };
        if !self.kernel.owns(header.destination) {
            return;
        }
        let Some((header, packet)) = self.kernel.deliver(now.mono, &header, packet) else { return };
        if matches!(header.protocol, ICMP | ICMPV6) {
            if !self.kernel.icmp(&header, &packet, out) {
                for pinger in &mut self.pingers {
                    if pinger.take(now.mono, &header, &packet) {
                        break;
                    }
                }
            }
            self.learn_path_mtu(now.mono);
        } else {
            self.wire.inbound.push_back(packet);
        }
        self.poll(now.mono, out);
    }

    pub(crate) fn wake(&mut self, now: Now, out: &mut Outbox) {
        for pinger in &mut self.pingers {
            pinger.wake(now.mono, &mut self.kernel, out);
        }
        for stream in &mut self.stream_senders {
            stream.wake(now.mono, &mut self.sockets);
        }
        self.poll(now.mono, out);
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let pings = self.pingers.iter().filter_map(Pinger::next_wake);
        let streams = self.stream_senders.iter().filter_map(StreamSender::next_wake);
        pings.chain(streams).chain(self.stack_wake).min()
    }

    pub(crate) fn ping(&mut self, now: Instant, to: IpAddr, count: u64, interval: Duration, size: usize) -> Ping {
        let ident = self.port();
        let pinger = Pinger::new(now, to, ident, count, interval, size);
        let ping = pinger.ping();
        self.pingers.push(pinger);
        ping
    }

    /// Listens for a transfer; returns the port.
    pub(crate) fn expect(&mut self, transfer: Transfer) -> u16 {
        let port = self.port();
        let mut socket = tcp_socket();
        socket.listen(port).expect("a port of our own is free");
        let socket = self.sockets.add(socket);
        self.receivers.push(Receiver { transfer, socket });
        port
    }

    /// Connects and sends.
    pub(crate) fn transfer(&mut self, transfer: Transfer, to: IpAddr, port: u16) {
        let local = self.port();
        let mut socket = tcp_socket();
        socket
            .connect(self.stack.context(), IpEndpoint::new(address(to), port), local)
            .unwrap_or_else(|error| panic!("{} cannot connect to {to}: {error:?}", self.kernel.name));
        let socket = self.sockets.add(socket);
        self.senders.push(Sender { transfer, socket, sent: 0 });
        self.stack_wake = Some(Instant::ZERO);
    }

    /// Receives a stream; returns the port.
    pub(crate) fn expect_stream(&mut self, stream: Stream) -> u16 {
        let port = self.port();
        let socket = self.udp_socket(port);
        self.stream_receivers.push(StreamReceiver { stream, socket });
        port
    }

    /// Sends a stream.
    pub(crate) fn stream(
        &mut self,
        now: Instant,
        stream: Stream,
        (to, port): (IpAddr, u16),
        interval: Duration,
        size: usize,
    ) {
        let local = self.port();
        let socket = self.udp_socket(local);
        let to = IpEndpoint::new(address(to), port);
        self.stream_senders.push(StreamSender { stream, socket, to, interval, size, next_at: now });
    }

    fn udp_socket(&mut self, port: u16) -> smoltcp::iface::SocketHandle {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; UDP_BUFFER], vec![0; UDP_BUFFER * 1500]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).expect("a port of our own is free");
        self.sockets.add(socket)
    }

    fn port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(49_152);
        port
    }

    /// Lets applications and stack work until neither has anything to do.
    fn poll(&mut self, now: Instant, out: &mut Outbox) {
        let at = smoltcp_time(now);
        loop {
            let polled = self.stack.poll(at, &mut self.wire, &mut self.sockets);
            for packet in self.wire.outbound.drain(..) {
                self.kernel.send(packet, out);
            }
            let mut moved = polled == smoltcp::iface::PollResult::SocketStateChanged;
            for sender in &mut self.senders {
                moved |= sender.poll(&mut self.sockets);
            }
            for receiver in &mut self.receivers {
                moved |= receiver.poll(now, &mut self.sockets);
            }
            for receiver in &mut self.stream_receivers {
                receiver.poll(&mut self.sockets);
            }
            if !moved {
                break;
            }
        }
        // A stack that wants to be polled at once but cannot go on must not stop the clock.
        let soonest = now + Duration::from_millis(1);
        self.stack_wake = self
            .stack
            .poll_at(at, &self.sockets)
            .map(|at| Instant::from_micros(u64::try_from(at.total_micros()).unwrap_or(0)).max(soonest));
    }

    /// smoltcp fixes the MTU when an interface is made, so a smaller path gets a new one; the sockets stay.
    fn learn_path_mtu(&mut self, now: Instant) {
        let Some(interface) = self.kernel.interfaces.first() else { return };
        let paths = self.senders.iter().map(|sender| sender.socket).chain(self.receivers.iter().map(|r| r.socket));
        let remotes = paths.filter_map(|socket| self.sockets.get::<tcp::Socket<'_>>(socket).remote_endpoint());
        let path = remotes.filter_map(|remote| self.kernel.path_mtu(remote.addr.into())).min();
        let mtu = path.map_or(interface.mtu, |path| path.min(interface.mtu));
        if mtu != self.wire.mtu {
            self.wire.mtu = mtu;
            self.stack = stack(interface, &mut self.wire, now, &mut self.random);
        }
    }
}

fn tcp_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; TCP_BUFFER]);
    tcp::Socket::new(buffer(), buffer())
}

fn stack(interface: &Interface, wire: &mut Wire, now: Instant, random: &mut Random) -> smoltcp::iface::Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = random.u64();
    let mut stack = smoltcp::iface::Interface::new(config, wire, smoltcp_time(now));
    stack.update_ip_addrs(|addresses| {
        for (own, prefix) in &interface.addresses {
            addresses.push(IpCidr::new(address(*own), *prefix)).expect("a host has few addresses");
        }
    });
    for gateway in &interface.gateways {
        let added = match gateway {
            IpAddr::V4(gateway) => stack.routes_mut().add_default_ipv4_route(*gateway),
            IpAddr::V6(gateway) => stack.routes_mut().add_default_ipv6_route(*gateway),
        };
        added.expect("a host has one default route of each family");
    }
    stack
}

fn address(ip: IpAddr) -> IpAddress {
    ip.into()
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// What smoltcp takes for a network card: two queues.
struct Wire {
    inbound: VecDeque<Vec<u8>>,
    outbound: VecDeque<Vec<u8>>,
    mtu: usize,
}

struct Arriving(Vec<u8>);
struct Leaving<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Arriving {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl phy::Device for Wire {
    type RxToken<'a> = Arriving;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Arriving, Leaving<'_>)> {
        let packet = self.inbound.pop_front()?;
        Some((Arriving(packet), Leaving(&mut self.outbound)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.outbound))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}
