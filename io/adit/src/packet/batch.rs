//! Frames in batches.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use base::{Buffer, Offload};

use super::PacketPort;
use crate::offload::{self, HEADER_LEN, Header};

/// Frames of one system call.
const BATCH: usize = 32;
/// The largest frame that comes, bytes: a packet that is to be cut, with its Ethernet header.
pub const FRAME_MAX: usize = 65_536 + 64;
/// The hardware addresses in front of a VLAN tag, bytes.
const ADDRESSES_LEN: usize = 12;
/// A VLAN tag's length, bytes.
const TAG_LEN: u16 = 4;
/// The type of a tag that the kernel took off without naming it: IEEE 802.1Q.
const TAG_TYPE: u16 = 0x8100;

/// A frame and what is left to be done to it.
#[derive(Debug)]
pub struct Frame {
    /// What is left to be done.
    pub offload: Offload,
    /// The frame, from its Ethernet header on.
    pub bytes: Buffer,
}

/// Room for the control message that has the VLAN tag.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Headers of messages, each of two slices: what is left to be done, and the frame.
struct Messages {
    offloads: Vec<Header>,
    controls: Vec<Control>,
    slices: Vec<[libc::iovec; 2]>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: what makes it `!Send` are raw pointers, which are written before each use.
unsafe impl Send for Messages {}

impl Messages {
    fn new() -> Self {
        // SAFETY: iovec and mmsghdr are plain data (numbers and raw pointers) for which all zeroes is a value.
        let (slices, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            offloads: vec![Header::default(); BATCH],
            controls: vec![Control([0; 64]); BATCH],
            slices: vec![slices; BATCH],
            headers: vec![header; BATCH],
        }
    }

    /// Points the header at `index` at its own parts and at `length` bytes of a frame.
    fn point(&mut self, index: usize, frame: *mut u8, length: usize, with_control: bool) {
        let (Some(offload), Some(control), Some(slices), Some(header)) = (
            self.offloads.get_mut(index),
            self.controls.get_mut(index),
            self.slices.get_mut(index),
            self.headers.get_mut(index),
        ) else {
            return;
        };
        *slices = [
            libc::iovec { iov_base: offload.as_mut_ptr().cast(), iov_len: HEADER_LEN },
            libc::iovec { iov_base: frame.cast(), iov_len: length },
        ];
        header.msg_len = 0;
        header.msg_hdr.msg_iov = slices.as_mut_ptr();
        header.msg_hdr.msg_iovlen = slices.len();
        header.msg_hdr.msg_control = if with_control { control.0.as_mut_ptr().cast() } else { std::ptr::null_mut() };
        header.msg_hdr.msg_controllen = if with_control { control.0.len() } else { 0 };
        header.msg_hdr.msg_flags = 0;
    }

    /// The VLAN tag that the kernel took off.
    fn tag(&self, index: usize) -> Option<[u8; TAG_LEN as usize]> {
        let (header, control) = (self.headers.get(index)?, self.controls.get(index)?);
        // SAFETY: msghdr is plain data for which all zeroes is a value.
        let mut view: libc::msghdr = unsafe { std::mem::zeroed() };
        // The functions take a pointer that may be written through; it is only read.
        view.msg_control = control.0.as_ptr().cast_mut().cast();
        view.msg_controllen = header.msg_hdr.msg_controllen.min(control.0.len());
        // SAFETY: `view` describes the control area that the kernel filled in the last call. The CMSG functions stay
        // within msg_controllen, and the payload of this level and type is a tpacket_auxdata, read without assuming
        // alignment.
        let auxiliary = unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&raw const view);
            loop {
                if message.is_null() {
                    return None;
                }
                if ((*message).cmsg_level, (*message).cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
                    break libc::CMSG_DATA(message).cast::<libc::tpacket_auxdata>().read_unaligned();
                }
                message = libc::CMSG_NXTHDR(&raw const view, message);
            }
        };
        if auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let named = auxiliary.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        let kind = if named { auxiliary.tp_vlan_tpid } else { TAG_TYPE };
        let ([a, b], [c, d]) = (kind.to_be_bytes(), auxiliary.tp_vlan_tci.to_be_bytes());
        Some([a, b, c, d])
    }
}

/// Memory to receive frames into, for all packet ports of a thread in turn.
pub struct FrameReceiveBatch {
    buffers: Vec<Buffer>,
    messages: Messages,
    unreadable: u64,
}

impl FrameReceiveBatch {
    /// Memory for one batch, each of its frames as large as they come.
    pub fn new() -> Self {
        Self {
            buffers: (0..BATCH).map(|_| Buffer::with_capacity(FRAME_MAX)).collect(),
            messages: Messages::new(),
            unreadable: 0,
        }
    }

