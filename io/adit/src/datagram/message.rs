//! What recvmmsg and sendmmsg want in memory: headers, addresses and control messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for control messages: the address, the DiffServ byte and the size of segments take less than all of it.
const CONTROL_MAX: usize = 128;

/// Where a message's control messages are.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_MAX]);

/// A number of messages, each with a place for its address and its control messages. Slices are the caller's.
pub struct Messages {
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: what makes it `!Send` are raw pointers, into its own vectors, which stay where they are when it moves to
// another thread, and into the caller's memory, which are written before each use.
unsafe impl Send for Messages {}

/// What control messages said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    /// The address it was sent to.
    pub local: Option<IpAddr>,
    /// DiffServ byte.
    pub ds: u8,
    /// The size of its datagrams when there are several.
    pub segment_size: Option<u16>,
}

impl Messages {
    /// Room for `count` of them.
    pub fn new(count: usize) -> Self {
        // SAFETY: sockaddr_storage and mmsghdr are plain data (numbers and raw pointers) for which all zeroes is a value.
        let (name, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            names: vec![name; count],
            controls: vec![Control([0; CONTROL_MAX]); count],
            headers: vec![header; count],
        }
    }

    /// The headers, to be handed to the kernel. Those that [`Messages::point`] was called for point at what is there.
    pub fn headers_mut(&mut self) -> &mut [libc::mmsghdr] {
        &mut self.headers
    }

    /// Bytes that the kernel received into the message.
    pub fn length(&self, index: usize) -> Option<usize> {
        usize::try_from(self.headers.get(index)?.msg_len).ok()
    }

    /// Points one header at its own name and control messages, and at `count` slices from `slices` on.
    pub fn point(&mut self, index: usize, slices: *mut libc::iovec, count: usize) {
        let (Some(name), Some(control), Some(header)) =
            (self.names.get_mut(index), self.controls.get_mut(index), self.headers.get_mut(index))
        else {
            return;
        };
        header.msg_len = 0;
        header.msg_hdr.msg_name = (&raw mut *name).cast();
        header.msg_hdr.msg_namelen = libc::socklen_t::try_from(size_of_val(name)).unwrap_or_default();
        header.msg_hdr.msg_iov = slices;
        header.msg_hdr.msg_iovlen = count;
        header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = control.0.len();
        header.msg_hdr.msg_flags = 0;
    }

    /// Writes where a message goes, from which address, with which DiffServ byte, and how it is to be cut.
    pub fn address(&mut self, index: usize, local: IpAddr, remote: SocketAddr, ds: u8, segment_size: Option<u16>) {
        let (Some(name), Some(control), Some(header)) =
            (self.names.get_mut(index), self.controls.get_mut(index), self.headers.get_mut(index))
        else {
            return;
        };
        header.msg_hdr.msg_namelen = write_name(name, remote);
        header.msg_hdr.msg_controllen = write_control(control, local, ds, segment_size);
    }

    /// Where a received message came from.
    pub fn remote(&self, index: usize) -> Option<SocketAddr> {
        read_name(self.names.get(index)?)
    }

    /// What the control messages of a received message say.
    pub fn said(&self, index: usize) -> Said {
        let mut said = Said::default();
        let (Some(control), Some(header)) = (self.controls.get(index), self.headers.get(index)) else { return said };
        let header = header_of(control, header.msg_hdr.msg_controllen);
        // SAFETY: the header describes the control area that the kernel filled in the last call. The CMSG functions
        // stay within msg_controllen, and each payload is read with the type that its level and type promise, without
        // assuming alignment.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&raw const header);
            while !message.is_null() {
                let data = libc::CMSG_DATA(message);
                match ((*message).cmsg_level, (*message).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info: libc::in_pktinfo = data.cast::<libc::in_pktinfo>().read_unaligned();
                        said.local = Some(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info: libc::in6_pktinfo = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        said.local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                    }
                    (libc::IPPROTO_IP, libc::IP_TOS) => said.ds = *data,
                    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                        said.ds = u8::try_from(data.cast::<libc::c_int>().read_unaligned()).unwrap_or(0);
                    }
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        said.segment_size = u16::try_from(data.cast::<libc::c_int>().read_unaligned()).ok();
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(&raw const header, message);
            }
        }
        said
    }
}

