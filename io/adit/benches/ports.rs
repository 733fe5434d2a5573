//! What a packet costs at each kind of port, there and back through the kernel, in time of this one thread's processor:
//! `cargo bench -p adit`. As root, because of the TUN device and the packet ports; the rest also without.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::allow_attributes,
    reason = "a measurement that cannot go on fails, and prints what it has measured"
)]

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::process::Command;

use adit::datagram::{self, Outgoing, ReceiveBatch, SendBatch, Trains, Way};
use adit::nic::Nic;
use adit::packet::{FRAME_MAX, Frame, FrameReceiveBatch, FrameSendBatch, PacketPort};
use adit::tun::{Offloads, PACKET_MAX, Tun};
use base::{Buffer, Checksum, Offload, SegmentKind, Segments};
use rustix::time::{ClockId, clock_gettime};

/// Payload of a packet that is as large as common links carry.
const PAYLOAD: usize = 1_400;
/// Packets of that size which are one before they are cut.
const SEGMENTS: usize = 45;
const ROUNDS: usize = 3_000;

/// Time that the thread has used, seconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Prints what a packet of [`PAYLOAD`] bytes costs when each round passes so many.
fn measure(what: &str, packets: usize, mut round: impl FnMut()) {
    (0..ROUNDS / 10).for_each(|_| round());
    let begin = processor_time();
    (0..ROUNDS).for_each(|_| round());
    let each = (processor_time() - begin) / (ROUNDS * packets) as f64;
    println!("{what:<58} {:7.0} ns {:7.1} Gbit/s", each * 1e9, PAYLOAD as f64 * 8.0 / each / 1e9);
}

fn main() {
    println!("a packet of {PAYLOAD} bytes, sent and received by one thread:");
    udp();
    if !rustix::process::geteuid().is_root() {
        println!("the TUN device and packet ports need root");
        return;
    }
    // SAFETY: this thread is the only one, and gets an empty network of its own.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
    packet_ports();
    tun();
}

fn ip(arguments: &str) {
    assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success(), "ip {arguments}");
}

fn udp() {
    for (what, trains, receives_trains, as_one) in [
        ("UDP, every datagram by itself", Trains::Never, false, false),
        ("UDP, datagrams that leave as a train", Trains::Kernel, false, false),
        ("UDP, datagrams that leave and come as a train", Trains::Kernel, true, false),
        ("UDP, a train that was one buffer before", Trains::Kernel, true, true),
    ] {
        let open = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let name = socket.local_addr().unwrap();
            let socket = OwnedFd::from(socket);
            datagram::prepare(&socket, false).unwrap();
            (socket, name)
        };
        let ((from, local), (to, remote)) = (open(), open());
        if receives_trains {
            assert!(datagram::receive_trains(&to));
        }
        let outgoing = |segment_size, length| Outgoing {
            local: local.ip(),
            remote,
            ds: 0,
            whole: true,
            segment_size,
            payload: Buffer::copy(&vec![7; length]),
        };
        let size = u16::try_from(PAYLOAD).unwrap();
        let queue: Vec<Outgoing> = if as_one {
            vec![outgoing(Some(size), PAYLOAD * SEGMENTS)]
        } else {
            (0..SEGMENTS).map(|_| outgoing(None, PAYLOAD)).collect()
        };
        let (mut send, mut receive) = (SendBatch::new(), ReceiveBatch::new());
        let mut way = Way { trains, discovery: datagram::Discovery::of(false) };
        measure(what, SEGMENTS, || {
            send.send(&from, &mut way, &queue, |told| panic!("{told:?}"));
            let mut bytes = 0;
            while bytes < SEGMENTS * PAYLOAD {
                let count = receive.receive(&to).unwrap();
                bytes += (0..count).map(|index| receive.received(index).unwrap().bytes.len()).sum::<usize>();
            }
        });
    }
}