    /// Receives what has come, at most a batch, without waiting. Returns how many; [`FrameReceiveBatch::take`] has them.
    pub fn receive(&mut self, port: &PacketPort) -> io::Result<usize> {
        for (index, buffer) in self.buffers.iter_mut().enumerate() {
            buffer.clear();
            let room = buffer.append(FRAME_MAX);
            self.messages.point(index, room.as_mut_ptr(), room.len(), true);
        }
        let headers = &mut self.messages.headers;
        let count = libc::c_uint::try_from(headers.len()).unwrap_or_default();
        // SAFETY: each of the headers points at two slices and a control area of its own, and these at a header and at
        // FRAME_MAX bytes of a buffer, with their true sizes; nothing of it moves during the call.
        let received = unsafe {
            libc::recvmmsg(
                port.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
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

    /// Takes the frame at `index` of the last [`FrameReceiveBatch::receive`], as it was on the wire: with its VLAN tag.
    /// `instead` is what the next one is received into; one that is too small grows. `None` for a frame that the kernel
    /// describes in a way that we do not know; it is counted.
    pub fn take(&mut self, index: usize, instead: Buffer) -> Option<Frame> {
        let header = self.messages.headers.get(index)?;
        let mut bytes = std::mem::replace(self.buffers.get_mut(index)?, instead);
        let length = usize::try_from(header.msg_len).unwrap_or(0).checked_sub(HEADER_LEN);
        let cut_off = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        bytes.truncate(length.unwrap_or(0));
        let offload = match self.messages.offloads.get(index) {
            Some(header) if !cut_off => offload::read(header, bytes.bytes()),
            _ => None,
        };
        let frame = offload.and_then(|offload| match self.messages.tag(index) {
            Some(tag) => put_tag(&mut bytes, offload, tag).map(|offload| (offload, bytes)),
            None => Some((offload, bytes)),
        });
        if frame.is_none() {
            self.unreadable += 1;
        }
        frame.map(|(offload, bytes)| Frame { offload, bytes })
    }

    /// Frames that came and could not be understood.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

impl Default for FrameReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}

/// Puts a VLAN tag back to where it was.
fn put_tag(frame: &mut Buffer, offload: Offload, tag: [u8; TAG_LEN as usize]) -> Option<Offload> {
    frame.bytes().get(..ADDRESSES_LEN)?;
    let shifted = offload.shifted(TAG_LEN)?;
    frame.prepend(usize::from(TAG_LEN));
    let bytes = frame.bytes_mut();
    bytes.copy_within(tag.len()..tag.len() + ADDRESSES_LEN, 0);
    bytes.get_mut(ADDRESSES_LEN..ADDRESSES_LEN + tag.len())?.copy_from_slice(&tag);
    Some(shifted)
}

/// Memory to send frames with, for all packet ports of a thread in turn.
pub struct FrameSendBatch {
    messages: Messages,
}

impl FrameSendBatch {
    /// Memory for one batch.
    pub fn new() -> Self {
        Self { messages: Messages::new() }
    }

    /// Sends frames without waiting. What the kernel or the card refuses is lost, as on any wire, and `failed` is told
    /// why. They stay in the queue for their buffers to be used again.
    pub fn send(&mut self, port: &PacketPort, queue: &[Frame], mut failed: impl FnMut(&io::Error)) {
        for frames in queue.chunks(BATCH) {
            for (index, frame) in frames.iter().enumerate() {
                if let Some(header) = self.messages.offloads.get_mut(index) {
                    *header = offload::write(&frame.offload);
                }
                let bytes = frame.bytes.bytes();
                // sendmmsg only reads through this pointer; its type is shared with recvmmsg.
                self.messages.point(index, bytes.as_ptr().cast_mut(), bytes.len(), false);
            }
            let mut sent = 0;
            while let Some(headers) = self.messages.headers.get_mut(sent..frames.len())
                && !headers.is_empty()
            {
                let count = libc::c_uint::try_from(headers.len()).unwrap_or_default();
                // SAFETY: `point` made these headers point at slices, and these at a header and at a frame in `frames`,
                // with their true sizes; all of it outlives the call, and the kernel only reads it.
                let result = unsafe {
                    libc::sendmmsg(port.as_fd().as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
                };
                match usize::try_from(result) {
                    Ok(more) if more > 0 => sent += more,
                    _ => {
                        let error = io::Error::last_os_error();
                        if error.kind() == io::ErrorKind::Interrupted {
                            continue;
                        }
                        // The call stops at the first frame that fails: go on behind it.
                        failed(&error);
                        sent += 1;
                    }
                }
            }
        }
    }
}

impl Default for FrameSendBatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Checksum;

    #[test]
    fn a_vlan_tag_stands_behind_the_hardware_addresses() {
        let mut frame = Buffer::copy(b"aaaaaabbbbbb\x08\x00payload");
        let offload = Offload { checksum: Some(Checksum { start: 34, offset: 16 }), segments: None };
        let offload = put_tag(&mut frame, offload, [0x81, 0, 0, 7]).unwrap();
        assert_eq!(frame.bytes(), b"aaaaaabbbbbb\x81\x00\x00\x07\x08\x00payload");
        assert_eq!(offload.checksum, Some(Checksum { start: 38, offset: 16 }));
        assert_eq!(put_tag(&mut Buffer::copy(b"short"), Offload::NONE, [0; 4]), None);
    }
}