/// Room for the control messages of an error: the error itself with the address of who told it, our address, the DiffServ
/// byte.
const ERROR_CONTROL_MAX: usize = 256;

/// Where the kernel writes what it was told about a datagram.
pub struct ErrorMessage {
    name: libc::sockaddr_storage,
    control: ErrorControl,
}

#[repr(C, align(8))]
struct ErrorControl([u8; ERROR_CONTROL_MAX]);

/// What the kernel was told about a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorReport {
    /// Whom the datagram was for.
    pub remote: IpAddr,
    /// The number of the error.
    pub number: libc::c_int,
    /// What it says beside; of a datagram that was too long the length that would have passed.
    pub info: u32,
}

impl ErrorMessage {
    /// Room for one.
    pub fn new() -> Self {
        // SAFETY: sockaddr_storage is plain data for which all zeroes is a value.
        Self { name: unsafe { std::mem::zeroed() }, control: ErrorControl([0; ERROR_CONTROL_MAX]) }
    }

    /// A header for recvmsg that points at what is here, to be used before `self` moves.
    pub fn header(&mut self) -> libc::msghdr {
        // SAFETY: msghdr is plain data for which all zeroes is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = (&raw mut self.name).cast();
        header.msg_namelen = libc::socklen_t::try_from(size_of_val(&self.name)).unwrap_or_default();
        header.msg_control = self.control.0.as_mut_ptr().cast();
        header.msg_controllen = self.control.0.len();
        header
    }

    /// What came, by the header that it came by.
    pub fn report(&self, header: &libc::msghdr) -> Option<ErrorReport> {
        let remote = read_name(&self.name)?.ip();
        // SAFETY: msghdr is plain data for which all zeroes is a value.
        let mut own: libc::msghdr = unsafe { std::mem::zeroed() };
        // The functions take a pointer that may be written through; nothing is written here.
        own.msg_control = self.control.0.as_ptr().cast_mut().cast();
        own.msg_controllen = header.msg_controllen.min(ERROR_CONTROL_MAX);
        // SAFETY: the header describes the control area that the kernel has filled. The CMSG functions stay within
        // msg_controllen, and the payload is read with the type that its level and type promise, without assuming
        // alignment.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&raw const own);
            while !message.is_null() {
                let place = ((*message).cmsg_level, (*message).cmsg_type);
                if matches!(place, (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)) {
                    let error = libc::CMSG_DATA(message).cast::<libc::sock_extended_err>().read_unaligned();
                    let number = libc::c_int::try_from(error.ee_errno).unwrap_or_default();
                    return Some(ErrorReport { remote, number, info: error.ee_info });
                }
                message = libc::CMSG_NXTHDR(&raw const own, message);
            }
        }
        None
    }
}

/// A header for the CMSG functions: `used` bytes of `control`.
fn header_of(control: &Control, used: usize) -> libc::msghdr {
    // SAFETY: msghdr is plain data for which all zeroes is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    // The functions take a pointer that may be written through; who only reads casts back.
    header.msg_control = control.0.as_ptr().cast_mut().cast();
    header.msg_controllen = used.min(CONTROL_MAX);
    header
}

/// Writes our address, the DiffServ byte and the size of segments as control messages and returns their length.
fn write_control(control: &mut Control, local: IpAddr, ds: u8, segment_size: Option<u16>) -> usize {
    control.0.fill(0);
    // SAFETY: msghdr is plain data for which all zeroes is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_MAX;
    // SAFETY: `header` describes `control`, 128 zeroed bytes aligned like a cmsghdr; the three messages take at most
    // CMSG_SPACE(20) + CMSG_SPACE(4) + CMSG_SPACE(2) = 88 of them. The CMSG functions stay within that, and payloads
    // are written without assuming alignment.
    unsafe {
        let mut used = 0;
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
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
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
        let (level, kind) = match local {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        used += put(message, level, kind, libc::c_int::from(ds));
        if let Some(size) = segment_size {
            message = libc::CMSG_NXTHDR(&raw const header, message);
            used += put(message, libc::SOL_UDP, libc::UDP_SEGMENT, size);
        }
        used
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
