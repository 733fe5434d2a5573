//! Datagrams in batches, each with our address and its DiffServ byte: recvmmsg and sendmmsg, and trains of datagrams
//! that pass the kernel as one.

mod message;
mod path;
mod receive;
mod send;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::sockopt;

pub use path::{Discovery, read_errors};
pub use receive::{ReceiveBatch, Received};
pub use send::{Outgoing, SendBatch, TRAIN_BYTES_MAX, TRAIN_MAX, Told, Trains, Way};

/// Messages of one system call.
pub const BATCH: usize = 32;
/// The largest datagram, and the largest train, that there is, bytes.
pub const DATAGRAM_MAX: usize = 65_536;
/// What we ask for as socket buffers, bytes: bursts must fit that come while we are busy with others.
const SOCKET_BUFFER: usize = 4 << 20;

/// Sets what every socket of ours wants, whatever it carries. Returns by what it is told whether datagrams may be cut.
pub fn prepare(socket: &OwnedFd, ipv6: bool) -> io::Result<Discovery> {
    enlarge(socket);
    path::keep_errors(socket, ipv6)?;
    if ipv6 {
        sockopt::set_ipv6_recvtclass(socket, true)?;
        switch_on(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
    } else {
        sockopt::set_ip_recvtos(socket, true)?;
        switch_on(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
    }
    let discovery = Discovery::of(ipv6);
    discovery.set(socket, false)?;
    Ok(discovery)
}

/// Asks for large socket buffers.
pub fn enlarge(socket: &OwnedFd) {
    // Without the capability for the forced variant the kernel's ceiling applies.
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER);
    }
    if sockopt::set_socket_send_buffer_size_force(socket, SOCKET_BUFFER).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(socket, SOCKET_BUFFER);
    }
}

/// Lets a UDP socket receive trains. False when this kernel cannot.
pub fn receive_trains(socket: &OwnedFd) -> bool {
    switch_on(socket, libc::SOL_UDP, libc::UDP_GRO).is_ok()
}

fn switch_on(socket: &OwnedFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    set_number(socket, level, option, 1)
}