/// TCP over IPv4 behind a link header, to be cut into [`SEGMENTS`] pieces, or finished and of one piece.
fn tcp(link_header: &[u8], segments: usize) -> (Offload, Buffer) {
    let mut packet = Buffer::with_capacity(FRAME_MAX);
    packet.extend(link_header);
    let length = 40 + PAYLOAD * segments;
    let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
    packet.extend(&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend(&[0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    packet.append(PAYLOAD * segments).fill(7);
    let start = u16::try_from(link_header.len() + 20).unwrap();
    let cut = Segments { kind: SegmentKind::TcpV4, size: u16::try_from(PAYLOAD).unwrap(), header_len: start + 20 };
    let offload = Offload { checksum: Some(Checksum { start, offset: 16 }), segments: Some(cut) };
    (if segments > 1 { offload } else { Offload::NONE }, packet)
}

fn packet_ports() {
    ip("link add left type veth peer name right");
    for name in ["left", "right"] {
        ip(&format!("link set {name} up mtu 1500"));
    }
    let [left, right] =
        ["left", "right"].map(|name| PacketPort::open_group(&Nic::named(name).unwrap(), 1).unwrap().pop().unwrap());
    // To nobody, so that no stack spends time on it.
    let ethernet = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x08, 0];
    for (what, segments, count) in
        [("packet port, frames as on the wire", 1, 32), ("packet port, frames to be cut", 45, 4)]
    {
        let queue: Vec<Frame> = (0..count)
            .map(|_| {
                let (offload, bytes) = tcp(&ethernet, segments);
                Frame { offload, bytes }
            })
            .collect();
        let (mut send, mut receive) = (FrameSendBatch::new(), FrameReceiveBatch::new());
        let mut spare = Some(Buffer::with_capacity(FRAME_MAX));
        measure(what, segments * count, || {
            send.send(&left, &queue, |error| panic!("{error}"));
            let mut frames = 0;
            while frames < count {
                for index in 0..receive.receive(&right).unwrap() {
                    let frame = receive.take(index, spare.take().unwrap()).unwrap();
                    // The kernel's own neighbour discovery is no frame of ours.
                    frames += usize::from(frame.bytes.bytes()[..12] == ethernet[..12]);
                    spare = Some(frame.bytes);
                }
            }
        });
    }
}

fn tun() {
    let tun = Tun::named("bench", 1).unwrap();
    tun.leave_to_us(Offloads { tcp: true, udp: true }).unwrap();
    ip("link set bench up txqueuelen 8192");
    ip("addr add 192.0.2.9/32 dev bench");
    ip("route add 192.0.2.0/24 dev bench");
    // What is written comes back: the kernel forwards it to where it came from.
    for sysctl in ["ipv4/ip_forward", "ipv4/conf/all/accept_local"] {
        std::fs::write(format!("/proc/sys/net/{sysctl}"), "1").unwrap();
    }
    std::fs::write("/proc/sys/net/ipv4/conf/bench/send_redirects", "0").unwrap();
    std::fs::write("/proc/sys/net/ipv4/conf/all/send_redirects", "0").unwrap();
    let mut queue = tun.into_queues().pop().unwrap();
    for (what, segments, count) in [("TUN device, finished packets", 1, 32), ("TUN device, packets to be cut", 45, 4)] {
        let (offload, mut packet) = tcp(&[], segments);
        let sum: u32 = packet.bytes()[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        packet.bytes_mut()[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut buffer = Buffer::with_capacity(PACKET_MAX);
        measure(what, segments * count, || {
            (0..count).for_each(|_| queue.write(&offload, packet.bytes()).unwrap());
            let mut packets = 0;
            while packets < count {
                buffer.clear();
                let read = queue.read(&mut buffer, PACKET_MAX).unwrap();
                packets += usize::from(read.is_some() && buffer.bytes().get(12..16) == Some(&[192, 0, 2, 1]));
            }
        });
    }
}
