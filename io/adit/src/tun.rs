//! The TUN device: where the kernel hands us what it routed to a tunnel, and takes what came out of one. Every packet
//! has a header that says what is left to be done to it.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use base::{Buffer, Offload};

use crate::exit::Exit;
use crate::offload::{self, Header, LONG_HEADER_LEN};

/// What the kernel may leave to us of its packets. The other direction needs no permission: [`Queue::write`] takes
/// whatever the header can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums, and cutting TCP into segments.
    pub tcp: bool,
    /// Cutting UDP into datagrams, which kernels can since 6.2.
    pub udp: bool,
}

/// A TUN device that exists as long as one of its queues, also when the process is killed.
#[derive(Debug)]
pub struct Tun {
    name: String,
    queues: Vec<Queue>,
}

/// One of the device's queues. The kernel puts a flow's packets into the one that last wrote packets of this flow, and
/// chooses by a hash of the flow before.
#[derive(Debug)]
pub struct Queue {
    device: File,
}

/// Names are tried from `adit0` on.
const NAMES_MAX: u32 = 16;
/// Packets the kernel queues towards us. The default of 500 loses thousands of packets of a single TCP stream.
pub const QUEUE_LENGTH: u32 = 8_192;
/// The largest packet that the kernel hands over when it may leave cutting to us, bytes.
pub const PACKET_MAX: usize = 65_535;

impl Tun {
    /// Makes a device with the first free name of `adit0`, `adit1` and so on, and `queues` queues.
    pub fn create(queues: usize) -> Result<Self, Exit> {
        for number in 0..NAMES_MAX {
            match Self::named(&format!("adit{number}"), queues) {
                // Somebody else's device has this name.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EINVAL | libc::EEXIST)) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(Exit::failed(format!(
                        "/dev/net/tun cannot be opened: {error}; load the kernel's module with `modprobe tun`, and \
                         give a container the device"
                    )));
                }
                Err(error) => {
                    return Err(Exit::failed(format!(
                        "the kernel refuses a TUN device: {error}; this needs CAP_NET_ADMIN and /dev/net/tun"
                    )));
                }
                Ok(tun) => return Ok(tun),
            }
        }
        Err(Exit::failed(format!("all of adit0 to adit{} are taken; delete one with `ip link del`", NAMES_MAX - 1)))
    }

    /// Makes the device `name` with `queues` queues, one at least.
    pub fn named(name: &str, queues: usize) -> io::Result<Self> {
        let several = queues > 1;
        let (first, name) = Queue::attach(name, several, true)?;
        let mut tun = Self { name, queues: vec![first] };
        while tun.queues.len() < queues {
            tun.queues.push(Queue::attach(&tun.name, several, false)?.0);
        }
        Ok(tun)
    }

    /// Its name in the kernel.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets the kernel leave work to us. Returns what this kernel knows of what is wanted.
    pub fn leave_to_us(&self, wanted: Offloads) -> io::Result<Offloads> {
        // They are those of the device: any of the queues will do.
        let Some(queue) = self.queues.first() else { return Ok(Offloads::default()) };
        if wanted.udp && queue.set_offloads(wanted).is_ok() {
            return Ok(wanted);
        }
        let without = Offloads { udp: false, ..wanted };
        queue.set_offloads(without).map(|()| without)
    }

    /// The queues, one for each worker.
    pub fn into_queues(self) -> Vec<Queue> {
        self.queues
    }
}

impl Queue {
    /// Attaches a queue to the TUN device `name`, which is made when it does not exist, and makes sure that it goes away
    /// with us even if somebody had made it persistent. Returns it with the device's name.
    fn attach(name: &str, several: bool, first: bool) -> io::Result<(Self, String)> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")?;
        // SAFETY: ifreq is plain data for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero.
        let room = request.ifr_name.len().saturating_sub(1);
        for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        let mut flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        if several {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        if several && first {
            // Never a queue of somebody else's device.
            flags |= libc::IFF_TUN_EXCL;
        }
        request.ifr_ifru.ifru_flags = u16::try_from(flags).unwrap_or_default().cast_signed();
        let header_len = libc::c_int::try_from(LONG_HEADER_LEN).unwrap_or_default();
        // SAFETY: TUNSETIFF reads and writes one ifreq, which lives on our stack; TUNSETPERSIST takes a plain number;
        // TUNSETVNETHDRSZ reads an int, which lives on our stack.
        unsafe {
            if libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) < 0
                || libc::ioctl(device.as_raw_fd(), libc::TUNSETPERSIST, 0) < 0
                || libc::ioctl(device.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header_len) < 0
            {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: the kernel terminates the name that it writes back.
        let name = unsafe { CStr::from_ptr(request.ifr_name.as_ptr()) }.to_string_lossy().into_owned();
        Ok((Self { device }, name))
    }

    /// The same queue for another thread to write to.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { device: self.device.try_clone()? })
    }

    fn set_offloads(&self, offloads: Offloads) -> io::Result<()> {
        let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
        let udp = libc::TUN_F_CSUM | libc::TUN_F_USO4 | libc::TUN_F_USO6;
        let flags = if offloads.tcp { tcp } else { 0 } | if offloads.udp { udp } else { 0 };
        // SAFETY: TUNSETOFFLOAD takes a plain number.
        let result = unsafe { libc::ioctl(self.device.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads one packet of at most `size_max` bytes into the empty `buffer`. `Ok(None)` when there is none, and
    /// [`ErrorKind::InvalidData`] for one with a header that makes no sense; the next may be better.
    pub fn read(&mut self, buffer: &mut Buffer, size_max: usize) -> io::Result<Option<Offload>> {
        let mut header = Header::default();
        let packet = buffer.append(size_max);
        match self.device.read_vectored(&mut [IoSliceMut::new(&mut header), IoSliceMut::new(packet)]) {
            Ok(size) => {
                let Some(size) = size.checked_sub(header.len()) else {
                    buffer.clear();
                    return Ok(None);
                };
                buffer.truncate(size);
                let offload = offload::read(&header, buffer.bytes());
                offload.map(Some).ok_or_else(|| ErrorKind::InvalidData.into())
            }
            Err(error) => {
                buffer.clear();
                match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(None),
                    _ => Err(error),
                }
            }
        }
    }

    /// Hands one packet to the kernel, which does what `offload` leaves.
    pub fn write(&mut self, offload: &Offload, packet: &[u8]) -> io::Result<()> {
        let header = offload::write(offload);
        self.device.write_vectored(&[IoSlice::new(&header), IoSlice::new(packet)]).map(|_| ())
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
