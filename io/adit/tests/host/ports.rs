//! The ports that need privileges, each in network namespaces of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adit::datagram::{Discovery, Told, Trains, Way};
use adit::tun::{Offloads, PACKET_MAX, Queue, Tun};
use base::{Buffer, SegmentKind, Segments};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::bench::Host;

/// Two hosts with a TUN device each, and what one reads is written to the other.
struct Pair {
    left: Host,
    right: Host,
    queues: [Vec<Queue>; 2],
}

const LEFT: &str = "10.9.0.1";
const RIGHT: &str = "10.9.0.2";

impl Pair {
    fn new(queues: usize, offloads: Offloads) -> Self {
        let host = |address: &str| {
            let host = Host::new();
            let tun = host.enter(move || Tun::named("adit0", queues).unwrap());
            assert_eq!(tun.leave_to_us(offloads).unwrap(), offloads);
            host.ip(&format!("addr add {address}/24 dev adit0"));
            host.ip("link set adit0 up txqueuelen 8192");
            (host, tun.into_queues())
        };
        let ((left, left_queues), (right, right_queues)) = (host(LEFT), host(RIGHT));
        Self { left, right, queues: [left_queues, right_queues] }
    }
}

/// Carries packets from each side to the other until `done`. Returns what was left to be done to those that were to be
/// cut, with their length, and how many packets there were in each queue of the left.
fn carry([mut left, mut right]: [Vec<Queue>; 2], done: &AtomicBool) -> (Vec<(Segments, usize)>, Vec<usize>) {
    let mut segments = Vec::new();
    let mut packets = vec![0; left.len()];
    let mut buffer = Buffer::with_capacity(PACKET_MAX);
    while !done.load(Ordering::Relaxed) {
        let mut all: Vec<PollFd<'_>> =
            left.iter().chain(&right).map(|queue| PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN)).collect();
        poll(&mut all, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 })).unwrap();
        for is_left in [true, false] {
            let (from, to) = if is_left { (&mut left, &mut right) } else { (&mut right, &mut left) };
            for (index, queue) in from.iter_mut().enumerate() {
                while let Some(offload) = {
                    buffer.clear();
                    queue.read(&mut buffer, PACKET_MAX).unwrap()
                } {
                    segments.extend(offload.segments.map(|segments| (segments, buffer.len())));
                    if is_left {
                        packets[index] += 1;
                    }
                    to[0].write(&offload, buffer.bytes()).unwrap();
                }
            }
        }
    }
    (segments, packets)
}

fn transfer(pair: Pair, streams: usize) -> (Vec<(Segments, usize)>, Vec<usize>) {
    const SIZE: usize = 8 << 20;
    let done = Arc::new(AtomicBool::new(false));
    let carrier = {
        let (queues, done) = (pair.queues, Arc::clone(&done));
        std::thread::spawn(move || carry(queues, &done))
    };
    let listener = pair.right.enter(|| TcpListener::bind((RIGHT, 5_001)).unwrap());
    for number in 0..streams {
        let sender = pair.left.enter_in_background(move || {
            let mut stream = TcpStream::connect((RIGHT, 5_001)).unwrap();
            stream.write_all(&vec![u8::try_from(number).unwrap(); SIZE]).unwrap();
        });
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        sender.join().unwrap();
        assert_eq!(received.len(), SIZE);
        assert!(received.iter().all(|byte| usize::from(*byte) == number));
    }
    done.store(true, Ordering::Relaxed);
    carrier.join().unwrap()
}

pub fn tcp_passes_the_tun_device_in_segments_of_up_to_64_kib() {
    let (segments, _) = transfer(Pair::new(1, Offloads { tcp: true, udp: false }), 1);
    assert!(segments.iter().any(|(_, length)| *length > 30_000), "{} segments", segments.len());
    for (segments, length) in segments {
        assert_eq!(segments.kind, SegmentKind::TcpV4);
        assert_eq!(usize::from(segments.header_len + segments.size), 1_500);
        assert!(length > 1_500);
    }
}

pub fn a_tun_device_without_offload_gives_finished_packets() {
    let (segments, _) = transfer(Pair::new(1, Offloads::default()), 1);
    assert!(segments.is_empty());
}

