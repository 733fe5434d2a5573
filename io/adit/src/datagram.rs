//! Datagrams in batches, each with our address and its DiffServ byte: recvmmsg and sendmmsg.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use base::Buffer;
use rustix::net::sockopt;

/// Datagrams of one system call.
pub const BATCH: usize = 32;
/// The largest datagram there is, bytes.
const DATAGRAM_MAX: usize = 65_536;
/// What we ask for as socket buffers, bytes: bursts must fit that come while we are busy with others.
const SOCKET_BUFFER: usize = 4 << 20;

/// A datagram that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// The address it was sent to.
    pub local: IpAddr,
    /// Where it came from; the port is 0 for a raw socket.
    pub remote: SocketAddr,
    /// DiffServ byte with ECN.
    pub ds: u8,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// A datagram to be sent.
#[derive(Debug)]
pub struct Outgoing {
    /// The address it leaves from; an unspecified one leaves the choice to the kernel.
    pub local: IpAddr,
    /// Where to; the port is 0 for a raw socket.
    pub remote: SocketAddr,
    /// DiffServ byte with ECN.
    pub ds: u8,
    /// What is in it.
    pub payload: Buffer,
}

/// Sets what every socket of ours wants, whatever it carries.
pub fn prepare(socket: &OwnedFd, ipv6: bool) -> io::Result<()> {
    // Without the capability for the forced variant the kernel's ceiling applies.
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER);
    }
    if sockopt::set_socket_send_buffer_size_force(socket, SOCKET_BUFFER).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(socket, SOCKET_BUFFER);
    }
    // Large IKE and ESP packets may be fragmented on their way: no DF bit.
    if ipv6 {
        sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::DONT)?;
        sockopt::set_ipv6_recvtclass(socket, true)?;
        switch_on(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::DONT)?;
        sockopt::set_ip_recvtos(socket, true)?;
        switch_on(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)
    }
}

