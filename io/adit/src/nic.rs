//! A network card as the kernel knows it: its number, hardware address, MTU and whether there is a link.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// A network card, or something virtual like one.
#[derive(Debug)]
pub struct Nic {
    name: String,
    index: u32,
    /// To ask through.
    socket: OwnedFd,
}

/// What may change while it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Largest packet behind the Ethernet header, bytes.
    pub mtu: u32,
    /// It is switched on and has a link.
    pub up: bool,
}

impl Nic {
    /// Finds it by its name.
    pub fn named(name: &str) -> io::Result<Self> {
        // ioctls on interfaces want a socket, of whatever family.
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        let mut nic = Self { name: name.to_owned(), index: 0, socket };
        let request = nic.ask(libc::SIOCGIFINDEX)?;
        // SAFETY: SIOCGIFINDEX fills in this member; any bytes are a number.
        nic.index = u32::try_from(unsafe { request.ifr_ifru.ifru_ifindex }).unwrap_or_default();
        Ok(nic)
    }

    /// Its name in the kernel.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number in the kernel.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// How it is now.
    pub fn state(&self) -> io::Result<State> {
        let (mac, mtu, flags) =
            (self.ask(libc::SIOCGIFHWADDR)?, self.ask(libc::SIOCGIFMTU)?, self.ask(libc::SIOCGIFFLAGS)?);
        // SAFETY: each request fills in the member that is read; any bytes are numbers.
        let (mac, mtu, flags) = unsafe { (mac.ifr_ifru.ifru_hwaddr, mtu.ifr_ifru.ifru_mtu, flags.ifr_ifru.ifru_flags) };
        if mac.sa_family != libc::ARPHRD_ETHER {
            return Err(io::Error::other(format!("{} is not an Ethernet interface", self.name)));
        }
        let [a, b, c, d, e, f, ..] = mac.sa_data.map(libc::c_char::cast_unsigned);
        let wanted = libc::IFF_UP | libc::IFF_RUNNING;
        Ok(State {
            mac: [a, b, c, d, e, f],
            mtu: u32::try_from(mtu).unwrap_or_default(),
            up: libc::c_int::from(flags) & wanted == wanted,
        })
    }

    /// Whether it is switched on.
    pub fn is_on(&self) -> io::Result<bool> {
        Ok(libc::c_int::from(self.flags()?) & libc::IFF_UP != 0)
    }

    /// Switches it on or off.
    pub fn switch(&self, on: bool) -> io::Result<()> {
        let on_bit = libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
        let flags = self.flags()?;
        let flags = if on { flags | on_bit } else { flags & !on_bit };
        let mut request = self.request()?;
        request.ifr_ifru.ifru_flags = flags;
        self.tell(libc::SIOCSIFFLAGS, &mut request)
    }

    fn flags(&self) -> io::Result<libc::c_short> {
        let request = self.ask(libc::SIOCGIFFLAGS)?;
        // SAFETY: the request fills in this member; any bytes are a number.
        Ok(unsafe { request.ifr_ifru.ifru_flags })
    }

    fn ask(&self, what: libc::c_ulong) -> io::Result<libc::ifreq> {
        let mut request = self.request()?;
        self.tell(what, &mut request)?;
        Ok(request)
    }

    fn request(&self) -> io::Result<libc::ifreq> {
        // SAFETY: ifreq is plain data for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if self.name.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        Ok(request)
    }

    fn tell(&self, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: the requests read the name, and read or write one member, of an ifreq, which is borrowed.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), what, &raw mut *request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_a_number_and_is_no_ethernet() {
        let nic = Nic::named("lo").unwrap();
        assert_eq!(nic.index(), 1);
        assert_eq!(nic.state().unwrap_err().to_string(), "lo is not an Ethernet interface");
    }

    #[test]
    fn a_name_that_no_interface_has_is_an_error() {
        assert!(Nic::named("no-such-nic").is_err());
        assert!(Nic::named("a-name-that-is-too-long-for-an-interface").is_err());
    }
}
