//! Packet ports: Ethernet frames straight from a network card and to it, beside the kernel's own stack (AF_PACKET).
//!
//! Frames come and go with what is left to be done to them, so that a card, or another namespace behind a veth, that cuts
//! large packets gives and takes them whole. They are read and written with recvmmsg and sendmmsg: a ring for receiving
//! (`PACKET_RX_RING`) is a fifth cheaper for frames of 1500 bytes, but has slots of one size, 64 KiB for frames that are
//! to be cut, and its frames must be copied out to be kept; a ring for sending is dearer than sendmmsg. The option
//! `PACKET_QDISC_BYPASS` must stay off: it drops frames that are to be cut.

mod batch;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use link::Filter;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::datagram;
use crate::nic::Nic;

pub use batch::{FRAME_MAX, Frame, FrameReceiveBatch, FrameSendBatch};

/// One worker's share of a network card.
#[derive(Debug)]
pub struct PacketPort {
    socket: OwnedFd,
}

/// What a card lets through: addresses of a kind.
type Membership = (libc::c_int, [u8; 6]);

fn memberships(filter: &Filter) -> Vec<Membership> {
    let unicast = filter.unicast.iter().map(|mac| (libc::PACKET_MR_UNICAST, mac.0));
    let groups = filter.groups.iter().map(|mac| (libc::PACKET_MR_MULTICAST, mac.0));
    let all = filter.all_groups.then_some((libc::PACKET_MR_ALLMULTI, [0; 6]));
    unicast.chain(groups).chain(all).collect()
}

/// Frames that came and that the kernel had no room for, since the last time it was asked.
pub type Lost = u32;

impl PacketPort {
    /// Opens `count` ports of one card, one for each worker. The kernel gives both directions of a flow to the same of
    /// them.
    pub fn open_group(nic: &Nic, count: usize) -> io::Result<Vec<Self>> {
        let mut group: Vec<Self> = Vec::with_capacity(count);
        let mut number = None;
        while group.len() < count {
            // Of no protocol: it gets nothing before all is set up.
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let port = Self { socket: socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)? };
            datagram::enlarge(&port.socket);
            port.set(libc::PACKET_VNET_HDR, &1)?;
            port.set(libc::PACKET_AUXDATA, &1)?;
            port.set(libc::PACKET_IGNORE_OUTGOING, &1)?;
            if count > 1 {
                port.shut()?;
            }
            port.bind(nic)?;
            if count > 1 {
                number = Some(port.join(number)?);
            }
            group.push(port);
        }
        if count > 1 {
            // Only now: a port that was open before it joined would get what is another's.
            group.iter().try_for_each(Self::open)?;
        }
        Ok(group)
    }

    /// Has the card let frames through to these addresses beside its own, and no more to those of `before`. Never all of
    /// them: a card that is not asked for what is others' leaves it outside.
    pub fn set_filter(&self, nic: &Nic, before: &Filter, after: &Filter) -> io::Result<()> {
        let (gone, come) = (memberships(before), memberships(after));
        // First what comes: an address that is in both never is away.
        for membership in come.iter().filter(|membership| !gone.contains(membership)) {
            self.member(nic, libc::PACKET_ADD_MEMBERSHIP, *membership)?;
        }
        for membership in gone.iter().filter(|membership| !come.contains(membership)) {
            self.member(nic, libc::PACKET_DROP_MEMBERSHIP, *membership)?;
        }
        Ok(())
    }

    fn member(&self, nic: &Nic, option: libc::c_int, (kind, mac): Membership) -> io::Result<()> {
        let [a, b, c, d, e, f] = mac;
        let request = libc::packet_mreq {
            mr_ifindex: libc::c_int::try_from(nic.index()).unwrap_or_default(),
            mr_type: libc::c_ushort::try_from(kind).unwrap_or_default(),
            mr_alen: 6,
            mr_address: [a, b, c, d, e, f, 0, 0],
        };
        // SAFETY: both options take a packet_mreq.
        unsafe { set(&self.socket, libc::SOL_PACKET, option, &request) }
    }

    /// Frames that were lost for lack of room since the last call.
    pub fn lost(&self) -> io::Result<Lost> {
        // SAFETY: tpacket_stats is plain data for which all zeroes is a value.
        let mut stats: libc::tpacket_stats = unsafe { std::mem::zeroed() };
        self.get(libc::PACKET_STATISTICS, &mut stats)?;
        Ok(stats.tp_drops)
    }

    fn bind(&self, nic: &Nic) -> io::Result<()> {
        // SAFETY: sockaddr_ll is plain data for which all zeroes is a value.
        let mut name: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        name.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
        name.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
        name.sll_ifindex = i32::try_from(nic.index()).unwrap_or_default();
        let size = libc::socklen_t::try_from(size_of_val(&name)).unwrap_or_default();
        // SAFETY: the address is the sockaddr_ll that the pointer and the size describe.
        let result = unsafe { libc::bind(self.socket.as_raw_fd(), (&raw const name).cast(), size) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Joins the group with this number, or makes one with a number that nobody has.
    fn join(&self, number: Option<u32>) -> io::Result<u32> {
        let kind = match number {
            Some(_) => libc::PACKET_FANOUT_HASH,
            None => libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_UNIQUEID,
        };
        self.set(libc::PACKET_FANOUT, &(number.unwrap_or(0) | kind << 16))?;
        let mut joined = 0_u32;
        self.get(libc::PACKET_FANOUT, &mut joined)?;
        Ok(joined & 0xffff)
    }

    /// Lets nothing in.
    fn shut(&self) -> io::Result<()> {
        // Keeps no byte of whatever comes: BPF_RET | BPF_K, 0.
        let mut program = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
        let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
        // SAFETY: the filter points at one instruction; both live on our stack until the kernel has copied them.
        unsafe { set(&self.socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter) }
    }

    /// Lets everything in.
    fn open(&self) -> io::Result<()> {
        // SAFETY: the option ignores its value.
        unsafe { set(&self.socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0_u32) }
    }

    fn set(&self, option: libc::c_int, value: &u32) -> io::Result<()> {
        // SAFETY: the options of packet sockets that are used here are numbers.
        unsafe { set(&self.socket, libc::SOL_PACKET, option, value) }
    }

    fn get<T: Copy>(&self, option: libc::c_int, value: &mut T) -> io::Result<()> {
        let mut size = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
        // SAFETY: the kernel writes at most `size` bytes to the value that has this size; the options asked for are
        // numbers, for which any bytes are a value.
        let result = unsafe {
            libc::getsockopt(self.socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw mut *value).cast(), &raw mut size)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Sets an option of a socket.
///
/// # Safety
///
/// `T` is what the option takes, and what it points at is valid.
unsafe fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
    // SAFETY: pointer and size describe the value; the rest the caller promises.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl AsFd for PacketPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