fn set_number(socket: impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the option's value is the int that the pointer and the size describe.
    let result = unsafe { libc::setsockopt(socket, level, option, (&raw const value).cast(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Buffer;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

    fn pair(address: &str) -> (OwnedFd, SocketAddr, OwnedFd, SocketAddr) {
        let open = || {
            let socket = UdpSocket::bind((address, 0)).unwrap();
            let name = socket.local_addr().unwrap();
            let socket = OwnedFd::from(socket);
            prepare(&socket, name.is_ipv6()).unwrap();
            (socket, name)
        };
        let ((a, a_name), (b, b_name)) = (open(), open());
        (a, a_name, b, b_name)
    }

    fn outgoing(local: IpAddr, remote: SocketAddr, segment_size: Option<u16>, bytes: &[u8]) -> Outgoing {
        Outgoing { local, remote, ds: 0, whole: false, segment_size, payload: Buffer::copy(bytes) }
    }

    fn way(name: SocketAddr) -> Way {
        Way { trains: Trains::Kernel, discovery: Discovery::of(name.is_ipv6()) }
    }

    /// Everything that has come, each datagram with its sender, and in how many messages.
    fn drain(socket: &OwnedFd) -> (Vec<Vec<u8>>, usize) {
        let mut batch = ReceiveBatch::new();
        let (mut datagrams, mut messages) = (Vec::new(), 0);
        loop {
            let count = batch.receive(socket).unwrap();
            if count == 0 {
                return (datagrams, messages);
            }
            messages += count;
            for index in 0..count {
                datagrams.extend(batch.received(index).unwrap().datagrams().map(<[u8]>::to_vec));
            }
        }
    }

    fn datagrams_arrive_with_their_addresses(address: &str) {
        let (a, a_name, b, b_name) = pair(address);
        let queue: Vec<Outgoing> = (0..BATCH + 3)
            .map(|number| Outgoing {
                local: if number % 2 == 0 { a_name.ip() } else { unspecified(a_name) },
                remote: b_name,
                ds: 0x28 | u8::try_from(number % 4).unwrap(),
                whole: number % 5 == 0,
                segment_size: None,
                payload: Buffer::copy(&vec![7; 100 + number]),
            })
            .collect();
        SendBatch::new().send(&a, &mut way(a_name), &queue, |told| panic!("{told:?}"));
        let mut batch = ReceiveBatch::new();
        let mut number = 0;
        while number < queue.len() {
            let count = batch.receive(&b).unwrap();
            for index in 0..count {
                let received = batch.received(index).unwrap();
                assert_eq!(received.local, b_name.ip());
                assert_eq!(received.remote, a_name);
                assert_eq!(received.ds, queue[number].ds);
                assert_eq!(received.bytes, queue[number].payload.bytes());
                number += 1;
            }
        }
        assert_eq!(batch.receive(&b).unwrap(), 0);
    }

    fn unspecified(like: SocketAddr) -> IpAddr {
        if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
    }

    #[test]
    fn ipv4_datagrams_arrive_with_addresses_and_diffserv_byte() {
        datagrams_arrive_with_their_addresses("127.0.0.1");
    }

    #[test]
    fn ipv6_datagrams_arrive_with_addresses_and_diffserv_byte() {
        if UdpSocket::bind(("::1", 0)).is_ok() {
            datagrams_arrive_with_their_addresses("::1");
        }
    }

    #[test]
    fn datagrams_of_equal_size_travel_as_a_train_that_a_shorter_one_ends() {
        let (a, a_name, b, b_name) = pair("127.0.0.1");
        assert!(receive_trains(&b));
        let sent: Vec<Vec<u8>> = (0..60).map(|number| vec![number; if number == 59 { 300 } else { 1_000 }]).collect();
        let queue: Vec<Outgoing> = sent.iter().map(|bytes| outgoing(a_name.ip(), b_name, None, bytes)).collect();
        let mut way = way(a_name);
        SendBatch::new().send(&a, &mut way, &queue, |told| panic!("{told:?}"));
        assert_eq!(way.trains, Trains::Kernel);
        assert_eq!(drain(&b), (sent, 1));
    }

    #[test]
    fn a_train_is_datagrams_for_who_knows_no_trains() {
        let (a, a_name, b, b_name) = pair("127.0.0.1");
        let bytes: Vec<u8> = (0..=255).cycle().take(100 * 700 + 30).collect();
        for trains in [Trains::Kernel, Trains::Never] {
            let mut way = Way { trains, ..way(a_name) };
            let queue = [outgoing(a_name.ip(), b_name, Some(700), &bytes)];
            SendBatch::new().send(&a, &mut way, &queue, |told| panic!("{told:?}"));
            let sent: Vec<Vec<u8>> = bytes.chunks(700).map(<[u8]>::to_vec).collect();
            assert_eq!(drain(&b), (sent, 101));
        }
    }

    #[test]
    fn any_queue_arrives_as_its_datagrams_in_their_order() {
        let (a, a_name, b, b_name) = pair("127.0.0.1");
        let (c, c_name, ..) = pair("127.0.0.1");
        receive_trains(&b);
        let mut random = base::Random::numbered(7);
        let mut batch = SendBatch::new();
        for _ in 0..300 {
            let mut queue = Vec::new();
            let (mut to_b, mut to_c) = (Vec::new(), Vec::new());
            for _ in 0..random.below(60) {
                let size = [0, 1, 90, 100, 100, 100, 100, 1_400][usize::try_from(random.below(8)).unwrap()];
                let (remote, seen) = if random.below(9) == 0 { (c_name, &mut to_c) } else { (b_name, &mut to_b) };
                let many = random.below(3) == 0 && size > 0;
                let length = if many { size * 3 + usize::try_from(random.below(90 * 100)).unwrap() } else { size };
                let mut bytes = vec![0; length];
                random.fill(&mut bytes);
                let segment_size = many.then(|| u16::try_from(size).unwrap());
                match segment_size {
                    Some(size) => seen.extend(bytes.chunks(usize::from(size)).map(<[u8]>::to_vec)),
                    None => seen.push(bytes.clone()),
                }
                queue.push(outgoing(a_name.ip(), remote, segment_size, &bytes));
            }
            let mut way = way(a_name);
            batch.send(&a, &mut way, &queue, |told| panic!("{told:?}"));
            assert_eq!(drain(&b).0, to_b);
            assert_eq!(drain(&c).0, to_c);
        }
    }

    #[test]
    fn a_datagram_that_cannot_leave_does_not_stop_the_others() {
        let (a, a_name, b, b_name) = pair("127.0.0.1");
        let good = |size| outgoing(a_name.ip(), b_name, None, &vec![1; size]);
        let queue = [good(1), good(70_000), good(2)];
        let mut failures = 0;
        SendBatch::new().send(&a, &mut way(a_name), &queue, |told| {
            assert!(matches!(told, Told::Failed(to, _) if to == b_name));
            failures += 1;
        });
        assert_eq!(failures, 1);
        assert_eq!(drain(&b).0.len(), 2);
    }

    #[test]
    fn of_a_refused_train_every_datagram_is_tried_and_told() {
        let (a, a_name, b, b_name) = pair("127.0.0.1");
        let nowhere = SocketAddr::new(b_name.ip(), 0);
        let queue = [
            outgoing(a_name.ip(), b_name, None, b"before"),
            outgoing(a_name.ip(), nowhere, Some(10), &[1; 25]),
            outgoing(a_name.ip(), nowhere, None, &[1; 5]),
            outgoing(a_name.ip(), b_name, None, b"behind"),
        ];
        let mut failures = 0;
        SendBatch::new().send(&a, &mut way(a_name), &queue, |told| {
            assert!(matches!(told, Told::Failed(to, _) if to == nowhere));
            failures += 1;
        });
        assert_eq!(failures, 4);
        assert_eq!(drain(&b).0, [b"before", b"behind"]);
    }

    #[test]
    fn news_of_an_earlier_datagram_cost_no_later_one() {
        let (a, a_name, b, b_name) = pair("127.0.0.1");
        let closed = {
            let (_c, c_name, ..) = pair("127.0.0.1");
            c_name
        };
        let mut way = way(a_name);
        for (to, whole) in [(closed, false), (b_name, false), (closed, true), (b_name, true)] {
            let queue = [Outgoing { whole, ..outgoing(a_name.ip(), to, None, b"here") }];
            // The kernel refuses the second and the fourth call for what came back of the first and the third.
            SendBatch::new().send(&a, &mut way, &queue, |told| panic!("{told:?}"));
        }
        assert_eq!(drain(&b).0.len(), 2);
    }

    #[test]
    fn a_buffer_is_taken_without_a_copy() {
        let (a, a_name, b, b_name) = pair("127.0.0.1");
        let mut batch = ReceiveBatch::new();
        for text in [b"first", b"other"] {
            let queue = [outgoing(a_name.ip(), b_name, None, text)];
            SendBatch::new().send(&a, &mut way(a_name), &queue, |told| panic!("{told:?}"));
            assert_eq!(batch.receive(&b).unwrap(), 1);
            let place = batch.received(0).unwrap().bytes.as_ptr();
            let taken = batch.take(0, Buffer::default()).unwrap();
            assert_eq!((taken.bytes(), taken.bytes().as_ptr()), (&text[..], place));
        }
    }
}
