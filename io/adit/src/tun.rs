//! The TUN device: where the kernel hands us what it routed to a tunnel, and takes what came out of one.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use base::Buffer;

use crate::exit::Exit;

/// A TUN device that exists as long as this value, also when the process is killed.
#[derive(Debug)]
pub struct Tun {
    device: File,
    name: String,
}

/// Names are tried from `adit0` on.
const NAMES_MAX: u32 = 16;
/// Packets the kernel queues towards us. The default of 500 loses thousands of packets of a single TCP stream.
pub const QUEUE_LENGTH: u32 = 8_192;

impl Tun {
    /// Makes a device with the first free name of `adit0`, `adit1` and so on.
    pub fn create() -> Result<Self, Exit> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")
            .map_err(|error| {
                Exit::failed(format!(
                    "/dev/net/tun cannot be opened: {error}; load the kernel's module with `modprobe tun`, and give a \
                     container the device"
                ))
            })?;
        for number in 0..NAMES_MAX {
            match attach(&device, &format!("adit{number}")) {
                Ok(name) => return Ok(Self { device, name }),
                // Somebody else's device has this name.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EINVAL | libc::EEXIST)) => {}
                Err(error) => {
                    return Err(Exit::failed(format!(
                        "the kernel refuses a TUN device: {error}; this needs CAP_NET_ADMIN"
                    )));
                }
            }
        }
        Err(Exit::failed(format!("all of adit0 to adit{} are taken; delete one with `ip link del`", NAMES_MAX - 1)))
    }

    /// Its name in the kernel.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads one packet of at most `size_max` bytes into the empty `buffer`. False when there is none.
    pub fn read(&mut self, buffer: &mut Buffer, size_max: usize) -> io::Result<bool> {
        match self.device.read(buffer.append(size_max)) {
            Ok(size) => {
                buffer.truncate(size);
                Ok(size > 0)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                buffer.clear();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Hands one packet to the kernel.
    pub fn write(&mut self, packet: &[u8]) -> io::Result<()> {
        self.device.write(packet).map(|_| ())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// Attaches `device` to the TUN device `name`, which is made when it does not exist, and makes sure that it goes away
/// with us even if somebody had made it persistent.
fn attach(device: &File, name: &str) -> io::Result<String> {
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len().saturating_sub(1);
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap_or_default();
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives on our stack; TUNSETPERSIST takes a plain number.
    unsafe {
        if libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::ioctl(device.as_raw_fd(), libc::TUNSETPERSIST, 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        // The kernel terminates the name that it writes back.
        Ok(CStr::from_ptr(request.ifr_name.as_ptr()).to_string_lossy().into_owned())
    }
}