pub fn every_queue_of_a_tun_device_carries_packets() {
    let (_, packets) = transfer(Pair::new(4, Offloads { tcp: true, udp: false }), 12);
    assert_eq!(packets.len(), 4);
    assert!(packets.iter().filter(|packets| **packets > 0).count() > 1, "{packets:?}");
}

pub fn a_train_of_datagrams_passes_the_tun_device_whole() {
    let mut pair = Pair::new(1, Offloads { tcp: true, udp: true });
    let socket = pair.left.enter(|| UdpSocket::bind((LEFT, 0)).unwrap());
    let receiver = pair.right.enter(|| UdpSocket::bind((RIGHT, 5_002)).unwrap());
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let payload: Vec<u8> = (0..10_500_usize).map(|position| u8::try_from(position % 251).unwrap()).collect();
    let outgoing = adit::datagram::Outgoing {
        local: LEFT.parse().unwrap(),
        remote: format!("{RIGHT}:5002").parse().unwrap(),
        ds: 0,
        whole: false,
        segment_size: Some(1_000),
        payload: Buffer::copy(&payload),
    };
    adit::datagram::SendBatch::new().send(&socket, &mut way(Discovery::of(false)), &[outgoing], never);
    let done = AtomicBool::new(false);
    let segments = std::thread::scope(|scope| {
        let carrier = scope.spawn(|| carry(std::mem::take(&mut pair.queues), &done));
        for piece in payload.chunks(1_000) {
            let mut buffer = [0; 2_000];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], piece);
        }
        done.store(true, Ordering::Relaxed);
        carrier.join().unwrap().0
    });
    assert_eq!(segments, [(Segments { kind: SegmentKind::Udp, size: 1_000, header_len: 28 }, 10_528)]);
}

pub fn datagrams_too_large_for_the_link_arrive_in_fragments_also_when_they_could_be_a_train() {
    let (left, right) = (Host::new(), Host::new());
    left.wire_to(&right, "eth0", "eth0");
    for (host, address) in [(&left, LEFT), (&right, RIGHT)] {
        host.ip(&format!("addr add {address}/24 dev eth0"));
    }
    let socket = left.enter(|| UdpSocket::bind((LEFT, 0)).unwrap());
    let socket = std::os::fd::OwnedFd::from(socket);
    let mut way = way(adit::datagram::prepare(&socket, false).unwrap());
    let receiver = right.enter(|| UdpSocket::bind((RIGHT, 5_002)).unwrap());
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut queue: Vec<_> = [1_000, 1_000, 1_700, 1_700, 1_700, 900]
        .iter()
        .map(|size| adit::datagram::Outgoing {
            local: LEFT.parse().unwrap(),
            remote: format!("{RIGHT}:5002").parse().unwrap(),
            ds: 0,
            whole: false,
            segment_size: None,
            payload: Buffer::copy(&vec![7; *size]),
        })
        .collect();
    adit::datagram::SendBatch::new().send(&socket, &mut way, &queue, never);
    assert_eq!(way.trains, Trains::Kernel);
    for outgoing in &queue {
        assert_eq!(receiver.recv(&mut [0; 2_000]).unwrap(), outgoing.payload.len());
    }
    // What may not be cut is lost where it is too long, and the kernel says what would have passed.
    for outgoing in &mut queue {
        outgoing.whole = true;
    }
    let mut told = Vec::new();
    adit::datagram::SendBatch::new().send(&socket, &mut way, &queue, |news| match news {
        Told::PathMtu(remote, mtu) => told.push((remote, mtu)),
        Told::Failed(..) => never(news),
    });
    told.dedup();
    assert_eq!(told, [(RIGHT.parse().unwrap(), 1_500)]);
    for outgoing in queue.iter().filter(|outgoing| outgoing.payload.len() <= 1_472) {
        assert_eq!(receiver.recv(&mut [0; 2_000]).unwrap(), outgoing.payload.len());
    }
}

fn way(discovery: Discovery) -> Way {
    Way { trains: Trains::Kernel, discovery }
}

/// For where nothing may go wrong.
fn never(told: Told<'_>) {
    panic!("{told:?}");
}