fn switch_on(socket: &OwnedFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the option's value is the int that the pointer and the size describe.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Room for control messages: the address and the DiffServ byte take less than half of it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Memory for system calls, used for all sockets in turn.
pub struct Batch {
    payloads: Vec<u8>,
    names: [libc::sockaddr_storage; BATCH],
    controls: [Control; BATCH],
    slices: [libc::iovec; BATCH],
    headers: [libc::mmsghdr; BATCH],
}

impl Batch {
    /// Memory for one batch.
    pub fn new() -> Box<Self> {
        // SAFETY: sockaddr_storage, iovec and mmsghdr are plain data (numbers and raw pointers) for which all zeroes is
        // a value.
        let (names, slices, headers) = unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        Box::new(Self {
            payloads: vec![0; BATCH * DATAGRAM_MAX],
            names,
            controls: [Control([0; 128]); BATCH],
            slices,
            headers,
        })
    }

    /// Receives what has come, at most a batch, without waiting. Returns how many; [`Batch::received`] has them.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        for (index, payload) in self.payloads.chunks_exact_mut(DATAGRAM_MAX).enumerate() {
            let Some(slice) = self.slices.get_mut(index) else { break };
            *slice = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: DATAGRAM_MAX };
        }
        self.point_headers(BATCH);
        let count = libc::c_uint::try_from(BATCH).unwrap_or_default();
        // SAFETY: each of the BATCH headers points at a name, a slice and a control area of its own in `self`, with
        // their true sizes; each slice points at DATAGRAM_MAX bytes of `payloads`; nothing of it moves during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        match usize::try_from(received) {
            Ok(received) => Ok(received),
            Err(_) => match io::Error::last_os_error() {
                error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
                error => Err(error),
            },
        }
    }

    /// The datagram at `index` of the last [`Batch::receive`]. `None` when its addresses are missing.
    pub fn received(&self, index: usize) -> Option<Received<'_>> {
        let header = self.headers.get(index)?;
        let start = index.checked_mul(DATAGRAM_MAX)?;
        let length = usize::try_from(header.msg_len).ok()?;
        let bytes = self.payloads.get(start..start.checked_add(length)?)?;
        let remote = read_name(self.names.get(index)?)?;
        let (mut local, mut ds) = (None, 0);
        // SAFETY: the header and the control area it points at are those the kernel filled in the last call: both are
        // still in place, because `self` is boxed and borrowed. The CMSG functions stay within msg_controllen, and
        // each payload is read with the type that its level and type promise, without assuming alignment.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&raw const header.msg_hdr);
            while !message.is_null() {
                let data = libc::CMSG_DATA(message);
                match ((*message).cmsg_level, (*message).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info: libc::in_pktinfo = data.cast::<libc::in_pktinfo>().read_unaligned();
                        local = Some(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info: libc::in6_pktinfo = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                    }
                    (libc::IPPROTO_IP, libc::IP_TOS) => ds = *data,
                    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                        ds = u8::try_from(data.cast::<libc::c_int>().read_unaligned()).unwrap_or(0);
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(&raw const header.msg_hdr, message);
            }
        }
        Some(Received { local: local?, remote, ds, bytes })
    }

    /// Sends the datagrams of `queue` without waiting. What the kernel refuses is lost, as on any wire; `failed` is
    /// told where it should have gone and why. The datagrams stay in the queue for their buffers to be used again.
    pub fn send(&mut self, socket: impl AsFd, queue: &[Outgoing], mut failed: impl FnMut(SocketAddr, io::Error)) {
        for datagrams in queue.chunks(BATCH) {
            self.write_headers(datagrams);
            let mut sent = 0;
            while sent < datagrams.len() {
                let Some(headers) = self.headers.get_mut(sent..datagrams.len()) else { return };
                let count = libc::c_uint::try_from(headers.len()).unwrap_or_default();
                // SAFETY: `headers` are initialised by `write_headers` to point at names, slices and control areas in
                // `self` and at payloads in `datagrams`, with their true sizes; all of it outlives the call, and the
                // kernel only reads what the slices point at.
                let result = unsafe {
                    libc::sendmmsg(socket.as_fd().as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
                };
                match usize::try_from(result) {
                    Ok(more) if more > 0 => sent += more,
                    _ => {
                        let error = io::Error::last_os_error();
                        if error.kind() == io::ErrorKind::Interrupted {
                            continue;
                        }
                        // The call stops at the first datagram that fails: go on behind it.
                        if let Some(datagram) = datagrams.get(sent) {
                            failed(datagram.remote, error);
                        }
                        sent += 1;
                    }
                }
            }
        }
    }

    fn write_headers(&mut self, datagrams: &[Outgoing]) {
        self.point_headers(datagrams.len());
        for (index, datagram) in datagrams.iter().enumerate() {
            let (Some(name), Some(control), Some(slice), Some(header)) = (
                self.names.get_mut(index),
                self.controls.get_mut(index),
                self.slices.get_mut(index),
                self.headers.get_mut(index),
            ) else {
                return;
            };
            let bytes = datagram.payload.bytes();
            // sendmmsg only reads through this pointer; its type is shared with recvmmsg.
            *slice = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            header.msg_hdr.msg_namelen = write_name(name, datagram.remote);
            header.msg_hdr.msg_controllen = write_control(control, &header.msg_hdr, datagram.local, datagram.ds);
        }
    }

    /// Makes the first `count` headers point at their parts in `self`.
    fn point_headers(&mut self, count: usize) {
        let parts = self.headers.iter_mut().zip(&mut self.names).zip(&mut self.controls).zip(&mut self.slices);
        for (((header, name), control), slice) in parts.take(count) {
            header.msg_len = 0;
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen =
                libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).unwrap_or_default();
            header.msg_hdr.msg_iov = &raw mut *slice;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.0.len();
            header.msg_hdr.msg_flags = 0;
        }
    }
}

