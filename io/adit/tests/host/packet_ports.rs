//! Packet ports: two hosts, and between them a third that carries frames from one card to the other as a wire would.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adit::nic::Nic;
use adit::packet::{FRAME_MAX, Frame, FrameReceiveBatch, FrameSendBatch, PacketPort};
use base::{Buffer, Checksum, Offload, SegmentKind, Segments};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::bench::{Host, wait_until};

const LEFT: &str = "10.9.0.1";
const RIGHT: &str = "10.9.0.2";

/// What has been seen of a frame.
struct Seen {
    length: usize,
    kind: Option<SegmentKind>,
    checksum_left: bool,
    /// Number of the port it came from.
    port: usize,
    from_left: bool,
}

struct Wire {
    left: Host,
    middle: Host,
    right: Host,
}

impl Wire {
    /// Hosts that reach each other over their interface `eth0`.
    fn new() -> Self {
        let wire = Self { left: Host::new(), middle: Host::new(), right: Host::new() };
        for (host, address, port) in [(&wire.left, LEFT, "port0"), (&wire.right, RIGHT, "port1")] {
            wire.middle.wire_to(host, port, "eth0");
            host.ip(&format!("addr add {address}/24 dev eth0"));
        }
        wire
    }

    /// Opens `count` ports at each side of the middle.
    fn ports(&self, count: usize) -> [Vec<PacketPort>; 2] {
        self.middle.enter(move || {
            ["port0", "port1"].map(|name| PacketPort::open_group(&Nic::named(name).unwrap(), count).unwrap())
        })
    }

