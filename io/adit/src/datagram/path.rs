//! How long datagrams may be on their way, as the kernel knows it: whether routers may cut them, and what it was told of
//! those that were too long (RFC 1191, RFC 8201).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::message::{ErrorMessage, ErrorReport};

/// News that are read at once, at most: what comes meanwhile is there the next time.
const ERRORS_MAX: usize = 64;

/// Whether datagrams of a socket may be cut on their way. All that send by the same socket share it: a setting is a
/// system call, and hardly ever another one than before.
#[derive(Clone, Debug)]
pub struct Discovery {
    ipv6: bool,
    is: Arc<AtomicU8>,
}

/// What the socket is set to.
const UNKNOWN: u8 = 0;
const CUT: u8 = 1;
const WHOLE: u8 = 2;

impl Discovery {
    /// Of a socket that is prepared.
    pub fn of(ipv6: bool) -> Self {
        Self { ipv6, is: Arc::new(AtomicU8::new(UNKNOWN)) }
    }

    /// From the next datagram on, none may be cut (DF), or all may. A datagram that another thread sends at this moment
    /// leaves with one setting or the other: it passes a narrow link in pieces, or is sent again by who wrote it.
    pub fn set(&self, socket: impl AsFd, whole: bool) -> io::Result<()> {
        let wanted = if whole { WHOLE } else { CUT };
        if self.is.load(Ordering::Relaxed) == wanted {
            return Ok(());
        }
        let (level, option, value) = match (self.ipv6, whole) {
            (false, true) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
            (false, false) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
            (true, true) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
            (true, false) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT),
        };
        super::set_number(&socket, level, option, value)?;
        self.is.store(wanted, Ordering::Relaxed);
        Ok(())
    }
}

/// Has the kernel keep what it is told about datagrams of a socket, for [`read_errors`].
pub fn keep_errors(socket: impl AsFd, ipv6: bool) -> io::Result<()> {
    match ipv6 {
        false => super::set_number(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        true => super::set_number(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}

/// Reads what the kernel was told about datagrams of a socket, and what it found too long itself. Where a datagram was
/// too long, `takes` is told whom it was for, and how long an IP packet to there may be. Returns how many news there were.
pub fn read_errors(socket: impl AsFd, mut takes: impl FnMut(IpAddr, u16)) -> usize {
    let mut message = ErrorMessage::new();
    for count in 0..ERRORS_MAX {
        let mut header = message.header();
        // SAFETY: the header points at the name and the control area of `message`, with their true sizes, and at no
        // slice: what was in the datagram is cut off.
        let result = unsafe {
            libc::recvmsg(
                socket.as_fd().as_raw_fd(),
                &raw mut header,
                libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            )
        };
        if result < 0 {
            return count;
        }
        if let Some(ErrorReport { remote, number: libc::EMSGSIZE, info }) = message.report(&header)
            && info > 0
        {
            takes(remote, u16::try_from(info).unwrap_or(u16::MAX));
        }
    }
    ERRORS_MAX
}