/// Writes our address and the DiffServ byte as control messages and returns their length.
fn write_control(control: &mut Control, header: &libc::msghdr, local: IpAddr, ds: u8) -> usize {
    control.0.fill(0);
    // SAFETY: `header` points at `control`, 128 zeroed bytes aligned like a cmsghdr, and says so in msg_controllen; the
    // two messages take at most CMSG_SPACE(20) + CMSG_SPACE(4) = 64 of them. The CMSG functions stay within that, and
    // payloads are written without assuming alignment.
    unsafe {
        let mut used = 0;
        let mut message = libc::CMSG_FIRSTHDR(header);
        if !local.is_unspecified() {
            match local {
                IpAddr::V4(local) => {
                    let info = libc::in_pktinfo {
                        ipi_ifindex: 0,
                        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                        ipi_addr: libc::in_addr { s_addr: 0 },
                    };
                    used += put(message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
                }
                IpAddr::V6(local) => {
                    let info =
                        libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: local.octets() }, ipi6_ifindex: 0 };
                    used += put(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
                }
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
        let (level, kind) = match local {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        used + put(message, level, kind, libc::c_int::from(ds))
    }
}

/// Writes one control message and returns the room it takes.
///
/// # Safety
///
/// `message` is null or points at room for a header and a `T` within a control area.
unsafe fn put<T>(message: *mut libc::cmsghdr, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
    if message.is_null() {
        return 0;
    }
    let size = libc::c_uint::try_from(size_of::<T>()).unwrap_or_default();
    // SAFETY: the caller promises the room.
    unsafe {
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = usize::try_from(libc::CMSG_LEN(size)).unwrap_or_default();
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(value);
        usize::try_from(libc::CMSG_SPACE(size)).unwrap_or_default()
    }
}

/// Writes an address for the kernel and returns its length.
fn write_name(name: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    let size = match address {
        SocketAddr::V4(address) => {
            let value = libc::sockaddr_in {
                sin_family: u16::try_from(libc::AF_INET).unwrap_or_default(),
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is made to hold any address: large and aligned enough.
            unsafe { (&raw mut *name).cast::<libc::sockaddr_in>().write(value) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let value = libc::sockaddr_in6 {
                sin6_family: u16::try_from(libc::AF_INET6).unwrap_or_default(),
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut *name).cast::<libc::sockaddr_in6>().write(value) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    libc::socklen_t::try_from(size).unwrap_or_default()
}

/// Reads an address that the kernel wrote.
fn read_name(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which address is in the storage, which is large and aligned enough for it.
            let name = unsafe { (&raw const *name).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(name.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { (&raw const *name).cast::<libc::sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, name.sin6_scope_id)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

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

    fn datagrams_arrive_with_their_addresses(address: &str) {
        let (a, a_name, b, b_name) = pair(address);
        let mut batch = Batch::new();
        let queue: Vec<Outgoing> = (0..BATCH + 3)
            .map(|number| Outgoing {
                local: if number % 2 == 0 { a_name.ip() } else { unspecified(a_name) },
                remote: b_name,
                ds: 0x28 | u8::try_from(number % 4).unwrap(),
                payload: Buffer::copy(&vec![7; 100 + number]),
            })
            .collect();
        batch.send(&a, &queue, |to, error| panic!("{to}: {error}"));
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
    fn a_datagram_that_cannot_leave_does_not_stop_the_others() {
        let (a, a_name, b, b_name) = pair("127.0.0.1");
        let mut batch = Batch::new();
        let good = |size| Outgoing { local: a_name.ip(), remote: b_name, ds: 0, payload: Buffer::copy(&vec![1; size]) };
        let queue = vec![good(1), good(70_000), good(2)];
        let mut failures = 0;
        batch.send(&a, &queue, |to, _| {
            assert_eq!(to, b_name);
            failures += 1;
        });
        assert_eq!(failures, 1);
        assert_eq!(batch.receive(&b).unwrap(), 2);
    }
}