    /// Transfers something with TCP, several times, from the left to the right. What passed the middle.
    fn transfer(&self, ports: [Vec<PacketPort>; 2], streams: usize) -> Vec<Seen> {
        const SIZE: usize = 4 << 20;
        let done = Arc::new(AtomicBool::new(false));
        let carrier = {
            let done = Arc::clone(&done);
            std::thread::spawn(move || carry(&ports, &done))
        };
        let listener = self.right.enter(|| TcpListener::bind((RIGHT, 5_001)).unwrap());
        for number in 0..streams {
            let sender = self.left.enter_in_background(move || {
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
}

fn carry(ports: &[Vec<PacketPort>; 2], done: &AtomicBool) -> Vec<Seen> {
    let mut seen = Vec::new();
    let (mut receive, mut send) = (FrameReceiveBatch::new(), FrameSendBatch::new());
    let mut spare: Vec<Buffer> = Vec::new();
    let mut queue: Vec<Frame> = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let all = ports.iter().flatten().map(|port| PollFd::from_borrowed_fd(port.as_fd(), PollFlags::IN));
        poll(&mut all.collect::<Vec<_>>(), Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 })).unwrap();
        for from_left in [true, false] {
            let [left, right] = ports;
            let (from, to) = if from_left { (left, right) } else { (right, left) };
            for (number, port) in from.iter().enumerate() {
                for index in 0..receive.receive(port).unwrap() {
                    let instead = spare.pop().unwrap_or_else(|| Buffer::with_capacity(FRAME_MAX));
                    let frame = receive.take(index, instead).unwrap();
                    seen.push(Seen {
                        length: frame.bytes.len(),
                        kind: frame.offload.segments.map(|segments| segments.kind),
                        checksum_left: frame.offload.checksum.is_some(),
                        port: number,
                        from_left,
                    });
                    queue.push(frame);
                }
                send.send(&to[number], &queue, |error| panic!("{error}"));
                spare.extend(queue.drain(..).map(|frame| frame.bytes));
            }
        }
    }
    for port in ports.iter().flatten() {
        assert_eq!(port.lost().unwrap(), 0);
    }
    assert_eq!(receive.unreadable(), 0);
    seen
}

pub fn a_packet_port_carries_frames_that_are_still_to_be_cut() {
    let wire = Wire::new();
    let seen = wire.transfer(wire.ports(1), 1);
    assert!(seen.iter().any(|frame| frame.length > 30_000 && frame.kind == Some(SegmentKind::TcpV4)));
    assert!(seen.iter().any(|frame| frame.length <= 1_514 && frame.kind.is_none() && frame.checksum_left));
    assert!(seen.iter().all(|frame| frame.kind.is_some() || frame.length <= 1_514));
}

pub fn a_frame_arrives_as_it_was_sent_with_its_vlan_tag_and_what_is_left_to_do() {
    let wire = Wire::new();
    let [left, right] = [&wire.left, &wire.right]
        .map(|host| host.enter(|| PacketPort::open_group(&Nic::named("eth0").unwrap(), 1).unwrap().pop().unwrap()));
    // Through the middle, whose packet ports take the tag from the kernel's hands as well.
    let middle = wire.ports(1);
    let frame = |tag: &[u8], payload: usize| {
        let mut bytes = Buffer::copy(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1]);
        bytes.extend(tag);
        bytes.extend(&[0x08, 0]);
        // IPv4 without a checksum, which nobody on this way looks at, and TCP from port 1 to port 2.
        let [high, low] = u16::try_from(40 + payload).unwrap().to_be_bytes();
        bytes.extend(&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        bytes.extend(&[0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        bytes.append(payload).fill(7);
        let start = u16::try_from(34 + tag.len()).unwrap();
        let segments = Segments { kind: SegmentKind::TcpV4, size: 1_400, header_len: start + 20 };
        let checksum = Some(Checksum { start, offset: 16 });
        Frame { offload: Offload { checksum, segments: (payload > 1_400).then_some(segments) }, bytes }
    };
    let tags: [&[u8]; 3] = [&[], &[0x81, 0, 0x20, 7], &[0x88, 0xa8, 0, 9]];
    let sent: Vec<Frame> =
        tags.iter().flat_map(|tag| [100, 1_000, 30_000].map(|payload| frame(tag, payload))).collect();
    let (mut send, mut receive) = (FrameSendBatch::new(), FrameReceiveBatch::new());
    let mut collect = |port: &PacketPort| {
        let mut frames = Vec::new();
        wait_until("the frames have come", || {
            for index in 0..receive.receive(port).unwrap() {
                let frame = receive.take(index, Buffer::default()).unwrap();
                // The hosts' own neighbour discovery is on the wire too.
                if frame.bytes.bytes()[6..12] == [2, 0, 0, 0, 0, 1] {
                    frames.push(frame);
                }
            }
            frames.len() == sent.len()
        });
        frames
    };
    send.send(&left, &sent, |error| panic!("{error}"));
    let halfway = collect(&middle[0][0]);
    send.send(&middle[1][0], &halfway, |error| panic!("{error}"));
    let arrived = collect(&right);
    for ((sent, halfway), arrived) in sent.iter().zip(&halfway).zip(&arrived) {
        assert_eq!((halfway.offload, &halfway.bytes), (sent.offload, &sent.bytes));
        assert_eq!((arrived.offload, &arrived.bytes), (sent.offload, &sent.bytes));
    }
}

pub fn both_directions_of_a_flow_come_to_the_same_packet_port_of_a_group() {
    let wire = Wire::new();
    let ports = wire.ports(4);
    let seen = wire.transfer(ports, 12);
    let used: BTreeSet<usize> = seen.iter().filter(|frame| frame.from_left).map(|frame| frame.port).collect();
    assert!(used.len() > 1, "{used:?}");
    // What a stream sends and what answers it: each port that carries data carries acknowledgements too.
    for port in used {
        assert!(seen.iter().any(|frame| frame.port == port && !frame.from_left), "{port}");
    }
}

pub fn a_card_has_an_address_an_mtu_and_a_link() {
    let wire = Wire::new();
    wire.middle.ip("link set port0 address 02:00:00:00:00:07 mtu 1400");
    let nic = wire.middle.enter(|| Nic::named("port0").unwrap());
    let state = nic.state().unwrap();
    assert_eq!((state.mac, state.mtu, state.up), ([2, 0, 0, 0, 0, 7], 1_400, true));
    wire.left.ip("link set eth0 down");
    wait_until("the link is gone", || !nic.state().unwrap().up);
}
